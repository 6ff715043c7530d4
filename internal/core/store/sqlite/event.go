package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// term is a row of the inverted index.
type term struct{ h, at, seq, kind int64 }

// appendTerms appends the terms of an event: its indexed tags and its author.
// Kinds of which an author has few, and of which readers want the newest, are
// found by author and kind together; of the others the author's newest are read
// until enough are of the kind.
func appendTerms(dst []term, seq int64, e *nostr.Event) []term {
	row := term{0, e.CreatedAt, seq, int64(e.Kind)}
	add := func(h int64) {
		row.h = h
		dst = append(dst, row)
	}
	add(authorHash(e.PubKey))
	if paired(e.Kind) {
		add(authorKindHash(e.PubKey, e.Kind))
	}
	for _, t := range e.Tags {
		if store.Indexed(t) {
			add(store.TagHash(t[0], t[1]))
		}
	}
	return dst
}

func paired(k nostr.Kind) bool {
	return k.IsReplaceable() || k.IsAddressable() || k == kindDeletion
}

// The names of these hashes are longer than a letter, so no tag has them.
func authorHash(k nostr.PubKey) int64 { return store.TagHash("author", string(k[:])) }

func authorKindHash(k nostr.PubKey, kind nostr.Kind) int64 {
	return store.TagHash("author+kind", string(binary.BigEndian.AppendUint64(k[:len(k):len(k)], uint64(kind))))
}

// holdable tells whether a text column holds s unchanged.
func holdable(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// substitute marks what a text column cannot hold.
func substitute(s string) string {
	if holdable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// columns returns what is stored of an event's text: tags as JSON, content and,
// when those cannot be exact, the whole event as JSON. It is errRow for text
// that no JSON holds.
func columns(e *nostr.Event, buf []byte) (tags, content string, raw, _ []byte, err error) {
	exact := holdable(e.Content)
	for _, t := range e.Tags {
		for _, s := range t {
			exact = exact && holdable(s)
		}
	}
	if exact {
		buf = appendTags(buf[:0], e.Tags)
		return string(buf), e.Content, nil, buf, nil
	}
	shown := make([]nostr.Tag, len(e.Tags))
	for i, t := range e.Tags {
		shown[i] = make(nostr.Tag, len(t))
		for j, s := range t {
			shown[i][j] = substitute(s)
		}
	}
	buf = appendTags(buf[:0], shown)
	raw = e.AppendJSON(nil)
	if _, err := nostr.ParseEvent(raw); err != nil {
		return "", "", nil, buf, errRow
	}
	return string(buf), substitute(e.Content), raw, buf, nil
}

// eventColumns is what scanEvent reads, in order.
const eventColumns = `seq, id, pubkey, created_at, kind, first_seen, sig, tags, content, raw`

var errEventRow = errors.New("damaged event row")

func scanEvent(r row) (store.Stored, error) {
	s := store.Stored{Seq: store.Seq(r.int(0)), FirstSeen: r.int(5)}
	e := &s.Event
	if raw := r.blob(9); raw != nil {
		var err error
		if s.Event, err = nostr.ParseEvent(raw); err != nil {
			return s, fmt.Errorf("event %d: %w: %w", s.Seq, errEventRow, err)
		}
		return s, nil
	}
	id, pubkey, sig := r.blob(1), r.blob(2), r.blob(6)
	if len(id) != len(e.ID) || len(pubkey) != len(e.PubKey) || len(sig) != len(e.Sig) {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	e.ID, e.PubKey, e.Sig = nostr.ID(id), nostr.PubKey(pubkey), nostr.Sig(sig)
	e.CreatedAt, e.Kind, e.Content = r.int(3), nostr.Kind(r.int(4)), r.text(8)
	var ok bool
	if e.Tags, ok = parseTags(r.text(7)); !ok {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	return s, nil
}

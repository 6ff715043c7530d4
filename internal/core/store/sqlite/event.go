package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
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

// exact tells whether text columns hold an event unchanged.
func exact(e *nostr.Event) bool {
	for _, t := range e.Tags {
		for _, s := range t {
			if !holdable(s) {
				return false
			}
		}
	}
	return holdable(e.Content)
}

// whole returns an event as JSON, or errRow when its text is of a kind that no
// JSON holds.
func whole(e *nostr.Event) ([]byte, error) {
	raw := e.AppendJSON(nil)
	if _, err := nostr.ParseEvent(raw); err != nil {
		return nil, errRow
	}
	return raw, nil
}

// columns returns what is stored of an event's text: tags as JSON, content and,
// when those cannot be exact, the whole event as JSON. It is errRow for text
// that no JSON holds.
func columns(e *nostr.Event, buf []byte) (tags, content string, raw, _ []byte, err error) {
	if exact(e) {
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
	raw, err = whole(e)
	return string(buf), substitute(e.Content), raw, buf, err
}

// archived is a stored event with what is kept of its tags when they are not.
type archived struct {
	store.Stored
	tagh     []byte
	d        int64
	expires  int64
	expiring bool
}

// indexColumns returns what is stored of an event's tags when they are not: the
// hashes of those that are indexed, that of the d tag of an addressable one, and
// when it expires.
func indexColumns(e *nostr.Event) (tagh []byte, d, expires any) {
	var hashes []int64
	for _, t := range e.Tags {
		if store.Indexed(t) {
			hashes = append(hashes, store.TagHash(t[0], t[1]))
		}
	}
	if e.Kind == kindDeletion {
		hashes = append(hashes, deletionHashes(e)...)
	}
	slices.Sort(hashes)
	tagh = make([]byte, 0, 8*len(hashes))
	for _, h := range slices.Compact(hashes) {
		tagh = binary.BigEndian.AppendUint64(tagh, uint64(h))
	}
	if e.Kind.IsAddressable() {
		d = store.TagHash("d", dTag(e))
	}
	if at, ok := expiry(e); ok {
		expires = at
	}
	return tagh, d, expires
}

// hashes is what indexColumns returned of the tags.
func (a *archived) hashes() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for b := a.tagh; len(b) >= 8; b = b[8:] {
			if !yield(int64(binary.BigEndian.Uint64(b))) {
				return
			}
		}
	}
}

// dTag is the value of the d tag, empty when there is none.
func dTag(e *nostr.Event) string {
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == "d" {
			return t[1]
		}
	}
	return ""
}

// expiry returns when an event expires (NIP-40).
func expiry(e *nostr.Event) (at int64, ok bool) {
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == "expiration" {
			at, err := strconv.ParseInt(t[1], 10, 64)
			return at, err == nil
		}
	}
	return 0, false
}

// eventColumns is what scanEvent reads, in order.
const eventColumns = `seq, id, pubkey, created_at, kind, first_seen, sig, tags, content, raw, tagh, d, expires`

var errEventRow = errors.New("damaged event row")

func scanEvent(r row) (archived, error) {
	s := archived{Stored: store.Stored{Seq: store.Seq(r.int(0)), FirstSeen: r.int(5)}}
	e := &s.Event
	if raw := r.blob(9); raw != nil {
		var err error
		if s.Event, err = nostr.ParseEvent(raw); err != nil {
			return s, fmt.Errorf("event %d: %w: %w", s.Seq, errEventRow, err)
		}
		return s, nil
	}
	id, pubkey, sig := r.blob(1), r.blob(2), r.blob(6)
	if len(id) != len(e.ID) || len(pubkey) != len(e.PubKey) || len(sig) != len(e.Sig) && len(sig) != 0 {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	e.ID, e.PubKey, e.CreatedAt, e.Kind = nostr.ID(id), nostr.PubKey(pubkey), r.int(3), nostr.Kind(r.int(4))
	if len(sig) == 0 {
		s.IndexOnly = true
		s.tagh, s.d, s.expires, s.expiring = r.blob(10), r.int(11), r.int(12), r[12] != nil
		return s, nil
	}
	e.Sig, e.Content = nostr.Sig(sig), r.text(8)
	var ok bool
	if e.Tags, ok = parseTags(r.text(7)); !ok {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	return s, nil
}

package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"

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
	return k.IsReplaceable() || k.IsAddressable() || k == store.KindDeletion
}

// The names of these hashes are longer than a letter, so no tag has them.
func authorHash(k nostr.PubKey) int64 { return store.TagHash("author", string(k[:])) }

func authorKindHash(k nostr.PubKey, kind nostr.Kind) int64 {
	return store.TagHash("author+kind", string(binary.BigEndian.AppendUint64(k[:len(k):len(k)], uint64(kind))))
}

// eventColumns is what scanEvent reads, in order.
const eventColumns = `seq, id, pubkey, created_at, kind, first_seen, sig, tags, content, raw, tagh, d, expires`

var errEventRow = errors.New("damaged event row")

func scanEvent(r row) (store.Record, error) {
	s := store.Record{Stored: store.Stored{Seq: store.Seq(r.int(0)), FirstSeen: r.int(5)}}
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
		s.Index = scanIndex(r)
		return s, nil
	}
	e.Sig, e.Content = nostr.Sig(sig), r.text(8)
	var ok bool
	if e.Tags, ok = store.ParseTags(r.text(7)); !ok {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	return s, nil
}

// scanIndex reads the columns of an event that is not kept whole. tagh has
// eight bytes for each hash.
func scanIndex(r row) store.Index {
	tagh := r.blob(10)
	in := store.Index{Tags: make([]int64, 0, len(tagh)/8)}
	for ; len(tagh) >= 8; tagh = tagh[8:] {
		in.Tags = append(in.Tags, int64(binary.BigEndian.Uint64(tagh)))
	}
	number := func(i int) *int64 {
		if r[i] == nil {
			return nil
		}
		n := r.int(i)
		return &n
	}
	in.D, in.Expires = number(11), number(12)
	return in
}

// indexColumns returns what scanIndex reads.
func indexColumns(in store.Index) (tagh []byte, d, expires any) {
	tagh = make([]byte, 0, 8*len(in.Tags))
	for _, h := range in.Tags {
		tagh = binary.BigEndian.AppendUint64(tagh, uint64(h))
	}
	if in.D != nil {
		d = *in.D
	}
	if in.Expires != nil {
		expires = *in.Expires
	}
	return tagh, d, expires
}

package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// eventColumns is what scanEvent reads, in order, of a table or alias e.
const eventColumns = `e.seq, e.id, e.pubkey, e.created_at, e.kind, e.first_seen, e.sig, e.tags::text, e.content, e.raw, e.tagh, e.d, e.expires`

var errEventRow = errors.New("damaged event row")

// eventRow is where the columns of an event are scanned into.
type eventRow struct {
	seq, createdAt, kind, firstSeen *int64
	id, pubkey, sig, raw            []byte
	tags, content                   *string
	tagh                            []int64
	d, expires                      *int64
}

func (r *eventRow) fields() []any {
	return []any{
		&r.seq, &r.id, &r.pubkey, &r.createdAt, &r.kind, &r.firstSeen, &r.sig, &r.tags, &r.content, &r.raw,
		&r.tagh, &r.d, &r.expires,
	}
}

// record turns what was scanned into an event.
func (r *eventRow) record() (store.Record, error) {
	s := store.Record{Stored: store.Stored{Seq: store.Seq(*r.seq), FirstSeen: *r.firstSeen}}
	e := &s.Event
	if r.raw != nil {
		var err error
		if s.Event, err = nostr.ParseEvent(r.raw); err != nil {
			return s, fmt.Errorf("event %d: %w: %w", s.Seq, errEventRow, err)
		}
		return s, nil
	}
	if len(r.id) != len(e.ID) || len(r.pubkey) != len(e.PubKey) || r.sig != nil && len(r.sig) != len(e.Sig) {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	e.ID, e.PubKey, e.CreatedAt, e.Kind = nostr.ID(r.id), nostr.PubKey(r.pubkey), *r.createdAt, nostr.Kind(*r.kind)
	if r.sig == nil {
		s.IndexOnly = true
		s.Index = store.Index{Tags: r.tagh, D: r.d, Expires: r.expires}
		return s, nil
	}
	if r.tags == nil || r.content == nil {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	e.Sig, e.Content = nostr.Sig(r.sig), *r.content
	var ok bool
	if e.Tags, ok = store.ParseTags(*r.tags); !ok {
		return s, fmt.Errorf("event %d: %w", s.Seq, errEventRow)
	}
	return s, nil
}

// scanEvent reads one row of eventColumns.
func scanEvent(rows pgx.Rows) (store.Record, error) {
	var r eventRow
	if err := rows.Scan(r.fields()...); err != nil {
		return store.Record{}, err
	}
	return r.record()
}

// arrays are events as the function ingest takes them: one array a column.
type arrays struct {
	ids, pubkeys, sigs, raws   [][]byte
	authors, createdAts, kinds []int64
	ds, expiries               []*int64
	taghs, tags, contents      []*string
	deletionPlaces             []int32
	deletionHashes             []int64
	buf                        []byte
}

// newArrays has room for n events. None of its lists is nil, which would be
// NULL.
func newArrays(n int) *arrays {
	return &arrays{
		ids: make([][]byte, 0, n), pubkeys: make([][]byte, 0, n), sigs: make([][]byte, 0, n), raws: make([][]byte, 0, n),
		authors: make([]int64, 0, n), createdAts: make([]int64, 0, n), kinds: make([]int64, 0, n),
		ds: make([]*int64, 0, n), expiries: make([]*int64, 0, n),
		taghs: make([]*string, 0, n), tags: make([]*string, 0, n), contents: make([]*string, 0, n),
		deletionPlaces: []int32{}, deletionHashes: []int64{},
	}
}

// authorPrefix is the column author.
func authorPrefix(k nostr.PubKey) int64 { return int64(binary.BigEndian.Uint64(k[:8])) }

// add appends an event by the policy. It is store.ErrUnstorable for one that no
// text holds, which is then not added.
func (a *arrays) add(e *nostr.Event, keep store.Keep) error {
	var tags, content *string
	var sig, raw []byte
	if keep.Full(e.Kind) {
		t, c, r, buf, err := store.EventText(e, a.buf)
		if a.buf = buf; err != nil {
			return err
		}
		tags, content, sig, raw = &t, &c, e.Sig[:], r
	} else if err := store.Storable(e); err != nil {
		return err
	}
	in := store.IndexOf(e)
	if e.Kind == store.KindDeletion {
		for _, h := range store.DeletionHashes(e) {
			a.deletionPlaces = append(a.deletionPlaces, int32(len(a.ids)+1))
			a.deletionHashes = append(a.deletionHashes, h)
		}
		if keep.Full(e.Kind) {
			in.Tags = indexed(e) // the hashes of addresses are of the table deletion
		}
	}
	a.put(e, in, sig, tags, content, raw)
	return nil
}

// indexed returns the hashes by which filters find the tags of an event.
func indexed(e *nostr.Event) []int64 {
	var hashes []int64
	for _, t := range e.Tags {
		if store.Indexed(t) {
			hashes = append(hashes, store.TagHash(t[0], t[1]))
		}
	}
	slices.Sort(hashes)
	return slices.Compact(hashes)
}

func (a *arrays) put(e *nostr.Event, in store.Index, sig []byte, tags, content *string, raw []byte) {
	a.ids, a.pubkeys = append(a.ids, e.ID[:]), append(a.pubkeys, e.PubKey[:])
	a.authors = append(a.authors, authorPrefix(e.PubKey))
	a.createdAts, a.kinds = append(a.createdAts, e.CreatedAt), append(a.kinds, int64(e.Kind))
	a.ds, a.expiries = append(a.ds, in.D), append(a.expiries, in.Expires)
	a.taghs = append(a.taghs, numbers(in.Tags))
	a.sigs, a.tags, a.contents, a.raws = append(a.sigs, sig), append(a.tags, tags), append(a.contents, content), append(a.raws, raw)
}

// numbers is a list of numbers as the server reads it, nil for none.
func numbers(list []int64) *string {
	if len(list) == 0 {
		return nil
	}
	b := []byte{'{'}
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	s := string(append(b, '}'))
	return &s
}

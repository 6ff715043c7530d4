package face

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

const (
	// setKept is how long a set that nobody asks for is kept to be renewed, and
	// setWhole after which time it is read as a whole again: what the operator has
	// thinned or removed leaves it then.
	setKept  = time.Hour
	setWhole = 6 * time.Hour
	// maxRenewed is how many new events are looked at one by one. With more, a set
	// is sooner read as a whole.
	maxRenewed = 20_000
)

// base is what makes one set out of another by what has been archived meanwhile.
// Each set takes over that of the one before.
type base struct {
	at    store.Cursor // what is archived up to there is in the set
	whole time.Time    // when it was read as a whole
	// lines has the newest version of each line that the set has one of.
	lines map[uint64]nostr.Ref
	// expiring are those that leave by themselves.
	expiring []expiring
}

type expiring struct {
	at  int64
	ref nostr.Ref
}

func newBase(at store.Cursor) *base {
	return &base{at: at, whole: time.Now(), lines: map[uint64]nostr.Ref{}}
}

// lineSeed keeps strangers from making two lines look like one.
var lineSeed = maphash.MakeSeed()

// add takes in an event of the set.
func (b *base) add(e *nostr.Event) {
	if line, ok := store.LineOf(&store.Record{Stored: store.Stored{Event: *e}}); ok {
		b.lines[maphash.Comparable(lineSeed, line)] = e.Ref()
	}
	b.expires(e)
}

func (b *base) expires(e *nostr.Event) {
	if at, ok := store.Expiry(e); ok {
		b.expiring = append(b.expiring, expiring{at, e.Ref()})
	}
}

// errWhole says that a set has to be read as a whole.
var errWhole = errors.New("the set is to be read as a whole")

// renewal is the making of a set out of one of before.
type renewal struct {
	*base
	news  []nostr.ID  // archived since
	asked []nostr.ID  // that somebody has asked to delete
	left  []nostr.Ref // are not served any longer, if they were
}

// renew makes a set out of one of before, whose base it takes over whatever comes
// of it. The error is errWhole when that is not the way.
func (f *Face) renew(ctx context.Context, s, old *set, filter nostr.Filter) error {
	r := renewal{base: old.base}
	old.base = nil
	if r.base == nil || time.Since(r.whole) >= setWhole || len(filter.IDs) > 0 {
		return errWhole
	}
	now := time.Now().Unix()
	for e, err := range f.store.ScanEvents(ctx, r.at, nostr.Filter{Limit: new(maxRenewed + 1)}) {
		switch {
		case errors.Is(err, store.ErrCursor):
			return errWhole // the database was replaced by a copy
		case err != nil:
			return err
		}
		if len(r.news) == maxRenewed || !r.take(&e.Stored) {
			return errWhole
		}
		r.at = e.Cursor
	}
	query := store.EventQuery{Filter: filter, Public: true, Now: now}
	var added []nostr.Ref
	if err := judge(ctx, f.store, query, r.news, func(s *store.Stored) {
		added = append(added, s.Event.Ref())
		r.expires(&s.Event)
	}); err != nil {
		return err
	}
	if err := f.deletions(ctx, query, &r); err != nil {
		return err
	}
	r.expiring = slices.DeleteFunc(r.expiring, func(e expiring) bool {
		if e.at <= now {
			r.left = append(r.left, e.ref)
		}
		return e.at <= now
	})
	refs := merge(old.items, added, r.left)
	if len(refs) > maxSet {
		return errSetSize
	}
	if !f.sets.grow(s, int64(len(refs))) {
		return errBusy
	}
	s.items, s.base = negentropy.NewVector(refs), r.base
	return nil
}

// take looks at what a newly archived event has others leave the set. It reports
// false when that cannot be told.
func (r *renewal) take(s *store.Stored) bool {
	e := &s.Event
	if s.IndexOnly && (e.Kind.IsAddressable() || e.Kind == store.KindDeletion) || store.Vanishes(e) {
		return false // its tags are not kept, or an author is to be forgotten
	}
	r.news = append(r.news, e.ID)
	if line, ok := store.LineOf(&store.Record{Stored: *s}); ok {
		key := maphash.Comparable(lineSeed, line)
		held, found := r.lines[key]
		newest := store.Newest{line: e.Ref()}
		switch {
		case !found:
			r.lines[key] = e.Ref()
		case newest.Supersedes(line, held):
			r.lines[key] = e.Ref()
			r.left = append(r.left, held)
		}
	}
	if e.Kind != store.KindDeletion {
		return true
	}
	for _, t := range e.Tags {
		if len(t) < 2 {
			continue
		}
		switch t[0] {
		case "e":
			if id, err := nostr.ParseID(t[1]); err == nil {
				r.asked = append(r.asked, id)
			}
		case "a":
			kind, d, own := store.OwnAddress(t[1], e.PubKey)
			if !own {
				continue
			}
			line := store.Line{Author: e.PubKey, Kind: kind}
			if kind.IsAddressable() {
				line.D = store.TagHash("d", d)
			}
			if held, ok := r.lines[maphash.Comparable(lineSeed, line)]; ok {
				r.asked = append(r.asked, held.ID)
			}
		}
	}
	return true
}

// deletions notes which of those that were asked to be deleted are gone.
func (f *Face) deletions(ctx context.Context, query store.EventQuery, r *renewal) error {
	served := make(map[nostr.ID]bool, len(r.asked))
	if err := judge(ctx, f.store, query, r.asked, func(s *store.Stored) { served[s.Event.ID] = true }); err != nil {
		return err
	}
	return each(ctx, f.store, store.EventQuery{}, r.asked, func(page []store.Stored) error {
		for i := range page {
			if e := &page[i].Event; !served[e.ID] {
				r.left = append(r.left, e.Ref())
			}
		}
		return nil
	})
}

// merge returns the items of a set with what was added and without what has left,
// in their order.
func merge(items *negentropy.Vector, added, left []nostr.Ref) []nostr.Ref {
	order := func(a, b nostr.Ref) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), bytes.Compare(a.ID[:], b.ID[:]))
	}
	slices.SortFunc(added, order)
	slices.SortFunc(left, order)
	refs := make([]nostr.Ref, 0, items.Len()+len(added))
	for item := range items.All() {
		for len(added) > 0 && order(added[0], item) <= 0 {
			refs, added = append(refs, added[0]), added[1:]
		}
		for len(left) > 0 && order(left[0], item) < 0 {
			left = left[1:]
		}
		if len(left) == 0 || left[0] != item {
			refs = append(refs, item)
		}
	}
	return append(refs, added...)
}

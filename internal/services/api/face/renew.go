package face

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
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
	// judged is how many of them are judged at once.
	judged = 400
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
		b.lines[maphash.Comparable(lineSeed, line)] = ref(e)
	}
	b.expires(e)
}

func (b *base) expires(e *nostr.Event) {
	if at, ok := store.Expiry(e); ok {
		b.expiring = append(b.expiring, expiring{at, ref(e)})
	}
}

func ref(e *nostr.Event) nostr.Ref { return nostr.Ref{ID: e.ID, CreatedAt: e.CreatedAt} }

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
	var added []nostr.Ref
	if err := f.judge(ctx, filter, r.news, func(e *nostr.Event) {
		added = append(added, ref(e))
		r.expires(e)
	}); err != nil {
		return err
	}
	if err := f.deletions(ctx, filter, &r); err != nil {
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
		newest := store.Newest{line: ref(e)}
		switch {
		case !found:
			r.lines[key] = ref(e)
		case newest.Supersedes(line, held):
			r.lines[key] = ref(e)
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
			if held, ok := r.lines[maphash.Comparable(lineSeed, lineAt(t[1], e.PubKey))]; ok {
				r.asked = append(r.asked, held.ID)
			}
		}
	}
	return true
}

// lineAt returns the line of an address, as far as it is the author's own.
func lineAt(address string, author nostr.PubKey) store.Line {
	number, rest, _ := strings.Cut(address, ":")
	kind, err := strconv.ParseInt(number, 10, 64)
	d, own := strings.CutPrefix(rest, author.String()+":")
	if err != nil || !own {
		return store.Line{}
	}
	line := store.Line{Author: author, Kind: nostr.Kind(kind)}
	if line.Kind.IsAddressable() {
		line.D = store.TagHash("d", d)
	}
	return line
}

// deletions notes which of those that were asked to be deleted are gone.
func (f *Face) deletions(ctx context.Context, filter nostr.Filter, r *renewal) error {
	served := make(map[nostr.ID]bool, len(r.asked))
	if err := f.judge(ctx, filter, r.asked, func(e *nostr.Event) { served[e.ID] = true }); err != nil {
		return err
	}
	return f.each(ctx, store.EventQuery{}, r.asked, func(page []store.Stored) error {
		for i := range page {
			if e := &page[i].Event; !served[e.ID] {
				r.left = append(r.left, ref(e))
			}
		}
		return nil
	})
}

// judge visits those of some events that match a filter and are served.
func (f *Face) judge(ctx context.Context, filter nostr.Filter, ids []nostr.ID, visit func(*nostr.Event)) error {
	q := store.EventQuery{Filter: filter, Public: true, Now: time.Now().Unix()}
	return f.each(ctx, q, ids, func(page []store.Stored) error {
		superseded, err := f.store.Superseded(ctx, page)
		if err != nil {
			return err
		}
		for i := range page {
			if !superseded[i] && !page[i].IndexOnly {
				visit(&page[i].Event)
			}
		}
		return nil
	})
}

// each reads events by their ids.
func (f *Face) each(ctx context.Context, q store.EventQuery, ids []nostr.ID, visit func([]store.Stored) error) error {
	for part := range slices.Chunk(ids, judged) {
		q.Filter.IDs, q.Limit, q.After = part, judged, ""
		for more := true; more; more = q.After != "" {
			page, next, err := f.store.Events(ctx, q)
			if err != nil {
				return err
			}
			if err := visit(page); err != nil {
				return err
			}
			q.After = next
		}
	}
	return nil
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

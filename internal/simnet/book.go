package simnet

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"bigbrotr/internal/core/nostr"
)

// entry is an event in the book of one relay.
type entry struct {
	*Event
	seq   uint32 // in the order of arrival at this relay
	added uint32 // when it arrived, Unix seconds; 0 before the first request
}

// book is what one relay holds, newest first, ties by lowest id. Only pointers
// are its own: the events are shared.
type book struct {
	mu   sync.RWMutex
	rows []entry
	seq  uint32
	byID []*Event // by ascending id; nil until it is needed and after changes
}

func compareEntries(a, b entry) int {
	if c := cmp.Compare(b.CreatedAt, a.CreatedAt); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// add takes events in; ephemeral ones and ids that are held already are left
// out. It returns those that are new.
func (b *book) add(events []*Event, at int64) []entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := make([]entry, 0, len(events))
	for _, e := range events {
		if !e.Kind.IsEphemeral() {
			b.seq++
			fresh = append(fresh, entry{Event: e, seq: b.seq, added: uint32(at)}) // seconds until 2106
		}
	}
	slices.SortStableFunc(fresh, compareEntries)
	fresh = slices.CompactFunc(fresh, func(a, b entry) bool { return a.ID == b.ID })
	fresh = slices.DeleteFunc(fresh, func(e entry) bool {
		_, held := slices.BinarySearchFunc(b.rows, e, compareEntries)
		return held
	})
	if len(fresh) == 0 {
		return nil
	}
	if len(fresh) < 16 {
		for _, e := range fresh {
			i, _ := slices.BinarySearchFunc(b.rows, e, compareEntries)
			b.rows = slices.Insert(b.rows, i, e)
		}
	} else {
		b.rows = merge(b.rows, fresh)
	}
	b.byID = nil
	return fresh
}

func merge(a, b []entry) []entry {
	out := make([]entry, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compareEntries(a[0], b[0]) < 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// remove drops events and returns how many it held.
func (b *book) remove(ids []nostr.ID) int {
	drop := make(map[nostr.ID]bool, len(ids))
	for _, id := range ids {
		drop[id] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.rows)
	b.rows = slices.DeleteFunc(b.rows, func(e entry) bool { return drop[e.ID] })
	b.byID = nil
	return before - len(b.rows)
}

func (b *book) len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.rows)
}

// span returns the rows with lo ≤ created_at ≤ hi, newest first. b.mu is held.
func (b *book) span(lo, hi int64) []entry {
	from, _ := slices.BinarySearchFunc(b.rows, hi, func(e entry, hi int64) int { return cmp.Compare(hi, e.CreatedAt) })
	// BinarySearchFunc finds the first of equal rows.
	to, _ := slices.BinarySearchFunc(b.rows, lo, func(e entry, lo int64) int {
		if e.CreatedAt >= lo {
			return -1
		}
		return 1
	})
	if from >= to {
		return nil
	}
	return b.rows[from:to]
}

// find returns the held events of ids, newest first. b.mu is not held.
func (b *book) find(ids []nostr.ID) []entry {
	b.mu.RLock()
	ready := b.byID != nil
	b.mu.RUnlock()
	if !ready {
		b.mu.Lock()
		if b.byID == nil {
			b.byID = make([]*Event, len(b.rows))
			for i, e := range b.rows {
				b.byID[i] = e.Event
			}
			slices.SortFunc(b.byID, func(a, b *Event) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		}
		b.mu.Unlock()
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []entry
	for _, id := range ids {
		i, ok := slices.BinarySearchFunc(b.byID, id, func(e *Event, id nostr.ID) int { return bytes.Compare(e.ID[:], id[:]) })
		if !ok {
			continue
		}
		if j, ok := slices.BinarySearchFunc(b.rows, entry{Event: b.byID[i]}, compareEntries); ok {
			out = append(out, b.rows[j])
		}
	}
	slices.SortFunc(out, compareEntries)
	return slices.CompactFunc(out, func(a, b entry) bool { return a.ID == b.ID })
}

// pick returns the first limit events that match, in the given order; a
// negative limit means all. keep may be nil.
func (b *book) pick(f *nostr.Filter, w bounds, limit int, order Order, keep func(*Event) bool) []entry {
	if limit == 0 {
		return nil
	}
	m := newMatcher(f)
	wanted := func(e entry) bool { return m.matches(e.Event) && (keep == nil || keep(e.Event)) }

	var rows []entry
	if len(f.IDs) > 0 {
		rows = b.find(f.IDs)
		rows = slices.DeleteFunc(rows, func(e entry) bool { return e.CreatedAt < w.lo || e.CreatedAt > w.hi })
	} else {
		b.mu.RLock()
		defer b.mu.RUnlock()
		rows = b.span(w.lo, w.hi)
	}

	var out []entry
	switch order {
	case OldestFirst:
		for i := len(rows) - 1; i >= 0 && (limit < 0 || len(out) < limit); i-- {
			if wanted(rows[i]) {
				out = append(out, rows[i])
			}
		}
		return out
	case ByID:
		for _, e := range rows {
			if wanted(e) {
				out = append(out, e)
			}
		}
		slices.SortFunc(out, func(a, b entry) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		return cut(out, limit)
	case NewestLatest:
		for i := 0; i < len(rows) && (limit < 0 || len(out) < limit); {
			end := i
			for end < len(rows) && rows[end].CreatedAt == rows[i].CreatedAt {
				end++
			}
			second := len(out)
			for _, e := range rows[i:end] {
				if wanted(e) {
					out = append(out, e)
				}
			}
			slices.SortFunc(out[second:], func(a, b entry) int { return cmp.Compare(b.seq, a.seq) })
			i = end
		}
		return cut(out, limit)
	default:
		for i := 0; i < len(rows) && (limit < 0 || len(out) < limit); i++ {
			if wanted(rows[i]) {
				out = append(out, rows[i])
			}
		}
		if order == Shuffled {
			// The end of an id is as good as a die, and the same in every run.
			slices.SortFunc(out, func(a, b entry) int { return bytes.Compare(a.ID[16:], b.ID[16:]) })
		}
		return out
	}
}

// count returns how many held events match.
func (b *book) count(f *nostr.Filter, w bounds, keep func(*Event) bool) int {
	return len(b.pick(f, w, -1, NewestFirst, keep))
}

func cut(rows []entry, limit int) []entry {
	if limit >= 0 && len(rows) > limit {
		return rows[:limit]
	}
	return rows
}

// matcher is a filter made ready for many events. Since, until and limit are
// the caller's.
type matcher struct {
	filter  *nostr.Filter
	ids     map[nostr.ID]bool
	authors map[nostr.PubKey]bool
	kinds   map[nostr.Kind]bool
	parse   bool
}

func newMatcher(f *nostr.Filter) matcher {
	m := matcher{filter: f, ids: set(f.IDs), authors: set(f.Authors), kinds: set(f.Kinds)}
	for _, values := range f.Tags {
		m.parse = m.parse || len(values) > 0
	}
	return m
}

func set[T comparable](list []T) map[T]bool {
	if len(list) == 0 {
		return nil
	}
	m := make(map[T]bool, len(list))
	for _, v := range list {
		m[v] = true
	}
	return m
}

func (m *matcher) matches(e *Event) bool {
	if m.kinds != nil && !m.kinds[e.Kind] || m.authors != nil && !m.authors[e.PubKey] || m.ids != nil && !m.ids[e.ID] {
		return false
	}
	if !m.parse {
		return true
	}
	full := e.Parse()
	for letter, values := range m.filter.Tags {
		if len(values) > 0 && !slices.ContainsFunc(full.Tags, func(t nostr.Tag) bool {
			return len(t) > 1 && t[0] == letter && slices.Contains(values, t[1])
		}) {
			return false
		}
	}
	return true
}

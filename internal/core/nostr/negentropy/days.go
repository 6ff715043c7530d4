package negentropy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sort"

	"bigbrotr/internal/core/nostr"
)

// ErrStale says that a day's accumulator is not that of the items that were read
// for it: the set changed meanwhile, or whoever keeps the accumulators lost
// count.
var ErrStale = errors.New("a day's accumulator does not fit its items")

// Day is the accumulator of the items from Start up to the Start of the next
// Day.
type Day struct {
	Start int64 // Unix seconds
	Accumulator
}

// Loader reads the items of from to until, both included, in any order.
type Loader func(ctx context.Context, from, until int64) ([]nostr.Ref, error)

// Days is an Items of which the accumulators of days are known and ids are read
// only for days that a range cuts. It holds the items of a few days at a time. It
// is not safe for concurrent use.
type Days struct {
	days  []Day
	first []Accumulator // first[i] is that of the first i days
	load  Loader
	// held are the days read last, by turns: a range cuts two days at most, and
	// the next range goes on where it ends.
	held [4]struct {
		day   int
		items *Vector
	}
	turn int
}

// NewDays returns the set of days, which are in the order of Start. The last one
// has no end; before the first there is nothing.
func NewDays(days []Day, load Loader) *Days {
	d := &Days{days: days, first: make([]Accumulator, 1, len(days)+1), load: load}
	for i := range days {
		a := d.first[i]
		a.Merge(days[i].Accumulator)
		d.first = append(d.first, a)
	}
	return d
}

// Plan returns what to ask a peer for to compare all days: a range for each day,
// or for several together that hold no more than most items, from the beginning
// of time to its end.
func (d *Days) Plan(most int64) []Ask {
	plan := []Ask{{Hi: Infinity}}
	var n int64
	for i := range d.days {
		day := &d.days[i]
		if n > 0 && n+day.Count > most {
			plan[len(plan)-1].Hi = At(day.Start)
			plan = append(plan, Ask{Lo: At(day.Start), Hi: Infinity})
			n = 0
		}
		n += day.Count
	}
	return plan
}

// StaleError says which items do not fit. It is an ErrStale.
type StaleError struct{ Lo, Hi int64 } // the first and the last second of the day

func (e *StaleError) Error() string {
	return fmt.Sprintf("items from %d to %d: %v", e.Lo, e.Hi, ErrStale)
}

// Is implements errors.Is.
func (*StaleError) Is(target error) bool { return target == ErrStale }

// day returns the index of the day that b lies in, or -1 before all days.
func (d *Days) day(b Bound) int {
	return sort.Search(len(d.days), func(i int) bool { return At(d.days[i].Start).Compare(b) > 0 }) - 1
}

func (d *Days) items(ctx context.Context, day int) (*Vector, error) {
	for i := range d.held {
		if h := &d.held[i]; h.items != nil && h.day == day {
			return h.items, nil
		}
	}
	until := int64(math.MaxInt64)
	if day+1 < len(d.days) {
		until = d.days[day+1].Start - 1
	}
	items, err := d.load(ctx, d.days[day].Start, until)
	if err != nil {
		return nil, fmt.Errorf("read the items from %d to %d: %w", d.days[day].Start, until, err)
	}
	v := NewVector(items)
	if v.first(v.Len()) != d.days[day].Accumulator {
		return nil, &StaleError{Lo: d.days[day].Start, Hi: until}
	}
	d.held[d.turn].day, d.held[d.turn].items = day, v
	d.turn = (d.turn + 1) % len(d.held)
	return v, nil
}

// below returns the accumulator of all items below b.
func (d *Days) below(ctx context.Context, b Bound) (Accumulator, error) {
	if b == Infinity {
		return d.first[len(d.days)], nil
	}
	day := d.day(b)
	if day < 0 {
		return Accumulator{}, nil
	}
	a := d.first[day]
	if b == At(d.days[day].Start) || d.days[day].Count == 0 {
		return a, nil
	}
	v, err := d.items(ctx, day)
	if err != nil {
		return Accumulator{}, err
	}
	a.Merge(v.first(v.index(b)))
	return a, nil
}

// Sum implements Items.
func (d *Days) Sum(ctx context.Context, lo, hi Bound) (Accumulator, error) {
	a, err := d.below(ctx, lo)
	if err != nil {
		return Accumulator{}, err
	}
	b, err := d.below(ctx, hi)
	if err != nil {
		return Accumulator{}, err
	}
	if b.Count <= a.Count {
		return Accumulator{}, nil
	}
	return b.without(a), nil
}

// Cut implements Items. A range of several days that hold items is cut between
// days, so that no ids need be read for the parts.
func (d *Days) Cut(ctx context.Context, lo, hi Bound, parts int) ([]Bound, error) {
	a, err := d.below(ctx, lo)
	if err != nil {
		return nil, err
	}
	b, err := d.below(ctx, hi)
	if err != nil {
		return nil, err
	}
	n := b.Count - a.Count
	if n <= 0 {
		return nil, nil
	}
	var cuts []Bound
	last := a.Count
	for part := 1; part < parts; part++ {
		// The first day that begins at or behind where the part should end.
		want := a.Count + n*int64(part)/int64(parts)
		i := sort.Search(len(d.days), func(i int) bool { return d.first[i].Count >= max(want, last+1) })
		if i == len(d.days) || d.first[i].Count >= b.Count {
			break
		}
		last = d.first[i].Count
		cuts = append(cuts, At(d.days[i].Start))
	}
	if cuts != nil {
		return cuts, nil
	}
	// One day, perhaps after smaller ones: the last that has an item.
	i := sort.Search(len(d.days), func(i int) bool { return d.first[i+1].Count >= b.Count })
	if a.Count < d.first[i].Count {
		return []Bound{At(d.days[i].Start)}, nil
	}
	v, err := d.items(ctx, i)
	if err != nil {
		return nil, err
	}
	return v.Cut(ctx, lo, hi, parts)
}

// Scan implements Items.
func (d *Days) Scan(ctx context.Context, lo, hi Bound) iter.Seq2[nostr.Ref, error] {
	return func(yield func(nostr.Ref, error) bool) {
		for i := max(0, d.day(lo)); i < len(d.days) && At(d.days[i].Start).Compare(hi) < 0; i++ {
			if d.days[i].Count == 0 {
				continue
			}
			v, err := d.items(ctx, i)
			if err != nil {
				yield(nostr.Ref{}, err)
				return
			}
			for item, err := range v.Scan(ctx, lo, hi) {
				if !yield(item, err) {
					return
				}
			}
		}
	}
}

package negentropy

import (
	"context"
	"iter"
	"slices"
	"sort"

	"bigbrotr/internal/core/nostr"
)

// Items is a set of items in the order of created_at, then id. All ranges
// include lo and exclude hi. It must not change during a reconciliation.
type Items interface {
	// Sum returns the accumulator of a range.
	Sum(ctx context.Context, lo, hi Bound) (Accumulator, error)
	// Cut returns bounds within a range, in order, that cut its items into as
	// many parts of about the same size, or into fewer where that is cheaper.
	// No part is empty, so there may be no bound at all.
	Cut(ctx context.Context, lo, hi Bound, parts int) ([]Bound, error)
	// Scan yields the items of a range in order. After an error it yields no
	// more.
	Scan(ctx context.Context, lo, hi Bound) iter.Seq2[nostr.Ref, error]
}

// Vector holds its items in memory.
type Vector struct {
	items []nostr.Ref
	// sums holds the sum of the first i×stride items.
	sums [][32]byte
}

// stride weighs half a byte of memory for each item against adding up 64 ids,
// which is what the hash over the sum costs anyway.
const stride = 64

// NewVector takes over the items, sorts them and drops repeated ones. No
// created_at may be below 0.
func NewVector(items []nostr.Ref) *Vector {
	slices.SortFunc(items, func(a, b nostr.Ref) int { return before(a).Compare(before(b)) })
	items = slices.Compact(items)
	v := &Vector{items: items, sums: make([][32]byte, 1, 1+len(items)/stride)}
	var a Accumulator
	for i := range items {
		if a.Add(items[i].ID); (i+1)%stride == 0 {
			v.sums = append(v.sums, a.Sum)
		}
	}
	return v
}

// Len returns the number of items.
func (v *Vector) Len() int { return len(v.items) }

// All yields the items in their order.
func (v *Vector) All() iter.Seq[nostr.Ref] { return slices.Values(v.items) }

// index returns the index of the first item that is not below b.
func (v *Vector) index(b Bound) int {
	return sort.Search(len(v.items), func(i int) bool { return before(v.items[i]).Compare(b) >= 0 })
}

func (v *Vector) span(lo, hi Bound) (i, j int) {
	i = v.index(lo)
	return i, max(i, v.index(hi))
}

// first returns the accumulator of the first n items.
func (v *Vector) first(n int) Accumulator {
	i := n / stride
	a := Accumulator{Count: int64(i * stride), Sum: v.sums[i]}
	for _, item := range v.items[i*stride : n] {
		a.Add(item.ID)
	}
	return a
}

// Sum implements Items. The error is nil.
func (v *Vector) Sum(_ context.Context, lo, hi Bound) (Accumulator, error) {
	i, j := v.span(lo, hi)
	if j-i > stride {
		return v.first(j).without(v.first(i)), nil
	}
	var a Accumulator
	for _, item := range v.items[i:j] {
		a.Add(item.ID)
	}
	return a, nil
}

// Cut implements Items. The error is nil.
func (v *Vector) Cut(_ context.Context, lo, hi Bound, parts int) ([]Bound, error) {
	i, j := v.span(lo, hi)
	n := j - i
	parts = min(parts, n)
	var cuts []Bound
	for part := 1; part < parts; part++ {
		// The first parts take what does not divide.
		k := i + part*(n/parts) + min(part, n%parts)
		cuts = append(cuts, Between(v.items[k-1], v.items[k]))
	}
	return cuts, nil
}

// Scan implements Items and yields no error.
func (v *Vector) Scan(_ context.Context, lo, hi Bound) iter.Seq2[nostr.Ref, error] {
	return func(yield func(nostr.Ref, error) bool) {
		i, j := v.span(lo, hi)
		for _, item := range v.items[i:j] {
			if !yield(item, nil) {
				return
			}
		}
	}
}

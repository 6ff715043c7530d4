package face

import (
	"context"
	"slices"
	"time"

	"bigbrotr/internal/core/nostr"
)

// For tests that need a database.
const (
	SetFresh   = setFresh
	SetWhole   = setWhole
	MaxRenewed = maxRenewed
)

// ErrWhole is what Renew says of a set that has to be read as a whole.
var ErrWhole = errWhole

// Set is a set of a reconciliation.
type Set = set

// Refs returns what is in the set.
func (s *set) Refs() []nostr.Ref { return slices.Collect(s.items.All()) }

// Whole is when the set was read as a whole; zero when another has been made of it.
func (s *set) Whole() time.Time {
	if s.base == nil {
		return time.Time{}
	}
	return s.base.whole
}

// Beginning is a set with those events, of which nothing is known.
func (s *set) Beginning() *Set { return &set{base: newBase(""), items: s.items} }

// MakeSet reads a set as a whole.
func (f *Face) MakeSet(ctx context.Context, filter nostr.Filter) (*Set, error) {
	s := &set{}
	return s, f.makeSet(ctx, s, nil, filter)
}

// Renew makes a set of one of before.
func (f *Face) Renew(ctx context.Context, old *Set, filter nostr.Filter) (*Set, error) {
	s := &set{}
	return s, f.renew(ctx, s, old, filter)
}

// AskFor does what NEG-OPEN and NEG-CLOSE do.
func (f *Face) AskFor(ctx context.Context, filter nostr.Filter) (*Set, error) {
	s, err := f.setOf(ctx, filter)
	if err == nil {
		f.sets.release(s)
	}
	return s, err
}

// Accounted is how many ids of sets are accounted for.
func (f *Face) Accounted() int64 { return f.sets.ids }

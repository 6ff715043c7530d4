package store

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"bigbrotr/internal/core/nostr"
)

// FilterText returns the one text of all filters that ask for the same events:
// the order and number of repetitions in their lists, and the limit, do not
// matter.
func FilterText(f nostr.Filter) string {
	f.IDs = set(f.IDs, func(a, b nostr.ID) int { return bytes.Compare(a[:], b[:]) })
	f.Authors = set(f.Authors, func(a, b nostr.PubKey) int { return bytes.Compare(a[:], b[:]) })
	f.Kinds = set(f.Kinds, cmp.Compare)
	f.Tags = maps.Clone(f.Tags)
	for name, values := range f.Tags {
		f.Tags[name] = set(values, cmp.Compare)
	}
	f.Limit = nil
	return string(f.AppendJSON(nil))
}

// set returns a sorted copy without repetitions.
func set[T comparable](list []T, order func(a, b T) int) []T {
	list = slices.Clone(list)
	slices.SortFunc(list, order)
	return slices.Compact(list)
}

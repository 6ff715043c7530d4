package store

import (
	"cmp"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
)

// ranks are the classes by strength; databases hold their ranks.
var ranks = []hints.Class{hints.Seed, hints.Monitor, hints.List, hints.API, hints.NIP05, hints.Hint, hints.Content, hints.NIP11}

// ClassOf returns the class of a rank, empty for none.
func ClassOf(rank int64) hints.Class {
	if rank < 0 || rank >= int64(len(ranks)) {
		return ""
	}
	return ranks[rank]
}

// Place is what the mentions of one batch say of a URL in one class.
type Place struct {
	URL         relay.URL
	Rank        int // of the class
	First, Last int64
	N           int64
	Authors     Distinct
}

// Places puts mentions together by URL and class, in this order.
func Places(mentions []Mention) []*Place {
	type key struct {
		url  relay.URL
		rank int
	}
	byKey := make(map[key]*Place)
	var list []*Place
	for _, m := range mentions {
		if m.URL.IsZero() {
			continue
		}
		k := key{m.URL, m.Class.Rank()}
		p := byKey[k]
		if p == nil {
			p = &Place{URL: m.URL, Rank: k.rank, First: m.At, Last: m.At}
			byKey[k] = p
			list = append(list, p)
		}
		p.First, p.Last = min(p.First, m.At), max(p.Last, m.At)
		p.N++
		if author := m.Author; author != (nostr.PubKey{}) {
			p.Authors.Add((*[32]byte)(&author))
		}
	}
	slices.SortFunc(list, func(a, b *Place) int {
		return cmp.Or(cmp.Compare(a.URL.String(), b.URL.String()), cmp.Compare(a.Rank, b.Rank))
	})
	return list
}

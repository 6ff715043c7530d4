package simnet

import (
	"cmp"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// Account is what an archive says about one relay and filter.
type Account struct {
	Relay relay.URL
	// Filter is the filter that Claims and Holes are about, but for those whose
	// own filter is among Filters.
	Filter  nostr.Filter
	Filters map[store.FilterID]nostr.Filter
	// Authenticates says that who made the archive shows relays a key (NIP-42).
	Authenticates bool
	// Held tells whether the archive holds an event and has seen it at Relay.
	Held   func(nostr.ID) bool
	Claims []store.Coverage
	Holes  []store.Hole
}

// Result compares an archive with the truth. Events are counted once, however
// many relays show them.
type Result struct {
	Relays      int // with an account
	Visible     int // events that at least one of them shows
	Archived    int // of those, held
	Holes       int // listed
	Missing     int // visible somewhere, there neither held nor within a hole
	FalseClaims int // pairs of relay and event that a claim denies
	PerRelay    []RelayResult
}

// OK tells whether every visible event is held or within a hole, and every
// claim is true.
func (r Result) OK() bool { return r.Missing == 0 && r.FalseClaims == 0 }

// RelayResult is the comparison for one relay.
type RelayResult struct {
	URL         relay.URL
	Visible     int
	Archived    int
	InHoles     int // visible, not held, within a hole
	Missing     []*Event
	FalseClaims []FalseClaim
}

// FalseClaim is an interval claimed as complete, and an event in it that the
// relay showed at the time of the claim and that is neither held nor within a
// hole of the same filter.
type FalseClaim struct {
	Claim store.Coverage
	Event *Event
}

// Compare holds accounts against what the relays show now. Accounts of relays
// that are not in the network are left out, and relays without an account too.
// An event that came to a relay after a claim's AsOf is no concern of the
// claim.
func (n *Network) Compare(accounts []Account) Result {
	var out Result
	visible := map[nostr.ID]bool{} // to whether it is held
	missing := map[nostr.ID]bool{}
	relays := n.Relays()
	for _, a := range accounts {
		i := slices.IndexFunc(relays, func(r *Relay) bool { return r.url == a.Relay })
		if i < 0 {
			continue
		}
		out.Relays++
		out.Holes += len(a.Holes)
		one := RelayResult{URL: a.Relay}
		claims := slices.Clone(a.Claims)
		slices.SortFunc(claims, func(a, b store.Coverage) int { return cmp.Compare(a.Lo, b.Lo) })
		for _, e := range relays[i].visible(&a.Filter, a.Authenticates) {
			one.Visible++
			held := a.Held(e.ID)
			visible[e.ID] = visible[e.ID] || held
			if held {
				one.Archived++
				continue
			}
			var filters []store.FilterID // whose holes it lies in
			for _, h := range a.Holes {
				if a.about(h.Filter, e.Event) && covers(h, e.Event) {
					filters = append(filters, h.Filter)
				}
			}
			if len(filters) > 0 {
				one.InHoles++
			} else {
				one.Missing = append(one.Missing, e.Event)
				missing[e.ID] = true
			}
			for _, c := range claims {
				if c.Lo > e.CreatedAt {
					break
				}
				// The hole of one filter is no excuse for the claim of another.
				if c.Level > store.LevelUnknown && e.CreatedAt <= c.Hi && int64(e.added) < c.AsOf && a.about(c.Filter, e.Event) && !slices.Contains(filters, c.Filter) {
					one.FalseClaims = append(one.FalseClaims, FalseClaim{Claim: c, Event: e.Event})
				}
			}
		}
		out.FalseClaims += len(one.FalseClaims)
		out.PerRelay = append(out.PerRelay, one)
	}
	out.Visible, out.Missing = len(visible), len(missing)
	for _, held := range visible {
		if held {
			out.Archived++
		}
	}
	return out
}

// about tells whether a claim or hole of a filter speaks of an event that
// matches the account's filter.
func (a *Account) about(id store.FilterID, e *Event) bool {
	own, ok := a.Filters[id]
	if !ok {
		return true
	}
	m := newMatcher(&own)
	return m.matches(e)
}

func covers(h store.Hole, e *Event) bool {
	return h.Lo <= e.CreatedAt && e.CreatedAt <= h.Hi && (h.Kind == store.AnyKind || h.Kind == e.Kind)
}

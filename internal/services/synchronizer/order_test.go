package synchronizer

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

// TestLuck walks a relay that sorts by id, and whose first page is sorted by time
// as well: all other events lie between its events.
func TestLuck(t *testing.T) {
	const limit, block = 6, 14
	byID := slices.Clone(pool()[:120])
	slices.SortFunc(byID, func(a, b fact) int { return slices.Compare(a.event.ID[:], b.event.ID[:]) })
	for _, newest := range []bool{true, false} {
		// One of each block of ids, that which is nearest to a straight line through time.
		lo, hi := modelNow.Unix()-3*365*86400, modelNow.Unix()-4*86400
		var facts []fact
		for part := range slices.Chunk(byID[:limit*block], block) {
			at := lo + int64(len(facts))*(hi-lo)/(limit-1)
			if newest {
				at = lo + hi - at
			}
			far := func(f fact) int64 { return max(f.event.CreatedAt-at, at-f.event.CreatedAt) }
			facts = append(facts, slices.MinFunc(part, func(a, b fact) int { return cmp.Compare(far(a), far(b)) }))
		}
		if !slices.IsSortedFunc(facts, func(a, b fact) int {
			if newest {
				a, b = b, a
			}
			return cmp.Compare(a.event.CreatedAt, b.event.CreatedAt)
		}) {
			t.Fatal("the first page has no order")
		}
		first, last := facts[0].event.CreatedAt, facts[limit-1].event.CreatedAt
		for _, f := range byID[limit*block:] {
			if at := f.event.CreatedAt; min(first, last) < at && at < max(first, last) {
				facts = append(facts, f)
			}
		}
		m := &model{
			rng: rand.New(rand.NewPCG(1, 1)), late: map[string]session.Late{}, facts: facts,
			limit: limit, order: store.OrderUnsorted, byID: true,
		}
		m.live(t, openArchive(t), 1, nil)
		t.Logf("newest first %v: %d events, %d requests", newest, len(facts), m.sent)
	}
}

// TestShedding walks a relay that gives little of its newest second at first, then
// nothing, and then pages that show their order: what it gave at first is no whole
// second because of that.
func TestShedding(t *testing.T) {
	at := modelNow.Unix() - 20*86400
	var facts []fact
	for _, f := range pool() {
		if f.event.CreatedAt <= at {
			facts = append(facts, f)
		}
	}
	shedding := true
	m := &model{
		rng: rand.New(rand.NewPCG(1, 1)), late: map[string]session.Late{}, facts: facts, limit: 500, order: store.OrderNewest,
		twist: func(f nostr.Filter, _ *session.Page, page []fact) []fact {
			switch {
			case !shedding || len(page) == 0:
				return page
			case len(f.Kinds) == 0 && page[0].event.CreatedAt == at:
				return page[:1]
			case len(f.Kinds) == 0:
				shedding = false
			}
			return nil
		},
	}
	m.live(t, openArchive(t), 1, nil)
	t.Logf("%d events, %d requests", len(facts), m.sent)
}

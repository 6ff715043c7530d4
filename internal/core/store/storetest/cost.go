package storetest

import (
	"testing"

	"bigbrotr/internal/core/store"
)

// testCosts keeps what reading relays costs.
func testCosts(t *testing.T, open opener) {
	visit := store.Cost{Requests: 3, Bytes: 1 << 40, Received: 500, New: 400, Known: 90}
	beat := store.Cost{Bytes: 700, Received: 2, New: 1, Known: 1}
	cases(t, open, map[string]func(*testing.T, *fixture){
		"visits and tails are added up": func(t *testing.T, f *fixture) {
			r := f.relays(3)
			ids := []store.RelayID{r[0].ID, r[1].ID, r[2].ID}
			f.equal("at first", map[store.RelayID]store.CostSum{}, f.costs(ids...))
			f.equal("of all", store.CostSum{}, f.costTotal())
			f.spend(ids[0], store.WayVisit, store.Spent{ID: 1, At: base + 10, Cost: visit})
			f.equal("one visit", map[store.RelayID]store.CostSum{ids[0]: {Since: base + 10, Cost: visit}}, f.costs(ids...))
			f.spend(ids[0], store.WayVisit, store.Spent{ID: -2, At: base + 20, Cost: visit})
			f.spend(ids[0], store.WayTail, store.Spent{ID: -2, At: base + 5, Cost: beat})
			f.spend(ids[1], store.WayTail, store.Spent{ID: 1, At: base + 7, Cost: beat})
			one := store.CostSum{Since: base + 5, Cost: visit.Plus(visit).Plus(beat)}
			two := store.CostSum{Since: base + 7, Cost: beat}
			f.equal("of each", map[store.RelayID]store.CostSum{ids[0]: one, ids[1]: two}, f.costs(ids...))
			f.equal("of those that are asked for", map[store.RelayID]store.CostSum{ids[1]: two}, f.costs(ids[1:]...))
			f.equal("of none", 0, len(f.costs()))
			f.equal("of all", one.Plus(two), f.costTotal())
			summaries, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 10})
			f.must(err)
			var sums []store.CostSum
			for _, s := range summaries {
				sums = append(sums, s.Cost)
			}
			f.equal("with what else is known", []store.CostSum{one, two, {}}, sums)
		},
		"the beats of a tail add to it": func(t *testing.T, f *fixture) {
			r := f.relays(3)
			mine, opening, other := r[0].ID, r[1].ID, r[2].ID
			f.due(store.Due{Service: tails, Now: base, Limit: 2, Owner: "a", Until: base + 100})
			f.lease("b", base)
			f.begin(mine, base)
			f.begin(other, base)
			b := store.Beat{
				Service: tails, Owner: "a", Until: base + 100,
				Tails: []store.Tail{
					{Relay: mine, Since: base, Heard: base + 1, Alive: base + 1}, {Relay: opening}, {Relay: other, Since: base, Heard: base + 1, Alive: base + 1},
				},
				Spent: map[store.RelayID]store.Spent{
					mine: {ID: 1, At: base + 1, Cost: beat}, opening: {ID: 2, At: base + 1, Cost: beat}, other: {ID: 3, At: base + 1, Cost: beat},
				},
			}
			for range 2 {
				lost, err := f.SaveTails(f.ctx, b)
				f.must(err)
				f.equal("lost", []store.RelayID{other}, lost)
				f.equal("of the one that stands and is ours", map[store.RelayID]store.CostSum{mine: {Since: base + 1, Cost: beat}}, f.costs(mine, opening, other))
			}
			b.Spent = nil
			_, err := f.SaveTails(f.ctx, b)
			f.must(err)
			b.Spent = map[store.RelayID]store.Spent{mine: {ID: 4, At: base + 60, Cost: beat}}
			_, err = f.SaveTails(f.ctx, b)
			f.must(err)
			f.equal("of two beats", map[store.RelayID]store.CostSum{mine: {Since: base + 1, Cost: beat.Plus(beat)}}, f.costs(mine, opening, other))
			f.end(store.TailEnd{Relay: mine, Since: base, Heard: base + 60})
			b.Spent = map[store.RelayID]store.Spent{mine: {ID: 5, At: base + 90, Cost: beat}}
			_, err = f.SaveTails(f.ctx, b)
			f.must(err)
			f.equal("nothing of one that has ended", beat.Plus(beat), f.costs(mine)[mine].Cost)
		},
	})
}

func (f *fixture) spend(relay store.RelayID, way store.Way, s store.Spent) {
	f.t.Helper()
	for range 2 {
		f.must(f.AddCost(f.ctx, relay, way, s))
	}
}

func (f *fixture) costs(relays ...store.RelayID) map[store.RelayID]store.CostSum {
	f.t.Helper()
	sums, err := f.Costs(f.ctx, relays)
	f.must(err)
	return sums
}

func (f *fixture) costTotal() store.CostSum {
	f.t.Helper()
	sum, err := f.CostTotal(f.ctx)
	f.must(err)
	return sum
}

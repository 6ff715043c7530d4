package negentropy

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
)

// drawPlan draws ranges that may leave gaps, or none for all.
func drawPlan(t *rapid.T, items []nostr.Ref) []Ask {
	bounds := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Bound {
		return drawBound(t, items, "bound")
	}), 0, 12).Draw(t, "bounds")
	slices.SortFunc(bounds, Bound.Compare)
	bounds = slices.Compact(bounds)
	var plan []Ask
	for i := 1; i < len(bounds); i++ {
		if mode := rapid.IntRange(0, 3).Draw(t, "mode"); mode > 0 {
			plan = append(plan, Ask{Lo: bounds[i-1], Hi: bounds[i], List: mode == 1})
		}
	}
	return plan
}

// TestReconcile: any two sets are reconciled exactly, under any frame limits,
// with any plan, whether their ids are in memory or not.
func TestReconcile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		common := drawItems.Draw(t, "common")
		ours := append(rapid.SliceOfN(drawItem, 0, 40).Draw(t, "ours"), common...)
		theirs := append(rapid.SliceOfN(drawItem, 0, 40).Draw(t, "theirs"), common...)
		if len(common) > 0 && rapid.Bool().Draw(t, "differ") {
			// A share of what was common is not.
			share := rapid.Float64Range(0, 1).Draw(t, "share")
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
			drop := func(nostr.Ref) bool { return rng.Float64() < share }
			ours = slices.DeleteFunc(ours, drop)
			if rapid.Bool().Draw(t, "both") {
				theirs = slices.DeleteFunc(theirs, drop)
			}
		}
		all := slices.Concat(ours, theirs)
		ourVector, theirVector := NewVector(slices.Clone(ours)), NewVector(slices.Clone(theirs))
		var ourItems, theirItems Items = ourVector, theirVector
		if rapid.Bool().Draw(t, "our days") {
			ourItems = daysOf(t, ours)
		}
		if rapid.Bool().Draw(t, "their days") {
			theirItems = daysOf(t, theirs)
		}
		frame := rapid.OneOf(rapid.Just(0), rapid.IntRange(MinFrame, 1000), rapid.IntRange(MinFrame, 20_000))
		client, server := Limits{Frame: frame.Draw(t, "client")}, Limits{Frame: frame.Draw(t, "server")}
		client.Rounds, server.Rounds = 1<<20, 1<<20
		plan := drawPlan(t, all)
		o := reconcile(t, ourItems, theirItems, plan, client, server)
		o.check(t, ourVector, theirVector, plan)
		if most := 10 + 2*len(all); o.rounds > most {
			t.Fatalf("%d rounds for %d items", o.rounds, len(all))
		}
	})
}

// drop takes n items at random places from a copy, of those whose index is within
// lo to hi.
func drop(items []nostr.Ref, lo, hi, n int) []nostr.Ref {
	rng := rand.New(rand.NewPCG(7, 7))
	items = slices.Clone(items)
	for _, i := range rng.Perm(hi - lo)[:n] {
		items[lo+i].CreatedAt = -1
	}
	return slices.DeleteFunc(items, func(r nostr.Ref) bool { return r.CreatedAt < 0 })
}

const benchDay = 86_400

// history makes n items of n/1000 days, about a thousand each, in order.
func history(n int) []nostr.Ref {
	rng := rand.New(rand.NewPCG(1, 2))
	items := make([]nostr.Ref, n)
	for i := range items {
		items[i].CreatedAt = 1_700_006_400 + rng.Int64N(benchDay*int64(n/1000))
		for j := range items[i].ID {
			items[i].ID[j] = byte(rng.Uint32())
		}
	}
	return NewVector(items).items
}

// dayIndex returns where the items of a day begin in a history.
func dayIndex(items []nostr.Ref, day int) int {
	return (&Vector{items: items}).index(At(1_700_006_400 + benchDay*int64(day)))
}

// byDay returns the items of a history as days; loads counts how many are read.
func byDay(items []nostr.Ref, loads *int) *Days {
	v := &Vector{items: items}
	var days []Day
	for _, item := range items {
		start := item.CreatedAt / benchDay * benchDay
		if len(days) == 0 || days[len(days)-1].Start != start {
			days = append(days, Day{Start: start})
		}
		days[len(days)-1].Add(item.ID)
	}
	return NewDays(days, func(_ context.Context, from, until int64) ([]nostr.Ref, error) {
		*loads++
		i, j := v.span(At(from), Bound{Time: uint64(until) + 1})
		return slices.Clone(items[i:j]), nil
	})
}

// TestCost holds the numbers that the design promises, a tenth of the size.
func TestCost(t *testing.T) {
	all := history(100_000)
	theirs := NewVector(slices.Clone(all))
	oneDay := drop(all, dayIndex(all, 50), dayIndex(all, 51), 100)
	for _, tt := range []struct {
		name     string
		ours     []nostr.Ref
		listed   bool
		rounds   int
		up, down int
		loads    int
		differ   int
	}{
		{name: "unchanged", ours: all, rounds: 1, up: 101 * 22, down: 1},
		{name: "one day", ours: oneDay, rounds: 2, up: 101*22 + 6000, down: 14_000, loads: 1, differ: 100},
		{name: "listed", ours: nil, listed: true, rounds: 55, up: 55 * 40, down: 32*100_000 + 55*70, differ: 100_000},
	} {
		loads := 0
		days := byDay(tt.ours, &loads)
		plan := days.Plan(0)
		if tt.listed {
			plan = []Ask{{Hi: Infinity, List: true}}
		}
		o := reconcile(t, days, theirs, plan, Limits{}, Limits{})
		o.check(t, &Vector{items: tt.ours}, theirs, plan)
		if o.rounds > tt.rounds || o.up > tt.up || o.down > tt.down || loads > tt.loads || len(o.need()) != tt.differ || len(o.have()) > 0 {
			t.Errorf("%s: %d rounds, %d bytes up, %d down, %d days read, %d to get", tt.name, o.rounds, o.up, o.down, loads, len(o.need()))
		}
	}
}

func BenchmarkReconcile(b *testing.B) {
	const n = 1_000_000
	all := history(n)
	theirs := NewVector(slices.Clone(all))
	from, until := dayIndex(all, 500), dayIndex(all, 501)
	for _, bb := range []struct {
		name string
		ours []nostr.Ref
		list bool
	}{
		{name: "equal", ours: all},
		{name: "100_of_one_day", ours: drop(all, from, until, 100)},
		{name: "100_spread", ours: drop(all, 0, n, 100)},
		{name: "1_percent_spread", ours: drop(all, 0, n, n/100)},
		{name: "half_spread", ours: drop(all, 0, n, n/2)},
		{name: "listed", list: true},
	} {
		for _, kind := range []string{"halving", "days"} {
			if bb.list && kind == "days" {
				continue
			}
			b.Run(bb.name+"/"+kind, func(b *testing.B) {
				ours := NewVector(slices.Clone(bb.ours))
				var o outcome
				loads := 0
				days := byDay(bb.ours, &loads)
				var plan []Ask
				if bb.list {
					plan = []Ask{{Hi: Infinity, List: true}}
				}
				for b.Loop() {
					loads = 0
					if kind == "days" {
						o = reconcile(b, days, theirs, days.Plan(0), Limits{}, Limits{Frame: 500_000})
					} else {
						o = reconcile(b, ours, theirs, plan, Limits{}, Limits{Frame: 500_000})
					}
				}
				if len(o.need()) != n-len(bb.ours) || len(o.have()) > 0 {
					b.Fatalf("%d ids to get of %d", len(o.need()), n-len(bb.ours))
				}
				b.ReportMetric(float64(o.up), "B-up")
				b.ReportMetric(float64(o.down), "B-down")
				b.ReportMetric(float64(o.rounds), "rounds")
				b.ReportMetric(float64(loads), "days-read")
			})
		}
	}
}

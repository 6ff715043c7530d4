package storetest

import (
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

func testCoverages(t *testing.T, open opener) {
	filterID := func(t *testing.T, st store.Store, f nostr.Filter) store.FilterID {
		t.Helper()
		id, err := st.FilterID(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	coverage := func(t testing.TB, st store.Store, relay store.RelayID, filter store.FilterID) []store.Coverage {
		t.Helper()
		c, err := st.Coverage(t.Context(), relay, filter)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	holes := func(t *testing.T, st store.Store, relay store.RelayID, filter store.FilterID) []store.Hole {
		t.Helper()
		h, err := st.Holes(t.Context(), relay, filter)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	claim := func(lo, hi int64) store.Coverage {
		return store.Coverage{Relay: 1, Filter: 1, Interval: store.Interval{Lo: lo, Hi: hi}, Level: store.LevelWalked, AsOf: 1000, Method: "walk", N: 10}
	}
	run(t, open, map[string]func(*testing.T, store.Store){
		"filters": func(t *testing.T, st store.Store) {
			since, limit := int64(5), 7
			all := filterID(t, st, nostr.Filter{})
			kinds := filterID(t, st, nostr.Filter{Kinds: []nostr.Kind{1, 7}})
			tagged := filterID(t, st, nostr.Filter{Tags: map[string][]string{"t": {"b", "a"}}})
			equal(t, "distinct", true, all > 0 && kinds > 0 && tagged > 0 && all != kinds && kinds != tagged && all != tagged)
			equal(t, "again", all, filterID(t, st, nostr.Filter{Limit: &limit}))
			equal(t, "in another order", kinds, filterID(t, st, nostr.Filter{Kinds: []nostr.Kind{7, 1, 7}}))
			equal(t, "tags in another order", tagged, filterID(t, st, nostr.Filter{Tags: map[string][]string{"t": {"a", "b"}}}))
			equal(t, "bounds count", true, all != filterID(t, st, nostr.Filter{Since: &since}))
		},
		"absent": func(t *testing.T, st store.Store) {
			equal(t, "coverage", 0, len(coverage(t, st, 1, 1)))
			equal(t, "holes", 0, len(holes(t, st, 1, 1)))
			c, err := st.Calibration(t.Context(), 9)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "calibration", store.Calibration{Relay: 9}, c)
		},
		"claims of a walk become one": func(t *testing.T, st store.Store) {
			for _, c := range []store.Coverage{claim(90, 99), claim(80, 89), claim(60, 69)} {
				for range 2 {
					save(t, st, store.Batch{Relay: 1, SeenAt: 1000, Claims: []store.Coverage{c}})
				}
			}
			other := claim(0, 5)
			other.Filter = 2
			save(t, st, store.Batch{Relay: 1, SeenAt: 1000, Claims: []store.Coverage{other}})
			want := []store.Coverage{claim(60, 69), claim(80, 99)}
			want[1].N = 20
			equal(t, "claims", want, coverage(t, st, 1, 1))
			equal(t, "another filter", []store.Coverage{other}, coverage(t, st, 1, 2))
			all, _, err := st.RelayCoverage(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "all filters", append(want, other), all)
		},
		"as the algebra says": func(t *testing.T, st store.Store) {
			relay := store.RelayID(0)
			rapid.Check(t, func(t *rapid.T) {
				relay++ // a fresh map each time
				var want []store.Coverage
				for range rapid.IntRange(1, 8).Draw(t, "batches") {
					var claims []store.Coverage
					for range rapid.IntRange(1, 3).Draw(t, "claims") {
						lo := rapid.Int64Range(0, 50).Draw(t, "lo")
						c := claim(lo, lo+rapid.Int64Range(0, 20).Draw(t, "length"))
						c.Relay = relay
						c.AsOf = rapid.Int64Range(0, 5).Draw(t, "half days") * 43200
						c.Level = store.Level(rapid.IntRange(1, 2).Draw(t, "level"))
						claims = append(claims, c)
						want = store.MergeCoverage(want, c)
					}
					if _, err := st.SaveBatch(t.Context(), store.Batch{Relay: relay, SeenAt: 1, Claims: claims}); err != nil {
						t.Fatal(err)
					}
				}
				got, err := st.Coverage(t.Context(), relay, 1)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != len(want) {
					t.Fatalf("got %v, want %v", got, want)
				}
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("got %v, want %v", got, want)
					}
				}
			})
		},
		"the whole of time": func(t *testing.T, st store.Store) {
			c := claim(0, 1<<63-1)
			save(t, st, store.Batch{Relay: 1, Claims: []store.Coverage{c}})
			d := claim(10, 20)
			d.AsOf, d.Level = 200000, store.LevelCounted
			save(t, st, store.Batch{Relay: 1, Claims: []store.Coverage{d}})
			got := coverage(t, st, 1, 1)
			equal(t, "parts", 3, len(got))
			equal(t, "end", int64(1<<63-1), got[2].Hi)
			levels := totals(t, st).Levels
			if len(levels) != 2 || levels[0].Seconds < 1e18 || levels[1] != (store.LevelTotal{Level: store.LevelCounted, Relays: 1, Seconds: 11}) {
				t.Errorf("levels %v", levels)
			}
		},
		"holes replaced and healed": func(t *testing.T, st store.Store) {
			hole := func(lo, hi int64, kind nostr.Kind, reason store.HoleReason, n int64) store.Hole {
				return store.Hole{Relay: 1, Filter: 1, Interval: store.Interval{Lo: lo, Hi: hi}, Kind: kind, Reason: reason, Count: n, SeenAt: 5, NextTry: 9}
			}
			save(t, st, store.Batch{Relay: 1, Holes: []store.Hole{hole(50, 50, 7, store.HoleOverflow, 3), hole(50, 50, store.AnyKind, store.HoleAuth, -1), hole(10, 20, store.AnyKind, store.HolePolicy, -1)}})
			save(t, st, store.Batch{Relay: 1, Holes: []store.Hole{hole(50, 50, 7, store.HoleOverflow, 8)}})
			equal(t, "by time", []store.Hole{hole(10, 20, -1, store.HolePolicy, -1), hole(50, 50, -1, store.HoleAuth, -1), hole(50, 50, 7, store.HoleOverflow, 8)}, holes(t, st, 1, 1))
			// Another filter and a place that only overlaps heal nothing.
			save(t, st, store.Batch{Relay: 1, Filter: 2, Healed: []store.Interval{{Lo: 0, Hi: 99}}})
			save(t, st, store.Batch{Relay: 1, Filter: 1, Healed: []store.Interval{{Lo: 11, Hi: 49}}})
			equal(t, "none healed", 3, len(holes(t, st, 1, 1)))
			// A hole of the batch that heals is newer.
			again := hole(50, 50, 7, store.HoleOverflow, 2)
			for range 2 {
				save(t, st, store.Batch{Relay: 1, Filter: 1, Healed: []store.Interval{{Lo: 10, Hi: 50}}, Holes: []store.Hole{again}})
			}
			equal(t, "healed", []store.Hole{again}, holes(t, st, 1, 1))
			sum := totals(t, st)
			equal(t, "total", [2]int64{1, 2}, [2]int64{sum.Holes, sum.HoleEvents})
		},
		"calibration": func(t *testing.T, st store.Store) {
			c := store.Calibration{Relay: 1, At: 5, Limit: 500, LargestPage: 499, Order: store.OrderOldest, PostFiltering: true, ExclusiveUntil: true, IgnoresUntil: true, Counts: true, OpenRefused: true}
			for _, c := range []store.Calibration{{Relay: 1, At: 1, Limit: 7}, c, {Relay: 2, At: 9}} {
				if err := st.SaveCalibration(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			got, err := st.Calibration(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "replaced", c, got)
		},
		"claims come with their events or not at all": func(t *testing.T, st store.Store) {
			batch := store.Batch{Relay: 1, SeenAt: 5, Events: []nostr.Event{event(t, alice, 10, 1, "a")}, Claims: []store.Coverage{claim(0, 10)},
				Holes: []store.Hole{{Relay: 1, Filter: 1, Reason: store.HoleAuth}}, Rejected: []store.Rejected{{Reason: "id", Raw: []byte("x")}}}
			if _, err := st.SaveBatch(cancelled(t), batch); err == nil {
				t.Error("no error of a context that ended")
			}
			equal(t, "coverage", 0, len(coverage(t, st, 1, 1)))
			equal(t, "holes", 0, len(holes(t, st, 1, 1)))
			equal(t, "events", 0, len(archived(t, st)))
			equal(t, "rejected", 0, totals(t, st).Rejected)
		},
	})
}

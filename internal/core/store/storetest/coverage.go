package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

func (f *fixture) filter(filter nostr.Filter) store.FilterID {
	f.t.Helper()
	id, err := f.FilterID(f.ctx, filter)
	f.must(err)
	return id
}

func (f *fixture) coverage(relay store.RelayID, filter store.FilterID) []store.Coverage {
	f.t.Helper()
	claims, err := f.Coverage(f.ctx, relay, filter)
	f.must(err)
	for i, c := range claims {
		if c.Lo > c.Hi || i > 0 && c.Lo <= claims[i-1].Hi || c.Relay != relay || c.Filter != filter {
			f.t.Fatalf("not disjoint, ascending claims of relay %d and filter %d: %+v", relay, filter, claims)
		}
	}
	return claims
}

func (f *fixture) holes(relay store.RelayID, filter store.FilterID) []store.Hole {
	f.t.Helper()
	holes, err := f.Holes(f.ctx, relay, filter)
	f.must(err)
	return holes
}

func testCoverages(t *testing.T, open opener) {
	t.Run("model", func(t *testing.T) { testCoverageModel(t, newFixture(t, open)) })
	t.Run("law", func(t *testing.T) { testCoverageLaw(t, newFixture(t, open)) })
	cases(t, open, map[string]func(*testing.T, *fixture){
		"filters have one number": func(t *testing.T, f *fixture) {
			distinct := []nostr.Filter{
				{},
				{Kinds: []nostr.Kind{1}},
				{Kinds: []nostr.Kind{1, 7}},
				{Authors: []nostr.PubKey{author(1)}},
				{IDs: []nostr.ID{nostr.ID(author(1))}},
				{Since: new(int64(0))},
				{Until: new(int64(0))},
				{Until: new(int64(1))},
				{Tags: map[string][]string{"t": {"x"}}},
				{Tags: map[string][]string{"T": {"x"}}},
				{Tags: map[string][]string{"t": {"x", "y"}}},
				{Tags: map[string][]string{"t": {"\x00"}}},
				{Tags: map[string][]string{"t": {"\xed\xa0\x80"}}},
				{Kinds: []nostr.Kind{1}, Tags: map[string][]string{"t": {"x"}}},
			}
			seen := make(map[store.FilterID]int)
			for i, filter := range distinct {
				id := f.filter(filter)
				if other, ok := seen[id]; ok || id <= 0 {
					t.Errorf("filters %d and %d have the number %d", other, i, id)
				}
				seen[id] = i
			}
			for i, filter := range distinct {
				if seen[f.filter(filter)] != i {
					t.Errorf("filter %d has another number the second time", i)
				}
			}
			f.equal("order and repetition", f.filter(nostr.Filter{Kinds: []nostr.Kind{1, 7}}), f.filter(nostr.Filter{Kinds: []nostr.Kind{7, 1, 7}}))
			f.equal("empty lists", f.filter(nostr.Filter{}), f.filter(nostr.Filter{Kinds: []nostr.Kind{}, Tags: map[string][]string{"t": {}}}))
		},
		"nothing is known at first": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			filter := f.filter(nostr.Filter{})
			f.equal("claims", 0, len(f.coverage(r.ID, filter)))
			f.equal("holes", 0, len(f.holes(r.ID, filter)))
		},
		"pages": testCoveragePages,
		"claims of relays and filters are apart": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			one, two := f.filter(nostr.Filter{}), f.filter(nostr.Filter{Kinds: []nostr.Kind{1}})
			claim := func(relay store.RelayID, filter store.FilterID, lo, hi int64) store.Coverage {
				return store.Coverage{Relay: relay, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, Level: store.LevelWalked, AsOf: base, Method: "walk", N: 7}
			}
			claims := []store.Coverage{claim(r[0].ID, one, 10, 20), claim(r[0].ID, two, 15, 30), claim(r[1].ID, one, 18, 19)}
			f.save(store.Batch{Relay: r[0].ID, Claims: claims})
			for _, c := range claims {
				f.equal("claims", []store.Coverage{c}, f.coverage(c.Relay, c.Filter))
			}
			f.equal("no claim", 0, len(f.coverage(r[1].ID, two)))
		},
		"holes": testHoles,
		"calibration": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			look := func(id store.RelayID) store.Calibration {
				c, err := f.Calibration(f.ctx, id)
				f.must(err)
				return c
			}
			f.equal("at first", store.Calibration{Relay: r[0].ID}, look(r[0].ID))
			for _, c := range []store.Calibration{
				{Relay: r[0].ID, At: base, Limit: 500, LargestPage: 499, Order: store.OrderNewest, PostFiltering: true, ExclusiveUntil: true, IgnoresUntil: true, Counts: true, OpenRefused: true, NoNegentropy: base + 7, NegentropyCause: "notice", NegentropyMost: 1 << 40, AuthorList: 500, Auth: store.AuthRefused, Overlap: 3 * store.Day, Every: 7200},
				{Relay: r[0].ID, At: base - 1, Order: store.OrderUnsorted, Counts: true},
				{Relay: r[0].ID},
			} {
				f.must(f.SaveCalibration(f.ctx, c))
				f.must(f.SaveCalibration(f.ctx, c))
				f.equal("saved", c, look(r[0].ID))
			}
			f.equal("another relay", store.Calibration{Relay: r[1].ID}, look(r[1].ID))
		},
	})
}

func testHoles(t *testing.T, f *fixture) {
	r := f.relays(2)
	filter, other := f.filter(nostr.Filter{}), f.filter(nostr.Filter{Kinds: []nostr.Kind{1}})
	hole := func(lo, hi int64, kind nostr.Kind) store.Hole {
		return store.Hole{
			Relay: r[0].ID, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, Kind: kind,
			Reason: store.HoleOverflow, Count: 5, SeenAt: base, NextTry: base + 100,
		}
	}
	any := hole(10, 20, store.AnyKind)
	any.Reason, any.Count = store.HolePolicy, -1
	elsewhere := []store.Hole{hole(12, 12, 1), hole(12, 12, 1)}
	elsewhere[0].Relay, elsewhere[1].Filter = r[1].ID, other
	same := func(name string, want ...store.Hole) {
		t.Helper()
		got := f.holes(r[0].ID, filter)
		order := func(a, b store.Hole) int {
			return cmp.Or(cmp.Compare(a.Lo, b.Lo), cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Kind, b.Kind))
		}
		if !slices.IsSortedFunc(got, func(a, b store.Hole) int { return cmp.Compare(a.Lo, b.Lo) }) {
			t.Errorf("%s: not by ascending time: %+v", name, got)
		}
		slices.SortFunc(got, order)
		slices.SortFunc(want, order)
		f.equal(name, want, got)
	}
	save := func(b store.Batch) {
		t.Helper()
		b.Relay, b.Filter, b.SeenAt = r[0].ID, filter, base
		f.save(b)
		f.save(b) // twice equals once
	}

	end := hole(math.MaxInt64, math.MaxInt64, 1)
	save(store.Batch{Holes: append([]store.Hole{end, hole(30, 30, 1), hole(5, 5, 1), any, hole(10, 20, 1)}, elsewhere...)})
	same("opened", hole(5, 5, 1), any, hole(10, 20, 1), hole(30, 30, 1), end)

	again := hole(10, 20, 1)
	again.Reason, again.Count, again.SeenAt, again.NextTry = store.HoleAuth, 2, base+50, base+500
	save(store.Batch{Holes: []store.Hole{again}})
	same("replaced, where place and kind are the same", hole(5, 5, 1), any, again, hole(30, 30, 1), end)

	save(store.Batch{Healed: []store.Interval{{Lo: 6, Hi: 15}, {Lo: 15, Hi: 25}}})
	same("none lies inside", hole(5, 5, 1), any, again, hole(30, 30, 1), end)

	fresh := hole(12, 12, 7)
	save(store.Batch{Healed: []store.Interval{{Lo: 10, Hi: 20}, {Lo: 30, Hi: 31}}, Holes: []store.Hole{fresh}})
	same("healed, and one found there", hole(5, 5, 1), fresh, end)

	save(store.Batch{Healed: []store.Interval{{Lo: 0, Hi: math.MaxInt64}}})
	same("all healed")
	for _, h := range elsewhere {
		f.equal("of another relay or filter", []store.Hole{h}, f.holes(h.Relay, h.Filter))
	}
}

// interval draws a short or a very long interval.
func interval(t *rapid.T, span int64) store.Interval {
	lo := rapid.Int64Range(0, span).Draw(t, "lo")
	return store.Interval{Lo: lo, Hi: min(span, lo+rapid.Int64Range(0, span/2).Draw(t, "length"))}
}

var levels = []store.Level{store.LevelWalked, store.LevelAsserted, store.LevelCounted, store.LevelFingerprint}

// testCoveragePages follows pages of every size through the claims and holes of a
// relay.
func testCoveragePages(t *testing.T, f *fixture) {
	relays := f.relays(2)
	b := store.Batch{Relay: relays[0].ID, SeenAt: base}
	for _, kind := range []nostr.Kind{1, 7, 30023} {
		filter := f.filter(nostr.Filter{Kinds: []nostr.Kind{kind}})
		for i := range int64(4) {
			iv := store.Interval{Lo: i * 10, Hi: i*10 + 5}
			b.Claims = append(b.Claims, store.Coverage{Relay: b.Relay, Filter: filter, Interval: iv, Level: store.Level(1 + i), AsOf: base, Method: "walk"})
			b.Holes = append(b.Holes, store.Hole{Relay: b.Relay, Filter: filter, Interval: iv, Kind: -1, Reason: store.HoleOverflow, Count: 3},
				store.Hole{Relay: b.Relay, Filter: filter, Interval: store.Interval{Lo: iv.Lo, Hi: iv.Hi + 1}, Kind: -1, Reason: store.HoleOverflow},
				store.Hole{Relay: b.Relay, Filter: filter, Interval: iv, Kind: 1, Reason: store.HoleOverflow})
		}
	}
	_, err := f.SaveBatch(f.ctx, b)
	f.must(err)
	claims, holes, err := f.RelayCoverage(f.ctx, b.Relay)
	f.must(err)
	f.equal("claims and holes", []int{12, 36}, []int{len(claims), len(holes)})
	for limit := range 40 {
		if limit == 0 {
			continue
		}
		f.equal("claims by "+fmt.Sprint(limit), claims, followed(f, limit, func(after store.Cursor) ([]store.Coverage, store.Cursor, error) {
			return f.ClaimPage(f.ctx, b.Relay, after, limit)
		}))
		f.equal("holes by "+fmt.Sprint(limit), holes, followed(f, limit, func(after store.Cursor) ([]store.Hole, store.Cursor, error) {
			return f.HolePage(f.ctx, b.Relay, after, limit)
		}))
	}
	other, next, err := f.HolePage(f.ctx, relays[1].ID, "", 10)
	if len(other) > 0 || next != "" || err != nil {
		t.Errorf("of another relay: %v, %q, %v", other, next, err)
	}
	for _, after := range []store.Cursor{"x", "1", "1.2.3", "1.x", ".", "1.99999999999999999999"} {
		if _, _, err := f.ClaimPage(f.ctx, b.Relay, after, 1); !errors.Is(err, store.ErrCursor) {
			t.Errorf("claims after %q: %v", after, err)
		}
		if _, _, err := f.HolePage(f.ctx, b.Relay, after, 1); !errors.Is(err, store.ErrCursor) {
			t.Errorf("holes after %q: %v", after, err)
		}
	}
}

// followed reads all pages of a list.
func followed[T any](f *fixture, limit int, read func(after store.Cursor) ([]T, store.Cursor, error)) (all []T) {
	f.t.Helper()
	after := store.Cursor("")
	for {
		page, next, err := read(after)
		f.must(err)
		all = append(all, page...)
		if next == "" {
			return all
		}
		if len(page) != limit {
			f.t.Fatalf("a page of %d has %d", limit, len(page))
		}
		after = next
	}
}

// testCoverageModel compares with a list of seconds: where claims overlap the
// newer one counts, of two of the same time the one of the higher level. The
// times are whole weeks, so that no two of different times become one.
func testCoverageModel(t *testing.T, f *fixture) {
	relay := f.relays(1)[0].ID
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		f := f.in(rt)
		run++
		filter := f.filter(nostr.Filter{Kinds: []nostr.Kind{nostr.Kind(run)}})
		const span = 40
		type second struct {
			level store.Level
			asOf  int64
		}
		var model [span + 1]second
		for range rapid.IntRange(1, 5).Draw(rt, "batches") {
			b := store.Batch{Relay: relay, SeenAt: base}
			for range rapid.IntRange(1, 4).Draw(rt, "claims") {
				c := store.Coverage{
					Relay: relay, Filter: filter, Interval: interval(rt, span), Method: "walk", N: 10,
					Level: rapid.SampledFrom(levels).Draw(rt, "level"),
					AsOf:  base + 7*86400*rapid.Int64Range(0, 3).Draw(rt, "week"),
					Tail:  rapid.SampledFrom([]int64{0, 0, base}).Draw(rt, "tail"),
				}
				b.Claims = append(b.Claims, c)
				for s := c.Lo; s <= c.Hi; s++ {
					if m := &model[s]; c.AsOf > m.asOf || c.AsOf == m.asOf && c.Level > m.level {
						*m = second{c.Level, c.AsOf}
					}
				}
			}
			f.save(b)
			if rapid.Bool().Draw(rt, "twice") {
				before := f.coverage(relay, filter)
				f.save(store.Batch{Relay: relay, Claims: b.Claims[len(b.Claims)-1:]})
				f.equal("twice", before, f.coverage(relay, filter))
			}
			var got [span + 1]second
			for _, c := range f.coverage(relay, filter) {
				if c.Hi > span {
					rt.Fatalf("a claim grew to %d", c.Hi)
				}
				for s := c.Lo; s <= c.Hi; s++ {
					got[s] = second{c.Level, c.AsOf}
				}
			}
			if got != model {
				rt.Fatalf("after %+v\n got %v\nwant %v", b.Claims, got, model)
			}
		}
	})
}

// testCoverageLaw compares with store.MergeCoverage over all claims, also near
// the ends of time.
func testCoverageLaw(t *testing.T, f *fixture) {
	relay := f.relays(1)[0].ID
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		f := f.in(rt)
		run++
		filter := f.filter(nostr.Filter{Kinds: []nostr.Kind{nostr.Kind(run)}})
		edges := []int64{0, 1, 2, base, base + 1, base + 2, base + 3, base + 10, base + 11, base + 12, base + 13, math.MaxInt64 - 1, math.MaxInt64}
		var b store.Batch
		var want []store.Coverage
		for range rapid.IntRange(1, 12).Draw(rt, "claims") {
			lo, hi := rapid.SampledFrom(edges).Draw(rt, "lo"), rapid.SampledFrom(edges).Draw(rt, "hi")
			c := store.Coverage{
				Relay: relay, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, N: rapid.Int64Range(0, 1000).Draw(rt, "n"),
				Level:  rapid.SampledFrom(levels).Draw(rt, "level"),
				Method: rapid.SampledFrom([]string{"walk", "count"}).Draw(rt, "method"),
				AsOf:   base + 30000*rapid.Int64Range(0, 9).Draw(rt, "time"),
				Tail:   rapid.SampledFrom([]int64{0, 0, base, base + 1}).Draw(rt, "tail"),
			}
			b.Claims = append(b.Claims, c)
			want = store.MergeCoverage(want, c)
		}
		at := rapid.IntRange(0, len(b.Claims)).Draw(rt, "cut")
		f.save(store.Batch{Relay: relay, Claims: b.Claims[:at]})
		f.save(store.Batch{Relay: relay, Claims: b.Claims[at:]})
		f.equal("coverage", want, f.coverage(relay, filter))
	})
}

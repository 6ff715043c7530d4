package storetest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// counted is what an archive holds, for sums to be compared with.
type counted struct {
	events    map[nostr.ID]nostr.Event
	sightings map[store.RelayID]map[nostr.ID]bool
	vanished  map[nostr.PubKey]int64
}

func (c *counted) save(b store.Batch) {
	for _, e := range b.Events {
		if e.Kind == 62 {
			c.vanished[e.PubKey] = max(c.vanished[e.PubKey], e.CreatedAt)
		}
	}
	for _, e := range b.Events {
		c.events[e.ID] = e
		if c.sightings[b.Relay] == nil {
			c.sightings[b.Relay] = make(map[nostr.ID]bool)
		}
		if b.Relay != 0 {
			c.sightings[b.Relay][e.ID] = true
		}
	}
	for id, e := range c.events {
		until, ok := c.vanished[e.PubKey]
		if ok && e.Kind != 62 && e.CreatedAt <= until {
			delete(c.events, id)
			for _, seen := range c.sightings {
				delete(seen, id)
			}
		}
	}
}

// sums returns totals by key with the number of different authors.
func (c *counted) sums(key func(nostr.Event) int64) map[int64][2]int64 {
	authors := make(map[int64]map[nostr.PubKey]bool)
	sums := make(map[int64][2]int64)
	for _, e := range c.events {
		k := key(e)
		if authors[k] == nil {
			authors[k] = make(map[nostr.PubKey]bool)
		}
		authors[k][e.PubKey] = true
		sums[k] = [2]int64{sums[k][0] + 1, int64(len(authors[k]))}
	}
	return sums
}

// compare checks every sum that a role reads, with the number of authors or
// without.
func (c *counted) compare(f *fixture, relays []store.Relay, exact bool) {
	f.t.Helper()
	authors := func(n int64) int64 {
		if exact {
			return n
		}
		return 0
	}
	totals, err := f.Totals(f.ctx, base+86400)
	f.must(err)
	whole := c.sums(func(nostr.Event) int64 { return 0 })[0]
	var sightings int64
	bySummary := make(map[store.RelayID]int64)
	for relay, seen := range c.sightings {
		sightings += int64(len(seen))
		bySummary[relay] = int64(len(seen))
	}
	f.equal("events, sightings, authors", []int64{whole[0], sightings, authors(whole[1])}, []int64{totals.Events, totals.Sightings, authors(totals.Authors)})

	summaries, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 1000})
	f.must(err)
	f.equal("relays", len(relays), len(summaries))
	for _, s := range summaries {
		f.equal("events of "+s.URL.String(), bySummary[s.ID], s.Events)
	}

	var wantKinds, gotKinds []store.KindTotal
	for kind, n := range c.sums(func(e nostr.Event) int64 { return int64(e.Kind) }) {
		wantKinds = append(wantKinds, store.KindTotal{Kind: nostr.Kind(kind), Events: n[0], Authors: authors(n[1])})
	}
	gotKinds, err = f.Kinds(f.ctx, 1000)
	f.must(err)
	if !slices.IsSortedFunc(gotKinds, func(a, b store.KindTotal) int { return cmp.Compare(b.Events, a.Events) }) {
		f.t.Errorf("Kinds are not the most frequent first: %+v", gotKinds)
	}
	for i := range gotKinds {
		gotKinds[i].Authors = authors(gotKinds[i].Authors)
	}
	byKind := func(a, b store.KindTotal) int { return cmp.Compare(a.Kind, b.Kind) }
	slices.SortFunc(wantKinds, byKind)
	slices.SortFunc(gotKinds, byKind)
	f.equal("kinds", wantKinds, gotKinds)

	var wantDays, gotDays []store.DayTotal
	for day, n := range c.sums(func(e nostr.Event) int64 { return e.CreatedAt / 86400 }) {
		wantDays = append(wantDays, store.DayTotal{Day: day, Events: n[0], Authors: authors(n[1])})
	}
	slices.SortFunc(wantDays, func(a, b store.DayTotal) int { return cmp.Compare(a.Day, b.Day) })
	gotDays, err = f.Days(f.ctx, 0, math.MaxInt64/86400)
	f.must(err)
	for i := range gotDays {
		gotDays[i].Authors = authors(gotDays[i].Authors)
	}
	f.equal("days", wantDays, gotDays)
}

func testRollups(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"an empty archive": func(t *testing.T, f *fixture) {
			r, err := f.Refresh(f.ctx, 10)
			f.must(err)
			f.equal("Refresh", store.Refreshed{}, r)
			d, err := f.Recount(f.ctx)
			f.must(err)
			f.equal("Recount", 0, len(d))
		},
		"at most the limit": func(t *testing.T, f *fixture) {
			relay := f.relays(1)[0]
			for batch := range slices.Chunk(notes(25), 5) {
				f.save(store.Batch{Relay: relay.ID, SeenAt: base, Events: batch})
			}
			var events, sightings, rounds int
			for more := true; more; rounds++ {
				if rounds > 20 {
					t.Fatal("there is always more")
				}
				r, err := f.Refresh(f.ctx, 10)
				f.must(err)
				if r.Events > 10 || events+r.Events < 25 && !r.More {
					t.Errorf("Refresh of 10 = %+v after %d", r, events)
				}
				events += r.Events
				sightings += r.Sightings
				more = r.More
				totals, err := f.Totals(f.ctx, base)
				f.must(err)
				f.equal("as far as counted", int64(events), totals.Events)
			}
			f.equal("counted", []int{25, 25}, []int{events, sightings})
			r, err := f.Refresh(f.ctx, 10)
			f.must(err)
			f.equal("nothing new", store.Refreshed{}, r)
			f.save(store.Batch{Relay: relay.ID, SeenAt: base, Events: notes(27)})
			r, err = f.Refresh(f.ctx, 10)
			f.must(err)
			f.equal("two new", store.Refreshed{Events: 2, Sightings: 2}, r)
		},
		"zero limit": func(t *testing.T, f *fixture) {
			f.add(notes(3)...)
			r, err := f.Refresh(f.ctx, 0)
			f.must(err)
			f.equal("events", 0, r.Events)
		},
		"interrupted": func(t *testing.T, f *fixture) {
			f.save(store.Batch{Relay: f.relays(1)[0].ID, SeenAt: base, Events: notes(30)})
			f.interrupted(func(ctx context.Context) error {
				_, err := f.Refresh(ctx, 20)
				return err
			}, func() {
				totals, err := f.Totals(f.ctx, base)
				f.must(err)
				f.equal("counted", []int64{0, 0}, []int64{totals.Events, totals.Sightings})
			})
			f.refresh()
			totals, err := f.Totals(f.ctx, base)
			f.must(err)
			f.equal("in the end", []int64{30, 30}, []int64{totals.Events, totals.Sightings})
		},
		"many authors are estimated": func(t *testing.T, f *fixture) {
			const n = 3000
			var events []nostr.Event
			for i := range n {
				events = append(events, event(i, 1, base+int64(i%3), ""))
			}
			f.add(events...)
			totals := f.totals()
			kinds, err := f.Kinds(f.ctx, 1)
			f.must(err)
			days, err := f.Days(f.ctx, base/86400, base/86400)
			f.must(err)
			for what, got := range map[string]int64{"totals": totals.Authors, "kinds": kinds[0].Authors, "days": days[0].Authors} {
				if got < n*9/10 || got > n*11/10 {
					t.Errorf("%s: %d authors, want about %d", what, got, n)
				}
			}
		},
		"limits of the readers": func(t *testing.T, f *fixture) {
			f.add(event(1, 1, base, ""), event(2, 1, base+86400, ""), event(3, 7, base+86400, ""), event(3, 0, 0, ""))
			f.refresh()
			kinds, err := f.Kinds(f.ctx, 1)
			f.must(err)
			f.equal("most frequent kind", []store.KindTotal{{Kind: 1, Events: 2, Authors: 2}}, kinds)
			day := base / 86400
			for _, tt := range []struct {
				lo, hi int64
				want   []store.DayTotal
			}{
				{day, day, []store.DayTotal{{Day: day, Events: 1, Authors: 1}}},
				{day, day + 5, []store.DayTotal{{Day: day, Events: 1, Authors: 1}, {Day: day + 1, Events: 2, Authors: 2}}},
				{0, 0, []store.DayTotal{{Day: 0, Events: 1, Authors: 1}}},
				{1, day - 1, nil},
				{day + 1, day, nil},
			} {
				got, err := f.Days(f.ctx, tt.lo, tt.hi)
				f.must(err)
				f.equal(fmt.Sprintf("days %d to %d", tt.lo, tt.hi), tt.want, got)
			}
		},
	})
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("random operations ", seed), func(t *testing.T) { testSums(t, newFixture(t, open), seed) })
	}
}

// sums are what the archive holds.
func testSums(t *testing.T, f *fixture, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	relays := f.relays(5)
	model := &counted{make(map[nostr.ID]nostr.Event), make(map[store.RelayID]map[nostr.ID]bool), make(map[nostr.PubKey]int64)}
	kinds := []nostr.Kind{0, 1, 1, 1, 5, 7, 30023, 70000}
	times := []int64{0, base, base + 1, base + 86400, base + 3*86400, math.MaxInt64}
	for range 60 {
		switch op := rnd.IntN(10); {
		case op < 6:
			b := store.Batch{SeenAt: base}
			if rnd.IntN(5) > 0 {
				b.Relay = relays[rnd.IntN(len(relays))].ID
			}
			for range rnd.IntN(30) {
				b.Events = append(b.Events, event(rnd.IntN(12), kinds[rnd.IntN(len(kinds))], times[rnd.IntN(len(times))], fmt.Sprint(rnd.IntN(6))))
			}
			f.save(b)
			model.save(b)
		case op < 7:
			b := store.Batch{SeenAt: base, Relay: relays[rnd.IntN(len(relays))].ID, Events: []nostr.Event{vanish(rnd.IntN(12), base+rnd.Int64N(2), everyRelay)}}
			f.save(b)
			model.save(b)
			if f.seqs(b.Events[0])[0] == 0 { // the request itself need not be kept
				t.Skip("requests to vanish are not kept")
			}
		case op < 9:
			_, err := f.Refresh(f.ctx, 1+rnd.IntN(60))
			f.must(err)
		default:
			// Among the sums of what is counted so far nothing may be wrong.
			d, err := f.Recount(f.ctx)
			f.must(err)
			f.equal("differences on the way", 0, len(d))
		}
	}
	f.refresh()
	// An estimate of authors cannot forget those that vanished before a recount.
	model.compare(f, relays, false)
	d, err := f.Recount(f.ctx)
	f.must(err)
	f.equal("differences", []store.Difference(nil), d)
	model.compare(f, relays, true)
	d, err = f.Recount(f.ctx)
	f.must(err)
	f.equal("differences after a recount", []store.Difference(nil), d)
}

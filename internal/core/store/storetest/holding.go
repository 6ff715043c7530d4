package storetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

// always is every time.
var always = store.Interval{Lo: math.MinInt64, Hi: math.MaxInt64}

func testHoldings(t *testing.T, open opener) {
	t.Run("model", func(t *testing.T) { testHoldingModel(t, newFixture(t, open)) })
	t.Run("many sightings", func(t *testing.T) { testHoldingMany(t, newFixture(t, open)) })
	cases(t, open, map[string]func(*testing.T, *fixture){
		"nothing": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0].ID
			f.equal("days", 0, len(f.heldDays(r)))
			f.equal("held", 0, len(f.held(r, always)))
			f.equal("missing", 0, len(f.missing(r)))
			f.equal("holdings", []store.Holding{{}}, f.holdings(r, always, ids(event(1, 1, base, ""))...))
			d, err := f.RecountHeld(f.ctx, r, always)
			f.must(err)
			f.equal("differences", 0, len(d))
		},
		"transitions":  testHoldingTransitions,
		"interrupted":  testHoldingInterrupted,
		"days":         testHoldingDays,
		"what is told": testHoldingTold,
		"vanished":     testHoldingVanished,
		"alike":        testHoldingAlike,
	})
}

// testHoldingAlike asks which relay has most of what another has.
func testHoldingAlike(t *testing.T, f *fixture) {
	r := f.relays(5)
	events := notes(40)
	for i, n := range [][2]int{{0, 10}, {0, 40}, {10, 40}, {0, 8}} {
		f.save(store.Batch{Relay: r[i].ID, SeenAt: base, Events: events[n[0]:n[1]]})
		if i != 3 { // of the last no sums are kept
			f.heldDays(r[i].ID)
		}
	}
	f.refresh()
	alike := func(what string, relay store.RelayID, least int64, want store.RelayID) {
		t.Helper()
		got, err := f.Alike(f.ctx, relay, least)
		f.must(err)
		f.equal(what, want, got)
	}
	alike("nothing is known of it", r[4].ID, 1, r[1].ID)
	alike("that are large enough", r[4].ID, 100, 0)
	alike("as many in common, the larger one", r[3].ID, 1, r[1].ID)
	alike("but itself", r[1].ID, 1, r[2].ID)
	// The smaller one, since it has more of the same.
	f.save(store.Batch{Relay: r[4].ID, SeenAt: base, Events: events[:9]})
	f.save(store.Batch{Relay: r[1].ID, SeenAt: base, Gone: []nostr.Ref{{ID: events[3].ID, CreatedAt: events[3].CreatedAt}}})
	alike("more in common", r[4].ID, 1, r[0].ID)
	alike("of those that are large enough", r[4].ID, 20, r[1].ID)
	alike("of none that is there", 77, 1, r[1].ID)
}

func (f *fixture) heldDays(relay store.RelayID) []negentropy.Day {
	f.t.Helper()
	days, err := f.HeldDays(f.ctx, relay, base)
	f.must(err)
	return days
}

func (f *fixture) held(relay store.RelayID, within store.Interval) []nostr.Ref {
	f.t.Helper()
	var refs []nostr.Ref
	for ref, err := range f.ScanHeld(f.ctx, relay, within) {
		f.must(err)
		refs = append(refs, ref)
	}
	return sortedRefs(refs)
}

func sortedRefs(refs []nostr.Ref) []nostr.Ref {
	slices.SortFunc(refs, func(a, b nostr.Ref) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	return refs
}

func (f *fixture) missing(relay store.RelayID) []store.Missing {
	f.t.Helper()
	var list []store.Missing
	for m, err := range f.ScanMissing(f.ctx, relay) {
		f.must(err)
		list = append(list, m)
	}
	return list
}

func (f *fixture) holdings(relay store.RelayID, within store.Interval, ids ...nostr.ID) []store.Holding {
	f.t.Helper()
	list, err := f.Holdings(f.ctx, relay, ids, within)
	f.must(err)
	return list
}

// fits checks the sums of a relay against its ids.
func (f *fixture) fits(relay store.RelayID) {
	f.t.Helper()
	want := make(map[int64]negentropy.Accumulator)
	for _, ref := range f.held(relay, always) {
		a := want[store.SumDay(ref.CreatedAt)]
		a.Add(ref.ID)
		want[store.SumDay(ref.CreatedAt)] = a
	}
	days := store.HeldDays{Now: base}
	for _, day := range slices.Sorted(maps.Keys(want)) {
		days.Add(day, want[day])
	}
	f.equal("sums of days", days.Days, f.heldDays(relay))
	d, err := f.RecountHeld(f.ctx, relay, always)
	f.must(err)
	f.equal("differences by days", 0, len(d))
	d, err = f.Recount(f.ctx)
	f.must(err)
	f.equal("differences", 0, len(d))
}

func testHoldingTransitions(t *testing.T, f *fixture) {
	r := f.relays(1)[0].ID
	filter := f.filter(nostr.Filter{})
	f.heldDays(r)
	e := event(1, 1, base, "one")
	ref := refs(e)
	elsewhere := event(2, 1, base+5, "elsewhere")
	f.add(elsewhere)
	other := refs(elsewhere)
	step := func(name string, b store.Batch, want store.Hold, wantOther store.Hold) {
		t.Helper()
		b.Relay, b.SeenAt = r, base+100
		f.save(b)
		f.save(b) // twice equals once
		got := f.holdings(r, always, e.ID, elsewhere.ID)
		f.equal(name, []store.Hold{want, wantOther}, []store.Hold{got[0].Hold, got[1].Hold})
		f.fits(r)
	}
	step("withheld", store.Batch{Withheld: ref}, store.HoldWithheld, store.HoldNone)
	step("refused", store.Batch{Refused: ref}, store.HoldRefused, store.HoldNone)
	step("not there any longer", store.Batch{Gone: ref}, store.HoldNone, store.HoldNone)
	step("withheld again, and one claimed", store.Batch{Withheld: ref, Claimed: other}, store.HoldWithheld, store.HoldClaimed)
	step("claimed, and not archived", store.Batch{Claimed: ref}, store.HoldWithheld, store.HoldClaimed)
	step("delivered", store.Batch{Events: []nostr.Event{e}, Withheld: ref, Gone: ref}, store.HoldDelivered, store.HoldClaimed)
	step("withheld what is had", store.Batch{Withheld: append(ref, other...)}, store.HoldDelivered, store.HoldClaimed)
	step("gone", store.Batch{Gone: append(ref, other...)}, store.HoldGone, store.HoldGone)
	step("withheld what is gone", store.Batch{Withheld: ref}, store.HoldWithheld, store.HoldGone)
	step("back by a claim", store.Batch{Claimed: append(ref, other...)}, store.HoldDelivered, store.HoldClaimed)
	step("gone", store.Batch{Gone: append(ref, other...)}, store.HoldGone, store.HoldGone)
	seen := []store.Seen{{Seq: f.seqs(elsewhere)[0], CreatedAt: elsewhere.CreatedAt}}
	step("back by delivery", store.Batch{Events: []nostr.Event{e}, Known: seen}, store.HoldDelivered, store.HoldDelivered)

	// A claim of coverage comes with what it is about.
	claim := store.Coverage{Relay: r, Filter: filter, Interval: store.Interval{Lo: base, Hi: base + 9}, Level: store.LevelFingerprint, AsOf: base, Method: "negentropy", N: 2}
	step("with coverage", store.Batch{Refused: refs(event(3, 1, base+6, "")), Claims: []store.Coverage{claim}}, store.HoldDelivered, store.HoldDelivered)
	f.equal("coverage", []store.Coverage{claim}, f.coverage(r, filter))

	// The archive is searched within bounds.
	got := f.holdings(r, store.Interval{Lo: base + 1, Hi: base + 5}, elsewhere.ID, e.ID, elsewhere.ID)
	want := store.Holding{Hold: store.HoldDelivered, Seq: f.seqs(elsewhere)[0], CreatedAt: base + 5}
	f.equal("within bounds", []store.Holding{want, {}, want}, got)
	f.equal("a part", append(other, refs(event(3, 1, base+6, ""))...), f.held(r, store.Interval{Lo: base + 1, Hi: base + 6}))

	// Nothing of it is another relay's, and files have none.
	two, err := f.AddRelays(f.ctx, append(f.urls(1), url(7)), base)
	f.must(err)
	f.save(store.Batch{SeenAt: base, Claimed: other, Withheld: ref, Gone: other})
	f.equal("of another", 0, len(f.held(two[1].ID, always)))
	f.fits(r)
}

func testHoldingInterrupted(t *testing.T, f *fixture) {
	r := f.relays(1)[0].ID
	f.heldDays(r)
	events := notes(8)
	f.save(store.Batch{Relay: r, SeenAt: base, Events: events[:2]})
	f.add(events[2:4]...)
	before := f.held(r, always)
	b := store.Batch{
		Relay: r, SeenAt: base + 50, Events: events[4:6], Known: []store.Seen{{Seq: f.seqs(events[2])[0], CreatedAt: events[2].CreatedAt}},
		Claimed: refs(events[3]), Withheld: refs(events[6]), Refused: refs(events[7]), Gone: refs(events[0]),
	}
	f.interrupted(func(ctx context.Context) error {
		_, err := f.SaveBatch(ctx, b)
		return err
	}, func() {
		f.equal("held", before, f.held(r, always))
		f.fits(r)
		if t.Failed() {
			t.FailNow()
		}
	})
	f.equal("in the end", sortedRefs(refs(events[1:]...)), f.held(r, always))
	f.fits(r)
}

func testHoldingDays(t *testing.T, f *fixture) {
	r := f.relays(1)[0].ID
	const day = store.Day
	today := base / day
	at := []int64{
		0, 5, store.FirstDay*day - 1, // one bucket
		store.FirstDay * day, (today-1)*day - 1, (today - 1) * day, base, (today+2)*day - 1,
		(today + 2) * day, (today + 3) * day, 1 << 40, 1 << 53, math.MaxInt64, // another
	}
	var events []nostr.Event
	for i, at := range at {
		events = append(events, event(i, 1, at, "a day"))
	}
	f.save(store.Batch{Relay: r, SeenAt: base, Events: events})
	var starts, counts []int64
	for _, d := range f.heldDays(r) {
		starts, counts = append(starts, d.Start), append(counts, d.Count)
	}
	f.equal("starts", []int64{0, store.FirstDay * day, (today - 2) * day, (today - 1) * day, today * day, (today + 1) * day, (today + 2) * day}, starts)
	f.equal("counts", []int64{3, 1, 1, 1, 1, 1, 5}, counts)
	f.fits(r)
	// Three days later the bucket of what is to come is another.
	days, err := f.HeldDays(f.ctx, r, base+3*day)
	f.must(err)
	var later []int64
	for _, d := range days {
		later = append(later, d.Start)
	}
	f.equal("later", append(starts, (today+3)*day, (today+5)*day), later)
	// What is missing is in the sum of the day it was named in, and moves.
	lost := event(1, 1, base, "withheld")
	for _, at := range []int64{base, base + 1, base + 2*day, base - day} {
		f.save(store.Batch{Relay: r, SeenAt: at, Withheld: []nostr.Ref{{ID: lost.ID, CreatedAt: at}}})
		f.equal("missing", []store.Missing{{ID: lost.ID, At: at, Hold: store.HoldWithheld, Since: base}}, f.missing(r))
		f.fits(r)
	}
	// Sums that are wrong are repaired, those of the days asked for.
	f.save(store.Batch{Relay: r, SeenAt: base, Gone: []nostr.Ref{{ID: lost.ID, CreatedAt: base}}})
	f.fits(r)
}

// testHoldingTold looks at what other reads say of claims and losses.
func testHoldingTold(t *testing.T, f *fixture) {
	list := f.relays(3)
	e := event(1, 1, base, "told")
	f.save(store.Batch{Relay: list[0].ID, SeenAt: base + 10, Events: []nostr.Event{e}})
	f.save(store.Batch{Relay: list[1].ID, SeenAt: base + 5, Claimed: refs(e)})
	f.save(store.Batch{Relay: list[2].ID, SeenAt: base + 20, Claimed: refs(e), Withheld: refs(event(2, 1, base, ""), event(3, 1, base, "")), Refused: refs(event(4, 1, base, ""))})
	f.save(store.Batch{Relay: list[2].ID, SeenAt: base + 30, Gone: refs(e)})
	carried := func(want ...store.Carried) {
		t.Helper()
		got, err := f.EventRelays(f.ctx, e.ID)
		f.must(err)
		f.equal("relays", want, got)
	}
	claimed := store.Carried{URL: list[1].URL, SeenAt: base + 5, Claimed: true}
	delivered := store.Carried{URL: list[0].URL, SeenAt: base + 10}
	gone := store.Carried{URL: list[2].URL, SeenAt: base + 20, Claimed: true, GoneAt: base + 30}
	carried(claimed, delivered, gone)
	f.save(store.Batch{Relay: list[2].ID, SeenAt: base + 40, Events: []nostr.Event{e}})
	gone = store.Carried{URL: list[2].URL, SeenAt: base + 40}
	carried(claimed, delivered, gone)
	f.equal("sightings", int64(3), f.totals().Sightings)

	summary := func() store.RelaySummary {
		t.Helper()
		all, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 10})
		f.must(err)
		return all[2]
	}
	s := summary()
	f.equal("without sums", []int64{0, 2, 1}, []int64{s.Named, s.Withheld, s.Refused})
	f.heldDays(list[2].ID)
	s = summary()
	f.equal("with sums", []int64{4, 2, 1}, []int64{s.Named, s.Withheld, s.Refused})
}

// testHoldingVanished has a relay keep what is deleted here.
func testHoldingVanished(t *testing.T, f *fixture) {
	list := f.relays(2)
	kept, other := list[0].ID, list[1].ID
	f.heldDays(kept)
	events := []nostr.Event{event(1, 1, base, "a"), event(1, 7, base+1, "b"), event(2, 1, base+2, "c"), event(1, 1, base+3, "gone")}
	for _, r := range []store.RelayID{kept, other} {
		f.save(store.Batch{Relay: r, SeenAt: base, Events: events})
	}
	f.save(store.Batch{Relay: kept, SeenAt: base, Gone: refs(events[3])})
	before := f.heldDays(kept)
	f.add(vanish(1, base+10, everyRelay))
	f.equal("sums", before, f.heldDays(kept))
	f.equal("holds", []store.Holding{{Hold: store.HoldRefused}, {Hold: store.HoldRefused}, {}}, f.holdings(kept, always, events[0].ID, events[1].ID, events[3].ID))
	f.fits(kept)
	f.equal("of a relay without sums", 0, len(f.missing(other)))
	f.fits(other)
	// What is delivered and kept out stands so at once, but what relays only
	// pass on, which they do not have.
	late := event(1, 1, base+4, "late")
	f.save(store.Batch{Relay: kept, SeenAt: base, Events: []nostr.Event{late, event(1, 20000, base+4, "passed on")}})
	f.equal("refused", sortedRefs(refs(events[0], events[1], events[2], late)), f.held(kept, always))
	f.fits(kept)
}

// testHoldingMany has more sightings than sums are made of at once.
func testHoldingMany(t *testing.T, f *fixture) {
	r := f.relays(1)[0].ID
	const n, size = 10_400, 1300
	var events []nostr.Event
	for i := range n {
		events = append(events, event(1, 1, base+int64(i/7)*600, fmt.Sprint(i)))
	}
	for i := 0; i < n; i += size {
		f.save(store.Batch{Relay: r, SeenAt: base, Events: events[i : i+size]})
	}
	f.save(store.Batch{Relay: r, SeenAt: base, Gone: refs(events[:3]...), Withheld: refs(event(2, 1, base, ""))})
	// Whoever writes while the sums are made changes them too.
	for left := 1; ; left++ {
		ctx, cancel := context.WithCancel(f.ctx)
		_, err := f.HeldDays(&ending{Context: ctx, left: left, cancel: cancel}, r, base)
		cancel()
		if err == nil {
			break
		}
		f.save(store.Batch{Relay: r, SeenAt: base, Gone: refs(events[200], events[n-1])})
		f.save(store.Batch{Relay: r, SeenAt: base, Events: []nostr.Event{events[200], events[n-1]}})
		f.save(store.Batch{Relay: r, SeenAt: base, Events: append(notes(40), events[1]), Gone: refs(events[200], events[n-1]), Refused: refs(event(3, 1, base, ""))})
	}
	f.equal("held", n-4+40+2, len(f.held(r, always)))
	f.fits(r)
}

// standing is how an id stands in the model.
type standing struct {
	hold store.Hold // but missing
	miss store.Hold
	at   int64
}

// set tells whether the id is in the relay's set.
func (s standing) set() bool {
	return s.miss != store.HoldNone || s.hold == store.HoldDelivered || s.hold == store.HoldClaimed
}

// testHoldingModel saves random batches and compares with a model.
func testHoldingModel(t *testing.T, f *fixture) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		f := f.in(rt)
		run++
		relays, err := f.AddRelays(f.ctx, f.urls(run), base)
		f.must(err)
		r := relays[len(relays)-1].ID
		times := []int64{0, 1000, base, base + 1, base + 600, base + store.Day, base + 30*store.Day, 1 << 50}
		var pool []nostr.Event
		for i := range 16 {
			pool = append(pool, event(100*run+i%3, 1, times[i%len(times)], fmt.Sprint(run, " ", i)))
		}
		archived := make(map[nostr.ID]bool)
		vanished := make(map[nostr.PubKey]bool)
		model := make(map[nostr.ID]standing)
		kept := false
		draw := func(name string) []nostr.Event {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 4, func(e nostr.Event) nostr.ID { return e.ID }).Draw(rt, name)
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				for _, e := range draw("elsewhere") {
					f.add(e)
					archived[e.ID] = !vanished[e.PubKey]
				}
			case 1:
				f.heldDays(r)
				kept = true
			case 2:
				who := 100*run + rapid.IntRange(0, 2).Draw(rt, "who")
				f.add(vanish(who, math.MaxInt64, everyRelay))
				vanished[author(who)] = true
				for _, e := range pool {
					if e.PubKey != author(who) || !archived[e.ID] {
						continue
					}
					s := model[e.ID]
					if kept && (s.hold == store.HoldDelivered || s.hold == store.HoldClaimed) && s.miss == store.HoldNone {
						s.miss, s.at = store.HoldRefused, e.CreatedAt
					}
					s.hold = store.HoldNone
					model[e.ID] = s
					archived[e.ID] = false
				}
			default:
				gone, withheld, refused, claimed, events := draw("gone"), draw("withheld"), draw("refused"), draw("claimed"), draw("events")
				b := store.Batch{
					Relay: r, SeenAt: base, Events: events, Gone: refs(gone...), Withheld: refs(withheld...), Refused: refs(refused...), Claimed: refs(claimed...),
				}
				var known []nostr.Event
				for _, e := range draw("known") {
					if archived[e.ID] {
						known = append(known, e)
						b.Known = append(b.Known, store.Seen{Seq: f.seqs(e)[0], CreatedAt: e.CreatedAt})
					}
				}
				f.save(b)
				if rapid.Bool().Draw(rt, "twice") {
					f.save(b)
				}
				for _, e := range gone {
					s := model[e.ID]
					if s.hold == store.HoldDelivered {
						s.hold = -store.HoldDelivered
					}
					if s.hold == store.HoldClaimed {
						s.hold = -store.HoldClaimed
					}
					s.miss = store.HoldNone
					model[e.ID] = s
				}
				miss := func(list []nostr.Event, hold store.Hold) {
					for _, e := range list {
						if s := model[e.ID]; s.hold <= store.HoldNone {
							s.miss, s.at = hold, e.CreatedAt
							model[e.ID] = s
						}
					}
				}
				miss(withheld, store.HoldWithheld)
				miss(refused, store.HoldRefused)
				var barred []nostr.Event
				for _, e := range events {
					if vanished[e.PubKey] {
						barred = append(barred, e)
					} else {
						archived[e.ID] = true
					}
				}
				if kept {
					miss(barred, store.HoldRefused)
				}
				for _, e := range claimed {
					s := model[e.ID]
					switch {
					case !archived[e.ID]:
						continue
					case s.hold < 0:
						s.hold = -s.hold
					case s.hold == store.HoldNone:
						s.hold = store.HoldClaimed
					}
					s.miss = store.HoldNone
					model[e.ID] = s
				}
				for _, e := range append(events, known...) {
					if archived[e.ID] {
						model[e.ID] = standing{hold: store.HoldDelivered}
					}
				}
			}
			if kept {
				f.fits(r)
			}
			var want []nostr.Ref
			for i, h := range f.holdings(r, always, ids(pool...)...) {
				s := model[pool[i].ID]
				expect := max(s.hold, 0)
				if s.hold < 0 {
					expect = store.HoldGone
				}
				if s.miss != store.HoldNone {
					expect = s.miss
				}
				if h.Hold != expect || (h.Seq != 0) != archived[pool[i].ID] {
					rt.Fatalf("event %d stands %d as %d, want %d, archived %t", i, h.Hold, h.Seq, expect, archived[pool[i].ID])
				}
				if s.set() {
					want = append(want, pool[i].Ref())
				}
			}
			f.equal("held", sortedRefs(want), f.held(r, always))
		}
		if !kept {
			f.fits(r)
		}
	})
}

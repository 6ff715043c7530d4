package storetest

import (
	"context"
	"math"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const tails = "tail" // the service in whose schedule tails are leased

func (f *fixture) tail(relay store.RelayID) store.Tail {
	f.t.Helper()
	t, err := f.Tail(f.ctx, relay)
	f.must(err)
	return t
}

func (f *fixture) gaps(relay store.RelayID) []store.ArrivalGap {
	f.t.Helper()
	gaps, err := f.ArrivalGaps(f.ctx, relay)
	f.must(err)
	return gaps
}

// claim saves a claim of a relay and filter.
func (f *fixture) claim(relay store.RelayID, filter store.FilterID, lo, hi, asOf, tail int64) {
	f.t.Helper()
	f.save(store.Batch{Relay: relay, Claims: []store.Coverage{{
		Relay: relay, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, Level: store.LevelWalked, AsOf: asOf, Method: "walk", N: 7, Tail: tail,
	}}})
}

// stretch is what a test says of a claim.
type stretch struct{ Lo, Hi, AsOf, Tail int64 }

func (f *fixture) stretches(relay store.RelayID, filter store.FilterID) []stretch {
	f.t.Helper()
	var out []stretch
	for _, c := range f.coverage(relay, filter) {
		out = append(out, stretch{c.Lo, c.Hi, c.AsOf, c.Tail})
	}
	return out
}

// lease leases the tails of all relays for an owner.
func (f *fixture) lease(owner string, now int64) {
	f.t.Helper()
	f.due(store.Due{Service: tails, Now: now, Limit: 99, Owner: owner, Until: now + 100})
}

// beat saves the life of the tail of one relay, and reports whether it was lost.
func (f *fixture) beat(owner string, relay store.RelayID, since, heard, alive int64) bool {
	f.t.Helper()
	b := store.Beat{Service: tails, Owner: owner, Until: alive + 100, Tails: []store.Tail{{Relay: relay, Since: since, Heard: heard, Alive: alive}}}
	lost, err := f.SaveTails(f.ctx, b)
	f.must(err)
	again, err := f.SaveTails(f.ctx, b)
	f.must(err)
	f.equal("lost, twice", lost, again)
	return len(lost) > 0
}

func (f *fixture) note(relay store.RelayID, since int64, ahead bool, proved int64) {
	f.t.Helper()
	for range 2 {
		f.must(f.NoteTail(f.ctx, relay, since, ahead, proved))
	}
}

func (f *fixture) begin(relay store.RelayID, since int64) {
	f.t.Helper()
	for range 2 {
		f.must(f.BeginTail(f.ctx, relay, since))
	}
}

func (f *fixture) end(end store.TailEnd) {
	f.t.Helper()
	for range 2 {
		f.must(f.EndTail(f.ctx, end))
	}
}

func testTails(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"claims follow a tail that is proved": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			id, other := r[0].ID, r[1].ID
			all, some := f.filter(nostr.Filter{}), f.filter(nostr.Filter{Kinds: []nostr.Kind{1}})
			f.equal("at first", store.Tail{Relay: id}, f.tail(id))
			f.lease("a", base)
			f.begin(id, base)
			f.equal("begun", store.Tail{Relay: id, Since: base, Heard: base, Alive: base}, f.tail(id))
			f.equal("no gap before the first", 0, len(f.gaps(id)))
			f.claim(id, all, 0, base-1000, base-50, 0)          // before the tail
			f.claim(id, all, base-999, base-100, base+10, base) // kept, and not at the top
			f.claim(id, all, base-50, base+9, base+10, base)
			f.claim(id, some, 0, base+11, base+12, base)
			f.claim(other, all, 0, base+9, base+10, base) // of a relay whose tail is not ours
			f.equal("kept", false, f.beat("a", id, base, base+20, base+25))
			f.equal("nothing proved yet", []stretch{{0, base - 1000, base - 50, 0}, {base - 999, base - 100, base + 10, base}, {base - 50, base + 9, base + 10, base}}, f.stretches(id, all))
			f.note(id, base, false, base+30)
			f.equal("as of what was heard", []stretch{{0, base - 1000, base - 50, 0}, {base - 999, base - 100, base + 20, base}, {base - 50, base + 9, base + 20, base}}, f.stretches(id, all))
			f.note(id, base, true, 0)
			f.beat("a", id, base, base+40, base+45)
			f.equal("the top grows", []stretch{{0, base - 1000, base - 50, 0}, {base - 999, base - 100, base + 40, base}, {base - 50, base + 39, base + 40, base}}, f.stretches(id, all))
			f.equal("of each filter", []stretch{{0, base + 39, base + 40, base}}, f.stretches(id, some))
			f.equal("of another relay nothing", []stretch{{0, base + 9, base + 10, base}}, f.stretches(other, all))
			f.equal("all of it", store.Tail{Relay: id, Since: base, Heard: base + 40, Alive: base + 45, Ahead: true, Proved: base + 30}, f.tail(id))

			f.beat("a", id, base, base+30, base+30) // what was said before
			f.equal("of a tail that another took the place of", true, f.beat("a", id, base-1, base+90, base+90))
			f.equal("of one that is being opened", false, f.beat("a", id, 0, 0, 0))
			f.note(id, base-1, true, base+90)
			f.equal("old news change nothing", store.Tail{Relay: id, Since: base, Heard: base + 40, Alive: base + 45, Ahead: true, Proved: base + 30}, f.tail(id))

			f.claim(id, all, base-50, base+60, base+61, base)
			f.equal("a claim that goes on", []stretch{{0, base - 1000, base - 50, 0}, {base - 999, base - 100, base + 40, base}, {base - 50, base + 60, base + 40, base}}, f.stretches(id, all))
			f.end(store.TailEnd{Relay: id, Since: base - 1, Heard: base + 99})
			f.equal("the end of another", base, f.tail(id).Since)
			f.end(store.TailEnd{Relay: id, Since: base, Heard: base + 50, Cause: dial.CauseDisconnected})
			f.equal("ended", store.Tail{Relay: id, Heard: base + 50, Alive: base + 45, Proved: base + 30, Cause: dial.CauseDisconnected}, f.tail(id))
			f.equal("which others learn by their next beat", true, f.beat("a", id, base, base+55, base+55))
			f.equal("claims stay where they are", []stretch{{0, base - 1000, base - 50, 0}, {base - 999, base - 100, base + 50, 0}, {base - 50, base + 60, base + 50, 0}}, f.stretches(id, all))
			f.equal("a gap", []store.ArrivalGap{{Relay: id, From: base + 50, Below: math.MaxInt64, Cause: dial.CauseDisconnected}}, f.gaps(id))
		},
		"a claim that does not reach the tail's beginning stays": func(t *testing.T, f *fixture) {
			id, all := f.relays(1)[0].ID, f.filter(nostr.Filter{})
			f.lease("a", base)
			f.begin(id, base)
			f.note(id, base, true, base)
			f.claim(id, all, 10, base-100, base+10, base)
			f.beat("a", id, base, base+50, base+50)
			f.equal("as of then, and not longer", []stretch{{10, base - 100, base + 50, base}}, f.stretches(id, all))
		},
		"arrival gaps": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			id, all := r[0].ID, f.filter(nostr.Filter{})
			f.lease("a", base)
			f.begin(id, base)
			f.note(id, base, true, base+5)
			f.claim(id, all, 0, base+9, base+10, base)
			f.end(store.TailEnd{Relay: id, Since: base, Heard: base + 100, Cause: dial.CauseDisconnected})
			f.begin(id, base+200)
			gap := store.ArrivalGap{Relay: id, From: base + 100, Until: base + 200, Below: base + 100, Cause: dial.CauseDisconnected}
			f.equal("bounded", []store.ArrivalGap{gap}, f.gaps(id))
			f.claim(id, all, base-500, base+209, base+210, base+200)
			gap.Below = base - 500
			f.equal("what is dated later has been proved since", []store.ArrivalGap{gap}, f.gaps(id))
			f.equal("of another relay", 0, len(f.gaps(r[1].ID)))
			totals, err := f.TailTotals(f.ctx, base+210)
			f.must(err)
			f.equal("totals", store.TailTotals{Standing: 1, Proved: 1, LagMedian: 10, LagMax: 10, Gaps: 1, GapRelays: 1}, totals)
			f.claim(id, all, 0, base-501, base+230, base+200)
			f.equal("everything has", 0, len(f.gaps(id)))
			totals, err = f.TailTotals(f.ctx, base+200+store.Stale)
			f.must(err)
			f.equal("a tail without a sign of life", store.TailTotals{}, totals)
		},
		"a process that died": func(t *testing.T, f *fixture) {
			id, all := f.relays(1)[0].ID, f.filter(nostr.Filter{})
			f.lease("a", base)
			f.begin(id, base)
			f.note(id, base, true, base+5)
			f.claim(id, all, 0, base+9, base+10, base)
			f.beat("a", id, base, base+60, base+70)
			f.lease("b", base+171)
			f.equal("the lease is lost", true, f.beat("a", id, base, base+180, base+180))
			f.equal("and what it says is too late", base+60, f.tail(id).Heard)
			f.begin(id, base+175)
			f.equal("as of what was saved", []stretch{{0, base + 59, base + 60, 0}}, f.stretches(id, all))
			f.equal("a gap from there", []store.ArrivalGap{{Relay: id, From: base + 60, Until: base + 175, Below: base + 60, Cause: dial.CauseSelf}}, f.gaps(id))
			f.end(store.TailEnd{Relay: id, Since: base, Heard: base + 190})
			f.equal("the dead end nothing", base+175, f.tail(id).Since)
			f.equal("kept by the new owner", false, f.beat("b", id, base+175, base+176, base+260))
			f.equal("and not due", 0, len(f.due(store.Due{Service: tails, Now: base + 300, Limit: 9, Owner: "c", Until: base + 400})))
		},
		"a relay that is kept out": func(_ *testing.T, f *fixture) {
			r := f.relays(2)
			f.lease("a", base)
			for _, one := range r {
				f.begin(one.ID, base)
			}
			f.ban(r[0].URL.String())
			f.equal("lost", true, f.beat("a", r[0].ID, base, base+60, base+60))
			f.equal("and what was heard is not noted", base, f.tail(r[0].ID).Heard)
			f.equal("the other goes on", false, f.beat("a", r[1].ID, base, base+60, base+60))
		},
		"a tail that lied": func(t *testing.T, f *fixture) {
			id, all := f.relays(1)[0].ID, f.filter(nostr.Filter{})
			f.lease("a", base)
			f.begin(id, base)
			f.note(id, base, true, base+5)
			f.claim(id, all, 0, base-1000, base-10, 0)
			f.claim(id, all, base-999, base+9, base+10, base)
			f.beat("a", id, base, base+60, base+70)
			f.claim(id, all, base+100, base+109, base+110, base)
			f.end(store.TailEnd{Relay: id, Since: base, Heard: base + 120, Cause: dial.CauseContradicts, Lied: true})
			f.equal("nothing of it holds", []stretch{{0, base - 1000, base - 10, 0}, {base - 999, base - 1, base, 0}}, f.stretches(id, all))
			f.equal("a gap from its beginning", []store.ArrivalGap{{Relay: id, From: base, Below: math.MaxInt64, Cause: dial.CauseContradicts}}, f.gaps(id))
			f.equal("not proved any more", int64(0), f.tail(id).Proved)
		},
		"many gaps become few": func(t *testing.T, f *fixture) {
			id, all := f.relays(1)[0].ID, f.filter(nostr.Filter{})
			f.claim(id, all, 0, base-1, base, 0)
			for i := range int64(store.MaxArrivalGaps + 3) {
				at := base + 100*i
				f.must(f.BeginTail(f.ctx, id, at))
				f.must(f.EndTail(f.ctx, store.TailEnd{Relay: id, Since: at, Heard: at + 10, Cause: dial.CauseDisconnected}))
			}
			gaps := f.gaps(id)
			f.equal("gaps", store.MaxArrivalGaps, len(gaps))
			f.equal("the first holds four", [2]int64{base + 10, base + 400}, [2]int64{gaps[0].From, gaps[0].Until})
			f.equal("the second is one", [2]int64{base + 410, base + 500}, [2]int64{gaps[1].From, gaps[1].Until})
			f.equal("the last is open", int64(0), gaps[len(gaps)-1].Until)
		},
		"whole or not at all": func(t *testing.T, f *fixture) {
			id, all := f.relays(1)[0].ID, f.filter(nostr.Filter{})
			f.interrupted(func(ctx context.Context) error { return f.BeginTail(ctx, id, base) }, func() {
				t.Helper()
				f.equal("not begun", store.Tail{Relay: id}, f.tail(id))
			})
			f.note(id, base, true, base+5)
			f.claim(id, all, 0, base+9, base+10, base)
			f.interrupted(func(ctx context.Context) error {
				return f.EndTail(ctx, store.TailEnd{Relay: id, Since: base, Heard: base + 50})
			}, func() {
				t.Helper()
				f.equal("stands", base, f.tail(id).Since)
				f.equal("claims", []stretch{{0, base + 9, base + 10, base}}, f.stretches(id, all))
				f.equal("gaps", 0, len(f.gaps(id)))
			})
		},
		"samples": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			total := func(id store.RelayID, kind store.SampleKind) store.SampleTotal {
				t.Helper()
				s, err := f.SampleTotal(f.ctx, id, kind)
				f.must(err)
				return s
			}
			last := func(id store.RelayID, kind store.SampleKind) int64 {
				t.Helper()
				at, err := f.LastSample(f.ctx, id, kind)
				f.must(err)
				return at
			}
			f.equal("at first", store.SampleTotal{}, total(r[0].ID, store.SampleOld))
			f.equal("never", int64(0), last(r[0].ID, store.SampleOld))
			for _, s := range []store.Sample{
				{Relay: r[0].ID, Kind: store.SampleOld, At: base, Seen: 10, Missed: 1},
				{Relay: r[0].ID, Kind: store.SampleOld, At: base, Seen: 99, Missed: 99}, // the first counts
				{Relay: r[0].ID, Kind: store.SampleOld, At: base + 5, Seen: 20, Missed: 3},
				{Relay: r[0].ID, Kind: store.SampleTail, At: base + 9, Seen: 5},
				{Relay: r[1].ID, Kind: store.SampleOld, At: base + 7, Seen: 7, Missed: 7},
			} {
				f.must(f.AddSample(f.ctx, s))
				f.must(f.AddSample(f.ctx, s))
			}
			f.equal("old", store.SampleTotal{Samples: 2, Seen: 30, Missed: 4, SeenSeen: 500, MissedMissed: 10, SeenMissed: 70}, total(r[0].ID, store.SampleOld))
			f.equal("tail", store.SampleTotal{Samples: 1, Seen: 5, SeenSeen: 25}, total(r[0].ID, store.SampleTail))
			f.equal("all relays", store.SampleTotal{Samples: 3, Seen: 37, Missed: 11, SeenSeen: 549, MissedMissed: 59, SeenMissed: 119}, total(0, store.SampleOld))
			f.equal("the newest", base+5, last(r[0].ID, store.SampleOld))
			for i := range int64(store.MaxSamples + 7) {
				f.must(f.AddSample(f.ctx, store.Sample{Relay: r[1].ID, Kind: store.SampleTail, At: base + i, Seen: 1, Missed: 1}))
			}
			f.equal("the newest are kept", int64(store.MaxSamples), total(r[1].ID, store.SampleTail).Seen)
			f.equal("of them the last", base+store.MaxSamples+6, last(r[1].ID, store.SampleTail))
		},
	})
}

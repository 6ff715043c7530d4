package simnet_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

func TestCompare(t *testing.T) {
	// One event of kind 1 every ten seconds, and a burst of kind 7.
	var events []*simnet.Event
	for i := range 10 {
		at := int64(base + 10*i)
		events = append(events, simnet.Generate(simnet.Plan{Seed: 1, Count: 1, Since: at, Until: at, Kinds: []nostr.Kind{1}})...)
	}
	burst := simnet.Generate(simnet.Plan{Seed: 1, Count: 5, Since: base + 35, Until: base + 35, Kinds: []nostr.Kind{7}})
	n := network(t)
	r := add(t, n, simnet.Behaviour{}, append(burst, events...)...)
	r.Add(simnet.ForgeID(events[0])) // nobody can hold it

	claim := func(lo, hi int64, change ...func(*store.Coverage)) store.Coverage {
		c := store.Coverage{Interval: store.Interval{Lo: base + lo, Hi: base + hi}, Level: store.LevelWalked, AsOf: base + 1000}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	hole := func(lo, hi int64, kind nostr.Kind) store.Hole {
		return store.Hole{Interval: store.Interval{Lo: base + lo, Hi: base + hi}, Kind: kind, Reason: store.HoleOverflow}
	}
	except := func(lost ...*simnet.Event) func(nostr.ID) bool {
		held := map[nostr.ID]bool{}
		for _, e := range append(burst, events...) {
			held[e.ID] = true
		}
		for _, e := range lost {
			delete(held, e.ID)
		}
		return func(id nostr.ID) bool { return held[id] }
	}
	for _, test := range []struct {
		name   string
		held   func(nostr.ID) bool
		claims []store.Coverage
		holes  []store.Hole
		want   simnet.Result
	}{
		{
			"all held", except(),
			[]store.Coverage{claim(0, 90)},
			nil,
			simnet.Result{Relays: 1, Visible: 15, Archived: 15},
		},
		{
			"one missing and not claimed", except(events[3]),
			[]store.Coverage{claim(0, 29), claim(31, 90)},
			nil,
			simnet.Result{Relays: 1, Visible: 15, Archived: 14, Missing: 1},
		},
		{
			"one missing and claimed", except(events[3]),
			[]store.Coverage{claim(31, 90), claim(0, 30)},
			nil,
			simnet.Result{Relays: 1, Visible: 15, Archived: 14, Missing: 1, FalseClaims: 1},
		},
		{
			"claimed at level 0", except(events[3]),
			[]store.Coverage{claim(0, 90, func(c *store.Coverage) { c.Level = 0 })},
			nil,
			simnet.Result{Relays: 1, Visible: 15, Archived: 14, Missing: 1},
		},
		{
			"a hole of its kind", except(burst...),
			[]store.Coverage{claim(0, 90)},
			[]store.Hole{hole(35, 35, 7)},
			simnet.Result{Relays: 1, Visible: 15, Archived: 10, Holes: 1},
		},
		{
			"a hole of any kind", except(burst[1:]...),
			[]store.Coverage{claim(0, 90)},
			[]store.Hole{hole(35, 35, store.AnyKind)},
			simnet.Result{Relays: 1, Visible: 15, Archived: 11, Holes: 1},
		},
		{
			"a hole of another kind", except(burst[0]),
			[]store.Coverage{claim(0, 90)},
			[]store.Hole{hole(35, 35, 1)},
			simnet.Result{Relays: 1, Visible: 15, Archived: 14, Holes: 1, Missing: 1, FalseClaims: 1},
		},
		{
			"a hole elsewhere", except(burst[0]),
			[]store.Coverage{claim(0, 90)},
			[]store.Hole{hole(36, 80, 7)},
			simnet.Result{Relays: 1, Visible: 15, Archived: 14, Holes: 1, Missing: 1, FalseClaims: 1},
		},
		{
			"nothing at all", func(nostr.ID) bool { return false }, nil, nil,
			simnet.Result{Relays: 1, Visible: 15, Missing: 15},
		},
		{
			"a hole of another filter", except(events[3]),
			[]store.Coverage{claim(0, 90, func(c *store.Coverage) { c.Filter = 2 })},
			[]store.Hole{hole(0, 90, store.AnyKind)},
			simnet.Result{Relays: 1, Visible: 15, Archived: 14, Holes: 1, FalseClaims: 1},
		},
	} {
		got := n.Compare([]simnet.Account{{Relay: r.URL(), Held: test.held, Claims: test.claims, Holes: test.holes}})
		if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(simnet.Result{}, "PerRelay")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
		if got.OK() != (test.want.Missing+test.want.FalseClaims == 0) {
			t.Errorf("%s: OK is %v", test.name, got.OK())
		}
	}
}

// What comes after a claim does not make it false, what was there before does.
func TestCompareAsOf(t *testing.T) {
	events := simnet.Generate(plan(4))
	n := network(t)
	r := add(t, n, simnet.Behaviour{}, events[0])
	ask(t, open(t, r, patient), nostr.Filter{})
	r.Add(events[1:]...)
	falseClaims := func(asOf int64) int {
		c := store.Coverage{Interval: store.Interval{Lo: 0, Hi: base * 2}, Level: store.LevelWalked, AsOf: asOf}
		none := func(nostr.ID) bool { return false }
		return n.Compare([]simnet.Account{{Relay: r.URL(), Held: none, Claims: []store.Coverage{c}}}).FalseClaims
	}
	now := time.Now().Unix()
	if got := falseClaims(now - 60); got != 1 {
		t.Errorf("a claim of a minute ago is false by %d events, want 1", got)
	}
	if got := falseClaims(now + 60); got != 4 {
		t.Errorf("a claim made later is false by %d events, want 4", got)
	}
}

// Events are counted once over all relays, and are missing where one relay
// shows them and the archive has not seen them there.
func TestCompareRelays(t *testing.T) {
	events := simnet.Generate(plan(10))
	n := network(t)
	a := add(t, n, simnet.Behaviour{}, events[:8]...)
	b := add(t, n, simnet.Behaviour{}, events[4:]...)
	all := func(nostr.ID) bool { return true }
	stranger, err := relay.Parse("wss://relay.com")
	if err != nil {
		t.Fatal(err)
	}
	got := n.Compare([]simnet.Account{
		{Relay: a.URL(), Held: all},
		{Relay: b.URL(), Held: func(id nostr.ID) bool { return id != events[5].ID && id != events[9].ID }},
		{Relay: stranger, Held: all},
	})
	want := simnet.Result{Relays: 2, Visible: 10, Archived: 9, Missing: 2}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(simnet.Result{}, "PerRelay")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(got.PerRelay) != 2 || len(got.PerRelay[1].Missing) != 2 || got.PerRelay[0].Archived != 8 {
		t.Errorf("%+v", got.PerRelay)
	}
}

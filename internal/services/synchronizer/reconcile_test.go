package synchronizer_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

var honest = simnet.Negentropy{As: simnet.NegHonest}

// beside adds a further relay to the network and the archive of a world.
func (w *world) beside(be simnet.Behaviour, lots ...[]*simnet.Event) *world {
	w.t.Helper()
	other := *w
	var err error
	if other.relay, err = w.net.AddRelay(be); err != nil {
		w.t.Fatal(err)
	}
	for _, lot := range lots {
		other.relay.Add(lot...)
	}
	rows, err := w.db.AddRelays(w.t.Context(), []relay.URL{other.relay.URL()}, past)
	if err != nil {
		w.t.Fatal(err)
	}
	other.row = rows[0]
	return &other
}

func size(lots ...[]*simnet.Event) int64 {
	var n int64
	for _, lot := range lots {
		for _, e := range lot {
			n += int64(len(e.JSON))
		}
	}
	return n
}

// true holds the archive against the truth.
func (w *world) truthful() {
	w.t.Helper()
	got := w.compare()
	if len(got.Missing) > 0 || len(got.FalseClaims) > 0 {
		w.t.Errorf("%d of %d events missing, %d false claims", len(got.Missing), got.Visible, len(got.FalseClaims))
	}
}

// level is that of the claims from 0 to the end of yesterday; 0 where there is a
// gap.
func level(r synchronizer.Report) store.Level {
	next, least := int64(0), store.LevelFingerprint
	for _, c := range r.Coverage {
		if c.Lo == next && next <= past-86400 {
			next, least = c.Hi+1, min(least, c.Level)
		}
	}
	if next <= past-86400 {
		return store.LevelUnknown
	}
	return least
}

func (w *world) calibration() store.Calibration {
	w.t.Helper()
	c, err := w.db.Calibration(w.t.Context(), w.row.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// steady is n events that are older than the current day.
func steady(seed uint64, n int) []*simnet.Event {
	return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: past - 200*86400, Until: past - 2*86400, Kinds: []nostr.Kind{0, 1, 3, 7, 30023, 9735}})
}

// TestReconcile goes through the life of a relay that speaks NIP-77: listed,
// proved, unchanged, changed.
func TestReconcile(t *testing.T) { synchronizer.Bubble(testReconcile)(t) }

func testReconcile(t *testing.T) {
	events := steady(1, 3000)
	w := newWorld(t, simnet.Behaviour{Cap: 500, Negentropy: honest}, events)
	first := w.sync()
	w.truthful()
	if first.New != 3000 || level(first) != store.LevelFingerprint || first.Cause != "" {
		t.Errorf("first: %d new, level %d of %+v", first.New, level(first), first.Coverage)
	}
	if over := first.EventsReceived - 3000; over > 60 || first.Requests > 30 {
		t.Errorf("first: %d events more than there are, %d requests", over, first.Requests)
	}

	again := w.sync()
	w.truthful()
	if again.New != 0 || level(again) != store.LevelFingerprint || again.EventsReceived > 5 {
		t.Errorf("unchanged: %+v", again)
	}
	if cost := again.BytesReceived + again.BytesSent; cost > 15_000 || again.Requests > 10 {
		t.Errorf("unchanged: %d bytes, %d requests", cost, again.Requests)
	}
	t.Logf("first: %d requests, %d bytes of %d; again: %d requests, %d received, %d sent", first.Requests, first.BytesReceived, size(events), again.Requests, again.BytesReceived, again.BytesSent)

	// A hundred come late to one day, ten are deleted.
	fresh := simnet.Generate(simnet.Plan{Seed: 2, Count: 100, Since: past - 50*86400, Until: past - 49*86400, Kinds: []nostr.Kind{1}})
	w.relay.Add(fresh...)
	var ids []nostr.ID
	for _, e := range events[100:110] {
		ids = append(ids, e.ID)
	}
	w.relay.Remove(ids...)
	changed := w.sync()
	w.truthful()
	if changed.New != 100 || changed.Gone != 10 || level(changed) != store.LevelFingerprint {
		t.Errorf("changed: %d new, %d gone, level %d", changed.New, changed.Gone, level(changed))
	}
	if cost := changed.BytesReceived + changed.BytesSent - size(fresh); cost > 60_000 {
		t.Errorf("changed: %d bytes besides the events", cost)
	}
	t.Logf("changed: %d requests, %d received, %d sent, of which %d are events", changed.Requests, changed.BytesReceived, changed.BytesSent, size(fresh))
}

// TestClaimed holds ten relays with the same events to their price: the first is
// downloaded, the others only name what they have.
func TestClaimed(t *testing.T) { synchronizer.Bubble(testClaimed)(t) }

func testClaimed(t *testing.T) {
	const relays = 10
	events := steady(3, 2500)
	w := newWorld(t, simnet.Behaviour{Cap: 500, Negentropy: honest}, events)
	total := int64(0)
	for i := range relays {
		if i > 0 {
			w = w.beside(simnet.Behaviour{Cap: 500, Negentropy: honest}, events)
		}
		r := w.sync()
		w.truthful()
		if level(r) != store.LevelFingerprint {
			t.Errorf("relay %d: level %d", i, level(r))
		}
		total += r.BytesReceived + r.BytesSent
		if i == 0 {
			continue
		}
		if r.New != 0 || r.Claimed < 2400 {
			t.Errorf("relay %d: %d new, %d claimed", i, r.New, r.Claimed)
		}
		if share := float64(r.BytesReceived+r.BytesSent) / float64(size(events)); share > 0.06 {
			t.Errorf("relay %d: %.1f %% of the events' bytes", i, 100*share)
		}
	}
	ratio := float64(total) / float64(size(events))
	t.Logf("%d relays: %.2f times one download", relays, ratio)
	if ratio > 1.3 {
		t.Errorf("%d relays cost %.2f times one download", relays, ratio)
	}
	// One that has other things besides, one that lacks some, and one that has
	// nothing in common: all are proved, and truthfully.
	for i, lots := range [][][]*simnet.Event{{events, steady(4, 500)}, {events[700:]}, {steady(5, 900)}} {
		w = w.beside(simnet.Behaviour{Cap: 500, Negentropy: honest}, lots...)
		r := w.sync()
		w.truthful()
		if level(r) != store.LevelFingerprint || r.New+r.Claimed != int64(w.relay.Len()) {
			t.Errorf("relay %d: level %d, %d new and %d claimed of %d", i, level(r), r.New, r.Claimed, w.relay.Len())
		}
	}
}

// TestDistrust syncs relays that do NIP-77 badly: each leaves its cause, the walk
// does what negentropy cannot, and nothing is claimed that is not so.
func TestDistrust(t *testing.T) {
	t.Parallel()
	wraps := simnet.Generate(simnet.Plan{Seed: 3, Count: 60, Since: past - 30*86400, Until: past - 30*86400 + 3600, Kinds: []nostr.Kind{1059}})
	always := func(what simnet.What) []simnet.Fault { return []simnet.Fault{{What: what, When: simnet.Always}} }
	tests := []struct {
		name     string
		be       simnet.Behaviour
		cause    string
		most     int64
		level    store.Level
		withheld int64
	}{
		{name: "unknown", cause: "notice", level: store.LevelWalked},
		{name: "closed", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegClosed}}, cause: "closed", level: store.LevelWalked},
		{name: "silent", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegSilent}}, cause: "idle", level: store.LevelWalked},
		{name: "disabled", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegDisabled}}, cause: "neg-refused", level: store.LevelWalked},
		{name: "nothing differs", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegNoDiff}}, cause: "unlisted", level: store.LevelWalked},
		{name: "nothing there", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegNothing}}, level: store.LevelWalked},
		{name: "echo", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegEcho}}, level: store.LevelWalked},
		{name: "garbage", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegGarbage}}, cause: "version", level: store.LevelWalked},
		{name: "endless", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegEndless}}, cause: "stalled", level: store.LevelWalked},
		{name: "version", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegVersion}}, cause: "version", level: store.LevelWalked},
		{name: "resets", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest, Faults: always(simnet.Reset)}}, cause: "disconnects", level: store.LevelWalked},
		{name: "the newest only", be: simnet.Behaviour{Cap: 100, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Newest: 50}}, cause: "contradicts", level: store.LevelWalked},
		{name: "a part only", be: simnet.Behaviour{Cap: 100, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Omits: 3}}, cause: "contradicts", level: store.LevelWalked},
		{name: "too many, stated", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest, Most: 150}}, most: 150, level: store.LevelFingerprint},
		{name: "too many, in words", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest, Most: 150, TooMany: simnet.TooManyWords}}, level: store.LevelFingerprint},
		{name: "too many, as of old", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest, Most: 150, TooMany: simnet.TooManyOld}}, most: 150, level: store.LevelFingerprint},
		{name: "small frames", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest, Frame: 700}}, level: store.LevelFingerprint},
		{name: "phantoms", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest, Phantoms: 9}}, level: store.LevelFingerprint, withheld: 9},
		{name: "private ones named and hidden", be: simnet.Behaviour{Restricted: []nostr.Kind{1059}, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Restricted: true}}, level: store.LevelFingerprint, withheld: 60},
		{
			name: "private ones named and dropped", be: simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{1059}, PostFilter: true, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Restricted: true}},
			level: store.LevelFingerprint, withheld: 60,
		},
		{
			name: "forgets now and then", be: simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest, Frame: 2000, Faults: []simnet.Fault{{What: simnet.Forget, When: simnet.When{Every: 3}}}}},
			level: store.LevelWalked,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			w := newWorld(t, tt.be, steady(5, 600), wraps)
			r := w.sync()
			w.truthful()
			if r.Cause != "" || level(r) < tt.level {
				t.Errorf("ended by %q, level %d, want %d; %+v", r.Cause, level(r), tt.level, r.Coverage)
			}
			if c := w.calibration(); c.NegentropyCause != tt.cause || c.NoNegentropy == 0 != (tt.cause == "") || c.NegentropyMost != tt.most {
				t.Errorf("calibration: cause %q at %d, most %d", c.NegentropyCause, c.NoNegentropy, c.NegentropyMost)
			}
			if r.Withheld != tt.withheld {
				t.Errorf("%d withheld, want %d", r.Withheld, tt.withheld)
			}
			before := w.relay.Stats().Negs
			again := w.sync()
			w.truthful()
			if level(again) < tt.level || again.Withheld > 0 {
				t.Errorf("again: level %d, %d withheld", level(again), again.Withheld)
			}
			asked := w.relay.Stats().Negs > before
			if tt.cause != "" && asked {
				t.Error("asked again in the month after")
			}
			if tt.level == store.LevelFingerprint && again.EventsReceived > 50 {
				t.Errorf("again: %d events for nothing new", again.EventsReceived)
			}
			t.Logf("%d requests, then %d", r.Requests, again.Requests)
		}))
	}
}

// TestReconcileCrash kills the process at every batch in turn and goes on.
func TestReconcileCrash(t *testing.T) { synchronizer.Bubble(testReconcileCrash)(t) }

func testReconcileCrash(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 100, Negentropy: honest}, many(8, 700))
	w.sync()
	w = w.beside(simnet.Behaviour{Cap: 60, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Phantoms: 5, Most: 400}}, many(8, 700)[100:], many(9, 300))
	for death := range 25 {
		w.restart(death % 5)
		if _, err := w.svc.Sync(t.Context(), w.row, nil); err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		if got := w.compare(); len(got.FalseClaims) > 0 {
			t.Fatalf("%d false claims after %d crashes", len(got.FalseClaims), death)
		}
	}
	w.restart(-1)
	if r := w.sync(); level(r) != store.LevelFingerprint {
		t.Errorf("level %d", level(r))
	}
	w.truthful()
	if diff, err := w.db.RecountHeld(t.Context(), w.row.ID, store.Interval{Lo: 0, Hi: past + 86400}); err != nil || len(diff) > 0 {
		t.Errorf("sums differ from what they sum up: %+v, %v", diff, err)
	}
}

// TestHeldAgrees shows that what a relay has, as we know it, is what it names.
func TestHeldAgrees(t *testing.T) { synchronizer.Bubble(testHeldAgrees)(t) }

func testHeldAgrees(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 100, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Phantoms: 7}}, steady(6, 400))
	w.sync()
	var held negentropy.Accumulator
	days, err := w.db.HeldDays(t.Context(), w.row.ID, past)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range days {
		held.Merge(d.Accumulator)
	}
	if held.Count != 407 {
		t.Errorf("%d ids held, want 407: %s", held.Count, fmt.Sprint(slices.MaxFunc(days, func(a, b negentropy.Day) int { return int(a.Count - b.Count) })))
	}
}

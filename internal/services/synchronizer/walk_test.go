package synchronizer_test

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

func testConfig() synchronizer.Config {
	cfg := synchronizer.DefaultConfig()
	cfg.Idle = config.Duration(2 * time.Second)
	cfg.Interval = config.Duration(20 * time.Millisecond)
	cfg.PerSecond = 1000
	return cfg
}

func (w *world) dialer() *dial.Dialer {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	cfg.PerMinute = 100_000
	cfg.PerAddress = 100
	return dial.New(cfg).Over(w.net.Dial)
}

var past = synchronizer.Born.Add(-time.Hour).Unix()

// many is a relay's content: n events over the last 90 days.
func many(seed uint64, n int) []*simnet.Event {
	return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: past - 90*86400, Until: past})
}

func burst(seed uint64, n int, at int64, kinds ...nostr.Kind) []*simnet.Event {
	return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: at, Until: at, Kinds: kinds, Authors: n/8 + 1})
}

// burstOf is a second of one kind, by so many authors that not all can be known.
func burstOf(seed uint64, n int, at int64, authors int) []*simnet.Event {
	return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: at, Until: at, Kinds: []nostr.Kind{1}, Authors: authors})
}

// world is one simulated relay, an archive, and a synchronizer between them.
type world struct {
	t     *testing.T
	net   *simnet.Network
	relay *simnet.Relay
	db    *sqlite.DB
	row   store.Relay
	crash *crashing
	svc   *synchronizer.Service
}

// crashing is the archive of a process that dies around a SaveBatch: nothing of
// the process survives, and everything that was saved does.
type crashing struct {
	*sqlite.DB
	after int // batches until the crash; negative for none
}

var errCrash = errors.New("crash")

func (c *crashing) SaveBatch(ctx context.Context, b store.Batch) (store.Saved, error) {
	if c.after == 0 {
		return store.Saved{}, errCrash
	}
	c.after--
	return c.DB.SaveBatch(ctx, b)
}

func newWorld(t *testing.T, b simnet.Behaviour, lots ...[]*simnet.Event) *world {
	t.Helper()
	seed := fnv.New64a()
	_, _ = io.WriteString(seed, t.Name()) // whichever test begins first
	w := &world{t: t, net: simnet.Piped(seed.Sum64())}
	t.Cleanup(w.net.Close)
	var err error
	if w.relay, err = w.net.AddRelay(b); err != nil {
		t.Fatal(err)
	}
	for _, lot := range lots {
		w.relay.Add(lot...)
	}
	if w.db, err = sqlite.Open(t.Context(), synchronizer.NewArchive(t), sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.db.Close(); err != nil {
			t.Error(err)
		}
	})
	rows, err := w.db.AddRelays(t.Context(), []relay.URL{w.relay.URL()}, past)
	if err != nil {
		t.Fatal(err)
	}
	w.row = rows[0]
	w.restart(-1)
	return w
}

// restart begins a new process, which crashes after so many batches.
func (w *world) restart(crashAfter int) {
	w.crash = &crashing{w.db, crashAfter}
	w.svc = synchronizer.New(testConfig(), w.crash, w.dialer(), "test", nil, slog.New(slog.DiscardHandler))
}

func (w *world) sync() synchronizer.Report {
	w.t.Helper()
	report, err := w.svc.Sync(w.t.Context(), w.row, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// held are the archived events that the relay has delivered or named.
func (w *world) held() map[nostr.ID]bool {
	w.t.Helper()
	held := map[nostr.ID]bool{}
	for scanned, err := range w.db.ScanEvents(w.t.Context(), "", nostr.Filter{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		carriers, err := w.db.EventRelays(w.t.Context(), scanned.Event.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		held[scanned.Event.ID] = slices.ContainsFunc(carriers, func(c store.Carried) bool {
			return c.URL == w.relay.URL() && c.GoneAt == 0
		})
	}
	return held
}

// compare holds the archive against the truth.
func (w *world) compare() simnet.RelayResult {
	w.t.Helper()
	held := w.held()
	filter, err := w.db.FilterID(w.t.Context(), nostr.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	claims, err := w.db.Coverage(w.t.Context(), w.row.ID, filter)
	if err != nil {
		w.t.Fatal(err)
	}
	holes, err := w.db.Holes(w.t.Context(), w.row.ID, filter)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.net.Compare([]simnet.Account{{
		Relay: w.relay.URL(), Held: func(id nostr.ID) bool { return held[id] }, Claims: claims, Holes: holes, Authenticates: true,
	}}).PerRelay[0]
}

// TestSync walks relays of every behaviour, one for each way in which other
// clients lose events, and holds the archive against what the relay shows.
func TestSync(t *testing.T) {
	then := past - 30*86400
	wraps := simnet.Generate(simnet.Plan{Seed: 3, Count: 300, Since: then, Until: then + 3600, Kinds: []nostr.Kind{1059}})
	private := []nostr.Kind{4, 1059}
	now := synchronizer.Born.Unix()
	fault := func(f simnet.Fault, every int) simnet.Behaviour {
		f.When = simnet.When{Every: every}
		return simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{f}}
	}
	lot := func(lots ...[]*simnet.Event) []*simnet.Event { return slices.Concat(lots...) }
	const all = -1
	tests := []struct {
		name   string
		be     simnet.Behaviour
		events []*simnet.Event
		visits int              // default 1
		held   int              // events of the archive in the end; all of the visible ones by default
		hole   store.HoleReason // the holes' reason; none by default
		open   bool             // something stays unproved below the first event
		cause  dial.Cause
	}{
		{name: "empty"},
		{name: "one event", events: many(1, 1)},
		{name: "few", events: many(1, 7)},
		{name: "plain", be: simnet.Behaviour{Cap: 100}, events: many(1, 1000)},
		{name: "limit above the cap refused", be: simnet.Behaviour{Cap: 100, RefuseOverCap: true}, events: many(1, 500)},
		{name: "no cap", events: many(1, 1200)},
		{name: "oldest first", be: simnet.Behaviour{Cap: 100, Order: simnet.OldestFirst}, events: many(1, 500)},
		{name: "shuffled", be: simnet.Behaviour{Cap: 100, Order: simnet.Shuffled}, events: many(1, 500)},
		{name: "by id", be: simnet.Behaviour{Cap: 100, Order: simnet.ByID}, events: many(1, 500)},
		{name: "exclusive until", be: simnet.Behaviour{Cap: 100, ExclusiveUntil: true}, events: many(1, 500)},
		{name: "since ignored", be: simnet.Behaviour{Cap: 100, IgnoreSince: true}, events: many(1, 500), visits: 2},
		{name: "until ignored", be: simnet.Behaviour{Cap: 100, IgnoreUntil: true}, events: many(1, 500), held: 100, hole: store.HoleUnpaged, open: true},
		{name: "limit ignored", be: simnet.Behaviour{IgnoreLimit: true}, events: many(1, 8000)},
		{name: "hints", be: simnet.Behaviour{Cap: 100, Hints: true}, events: many(1, 500)},
		{name: "count", be: simnet.Behaviour{Cap: 100, Count: simnet.CountExact}, events: many(1, 500)},
		{name: "count too high", be: simnet.Behaviour{Cap: 100, Count: simnet.CountWrong}, events: many(1, 500), hole: store.HoleAuth, open: true},
		// Sync.md: all of the kinds answered, and no COUNT to show that it was all.
		{name: "dense second, many kinds", be: simnet.Behaviour{Cap: 500}, events: lot(many(1, 200), burst(2, 1500, then, 0, 1, 3, 5, 6, 7, 1111, 30023)), hole: store.HoleOverflow, open: true},
		{name: "dense second, many kinds, count", be: simnet.Behaviour{Cap: 500, Count: simnet.CountExact}, events: lot(many(1, 200), burst(2, 1500, then, 0, 1, 3, 5, 6, 7, 1111, 30023))},
		{name: "dense second, one kind, count", be: simnet.Behaviour{Cap: 500, Count: simnet.CountExact}, events: lot(many(1, 200), burstOf(2, 1500, then, 4000)), held: all, hole: store.HoleOverflow, open: true},
		{name: "post-filtering", be: simnet.Behaviour{Cap: 100, Order: simnet.NewestLatest, Restricted: private, PostFilter: true}, events: lot(many(1, 500), wraps), hole: store.HoleAuth, open: true},
		{name: "post-filtering, count", be: simnet.Behaviour{Cap: 100, Order: simnet.NewestLatest, Restricted: private, PostFilter: true, Count: simnet.CountExact}, events: lot(many(1, 500), wraps), hole: store.HoleAuth, open: true},
		{name: "post-filtering, silent", be: simnet.Behaviour{Cap: 100, Order: simnet.NewestLatest, Restricted: private, PostFilter: true, RefuseAs: simnet.RefuseEmpty}, events: lot(many(1, 500), wraps), hole: store.HoleAuth, open: true},
		{name: "open filter refused", be: simnet.Behaviour{Cap: 100, Broad: simnet.BroadOpen}, events: many(1, 500), hole: store.HolePolicy, open: true},
		{name: "authors demanded", be: simnet.Behaviour{Cap: 100, Broad: simnet.BroadAuthorless}, events: many(1, 500), held: all, hole: store.HolePolicy, open: true, cause: dial.CauseReadRestricted},
		{name: "auth", be: simnet.Behaviour{Cap: 100, Auth: true}, events: many(1, 500)},
		{name: "auth, for members", be: simnet.Behaviour{Cap: 100, Auth: true, Admits: simnet.AdmitMembers}, events: many(1, 500), held: all, hole: store.HolePolicy, open: true, cause: dial.CauseReadRestricted},
		{name: "auth, for nobody", be: simnet.Behaviour{Cap: 100, Auth: true, Admits: simnet.AdmitNone}, events: many(1, 500), held: all, hole: store.HoleAuth, open: true, cause: dial.CauseReadAuth},
		{name: "notice before eose", be: fault(simnet.Fault{What: simnet.NoticeEOSE}, 5), events: many(1, 1000)},
		{name: "closed half-way", be: fault(simnet.Fault{What: simnet.Closed, N: 40}, 4), events: many(1, 1000)},
		{name: "connection reset", be: fault(simnet.Fault{What: simnet.Reset, N: 25}, 6), events: many(1, 1000)},
		{name: "empty now and then", be: fault(simnet.Fault{What: simnet.Empty}, 7), events: many(1, 1000)},
		{name: "short now and then", be: fault(simnet.Fault{What: simnet.Short, N: 3}, 7), events: many(1, 1000)},
		{name: "no eose now and then", be: fault(simnet.Fault{What: simnet.NoEOSE}, 9), events: many(1, 1000)},
		{name: "no eose ever", be: fault(simnet.Fault{What: simnet.NoEOSE}, 1), events: many(1, 50), open: true, cause: dial.CauseReadTimeout},
		{name: "events after eose", be: fault(simnet.Fault{What: simnet.Late, N: 2}, 5), events: many(1, 1000)},
		{name: "events outside of the window", be: fault(simnet.Fault{What: simnet.Outside, N: 2}, 5), events: many(1, 1000)},
		{name: "oversized messages", be: fault(simnet.Fault{What: simnet.Oversize, N: 5 << 20}, 5), events: many(1, 1000), hole: store.HoleOversize},
		{name: "future", events: lot(many(1, 50), burst(2, 10, now+5000, 1), burst(3, 10, now+500, 1))},
	}
	for _, test := range tests {
		t.Run(test.name, synchronizer.Bubble(func(t *testing.T) {
			w := newWorld(t, test.be, test.events)
			var report synchronizer.Report
			for range max(1, test.visits) {
				report = w.sync()
			}
			got := w.compare()
			if len(got.Missing) > 0 || len(got.FalseClaims) > 0 {
				t.Errorf("%d events missing, %d false claims", len(got.Missing), len(got.FalseClaims))
			}
			switch {
			case test.held == 0 && got.Archived != got.Visible:
				t.Errorf("%d of %d visible events archived", got.Archived, got.Visible)
			case test.held > 0 && got.Archived != test.held:
				t.Errorf("%d events archived, want %d", got.Archived, test.held)
			}
			if test.hole == "" && len(report.Holes) > 0 {
				t.Errorf("holes %+v, want none", report.Holes)
			}
			if test.hole != "" && !slices.ContainsFunc(report.Holes, func(h synchronizer.Missing) bool { return h.Reason == test.hole }) {
				t.Errorf("holes %+v, want one of reason %s", report.Holes, test.hole)
			}
			if open := !covers(report.Coverage, past); open != test.open {
				t.Errorf("unproved: %v, want %v; coverage %+v", open, test.open, report.Coverage)
			}
			if report.Cause != test.cause {
				t.Errorf("cause %q, want %q", report.Cause, test.cause)
			}
		}))
	}
}

// covers tells whether the claims reach from 0 to hi without a break.
func covers(claims []synchronizer.Covered, hi int64) bool {
	next := int64(0)
	for _, c := range claims {
		if c.Lo == next {
			next = c.Hi + 1
		}
	}
	return next > hi
}

// TestCosts holds a walk of 200 full pages to its price: at most 1.1 requests a
// page and 20 more, and 1.05 times the events. With 100,000 events and pages of
// 500 it was 224 requests and 100,203 events.
func TestCosts(t *testing.T) { synchronizer.Bubble(testCosts)(t) }

func testCosts(t *testing.T) {
	const n, limit = 10_000, 50
	w := newWorld(t, simnet.Behaviour{Cap: limit}, many(7, n))
	begin := time.Now()
	report := w.sync()
	t.Logf("%d requests, %d events for %d, %.1f s", report.Requests, report.EventsReceived, report.New, time.Since(begin).Seconds())
	if most := int64(1.1*n/limit + 20); report.Requests > most {
		t.Errorf("%d requests, want at most %d", report.Requests, most)
	}
	if float64(report.EventsReceived) > 1.05*n {
		t.Errorf("%d events for %d", report.EventsReceived, n)
	}
	if want := int64(w.relay.Len()); report.New != want {
		t.Errorf("%d new events, want %d", report.New, want)
	}
}

// TestSyncAgain shows that the last three days are walked again in every pass,
// and that a pass without news costs little.
func TestSyncAgain(t *testing.T) { synchronizer.Bubble(testSyncAgain)(t) }

func testSyncAgain(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 100}, many(1, 500))
	w.sync()
	late := simnet.Generate(simnet.Plan{Seed: 9, Count: 5, Since: past - 2*86400, Until: past - 86400, Kinds: []nostr.Kind{1}})
	w.relay.Add(late...)
	report := w.sync()
	if report.New != 5 {
		t.Errorf("%d new events, want the 5 that came late", report.New)
	}
	if report.Requests > 25 {
		t.Errorf("%d requests for three days", report.Requests)
	}
	if got := w.compare(); got.Archived != got.Visible {
		t.Errorf("%d of %d archived", got.Archived, got.Visible)
	}
}

// TestCrash kills the process at every batch in turn and goes on.
func TestCrash(t *testing.T) { synchronizer.Bubble(testCrash)(t) }

func testCrash(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 50, Count: simnet.CountExact}, many(1, 400), burst(2, 120, past-40*86400, 0, 1, 3, 7))
	for batches := 0; ; batches++ {
		w.restart(batches % 4)
		_, err := w.svc.Sync(t.Context(), w.row, nil)
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		got := w.compare()
		if len(got.FalseClaims) > 0 {
			t.Fatalf("%d false claims after %d crashes", len(got.FalseClaims), batches)
		}
		if batches > 60 {
			break
		}
	}
	w.restart(-1)
	w.sync()
	if got := w.compare(); got.Archived != got.Visible || len(got.FalseClaims) > 0 {
		t.Errorf("%d of %d archived, %d false claims", got.Archived, got.Visible, len(got.FalseClaims))
	}
}

// TestCycle visits what is due, within the budget of a visit, and reschedules.
func TestCycle(t *testing.T) { synchronizer.Bubble(testCycle)(t) }

func testCycle(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 50}, many(1, 4000))
	cfg := testConfig()
	cfg.VisitRequests = 60
	svc := synchronizer.New(cfg, w.db, w.dialer(), "test", nil, slog.New(slog.DiscardHandler))
	if err := svc.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	due := func(at int64) []store.Work {
		work, err := w.db.DueRelays(t.Context(), store.Due{Service: synchronizer.Name, Now: at, Limit: 10, Owner: "look", Until: at + 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.db.FreeLeases(t.Context(), "look"); err != nil {
			t.Fatal(err)
		}
		return work
	}
	now := time.Now().Unix()
	if work := due(now); len(work) != 0 {
		t.Errorf("due at once after a visit: %+v", work)
	}
	// The budget was spent, so the relay gave its place to others for a moment.
	if work := due(now + 20); len(work) != 1 {
		t.Errorf("not due soon after a visit that gave way: %+v", work)
	}
	if got := w.compare(); got.Archived < 2000 || got.Archived == got.Visible || len(got.FalseClaims) > 0 {
		t.Errorf("%d of %d archived in one visit, %d false claims", got.Archived, got.Visible, len(got.FalseClaims))
	}
	// A relay that answers nothing is left alone for longer each time.
	w.relay.Stop()
	for range 2 {
		work := due(now + 86400*2)
		if len(work) != 1 {
			t.Fatalf("due: %+v", work)
		}
		if err := w.db.SaveNext(t.Context(), []store.Next{{Relay: w.row.ID, Service: synchronizer.Name, DueAt: now - 1, Attempts: work[0].Attempts}}); err != nil {
			t.Fatal(err)
		}
		if err := svc.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if work := due(now + 86400*2); len(work) != 1 || work[0].Attempts != 2 {
		t.Errorf("attempts not counted: %+v", work)
	}
	if work := due(now + 4*60); len(work) != 0 {
		t.Errorf("due again after the second failure already: %+v", work)
	}
}

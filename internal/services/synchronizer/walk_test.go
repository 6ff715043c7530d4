package synchronizer_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
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
	cfg.PerSecond = 1000
	return cfg
}

func testDialer() *dial.Dialer {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	cfg.PerMinute = 100_000
	cfg.PerAddress = 100
	return dial.New(cfg)
}

var past = time.Now().Add(-time.Hour).Unix()

// many is a relay's content: n events over the last 90 days.
func many(seed uint64, n int) []*simnet.Event {
	return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: past - 90*86400, Until: past})
}

func burst(seed uint64, n int, at int64, kinds ...nostr.Kind) []*simnet.Event {
	return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: at, Until: at, Kinds: kinds, Authors: n/8 + 1})
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

var seeds atomic.Uint64

func newWorld(t *testing.T, b simnet.Behaviour, lots ...[]*simnet.Event) *world {
	t.Helper()
	w := &world{t: t, net: simnet.New(seeds.Add(1))}
	t.Cleanup(w.net.Close)
	var err error
	if w.relay, err = w.net.AddRelay(b); err != nil {
		t.Fatal(err)
	}
	for _, lot := range lots {
		w.relay.Add(lot...)
	}
	if w.db, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := w.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
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
	w.svc = synchronizer.New(testConfig(), w.crash, testDialer(), "test", nil, slog.New(slog.DiscardHandler))
}

func (w *world) sync() synchronizer.Report {
	w.t.Helper()
	report, err := w.svc.Sync(w.t.Context(), w.row, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// compare holds the archive against the truth.
func (w *world) compare() simnet.RelayResult {
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
		held[scanned.Event.ID] = len(carriers) == 1 && carriers[0].URL == w.relay.URL()
	}
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
		Relay: w.relay.URL(), Held: func(id nostr.ID) bool { return held[id] }, Claims: claims, Holes: holes,
	}}).PerRelay[0]
}

func TestSync(t *testing.T) {
	s := past - 30*86400
	tests := []struct {
		name   string
		be     simnet.Behaviour
		events [][]*simnet.Event
		syncs  int
	}{
		{name: "empty"},
		{name: "one event", events: [][]*simnet.Event{many(1, 1)}},
		{name: "few", events: [][]*simnet.Event{many(1, 7)}},
		{name: "plain", be: simnet.Behaviour{Cap: 100}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "cap below limit, refused", be: simnet.Behaviour{Cap: 100, RefuseOverCap: true}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "no cap", events: [][]*simnet.Event{many(1, 1200)}},
		{name: "oldest first", be: simnet.Behaviour{Cap: 100, Order: simnet.OldestFirst}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "shuffled", be: simnet.Behaviour{Cap: 100, Order: simnet.Shuffled}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "by id", be: simnet.Behaviour{Cap: 100, Order: simnet.ByID}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "exclusive until", be: simnet.Behaviour{Cap: 100, ExclusiveUntil: true}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "ignores since", be: simnet.Behaviour{Cap: 100, IgnoreSince: true}, events: [][]*simnet.Event{many(1, 500)}, syncs: 2},
		{name: "ignores until", be: simnet.Behaviour{Cap: 100, IgnoreUntil: true}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "ignores limit", be: simnet.Behaviour{IgnoreLimit: true}, events: [][]*simnet.Event{many(1, 8000)}},
		{name: "hints", be: simnet.Behaviour{Cap: 100, Hints: true}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "count", be: simnet.Behaviour{Cap: 100, Count: simnet.CountExact}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "wrong count", be: simnet.Behaviour{Cap: 100, Count: simnet.CountWrong}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "dense, many kinds", be: simnet.Behaviour{Cap: 500}, events: [][]*simnet.Event{many(1, 200), burst(2, 1500, s)}},
		{name: "dense, many kinds, count", be: simnet.Behaviour{Cap: 500, Count: simnet.CountExact}, events: [][]*simnet.Event{many(1, 200), burst(2, 1500, s)}},
		{name: "dense, one kind", be: simnet.Behaviour{Cap: 500}, events: [][]*simnet.Event{many(1, 200), burst(2, 1500, s, 1)}},
		{name: "dense, one kind, count", be: simnet.Behaviour{Cap: 500, Count: simnet.CountExact}, events: [][]*simnet.Event{many(1, 200), burst(2, 1500, s, 1)}},
		{name: "post-filtering", be: simnet.Behaviour{Cap: 100, Order: simnet.NewestLatest, Restricted: []nostr.Kind{4, 1059}, PostFilter: true},
			events: [][]*simnet.Event{many(1, 500), simnet.Generate(simnet.Plan{Seed: 3, Count: 300, Since: s, Until: s + 3600, Kinds: []nostr.Kind{1059}})}},
		{name: "post-filtering, count", be: simnet.Behaviour{Cap: 100, Order: simnet.NewestLatest, Restricted: []nostr.Kind{4, 1059}, PostFilter: true, Count: simnet.CountExact},
			events: [][]*simnet.Event{many(1, 500), simnet.Generate(simnet.Plan{Seed: 3, Count: 300, Since: s, Until: s + 3600, Kinds: []nostr.Kind{1059}})}},
		{name: "post-filtering, silent", be: simnet.Behaviour{Cap: 100, Order: simnet.NewestLatest, Restricted: []nostr.Kind{4, 1059}, PostFilter: true, RefuseAs: simnet.RefuseEmpty},
			events: [][]*simnet.Event{many(1, 500), simnet.Generate(simnet.Plan{Seed: 3, Count: 300, Since: s, Until: s + 3600, Kinds: []nostr.Kind{1059}})}},
		{name: "open filter refused", be: simnet.Behaviour{Cap: 100, Broad: simnet.BroadOpen}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "authorless refused", be: simnet.Behaviour{Cap: 100, Broad: simnet.BroadAuthorless}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "auth", be: simnet.Behaviour{Cap: 100, Auth: true}, events: [][]*simnet.Event{many(1, 500)}},
		{name: "notice then eose", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.NoticeEOSE, When: simnet.When{Every: 5}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "closed half-way", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Closed, N: 40, When: simnet.When{Every: 4}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "resets", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Reset, N: 25, When: simnet.When{Every: 6}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "empty now and then", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Empty, When: simnet.When{Every: 7}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "short now and then", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Short, N: 3, When: simnet.When{Every: 7}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "no eose now and then", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.NoEOSE, When: simnet.When{Every: 7}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "late", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Late, N: 2, When: simnet.When{Every: 5}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "outside", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Outside, N: 2, When: simnet.When{Every: 5}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "oversize", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Oversize, N: 5 << 20, When: simnet.When{Every: 5}}}}, events: [][]*simnet.Event{many(1, 1000)}},
		{name: "garbage", be: simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Garbage, N: 3, When: simnet.When{Every: 9}}}}, events: [][]*simnet.Event{many(1, 1000), burst(2, 100, s)}},
		{name: "rate", be: simnet.Behaviour{Cap: 100, Rate: simnet.Rate{Requests: 8}}, events: [][]*simnet.Event{many(1, 1000)}, syncs: 4},
		{name: "future", events: [][]*simnet.Event{many(1, 50), burst(2, 10, time.Now().Unix()+5000), burst(3, 10, time.Now().Unix()+500)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.be, test.events...)
			var report synchronizer.Report
			for range max(1, test.syncs) {
				report = w.sync()
				b, _ := json.Marshal(report)
				if len(b) > 1500 {
					b = append(b[:1500], "…"...)
				}
				t.Logf("%s", b)
			}
			res := w.compare()
			t.Logf("visible %d archived %d in holes %d missing %d false %d; requests %+v", res.Visible, res.Archived, res.InHoles, len(res.Missing), len(res.FalseClaims), w.relay.Stats())
			if len(res.Missing) > 0 || len(res.FalseClaims) > 0 {
				t.Errorf("%d missing, %d false claims", len(res.Missing), len(res.FalseClaims))
			}
		})
	}
}

// TestCosts holds the walk of 100,000 events at a cap of 500 to its price: at
// most 1.1 requests a page and 20 more, and 1.05 times the events.
func TestCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 signatures")
	}
	const n, limit = 100_000, 500
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

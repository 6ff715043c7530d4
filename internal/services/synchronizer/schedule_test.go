package synchronizer

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

// TestRhythm visits relays the less often the less new they have for the bytes.
func TestRhythm(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	svc := New(cfg, nil, dial.New(dial.DefaultConfig()), "test", nil, slog.New(slog.DiscardHandler))
	due := func(v *visit) time.Duration {
		return time.Duration(svc.next(store.Work{}, v, nil, time.Unix(0, 0)).DueAt) * time.Second
	}
	v := &visit{}
	v.report.BytesReceived = 100_000
	last := time.Duration(0)
	for range 12 {
		v.rhythm(cfg.Every.Std(), cfg.EveryMost.Std())
		next := time.Duration(v.cal.Every) * time.Second
		if got := due(v); next < last || got < next*9/10-time.Second || got > next*11/10+time.Second {
			t.Errorf("without news: due after %s, %s before", next, last)
		}
		last = next
	}
	if last != 24*time.Hour {
		t.Errorf("without news the time grows to %s", last)
	}
	v.report.New = 20 // 16 % of the bytes
	if v.rhythm(cfg.Every.Std(), cfg.EveryMost.Std()); v.cal.Every != 86400 {
		t.Errorf("with as much as there should be: %d s", v.cal.Every)
	}
	v.report.New = 100
	for range 12 {
		v.rhythm(cfg.Every.Std(), cfg.EveryMost.Std())
	}
	if v.cal.Every != 3600 {
		t.Errorf("with news the time falls to %d s", v.cal.Every)
	}
	v.report.New, v.tail.Since, v.every = 0, 1, 6*time.Hour
	for range 12 {
		v.rhythm(cfg.Every.Std(), cfg.EveryMost.Std())
	}
	if v.cal.Every != 6*3600 {
		t.Errorf("a tail is looked after each %d s", v.cal.Every)
	}

	// Who gave way goes on the earlier the more is new, and never much later.
	for _, tt := range []struct {
		fresh int64
		want  time.Duration
	}{{125, 10 * time.Second}, {62, 20 * time.Second}, {1, 200 * time.Second}, {0, 200 * time.Second}} {
		v := &visit{report: Report{New: tt.fresh, BytesReceived: 100_000}}
		next := svc.next(store.Work{Attempts: 2}, v, &halt{why: yielded}, time.Unix(0, 0))
		if got := time.Duration(next.DueAt) * time.Second; got < tt.want-time.Second || got > tt.want+time.Second || next.Attempts != 0 {
			t.Errorf("%d of 125 new: due after %s, want %s", tt.fresh, got, tt.want)
		}
	}
}

// TestNoneStarves has one worker for a relay that gives a few events in a second,
// one as far away as if behind Tor, and two that flood: each has its turn before
// another has a second one, the small ones are done long before the large, and
// what is held in memory does not grow with what comes.
func TestNoneStarves(t *testing.T) { bubble(t, testNoneStarves) } // alone, since it looks at memory

func testNoneStarves(t *testing.T) {
	slow := simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Drip, N: 4096, Wait: 200 * time.Millisecond, When: simnet.Always}}}
	s, relays := newSpares(t, simnet.Behaviour{}, slow, simnet.Behaviour{}, simnet.Behaviour{Latency: 150 * time.Millisecond})
	s.fill(relays, 6000, 40, 6000, 200)
	svc := s.service(func(c *Config) {
		c.Parallel, c.Limit, c.VisitRequests, c.VisitTime = 1, 20, 50, config.Duration(3*time.Second)
		c.Answer = config.Duration(2500 * time.Millisecond)
	})
	var turns []relay.URL
	svc.dial = func(ctx context.Context, u relay.URL) (pager, func(), error) {
		turns = append(turns, u)
		return svc.connect(ctx, u)
	}
	held := func(i int) int {
		n := 0
		for range s.db.ScanHeld(t.Context(), s.rows[i].ID, store.Interval{Lo: 0, Hi: s.now.Unix()}) {
			n++
		}
		return n
	}
	memory := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var grown []int64
	base := memory()
	for round := 1; ; round++ {
		if round > 12 {
			t.Fatalf("after %d rounds: slow %d, far %d", round, held(1), held(3))
		}
		turns = nil
		if err := svc.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
		grown = append(grown, memory()-base)
		// A connection that is lost in a visit is opened again, within the turn.
		order := slices.Compact(slices.Clone(turns))
		for i, u := range order {
			if slices.Contains(order[:i], u) {
				t.Fatalf("round %d: %s had its turn twice: %v", round, u, order)
			}
		}
		if round == 1 && len(order) != len(relays) {
			t.Errorf("%d relays had a turn", len(order))
		}
		s.now = s.now.Add(5 * time.Minute) // beyond the wait of one that gave way, or was too slow once
		if held(1) == relays[1].Len() && held(3) == relays[3].Len() {
			break
		}
	}
	if held(0) == relays[0].Len() || held(2) == relays[2].Len() || held(0) == 0 || held(2) == 0 {
		t.Errorf("of the large ones %d and %d are held", held(0), held(2))
	}
	if most := slices.Max(grown); most > 24<<20 {
		t.Errorf("memory has grown by %d bytes: %v", most, grown)
	}
	t.Logf("%d rounds; memory grown by %v; %d and %d of the large ones", len(grown), grown, held(0), held(2))
}

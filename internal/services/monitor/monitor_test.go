package monitor_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/simnet"
)

func newStore(t *testing.T) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// TestCycle checks relays once and reads back results, states, outages and
// schedule.
func TestCycle(t *testing.T) {
	network := simnet.New(5)
	t.Cleanup(network.Close)
	for _, b := range []simnet.Behaviour{
		{Info: &simnet.Info{Body: `{"name":"A relay","software":"https://example.com/x"}`}},
		{Auth: true},
	} {
		if _, err := network.AddRelay(b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := network.AddDead(); err != nil {
		t.Fatal(err)
	}
	db := newStore(t)
	begin := time.Now().Unix()
	relays, err := db.AddRelays(t.Context(), network.URLs(), begin)
	if err != nil {
		t.Fatal(err)
	}
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	s := monitor.New(monitor.DefaultConfig(), db, dial.New(cfg), nil, "test", slog.New(slog.DiscardHandler))
	for range 2 { // in the second cycle nothing is due
		if err := s.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []struct {
		state    store.State
		cause    dial.Cause
		probes   int
		outages  int
		min, max int64 // seconds until the next check
	}{
		{store.StateUp, "", 7, 0, 3000, 4200},
		{store.StateDegraded, dial.CauseReadAuth, 6, 0, 3000, 4200},
		{store.StateDown, dial.CauseTCPRefused, 1, 1, 50, 80},
	} {
		r, err := db.Relay(t.Context(), relays[i].URL)
		if err != nil {
			t.Fatal(err)
		}
		if r.State != want.state || r.Cause != want.cause {
			t.Errorf("relay %d is %s because of %q, want %s because of %q", i, r.State, r.Cause, want.state, want.cause)
		}
		checks, err := db.LatestChecks(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(checks) != want.probes {
			t.Errorf("relay %d has %d results, want %d: %+v", i, len(checks), want.probes, checks)
		}
		outages, err := db.Outages(t.Context(), r.ID, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(outages) != want.outages {
			t.Errorf("relay %d has outages %+v, want %d", i, outages, want.outages)
		}
		later := begin + 30*86400
		due, err := db.DueRelays(t.Context(), store.Due{Service: monitor.Name, Now: later, Limit: 10, Owner: "test", Until: begin})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range due {
			if wait := w.DueAt - begin; w.Relay.ID == r.ID && (wait < want.min || wait > want.max) {
				t.Errorf("relay %d is checked again after %d s, want %d to %d", i, wait, want.min, want.max)
			}
		}
	}
	page, err := db.RelaySummaries(t.Context(), store.RelayQuery{State: store.StateUp, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(page) != 1 || page[0].Name != "A relay" || page[0].OpenMS <= 0 || page[0].ReadMS <= 0 {
		t.Errorf("relays that are up: %+v", page)
	}
}

// TestNoTurn has a monitor that may open no connection now: relays stay as they
// were found before, and are checked again soon.
func TestNoTurn(t *testing.T) {
	network := simnet.New(6)
	t.Cleanup(network.Close)
	if _, err := network.AddRelay(simnet.Behaviour{Info: &simnet.Info{Body: `{"name":"A relay"}`}}); err != nil {
		t.Fatal(err)
	}
	if _, err := network.AddDead(); err != nil {
		t.Fatal(err)
	}
	ctx, db := t.Context(), newStore(t)
	begin := time.Now().Unix()
	relays, err := db.AddRelays(ctx, network.URLs(), begin)
	if err != nil {
		t.Fatal(err)
	}
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	cycle := func(dialer *dial.Dialer) {
		t.Helper()
		if err := monitor.New(monitor.DefaultConfig(), db, dialer, nil, "test", slog.New(slog.DiscardHandler)).Cycle(ctx); err != nil {
			t.Fatal(err)
		}
	}
	look := func() (list []store.Relay, checks [][]store.Check) {
		t.Helper()
		for _, r := range relays {
			r, err := db.Relay(ctx, r.URL)
			if err != nil {
				t.Fatal(err)
			}
			found, err := db.LatestChecks(ctx, r.ID)
			if err != nil {
				t.Fatal(err)
			}
			list, checks = append(list, r), append(checks, found)
		}
		return list, checks
	}
	cycle(dial.New(cfg))
	before, checks := look()
	if before[0].State != store.StateUp || before[1].State != store.StateDown {
		t.Fatalf("at first: %+v", before)
	}
	var next []store.Next
	for _, r := range relays {
		next = append(next, store.Next{Relay: r.ID, Service: monitor.Name, DueAt: begin})
	}
	if err := db.SaveNext(ctx, next); err != nil {
		t.Fatal(err)
	}
	cfg.PerMinute = 1
	dialer := dial.New(cfg)
	conn, err := dialer.Dial(ctx, relays[0].URL) // the one of this minute
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cycle(dialer)
	after, again := look()
	if d := cmp.Diff(before, after, cmp.Comparer(func(a, b relay.URL) bool { return a == b })); d != "" {
		t.Errorf("relays (-before +after):\n%s", d)
	}
	if d := cmp.Diff(checks, again); d != "" {
		t.Errorf("results (-before +after):\n%s", d)
	}
	for at, want := range map[int64]int{begin + 4*60: 0, begin + 7*60: 2} {
		due, err := db.DueRelays(ctx, store.Due{Service: monitor.Name, Now: at, Limit: 9, Owner: "look", Until: at})
		if err != nil || len(due) != want {
			t.Errorf("after %d s %d are due, %v, want %d", at-begin, len(due), err, want)
		}
	}
}

// TestLateTurn has a relay that does not answer: that is its fault when it had
// the time of a check, and ours when our own budget had most of that.
func TestLateTurn(t *testing.T) {
	url, err := relay.Rules{AllowLocal: true}.Parse("ws://127.0.0.1:7777")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		held  time.Duration
		state store.State
		cause dial.Cause
	}{
		{0, store.StateDegraded, dial.CauseWSTimeout},
		{14 * time.Second, store.StateDegraded, dial.CauseWSTimeout},
		{20 * time.Second, store.StateUp, dial.CauseBusy},
		{time.Hour, store.StateUp, dial.CauseBusy},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := dial.DefaultConfig()
			cfg.AllowLocal, cfg.PerAddress = true, 1
			dialer := dial.New(cfg).Over(func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				t.Cleanup(func() { _ = theirs.Close() })
				return ours, nil
			})
			other, err := dialer.Dial(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			release := time.AfterFunc(test.held, func() { _ = other.Close() })
			defer release.Stop()
			s := monitor.New(monitor.DefaultConfig(), nil, dialer, nil, "test", slog.New(slog.DiscardHandler))
			r := s.Check(t.Context(), store.Relay{URL: url, State: store.StateUp}, false)
			if r.State != test.state || r.Cause != test.cause {
				t.Errorf("a turn after %s: %s because of %q, want %s because of %q", test.held, r.State, r.Cause, test.state, test.cause)
			}
		})
	}
}

package monitor_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/simnet"
)

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
	begin := time.Now().Unix()
	relays, err := db.AddRelays(t.Context(), network.URLs(), begin)
	if err != nil {
		t.Fatal(err)
	}
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	s := monitor.New(monitor.DefaultConfig(), db, dial.New(cfg), "test", slog.New(slog.DiscardHandler))
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
		{store.StateUp, "", 3, 0, 3000, 4200},
		{store.StateDegraded, dial.CauseReadAuth, 3, 1, 3000, 4200},
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

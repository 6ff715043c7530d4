package validator_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/validator"
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

// try makes candidates of the URLs and runs one cycle over them.
func try(t *testing.T, db *sqlite.DB, urls ...relay.URL) {
	t.Helper()
	mentions := make([]store.Mention, len(urls))
	for i, url := range urls {
		mentions[i] = store.Mention{URL: url, Class: hints.Seed, At: time.Now().Unix()}
	}
	if _, err := db.AddMentions(t.Context(), mentions); err != nil {
		t.Fatal(err)
	}
	network := dial.DefaultConfig()
	network.AllowLocal = true
	cfg := validator.DefaultConfig()
	cfg.Timeout = config.Duration(10 * time.Minute) // all of them answer, however loaded the machine is
	s := validator.New(cfg, db, dial.New(network), "test", slog.New(slog.DiscardHandler))
	if err := s.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// candidates returns all that are left, by URL.
func candidates(t *testing.T, db *sqlite.DB) map[relay.URL]store.Candidate {
	t.Helper()
	later := time.Now().Unix() + 365*86400
	list, err := db.DueCandidates(t.Context(), store.Due{Service: "test", Now: later, Limit: 100, Owner: "test", Until: later})
	if err != nil {
		t.Fatal(err)
	}
	byURL := map[relay.URL]store.Candidate{}
	for _, c := range list {
		byURL[c.URL] = c
	}
	return byURL
}

// TestCycle tries relays that answer in every way: what answers as a relay is
// promoted, everything else stays a candidate with its cause. Those that do not
// answer are in TestFirstPass.
func TestCycle(t *testing.T) {
	fault := func(what simnet.What, n int) simnet.Behaviour {
		return simnet.Behaviour{Faults: []simnet.Fault{{What: what, When: simnet.Always, N: n}}}
	}
	network := simnet.New(1)
	t.Cleanup(network.Close)
	tests := []struct {
		name      string
		behaviour simnet.Behaviour
		want      dial.Cause // empty: promoted
	}{
		{"answers", simnet.Behaviour{}, ""},
		{"asks for authentication", simnet.Behaviour{Auth: true}, ""},
		{"refuses", simnet.Behaviour{Restricted: []nostr.Kind{1}}, ""},
		{"refuses by CLOSED", fault(simnet.Closed, 0), ""},
		{"is no WebSocket", fault(simnet.Status, 404), dial.CauseHTTPStatus},
		{"leaves", fault(simnet.Leave, 0), dial.CauseDisconnected},
	}
	for _, test := range tests {
		if _, err := network.AddRelay(test.behaviour); err != nil {
			t.Fatal(err)
		}
	}
	dead, err := network.AddDead()
	if err != nil {
		t.Fatal(err)
	}
	db := newStore(t)
	try(t, db, network.URLs()...)
	left := candidates(t, db)
	for i, test := range tests {
		url := network.Relays()[i].URL()
		_, err := db.Relay(t.Context(), url)
		if promoted := err == nil; promoted != (test.want == "") {
			t.Errorf("a relay that %s: promoted is %t", test.name, promoted)
		}
		if c, is := left[url]; is != (test.want != "") || c.LastCause != test.want {
			t.Errorf("a relay that %s: candidate is %t because of %q, want %q", test.name, is, c.LastCause, test.want)
		}
	}
	if c := left[dead]; c.LastCause != dial.CauseTCPRefused || c.Attempts != 1 {
		t.Errorf("a dead address: %+v", c)
	}
}

// TestSchedule checks that a failed candidate waits, and that what does not
// pass by itself waits longer.
func TestSchedule(t *testing.T) {
	network := simnet.New(3)
	t.Cleanup(network.Close)
	dead, err := network.AddDead()
	if err != nil {
		t.Fatal(err)
	}
	web, err := network.AddRelay(simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Status, When: simnet.Always, N: 404}}})
	if err != nil {
		t.Fatal(err)
	}
	db := newStore(t)
	begin := time.Now().Unix()
	try(t, db, dead, web.URL())
	try(t, db, dead, web.URL()) // neither is due
	left := candidates(t, db)
	for _, test := range []struct {
		url      relay.URL
		min, max int64 // seconds
	}{
		{dead, 50, 80},
		{web.URL(), 3000, 4500},
	} {
		c := left[test.url]
		if wait := c.NextDue - begin; c.Attempts != 1 || wait < test.min || wait > test.max {
			t.Errorf("%s: tried %d times, waits %d s, want once and %d to %d s", test.url, c.Attempts, wait, test.min, test.max)
		}
	}
}

// TestNoProxy checks that relays of a network that cannot be reached wait: they
// are neither tried nor blamed, and keep no others waiting.
func TestNoProxy(t *testing.T) {
	network := simnet.New(4)
	t.Cleanup(network.Close)
	answers, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	onion, err := relay.Parse("ws://duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion")
	if err != nil {
		t.Fatal(err)
	}
	db := newStore(t)
	try(t, db, onion, answers.URL())
	left := candidates(t, db)
	if c, is := left[onion]; !is || c.Attempts != 0 || c.LastCause != "" || c.NextDue > time.Now().Unix() {
		t.Errorf("an onion relay without a proxy: %+v", c)
	}
	if _, err := db.Relay(t.Context(), answers.URL()); err != nil {
		t.Errorf("the relay behind it: %v", err)
	}
}

// spent is a store of a validator whose budgets are spent: it counts leases and
// verdicts.
type spent struct {
	*sqlite.DB
	leased, saved int
}

func (s *spent) DueCandidates(ctx context.Context, due store.Due) ([]store.Candidate, error) {
	list, err := s.DB.DueCandidates(ctx, due)
	s.leased += len(list)
	return list, err
}

func (s *spent) SaveVerdicts(ctx context.Context, verdicts []store.Verdict) error {
	s.saved += len(verdicts)
	return s.DB.SaveVerdicts(ctx, verdicts)
}

// TestSpent checks that a cycle ends when our budgets have no more room: what
// was leased is given back, and the rest is not even leased.
func TestSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled := dial.DefaultConfig()
		dialled.AllowLocal, dialled.PerMinute = true, 1
		dialer := dial.New(dialled).Over(func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		})
		db := &spent{DB: newStore(t)}
		var mentions []store.Mention
		for i := range 100 {
			url, err := relay.Rules{AllowLocal: true}.Parse(fmt.Sprintf("ws://127.0.0.1:%d", 7000+i))
			if err != nil {
				t.Fatal(err)
			}
			mentions = append(mentions, store.Mention{URL: url, Class: hints.Seed, At: time.Now().Unix()})
		}
		if _, err := db.AddMentions(t.Context(), mentions); err != nil {
			t.Fatal(err)
		}
		cfg := validator.DefaultConfig()
		cfg.Parallel = 10
		if err := validator.New(cfg, db, dialer, "test", slog.New(slog.DiscardHandler)).Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if db.leased > 30 || db.saved != db.leased {
			t.Errorf("%d candidates leased and %d verdicts saved, want few and as many", db.leased, db.saved)
		}
		failed := 0
		for _, c := range candidates(t, db.DB) {
			failed += c.Attempts
		}
		if failed != 1 {
			t.Errorf("%d candidates are blamed, want the one that was dialled", failed)
		}
	})
}

// TestNoTurn has a candidate wait for its turn to be dialled, and then not
// answer: when our own budget had most of the time of the trial, the candidate
// is tried again soon and nothing is held against it.
func TestNoTurn(t *testing.T) {
	url, err := relay.Rules{AllowLocal: true}.Parse("ws://127.0.0.1:7777")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		held     time.Duration // of the 20 s of a trial
		attempts int
		cause    dial.Cause
	}{
		{2 * time.Second, 1, dial.CauseWSTimeout},
		{12 * time.Second, 0, ""},
		{time.Hour, 0, ""},
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
			db := newStore(t)
			if _, err := db.AddMentions(t.Context(), []store.Mention{{URL: url, Class: hints.Seed, At: time.Now().Unix()}}); err != nil {
				t.Fatal(err)
			}
			s := validator.New(validator.DefaultConfig(), db, dialer, "test", slog.New(slog.DiscardHandler))
			if err := s.Cycle(t.Context()); err != nil {
				t.Fatal(err)
			}
			c := candidates(t, db)[url]
			if wait := c.NextDue - time.Now().Unix(); c.Attempts != test.attempts || c.LastCause != test.cause || wait < 50 || wait > 75 {
				t.Errorf("a turn after %s: tried %d times, last %q, again after %d s, want %d and %q", test.held, c.Attempts, c.LastCause, wait, test.attempts, test.cause)
			}
		})
	}
}

package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/pgtest"
)

// shared is a database as several processes use it: every handle has
// connections of its own, and nothing else is common to them.
type shared struct {
	handles []*postgres.DB
	direct  *pgx.Conn // a look past the store
}

// codeDeadlock is the server's word to who must give way because several
// waited for one another. The store would try again, a second later.
const codeDeadlock = "40P01"

// ways runs a test of shared databases directly and through PgBouncer.
func ways(t *testing.T, handles int, test func(t *testing.T, s *shared)) {
	bouncer := pgtest.Shared(t).Bouncer(t)
	for _, way := range []struct {
		name string
		url  func(string) string
	}{
		{"direct", func(url string) string { return url }},
		{"PgBouncer", bouncer.URL},
	} {
		t.Run(way.name, func(t *testing.T) {
			url := migrated(t, store.Keep{})
			s := new(shared)
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			for range handles {
				db, err := postgres.Open(t.Context(), way.url(url), postgres.Options{Connections: 4, Logger: logger})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = db.Close() })
				s.handles = append(s.handles, db)
			}
			var err error
			if s.direct, err = pgx.Connect(t.Context(), url); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.direct.Close(context.Background()) })
			test(t, s)
			if text := log.String(); strings.Contains(text, codeDeadlock) {
				t.Errorf("a deadlock: %s", text)
			}
		})
	}
}

// atOnce runs n functions at the same time.
func atOnce(t *testing.T, n int, work func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = work(i) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("worker %d: %v", i, err)
		}
	}
}

func relayURLs(n int) []relay.URL {
	urls := make([]relay.URL, n)
	for i := range urls {
		var err error
		if urls[i], err = relay.Parse(fmt.Sprintf("wss://relay%04d.nostr.org", i)); err != nil {
			panic(err) // a fault of the test
		}
	}
	return urls
}

const now int64 = 1_700_000_000

const (
	workers = 8
	shares  = 7 // how many a worker leases at once
)

// taken is who leased what.
type taken struct {
	mu sync.Mutex
	by map[string][]string
}

func newTaken() *taken { return &taken{by: make(map[string][]string)} }

func (l *taken) add(what, owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[what] = append(l.by[what], owner)
}

// once fails unless each of n things was leased once, by more than one owner.
func (l *taken) once(t *testing.T, n int) {
	t.Helper()
	owners := make(map[string]bool)
	for what, by := range l.by {
		if len(by) != 1 {
			t.Errorf("%s was leased by %q", what, by)
		}
		owners[by[0]] = true
	}
	if len(l.by) != n {
		t.Errorf("%d were leased, want %d", len(l.by), n)
	}
	if len(owners) < 2 {
		t.Errorf("all of it was leased by %v", owners)
	}
}

// TestRelaysAreLeasedOnce has workers of several processes share the relays of
// a service, whose rows in the schedule the first of them make.
func TestRelaysAreLeasedOnce(t *testing.T) {
	const relays, rounds = 500, 3
	ways(t, 3, func(t *testing.T, s *shared) {
		if _, err := s.handles[0].AddRelays(t.Context(), relayURLs(relays), now); err != nil {
			t.Fatal(err)
		}
		for round := range int64(rounds) {
			at, leased := now+round*100, newTaken()
			atOnce(t, workers, func(i int) error {
				db, owner := s.handles[i%len(s.handles)], fmt.Sprint("worker ", i)
				for {
					work, err := db.DueRelays(t.Context(), store.Due{Service: "monitor", Now: at, Limit: shares, Owner: owner, Until: at + 60})
					if err != nil || len(work) == 0 {
						return err
					}
					if !slices.IsSortedFunc(work, func(a, b store.Work) int { return int(a.Relay.ID) - int(b.Relay.ID) }) {
						t.Errorf("equally due, but not in order: %v", work)
					}
					var next []store.Next
					for _, w := range work {
						leased.add(w.Relay.URL.String(), owner)
						next = append(next, store.Next{Relay: w.Relay.ID, Service: "monitor", Owner: owner, DueAt: at + 100, Attempts: i})
					}
					if i%2 == 0 {
						slices.Reverse(next) // the order of results is nobody's
					}
					if err := db.SaveNext(t.Context(), next); err != nil {
						return err
					}
				}
			})
			leased.once(t, relays)
		}
	})
}

func TestCandidatesAreLeasedOnce(t *testing.T) {
	const candidates, rounds = 500, 3
	ways(t, 3, func(t *testing.T, s *shared) {
		var mentions []store.Mention
		for i, u := range relayURLs(candidates) {
			mentions = append(mentions, store.Mention{URL: u, Class: []hints.Class{hints.List, hints.Hint}[i%2], At: now - int64(i%9)})
		}
		if _, err := s.handles[0].AddMentions(t.Context(), mentions); err != nil {
			t.Fatal(err)
		}
		for round := range int64(rounds) {
			at, leased := now+round*100, newTaken()
			atOnce(t, workers, func(i int) error {
				db, owner := s.handles[i%len(s.handles)], fmt.Sprint("worker ", i)
				for {
					due, err := db.DueCandidates(t.Context(), store.Due{Now: at, Limit: shares, Owner: owner, Until: at + 60})
					if err != nil || len(due) == 0 {
						return err
					}
					var verdicts []store.Verdict
					for _, c := range due {
						leased.add(c.URL.String(), owner)
						verdicts = append(verdicts, store.Verdict{
							URL: c.URL, Owner: owner, At: at, Valid: round == rounds-1, Cause: dial.CauseTCPRefused, NextDue: at + 100,
						})
					}
					if i%2 == 0 {
						slices.Reverse(verdicts)
					}
					if err := db.SaveVerdicts(t.Context(), verdicts); err != nil {
						return err
					}
				}
			})
			leased.once(t, candidates)
		}
		n := 0
		for _, err := range s.handles[1].ScanRelays(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != candidates {
			t.Errorf("%d were promoted, want %d", n, candidates)
		}
	})
}

// TestALostWorkersLeasesEnd has a process vanish with what it leased: others
// get the rest at once and its share when the leases end.
func TestALostWorkersLeasesEnd(t *testing.T) {
	const relays, lost = 60, 25
	ways(t, 2, func(t *testing.T, s *shared) {
		ctx := t.Context()
		urls := relayURLs(2 * relays)
		if _, err := s.handles[0].AddRelays(ctx, urls[:relays], now); err != nil {
			t.Fatal(err)
		}
		var mentions []store.Mention
		for _, u := range urls[relays:] {
			mentions = append(mentions, store.Mention{URL: u, Class: hints.List, At: now})
		}
		if _, err := s.handles[0].AddMentions(ctx, mentions); err != nil {
			t.Fatal(err)
		}
		lease := func(db *postgres.DB, owner string, at int64, limit int) (found []string) {
			t.Helper()
			due := store.Due{Service: "monitor", Now: at, Limit: limit, Owner: owner, Until: at + 60}
			work, err := db.DueRelays(ctx, due)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range work {
				found = append(found, w.Relay.URL.String())
			}
			candidates, err := db.DueCandidates(ctx, due)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range candidates {
				found = append(found, c.URL.String())
			}
			return found
		}
		gone := lease(s.handles[0], "lost", now, lost)
		if err := s.handles[0].Close(); err != nil {
			t.Fatal(err)
		}
		rest := lease(s.handles[1], "other", now+1, 10*relays)
		if n := len(lease(s.handles[1], "other", now+59, 10*relays)); len(gone) != 2*lost || len(rest) != 2*(relays-lost) || n > 0 {
			t.Errorf("the lost worker got %d, the other %d and, before the leases end, %d", len(gone), len(rest), n)
		}
		if d := cmp.Diff(gone, lease(s.handles[1], "other", now+60, 10*relays)); d != "" {
			t.Errorf("what the lost worker had, when its leases end (-want +got):\n%s", d)
		}
		if err := s.handles[1].FreeLeases(ctx, "other"); err != nil {
			t.Fatal(err)
		}
		if n := len(lease(s.handles[1], "third", now+61, 10*relays)); n != 2*relays {
			t.Errorf("%d are free after all leases were given back, want %d", n, 2*relays)
		}
	})
}

// TestALostLease has a worker outlast its leases. Others take them over while
// it saves what it did: every lease belongs to a successor or had not been
// taken, and only of the latter the loser's word counts.
func TestALostLease(t *testing.T) {
	const things, until = 120, now + 60
	ways(t, 3, func(t *testing.T, s *shared) {
		ctx := t.Context()
		urls := relayURLs(2 * things)
		if _, err := s.handles[0].AddRelays(ctx, urls[:things], now); err != nil {
			t.Fatal(err)
		}
		var mentions []store.Mention
		for _, u := range urls[things:] {
			mentions = append(mentions, store.Mention{URL: u, Class: hints.List, At: now})
		}
		if _, err := s.handles[0].AddMentions(ctx, mentions); err != nil {
			t.Fatal(err)
		}
		lease := func(i int, owner string, at int64, limit int) (work []store.Work, candidates []store.Candidate, err error) {
			due := store.Due{Service: "monitor", Now: at, Limit: limit, Owner: owner, Until: at + 60}
			if work, err = s.handles[i].DueRelays(ctx, due); err == nil {
				candidates, err = s.handles[i].DueCandidates(ctx, due)
			}
			return work, candidates, err
		}
		// save is how a worker ends its work, in steps so that others come between.
		save := func(owner string, at int64, work []store.Work, candidates []store.Candidate) error {
			db := s.handles[0]
			for w := range slices.Chunk(work, shares) {
				var next []store.Next
				for _, one := range w {
					next = append(next, store.Next{Relay: one.Relay.ID, Service: "monitor", Owner: owner, DueAt: at})
				}
				if err := db.SaveNext(ctx, next); err != nil {
					return err
				}
			}
			for c := range slices.Chunk(candidates, shares) {
				var verdicts []store.Verdict
				for _, one := range c {
					verdicts = append(verdicts, store.Verdict{URL: one.URL, Owner: owner, At: now, Cause: dial.CauseTCPRefused, NextDue: at})
				}
				if err := db.SaveVerdicts(ctx, verdicts); err != nil {
					return err
				}
			}
			return nil
		}
		work, candidates, err := lease(0, "loser", now, 2*things)
		if err != nil || len(work) != things || len(candidates) != things {
			t.Fatalf("the loser got %d relays and %d candidates, %v", len(work), len(candidates), err)
		}
		// Successors take leases over, the first before the loser saves anything.
		var mu sync.Mutex
		taken := map[string]int{} // by successor
		take := func(i int) error {
			w, c, err := lease(i, fmt.Sprint("successor ", i), until, shares)
			mu.Lock()
			defer mu.Unlock()
			for _, one := range w {
				taken[one.Relay.URL.String()] = i
			}
			for _, one := range c {
				taken[one.URL.String()] = i
			}
			return err
		}
		if err := take(1); err != nil || len(taken) != 2*shares {
			t.Fatalf("%d were taken over, %v", len(taken), err)
		}
		atOnce(t, 3, func(i int) error {
			if i == 0 {
				return save("loser", now+1000, work, candidates)
			}
			for range 4 {
				if err := take(i); err != nil {
					return err
				}
			}
			return nil
		})
		// Once more, when all of that is over.
		if err := save("loser", now+1000, work, candidates); err != nil {
			t.Fatal(err)
		}
		rows, err := s.direct.Query(ctx, `
			SELECT r.url, w.lease_owner, w.lease_until, w.due_at FROM work w JOIN relay r ON r.id = w.relay_id
			UNION ALL SELECT url, lease_owner, lease_until, next_due FROM candidate`)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		var url, owner string
		var end, due int64
		if _, err := pgx.ForEachRow(rows, []any{&url, &owner, &end, &due}, func() error {
			seen++
			wantOwner, wantEnd, wantDue := "", int64(0), now+1000
			if i, ok := taken[url]; ok {
				wantOwner, wantEnd, wantDue = fmt.Sprint("successor ", i), until+60, now
			}
			if owner != wantOwner || end != wantEnd || due != wantDue {
				t.Errorf("%s is leased by %q until %d and due at %d, want %q, %d and %d", url, owner, end, due, wantOwner, wantEnd, wantDue)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if seen != 2*things {
			t.Errorf("%d rows, want %d", seen, 2*things)
		}
	})
}

// TestRelaysAreAddedOnce has processes add the same relays in other orders.
func TestRelaysAreAddedOnce(t *testing.T) {
	const relays = 200
	ways(t, 2, func(t *testing.T, s *shared) {
		found := make([]map[relay.URL]store.RelayID, workers)
		atOnce(t, workers, func(i int) error {
			urls := relayURLs(relays)
			if i%2 == 0 {
				slices.Reverse(urls)
			}
			added, err := s.handles[i%len(s.handles)].AddRelays(t.Context(), urls, now)
			found[i] = make(map[relay.URL]store.RelayID)
			for _, r := range added {
				found[i][r.URL] = r.ID
			}
			return err
		})
		for i := range found {
			if d := cmp.Diff(found[0], found[i], cmp.Comparer(func(a, b relay.URL) bool { return a == b })); d != "" || len(found[i]) != relays {
				t.Errorf("worker %d has %d relays (-first +this):\n%s", i, len(found[i]), d)
			}
		}
		var last int
		if err := s.direct.QueryRow(t.Context(), `SELECT max(id) FROM relay`).Scan(&last); err != nil {
			t.Fatal(err)
		}
		if last != relays {
			t.Errorf("the last number is %d of %d relays", last, relays)
		}
	})
}

// TestOutcomesWithTheSameDocuments has monitors save what they found of relays
// of their own, which introduce themselves alike.
func TestOutcomesWithTheSameDocuments(t *testing.T) {
	const relays, rounds = 80, 5
	ways(t, 2, func(t *testing.T, s *shared) {
		added, err := s.handles[0].AddRelays(t.Context(), relayURLs(relays), now)
		if err != nil {
			t.Fatal(err)
		}
		for round := range int64(rounds) {
			atOnce(t, 4, func(i int) error {
				var outcomes []store.Outcome
				for j := range relays / 4 {
					r := added[i*relays/4+j]
					text := fmt.Sprintf(`{"name":"%d of %d"}`, j, round)
					outcomes = append(outcomes, store.Outcome{
						Relay: r.ID, At: now + round, State: store.StateUp, LastUp: now + round,
						Checks: []store.Check{{At: now + round, Probe: "nip11", OK: true, Document: &store.Document{Type: "nip11", Data: []byte(text)}}},
						Next:   store.Next{Relay: r.ID, Service: "monitor", DueAt: now + round + 1},
					})
				}
				if i%2 == 0 {
					slices.Reverse(outcomes)
				}
				return s.handles[i%2].SaveOutcomes(t.Context(), outcomes)
			})
		}
		var documents, checks int
		if err := s.direct.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM check_result)`).Scan(&documents, &checks); err != nil {
			t.Fatal(err)
		}
		if documents != rounds*relays/4 || checks != rounds*relays {
			t.Errorf("%d documents and %d checks, want %d and %d", documents, checks, rounds*relays/4, rounds*relays)
		}
	})
}

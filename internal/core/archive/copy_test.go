package archive_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// database is a backend as Copy and the test need it.
type database interface {
	store.Store
	store.Transfer
}

func openSQLite(t *testing.T, keep store.Keep) database {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "t.db"), sqlite.Options{Keep: keep})
	return migrate(t, db, err)
}

func openPostgres(t *testing.T, keep store.Keep) database {
	t.Helper()
	db, err := postgres.Open(t.Context(), pgtest.Shared(t).Database(t), postgres.Options{Keep: keep})
	return migrate(t, db, err)
}

func migrate[T database](t *testing.T, db T, err error) database {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

const copiedAt int64 = 1_700_000_000

// fill puts something of everything into a database.
func fill(t *testing.T, db database) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var urls []relay.URL
	for i := range 3 {
		u, err := relay.Parse(fmt.Sprintf("wss://relay%d.nostr.org", i))
		must(err)
		urls = append(urls, u)
	}
	relays, err := db.AddRelays(ctx, urls, copiedAt)
	must(err)
	other, err := relay.Parse("wss://candidate.nostr.org")
	must(err)
	_, err = db.AddMentions(ctx, []store.Mention{
		{URL: other, Class: hints.List, Author: nostr.PubKey{1}, At: copiedAt}, {URL: urls[0], Class: hints.Seed, At: copiedAt},
	})
	must(err)
	filter, err := db.FilterID(ctx, nostr.Filter{})
	must(err)
	must(db.SaveOutcomes(ctx, []store.Outcome{{
		Relay: relays[0].ID, At: copiedAt, State: store.StateDown, Failures: 2, Next: store.Next{Relay: relays[0].ID, Service: "monitor", DueAt: copiedAt + 60},
		Checks: []store.Check{{
			At: copiedAt, Probe: "open", OK: true, Values: map[string]float64{"open_ms": 12.5, "a": 1}, Detail: "é\n",
			Document: &store.Document{Type: "nip11", Data: []byte(`{"name":"x"}`)},
		}},
	}}))
	must(db.SaveCalibration(ctx, store.Calibration{Relay: relays[1].ID, At: copiedAt, Limit: 500, Order: store.OrderNewest, Counts: true}))
	must(db.AddCost(ctx, relays[0].ID, store.WayVisit, store.Spent{ID: -7, At: copiedAt, Cost: store.Cost{Requests: 5, Bytes: 1 << 40, Received: 4, New: 3, Known: 1}}))
	must(db.AddCost(ctx, relays[0].ID, store.WayTail, store.Spent{ID: 7, At: copiedAt, Cost: store.Cost{Requests: 1}}))
	key := nostr.GenerateKey()
	for n, r := range relays {
		var events []nostr.Event
		for i := range 700 {
			e := nostr.Event{
				CreatedAt: copiedAt - int64(i)*86400, Kind: []nostr.Kind{1, 0, 5, 30023}[i%4], Content: fmt.Sprintf("note %d\x00%d", i, n/2),
				Tags: []nostr.Tag{{"d", fmt.Sprint(i)}, {"expiration", "1900000000"}, {"e", fmt.Sprintf("%064x", i)}, {"t", "é"}},
			}
			must(key.Sign(&e))
			events = append(events, e)
		}
		interval := store.Interval{Lo: 0, Hi: copiedAt - int64(n)}
		_, err := db.SaveBatch(ctx, store.Batch{
			Relay: r.ID, SeenAt: copiedAt + int64(n), Events: events, Filter: filter,
			Rejected: []store.Rejected{{Reason: "signature", Raw: []byte{0, 255}}, {Reason: "empty"}},
			Claims:   []store.Coverage{{Relay: r.ID, Filter: filter, Interval: interval, Level: store.LevelWalked, AsOf: copiedAt, Method: "walked", N: 700}},
			Holes:    []store.Hole{{Relay: r.ID, Filter: filter, Interval: interval, Kind: store.AnyKind, Reason: store.HoleInvalid, Count: 2, SeenAt: copiedAt}},
		})
		must(err)
	}
	stand(t, db, relays)
	for more := true; more; {
		r, err := db.Refresh(ctx, 1000)
		must(err)
		more = r.More
	}
}

// stand has relays stand to ids in every way.
func stand(t *testing.T, db database, relays []store.Relay) {
	t.Helper()
	events, _, err := db.Events(t.Context(), store.EventQuery{Limit: 40})
	if err != nil {
		t.Fatal(err)
	}
	refs := make([]nostr.Ref, len(events))
	for i := range events {
		refs[i] = nostr.Ref{ID: events[i].Event.ID, CreatedAt: events[i].Event.CreatedAt}
	}
	for n, r := range relays {
		b := store.Batch{
			Relay: r.ID, SeenAt: copiedAt + 9, Claimed: refs, Gone: refs[n : n+5],
			Withheld: []nostr.Ref{{ID: nostr.ID{1, byte(n)}, CreatedAt: copiedAt}}, Refused: []nostr.Ref{{ID: nostr.ID{2}, CreatedAt: 5}},
		}
		if _, err := db.SaveBatch(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		b = store.Batch{Relay: r.ID, SeenAt: copiedAt + 10, Gone: refs[n : n+7]}
		if _, err := db.SaveBatch(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if _, err := db.HeldDays(t.Context(), r.ID, copiedAt); err != nil {
			t.Fatal(err)
		}
	}
}

// held is what a database knows of what relays have.
type held struct {
	Days    []negentropy.Day
	Missing []store.Missing
	Carried [][]store.Carried
}

func heldBy(t *testing.T, db database) []held {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	relays, err := db.RelaySummaries(t.Context(), store.RelayQuery{Limit: 10})
	must(err)
	var list []held
	for _, r := range relays {
		var h held
		h.Days, err = db.HeldDays(t.Context(), r.ID, copiedAt)
		must(err)
		for m, err := range db.ScanMissing(t.Context(), r.ID) {
			must(err)
			h.Missing = append(h.Missing, m)
		}
		list = append(list, h)
	}
	for _, id := range ids(t, db, store.EventQuery{Limit: 40}) {
		carried, err := db.EventRelays(t.Context(), id)
		must(err)
		list[0].Carried = append(list[0].Carried, carried)
	}
	return list
}

// ids reads what a query finds.
func ids(t *testing.T, db database, q store.EventQuery) []nostr.ID {
	t.Helper()
	events, _, err := db.Events(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var list []nostr.ID
	for _, e := range events {
		list = append(list, e.Event.ID)
	}
	return list
}

// alike compares what two databases answer.
func alike(t *testing.T, a, b database) {
	t.Helper()
	totals := func(db database) store.Totals {
		totals, err := db.Totals(t.Context(), copiedAt)
		if err != nil {
			t.Fatal(err)
		}
		totals.Bytes = 0
		return totals
	}
	if d := cmp.Diff(totals(a), totals(b)); d != "" {
		t.Errorf("totals (-source +copy):\n%s", d)
	}
	if d := cmp.Diff(heldBy(t, a), heldBy(t, b), cmp.Comparer(func(a, b relay.URL) bool { return a == b })); d != "" {
		t.Errorf("what relays have (-source +copy):\n%s", d)
	}
	for _, q := range []store.EventQuery{
		{Limit: 500},
		{Limit: 100, Filter: nostr.Filter{Tags: map[string][]string{"t": {"é"}}}},
		{Limit: 100, Public: true, Now: copiedAt, Filter: nostr.Filter{Kinds: []nostr.Kind{30023}}},
	} {
		if d := cmp.Diff(ids(t, a, q), ids(t, b, q)); d != "" {
			t.Errorf("%+v (-source +copy):\n%s", q, d)
		}
	}
	for _, db := range []database{a, b} {
		if wrong, err := db.Recount(t.Context()); err != nil || len(wrong) > 0 {
			t.Errorf("recount: %+v, %v", wrong, err)
		}
	}
}

func quietly(archive.Progress) {}

func TestCopy(t *testing.T) {
	index := store.Keep{Mode: store.KeepIndex, FullKinds: []nostr.Kind{0}}
	for _, test := range []struct {
		name             string
		from, to         func(*testing.T, store.Keep) database
		source, existing store.Keep
	}{
		{"to PostgreSQL", openSQLite, openPostgres, store.Keep{}, store.Keep{}},
		{"to SQLite", openPostgres, openSQLite, store.Keep{}, store.Keep{}},
		{"an index to PostgreSQL", openSQLite, openPostgres, index, index},
		{"an index to SQLite", openPostgres, openSQLite, index, index},
		{"into an index", openSQLite, openPostgres, store.Keep{}, index},
	} {
		t.Run(test.name, func(t *testing.T) {
			source, target := test.from(t, test.source), test.to(t, test.existing)
			fill(t, source)
			compared, err := archive.Copy(t.Context(), "source", source, target, quietly)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range compared {
				if least := map[string]int64{"sighting": 2100, "missing": 6}[c.Table]; c.Target.Rows < least {
					t.Errorf("%d rows of %s copied", c.Target.Rows, c.Table)
				}
			}
			alike(t, source, target)
			state, err := target.CopyState(t.Context())
			if err != nil || state != (store.CopyState{}) {
				t.Errorf("after the copy: %+v, %v", state, err)
			}
			if _, err := archive.Copy(t.Context(), "source", source, target, quietly); !errors.Is(err, archive.ErrNotEmpty) {
				t.Errorf("a second copy: %v", err)
			}
		})
	}
}

// TestCopyGoesOn stops a copy again and again at its next step.
func TestCopyGoesOn(t *testing.T) {
	source, target := openSQLite(t, store.Keep{}), openPostgres(t, store.Keep{})
	fill(t, source)
	stops := 0
	for ; ; stops++ {
		if stops > 200 {
			t.Fatal("does not come to an end")
		}
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		_, err := archive.Copy(ctx, "source", source, target, func(p archive.Progress) {
			if steps++; steps > 3 && !p.Check {
				cancel()
			}
		})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if _, err := archive.Copy(t.Context(), "another", source, target, quietly); !errors.Is(err, archive.ErrOtherCopy) {
			t.Fatalf("a copy of another archive meanwhile: %v", err)
		}
	}
	if stops < 3 {
		t.Errorf("stopped %d times only", stops)
	}
	alike(t, source, target)
}

// TestCopyIsCompared changes the copy's source while it is compared.
func TestCopyIsCompared(t *testing.T) {
	source, target := openSQLite(t, store.Keep{}), openPostgres(t, store.Keep{})
	fill(t, source)
	changed := false
	_, err := archive.Copy(t.Context(), "source", source, target, func(p archive.Progress) {
		if p.Check && !changed {
			changed = true
			if err := source.SaveNext(t.Context(), []store.Next{{Relay: 1, Service: "monitor", DueAt: 7}}); err != nil {
				t.Error(err)
			}
		}
	})
	different, ok := errors.AsType[*archive.DifferenceError](err)
	if !ok || !slices.ContainsFunc(different.Tables, func(c archive.Compared) bool { return c.Table == "work" }) {
		t.Errorf("got %v", err)
	}
	if state, err := target.CopyState(t.Context()); err != nil || state.Source == "" {
		t.Errorf("the copy counts as done: %+v, %v", state, err)
	}
}

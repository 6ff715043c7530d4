package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/core/telemetry"
	"bigbrotr/internal/pgtest"
	"bigbrotr/internal/services/api"
)

var update = flag.Bool("update", false, "write the golden files")

const base int64 = 1_700_000_000 // 2023-11-14

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB) *sqlite.DB { return newStoreOf(t, store.Keep{}) }

func newStoreOf(t testing.TB, keep store.Keep) *sqlite.DB {
	t.Helper()
	db := openStore(t, t.TempDir(), keep)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// openStore makes an archive, which the caller has to close.
func openStore(t testing.TB, dir string, keep store.Keep) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "store.db"), sqlite.Options{Keep: keep})
	must(t, err)
	_, err = db.Migrate(t.Context())
	must(t, err)
	return db
}

// newPostgres returns an empty archive in PostgreSQL.
func newPostgres(t testing.TB) *postgres.DB {
	t.Helper()
	return openPostgres(t, pgtest.Shared(t).Database(t))
}

// openPostgres makes an archive in a database.
func openPostgres(t testing.TB, address string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), address, postgres.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	_, err = db.Migrate(t.Context())
	must(t, err)
	return db
}

// newAPI returns an api that is always ready.
func newAPI(st api.Store) *api.Service {
	cfg := api.DefaultConfig()
	cfg.REST.PerSecond, cfg.Timeout = 10_000, config.Duration(5*time.Minute) // not in the way
	return api.New(cfg, st, api.Process{
		Ready:   func(context.Context) error { return nil },
		Metrics: telemetry.Handler(prometheus.NewRegistry()),
		Version: "v0-test",
	}, slog.New(slog.DiscardHandler))
}

// ask makes a request of a handler.
func ask(t testing.TB, h http.Handler, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, nil)
	must(t, err)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func parse(t testing.TB, text string) relay.URL {
	t.Helper()
	url, err := relay.Rules{AllowLocal: true}.Parse(text)
	must(t, err)
	return url
}

// event returns an event with the right id. Its signature is none: the store
// takes what others have verified.
func event(author int, kind nostr.Kind, at int64, content string, tags ...nostr.Tag) nostr.Event {
	e := nostr.Event{PubKey: sha256.Sum256(fmt.Append(nil, author)), CreatedAt: at, Kind: kind, Content: content, Tags: append([]nostr.Tag{}, tags...)}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	return e
}

// fill puts a little of everything into a store: three relays, of which the
// first is up, and five events that strangers may see.
func fill(t testing.TB, db store.Store) []nostr.Event {
	t.Helper()
	ctx := t.Context()
	relays, err := db.AddRelays(ctx, []relay.URL{
		parse(t, "wss://a.nostr.org"), parse(t, "wss://b.nostr.org/path"),
		parse(t, "ws://duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"),
	}, base)
	must(t, err)
	must(t, db.SaveOutcomes(ctx, []store.Outcome{
		{Relay: relays[0].ID, At: base + 50, State: store.StateUp, LastUp: base + 50, Checks: []store.Check{
			{At: base + 50, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 12.5}},
			{At: base + 50, Probe: "read", OK: true, Values: map[string]float64{store.ValueRead: 34.25}},
			document(`{"name":"Relay A","software":"https://example.com/a"}`),
		}},
		{Relay: relays[1].ID, At: base + 60, State: store.StateDown, Cause: "tcp_refused", Failures: 1},
	}))
	must(t, db.AddCost(ctx, relays[0].ID, store.WayVisit, store.Spent{ID: 1, At: base + 70, Cost: store.Cost{Requests: 12, Bytes: 6000, Received: 50, New: 5, Known: 40}}))
	must(t, db.AddCost(ctx, relays[1].ID, store.WayVisit, store.Spent{ID: 1, At: base + 80, Cost: store.Cost{Requests: 3, Bytes: 90}}))
	filter, err := db.FilterID(ctx, nostr.Filter{})
	must(t, err)
	events := []nostr.Event{
		event(1, 1, base, "first", nostr.Tag{"t", "one"}), event(1, 1, base+1, "second", nostr.Tag{"t", "two"}, nostr.Tag{"e", "x,y"}),
		event(2, 7, base+2, "+"), event(2, 0, base+3, `{"name":"<b>"}`), event(3, 1, base+4, "a \"quote\" & a line\nbreak"),
	}
	_, err = db.SaveBatch(ctx, store.Batch{
		Relay: relays[0].ID, SeenAt: base, Filter: filter, Events: append(events[:5:5], event(1, 4, base+5, "for one only")),
		Claims: []store.Coverage{{Relay: relays[0].ID, Filter: filter, Interval: store.Interval{Lo: base, Hi: base + 99}, Level: store.LevelWalked, AsOf: base + 50}},
		Holes:  []store.Hole{{Relay: relays[0].ID, Filter: filter, Interval: store.Interval{Lo: base, Hi: base}, Kind: 1, Reason: store.HoleOverflow, Count: 3}},
	})
	must(t, err)
	_, err = db.Refresh(ctx, 1000)
	must(t, err)
	return events
}

// document is the check that brought a relay's information document.
func document(text string) store.Check {
	return store.Check{At: base + 50, Probe: "nip11", OK: true, Document: &store.Document{Type: "nip11", Data: []byte(text)}}
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name string, text []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(file, text, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(want, text) {
		t.Errorf("%s (-want +have), -update writes it:\n%s", name, cmp.Diff(string(want), string(text)))
	}
}

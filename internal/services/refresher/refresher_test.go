package refresher_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // to damage a sum behind the store's back

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/refresher"
)

const base int64 = 1_700_000_000 // 2023-11-14

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newStore returns a store and its file.
func newStore(t *testing.T) (*sqlite.DB, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "store.db")
	db, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	_, err = db.Migrate(t.Context())
	must(t, err)
	return db, file
}

// save lets a relay deliver n events of two kinds by three authors.
func save(t *testing.T, db *sqlite.DB, n int) {
	t.Helper()
	url, err := relay.Parse("wss://a.nostr.org")
	must(t, err)
	relays, err := db.AddRelays(t.Context(), []relay.URL{url}, base)
	must(t, err)
	b := store.Batch{Relay: relays[0].ID, SeenAt: base}
	for i := range n {
		e := nostr.Event{PubKey: sha256.Sum256(fmt.Append(nil, i%3)), CreatedAt: base + int64(i), Kind: nostr.Kind(i % 2), Content: fmt.Sprint(i)}
		e.ID = sha256.Sum256(e.AppendCanonical(nil))
		b.Events = append(b.Events, e)
	}
	_, err = db.SaveBatch(t.Context(), b)
	must(t, err)
}

// sums are those that the tests look at.
type sums struct {
	Events, Sightings, Authors int64
	Kinds                      []store.KindTotal
}

func read(t *testing.T, db *sqlite.DB) sums {
	t.Helper()
	totals, err := db.Totals(t.Context(), base)
	must(t, err)
	kinds, err := db.Kinds(t.Context(), 10)
	must(t, err)
	return sums{totals.Events, totals.Sightings, totals.Authors, kinds}
}

// TestCycle checks that one cycle counts all that is new, however small its
// batches, and that another one counts nothing twice.
func TestCycle(t *testing.T) {
	db, _ := newStore(t)
	save(t, db, 10)
	cfg := refresher.DefaultConfig()
	cfg.Batch = 3
	s := refresher.New(cfg, db, slog.New(slog.DiscardHandler))
	want := sums{10, 10, 3, []store.KindTotal{{Kind: 0, Events: 5, Authors: 3}, {Kind: 1, Events: 5, Authors: 3}}}
	for range 2 {
		must(t, s.Cycle(t.Context()))
		if diff := cmp.Diff(want, read(t, db)); diff != "" {
			t.Errorf("sums (-want +have):\n%s", diff)
		}
	}
	save(t, db, 13) // of which 3 are new
	must(t, s.Cycle(t.Context()))
	if have := read(t, db); have.Events != 13 || have.Sightings != 13 {
		t.Errorf("%+v, want 13 events and sightings", have)
	}
}

// TestStop checks that a stop ends a cycle between two batches, and that the
// next one goes on.
func TestStop(t *testing.T) {
	db, _ := newStore(t)
	save(t, db, 10)
	cfg := refresher.DefaultConfig()
	cfg.Batch = 3
	s := refresher.New(cfg, db, slog.New(slog.DiscardHandler))
	asked, stop := context.WithCancel(t.Context())
	stop()
	runner := service.NewRunner(time.Minute, slog.New(slog.DiscardHandler))
	runner.Add("refresher", service.Func(s.Cycle))
	must(t, runner.Run(asked))
	if have := read(t, db); have.Events != 3 {
		t.Errorf("%d events counted, want the batch in hand of 3", have.Events)
	}
	must(t, s.Cycle(t.Context()))
	if have := read(t, db); have.Events != 10 {
		t.Errorf("%d events counted, want 10", have.Events)
	}
}

// TestAudit damages sums with a connection of its own, and checks that an audit
// names and repairs them when it is due, and not before.
func TestAudit(t *testing.T) {
	db, file := newStore(t)
	save(t, db, 10)
	var log bytes.Buffer
	cfg := refresher.DefaultConfig()
	audited := func(every config.Duration) *refresher.Service {
		cfg.Audit = every
		return refresher.New(cfg, db, slog.New(slog.NewTextHandler(&log, nil)))
	}
	must(t, audited(config.Duration(time.Hour)).Cycle(t.Context()))
	whole := read(t, db)

	raw, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
	must(t, err)
	for _, damage := range []string{
		`UPDATE rollup_total SET n = 12345 WHERE name = 'events'`,
		`UPDATE rollup_kind SET n = n + 7 WHERE kind = 1`,
		`DELETE FROM rollup_kind WHERE kind = 0`,
		`INSERT INTO rollup_kind VALUES (77, 5, x'')`,
		`UPDATE rollup_relay SET n = 0`,
	} {
		if _, err := raw.ExecContext(t.Context(), damage); err != nil {
			t.Fatal(damage, err)
		}
	}
	must(t, raw.Close())
	if have := read(t, db); have.Events != 12345 {
		t.Fatalf("the damage is not seen: %+v", have)
	}
	for _, never := range []config.Duration{0, config.Duration(time.Hour)} {
		must(t, audited(never).Cycle(t.Context()))
		if have := read(t, db); have.Events != 12345 {
			t.Errorf("recounted although an audit every %v is not due", never)
		}
	}
	log.Reset()
	must(t, audited(1).Cycle(t.Context()))
	if diff := cmp.Diff(whole, read(t, db)); diff != "" {
		t.Errorf("after the audit (-want +have):\n%s", diff)
	}
	for _, want := range []string{
		`rollup=rollup_total key=events was=12345 is=10`, `rollup=rollup_kind key="kind=1" was=12 is=5`,
		`rollup=rollup_kind key="kind=0" was=0 is=5`, `rollup=rollup_kind key="kind=77" was=5 is=0`,
		`rollup=rollup_relay key="relay=1" was=0 is=10`, `msg="sums recounted" differences=5`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, log.String())
		}
	}
	log.Reset()
	must(t, audited(1).Cycle(t.Context()))
	if want := `msg="sums recounted" differences=0`; !strings.Contains(log.String(), want) {
		t.Errorf("a second audit says:\n%s", log.String())
	}
}

// TestConfig checks which values are refused.
func TestConfig(t *testing.T) {
	for _, test := range []struct {
		key   string
		value config.Duration
		batch int
		want  string // in the problem; empty for none
	}{
		{"audit", 0, 1, ""},
		{"audit", config.Duration(time.Hour), 5000, ""},
		{"audit", config.Duration(time.Second), 1, "audit"},
		{"interval", config.Duration(time.Millisecond), 1, "interval"},
		{"interval", config.Duration(time.Second), 0, "batch"},
		{"interval", config.Duration(time.Second), 5001, "batch"},
	} {
		cfg := refresher.DefaultConfig()
		cfg.Batch = test.batch
		if test.key == "audit" {
			cfg.Audit = test.value
		} else {
			cfg.Interval = test.value
		}
		_, err := config.Load(&cfg, config.Sources{})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %v, batch %d: %v", test.key, test.value, test.batch, err)
		}
	}
}

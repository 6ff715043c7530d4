package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/pgtest"
)

//go:embed testdata/original.sql
var sqlOriginal string

const (
	sqlOriginalSave = `SELECT event_relay_insert_cascade($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	sqlOriginalKept = `
		SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM event_relay), (SELECT count(*) FROM relay),
			(SELECT tagvalues FROM event WHERE id = $1)`
)

// original is the layout of the original BigBrotr, filled as its synchronizer
// does: by one call of its cascade a batch, also for events that another relay
// has delivered. Its server, its connection and what is made of an event before
// it is sent are ours, so what is compared is the layout.
func original(b *testing.B, cluster *pgtest.Cluster) *layout {
	pool := openOriginal(b, cluster)
	save := func(ctx context.Context, relay int, events []nostr.Event) error {
		written, err := saveOriginal(ctx, pool, benchURL(relay), events)
		if err == nil && written != len(events) {
			err = fmt.Errorf("wrote %d of %d sightings", written, len(events))
		}
		return err
	}
	return &layout{name: "original", pool: pool, events: []string{"event"}, sightings: []string{"event_relay"}, first: save, again: save}
}

// openOriginal makes a database of the original's tables.
func openOriginal(tb testing.TB, cluster *pgtest.Cluster) *pgxpool.Pool {
	tb.Helper()
	cfg, err := poolConfig(cluster.Database(tb), Options{}.filled())
	if err != nil {
		tb.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	if _, err := pool.Exec(tb.Context(), sqlOriginal, pgx.QueryExecModeSimpleProtocol); err != nil {
		tb.Fatal(err)
	}
	return pool
}

// saveOriginal writes events that a relay has delivered and returns how many
// sightings of them are new.
func saveOriginal(ctx context.Context, pool *pgxpool.Pool, url string, events []nostr.Event) (written int, err error) {
	n := len(events)
	ids, pubkeys, sigs := make([][]byte, n), make([][]byte, n), make([][]byte, n)
	createdAts, kinds := make([]int64, n), make([]int32, n)
	tags, contents := make([]string, n), make([]string, n)
	urls, networks := make([]string, n), make([]string, n)
	discoveredAts, seenAts := make([]int64, n), make([]int64, n)
	var buf []byte
	for i := range events {
		e := &events[i]
		ids[i], pubkeys[i], sigs[i] = e.ID[:], e.PubKey[:], e.Sig[:]
		createdAts[i], kinds[i] = e.CreatedAt, int32(e.Kind)
		if tags[i], contents[i], _, buf, err = store.EventText(e, buf); err != nil {
			return 0, err
		}
		urls[i], networks[i] = url, "clearnet"
		discoveredAts[i], seenAts[i] = 1, benchSeen
	}
	err = pool.QueryRow(ctx, sqlOriginalSave,
		ids, pubkeys, createdAts, kinds, tags, contents, sigs, urls, networks, discoveredAts, seenAts).Scan(&written)
	return written, err
}

// TestOriginal checks that what the benchmark compares with keeps what the
// original keeps, whoever delivers it how often.
func TestOriginal(t *testing.T) {
	pool := openOriginal(t, pgtest.Shared(t))
	events := newGenerator().events(3)
	events[0].Tags = []nostr.Tag{{"e", "1", "wss://hint.example"}, {"p", "2"}, {"alt", "3"}, {"t", "a:b"}}
	events[1].Tags = nil
	for _, step := range []struct {
		relay, events, written int
	}{
		{0, 2, 2},
		{0, 3, 1},
		{1, 3, 3},
		{1, 3, 0},
	} {
		written, err := saveOriginal(t.Context(), pool, benchURL(step.relay), events[:step.events])
		if err != nil || written != step.written {
			t.Fatalf("%d events of relay %d: %d sightings written, want %d; %v", step.events, step.relay, written, step.written, err)
		}
	}
	var stored, sightings, relays int
	var found []string
	if err := pool.QueryRow(t.Context(), sqlOriginalKept, events[0].ID[:]).Scan(&stored, &sightings, &relays, &found); err != nil {
		t.Fatal(err)
	}
	if stored != 3 || sightings != 6 || relays != 2 {
		t.Errorf("kept %d events, %d sightings, %d relays, want 3, 6, 2", stored, sightings, relays)
	}
	if diff := cmp.Diff([]string{"e:1", "p:2", "t:a:b"}, found); diff != "" {
		t.Errorf("values of tags, want - have +:\n%s", diff)
	}
}

package sqlite

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

var update = flag.Bool("update", false, "write golden files")

func openNew(t testing.TB) *DB { return openKeep(t, store.Keep{}) }

func openKeep(t testing.TB, keep store.Keep) *DB {
	t.Helper()
	db, err := Open(context.Background(), filepath.Join(t.TempDir(), "t.db"), Options{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestGoldenSchema(t *testing.T) {
	db := openNew(t)
	var have string
	if err := db.read(context.Background(), func(c *conn) (err error) {
		have, err = c.schema(context.Background())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/schema.golden", []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := db.VerifySchema(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestLeasesOfTheDead leaves leases behind, as a process does that is killed: the
// next one has the work at once.
func TestLeasesOfTheDead(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "t.db")
	u, err := relay.Parse("wss://relay.bigbrotr.net")
	if err != nil {
		t.Fatal(err)
	}
	for life := range 3 {
		db, err := Open(ctx, path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := db.AddRelays(ctx, []relay.URL{u}, 1); err != nil {
			t.Fatal(err)
		}
		due := store.Due{Service: "synchronizer", Now: 100, Limit: 1, Owner: "the same", Until: 2000}
		if work, err := db.DueRelays(ctx, due); err != nil || len(work) != 1 {
			t.Errorf("life %d: due %+v, %v", life, work, err)
		}
		if work, err := db.DueRelays(ctx, due); err != nil || len(work) != 0 {
			t.Errorf("life %d: leased twice: %+v, %v", life, work, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

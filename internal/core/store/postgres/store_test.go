package postgres_test

import (
	"context"
	"os"
	"testing"

	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/core/store/storetest"
	"bigbrotr/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// opened opens a database whose schema is there.
func opened(t *testing.T, url string, keep store.Keep) store.Store {
	t.Helper()
	db, err := postgres.Open(t.Context(), url, postgres.Options{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	// The full kinds of this test may differ from those of the template.
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// migrated returns the URL of a new database with its schema, made once for
// each policy.
func migrated(t *testing.T, keep store.Keep) string {
	t.Helper()
	return pgtest.Shared(t).Template(t, string(keep.Mode), func(url string) error {
		db, err := postgres.Open(context.Background(), url, postgres.Options{Keep: store.Keep{Mode: keep.Mode}})
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Migrate(context.Background())
		return err
	})
}

// long skips what the race detector need not see twice.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return opened(t, migrated(t, store.Keep{}), store.Keep{})
	})
}

func TestStoreThroughPgBouncer(t *testing.T) {
	long(t)
	bouncer := pgtest.Shared(t).Bouncer(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		return opened(t, bouncer.URL(migrated(t, store.Keep{})), store.Keep{})
	})
}

func TestIndexStore(t *testing.T) {
	long(t)
	storetest.RunIndex(t, func(t *testing.T, keep store.Keep) store.Store {
		return opened(t, migrated(t, keep), keep)
	})
}

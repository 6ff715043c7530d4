package sqlite_test

import (
	"path/filepath"
	"testing"

	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/core/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		return open(t, store.Keep{})
	})
}

func TestIndexStore(t *testing.T) { storetest.RunIndex(t, open) }

func open(t *testing.T, keep store.Keep) store.Store {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "t.db"), sqlite.Options{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

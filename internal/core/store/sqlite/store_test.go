package sqlite_test

import (
	"os"
	"path/filepath"
	"sync"
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

// empty are the files of archives that hold nothing yet, by policy: each test
// begins with a copy, since the steps of the schema take longer than most tests.
var (
	emptyMutex sync.Mutex
	empty      = map[store.KeepMode][]byte{}
)

func open(t *testing.T, keep store.Keep) store.Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.db")
	must(t, os.WriteFile(path, emptyFile(t, keep), 0o600))
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{Keep: keep})
	must(t, err)
	return db
}

func emptyFile(t *testing.T, keep store.Keep) []byte {
	t.Helper()
	emptyMutex.Lock()
	defer emptyMutex.Unlock()
	if file := empty[keep.Mode]; file != nil {
		return file
	}
	path := filepath.Join(t.TempDir(), "empty.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{Keep: keep})
	must(t, err)
	_, err = db.Migrate(t.Context())
	must(t, err)
	must(t, db.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	empty[keep.Mode] = file
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package synchronizer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/store/sqlite"
)

// empty is the file of an archive that holds nothing. Making the schema takes
// longer than most tests.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "bigbrotr-archive-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "test.db")
	db, err := sqlite.Open(context.Background(), path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	_, err = db.Migrate(context.Background())
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// NewArchive returns the path of an archive that holds nothing.
func NewArchive(t testing.TB) string {
	t.Helper()
	file, err := empty()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Born is when tests with a clock of their own begin: what relays hold is dated
// by it, and the same on every day.
var Born = modelNow

// Bubble has a test run beside others, with a clock of its own.
func Bubble(test func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		bubble(t, test)
	}
}

// bubble has a test run with a clock that begins at Born and goes on by itself as
// soon as everybody waits: that a relay is silent costs no time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if _, err := empty(); err != nil { // not within the bubble, which others wait for
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(Born))
		test(t)
	})
}

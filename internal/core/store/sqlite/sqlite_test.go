package sqlite

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

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

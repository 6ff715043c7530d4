package postgres

import (
	"context"
	"flag"
	"os"
	"testing"

	"bigbrotr/internal/pgtest"
)

var update = flag.Bool("update", false, "write golden files")

// openNew opens a new database with its schema.
func openNew(t testing.TB, opts Options) *DB {
	t.Helper()
	url := pgtest.Shared(t).Template(t, "inside", func(url string) error {
		db, err := Open(context.Background(), url, Options{})
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.Migrate(context.Background())
		return err
	})
	db, err := Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestGoldenSchema(t *testing.T) {
	db := openNew(t, Options{})
	have, err := db.schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/schema.golden", []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := db.VerifySchema(t.Context()); err != nil {
		t.Fatal(err)
	}
}

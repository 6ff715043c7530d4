package postgres

import (
	"context"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write golden files")

func TestGoldenSchema(t *testing.T) {
	db, err := Open(context.Background(), os.Getenv("PGTMP"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ran, err := db.Migrate(context.Background())
	t.Log(ran, err)
	if err != nil {
		t.Fatal(err)
	}
	have, err := db.schema(context.Background())
	if err != nil {
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

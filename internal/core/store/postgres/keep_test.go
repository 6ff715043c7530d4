package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"

	"bigbrotr/internal/core/store"
	"bigbrotr/internal/pgtest"
)

// TestThinGoesOn ends a Thin after its first step and lets another process go on:
// it begins where the first one was. Who does not own the schema changes nothing.
func TestThinGoesOn(t *testing.T) {
	const n = 3 * thinRows
	db := openNew(t, Options{})
	if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: numbered(0, n)}); err != nil {
		t.Fatal(err)
	}
	whole := func() (whole int) {
		t.Helper()
		if err := db.pool.QueryRow(t.Context(), `SELECT count(*) FROM event WHERE sig IS NOT NULL`).Scan(&whole); err != nil {
			t.Fatal(err)
		}
		return whole
	}
	index := store.Keep{Mode: store.KeepIndex}
	url := db.pool.Config().ConnString()
	login := pgtest.Shared(t).Login(t, url, "bigbrotr_writer")
	if _, err := db.Migrate(t.Context()); err != nil { // it gives the group its rights
		t.Fatal(err)
	}
	writer := openAt(t, login)
	if err := writer.Thin(t.Context(), index, func(int64, int64) {}); err == nil || !strings.Contains(err.Error(), "owns the schema") {
		t.Errorf("Thin by a writer: %v", err)
	}
	if keep, err := db.Keep(t.Context()); err != nil || keep.Mode != store.KeepFull || whole() != n {
		t.Fatalf("after that: %+v, %v, %d whole", keep, err, whole())
	}

	ctx, cancel := context.WithCancel(t.Context())
	if err := db.Thin(ctx, index, func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Fatalf("Thin that was cut short: %v", err)
	}
	if left := whole(); left != n-thinRows {
		t.Errorf("%d events are whole after the first step, want %d", left, n-thinRows)
	}
	// What comes meanwhile is kept by the new policy at once.
	if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: numbered(n, 10)}); err != nil {
		t.Fatal(err)
	}
	if left := whole(); left != n-thinRows {
		t.Errorf("%d events are whole after an ingest, want %d", left, n-thinRows)
	}
	var steps []int64
	if err := openAt(t, url).Thin(t.Context(), index, func(done, _ int64) { steps = append(steps, done) }); err != nil {
		t.Fatal(err)
	}
	if left := whole(); left != 0 {
		t.Errorf("%d events are whole in the end", left)
	}
	// Two steps with events and their end, and the space that is given back.
	if len(steps) > 4 {
		t.Errorf("the second began anew: %d", steps)
	}
	if wrong, err := db.Recount(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("recount: %+v, %v", wrong, err)
	}
}

package postgres

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// TestPeriods looks at what a database made at any time would have, and what one
// that has always been there.
func TestPeriods(t *testing.T) {
	begin := time.Date(2024, 1, 15, 12, 0, 0, 0, time.UTC)
	have := periods(begin)
	for now := begin; now.Year() < 2044; now = now.AddDate(0, 1, 3) {
		fresh := periods(now)
		have = slices.Insert(have, len(have)-1, missingPeriods(have, now)...)
		have[len(have)-1].lo = horizon(now)
		if len(have) > 32 {
			t.Fatalf("%s: %d periods before any are merged", now.Format(time.DateOnly), len(have))
		}
		for i := mergeable(have, now); i >= 0; i = mergeable(have, now) {
			have = slices.Replace(have, i, i+4, wholeYear(have[i].year()))
		}
		if d := cmp.Diff(fresh, have, cmp.AllowUnexported(period{})); d != "" {
			t.Fatalf("%s: what is there is not what there should be (-want +got):\n%s", now.Format(time.DateOnly), d)
		}
		for i, p := range have {
			if p.lo >= p.hi || i > 0 && p.lo != have[i-1].hi {
				t.Fatalf("%s: %+v after %+v", now.Format(time.DateOnly), p, have[max(i-1, 0)])
			}
		}
		if !slices.ContainsFunc(have, func(p period) bool { return p.isQuarter() && p.lo <= now.Unix() && now.Unix() < p.hi }) ||
			have[0].lo != math.MinInt64 || have[len(have)-1].hi != math.MaxInt64 {
			t.Fatalf("%s: %+v", now.Format(time.DateOnly), have)
		}
	}
}

// written is an event of an author.
func written(author string, at int64, content string) nostr.Event {
	e := nostr.Event{PubKey: sha256.Sum256([]byte(author)), CreatedAt: at, Kind: 1, Content: content, Tags: []nostr.Tag{{"t", content}}}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	return e
}

// dated are events spread over years, in a fixed disorder.
func dated(seed uint64, n int) []nostr.Event {
	rng := rand.New(rand.NewPCG(seed, 1))
	events := make([]nostr.Event, n)
	for i := range events {
		at := newYear(2021) + rng.Int64N(newYear(2034)-newYear(2021))
		if i%50 == 0 {
			at = []int64{0, 1 << 53, newYear(2024), newYear(2025) - 1}[i/50%4]
		}
		events[i] = written(fmt.Sprintf("author %d", rng.IntN(9)), at, fmt.Sprint("note ", seed, " ", i))
	}
	return events
}

// TestMergePeriods lives for years: partitions are made ahead and merged while
// others write and delete, and a merge is begun by one process and ended by others.
func TestMergePeriods(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	db := openNew(t, Options{})
	r := addRelay(t, db)
	held := map[string]bool{}
	var mu sync.Mutex
	add := func(events []nostr.Event) {
		t.Helper()
		if _, err := db.SaveBatch(t.Context(), store.Batch{Relay: r.ID, SeenAt: 1, Events: events}); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			held[e.Content] = true
		}
	}
	look := func(when string) {
		t.Helper()
		found, seen := map[string]bool{}, 0
		for s, err := range db.ScanEvents(t.Context(), "", nostr.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			found[s.Event.Content] = true
			seen++
		}
		if d := cmp.Diff(held, found); d != "" || seen != len(held) {
			t.Fatalf("%s: %d events (-want +got):\n%s", when, seen, d)
		}
		rightSums(t, db)
		if err := db.VerifySchema(t.Context()); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	prepare := func(now time.Time) []period {
		t.Helper()
		if err := db.write(t.Context(), func(tx pgx.Tx) error { return makePeriods(t.Context(), tx, now) }); err != nil {
			t.Fatal(err)
		}
		list, err := db.periods(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 32 {
			t.Fatalf("%s: %d partitions", now.Format(time.DateOnly), len(list))
		}
		return list
	}
	add(dated(1, 400))
	now := time.Now().UTC()
	for ; mergeable(prepare(now), now) < 0; now = now.AddDate(0, 3, 0) {
	}

	// Begun, and left with half of it copied.
	m, err := db.startMerge(t.Context(), now)
	if err != nil || m == nil || m.Year != 2024 {
		t.Fatalf("%+v, %v", m, err)
	}
	for range 4 {
		if err := db.write(t.Context(), func(tx pgx.Tx) error { _, err := mergeSome(t.Context(), tx); return err }); err != nil {
			t.Fatal(err)
		}
	}
	look("half-way")
	add(dated(2, 200))
	gone := written("author 3", newYear(2035), "vanish")
	gone.Kind, gone.Tags = 62, []nostr.Tag{{"relay", "ALL_RELAYS"}}
	gone.ID = sha256.Sum256(gone.AppendCanonical(nil))
	vanished := func(e nostr.Event) bool { return e.PubKey == gone.PubKey && e.CreatedAt <= gone.CreatedAt }
	for _, e := range slices.Concat(dated(1, 400), dated(2, 200)) {
		if vanished(e) {
			delete(held, e.Content)
		}
	}
	add([]nostr.Event{gone})
	look("after a deletion")

	// Two more processes end it and go on, while others write.
	other := openAt(t, db.pool.Config().ConnString())
	var merging, writing sync.WaitGroup
	ended := make(chan struct{})
	writing.Go(func() {
		for seed := uint64(10); ; seed++ {
			select {
			case <-ended:
				return
			default:
				add(slices.DeleteFunc(dated(seed, 40), vanished))
			}
		}
	})
	for _, one := range []*DB{db, other} {
		merging.Go(func() {
			if _, err := one.mergePeriods(t.Context(), now); err != nil {
				t.Error(err)
			}
		})
	}
	merging.Wait()
	close(ended)
	writing.Wait()
	look("merged")
	if list := prepare(now); mergeable(list, now) >= 0 || !slices.ContainsFunc(list, func(p period) bool { return p.name == "2024" }) {
		t.Errorf("merged: %+v", list)
	}
	for ; now.Year() < 2034; now = now.AddDate(0, 6, 0) {
		prepare(now)
		if _, err := db.mergePeriods(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	prepare(now)
	if _, err := db.mergePeriods(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	look("years later")
	if d := cmp.Diff(periods(now), prepare(now), cmp.AllowUnexported(period{})); d != "" {
		t.Errorf("partitions (-want +got):\n%s", d)
	}
	var left int
	if err := db.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'`).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 2*len(periods(now)) {
		t.Errorf("%d tables for %d periods", left, len(periods(now)))
	}
}

package face_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api/face"
)

// TestRenew makes sets of old ones while events of every kind come, replace others,
// delete others and expire: they are what is read as a whole.
func TestRenew(t *testing.T) { synctest.Test(t, testRenew) }

// faceOf returns the face of an archive that the caller has to close.
func faceOf(t testing.TB) (*face.Face, *sqlite.DB) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return face.New(face.DefaultConfig(), db, 10*time.Second, "v0-test", nil, slog.New(slog.DiscardHandler)), db
}

func testRenew(t *testing.T) {
	f, db := faceOf(t)
	defer func() { _ = db.Close() }()
	rng := rand.New(rand.NewPCG(1, 2))
	made := func(e nostr.Event) nostr.Event {
		if e.PubKey == (nostr.PubKey{}) {
			e.PubKey = sha256.Sum256([]byte{byte(rng.IntN(4))})
		}
		e.Content = strconv.Itoa(rng.Int())
		e.ID = sha256.Sum256(e.AppendCanonical(nil))
		return e
	}
	var all []nostr.Event
	come := func(n int) {
		batch := store.Batch{SeenAt: time.Now().Unix()}
		for range n {
			e := nostr.Event{CreatedAt: 1_700_000_000 + rng.Int64N(200), Kind: []nostr.Kind{0, 1, 1, 4, 5, 5, 10002, 30023, 30023}[rng.IntN(9)]}
			switch {
			case e.Kind == 30023:
				e.Tags = append(e.Tags, nostr.Tag{"d", strconv.Itoa(rng.IntN(3))})
			case e.Kind == 5 && len(all) > 0:
				target := all[rng.IntN(len(all))]
				if rng.IntN(4) > 0 {
					e.PubKey = target.PubKey
				}
				e.Tags = []nostr.Tag{{"a", "x:y"}, {"e"}}
				if rng.IntN(2) == 0 {
					e.Tags = append(e.Tags, nostr.Tag{"e", target.ID.String()})
				}
				if rng.IntN(2) == 0 {
					e.Tags = append(e.Tags, nostr.Tag{"a", store.Address(target.Kind, target.PubKey, store.DTag(&target))})
				}
			}
			if rng.IntN(5) == 0 {
				e.Tags = append(e.Tags, nostr.Tag{"expiration", strconv.FormatInt(time.Now().Unix()+rng.Int64N(7200), 10)})
			}
			if rng.IntN(9) == 0 {
				e.Tags = append(e.Tags, nostr.Tag{"-"})
			}
			e = made(e)
			all, batch.Events = append(all, e), append(batch.Events, e)
		}
		if _, err := db.SaveBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	filters := []nostr.Filter{{}, {Kinds: []nostr.Kind{0, 30023}}, {Kinds: []nostr.Kind{1, 4, 5}, Since: new(int64(1_700_000_050))}}
	olds := make([]*face.Set, len(filters))
	left, added := 0, 0
	come(60)
	for round := range 40 {
		for i, filter := range filters {
			whole, err := f.MakeSet(t.Context(), filter)
			must(t, err)
			if olds[i] == nil {
				olds[i] = whole
				continue
			}
			before := olds[i].Refs()
			renewed, err := f.Renew(t.Context(), olds[i], filter)
			must(t, err)
			want := whole.Refs()
			if diff := cmp.Diff(want, renewed.Refs()); diff != "" {
				t.Fatalf("round %d, %s (-whole +renewed):\n%s", round, filter.AppendJSON(nil), diff)
			}
			for _, r := range before {
				if !slices.Contains(want, r) {
					left++
				}
			}
			added += len(want)
			olds[i] = renewed
		}
		come(rng.IntN(12))
		time.Sleep(time.Duration(rng.IntN(300)) * time.Second)
	}
	if left < 50 || added < 1000 {
		t.Errorf("%d events have left sets, %d were in them: this says nothing", left, added)
	}

	// Who asks later is given a set that was made of the one before.
	before := f.Accounted()
	first, err := f.AskFor(t.Context(), filters[0])
	must(t, err)
	whole := first.Whole()
	come(5)
	time.Sleep(face.SetFresh)
	second, err := f.AskFor(t.Context(), filters[0])
	must(t, err)
	if second == first || !first.Whole().IsZero() || second.Whole() != whole {
		t.Error("a set was read as a whole that could be renewed")
	}
	if n := int64(len(second.Refs())); f.Accounted()-before != n {
		t.Errorf("%d ids are accounted for, %d held", f.Accounted()-before, n)
	}

	// What cannot be told, and what has been for long, is read as a whole.
	vanish := made(nostr.Event{CreatedAt: 1_700_000_300, Kind: store.KindVanish, Tags: []nostr.Tag{{"relay", "ALL_RELAYS"}}})
	if _, err := db.SaveBatch(t.Context(), store.Batch{Events: []nostr.Event{vanish}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Renew(t.Context(), olds[0], filters[0]); !errors.Is(err, face.ErrWhole) {
		t.Errorf("after an author has vanished: %v", err)
	}
	if _, err := f.Renew(t.Context(), olds[0], filters[0]); !errors.Is(err, face.ErrWhole) {
		t.Errorf("of a set that was renewed already: %v", err)
	}
	time.Sleep(face.SetWhole)
	if _, err := f.Renew(t.Context(), olds[1], filters[1]); !errors.Is(err, face.ErrWhole) {
		t.Errorf("after %v: %v", face.SetWhole, err)
	}
	for i := range face.MaxRenewed/5000 + 1 {
		var batch store.Batch
		for n := range 5000 {
			e := nostr.Event{CreatedAt: 1_700_000_300, Kind: 1, Content: fmt.Sprint(i, n)}
			e.ID = sha256.Sum256(e.AppendCanonical(nil))
			batch.Events = append(batch.Events, e)
		}
		if _, err := db.SaveBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	fresh := olds[2].Beginning()
	if _, err := f.Renew(t.Context(), fresh, filters[2]); !errors.Is(err, face.ErrWhole) {
		t.Errorf("after more than %d events: %v", face.MaxRenewed, err)
	}
}

// BenchmarkRenew makes the set of a million events, and another of it after a
// thousand more have come: it reports the processor time of both.
func BenchmarkRenew(b *testing.B) {
	f, db := faceOf(b)
	defer func() { _ = db.Close() }()
	size := 20_000
	if os.Getenv("BENCH_FULL") != "" {
		size = 1_000_000 - 1000
	}
	came := 0
	come := func(n int) {
		for part := range slices.Chunk(make([]nostr.Event, n), 5000) {
			for i := range part {
				came++
				part[i] = nostr.Event{PubKey: sha256.Sum256(fmt.Append(nil, came%5000)), CreatedAt: 1_700_000_000 + int64(came), Kind: nostr.Kind(1 + came%2), Content: fmt.Sprintf("%200d", came)}
				part[i].ID = sha256.Sum256(part[i].AppendCanonical(nil))
			}
			if _, err := db.SaveBatch(b.Context(), store.Batch{SeenAt: 1, Events: part}); err != nil {
				b.Fatal(err)
			}
		}
	}
	come(size)
	var whole, renewed time.Duration
	for b.Loop() {
		begin := cpu()
		one, err := f.MakeSet(b.Context(), nostr.Filter{})
		must(b, err)
		whole += cpu() - begin
		come(1000)
		begin = cpu()
		next, err := f.Renew(b.Context(), one, nostr.Filter{})
		must(b, err)
		renewed += cpu() - begin
		b.ReportMetric(float64(len(next.Refs())), "ids")
	}
	b.ReportMetric(whole.Seconds()*1000/float64(b.N), "whole_cpu_ms")
	b.ReportMetric(renewed.Seconds()*1000/float64(b.N), "renewed_cpu_ms")
	b.ReportMetric(0, "ns/op")
}

package archive_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/simnet"
)

// page is the size of a batch, as a relay with a cap of 500 makes them.
const page = 500

// BenchmarkIngest measures, in one run, what verification alone costs on one
// core, what the store alone costs, and how fast both together take in events
// from several relays at once, first new ones and then the same from another
// relay. Sizes are those of the published figures with BENCH_FULL=1.
func BenchmarkIngest(b *testing.B) {
	count := 2000
	if os.Getenv("BENCH_FULL") != "" {
		count = 100_000
	}
	var raws [][]byte
	var events []nostr.Event
	for _, e := range simnet.Generate(simnet.Plan{Seed: 9, Count: count, Since: 1_600_000_000, Until: 1_700_000_000}) {
		parsed := e.Parse()
		if parsed.Kind.IsEphemeral() {
			continue
		}
		raws = append(raws, bytes.Clone(e.JSON))
		events = append(events, parsed)
	}
	perSecond := func(d time.Duration) float64 { return float64(len(events)) / d.Seconds() }
	for b.Loop() {
		begin := time.Now()
		for i := range events {
			if events[i].Verify() != nil {
				b.Fatal("an event does not verify")
			}
		}
		verify := perSecond(time.Since(begin))

		db, relays := newStore(b)
		begin = time.Now()
		for chunk := range slices.Chunk(events, page) {
			if _, err := db.SaveBatch(b.Context(), store.Batch{Relay: relays[0], SeenAt: 1, Events: chunk}); err != nil {
				b.Fatal(err)
			}
		}
		save := perSecond(time.Since(begin))

		db, relays = newStore(b)
		fresh := perSecond(ingest(b, db, relays[0], raws))
		known := perSecond(ingest(b, db, relays[1], raws))

		b.ReportMetric(verify, "verify/s")
		b.ReportMetric(save, "store/s")
		b.ReportMetric(fresh, "new/s")
		b.ReportMetric(known, "known/s")
		b.ReportMetric(fresh/min(verify, save), "new/slower-part")
		b.ReportMetric(known/fresh, "known/new")
	}
}

func newStore(b *testing.B) (*sqlite.DB, []store.RelayID) {
	b.Helper()
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bench.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	if _, err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	var urls []relay.URL
	for i := range 2 {
		url, err := relay.Parse(fmt.Sprintf("wss://relay%d.example.com", i))
		if err != nil {
			b.Fatal(err)
		}
		urls = append(urls, url)
	}
	added, err := db.AddRelays(b.Context(), urls, 1)
	if err != nil {
		b.Fatal(err)
	}
	return db, []store.RelayID{added[0].ID, added[1].ID}
}

// ingest takes raw events in as the synchronizer does for a few relays at once:
// each sorts a page and saves it before it takes the next.
func ingest(b *testing.B, db *sqlite.DB, id store.RelayID, raws [][]byte) time.Duration {
	b.Helper()
	intake := archive.NewIntake(db, nil)
	begin := time.Now()
	var group errgroup.Group
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for chunk := range slices.Chunk(raws, page) {
		group.Go(func() error {
			sorted, err := intake.Sort(b.Context(), chunk, nil)
			if err != nil {
				return err
			}
			_, err = db.SaveBatch(b.Context(), store.Batch{Relay: id, SeenAt: 1, Events: sorted.New, Known: sorted.Known})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

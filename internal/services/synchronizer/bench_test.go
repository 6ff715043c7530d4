package synchronizer_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

// BenchmarkKnown archives a relay, from its socket to the committed
// transaction, and then another one with the same events.
func BenchmarkKnown(b *testing.B) {
	count := 2000
	if os.Getenv("BENCH_FULL") != "" {
		count = 100_000
	}
	events := simnet.Generate(simnet.Plan{Seed: 101, Count: count, Since: 1_500_000_000, Until: 1_700_000_000})
	network := dial.DefaultConfig()
	network.AllowLocal = true
	cfg := synchronizer.DefaultConfig()
	cfg.PerSecond = 1000 // politeness is not what is measured
	for b.Loop() {
		db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bench.db"), sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := db.Migrate(b.Context()); err != nil {
			b.Fatal(err)
		}
		n := simnet.New(101)
		s := synchronizer.New(cfg, db, dial.New(network), "bench", nil, slog.New(slog.DiscardHandler))
		var took [2]time.Duration
		for i := range took {
			r, err := n.AddRelay(simnet.Behaviour{Cap: 500, Count: simnet.CountExact})
			if err != nil {
				b.Fatal(err)
			}
			r.Add(events...)
			rows, err := db.AddRelays(b.Context(), []relay.URL{r.URL()}, 1)
			if err != nil {
				b.Fatal(err)
			}
			begin := time.Now()
			report, err := s.Sync(b.Context(), rows[0], nil)
			took[i] = time.Since(begin)
			if want := []int64{int64(r.Len()), 0}[i]; err != nil || report.Cause != "" || report.New != want {
				b.Fatalf("relay %d: %+v, %v", i, report, err)
			}
		}
		b.ReportMetric(float64(count)/took[0].Seconds(), "new/s")
		b.ReportMetric(float64(count)/took[1].Seconds(), "known/s")
		b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "known/new")
		n.Close()
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

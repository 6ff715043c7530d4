package refresher_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/pgtest"
	"bigbrotr/internal/services/refresher"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// archived are real events, over and over with ids and times of their own, and
// texts put together of two.
func archived(b *testing.B, n int) []nostr.Event {
	b.Helper()
	f, err := os.Open(filepath.Join("..", "..", "core", "nostr", "testdata", "events_real.jsonl.zst"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	defer z.Close()
	text, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	var real []nostr.Event
	for line := range slices.Values(splitLines(text)) {
		if e, err := nostr.ParseEvent(line); err == nil && e.Kind != 5 && e.Kind != store.KindVanish {
			real = append(real, e)
		}
	}
	events := make([]nostr.Event, n)
	for i := range events {
		e := real[i%len(real)]
		other := real[(i*7919+i/len(real))%len(real)]
		if e.Kind == 1 && other.Kind == 1 {
			e.Content = e.Content[:len(e.Content)/2] + " " + other.Content[len(other.Content)/2:]
		}
		e.CreatedAt = base + int64(i)*30
		e.ID = sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		events[i] = e
	}
	return events
}

func splitLines(text []byte) (lines [][]byte) {
	for len(text) > 0 {
		i := slices.Index(text, '\n')
		if i < 0 {
			i = len(text) - 1
		}
		lines = append(lines, text[:i])
		text = text[i+1:]
	}
	return lines
}

// BenchmarkTexts indexes the words of real events, and tells what that takes per
// event of the archive, of which about half are texts, and how long searches do.
func BenchmarkTexts(b *testing.B) {
	n := 20_000
	if os.Getenv("BENCH_FULL") != "" {
		n = 500_000
	}
	type searched interface {
		refresher.Store
		store.Archive
	}
	run := func(b *testing.B, db searched, driver, source, size string) {
		events := archived(b, n)
		for part := range slices.Chunk(events, 4000) {
			if _, err := db.SaveBatch(b.Context(), store.Batch{SeenAt: base, Events: part}); err != nil {
				b.Fatal(err)
			}
		}
		cfg := refresher.DefaultConfig()
		cfg.Search = true
		s := refresher.New(cfg, db, slog.New(slog.DiscardHandler))
		begin := time.Now()
		for complete := false; !complete; {
			if err := s.Cycle(b.Context()); err != nil {
				b.Fatal(err)
			}
			var err error
			if _, complete, err = db.TextsAt(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "events/s")
		raw, err := sql.Open(driver, source)
		if err != nil {
			b.Fatal(err)
		}
		defer raw.Close()
		var bytes float64
		if err := raw.QueryRowContext(b.Context(), size).Scan(&bytes); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(bytes/float64(n), "B/event")
		for name, search := range map[string]string{"rare": "satoshi whitepaper", "common": "the", "two": "the nostr", "none": "xyzzyqwerty the"} {
			var took []time.Duration
			for i := range 200 {
				begin := time.Now()
				if _, _, err := db.Events(context.Background(), store.EventQuery{
					Filter: nostr.Filter{Search: search, Until: new(base + int64(n-i)*30)}, Limit: 50, Public: true,
				}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "ms-p95-"+name)
		}
		b.ReportMetric(0, "ns/op")
	}
	b.Run("sqlite", func(b *testing.B) {
		file := filepath.Join(b.TempDir(), "store.db")
		db, err := sqlite.Open(b.Context(), file, sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Migrate(b.Context()); err != nil {
			b.Fatal(err)
		}
		run(b, db, "sqlite", file, `SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'event_text%'`)
	})
	b.Run("postgres", func(b *testing.B) {
		url := pgtest.Shared(b).Database(b)
		db, err := postgres.Open(b.Context(), url, postgres.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Migrate(b.Context()); err != nil {
			b.Fatal(err)
		}
		run(b, db, "pgx", url, `SELECT pg_total_relation_size('event_text')`)
	})
}

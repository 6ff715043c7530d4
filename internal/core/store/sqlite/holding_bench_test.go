package sqlite

import (
	"context"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// BenchmarkHolding is what sums of days cost in ingest: two stores are filled
// with the same batches in turn, and only one of them keeps sums. An event falls
// into the sum of its day when a relay delivers it for the first time; what comes
// again should cost the same with and without.
func BenchmarkHolding(b *testing.B) {
	plain, _, relays := openBench(b, 0)
	kept, g, _ := openBench(b, 0)
	for _, r := range relays {
		if _, err := kept.HeldDays(context.Background(), r, g.at); err != nil {
			b.Fatal(err)
		}
	}
	stores := []*DB{plain, kept}
	const repeats = 5
	var took [2][3]meter // new, known from elsewhere, again
	n := 0
	for b.Loop() {
		b.StopTimer()
		events := g.events(benchBatch)
		b.StartTimer()
		for i := range stores {
			at := (i + n) % len(stores) // none is always behind the other
			db := stores[at]
			save := func(stage int, batch store.Batch) {
				m := &took[at][stage]
				m.start()
				save(b, db, batch)
				m.stop()
			}
			save(0, store.Batch{Relay: relays[0], SeenAt: 1760000000, Events: events})
			batch := store.Batch{Relay: relays[1], SeenAt: 1760000000}
			var refs []nostr.Ref
			for i := range events {
				refs = append(refs, nostr.Ref{ID: events[i].ID, CreatedAt: events[i].CreatedAt})
			}
			seqs, err := db.Known(context.Background(), refs)
			if err != nil {
				b.Fatal(err)
			}
			for i, seq := range seqs {
				batch.Known = append(batch.Known, store.Seen{Seq: seq, CreatedAt: refs[i].CreatedAt})
			}
			save(1, batch)
			for range repeats {
				save(2, batch)
			}
		}
		n++
	}
	for stage, name := range []string{"new", "known", "again"} {
		without, with := took[0][stage].total, took[1][stage].total
		saved := n * benchBatch
		if stage == 2 {
			saved *= repeats
		}
		b.ReportMetric(100*float64(with)/float64(without), "%-"+name)
		b.ReportMetric(float64(with.Nanoseconds())/1e3/float64(saved), "cpu-µs/"+name)
	}
	// A history of some years.
	var history []nostr.Ref
	for range 2000 {
		history = append(history, nostr.Ref{ID: g.event().ID, CreatedAt: g.at - store.Day*int64(len(history))})
	}
	save(b, kept, store.Batch{Relay: relays[2], SeenAt: 1760000000, Withheld: history})
	var rows, bytes int64
	if err := kept.writer.alone(context.Background(), tidyAll); err != nil {
		b.Fatal(err)
	}
	if err := kept.read(context.Background(), func(c *conn) error {
		_, err := c.one(context.Background(), func(r row) { rows, bytes = r.int(0), r.int(1) },
			`SELECT (SELECT count(*) FROM relay_day), (SELECT sum(pgsize) FROM dbstat WHERE name = 'relay_day')`)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(rows), "days")
	b.ReportMetric(float64(bytes)/float64(max(rows, 1)), "B/day")
	b.ReportMetric(0, "ns/op")
}

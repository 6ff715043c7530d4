package postgres

import (
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// BenchmarkHolding is what sums of days cost in ingest, as a share of what it
// takes without: two stores are filled with the same batches in turn, and only
// one of them keeps sums. known is what another relay has delivered, again what
// comes from the same relay once more.
func BenchmarkHolding(b *testing.B) {
	ctx := b.Context()
	stores := [2]*DB{openNew(b, Options{}), openNew(b, Options{})}
	var relays []store.Relay
	for _, db := range stores {
		var urls []relay.URL
		for i := range 3 {
			u, err := relay.Parse(benchURL(i))
			if err != nil {
				b.Fatal(err)
			}
			urls = append(urls, u)
		}
		var err error
		if relays, err = db.AddRelays(ctx, urls, 1); err != nil {
			b.Fatal(err)
		}
	}
	kept := stores[1]
	for _, r := range relays {
		if _, err := kept.HeldDays(ctx, r.ID, benchSeen); err != nil {
			b.Fatal(err)
		}
	}
	const repeats = 5
	var took [2][3]time.Duration
	g := newGenerator()
	n := 0
	for b.Loop() {
		events := g.events(benchBatch)
		for i := range stores {
			at := (i + n) % len(stores)
			save := func(stage int, batch store.Batch) {
				begin := time.Now()
				if _, err := stores[at].SaveBatch(ctx, batch); err != nil {
					b.Fatal(err)
				}
				took[at][stage] += time.Since(begin)
			}
			save(0, store.Batch{Relay: relays[0].ID, SeenAt: benchSeen, Events: events})
			refs := make([]nostr.Ref, len(events))
			for i := range events {
				refs[i] = nostr.Ref{ID: events[i].ID, CreatedAt: events[i].CreatedAt}
			}
			seqs, err := stores[at].Known(ctx, refs)
			if err != nil {
				b.Fatal(err)
			}
			batch := store.Batch{Relay: relays[1].ID, SeenAt: benchSeen}
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
		saved := n * benchBatch
		if stage == 2 {
			saved *= repeats
		}
		b.ReportMetric(100*float64(took[1][stage])/float64(took[0][stage]), "%-"+name)
		b.ReportMetric(micros(took[1][stage], saved), "µs/"+name)
	}
	// A history of some years, a few days of which change often.
	const days = 2000
	var history []nostr.Ref
	for i := range days {
		history = append(history, nostr.Ref{ID: g.id(), CreatedAt: benchSeen - store.Day*int64(i)})
	}
	for i := range 10 {
		batch := store.Batch{Relay: relays[2].ID, SeenAt: benchSeen, Withheld: history[days/10*i : days/10*(i+1)]}
		if _, err := kept.SaveBatch(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	var rows, bytes int64
	if err := kept.pool.QueryRow(ctx, "SELECT (SELECT count(*) FROM relay_day), pg_total_relation_size('relay_day')").Scan(&rows, &bytes); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(bytes)/float64(rows), "B/day")
	b.ReportMetric(0, "ns/op")
	b.Logf("%d days", rows)
}

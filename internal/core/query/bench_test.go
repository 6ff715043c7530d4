package query_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// BenchmarkDirectory asks a catalogue that has read nothing yet for a list, so
// that it reads all relays, 20,000 of them at full size with three claims each.
func BenchmarkDirectory(b *testing.B) {
	n := 500
	if os.Getenv("BENCH_FULL") != "" {
		n = 20_000
	}
	db := newStore(b)
	open, err := db.FilterID(b.Context(), nostr.Filter{})
	must(b, err)
	var urls []relay.URL
	for i := range n {
		urls = append(urls, parse(b, fmt.Sprintf("wss://relay%05d.nostr.org", i)))
	}
	for part := range slices.Chunk(urls, 1000) {
		relays, err := db.AddRelays(b.Context(), part, base)
		must(b, err)
		var outcomes []store.Outcome
		for i, r := range relays {
			outcomes = append(outcomes, store.Outcome{Relay: r.ID, At: base + 100, State: store.StateUp, LastUp: base + 100, Checks: []store.Check{
				{At: base + 100, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: float64(i)}},
				{At: base + 100, Probe: "nip11", OK: true, Document: &store.Document{Type: "nip11", Data: fmt.Appendf(nil, `{"name":"Relay %d","software":"soft%d","supported_nips":[1,9,11,%d,42]}`, i, i%20, 50+i%9)}},
				{At: base + 100, Probe: "geo", OK: true, Document: &store.Document{Type: "geo", Data: fmt.Appendf(nil, `{"country":"DE","city":"C%d","asn":%d,"lat":%d,"lon":20}`, i%40, i%50, i%80)}},
			}})
			var claims []store.Coverage
			for claim := range int64(3) {
				claims = append(claims, store.Coverage{
					Relay: r.ID, Filter: open, Interval: store.Interval{Lo: 1000 * claim, Hi: 1000*claim + 500}, Level: store.LevelWalked, AsOf: base, Method: "walk",
				})
			}
			_, err := db.SaveBatch(b.Context(), store.Batch{Relay: r.ID, SeenAt: base + 100, Claims: claims})
			must(b, err)
		}
		must(b, db.SaveOutcomes(b.Context(), outcomes))
	}
	for b.Loop() {
		page, err := query.New(db).Relays(b.Context(), query.RelayQuery{Limit: 1})
		must(b, err)
		if len(page.Relays) != 1 {
			b.Fatal("no relays")
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Millisecond), "ms/reading")
	b.ReportMetric(0, "ns/op")
}

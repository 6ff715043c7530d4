package simnet_test

import (
	"runtime"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/simnet"
)

// BenchmarkServe is what a page of 500 events costs, from the REQ to the last
// byte taken in by a client that looks at nothing.
func BenchmarkServe(b *testing.B) {
	events := simnet.Generate(plan(5000))
	n := network(b)
	for _, bench := range []struct {
		name string
		be   simnet.Behaviour
	}{
		{"plain", simnet.Behaviour{Cap: 500}},
		{"compressed", simnet.Behaviour{Cap: 500, Compress: true}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := add(b, n, bench.be, events...)
			s := open(b, r, patient)
			visible := r.Visible(nostr.Filter{})
			before := r.Stats()
			i := 0
			for b.Loop() {
				f := nostr.Filter{Until: new(visible[i%4000].CreatedAt), Limit: new(1000)}
				i += 97
				page, err := s.Req(b.Context(), f, func([]byte) error { return nil })
				if err != nil || page.Events != 500 || page.End.Kind != session.EOSE {
					b.Fatalf("%d events, ended by %s, %v", page.Events, page.End.Kind, err)
				}
			}
			sent := r.Stats().Events - before.Events
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent), "ns/event")
			b.ReportMetric(float64(r.Stats().Bytes-before.Bytes)/float64(sent), "B/event")
		})
	}
}

// BenchmarkPick is the search behind a page on a large relay.
func BenchmarkPick(b *testing.B) {
	events := make([]*simnet.Event, 0, 200_000)
	for i := range cap(events) {
		e := &simnet.Event{CreatedAt: int64(base + i/3), Kind: nostr.Kind(i % 7), Valid: true}
		e.ID[0], e.ID[1], e.ID[2] = byte(i), byte(i>>8), byte(i>>16)
		events = append(events, e)
	}
	r := add(b, network(b), simnet.Behaviour{}, events...)
	for _, bench := range []struct {
		name   string
		filter nostr.Filter
	}{
		{"second", nostr.Filter{Since: new(int64(base + 9000)), Until: new(int64(base + 9000))}},
		{"day of one kind", nostr.Filter{Since: new(int64(base)), Until: new(int64(base + 10_000)), Kinds: []nostr.Kind{3}}},
		{"ids", nostr.Filter{IDs: ids(events[1000:1500])}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				r.Visible(bench.filter)
			}
		})
	}
}

// BenchmarkShared is what a relay adds to the memory that its events take.
func BenchmarkShared(b *testing.B) {
	events := simnet.Generate(plan(2000))
	n := network(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	relays := 0
	for b.Loop() {
		if relays < 200 {
			add(b, n, simnet.Behaviour{}, events...)
			relays++
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(relays*len(events)), "B/event")
}

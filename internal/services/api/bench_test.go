package api_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api"
)

// sized is the size of a full benchmark, which BENCH_FULL asks for, or of a
// short one.
func sized(full, short int) int {
	if os.Getenv("BENCH_FULL") != "" {
		return full
	}
	return short
}

// benchStore has relays with everything that lists show, and events.
func benchStore(b *testing.B, relays, events int) *sqlite.DB {
	b.Helper()
	db := newStore(b)
	var urls []relay.URL
	for i := range relays {
		urls = append(urls, parse(b, fmt.Sprintf("wss://relay%05d.nostr.org", i)))
	}
	for part := range slices.Chunk(urls, 1000) {
		list, err := db.AddRelays(b.Context(), part, base)
		must(b, err)
		var outcomes []store.Outcome
		for i, r := range list {
			state := []store.State{store.StateUp, store.StateUp, store.StateDegraded, store.StateDown}[i%4]
			check := func(probe, text string) store.Check {
				return store.Check{At: base, Probe: probe, OK: true, Document: &store.Document{Type: probe, Data: []byte(text)}}
			}
			outcomes = append(outcomes, store.Outcome{Relay: r.ID, At: base, State: state, LastUp: base, Checks: []store.Check{
				{At: base, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: float64(i%500) + 1}},
				check("nip11", fmt.Sprintf(`{"name":"Relay %d","software":"https://example.com/s%d","supported_nips":[1,11,%d,42]}`, i, i%20, 40+i%9)),
				check("geo", fmt.Sprintf(`{"country":%q,"city":"City","asn":%d,"org":"Org","lat":%d,"lon":%d}`, []string{"DE", "US", "JP"}[i%3], i%40+1, i%80, i%170)),
			}})
		}
		must(b, db.SaveOutcomes(b.Context(), outcomes))
	}
	var batch []nostr.Event
	for i := range events {
		batch = append(batch, note(i, base-rand.Int64N(300*86400)))
		if len(batch) == 5000 || i == events-1 {
			_, err := db.SaveBatch(b.Context(), store.Batch{SeenAt: base, Events: batch})
			must(b, err)
			batch = batch[:0]
		}
	}
	return db
}

// serve runs an api as app does, with nobody kept from asking.
func serve(b *testing.B, db store.Store) *api.Service {
	b.Helper()
	cfg := api.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.REST.PerSecond = 100_000
	s := api.New(cfg, db, api.Process{Ready: func(context.Context) error { return nil }, Metrics: http.NotFoundHandler()}, slog.New(slog.DiscardHandler))
	must(b, s.Listen(b.Context()))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	return s
}

// BenchmarkREST asks at 200 requests a second, whether or not earlier ones are
// answered: a latency counts from when the request was due. At full size it is of
// 20,000 relays and a million events.
func BenchmarkREST(b *testing.B) {
	db := benchStore(b, sized(20_000, 500), sized(1_000_000, 5000))
	address := "http://" + serve(b, db).Addr().String()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}}
	defer client.CloseIdleConnections()
	n := 0
	tag := ""
	for _, question := range []struct {
		name   string
		target func() string
	}{
		{"relays", func() string {
			n++
			return "/api/v1/relays?" + []string{
				"state=up&nips=11,42&sort=-uptime,open_p95", "country=de&limit=100", "near=50,10&within=2000&sort=distance", "text=relay%20org%2042", "sort=-events&open_p95=200",
			}[n%5]
		}},
		{"alive", func() string { return "/api/v1/alive" }},
		{"alive, known", func() string { return "/api/v1/alive" }},
		{"events", func() string {
			n++
			return "/api/v1/events?" + []string{
				fmt.Sprintf("authors=%s", event(rand.IntN(5000), 1, 0, "").PubKey), fmt.Sprintf("kinds=%d", []int{1, 7, 30023}[n%3]), fmt.Sprintf("tag=t:%d", rand.IntN(2000)), "limit=50",
			}[n%4]
		}},
	} {
		b.Run(question.name, func(b *testing.B) {
			var mu sync.Mutex
			var latencies []time.Duration
			var bytes int64
			ask := func(due time.Time, target string) {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address+target, nil)
				if err != nil {
					b.Error(err)
					return
				}
				if question.name == "alive, known" {
					r.Header.Set("If-None-Match", tag)
				}
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				size, _ := io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotModified {
					b.Errorf("%s: status %d", target, resp.StatusCode)
				}
				mu.Lock()
				defer mu.Unlock()
				latencies, bytes = append(latencies, time.Since(due)), bytes+size
				if question.name == "alive" {
					tag = resp.Header.Get("ETag")
				}
			}
			for range 20 {
				ask(time.Now(), question.target())
			}
			latencies, bytes = nil, 0
			requests := sized(2000, 50)
			for b.Loop() {
				var wait sync.WaitGroup
				begin := time.Now()
				for i := range requests {
					target, due := question.target(), begin.Add(time.Duration(i)*5*time.Millisecond)
					time.Sleep(time.Until(due))
					wait.Go(func() { ask(due, target) })
				}
				wait.Wait()
			}
			slices.Sort(latencies)
			for _, p := range []int{50, 95, 99} {
				b.ReportMetric(float64(latencies[len(latencies)*p/100].Microseconds())/1e3, fmt.Sprintf("p%d-ms", p))
			}
			b.ReportMetric(float64(bytes)/float64(len(latencies)), "B/answer")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkExport compares exports with the store's own scan, one after the other
// so that both meet the same machine: scan_ratio is the rate of the first by that
// of the second.
func BenchmarkExport(b *testing.B) {
	n := sized(300_000, 5000)
	db := benchStore(b, 1, 0)
	synced(b, db, n)
	server := httptest.NewServer(apiOf(db, func(*api.Config) {}))
	defer server.Close()
	for _, format := range []string{"jsonl", "csv", "parquet"} {
		b.Run(format, func(b *testing.B) {
			var size, most int64
			var scanned, exported time.Duration
			for b.Loop() {
				begin := time.Now()
				rows := 0
				for _, err := range db.ScanEvents(b.Context(), "", nostr.Filter{}) {
					must(b, err)
					rows++
				}
				scanned += time.Since(begin)
				begin = time.Now()
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL+"/api/v1/export?format="+format, nil)
				must(b, err)
				r.Header.Set("Accept-Encoding", "identity")
				resp, err := server.Client().Do(r)
				must(b, err)
				buf := make([]byte, 1<<20)
				for {
					m, err := resp.Body.Read(buf)
					if size += int64(m); err != nil {
						break
					}
					if size%(1<<24) < int64(m) {
						var stats runtime.MemStats
						runtime.ReadMemStats(&stats)
						most = max(most, int64(stats.HeapAlloc))
					}
				}
				_ = resp.Body.Close()
				exported += time.Since(begin)
			}
			b.ReportMetric(float64(scanned)/float64(exported), "scan_ratio")
			b.ReportMetric(float64(n*b.N)/exported.Seconds(), "events/s")
			b.ReportMetric(float64(size)/float64(b.N)/1e6, "MB")
			b.ReportMetric(float64(most)/1e6, "MB-heap")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// synced archives events as a synchronizer brings them: of one relay after the
// other what it alone has, newest first.
func synced(b *testing.B, db *sqlite.DB, n int) {
	b.Helper()
	const relays = 50
	var batch []nostr.Event
	for i := range n {
		at := base - int64(i%(n/relays))*relays*300*86400/int64(n) - rand.Int64N(1000)
		batch = append(batch, note(i, at))
		if len(batch) == 5000 || i == n-1 {
			_, err := db.SaveBatch(b.Context(), store.Batch{SeenAt: base, Events: batch})
			must(b, err)
			batch = batch[:0]
		}
	}
}

// note is an event as the network has them.
func note(i int, at int64) nostr.Event {
	return event(rand.IntN(5000), nostr.Kind([]int{1, 1, 7, 6, 30023}[i%5]), at, fmt.Sprintf("%400d", i),
		nostr.Tag{"t", fmt.Sprint(rand.IntN(2000))}, nostr.Tag{"p", fmt.Sprintf("%064x", rand.IntN(5000))})
}

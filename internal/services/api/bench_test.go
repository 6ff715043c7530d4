package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/pgtest"
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

// benchStore fills a store with relays that have everything that lists show, and
// with events, of whose ids it returns some.
func benchStore(b *testing.B, db store.Store, relays, events int) []nostr.ID {
	b.Helper()
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
	var ids []nostr.ID
	var batch []nostr.Event
	now := time.Now().Unix() // the newest months are kept apart from older years
	for i := range events {
		e := note(i, now-rand.Int64N(300*86400))
		if i%50 == 0 {
			ids = append(ids, e.ID)
		}
		if batch = append(batch, e); len(batch) == 5000 || i == events-1 {
			_, err := db.SaveBatch(b.Context(), store.Batch{SeenAt: base, Events: batch})
			must(b, err)
			batch = batch[:0]
		}
	}
	return ids
}

// tunedPostgres returns an empty archive in a cluster of its own that has memory,
// as that of an instance has, and does not wait for its disk while it is filled.
func tunedPostgres(b *testing.B) *postgres.DB {
	b.Helper()
	cluster := pgtest.Start(b, pgtest.Options{Settings: map[string]string{"fsync": "off", "shared_buffers": "1GB", "max_wal_size": "4GB"}})
	return openPostgres(b, cluster.Database(b))
}

// serve runs an api as app does, with nobody kept from asking.
func serve(b *testing.B, db store.Store) *api.Service {
	b.Helper()
	cfg := api.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.REST.PerSecond, cfg.Relay.PerSecond, cfg.Relay.PerClient = 100_000, 100_000, 2000
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
// 20,000 relays, and of a million events in SQLite or five million in PostgreSQL.
func BenchmarkREST(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchREST(b, newStore(b), sized(1_000_000, 5000)) })
	b.Run("postgres", func(b *testing.B) { benchREST(b, tunedPostgres(b), sized(5_000_000, 5000)) })
}

// benchREST asks REST and the relay.
func benchREST(b *testing.B, db store.Store, events int) {
	ids := benchStore(b, db, sized(20_000, 500), events)
	address := serve(b, db).Addr().String()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}}
	defer client.CloseIdleConnections()
	get := func(target, known string) (int, http.Header) {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+address+target, nil)
		if err != nil {
			b.Error(err)
			return 0, nil
		}
		if known != "" {
			r.Header.Set("If-None-Match", known)
		}
		resp, err := client.Do(r)
		if err != nil {
			b.Error(err)
			return 0, nil
		}
		size, _ := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK && (known == "" || resp.StatusCode != http.StatusNotModified) {
			b.Errorf("%s: status %d", target, resp.StatusCode)
		}
		return int(size), resp.Header
	}
	_, header := get("/api/v1/alive", "")
	tag := header.Get("ETag")
	author := func() nostr.PubKey { return event(rand.IntN(5000), 1, 0, "").PubKey }
	some := func() []nostr.ID {
		out := make([]nostr.ID, min(100, len(ids)))
		for i := range out {
			out[i] = ids[rand.IntN(len(ids))]
		}
		return out
	}
	kinds := []nostr.Kind{1, 7, 30023}

	relays := []string{
		"state=up&nips=11,42&sort=-uptime,open_p95", "country=de&limit=100", "near=50,10&within=2000&sort=distance", "text=relay%20org%2042", "sort=-events&open_p95=200",
	}
	n := 0
	b.Run("relays", func(b *testing.B) {
		openLoop(b, func() func() int {
			n++
			target := "/api/v1/relays?" + relays[n%len(relays)]
			return func() int { size, _ := get(target, ""); return size }
		})
	})
	b.Run("alive", func(b *testing.B) {
		openLoop(b, func() func() int { return func() int { size, _ := get("/api/v1/alive", ""); return size } })
	})
	b.Run("alive, known", func(b *testing.B) {
		openLoop(b, func() func() int { return func() int { size, _ := get("/api/v1/alive", tag); return size } })
	})
	b.Run("events", func(b *testing.B) {
		openLoop(b, func() func() int {
			n++
			query := url.Values{"limit": {"100"}}
			switch n % 5 {
			case 0:
				query.Set("authors", author().String())
			case 1:
				query.Set("kinds", fmt.Sprint(kinds[rand.IntN(len(kinds))]))
			case 2:
				query.Set("tag", fmt.Sprint("t:", rand.IntN(2000)))
			case 3:
				var list []string
				for _, id := range some() {
					list = append(list, id.String())
				}
				query.Set("ids", strings.Join(list, ","))
			}
			target := "/api/v1/events?" + query.Encode()
			return func() int { size, _ := get(target, ""); return size }
		})
	})
	b.Run("REQ", func(b *testing.B) {
		free := make(chan *websocket.Conn, 30)
		for range cap(free) {
			ws, resp, err := websocket.Dial(b.Context(), "ws://"+address, nil)
			must(b, err)
			if resp.Body != nil {
				_ = resp.Body.Close()
			}
			defer ws.CloseNow()
			ws.SetReadLimit(1 << 20)
			free <- ws
		}
		openLoop(b, func() func() int {
			n++
			f := nostr.Filter{Limit: new(100)}
			switch n % 5 {
			case 0:
				f.Authors = []nostr.PubKey{author()}
			case 1:
				f.Kinds = []nostr.Kind{kinds[rand.IntN(len(kinds))]}
			case 2:
				f.Tags = map[string][]string{"t": {fmt.Sprint(rand.IntN(2000))}}
			case 3:
				f.IDs = some()
			}
			message := append(f.AppendJSON([]byte(`["REQ","q",`)), ']')
			return func() int {
				ws := <-free
				defer func() { free <- ws }()
				if err := ws.Write(b.Context(), websocket.MessageText, message); err != nil {
					b.Error(err)
					return 0
				}
				for size := 0; ; {
					_, frame, err := ws.Read(b.Context())
					if err != nil {
						b.Error(err)
						return size
					}
					size += len(frame)
					if !bytes.HasPrefix(frame, []byte(`["EVENT"`)) {
						if !bytes.HasPrefix(frame, []byte(`["EOSE"`)) {
							b.Errorf("%.100s: %.100s", message, frame)
						}
						return size
					}
				}
			}
		})
	})
}

// openLoop asks at 200 questions a second, which ask makes one by one, and
// reports how long the answers took from when each was due.
func openLoop(b *testing.B, ask func() func() int) {
	b.Helper()
	// Connections that have planned nothing yet are those of a start, not of a day.
	for range 8 {
		var wait sync.WaitGroup
		for range 30 {
			question := ask()
			wait.Go(func() { question() })
		}
		wait.Wait()
	}
	var mu sync.Mutex
	var latencies []time.Duration
	var size int
	requests := sized(2000, 50)
	for b.Loop() {
		var wait sync.WaitGroup
		begin := time.Now()
		for i := range requests {
			question, due := ask(), begin.Add(time.Duration(i)*5*time.Millisecond)
			time.Sleep(time.Until(due))
			wait.Go(func() {
				n := question()
				took := time.Since(due)
				mu.Lock()
				defer mu.Unlock()
				latencies, size = append(latencies, took), size+n
			})
		}
		wait.Wait()
	}
	slices.Sort(latencies)
	for _, p := range []int{50, 95, 99} {
		b.ReportMetric(float64(latencies[len(latencies)*p/100].Microseconds())/1e3, fmt.Sprintf("p%d-ms", p))
	}
	b.ReportMetric(float64(size)/float64(len(latencies)), "B/answer")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkExport compares exports with the store's own scan and with its own
// pages, one after the other so that all meet the same machine: scan_ratio is the
// rate of an export by that of the scan, which is in the order of arrival,
// page_ratio by that of the pages, which are in the order of the export.
func BenchmarkExport(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchExport(b, newStore(b)) })
	b.Run("postgres", func(b *testing.B) { benchExport(b, newPostgres(b)) })
}

func benchExport(b *testing.B, db store.Store) {
	b.Helper()
	n := sized(300_000, 5000)
	synced(b, db, n)
	server := httptest.NewServer(apiOf(db, func(*api.Config) {}))
	defer server.Close()
	for _, format := range []string{"jsonl", "csv", "parquet"} {
		b.Run(format, func(b *testing.B) {
			var size, most int64
			var scanned, paged, exported time.Duration
			for b.Loop() {
				begin := time.Now()
				rows := 0
				for _, err := range db.ScanEvents(b.Context(), "", nostr.Filter{}) {
					must(b, err)
					rows++
				}
				scanned += time.Since(begin)
				begin = time.Now()
				q := store.EventQuery{Limit: 1000, Public: true, Now: begin.Unix()}
				for more := true; more; more = q.After != "" {
					page, next, err := db.Events(b.Context(), q)
					must(b, err)
					rows -= len(page)
					q.After = next
				}
				paged += time.Since(begin)
				if rows != 0 {
					b.Fatalf("the scan has %d more than the pages", rows)
				}
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
			b.ReportMetric(float64(paged)/float64(exported), "page_ratio")
			b.ReportMetric(float64(n*b.N)/exported.Seconds(), "events/s")
			b.ReportMetric(float64(size)/float64(b.N)/1e6, "MB")
			b.ReportMetric(float64(most)/1e6, "MB-heap")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// synced archives events as a synchronizer brings them: of one relay after the
// other what it alone has, newest first.
func synced(b *testing.B, db store.Store, n int) {
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

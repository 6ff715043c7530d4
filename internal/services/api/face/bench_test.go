package face_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api/face"
)

// sized is the size of a full benchmark, which BENCH_FULL asks for, or of a
// quick one.
func sized(full, quick int) int {
	if os.Getenv("BENCH_FULL") != "" {
		return full
	}
	return quick
}

// notes fills a store with n events of about the usual size. Their signatures
// are none: the store takes what others have verified.
func notes(b *testing.B, db *sqlite.DB, n int) {
	b.Helper()
	content := "The quick brown fox jumps over the lazy dog, and then it does so again, because one sentence is a little short for a note of the usual size on this network."
	var batch []nostr.Event
	for i := range n {
		e := nostr.Event{
			PubKey: sha256.Sum256(fmt.Append(nil, i%1000)), CreatedAt: base + int64(i), Kind: 1, Content: fmt.Sprint(i, content),
			Tags: []nostr.Tag{{"e", nostr.ID(sha256.Sum256(fmt.Append(nil, "e", i%5000))).String()}, {"p", nostr.ID(sha256.Sum256(fmt.Append(nil, i%999))).String()}},
		}
		e.ID = sha256.Sum256(e.AppendCanonical(nil))
		e.Sig[0] = 1
		if batch = append(batch, e); len(batch) == 5000 || i == n-1 {
			_, err := db.SaveBatch(b.Context(), store.Batch{SeenAt: base, Events: batch})
			must(b, err)
			batch = batch[:0]
		}
	}
}

// BenchmarkStream reads the archive through the relay, page by page, and by the
// store's own scan. scan_ratio is the rate of the first by that of the second.
func BenchmarkStream(b *testing.B) {
	db := newStore(b, store.Keep{})
	n := sized(500_000, 30_000)
	notes(b, db, n)
	r := serve(b, db, func(cfg *face.Config) { cfg.MaxLimit = 5000 })
	c := r.dial()
	var served, scanned time.Duration
	for b.Loop() {
		begin := time.Now()
		count := 0
		for range db.ScanEvents(b.Context(), "", nostr.Filter{}) {
			count++
		}
		scanned += time.Since(begin)
		if count != n {
			b.Fatalf("%d events scanned", count)
		}
		begin = time.Now()
		until := int64(1 << 60)
		for got := 0; got < n; {
			c.request("s", nostr.Filter{Until: &until, Limit: new(5000)})
			events, _ := c.bare("s")
			got += len(events)
			until = events[len(events)-1].CreatedAt - 1
		}
		served += time.Since(begin)
	}
	b.ReportMetric(float64(scanned)/float64(served), "scan_ratio")
	b.ReportMetric(float64(n)*float64(b.N)/served.Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}

// bare reads an answer without looking into the events more than it has to.
func (c *client) bare(sub string) ([]nostr.Ref, nostr.Message) {
	c.t.Helper()
	var refs []nostr.Ref
	for {
		_, b, err := c.ws.Read(c.t.Context())
		must(c.t, err)
		m, err := nostr.ParseMessage(b)
		must(c.t, err)
		if m.Label != nostr.LabelEvent {
			return refs, m
		}
		ref, ok := nostr.ScanEvent(m.Event)
		if !ok {
			c.t.Fatalf("%s of %q", m.Event, sub)
		}
		refs = append(refs, ref)
	}
}

// BenchmarkIdle opens 2,000 connections with a subscription each, and reports
// what they take in memory, the clients of the same process included.
func BenchmarkIdle(b *testing.B) {
	const n = 2000
	db := newStore(b, store.Keep{})
	notes(b, db, 5000)
	for b.Loop() {
		r := serve(b, db, func(cfg *face.Config) { cfg.Connections, cfg.PerClient = n, n })
		before := inUse()
		for i := range n {
			c := r.dial()
			c.request("s", nostr.Filter{Authors: []nostr.PubKey{author(1 + i), author(2 + i), author(3 + i)}, Kinds: []nostr.Kind{1}, Limit: new(20)})
			c.answer("s")
		}
		b.ReportMetric(float64(inUse()-before)/(1<<20), "MiB")
		r.stop()
	}
	b.ReportMetric(0, "ns/op")
}

// inUse is the memory that the process holds for heap and stacks.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkReconcile reconciles equal sets of a million ids, of which the first
// makes the relay's set, and reports the processor time of the first and of the
// others, both sides together.
func BenchmarkReconcile(b *testing.B) {
	db := newStore(b, store.Keep{})
	n := sized(1_000_000, 20_000)
	notes(b, db, n)
	r := serve(b, db)
	var all []nostr.Event
	for s, err := range db.ScanEvents(b.Context(), "", nostr.Filter{}) {
		must(b, err)
		all = append(all, nostr.Event{ID: s.Event.ID, CreatedAt: s.Event.CreatedAt})
	}
	c := r.dial()
	_, first := c.initiate(nostr.Filter{}, all)
	begin, used := time.Now(), cpu()
	reconcile := func() {
		c.say(first)
		if m := c.read(); m.Label != nostr.LabelNegMsg {
			b.Fatalf("%s %s", m.Label, m.Text)
		}
	}
	reconcile()
	took, firstUsed := time.Since(begin), cpu()-used
	used = cpu()
	rounds := 0
	for b.Loop() {
		reconcile()
		rounds++
	}
	b.ReportMetric(float64(cpu()-used)/float64(rounds)/1e6, "cpu_ms")
	b.ReportMetric(took.Seconds(), "first_s")
	b.ReportMetric(firstUsed.Seconds(), "first_cpu_s")
	b.ReportMetric(0, "ns/op")
}

// cpu is the processor time of the process so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

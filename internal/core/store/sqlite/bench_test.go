package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// generator makes events like those of the network: kinds and sizes of the
// published mix, authors of a long tail, 3.3 indexed tags, times that fall as a
// walk goes back. They are not signed: the store does not look.
type generator struct {
	r       *rand.Rand
	authors []nostr.PubKey
	zipf    *rand.Zipf
	at      int64
	text    string
}

func newGenerator() *generator {
	g := &generator{r: rand.New(rand.NewPCG(1, 2)), at: 1760000000, text: strings.Repeat("the quick brown fox jumps over the lazy dog ", 500)}
	g.authors = make([]nostr.PubKey, 20000)
	for i := range g.authors {
		g.fill(g.authors[i][:])
	}
	g.zipf = rand.NewZipf(g.r, 1.1, 8, uint64(len(g.authors)-1))
	return g
}

func (g *generator) fill(b []byte) {
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
}

func (g *generator) author() nostr.PubKey { return g.authors[g.zipf.Uint64()] }

var mix = []struct {
	kind  nostr.Kind
	share int
}{{1, 34}, {7, 22}, {1059, 8}, {0, 4}, {3, 2}, {6, 6}, {5, 1}, {10002, 3}, {30023, 1}, {9735, 7}, {4, 4}, {1984, 1}, {30078, 3}, {1111, 4}}

func (g *generator) kind() nostr.Kind {
	n := g.r.IntN(100)
	for _, m := range mix {
		if n -= m.share; n < 0 {
			return m.kind
		}
	}
	return 1
}

func (g *generator) event() nostr.Event {
	e := nostr.Event{PubKey: g.author(), CreatedAt: g.at, Kind: g.kind()}
	g.at -= int64(g.r.IntN(8))
	g.fill(e.ID[:])
	g.fill(e.Sig[:])
	for range g.r.IntN(8) {
		switch g.r.IntN(3) {
		case 0:
			var id nostr.ID
			g.fill(id[:])
			e.Tags = append(e.Tags, nostr.Tag{"e", id.String(), "wss://relay.example.com"})
		case 1:
			e.Tags = append(e.Tags, nostr.Tag{"p", g.author().String()})
		default:
			e.Tags = append(e.Tags, nostr.Tag{"t", fmt.Sprintf("topic%d", g.r.IntN(500))})
		}
	}
	e.Content = g.text[:g.r.IntN(400)]
	if g.r.IntN(100) == 0 {
		e.Content = g.text[:g.r.IntN(20000)]
	}
	return e
}

func (g *generator) events(n int) []nostr.Event {
	events := make([]nostr.Event, n)
	for i := range events {
		events[i] = g.event()
	}
	return events
}

// openBench opens a store with n events delivered by the first of a few relays.
func openBench(b *testing.B, n int) (*DB, *generator, []store.RelayID) {
	b.Helper()
	return fillBench(b, openNew(b), n)
}

func fillBench(b *testing.B, db *DB, n int) (*DB, *generator, []store.RelayID) {
	b.Helper()
	var urls []relay.URL
	for i := range 8 {
		u, err := relay.Parse(fmt.Sprintf("wss://relay%d.damus.io", i))
		if err != nil {
			b.Fatal(err)
		}
		urls = append(urls, u)
	}
	relays, err := db.AddRelays(context.Background(), urls, 1)
	if err != nil {
		b.Fatal(err)
	}
	var ids []store.RelayID
	for _, r := range relays {
		ids = append(ids, r.ID)
	}
	g := newGenerator()
	for ; n > 0; n -= 2000 {
		save(b, db, store.Batch{Relay: ids[0], SeenAt: 1760000000, Events: g.events(min(n, 2000))})
	}
	return db, g, ids
}

func save(b *testing.B, db *DB, batch store.Batch) {
	b.Helper()
	if _, err := db.SaveBatch(context.Background(), batch); err != nil {
		b.Fatal(err)
	}
}

const benchBatch = 1000

// meter measures the processor time of the whole process beside the wall time:
// on a busy machine only the first can be compared.
type meter struct {
	from, total time.Duration
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (m *meter) start() { m.from = cpuTime() }
func (m *meter) stop()  { m.total += cpuTime() - m.from }

func (m *meter) report(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1e3/float64(n), "µs/event")
	b.ReportMetric(float64(m.total.Nanoseconds())/1e3/float64(n), "cpu-µs/event")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkSaveNew(b *testing.B) {
	for _, keep := range []store.Keep{fullKeep, index(store.DefaultFullKinds()...)} {
		b.Run(string(keep.Mode), func(b *testing.B) { benchSaveNew(b, keep) })
	}
}

func benchSaveNew(b *testing.B, keep store.Keep) {
	db, g, relays := fillBench(b, openKeep(b, keep), 0)
	var m meter
	n := 0
	for b.Loop() {
		b.StopTimer()
		events := g.events(benchBatch)
		b.StartTimer()
		m.start()
		save(b, db, store.Batch{Relay: relays[0], SeenAt: 1760000000, Events: events})
		m.stop()
		n += benchBatch
	}
	m.report(b, n)
	b.ReportMetric(float64(n), "events")
	b.StopTimer()
	// Everything to its place and the log back into the file.
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	st, err := os.Stat(db.path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(st.Size())/float64(n), "B/event")
}

// BenchmarkSaveKnown is what a duplicate costs: the id is looked up, the
// sighting of another relay written.
func BenchmarkSaveKnown(b *testing.B) {
	const size = 100_000
	db, _, relays := openBench(b, size)
	var refs []nostr.Ref
	for s, err := range db.ScanEvents(context.Background(), "", nostr.Filter{}) {
		if err != nil {
			b.Fatal(err)
		}
		refs = append(refs, nostr.Ref{ID: s.Event.ID, CreatedAt: s.Event.CreatedAt})
	}
	var m meter
	n := 0
	for b.Loop() {
		from := n % size
		relay := relays[1+n/size%(len(relays)-1)]
		m.start()
		seqs, err := db.Known(context.Background(), refs[from:from+benchBatch])
		if err != nil {
			b.Fatal(err)
		}
		batch := store.Batch{Relay: relay, SeenAt: 1760000000}
		for i, seq := range seqs {
			batch.Known = append(batch.Known, store.Seen{Seq: seq, CreatedAt: refs[from+i].CreatedAt})
		}
		save(b, db, batch)
		m.stop()
		n += benchBatch
	}
	m.report(b, n)
}

func BenchmarkKnown(b *testing.B) {
	db, g, _ := openBench(b, 100_000)
	for _, share := range []int{0, 95} {
		b.Run(fmt.Sprintf("%d%% known", share), func(b *testing.B) {
			var refs []nostr.Ref
			for s := range db.ScanEvents(context.Background(), "", nostr.Filter{}) {
				ref := nostr.Ref{ID: s.Event.ID}
				if g.r.IntN(100) >= share {
					g.fill(ref.ID[:])
				}
				refs = append(refs, ref)
			}
			var m meter
			n := 0
			for b.Loop() {
				from := n % len(refs)
				m.start()
				if _, err := db.Known(context.Background(), refs[from:from+benchBatch]); err != nil {
					b.Fatal(err)
				}
				m.stop()
				n += benchBatch
			}
			m.report(b, n)
		})
	}
}

func BenchmarkEvents(b *testing.B) {
	db, g, _ := openBench(b, 100_000)
	var some []nostr.Event
	for s := range db.ScanEvents(context.Background(), "", nostr.Filter{}) {
		if len(some) == 100 {
			break
		}
		some = append(some, s.Event)
	}
	var follows []nostr.PubKey
	var ids []nostr.ID
	for _, e := range some {
		follows, ids = append(follows, e.PubKey), append(ids, e.ID)
	}
	busy := g.authors[0]
	since := some[0].CreatedAt - 200_000
	for _, q := range []struct {
		name   string
		filter nostr.Filter
	}{
		{"newest", nostr.Filter{}},
		{"kind", nostr.Filter{Kinds: []nostr.Kind{1}}},
		{"kinds since", nostr.Filter{Kinds: []nostr.Kind{1, 6, 7}, Since: &since}},
		{"author", nostr.Filter{Authors: []nostr.PubKey{busy}}},
		{"author and kind", nostr.Filter{Authors: []nostr.PubKey{busy}, Kinds: []nostr.Kind{0, 10002}}},
		{"100 authors", nostr.Filter{Authors: follows, Kinds: []nostr.Kind{1, 6}}},
		{"topic", nostr.Filter{Tags: map[string][]string{"t": {"topic7"}}}},
		{"mentions", nostr.Filter{Kinds: []nostr.Kind{1}, Tags: map[string][]string{"p": {busy.String()}}}},
		{"author and topic", nostr.Filter{Authors: []nostr.PubKey{busy}, Tags: map[string][]string{"t": {"topic7"}}}},
		{"100 ids", nostr.Filter{IDs: ids}},
	} {
		b.Run(q.name, func(b *testing.B) {
			n := 0
			var m meter
			m.start()
			for b.Loop() {
				page, _, err := db.Events(context.Background(), store.EventQuery{Filter: q.filter, Limit: 100, Public: true, Now: 1})
				if err != nil {
					b.Fatal(err)
				}
				n += len(page)
			}
			m.stop()
			b.ReportMetric(float64(n)/float64(b.N), "events/op")
			b.ReportMetric(float64(m.total.Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// BenchmarkRefresh is what counting an event and its sighting costs, which the
// writer does beside ingest.
func BenchmarkRefresh(b *testing.B) {
	db, g, relays := openBench(b, 0)
	var m meter
	n := 0
	for b.Loop() {
		b.StopTimer()
		save(b, db, store.Batch{Relay: relays[0], SeenAt: 1, Events: g.events(2000)})
		b.StartTimer()
		m.start()
		done, err := db.Refresh(context.Background(), 2001)
		m.stop()
		if err != nil || done.Events != 2000 || done.More {
			b.Fatal(done, err)
		}
		n += done.Events
	}
	m.report(b, n)
}

// BenchmarkSummaries is the page of relays and the totals of a large network.
func BenchmarkSummaries(b *testing.B) {
	db := openNew(b)
	var urls []relay.URL
	for i := range 10_000 {
		u, err := relay.Parse(fmt.Sprintf("wss://relay%05d.damus.io", i))
		if err != nil {
			b.Fatal(err)
		}
		urls = append(urls, u)
	}
	relays, err := db.AddRelays(context.Background(), urls, 1)
	if err != nil {
		b.Fatal(err)
	}
	var claims []store.Coverage
	for _, r := range relays {
		for i := range int64(3) {
			claims = append(claims, store.Coverage{Relay: r.ID, Filter: 1, Interval: store.Interval{Lo: 1000 * i, Hi: 1000*i + 900}, Level: 1, AsOf: 5, Method: "walk", N: 7})
		}
	}
	save(b, db, store.Batch{Claims: claims})
	b.Run("200 relays", func(b *testing.B) {
		for b.Loop() {
			if _, err := db.RelaySummaries(context.Background(), store.RelayQuery{After: urls[5000].String(), Limit: 200}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("totals", func(b *testing.B) {
		for b.Loop() {
			if _, err := db.Totals(context.Background(), 5000); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("due", func(b *testing.B) {
		for b.Loop() {
			if _, err := db.DueRelays(context.Background(), store.Due{Service: "monitor", Now: 10, Limit: 20, Owner: "a", Until: 10}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSize is what an event of the average network takes on disk: 4.9
// relays carry it. Tables and their indexes are told apart, and an index with
// the kinds that it keeps whole by default is compared with a full archive: of
// an event all but its sightings.
func BenchmarkSize(b *testing.B) {
	const size = 50_000
	var full float64
	for _, keep := range []store.Keep{fullKeep, index(store.DefaultFullKinds()...), index()} {
		b.Run(fmt.Sprintf("%s and %d kinds", keep.Mode, len(keep.FullKinds)), func(b *testing.B) {
			db, _, relays := fillBench(b, openKeep(b, keep), size)
			for i := range 39 * size / 10 / benchBatch {
				batch := store.Batch{Relay: relays[1+i*benchBatch/size], SeenAt: 1760000000}
				for j := range benchBatch {
					batch.Known = append(batch.Known, store.Seen{Seq: store.Seq(1 + (i*benchBatch+j)%size)})
				}
				save(b, db, batch)
			}
			if err := db.writer.alone(context.Background(), tidyAll); err != nil {
				b.Fatal(err)
			}
			var event float64
			for b.Loop() {
				event = 0
				if err := db.read(context.Background(), func(c *conn) error {
					return c.query(context.Background(), func(r row) bool {
						n := float64(r.int(1)) / size
						if n >= 1 {
							b.ReportMetric(n, "B-"+r.text(0))
						}
						if name := r.text(0); strings.Contains(name, "event") && !strings.Contains(name, "sighting") || name == "term" {
							event += n
						}
						return true
					}, `SELECT name, sum(pgsize) FROM dbstat GROUP BY name UNION ALL SELECT 'all', sum(pgsize) FROM dbstat`)
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(event, "B-of-an-event")
			if keep.Mode == store.KeepFull {
				full = event
			} else if full > 0 {
				b.ReportMetric(100*event/full, "%-of-full")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkThin makes an index of a full archive, which costs a rewrite of
// every event and two copies of what is left.
func BenchmarkThin(b *testing.B) {
	const size = 100_000
	var m meter
	n := 0
	for b.Loop() {
		b.StopTimer()
		db, _, _ := openBench(b, size)
		b.StartTimer()
		m.start()
		if err := db.Thin(context.Background(), index(store.DefaultFullKinds()...), func(int64, int64) {}); err != nil {
			b.Fatal(err)
		}
		m.stop()
		n += size
	}
	m.report(b, n)
}

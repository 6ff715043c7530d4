package postgres

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/pgtest"
)

// generator makes events like those of the network: the kinds and their shares
// as published for 208 million archived events, about 820 bytes of JSON and 3.3
// indexed tags each, authors of a long tail, times that fall as a walk goes
// back. They are not signed: the store does not look.
type generator struct {
	r       *rand.Rand
	authors []nostr.PubKey
	zipf    *rand.Zipf
	words   []string
	at      int64
}

func newGenerator() *generator {
	g := &generator{r: rand.New(rand.NewPCG(1, 2)), at: 1760000000}
	g.authors = make([]nostr.PubKey, 50_000)
	for i := range g.authors {
		g.fill(g.authors[i][:])
	}
	g.zipf = rand.NewZipf(g.r, 1.1, 8, uint64(len(g.authors)-1))
	g.words = make([]string, 4000)
	for i := range g.words {
		word := make([]byte, 2+g.r.IntN(9))
		for j := range word {
			word[j] = "etaoinshrdlucmfwypvbgkjqxz"[min(g.r.IntN(26), g.r.IntN(26))]
		}
		g.words[i] = string(word)
	}
	return g
}

func (g *generator) fill(b []byte) {
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
}

func (g *generator) author() nostr.PubKey { return g.authors[g.zipf.Uint64()] }

func (g *generator) id() (id nostr.ID) {
	g.fill(id[:])
	return id
}

// about is a length whose mean is given, with a long tail.
func (g *generator) about(mean float64) int { return int(g.r.ExpFloat64() * mean) }

func (g *generator) text(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(g.words[g.r.IntN(len(g.words))])
		b.WriteByte(' ')
	}
	return b.String()
}

func (g *generator) secret(n int) string {
	b := make([]byte, n)
	g.fill(b)
	return base64.StdEncoding.EncodeToString(b)
}

// mix has the shares in thousandths.
var mix = []struct {
	kind  nostr.Kind
	share int
}{
	{1, 410},
	{7, 200},
	{4, 60},
	{0, 50},
	{3, 45},
	{6, 50},
	{5, 32},
	{9735, 30},
	{1000, 26},
	{1059, 24},
	{9041, 21},
	{10002, 20},
	{42, 16},
	{30023, 8},
	{30078, 8},
}

func (g *generator) kind() nostr.Kind {
	n := g.r.IntN(1000)
	for _, m := range mix {
		if n -= m.share; n < 0 {
			return m.kind
		}
	}
	return 1
}

func (g *generator) event() nostr.Event {
	e := nostr.Event{ID: g.id(), PubKey: g.author(), CreatedAt: g.at, Kind: g.kind()}
	g.at -= int64(g.r.IntN(8))
	g.fill(e.Sig[:])
	thread, people := g.about(1.7), g.about(1.5)
	switch e.Kind {
	case 0:
		e.Content, thread, people = `{"name":"`+g.text(8)+`","about":"`+g.text(g.about(200))+`"}`, 0, 0
	case 3:
		thread, people = 0, g.about(20)
	case 4, 1059:
		e.Content, thread, people = g.secret(g.about(350)), 0, 1
	case 5:
		thread, people = 1, 0
	case 6, 7:
		e.Content, thread, people = "+", 1, 1
	case 9735:
		e.Tags = append(e.Tags, nostr.Tag{"bolt11", g.text(300)}, nostr.Tag{"description", g.text(600)})
		thread, people = 1, 2
	case 10002:
		for range g.about(5) {
			e.Tags = append(e.Tags, nostr.Tag{"r", "wss://relay." + g.words[g.r.IntN(200)] + ".com"})
		}
		thread, people = 0, 0
	case 30023, 30078:
		e.Content = g.text(g.about(2000))
		e.Tags = append(e.Tags, nostr.Tag{"d", g.text(16)})
	default:
		e.Content = g.text(g.about(190))
		if g.r.IntN(200) == 0 {
			e.Content = g.text(g.r.IntN(20000))
		}
		for range g.about(0.7) {
			e.Tags = append(e.Tags, nostr.Tag{"t", g.words[g.r.IntN(500)]})
		}
	}
	for range thread {
		e.Tags = append(e.Tags, nostr.Tag{"e", g.id().String(), "wss://relay.example.com"})
	}
	for range people {
		e.Tags = append(e.Tags, nostr.Tag{"p", g.author().String()})
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

// layout is a way to keep events and sightings in tables. Several are filled in
// turn with the same batches, so that their numbers are of one run.
type layout struct {
	name  string
	first func(ctx context.Context, relay int, events []nostr.Event) error // delivered for the first time
	again func(ctx context.Context, relay int, events []nostr.Event) error // delivered by another relay; nil: not measured
	pool  *pgxpool.Pool
	// The tables that hold events and sightings, with their partitions.
	events, sightings []string

	firstTook, againTook  time.Duration
	perEvent, perSighting float64 // bytes
	indexShare            float64 // of the bytes of events
}

// benchBatch is how many events a relay delivers at once, benchRelays how many
// relays there are: the first gives all, the last only as many as it takes to
// have 4.9 sightings of an event.
const (
	benchBatch  = 1000
	benchRelays = 5
	benchShare  = 10 // in how many batches the last relay leaves out one
	benchSeen   = 1760000000
)

func benchURL(relay int) string { return fmt.Sprintf("wss://relay%d.damus.io", relay) }

func benchSize() int {
	if os.Getenv("BENCH_FULL") != "" {
		return 500_000
	}
	return 20_000
}

// BenchmarkLayouts fills the layouts and tells what an event and a sighting cost
// in time and bytes, and how that compares with the layout of the original and
// with the bare COPY of the same rows.
func BenchmarkLayouts(b *testing.B) {
	size := benchSize()
	cluster := pgtest.Start(b, pgtest.Options{Settings: map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "log_checkpoints": "off",
	}})
	for b.Loop() {
		b.StopTimer()
		layouts := []*layout{
			ours(b, cluster, "full", store.Keep{Mode: store.KeepFull}),
			ours(b, cluster, "index", store.Keep{Mode: store.KeepIndex, FullKinds: store.DefaultFullKinds()}),
			original(b, cluster),
			copied(b, cluster),
		}
		b.StartTimer()
		compare(b, layouts, size)
	}
	b.ReportMetric(0, "ns/op")
}

func compare(b *testing.B, layouts []*layout, size int) {
	ctx := b.Context()
	g := newGenerator()
	sightings, json, tags := 0, 0, 0
	for n := 0; n < size; n += benchBatch {
		b.StopTimer()
		events := g.events(benchBatch)
		for i := range events {
			json += len(events[i].AppendJSON(nil))
			tags += len(store.IndexOf(&events[i]).Tags)
		}
		b.StartTimer()
		for i := range layouts {
			l := layouts[(i+n/benchBatch)%len(layouts)] // nobody is always behind the same other
			begin := time.Now()
			if err := l.first(ctx, 0, events); err != nil {
				b.Fatalf("%s: %v", l.name, err)
			}
			l.firstTook += time.Since(begin)
		}
		sightings += benchBatch
		for r := 1; r < benchRelays; r++ {
			if r == benchRelays-1 && n/benchBatch%benchShare == 0 {
				continue
			}
			for i := range layouts {
				l := layouts[(i+r+n/benchBatch)%len(layouts)]
				if l.again == nil {
					continue
				}
				begin := time.Now()
				if err := l.again(ctx, r, events); err != nil {
					b.Fatalf("%s: %v", l.name, err)
				}
				l.againTook += time.Since(begin)
			}
			sightings += benchBatch
		}
	}
	b.StopTimer()
	b.Logf("%d events of %d bytes of JSON and %.1f tags that are found, %d sightings", size, json/size, float64(tags)/float64(size), sightings)
	for _, l := range layouts {
		events, indexes := l.bytes(b, l.events)
		l.perEvent, l.indexShare = events/float64(size), indexes/events
		if l.again != nil {
			seen, _ := l.bytes(b, l.sightings)
			l.perSighting = seen / float64(sightings)
		}
	}
	full, theirs, bare := layouts[0], layouts[len(layouts)-2], layouts[len(layouts)-1]
	for _, l := range layouts {
		report := func(value float64, unit string) { b.ReportMetric(value, l.name+"-"+unit) }
		report(micros(l.firstTook, size), "µs/new")
		report(float64(bare.firstTook)/float64(l.firstTook), "×COPY")
		report(l.perEvent, "B/event")
		report(100*l.indexShare, "%-index")
		if l.again == nil {
			continue
		}
		report(micros(l.againTook, sightings-size), "µs/known")
		report(micros(l.firstTook, size)/micros(l.againTook, sightings-size), "known-per-new")
		report(l.perSighting, "B/sighting")
		if l == theirs {
			continue
		}
		if l != full {
			report(100*l.perEvent/full.perEvent, "%-of-full")
		}
		report(float64(theirs.firstTook)/float64(l.firstTook), "×original-new")
		report(float64(theirs.againTook)/float64(l.againTook), "×original-known")
		report(100*l.perEvent/theirs.perEvent, "%-of-original-event")
		report(100*l.perSighting/theirs.perSighting, "%-of-original-sighting")
	}
	b.StartTimer()
}

func micros(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }

const (
	sqlTableBytes = `
		SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8, coalesce(sum(pg_indexes_size(c.oid)), 0)::float8 FROM pg_class c
		WHERE c.oid = $1::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree($1::regclass))`
	// What each index and the rest of a table take, its partitions together.
	sqlParts = `
		WITH t AS (SELECT $1::regclass AS oid UNION SELECT relid FROM pg_partition_tree($1::regclass))
		SELECT string_agg(what || ' ' || bytes, ', ' ORDER BY what) FROM (
			SELECT what, sum(bytes) AS bytes FROM (
				SELECT 'rows' AS what, pg_table_size(oid) AS bytes FROM t
				UNION ALL SELECT am.amname || ' ' || regexp_replace(pg_get_indexdef(i.indexrelid), '^.*USING [a-z]+ ', ''), pg_relation_size(i.indexrelid)
				FROM t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
			) AS parts GROUP BY what
		) AS sums`
)

// bytes returns the size of tables with everything that belongs to them, and how
// much of it is indexes.
func (l *layout) bytes(b *testing.B, tables []string) (total, indexes float64) {
	for _, table := range tables {
		// The indexes take in what waits for them.
		if _, err := l.pool.Exec(b.Context(), "VACUUM (ANALYZE) "+table, pgx.QueryExecModeSimpleProtocol); err != nil {
			b.Fatal(err)
		}
		var all, index float64
		if err := l.pool.QueryRow(b.Context(), sqlTableBytes, table).Scan(&all, &index); err != nil {
			b.Fatal(err)
		}
		total, indexes = total+all, indexes+index
		var parts string
		if err := l.pool.QueryRow(b.Context(), sqlParts, table).Scan(&parts); err != nil {
			b.Fatal(err)
		}
		b.Logf("%s, bytes of %s: %s", l.name, table, parts)
	}
	return total, indexes
}

// openBench opens a new database of a cluster with relays in it.
func openBench(b *testing.B, cluster *pgtest.Cluster, keep store.Keep) (*DB, []store.RelayID) {
	b.Helper()
	db, err := Open(b.Context(), cluster.Database(b), Options{Keep: keep})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	var urls []relay.URL
	for i := range benchRelays {
		u, err := relay.Parse(benchURL(i))
		if err != nil {
			b.Fatal(err)
		}
		urls = append(urls, u)
	}
	relays, err := db.AddRelays(b.Context(), urls, 1)
	if err != nil {
		b.Fatal(err)
	}
	var ids []store.RelayID
	for _, r := range relays {
		ids = append(ids, r.ID)
	}
	return db, ids
}

// ours is this package's layout, used as the synchronizer uses it: what is known
// is asked first and comes without its event.
func ours(b *testing.B, cluster *pgtest.Cluster, name string, keep store.Keep) *layout {
	db, relays := openBench(b, cluster, keep)
	return &layout{
		name: name, pool: db.pool, events: []string{"event"}, sightings: []string{"sighting"},
		first: func(ctx context.Context, relay int, events []nostr.Event) error {
			saved, err := db.SaveBatch(ctx, store.Batch{Relay: relays[relay], SeenAt: benchSeen, Events: events})
			if err == nil && saved.New != len(events) {
				err = fmt.Errorf("saved %+v of %d", saved, len(events))
			}
			return err
		},
		again: func(ctx context.Context, relay int, events []nostr.Event) error {
			refs := make([]nostr.Ref, len(events))
			for i := range events {
				refs[i] = nostr.Ref{ID: events[i].ID, CreatedAt: events[i].CreatedAt}
			}
			seqs, err := db.Known(ctx, refs)
			if err != nil {
				return err
			}
			batch := store.Batch{Relay: relays[relay], SeenAt: benchSeen}
			for i, seq := range seqs {
				batch.Known = append(batch.Known, store.Seen{Seq: seq, CreatedAt: refs[i].CreatedAt})
			}
			_, err = db.SaveBatch(ctx, batch)
			return err
		},
	}
}

// copied writes the same rows into the same tables by COPY and nothing else:
// no look for what is there, nothing told.
func copied(b *testing.B, cluster *pgtest.Cluster) *layout {
	db, relays := openBench(b, cluster, store.Keep{})
	seq := int64(0)
	return &layout{
		name: "COPY", pool: db.pool, events: []string{"event"},
		first: func(ctx context.Context, relay int, events []nostr.Event) error {
			rows, seen := make([][]any, len(events)), make([][]any, len(events))
			for i := range events {
				e := &events[i]
				tags, content, _, _, err := store.EventText(e, nil)
				if err != nil {
					return err
				}
				in := store.IndexOf(e)
				seq++
				rows[i] = []any{seq, e.CreatedAt, int64(e.Kind), authorPrefix(e.PubKey), int64(benchSeen), in.D, in.Expires, e.ID[:], e.PubKey[:], in.Tags, e.Sig[:], tags, content}
				seen[i] = []any{e.CreatedAt, seq, int64(benchSeen), int32(relays[relay])}
			}
			return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
				if _, err := tx.CopyFrom(ctx, pgx.Identifier{"event"}, []string{
					"seq", "created_at", "kind", "author", "first_seen", "d", "expires", "id", "pubkey", "tagh", "sig", "tags", "content",
				}, pgx.CopyFromRows(rows)); err != nil {
					return err
				}
				_, err := tx.CopyFrom(ctx, pgx.Identifier{"sighting"}, []string{"created_at", "event_seq", "seen_at", "relay_id"}, pgx.CopyFromRows(seen))
				return err
			})
		},
	}
}

// BenchmarkScan reads everything in the archive's order.
func BenchmarkScan(b *testing.B) {
	db, relays := openBench(b, pgtest.Shared(b), store.Keep{})
	g := newGenerator()
	for range benchSize() / benchBatch {
		if _, err := db.SaveBatch(b.Context(), store.Batch{Relay: relays[0], SeenAt: 1, Events: g.events(benchBatch)}); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	for b.Loop() {
		for _, err := range db.scan(b.Context(), "", math.MinInt64, math.MaxInt64, nil) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(micros(b.Elapsed(), n), "µs/event")
	b.ReportMetric(0, "ns/op")
}

package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// fellow opens the database of another handle, as another process would.
func fellow(t *testing.T, db *DB) *DB {
	t.Helper()
	return openAt(t, db.pool.Config().ConnString())
}

// addRelays promotes n relays.
func addRelays(t *testing.T, db *DB, n int) []store.RelayID {
	t.Helper()
	var urls []relay.URL
	for i := range n {
		u, err := relay.Parse(fmt.Sprintf("wss://relay%d.nostr.org", i))
		if err != nil {
			t.Fatal(err)
		}
		urls = append(urls, u)
	}
	relays, err := db.AddRelays(t.Context(), urls, 1)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]store.RelayID, n)
	for i, r := range relays {
		ids[i] = r.ID
	}
	return ids
}

// count asks for a number past the store.
func count(t *testing.T, db *DB, sql string, args ...any) (n int) {
	t.Helper()
	if err := db.pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	// Of sightings and deletions that belong to no event, and of events that are
	// there twice.
	countStray = `SELECT
		(SELECT count(*) FROM sighting s WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.created_at = s.created_at AND e.seq = s.event_seq)) +
		(SELECT count(*) FROM deletion d WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.created_at = d.created_at AND e.seq = d.seq)) +
		(SELECT count(*) - count(DISTINCT id) FROM event) + (SELECT count(*) - count(DISTINCT seq) FROM event)`
	countOf = `SELECT count(*) FROM event WHERE pubkey = $1 AND created_at <= $2 AND kind <> 62`
)

// reader remembers where it stands, and how often it saw each event.
type reader struct {
	at   store.Cursor
	seen map[nostr.ID]int
}

func (r *reader) read(ctx context.Context, db *DB) error {
	for s, err := range db.ScanEvents(ctx, r.at, nostr.Filter{}) {
		if err != nil {
			return err
		}
		r.at = s.Cursor
		r.seen[s.Event.ID]++
	}
	return nil
}

// TestScanBesideWriters has several writers on two handles save batches that
// overlap, each in an order of its own, while readers follow with cursors: each
// event is there once, every reader sees each once, and nobody waits in a circle.
func TestScanBesideWriters(t *testing.T) {
	const writers, readers, batches, most = 6, 3, 20, 2500
	var log bytes.Buffer
	db := openNew(t, Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	handles := []*DB{db, fellow(t, db)}
	relays := addRelays(t, db, 3)
	all := numbered(0, most)
	type pair struct {
		relay store.RelayID
		id    nostr.ID
	}
	var mu sync.Mutex
	added, saved, seen := 0, map[nostr.ID]bool{}, map[pair]bool{}
	write := func(w int) error {
		r := rand.New(rand.NewPCG(uint64(w), 1))
		for range batches {
			batch := store.Batch{Relay: relays[r.IntN(len(relays))], SeenAt: 1}
			start, n := r.IntN(most), 1+r.IntN(150)
			for _, i := range r.Perm(n) {
				batch.Events = append(batch.Events, all[(start+i)%most])
			}
			batch.Events = append(batch.Events, batch.Events[0])
			got, err := handles[w%2].SaveBatch(t.Context(), batch)
			if err != nil {
				return err
			}
			if got.New+got.Known != n+1 {
				return fmt.Errorf("saved %+v of %d", got, n+1)
			}
			mu.Lock()
			added += got.New
			for _, e := range batch.Events {
				saved[e.ID], seen[pair{batch.Relay, e.ID}] = true, true
			}
			mu.Unlock()
		}
		return nil
	}
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			if err := write(w); err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	following := make([]reader, readers)
	for i := range following {
		r := &following[i]
		r.seen = make(map[nostr.ID]int)
		reading.Go(func() {
			for last := false; ; {
				if err := r.read(t.Context(), handles[i%2]); err != nil {
					t.Errorf("reader %d: %v", i, err)
					return
				}
				if last {
					return
				}
				select {
				case <-done:
					last = true
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	if added != len(saved) {
		t.Errorf("%d were told to be new, %d are different", added, len(saved))
	}
	for i, r := range following {
		if len(r.seen) != len(saved) {
			t.Errorf("reader %d saw %d of %d events", i, len(r.seen), len(saved))
		}
		for id, n := range r.seen {
			if n != 1 {
				t.Errorf("reader %d saw %s %d times", i, id, n)
			}
		}
	}
	if n := count(t, db, `SELECT count(*) FROM sighting`); n != len(seen) {
		t.Errorf("%d sightings, want %d", n, len(seen))
	}
	if n := count(t, db, countStray); n != 0 {
		t.Errorf("%d rows are stray or double", n)
	}
	if strings.Contains(log.String(), codeDeadlock) {
		t.Errorf("writers waited for one another:\n%s", log.String())
	}
}

// TestScanOfLateCommits has a batch take its numbers first and come to its end
// last: whoever remembers the largest number never sees it, a cursor does.
func TestScanOfLateCommits(t *testing.T) {
	db := openNew(t, Options{})
	events := numbered(0, 20)
	late, early := events[:10], events[10:]
	tx, err := db.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &saving{tx: tx, batch: &store.Batch{SeenAt: 1, Events: late}}
	for _, step := range []func(context.Context) error{s.vanish, s.events} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: early}); err != nil {
		t.Fatal(err)
	}
	r := reader{seen: make(map[nostr.ID]int)}
	if err := r.read(t.Context(), db); err != nil || len(r.seen) != len(early) {
		t.Fatalf("%d events at first, %v", len(r.seen), err)
	}
	largest := count(t, db, `SELECT max(seq) FROM event`)
	if err := s.prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `SELECT count(*) FROM event WHERE seq > $1`, largest); n != 0 {
		t.Errorf("%d events have larger numbers: this test shows nothing", n)
	}
	if err := r.read(t.Context(), db); err != nil || len(r.seen) != len(events) {
		t.Errorf("%d of %d events, %v", len(r.seen), len(events), err)
	}
}

// by returns an event of an author.
func by(author nostr.PubKey, kind nostr.Kind, at int64, content string, tags ...nostr.Tag) nostr.Event {
	e := nostr.Event{PubKey: author, Kind: kind, CreatedAt: at, Content: content, Tags: tags}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	return e
}

// request asks to forget an author's events up to a time.
func request(author nostr.PubKey, at int64) nostr.Event {
	return by(author, store.KindVanish, at, "", nostr.Tag{"relay", "ALL_RELAYS"})
}

// TestVanishBesideWriters has an author vanish while several writers bring the
// author's events: none of them, and nothing that belongs to them, is left.
func TestVanishBesideWriters(t *testing.T) {
	const writers, batches, size, until = 4, 10, 30, 1_700_000_000
	db := openNew(t, Options{})
	handles := []*DB{db, fellow(t, db)}
	relays := addRelays(t, db, writers)
	for round := range 4 {
		author := nostr.PubKey(sha256.Sum256(fmt.Appendf(nil, "round %d", round)))
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for n := range batches {
					batch := store.Batch{Relay: relays[w], SeenAt: 1}
					var refs []nostr.Ref
					for i := range size {
						e := by(author, []nostr.Kind{1, 5}[i%2], until+10-int64(n*size+i), "", nostr.Tag{"e", fmt.Sprint(i)})
						batch.Events, refs = append(batch.Events, e), append(refs, nostr.Ref{ID: e.ID, CreatedAt: e.CreatedAt})
					}
					// Between the answer and the batch they may be gone.
					seqs, err := handles[w%2].Known(t.Context(), refs)
					if err != nil {
						t.Errorf("known: %v", err)
					}
					for i, seq := range seqs {
						if seq != 0 {
							batch.Known = append(batch.Known, store.Seen{Seq: seq, CreatedAt: refs[i].CreatedAt})
						}
					}
					if _, err := handles[w%2].SaveBatch(t.Context(), batch); err != nil {
						t.Errorf("save: %v", err)
					}
					if w == 0 && n == batches/2 {
						if _, err := db.SaveBatch(t.Context(), store.Batch{Relay: relays[0], SeenAt: 1, Events: []nostr.Event{request(author, until)}}); err != nil {
							t.Errorf("vanish: %v", err)
						}
					}
				}
			})
		}
		wg.Wait()
		if n := count(t, db, countOf, author[:], until); n != 0 {
			t.Errorf("%d events are left", n)
		}
		if n := count(t, db, countOf, author[:], int64(math.MaxInt64)); n != 10 {
			t.Errorf("%d later events are there, want 10", n)
		}
		if n := count(t, db, countStray); n != 0 {
			t.Errorf("%d rows are stray or double", n)
		}
	}
}

// TestPurgeGoesOn has a process end between a request to vanish and the purge.
// Two others do it at once, in slices; the sums hold some of what goes, are yet
// to count the rest, and are right in the end.
func TestPurgeGoesOn(t *testing.T) {
	const until = 1_700_000_000
	db := openNew(t, Options{})
	relays := addRelays(t, db, 2)
	author := nostr.PubKey{1}
	var events []nostr.Event
	for i := range 3 * purgeSlice / 2 {
		events = append(events, by(author, []nostr.Kind{1, 5}[i%2], until-int64(i)*1000, "", nostr.Tag{"e", fmt.Sprint(i)}))
	}
	events = append(events, numbered(0, 50)...)
	counted := len(events) / 2
	save := func(batch store.Batch) {
		t.Helper()
		batch.SeenAt = 1
		if _, err := db.SaveBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	refresh := func() {
		t.Helper()
		for more := true; more; {
			done, err := db.Refresh(t.Context(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			more = done.More
		}
	}
	save(store.Batch{Relay: relays[0], Events: events[:counted]})
	save(store.Batch{Relay: relays[1], Events: events[:counted/2]})
	refresh()
	save(store.Batch{Relay: relays[0], Events: events[counted:]})
	save(store.Batch{Relay: relays[1], Events: events[counted/3 : 3*counted/2]})

	if err := db.write(t.Context(), func(tx pgx.Tx) error {
		s := &saving{tx: tx, batch: &store.Batch{Relay: relays[0], SeenAt: 1, Events: []nostr.Event{request(author, until)}}}
		return s.save(t.Context())
	}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, countOf, author[:], until); n == 0 {
		t.Fatal("the purge has run: this test shows nothing")
	}
	var wg sync.WaitGroup
	for _, handle := range []*DB{db, fellow(t, db)} {
		wg.Go(func() {
			if _, err := handle.Migrate(t.Context()); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	wg.Wait()
	if n := count(t, db, countOf, author[:], until); n != 0 {
		t.Errorf("%d events are left", n)
	}
	if n := count(t, db, countStray); n != 0 {
		t.Errorf("%d rows are stray or double", n)
	}
	if n := count(t, db, `SELECT count(*) FROM tombstone WHERE NOT purged`); n != 0 {
		t.Error("the purge is not known to be done")
	}
	refresh()
	for _, total := range []struct{ name, table string }{{"events", "event"}, {"sightings", "sighting"}} {
		if sum, is := count(t, db, `SELECT n FROM rollup_total WHERE name = $1`, total.name), count(t, db, `SELECT count(*) FROM `+total.table); sum != is {
			t.Errorf("the sum of %s is %d, there are %d", total.name, sum, is)
		}
	}
	if wrong, err := db.Recount(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("recount: %+v, %v", wrong, err)
	}
}

// TestLargeEvents saves what is as large as frames may be: it is read back
// exactly, and a scan never holds much of it at once.
func TestLargeEvents(t *testing.T) {
	db := openNew(t, Options{})
	var events []nostr.Event
	for i := range 12 {
		events = append(events, by(nostr.PubKey{2}, 1, int64(i), strings.Repeat("0123456789 \\\"\n", 1<<20/14), nostr.Tag{"t", strings.Repeat("é", 1<<19)}))
	}
	many := make([]nostr.Tag, 100_000)
	for i := range many {
		many[i] = nostr.Tag{"p", fmt.Sprint("value ", i)}
	}
	events = append(events, by(nostr.PubKey{2}, 3, 1<<53, "", many...))
	saved, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: events})
	if err != nil || saved.New != len(events) {
		t.Fatalf("saved %+v, %v", saved, err)
	}
	if n := count(t, db, `SELECT cardinality(tagh) FROM event WHERE kind = 3`); n != len(many) {
		t.Errorf("%d of %d tags are found", n, len(many))
	}
	var read []nostr.Event
	at := cursor{}
	for {
		page, next, err := db.scanPage(t.Context(), at, math.MaxInt64, math.MinInt64, math.MaxInt64, nil)
		if err != nil {
			t.Fatal(err)
		}
		weight := 0
		for _, one := range page {
			weight += one.Weight()
			read = append(read, one.Event)
		}
		if most := scanBytes + 4<<20; weight > most {
			t.Errorf("a page of %d events weighs %d bytes, want at most %d", len(page), weight, most)
		}
		if next == at {
			break
		}
		at = next
	}
	if !slices.EqualFunc(events, read, func(a, b nostr.Event) bool {
		return a.ID == b.ID && bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil))
	}) {
		t.Errorf("%d events are read, and not those that were saved", len(read))
	}
}

// TestIDsThatBeginAlike: the key of the time index holds the beginning of an id
// only. Of two events of one second that share it the second is kept out with a
// reason, its neighbours are not, and neither is taken for the other.
func TestIDsThatBeginAlike(t *testing.T) {
	db := openNew(t, Options{})
	relay := addRelays(t, db, 1)[0]
	first := by(nostr.PubKey{1}, 1, 1_700_000_000, "first")
	second := by(nostr.PubKey{1}, 1, 1_700_000_000, "second")
	second.ID = first.ID
	second.ID[len(second.ID)-1]++
	later := second // the same id in another second is another key
	later.CreatedAt++
	other := by(nostr.PubKey{2}, 1, 1_700_000_000, "other")
	if _, err := db.SaveBatch(t.Context(), store.Batch{Relay: relay, SeenAt: 1, Events: []nostr.Event{first}}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // whether the others are new or not
		if _, err := db.SaveBatch(t.Context(), store.Batch{Relay: relay, SeenAt: 1, Events: []nostr.Event{first, second, later, other}}); err != nil {
			t.Fatal(err)
		}
	}
	seqs, err := db.Known(t.Context(), []nostr.Ref{
		{ID: first.ID, CreatedAt: first.CreatedAt},
		{ID: second.ID, CreatedAt: second.CreatedAt},
		{ID: later.ID, CreatedAt: later.CreatedAt},
		{ID: other.ID, CreatedAt: other.CreatedAt},
	})
	if err != nil || seqs[0] == 0 || seqs[1] != 0 || seqs[2] == 0 || seqs[3] == 0 {
		t.Errorf("known %v, %v; want all but the second", seqs, err)
	}
	if n := count(t, db, "SELECT count(*) FROM sighting"); n != 3 {
		t.Errorf("%d sightings, want 3", n)
	}
	if n := count(t, db, "SELECT count(*) FROM quarantine WHERE reason = 'unstorable' AND relay_id = $1", int32(relay)); n != 1 {
		t.Errorf("%d rows in quarantine, want the second event once", n)
	}
}

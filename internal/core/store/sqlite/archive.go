package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// archiveState is what the writer knows of the archive. A copy of it brings it
// back when a transaction fails.
type archiveState struct {
	nextSeq int64  // the number of the next event
	terms   []term // what term_new holds and no merge has taken over
	keep    store.Keep
}

// archiveSets is what the writer knows besides, and may know too much of.
type archiveSets struct {
	// tombstones has the first eight bytes of every target; the row decides.
	tombstones map[uint64]struct{}
	// purges counts the deletions since Open: counts that one fell into are of no
	// use.
	purges int
}

const (
	sqlLastSeq    = `SELECT coalesce(max(seq), 0) FROM event`
	sqlTermsNew   = `SELECT h, created_at, seq, kind FROM term_new ORDER BY seq`
	sqlTombstones = `SELECT target FROM tombstone`
)

// load reads the state from a database that has its schema.
func (w *writer) load(ctx context.Context) error {
	var err error
	if w.keep, err = w.c.keep(ctx); err != nil {
		return err
	}
	if _, err := w.c.one(ctx, func(r row) { w.nextSeq = r.int(0) + 1 }, sqlLastSeq); err != nil {
		return err
	}
	w.terms = nil
	if err := w.c.query(ctx, func(r row) bool {
		w.terms = append(w.terms, term{r.int(0), r.int(1), r.int(2), r.int(3)})
		return true
	}, sqlTermsNew); err != nil {
		return err
	}
	w.tombstones = make(map[uint64]struct{})
	return w.c.query(ctx, func(r row) bool {
		w.tombstones[prefix(r.blob(0))] = struct{}{}
		return true
	}, sqlTombstones)
}

func prefix(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

// perStatement is how many rows one statement looks up or inserts. Fewer cost
// more calls, more cost memory; a short list is filled up with its last entry.
const perStatement = 32

// placeholders returns perStatement groups for VALUES or IN.
func placeholders(group string) string {
	return strings.TrimSuffix(strings.Repeat(group+",", perStatement), ",")
}

// inChunks calls run with the arguments of perStatement rows at a time, after
// the leading ones.
func inChunks[T any](leading []any, rows []T, args func([]any, T) []any, run func([]any) error) error {
	var buf []any
	for len(rows) > 0 {
		n := min(len(rows), perStatement)
		buf = append(buf[:0], leading...)
		for i := range perStatement {
			buf = args(buf, rows[min(i, n-1)])
		}
		if err := run(buf); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

var sqlKnown = `SELECT id, seq FROM event WHERE id IN (` + placeholders("?") + `)`

// Known implements store.Archive. It looks through the writer's eyes, whose
// cache of the index stays warm; another connection's is thrown away with every
// commit.
func (db *DB) Known(ctx context.Context, refs []nostr.Ref) ([]store.Seq, error) {
	seqs := make([]store.Seq, len(refs))
	// In the order of the index, so that neighbours share its pages.
	order := make([]int, len(refs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(refs[a].ID[:], refs[b].ID[:]) })
	look := func(c *conn) error {
		clear(seqs)
		rest := order
		return inChunks(nil, order, func(args []any, i int) []any { return append(args, refs[i].ID[:]) }, func(args []any) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			chunk := rest[:min(len(rest), perStatement)]
			rest = rest[len(chunk):]
			return c.each(func(r row) bool {
				id := r.blob(0)
				at, _ := slices.BinarySearchFunc(chunk, id, func(i int, id []byte) int { return bytes.Compare(refs[i].ID[:], id) })
				for ; at < len(chunk) && bytes.Equal(refs[chunk[at]].ID[:], id); at++ {
					seqs[chunk[at]] = store.Seq(r.int(1))
				}
				return true
			}, sqlKnown, args...)
		})
	}
	var err error
	if db.writer == nil {
		err = db.read(ctx, look)
	} else {
		err = db.write(ctx, func(w *writer) error { return look(w.c) })
	}
	if err != nil {
		return nil, fmt.Errorf("look up ids: %w", err)
	}
	return seqs, nil
}

// SaveBatch implements store.Archive.
func (db *DB) SaveBatch(ctx context.Context, batch store.Batch) (store.Saved, error) {
	if db.writer == nil {
		return store.Saved{}, errReadOnly
	}
	var saved store.Saved
	var vanished bool
	err := db.writer.do(ctx, db.writer.ingest, func(w *writer) (err error) {
		s := saving{w: w, c: w.c, batch: &batch}
		err = s.save(ctx)
		saved, vanished = s.saved, s.vanished
		return err
	})
	if err == nil && vanished {
		err = db.purge(context.WithoutCancel(ctx))
	}
	if err != nil {
		return store.Saved{}, fmt.Errorf("save batch: %w", err)
	}
	return saved, nil
}

// saving is one SaveBatch under way.
type saving struct {
	w        *writer
	c        *conn
	batch    *store.Batch
	saved    store.Saved
	fresh    []int64        // numbers of new events
	created  []*nostr.Event // the new events
	newTerms []term
	known    []int64     // numbers of events that were there
	added    []int64     // numbers of events that the relay had no sighting of
	barred   []nostr.Ref // delivered, and not to be kept
	tally    *tally
	missing  bool // there may be ids missing at the relay
	poison   []store.Rejected
	vanished bool
	buf      []byte
}

func (s *saving) save(ctx context.Context) error {
	events := func() error { return s.events(ctx) }
	steps := []func() error{s.vanish, s.standing, events, s.terms, s.sightings, s.sums, s.quarantine, s.holes, s.claims}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

const (
	sqlAddEvent = `INSERT INTO event (` + eventColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`
	sqlSeqOf    = `SELECT seq FROM event WHERE id = ?`
)

func (s *saving) events(ctx context.Context) error {
	terms := len(s.w.terms)
	for i := range s.batch.Events {
		e := &s.batch.Events[i]
		if i%256 == 255 && ctx.Err() != nil {
			return ctx.Err()
		}
		refused, err := s.refuses(e)
		if err != nil {
			return err
		}
		if refused {
			s.saved.Refused = append(s.saved.Refused, e.ID)
			if !e.Kind.IsEphemeral() { // relays pass those on and do not have them
				s.bar(e)
			}
			continue
		}
		n, err := s.addEvent(e)
		if errors.Is(err, store.ErrUnstorable) {
			s.poison = append(s.poison, store.Rejected{Reason: reasonUnstorable, Raw: e.AppendJSON(nil)})
			s.bar(e)
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			s.saved.Known++
			if _, err := s.c.first(func(r row) { s.known = append(s.known, r.int(0)) }, sqlSeqOf, e.ID[:]); err != nil {
				return err
			}
			continue
		}
		s.saved.New++
		s.fresh, s.created = append(s.fresh, s.w.nextSeq), append(s.created, e)
		s.w.terms = appendTerms(s.w.terms, s.w.nextSeq, e)
		if e.Kind == store.KindDeletion {
			if err := s.w.addDeletions(s.w.nextSeq, e); err != nil {
				return err
			}
		}
		s.w.nextSeq++
	}
	s.newTerms = s.w.terms[terms:]
	return nil
}

func (s *saving) bar(e *nostr.Event) {
	s.barred = append(s.barred, e.Ref())
}

// addEvent returns 0 when the event is there already.
func (s *saving) addEvent(e *nostr.Event) (n int64, err error) {
	if !s.w.keep.Full(e.Kind) {
		return s.addIndexOnly(e)
	}
	var tags, content string
	var raw []byte
	if tags, content, raw, s.buf, err = store.EventText(e, s.buf); err != nil {
		return 0, err
	}
	var rawColumn any
	if raw != nil {
		rawColumn = raw
	}
	return s.c.exec(sqlAddEvent, s.w.nextSeq, e.ID[:], e.PubKey[:], e.CreatedAt, int64(e.Kind), s.batch.SeenAt, e.Sig[:], tags, content, rawColumn, nil, nil, nil)
}

// addIndexOnly is addEvent for a kind that is not kept whole. It refuses what a
// full archive cannot hold: both have the same events.
func (s *saving) addIndexOnly(e *nostr.Event) (n int64, err error) {
	if err := store.Storable(e); err != nil {
		return 0, err
	}
	tagh, d, expires := indexColumns(store.IndexOf(e))
	return s.c.exec(sqlAddEvent, s.w.nextSeq, e.ID[:], e.PubKey[:], e.CreatedAt, int64(e.Kind), s.batch.SeenAt, []byte{}, "", "", nil, tagh, d, expires)
}

// reasonUnstorable says of a rejected row that the backend cannot hold it.
const reasonUnstorable = "unstorable"

const sqlTombstone = `SELECT until FROM tombstone WHERE target = ?`

// refuses tells whether an event is kept out.
func (s *saving) refuses(e *nostr.Event) (bool, error) {
	if e.Kind.IsEphemeral() && !s.batch.Ephemeral {
		return true, nil
	}
	buried := func(target []byte, at int64) (found bool, err error) {
		if _, maybe := s.w.tombstones[prefix(target)]; maybe {
			_, err = s.c.first(func(r row) { found = at <= r.int(0) }, sqlTombstone, target)
		}
		return found, err
	}
	if e.Kind != store.KindVanish {
		if found, err := buried(e.PubKey[:], e.CreatedAt); found || err != nil {
			return found, err
		}
	}
	return buried(e.ID[:], e.CreatedAt)
}

const sqlAddDeletion = `INSERT INTO deletion (h, author, created_at, seq) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`

// addDeletions notes what a kind 5 event asks to forget.
func (w *writer) addDeletions(seq int64, e *nostr.Event) error {
	for _, h := range store.DeletionHashes(e) {
		if _, err := w.c.exec(sqlAddDeletion, h, int64(prefix(e.PubKey[:])), e.CreatedAt, seq); err != nil {
			return err
		}
	}
	return nil
}

var sqlAddTerms = `INSERT INTO term_new (h, created_at, seq, kind) VALUES ` + placeholders("(?, ?, ?, ?)") + ` ON CONFLICT DO NOTHING`

func (s *saving) terms() error {
	return inChunks(nil, s.newTerms, termArgs, func(args []any) error {
		_, err := s.c.exec(sqlAddTerms, args...)
		return err
	})
}

func termArgs(args []any, t term) []any { return append(args, t.h, t.at, t.seq, t.kind) }

var sqlAddSightings = `INSERT INTO sighting (relay_id, event_seq, seen_at) SELECT ?, column1, ? FROM (VALUES ` +
	placeholders("(?)") + `) WHERE true ON CONFLICT DO NOTHING`

// appendSteps appends ascending numbers as varints of their differences.
func appendSteps(b []byte, seqs []int64) []byte {
	last := int64(0)
	for _, s := range seqs {
		b = binary.AppendUvarint(b, uint64(s-last))
		last = s
	}
	return b
}

// steps reads what appendSteps wrote.
func steps(b []byte) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		last := int64(0)
		for len(b) > 0 {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return
			}
			b = b[n:]
			last += int64(v)
			if !yield(last) {
				return
			}
		}
	}
}

const (
	sqlQuarantined      = `SELECT 1 FROM quarantine WHERE relay_id = ? AND digest = ?`
	sqlAddQuarantine    = `INSERT INTO quarantine (relay_id, digest, reason, at, raw) VALUES (?, ?, ?, ?, ?)`
	sqlQuarantineCount  = `SELECT kept, dropped FROM quarantine_count WHERE relay_id = ?`
	sqlQuarantineCounts = `INSERT INTO quarantine_count (relay_id, kept, dropped) VALUES (?, ?, ?)
		ON CONFLICT (relay_id) DO UPDATE SET kept = excluded.kept, dropped = excluded.dropped`
)

func (s *saving) quarantine() error {
	rejected := slices.Concat(s.batch.Rejected, s.poison)
	if len(rejected) == 0 {
		return nil
	}
	relay := int64(s.batch.Relay)
	var kept, dropped int64
	if _, err := s.c.first(func(r row) { kept, dropped = r.int(0), r.int(1) }, sqlQuarantineCount, relay); err != nil {
		return err
	}
	for _, r := range rejected {
		raw := r.Raw[:min(len(r.Raw), store.MaxRejected)]
		sum := sha256.Sum256(slices.Concat([]byte(r.Reason), []byte{0}, raw))
		digest := int64(prefix(sum[:]))
		found, err := s.c.first(func(row) {}, sqlQuarantined, relay, digest)
		switch {
		case err != nil:
			return err
		case found:
		case kept >= store.MaxQuarantine:
			dropped++
		default:
			if raw == nil {
				raw = []byte{}
			}
			if _, err := s.c.exec(sqlAddQuarantine, relay, digest, store.Substitute(r.Reason), s.batch.SeenAt, raw); err != nil {
				return err
			}
			kept++
		}
	}
	_, err := s.c.exec(sqlQuarantineCounts, relay, kept, dropped)
	return err
}

// scanSpan is how many rows a scan looks at in one statement.
const scanSpan = 20000

// bounds returns the times between which a filter looks.
func bounds(f *nostr.Filter) (since, until int64) {
	since, until = math.MinInt64, math.MaxInt64
	if f.Since != nil {
		since = *f.Since
	}
	if f.Until != nil {
		until = *f.Until
	}
	return since, until
}

// The filter's since, until and kinds are cheap to check here; the rest is left
// to the filter itself.
const sqlScanEvents = `
SELECT ` + eventColumns + ` FROM event
WHERE seq > ?1 AND seq <= ?2 AND created_at >= ?3 AND created_at <= ?4
AND (?5 = '' OR kind IN (SELECT value FROM json_each(?5)))
ORDER BY seq LIMIT ?6`

// Head implements store.EventScanner.
func (db *DB) Head(ctx context.Context) (store.Cursor, error) {
	at, last, err := db.startScan(ctx, "")
	if err != nil {
		return "", fmt.Errorf("read the head: %w", err)
	}
	at.seq = last
	return at.Cursor(), nil
}

// ScanEvents implements store.Archive. It ends at the event that was the last
// when it began.
func (db *DB) ScanEvents(ctx context.Context, after store.Cursor, filter nostr.Filter) iter.Seq2[store.Scanned, error] {
	return func(yield func(store.Scanned, error) bool) {
		fail := func(err error) { yield(store.Scanned{}, fmt.Errorf("scan events: %w", err)) }
		at, last, err := db.startScan(ctx, after)
		if err != nil {
			fail(err)
			return
		}
		left := -1
		if filter.Limit != nil {
			left = max(*filter.Limit, 0)
		}
		since, until := bounds(&filter)
		wanted := store.Matcher{Filter: filter}
		for at.seq < last && left != 0 {
			if err := ctx.Err(); err != nil {
				fail(err)
				return
			}
			page, next, err := db.scanPage(ctx, at.seq, min(at.seq+scanSpan, last), since, until, kindList(filter.Kinds))
			if err != nil {
				fail(err)
				return
			}
			at.seq = next
			for _, s := range page {
				if left == 0 {
					return
				}
				if !wanted.Matches(&s) {
					continue
				}
				left--
				if !yield(store.Scanned{Stored: s.Stored, Cursor: at.to(s.Seq)}, nil) {
					return
				}
			}
		}
	}
}

// scanRows is how many events a scan holds in memory, scanBytes about how large
// they may be together.
const (
	scanRows  = 500
	scanBytes = 4 << 20
)

func (db *DB) scanPage(ctx context.Context, after, last, since, until int64, kinds string) (page []store.Record, next int64, err error) {
	size := 0
	next = last
	err = db.read(ctx, func(c *conn) error {
		var bad error
		err := c.query(ctx, func(r row) bool {
			var s store.Record
			if s, bad = scanEvent(r); bad != nil {
				return false
			}
			page = append(page, s)
			size += len(r.text(7)) + len(r.text(8)) + len(r.blob(9)) + len(r.blob(10))
			if len(page) == scanRows || size > scanBytes {
				next = int64(s.Seq)
				return false
			}
			return true
		}, sqlScanEvents, after, last, since, until, kinds, int64(scanRows))
		return errors.Join(err, bad)
	})
	return page, next, err
}

// kindList is kinds as a JSON array, empty for any.
func kindList(kinds []nostr.Kind) string {
	if len(kinds) == 0 {
		return ""
	}
	return numberList(kinds)
}

// numberList is numbers as a JSON array, for json_each.
func numberList[T ~int64](numbers []T) string {
	b := append(make([]byte, 0, 2+20*len(numbers)), '[')
	for i, n := range numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(append(b, ']'))
}

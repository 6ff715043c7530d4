package sqlite

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

const (
	// maxPage is the largest page of a query.
	maxPage = 1000
	// pageBytes is about how large the events of a page may be together; a page
	// of large ones is shorter.
	pageBytes = 16 << 20
	// maxStreams is how many places of an index are read side by side. A
	// filter with more authors or values reads the whole time line instead.
	maxStreams = 20000
)

// Events implements store.EventReader. A page may be shorter than its limit
// although more follow.
func (db *DB) Events(ctx context.Context, q store.EventQuery) (events []store.Stored, next store.Cursor, err error) {
	err = db.read(ctx, func(c *conn) (err error) {
		events, next, err = c.events(ctx, q)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read events: %w", err)
	}
	return events, next, nil
}

func (c *conn) events(ctx context.Context, q store.EventQuery) ([]store.Stored, store.Cursor, error) {
	var words []string
	if q.Filter.Search != "" {
		var err error
		if words, err = c.searchWords(ctx, q.Filter.Search); err != nil {
			return nil, "", err
		}
	}
	after, err := store.ParsePosition(q.After)
	if err != nil || q.Limit <= 0 {
		return nil, "", err
	}
	q.Limit = min(q.Limit, maxPage)
	if !q.Private() && len(q.Filter.Kinds) > 0 {
		if q.Filter.Kinds = slices.DeleteFunc(slices.Clone(q.Filter.Kinds), store.Private); len(q.Filter.Kinds) == 0 {
			return nil, "", nil
		}
	}
	p := page{c: c, q: &q, after: after, wanted: store.Matcher{Filter: q.Filter}}
	var found source
	switch byWords, planned := c.wordsFirst(ctx, &q.Filter, words, after); {
	case planned != nil:
		return nil, "", planned
	case len(q.Filter.IDs) > 0:
		found, err = c.byID(ctx, &q.Filter)
	case byWords:
		since, until := stretch(&q.Filter, after)
		found, err = c.byWords(ctx, words, since, until, int64(min(max(2*q.Limit, 16), 256)))
		p.wanted.Filter.Search = "" // the index tells that exactly
	default:
		found, err = c.plan(ctx, &q.Filter, after, q.Limit)
	}
	if err != nil {
		return nil, "", err
	}
	for more := true; more && !p.full; {
		// One snapshot for the many small reads: each alone would lock anew. One
		// event more than are wanted tells that the second of the last is over.
		if err := c.snapshot(func() error {
			records, err := found.next(ctx, min(max(q.Limit-len(p.events)+1, 16), 256))
			if more = len(records) > 0; err != nil || !more {
				return err
			}
			return p.take(ctx, records)
		}); err != nil {
			return nil, "", err
		}
	}
	if !p.full {
		p.flush()
	}
	if !p.full {
		return p.events, "", nil
	}
	last := p.events[len(p.events)-1].Event
	return p.events, store.Position{At: last.CreatedAt, ID: last.ID}.Cursor(), nil
}

// page collects events. Those of one second come in any order and are kept
// apart until the second is over, the lowest ids of it only.
type page struct {
	c      *conn
	q      *store.EventQuery
	after  *store.Position
	wanted store.Matcher
	events []store.Stored
	size   int
	second []store.Stored // sorted by id
	cut    bool           // something of the second did not fit
	full   bool
}

// take keeps of events, which are of falling time, what the query asks for.
func (p *page) take(ctx context.Context, records []store.Record) (err error) {
	records = slices.DeleteFunc(records, func(s store.Record) bool { return !p.wants(&s) })
	var deleted map[store.Seq]bool
	if p.q.Public {
		if deleted, err = p.c.deleted(ctx, records); err != nil {
			return err
		}
	}
	for i := range records {
		s := &records[i]
		if len(p.second) > 0 && p.second[0].Event.CreatedAt != s.Event.CreatedAt {
			if p.flush(); p.full {
				return nil
			}
		}
		if deleted[s.Seq] {
			continue
		}
		at, _ := slices.BinarySearchFunc(p.second, s.Event.ID, func(a store.Stored, id nostr.ID) int { return bytes.Compare(a.Event.ID[:], id[:]) })
		p.second = slices.Insert(p.second, at, s.Stored)
		p.trim()
	}
	return nil
}

// source has events of falling time.
type source interface {
	// next returns the next ones, about n at most, and none at the end.
	next(ctx context.Context, n int) ([]store.Record, error)
}

// line is the events of one place of an index: of all of them the rows are read
// with it.
type line struct {
	c     *conn
	sql   string
	key   []any
	since int64
	last  hit
	done  bool
}

func (l *line) next(ctx context.Context, n int) (records []store.Record, err error) {
	if err := ctx.Err(); err != nil || l.done {
		return nil, err
	}
	size := 0
	l.done = true
	var bad error
	err = l.c.each(func(r row) bool {
		var s store.Record
		if s, bad = scanEvent(r); bad != nil {
			return false
		}
		records = append(records, s)
		size += s.Weight()
		l.last = hit{s.Event.CreatedAt, int64(s.Seq)}
		l.done = len(records) < n && size <= pageBytes
		return l.done
	}, l.sql, append([]any{l.since, l.last.at, l.last.seq, int64(n)}, l.key...)...)
	return records, errors.Join(err, bad)
}

// next implements source.
func (m *merged) next(ctx context.Context, n int) ([]store.Record, error) {
	for {
		hits, err := m.hits(ctx, n)
		if err != nil || len(hits) == 0 {
			return nil, err
		}
		rows, err := m.c.eventsOf(hits)
		if err != nil {
			return nil, err
		}
		records := make([]store.Record, 0, len(rows))
		for _, h := range hits {
			if s, found := rows[h.seq]; found { // else deleted meanwhile
				records = append(records, s)
			}
			delete(rows, h.seq) // a hit may come twice
		}
		if len(records) > 0 {
			return records, nil
		}
	}
}

// eventsOf reads events, by their number and in its order: neighbours of a time
// have often come together, and share pages of the file then.
func (c *conn) eventsOf(hits []hit) (map[int64]store.Record, error) {
	seqs := make([]int64, len(hits))
	for i, h := range hits {
		seqs[i] = h.seq
	}
	slices.Sort(seqs)
	rows := make(map[int64]store.Record, len(hits))
	err := inChunks(nil, seqs, func(args []any, seq int64) []any { return append(args, seq) }, func(args []any) error {
		var bad error
		err := c.each(func(r row) bool {
			var s store.Record
			s, bad = scanEvent(r)
			rows[int64(s.Seq)] = s
			return bad == nil
		}, sqlEventsBySeq, args...)
		return errors.Join(err, bad)
	})
	return rows, err
}

// trim drops of a second what cannot come on this page.
func (p *page) trim() {
	size := p.size
	for i := range p.second {
		size += p.second[i].Weight()
		if len(p.events)+i >= p.q.Limit || i > 0 && size > pageBytes {
			p.second, p.cut = p.second[:i], true
			return
		}
	}
}

// flush puts a second that is over on the page.
func (p *page) flush() {
	for i := range p.second {
		p.size += p.second[i].Weight()
	}
	p.events = append(p.events, p.second...)
	p.second = p.second[:0]
	p.full = p.cut || len(p.events) >= p.q.Limit || p.size > pageBytes
}

// wants tells whether the query asks for an event, if its author has not deleted
// it.
func (p *page) wants(a *store.Record) bool {
	return p.after.Before(&a.Event) && p.wanted.Matches(a) && !p.q.Withholds(a)
}

const (
	// Few are asked for by anybody, so that the others take one look together.
	sqlAskedFor  = `SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM deletion WHERE h = value)`
	sqlDeletions = `SELECT seq FROM deletion WHERE h = ? AND author = ? AND created_at >= ? ORDER BY created_at DESC LIMIT 1`
)

// deleted tells which events their authors asked to forget (NIP-09).
func (c *conn) deleted(ctx context.Context, records []store.Record) (map[store.Seq]bool, error) {
	ways := make([][]store.Deletion, len(records))
	var hashes []int64
	for i := range records {
		ways[i] = store.DeletionsOf(&records[i])
		for _, way := range ways[i] {
			hashes = append(hashes, way.Hash)
		}
	}
	asked := map[int64]bool{}
	if err := c.query(ctx, func(r row) bool {
		asked[r.int(0)] = true
		return true
	}, sqlAskedFor, numberList(hashes)); err != nil || len(asked) == 0 {
		return nil, err
	}
	deleted := map[store.Seq]bool{}
	for i := range records {
		for _, way := range ways[i] {
			if !asked[way.Hash] {
				continue
			}
			found, err := c.askedBy(ctx, records[i].Event.PubKey, way)
			if err != nil {
				return nil, err
			}
			if found {
				deleted[records[i].Seq] = true
			}
		}
	}
	return deleted, nil
}

// askedBy tells whether an author has deleted an event in a way.
func (c *conn) askedBy(ctx context.Context, author nostr.PubKey, way store.Deletion) (bool, error) {
	var seq int64
	found, err := c.one(ctx, func(r row) { seq = r.int(0) }, sqlDeletions, way.Hash, int64(prefix(author[:])), way.Since)
	if !found || err != nil {
		return false, err
	}
	var request store.Record
	var bad error
	found, err = c.one(ctx, func(r row) { request, bad = scanEvent(r) }, sqlEventBySeq, seq)
	if err = errors.Join(err, bad); err != nil || !found {
		return false, err
	}
	return way.AskedFor(author, &request), nil
}

const sqlEventBySeq = `SELECT ` + eventColumns + ` FROM event WHERE seq = ?`

var sqlEventsBySeq = `SELECT ` + eventColumns + ` FROM event WHERE seq IN (` + placeholders("?") + `)`

// hit is an event that an index names.
type hit struct{ at, seq int64 }

// order is that of the indexes, newest first.
func (h hit) order(o hit) int { return cmp.Or(cmp.Compare(o.at, h.at), cmp.Compare(o.seq, h.seq)) }

// stream reads hits from one place of an index, a few at a time.
type stream struct {
	sql   string
	key   []any
	since int64
	last  hit
	chunk int64
	buf   []hit
	done  bool // nothing behind buf
}

func (s *stream) fill(ctx context.Context, c *conn) error {
	if len(s.buf) > 0 || s.done {
		return nil
	}
	s.buf = s.buf[:0]
	args := append([]any{s.since, s.last.at, s.last.seq, s.chunk}, s.key...)
	if err := c.query(ctx, func(r row) bool {
		s.buf = append(s.buf, hit{r.int(0), r.int(1)})
		return true
	}, s.sql, args...); err != nil {
		return err
	}
	s.done = int64(len(s.buf)) < s.chunk
	if len(s.buf) > 0 {
		s.last = s.buf[len(s.buf)-1]
	}
	s.chunk = min(2*s.chunk, 512)
	return nil
}

// merged is the hits of several streams in order.
type merged struct {
	c       *conn
	streams []*stream // a heap by first hit
	last    hit       // given by next; one that several streams have is given once
}

func (m *merged) Len() int { return len(m.streams) }
func (m *merged) Less(i, j int) bool {
	return m.streams[i].buf[0].order(m.streams[j].buf[0]) < 0
}
func (m *merged) Swap(i, j int) { m.streams[i], m.streams[j] = m.streams[j], m.streams[i] }
func (m *merged) Push(x any)    { m.streams = append(m.streams, x.(*stream)) }
func (m *merged) Pop() any {
	last := m.streams[len(m.streams)-1]
	m.streams = m.streams[:len(m.streams)-1]
	return last
}

func (c *conn) merge(ctx context.Context, streams []*stream) (*merged, error) {
	m := &merged{c: c}
	for _, s := range streams {
		if err := s.fill(ctx, c); err != nil {
			return nil, err
		}
		if len(s.buf) > 0 {
			m.streams = append(m.streams, s)
		}
	}
	heap.Init(m)
	return m, nil
}

// hits returns up to n hits, none at the end.
func (m *merged) hits(ctx context.Context, n int) ([]hit, error) {
	var hits []hit
	for len(hits) < n && len(m.streams) > 0 {
		s := m.streams[0]
		if h := s.buf[0]; h != m.last {
			hits = append(hits, h)
			m.last = h
		}
		s.buf = s.buf[1:]
		if err := s.fill(ctx, m.c); err != nil {
			return nil, err
		}
		if len(s.buf) == 0 {
			heap.Pop(m)
		} else {
			heap.Fix(m, 0)
		}
	}
	return hits, nil
}

// Arguments of every stream: since, time and number of the last hit, how many,
// and its key.
const (
	sqlByTime = `SELECT ` + eventColumns + ` FROM event INDEXED BY event_time
		WHERE created_at >= ?1 AND (created_at, seq) < (?2, ?3) ORDER BY created_at DESC, seq DESC LIMIT ?4`
	sqlOfKind = `SELECT ` + eventColumns + ` FROM event INDEXED BY event_kind
		WHERE kind = ?5 AND created_at >= ?1 AND (created_at, seq) < (?2, ?3) ORDER BY created_at DESC, seq DESC LIMIT ?4`
	sqlByKind = `SELECT created_at, seq FROM event INDEXED BY event_kind
		WHERE kind = ?5 AND created_at >= ?1 AND (created_at, seq) < (?2, ?3) ORDER BY created_at DESC, seq DESC LIMIT ?4`
	sqlByTerm = `SELECT created_at, seq FROM term
		WHERE h = ?5 AND created_at >= ?1 AND (created_at, seq) < (?2, ?3) AND (?6 = '' OR kind IN (SELECT value FROM json_each(?6)))
		ORDER BY created_at DESC, seq DESC LIMIT ?4`
	sqlNewTerms = `SELECT created_at, seq FROM term_new
		WHERE created_at >= ?1 AND created_at <= ?2 AND h IN (SELECT value FROM json_each(?3))
		AND (?4 = '' OR kind IN (SELECT value FROM json_each(?4)))`
)

// stretch returns the times between which a page looks.
func stretch(f *nostr.Filter, after *store.Position) (since, until int64) {
	since, until = bounds(f)
	if after != nil {
		until = min(until, after.At)
	}
	return since, until
}

// wordsFirst tells whether a page is to be found by the words of a search. Where
// another condition finds a few events, these are read for the words.
func (c *conn) wordsFirst(ctx context.Context, f *nostr.Filter, words []string, after *store.Position) (bool, error) {
	if words == nil || len(f.IDs) > 0 {
		return false, nil
	}
	since, until := stretch(f, after)
	hashes, err := c.terms(ctx, f, since, until)
	if err != nil || hashes == nil {
		return err == nil, err
	}
	n, err := c.estimate(ctx, hashes, since, until)
	return n >= estimateRows, err
}

// plan chooses the index for a filter without ids.
func (c *conn) plan(ctx context.Context, f *nostr.Filter, after *store.Position, limit int) (source, error) {
	since, until := stretch(f, after)
	kinds := kindList(f.Kinds)
	hashes, err := c.terms(ctx, f, since, until)
	if err != nil {
		return nil, err
	}
	var streams []*stream
	add := func(sql string, n int, key ...any) {
		streams = append(streams, &stream{
			sql: sql, key: key, since: since, last: hit{until, math.MaxInt64},
			chunk: int64(min(max(2*limit/n, 2), 256)),
		})
	}
	switch {
	case hashes != nil:
		arrived, err := c.newTerms(ctx, hashes, since, until, kinds)
		if err != nil {
			return nil, err
		}
		streams = append(streams, arrived)
		for _, h := range hashes {
			add(sqlByTerm, len(hashes), h, kinds)
		}
	case len(f.Kinds) == 1:
		return &line{c: c, sql: sqlOfKind, key: []any{int64(f.Kinds[0])}, since: since, last: hit{until, math.MaxInt64}}, nil
	case len(f.Kinds) > 0 && len(f.Kinds) <= maxStreams:
		for _, k := range f.Kinds {
			add(sqlByKind, len(f.Kinds), int64(k))
		}
	default:
		return &line{c: c, sql: sqlByTime, since: since, last: hit{until, math.MaxInt64}}, nil
	}
	return c.merge(ctx, streams)
}

// newTerms reads the hits that no merge has moved yet. It has to come before
// the first look into the merged index.
func (c *conn) newTerms(ctx context.Context, hashes []int64, since, until int64, kinds string) (*stream, error) {
	s := &stream{done: true}
	if err := c.query(ctx, func(r row) bool {
		s.buf = append(s.buf, hit{r.int(0), r.int(1)})
		return true
	}, sqlNewTerms, since, until, numberList(hashes), kinds); err != nil {
		return nil, err
	}
	slices.SortFunc(s.buf, hit.order)
	s.buf = slices.Compact(s.buf)
	return s, nil
}

// terms returns the terms of the most selective condition of a filter, nil when
// it names neither authors nor tags.
func (c *conn) terms(ctx context.Context, f *nostr.Filter, since, until int64) ([]int64, error) {
	var options [][]int64
	if n := len(f.Authors); n > 0 && n <= maxStreams {
		options = append(options, authorTerms(f))
	}
	for name, values := range f.Tags {
		if len(values) == 0 || len(values) > maxStreams || !store.Indexed(nostr.Tag{name, ""}) {
			continue
		}
		options = append(options, store.TagHashes(name, values))
	}
	if len(options) < 2 {
		return slices.Concat(options...), nil
	}
	best, least := options[0], math.MaxInt
	for _, hashes := range options {
		n, err := c.estimate(ctx, hashes, since, until)
		if err != nil {
			return nil, err
		}
		if n < least {
			best, least = hashes, n
		}
	}
	return best, nil
}

func authorTerms(f *nostr.Filter) []int64 {
	var hashes []int64
	pairs := len(f.Kinds) > 0 && len(f.Authors)*len(f.Kinds) <= maxStreams
	for _, k := range f.Kinds {
		pairs = pairs && paired(k)
	}
	for _, a := range f.Authors {
		if !pairs {
			hashes = append(hashes, authorHash(a))
			continue
		}
		for _, k := range f.Kinds {
			hashes = append(hashes, authorKindHash(a, k))
		}
	}
	return hashes
}

const (
	// estimateRows is how far an estimate counts, estimateTerms for how many
	// terms; the others are taken to be like these.
	estimateRows  = 200
	estimateTerms = 16
)

const sqlEstimate = `SELECT count(*) FROM (SELECT 1 FROM term WHERE h = ? AND created_at >= ? AND created_at <= ? LIMIT ?)`

// estimate says about how many events have one of the terms.
func (c *conn) estimate(ctx context.Context, hashes []int64, since, until int64) (int, error) {
	var n int64
	looked := hashes[:min(len(hashes), estimateTerms)]
	for _, h := range looked {
		if _, err := c.one(ctx, func(r row) { n += r.int(0) }, sqlEstimate, h, since, until, int64(estimateRows)); err != nil {
			return 0, err
		}
	}
	return int(n) * len(hashes) / len(looked), nil
}

// byID finds the events of a filter that names ids.
func (c *conn) byID(ctx context.Context, f *nostr.Filter) (*merged, error) {
	s := &stream{done: true}
	if err := inChunks(nil, f.IDs, func(args []any, id nostr.ID) []any { return append(args, id[:]) }, func(args []any) error {
		return c.query(ctx, func(r row) bool {
			s.buf = append(s.buf, hit{r.int(0), r.int(1)})
			return true
		}, sqlByID, args...)
	}); err != nil {
		return nil, err
	}
	slices.SortFunc(s.buf, hit.order)
	s.buf = slices.Compact(s.buf)
	return c.merge(ctx, []*stream{s})
}

var sqlByID = `SELECT created_at, seq FROM event WHERE id IN (` + placeholders("?") + `)`

const sqlEventRelays = `
	SELECT r.url, s.seen_at, s.gone_at FROM sighting s INDEXED BY sighting_event JOIN relay r ON r.id = s.relay_id
	WHERE s.event_seq = ? ORDER BY max(s.seen_at, ~s.seen_at), r.url`

// EventRelays implements store.EventReader.
func (db *DB) EventRelays(ctx context.Context, id nostr.ID) ([]store.Carried, error) {
	var relays []store.Carried
	err := db.read(ctx, func(c *conn) error {
		var seq int64
		found, err := c.one(ctx, func(r row) { seq = r.int(0) }, sqlSeqOf, id[:])
		if err != nil {
			return err
		}
		if !found {
			return store.ErrNotFound
		}
		var bad error
		err = c.query(ctx, func(r row) bool {
			one := store.Carried{GoneAt: r.int(2)}
			one.SeenAt, one.Claimed = seenAt(r.int(1))
			one.URL, bad = store.ParseURL(r.text(0))
			relays = append(relays, one)
			return bad == nil
		}, sqlEventRelays, seq)
		return errors.Join(err, bad)
	})
	if err != nil {
		return nil, fmt.Errorf("read relays of an event: %w", err)
	}
	return relays, nil
}

// seenAt reads the column seen_at, which is negative for what was claimed.
func seenAt(v int64) (at int64, claimed bool) { return max(v, ^v), v < 0 }

const (
	// The newest are looked at first, and never more than so many.
	sqlAuthorsAt = `SELECT DISTINCT e.pubkey FROM (SELECT event_seq FROM sighting WHERE relay_id = ?1 AND gone_at IS NULL ORDER BY event_seq DESC LIMIT ?2) s
		JOIN event e ON e.seq = s.event_seq LIMIT ?3`
	sqlAuthors = `SELECT DISTINCT pubkey FROM (SELECT pubkey FROM event ORDER BY created_at DESC LIMIT ?1) LIMIT ?2`
)

// Authors implements store.EventReader.
func (db *DB) Authors(ctx context.Context, relay store.RelayID, limit int) (authors []nostr.PubKey, err error) {
	scan := func(r row) nostr.PubKey { return nostr.PubKey(r.blob(0)) }
	if relay == 0 {
		authors, err = list(ctx, db, scan, sqlAuthors, int64(store.MaxLooked), int64(limit))
	} else {
		authors, err = list(ctx, db, scan, sqlAuthorsAt, int64(relay), int64(store.MaxLooked), int64(limit))
	}
	if err != nil {
		return nil, fmt.Errorf("read authors: %w", err)
	}
	return authors, nil
}

const (
	sqlSummaries = `
		SELECT ` + relayColumns + `, r.name, r.software, r.version, r.nips, r.auth, r.payment, r.restricted,
			r.country, r.city, r.asn, r.org, r.lat, r.lon, r.open_ms, r.read_ms, r.checked_at, r.month_up, r.month_watched, r.open_p95, r.read_p95,
			coalesce((SELECT n FROM rollup_relay WHERE relay_id = r.id), 0),
			(SELECT count(*) FROM hole WHERE relay_id = r.id),
			coalesce((SELECT largest_page FROM calibration WHERE relay_id = r.id), 0),
			coalesce((SELECT due_at FROM work WHERE service = 'synchronizer' AND relay_id = r.id), r.promoted_at),
			coalesce((SELECT due_at FROM work WHERE service = 'monitor' AND relay_id = r.id), r.promoted_at),
			coalesce((SELECT sum(n) FROM relay_day WHERE relay_id = r.id), 0),
			(SELECT count(*) FROM missing WHERE relay_id = r.id AND hold = 3), (SELECT count(*) FROM missing WHERE relay_id = r.id AND hold = 4)
		FROM relay r
		WHERE r.url > ?1 AND (?2 = '' OR r.network = ?2) AND (?3 = '' OR r.state = ?3) AND r.kept_out = ''
		ORDER BY r.url LIMIT ?4`
	sqlRelayCoverage = `SELECT ` + coverageColumns + ` FROM coverage WHERE relay_id = ? ORDER BY filter_id, lo`
	sqlClaims        = `SELECT ` + coverageColumns + ` FROM coverage WHERE relay_id IN (SELECT value FROM json_each(?)) ORDER BY relay_id, filter_id, lo`
	sqlClaimPage     = `SELECT ` + coverageColumns + ` FROM coverage WHERE relay_id = ? AND (filter_id, lo) > (?, ?) ORDER BY filter_id, lo LIMIT ?`
	sqlHolePage      = `SELECT relay_id, filter_id, lo, hi, kind, reason, n, seen_at, next_try FROM hole WHERE relay_id = ? AND (filter_id, lo, hi, kind) > (?, ?, ?, ?) ORDER BY filter_id, lo, hi, kind LIMIT ?`
	sqlRelayHoles    = `SELECT relay_id, filter_id, lo, hi, kind, reason, n, seen_at, next_try FROM hole WHERE relay_id = ? ORDER BY filter_id, lo, hi, kind`
)

// openFilter is the number of the filter of all events, 0 while it has none.
func (c *conn) openFilter(ctx context.Context) (id store.FilterID, err error) {
	_, err = c.one(ctx, func(r row) { id = store.FilterID(r.int(0)) }, sqlFilterID, store.FilterText(nostr.Filter{}))
	return id, err
}

// RelaySummaries implements store.RelayReader.
func (db *DB) RelaySummaries(ctx context.Context, q store.RelayQuery) ([]store.RelaySummary, error) {
	if q.Limit <= 0 {
		return nil, nil
	}
	var summaries []store.RelaySummary
	err := db.read(ctx, func(c *conn) error {
		var bad error
		if err := c.query(ctx, func(r row) bool {
			s := store.RelaySummary{
				Introduction: store.Introduction{
					Name: r.text(11), Software: r.text(12), Version: r.text(13), NIPs: store.ParseNIPs(r.text(14)),
					Auth: r.bool(15), Payment: r.bool(16), Restricted: r.bool(17),
				},
				Location: store.Location{Country: r.text(18), City: r.text(19), ASN: r.int(20), Org: r.text(21), Lat: r.float(22), Lon: r.float(23)},
				OpenMS:   r.float(24), ReadMS: r.float(25), CheckedAt: r.int(26),
				Month:   store.Share{Up: r.float(27), Watched: r.int(28)},
				OpenP95: r.float(29), ReadP95: r.float(30),
				Events: r.int(31), Holes: int(r.int(32)), MaxLimit: int(r.int(33)), SyncDue: r.int(34), CheckDue: r.int(35),
				Named: r.int(36), Withheld: r.int(37), Refused: r.int(38),
			}
			s.Relay, bad = scanRelay(r)
			summaries = append(summaries, s)
			return bad == nil
		}, sqlSummaries, q.After, string(q.Network), string(q.State), int64(min(q.Limit, maxPage))); err != nil || bad != nil {
			return errors.Join(err, bad)
		}
		ids := make([]store.RelayID, len(summaries))
		for i := range summaries {
			ids[i] = summaries[i].ID
		}
		costs, err := c.costs(ctx, ids)
		if err != nil {
			return err
		}
		all, open, err := c.claimsOf(ctx, ids)
		if err != nil {
			return err
		}
		claims := make(map[store.RelayID][]store.Coverage)
		for _, one := range all {
			claims[one.Relay] = append(claims[one.Relay], one)
		}
		for i := range summaries {
			summaries[i].Cost = costs[ids[i]]
			summaries[i].Summarize(claims[ids[i]], open)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read relays: %w", err)
	}
	return summaries, nil
}

// claimsOf reads the claims of several relays, and which filter is that of all
// events.
func (c *conn) claimsOf(ctx context.Context, relays []store.RelayID) (claims []store.Coverage, open store.FilterID, err error) {
	ids, err := json.Marshal(relays)
	if err != nil {
		return nil, 0, err
	}
	err = c.snapshot(func() (err error) {
		if open, err = c.openFilter(ctx); err != nil {
			return err
		}
		return c.query(ctx, func(r row) bool {
			claims = append(claims, scanCoverage(r))
			return true
		}, sqlClaims, string(ids))
	})
	return claims, open, err
}

// Claims implements store.RelayReader.
func (db *DB) Claims(ctx context.Context, relays []store.RelayID) (claims map[store.RelayID][]store.Coverage, err error) {
	err = db.read(ctx, func(c *conn) error {
		all, open, err := c.claimsOf(ctx, relays)
		claims = store.CountedOf(all, open)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read claims: %w", err)
	}
	return claims, nil
}

// RelayCoverage implements store.RelayReader.
func (db *DB) RelayCoverage(ctx context.Context, id store.RelayID) ([]store.Coverage, []store.Hole, error) {
	claims, err := list(ctx, db, scanCoverage, sqlRelayCoverage, int64(id))
	if err != nil {
		return nil, nil, fmt.Errorf("read coverage: %w", err)
	}
	holes, err := list(ctx, db, scanHole, sqlRelayHoles, int64(id))
	if err != nil {
		return nil, nil, fmt.Errorf("read holes: %w", err)
	}
	return claims, holes, nil
}

// ClaimPage implements store.RelayReader.
func (db *DB) ClaimPage(ctx context.Context, id store.RelayID, after store.Cursor, limit int) ([]store.Coverage, store.Cursor, error) {
	p, err := store.ParseKey(after, 2)
	if err != nil || limit <= 0 {
		return nil, "", err
	}
	claims, err := list(ctx, db, scanCoverage, sqlClaimPage, int64(id), p[0], p[1], int64(limit)+1)
	if err != nil {
		return nil, "", fmt.Errorf("read claims: %w", err)
	}
	claims, next := store.PageOf(claims, limit)
	return claims, next, nil
}

// HolePage implements store.RelayReader.
func (db *DB) HolePage(ctx context.Context, id store.RelayID, after store.Cursor, limit int) ([]store.Hole, store.Cursor, error) {
	p, err := store.ParseKey(after, 4)
	if err != nil || limit <= 0 {
		return nil, "", err
	}
	holes, err := list(ctx, db, scanHole, sqlHolePage, int64(id), p[0], p[1], p[2], p[3], int64(limit)+1)
	if err != nil {
		return nil, "", fmt.Errorf("read holes: %w", err)
	}
	holes, next := store.PageOf(holes, limit)
	return holes, next, nil
}

// plausibleFrom is when Nostr began: 2020-11-01.
const plausibleFrom = 1604188800

const (
	sqlTotals = `
		SELECT coalesce((SELECT n FROM rollup_total WHERE name = 'events'), 0),
			coalesce((SELECT n FROM rollup_total WHERE name = 'sightings'), 0),
			(SELECT authors FROM rollup_total WHERE name = 'events'),
			(SELECT count(*) FROM candidate WHERE kept_out = ''),
			coalesce((SELECT min(created_at) FROM event WHERE created_at >= ?1 AND created_at <= ?2), 0),
			coalesce((SELECT max(created_at) FROM event WHERE created_at >= ?1 AND created_at <= ?2), 0),
			(SELECT count(*) FROM hole),
			coalesce((SELECT sum(n) FROM hole WHERE n > 0), 0),
			coalesce((SELECT sum(kept + dropped) FROM quarantine_count), 0)`
	sqlRelayTotals = `SELECT network, state, count(*) FROM relay WHERE kept_out = '' GROUP BY network, state ORDER BY network, state`
	sqlLevelTotals = `SELECT level, count(DISTINCT relay_id), CAST(min(total(hi - lo + 1), 9e18) AS INTEGER) FROM coverage WHERE filter_id = ? GROUP BY level ORDER BY level`
	sqlTops        = `SELECT max(hi), max(filter_id = ?) FROM coverage GROUP BY relay_id`
)

// Totals implements store.StatsReader.
func (db *DB) Totals(ctx context.Context, now int64) (store.Totals, error) {
	var t store.Totals
	err := db.read(ctx, func(c *conn) error {
		var authors *store.Distinct
		var bad error
		if _, err := c.one(ctx, func(r row) {
			t.Events, t.Sightings, t.Candidates = r.int(0), r.int(1), r.int(3)
			authors, bad = store.ParseDistinct(r.blob(2))
			t.Oldest, t.Newest, t.Holes, t.HoleEvents, t.Rejected = r.int(4), r.int(5), r.int(6), r.int(7), r.int(8)
		}, sqlTotals, int64(plausibleFrom), now+day); err != nil || bad != nil {
			return errors.Join(err, bad)
		}
		t.Authors = authors.Count()
		if err := c.query(ctx, func(r row) bool {
			t.Relays = append(t.Relays, store.RelayTotal{Network: relay.Network(r.text(0)), State: store.State(r.text(1)), Relays: r.int(2)})
			return true
		}, sqlRelayTotals); err != nil {
			return err
		}
		open, err := c.openFilter(ctx)
		if err != nil {
			return err
		}
		if err := c.query(ctx, func(r row) bool {
			t.Levels = append(t.Levels, store.LevelTotal{Level: store.Level(r.int(0)), Relays: r.int(1), Seconds: r.int(2)})
			return true
		}, sqlLevelTotals, int64(open)); err != nil {
			return err
		}
		var lags []int64
		if err := c.query(ctx, func(r row) bool {
			if lags = append(lags, max(now-r.int(0), 0)); r.int(1) == 0 {
				t.Partly++
			}
			return true
		}, sqlTops, int64(open)); err != nil {
			return err
		}
		if slices.Sort(lags); len(lags) > 0 {
			t.LagMedian, t.LagMax = lags[len(lags)/2], lags[len(lags)-1]
		}
		return nil
	})
	if err != nil {
		return store.Totals{}, fmt.Errorf("read totals: %w", err)
	}
	for _, name := range []string{db.path, db.path + "-wal"} {
		if st, err := os.Stat(name); err == nil {
			t.Bytes += st.Size()
		}
	}
	return t, nil
}

const (
	sqlKinds = `SELECT kind, n, authors FROM rollup_kind ORDER BY n DESC, kind LIMIT ?`
	sqlDays  = `SELECT day, n, authors FROM rollup_day WHERE day >= ? AND day <= ? ORDER BY day`
)

// Kinds implements store.StatsReader.
func (db *DB) Kinds(ctx context.Context, limit int) ([]store.KindTotal, error) {
	if limit <= 0 {
		return nil, nil
	}
	var kinds []store.KindTotal
	if err := db.authored(ctx, func(key, n, authors int64) {
		kinds = append(kinds, store.KindTotal{Kind: nostr.Kind(key), Events: n, Authors: authors})
	}, sqlKinds, int64(limit)); err != nil {
		return nil, fmt.Errorf("read kinds: %w", err)
	}
	return kinds, nil
}

// Days implements store.StatsReader.
func (db *DB) Days(ctx context.Context, lo, hi int64) ([]store.DayTotal, error) {
	var days []store.DayTotal
	if err := db.authored(ctx, func(key, n, authors int64) {
		days = append(days, store.DayTotal{Day: key, Events: n, Authors: authors})
	}, sqlDays, lo, hi); err != nil {
		return nil, fmt.Errorf("read days: %w", err)
	}
	return days, nil
}

const (
	sqlKindsOf = `SELECT kind, n FROM rollup_relay_kind WHERE relay_id = ? ORDER BY n DESC, kind LIMIT ?`
	sqlDaysOf  = `SELECT day, n FROM rollup_relay_day WHERE relay_id = ? AND day >= ? AND day <= ? ORDER BY day`
)

// RelayKinds implements store.StatsReader.
func (db *DB) RelayKinds(ctx context.Context, relay store.RelayID, limit int) ([]store.KindTotal, error) {
	if limit <= 0 {
		return nil, nil
	}
	kinds, err := list(ctx, db, func(r row) store.KindTotal {
		return store.KindTotal{Kind: nostr.Kind(r.int(0)), Events: r.int(1)}
	}, sqlKindsOf, int64(relay), int64(limit))
	if err != nil {
		return nil, fmt.Errorf("read kinds of a relay: %w", err)
	}
	return kinds, nil
}

// RelayDays implements store.StatsReader.
func (db *DB) RelayDays(ctx context.Context, relay store.RelayID, lo, hi int64) ([]store.DayTotal, error) {
	days, err := list(ctx, db, func(r row) store.DayTotal {
		return store.DayTotal{Day: r.int(0), Events: r.int(1)}
	}, sqlDaysOf, int64(relay), lo, hi)
	if err != nil {
		return nil, fmt.Errorf("read days of a relay: %w", err)
	}
	return days, nil
}

// An event is drawn by a place among the numbers: the first one from there. ?1
// is the relay, which the statements about all events do not ask for.
const (
	sqlEventSpan = `SELECT coalesce(min(seq), 0), coalesce(max(seq), 0), (SELECT n FROM rollup_total WHERE name = 'events') FROM event WHERE ?1 = 0`
	sqlSeenSpan  = `SELECT coalesce((SELECT min(event_seq) FROM sighting WHERE relay_id = ?1), 0), coalesce((SELECT max(event_seq) FROM sighting WHERE relay_id = ?1), 0),
		coalesce((SELECT n FROM rollup_relay WHERE relay_id = ?1), 0)`
	sqlDrawnEvents = `SELECT seq FROM event WHERE seq >= ?2 AND ?1 = 0 ORDER BY seq LIMIT ?3`
	sqlDrawnSeen   = `SELECT event_seq FROM sighting WHERE relay_id = ?1 AND event_seq >= ?2 AND gone_at IS NULL ORDER BY event_seq LIMIT ?3`
	sqlCarriers    = `SELECT relay_id FROM sighting INDEXED BY sighting_event WHERE event_seq = ? AND gone_at IS NULL ORDER BY relay_id`
)

// Carriers implements store.StatsReader.
func (db *DB) Carriers(ctx context.Context, relay store.RelayID, n int) ([][]store.RelayID, error) {
	if n <= 0 {
		return nil, nil
	}
	var carriers [][]store.RelayID
	err := db.read(ctx, func(c *conn) error {
		seqs, err := c.draw(ctx, int64(relay), int64(n))
		if err != nil {
			return err
		}
		carriers = make([][]store.RelayID, len(seqs))
		return c.snapshot(func() error {
			for i, seq := range seqs {
				if err := c.query(ctx, func(r row) bool {
					carriers[i] = append(carriers[i], store.RelayID(r.int(0)))
					return true
				}, sqlCarriers, seq); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read carriers: %w", err)
	}
	return carriers, nil
}

// draw returns the numbers of about n events, each once.
func (c *conn) draw(ctx context.Context, relay, n int64) ([]int64, error) {
	span, drawn := sqlEventSpan, sqlDrawnEvents
	if relay != 0 {
		span, drawn = sqlSeenSpan, sqlDrawnSeen
	}
	var lo, hi, all int64
	if _, err := c.one(ctx, func(r row) { lo, hi, all = r.int(0), r.int(1), r.int(2) }, span, relay); err != nil {
		return nil, err
	}
	var seqs []int64
	take := func(r row) bool {
		if seq := r.int(0); len(seqs) == 0 || seq > seqs[len(seqs)-1] {
			seqs = append(seqs, seq)
		}
		return true
	}
	if all <= n {
		err := c.query(ctx, take, drawn, relay, lo, n)
		return seqs, err
	}
	step := float64(hi-lo) / float64(n)
	for i := range n {
		if err := c.query(ctx, take, drawn, relay, lo+int64((float64(i)+0.5)*step), int64(1)); err != nil {
			return nil, err
		}
	}
	return seqs, nil
}

// authored reads sums with their authors.
func (db *DB) authored(ctx context.Context, each func(key, n, authors int64), sql string, args ...any) error {
	return db.read(ctx, func(c *conn) error {
		var bad error
		err := c.query(ctx, func(r row) bool {
			var authors *store.Distinct
			if authors, bad = store.ParseDistinct(r.blob(2)); bad != nil {
				return false
			}
			each(r.int(0), r.int(1), min(authors.Count(), r.int(1)))
			return true
		}, sql, args...)
		return errors.Join(err, bad)
	})
}

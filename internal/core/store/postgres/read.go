package postgres

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	// maxPage is the largest page of a query.
	maxPage = 1000
	// pageBytes is about how large the events of a page may be together; a page
	// of large ones is shorter.
	pageBytes = 16 << 20
	// maxRows is how many events one statement reads.
	maxRows = 256
	// maxStreamed is how many events the statements that merge streams may look
	// at: so many for each of a few authors, or fewer for each of many.
	maxStreamed = 4096
	// spanGrowth is how many times more periods a statement is about than the one
	// before, at most.
	spanGrowth = 8
	// sliceCost is how much one statement may cost by the planner's reckoning,
	// in whose units a page costs 1. What costs more is cut.
	sliceCost = 4000
	// collectCost is how much it may cost to collect all events of a tag at once.
	// About a quarter of it is to look into the partitions; above it the page is
	// sooner full when the newest of them are asked first.
	collectCost = 1000
	// The rows of the first slice that is cut, and of the largest.
	sliceRows    = 2000
	maxSliceRows = 1 << 17
	// tagConditions is how many conditions on tags the index is asked for.
	tagConditions = 3
)

// Events implements store.EventReader. A page may be shorter than its limit
// although more follow.
func (db *DB) Events(ctx context.Context, q store.EventQuery) (events []store.Stored, next store.Cursor, err error) {
	err = db.read(ctx, func(conn querier) error {
		events, next = nil, ""
		s, err := newSearch(q, time.Now())
		if err != nil || s == nil {
			return err
		}
		if s.words != nil {
			if on, err := searchable(ctx, conn); err != nil {
				return err
			} else if !on {
				return store.ErrNoSearch
			}
		}
		if err := s.run(ctx, conn); err != nil {
			return err
		}
		events = s.events
		if s.full {
			last := &events[len(events)-1].Event
			next = store.Position{At: last.CreatedAt, ID: last.ID}.Cursor()
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("read events: %w", err)
	}
	return events, next, nil
}

// search is the making of one page, from hi back in time to lo.
type search struct {
	q      store.EventQuery
	after  *store.Position
	wanted store.Matcher
	// sql finds the events of the filter, with args behind the arguments of every
	// search.
	sql  string
	args []any
	// tag has the values of the only condition on tags, when nothing but it is to
	// be found by an index and it has not been priced yet.
	tag []int64
	// costly says that what a statement takes is not bounded by the number of
	// events it returns, so that it is asked about short stretches of time.
	costly bool
	// bounded says that it is bounded all the same, by how many there are of the
	// tag altogether.
	bounded bool
	// starts are where periods begin, by which event is partitioned. They only
	// steer: an answer does not depend on them.
	starts []int64
	now    int64
	lo, hi int64  // what is still to be searched
	id     []byte // at hi only what has a higher id; empty: everything
	span   int    // how many periods a costly statement is about next
	// dear is what a statement may cost, rows how many events the next slice
	// spans when what costs more is cut.
	dear float64
	rows int
	// words are what the filter searches for, nil for nothing.
	words []string
	// bitmaps lets a costly statement read an index out of order, as tags need.
	bitmaps bool

	events []store.Stored
	size   int
	full   bool
}

// newSearch returns nil when nothing can be found.
func newSearch(q store.EventQuery, now time.Time) (*search, error) {
	var words []string
	if q.Filter.Search != "" {
		var err error
		if words, err = store.SearchWords(q.Filter.Search); err != nil {
			return nil, err
		}
	}
	after, err := store.ParsePosition(q.After)
	if err != nil || q.Limit <= 0 {
		return nil, err
	}
	q.Limit = min(q.Limit, maxPage)
	if !q.Private() && len(q.Filter.Kinds) > 0 {
		if q.Filter.Kinds = slices.DeleteFunc(slices.Clone(q.Filter.Kinds), store.Private); len(q.Filter.Kinds) == 0 {
			return nil, nil
		}
	}
	s := &search{q: q, after: after, wanted: store.Matcher{Filter: q.Filter}, now: now.Unix(), span: 1, dear: sliceCost, rows: sliceRows, id: []byte{}, words: words}
	for _, p := range periods(now) {
		s.starts = append(s.starts, p.lo)
	}
	s.lo, s.hi = bounds(&q.Filter)
	if after != nil && after.At <= s.hi {
		s.hi, s.id = after.At, after.ID[:]
	}
	s.choose()
	return s, nil
}

// choose picks the statement.
func (s *search) choose() {
	f := &s.q.Filter
	authors := distinct(f.Authors, authorPrefix)
	kinds := distinct(f.Kinds, func(k nostr.Kind) int64 { return int64(k) })
	var hidden []int64
	var now *int64
	if s.q.Public {
		now = &s.q.Now
		if len(kinds) == 0 && !s.q.Private() {
			hidden = distinct(store.PrivateKinds(), func(k nostr.Kind) int64 { return int64(k) })
		}
	}
	var tags [][]int64
	for _, name := range slices.Sorted(maps.Keys(f.Tags)) {
		if values := f.Tags[name]; len(values) > 0 && store.Indexed(nostr.Tag{name, ""}) && len(tags) < tagConditions {
			tags = append(tags, distinct(values, func(v string) int64 { return store.TagHash(name, v) }))
		}
	}
	streams := max(len(authors), 1) * max(len(kinds), 1)
	streamed := len(tags) == 0 && (streams == 1 || streams*min(s.q.Limit, maxRows) <= maxStreamed)
	switch {
	case len(f.IDs) > 0:
		ids := make([][]byte, len(f.IDs))
		for i := range f.IDs {
			ids[i] = f.IDs[i][:]
		}
		slices.SortFunc(ids, bytes.Compare)
		s.sql, s.args = sqlByID, []any{slices.CompactFunc(ids, bytes.Equal)}
	case s.words != nil:
		s.sql, s.args = sqlByWords, []any{tsquery(s.words)}
		if len(authors)+len(tags) > 0 {
			tags = append(tags, make([][]int64, tagConditions-len(tags))...)
			s.sql, s.args = sqlByWordsAnd, append(s.args, authors, tags[0], tags[1], tags[2])
		}
		s.bitmaps, s.wanted.Filter.Search = true, "" // the index tells that exactly
	case streamed && len(authors) == 0 && len(kinds) == 0:
		s.sql, s.args = sqlByTime, []any{hidden, now}
	case streamed && len(authors) == 0:
		s.sql, s.args = sqlByKind, []any{kinds, now}
	case streamed && len(kinds) == 0:
		s.sql, s.args = sqlByAuthor, []any{authors, hidden, now}
	case streamed:
		var pairs [2][]int64
		for _, a := range authors {
			for _, k := range kinds {
				pairs[0], pairs[1] = append(pairs[0], a), append(pairs[1], k)
			}
		}
		s.sql, s.args = sqlByAuthorKind, []any{pairs[0], pairs[1], now}
	default:
		if len(tags) == 1 && len(authors) == 0 {
			s.tag = tags[0]
		}
		tags = append(tags, make([][]int64, tagConditions-len(tags))...)
		s.sql, s.args, s.costly = sqlByAny, []any{authors, kinds, hidden, now, tags[0], tags[1], tags[2]}, true
	}
}

// distinct returns the numbers of a list, each once; nil for none, which no
// statement takes for a condition.
func distinct[T any](list []T, number func(T) int64) []int64 {
	var numbers []int64
	for _, v := range list {
		numbers = append(numbers, number(v))
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// The arguments of every search: from and to (created_at, inclusive), an id that
// those of the second "to" must exceed, how many. Where a time is given besides,
// only what does not expire before it counts. All but the last are functions of
// the server.
const (
	sqlByID         = `SELECT ` + eventColumns + ` FROM events_by_id($1, $2, $3, $4, $5) e`
	sqlByTime       = `SELECT ` + eventColumns + ` FROM events_by_time($1, $2, $3, $4, $5, $6) e`
	sqlByKind       = `SELECT ` + eventColumns + ` FROM events_by_kind($1, $2, $3, $4, $5, $6) e`
	sqlByAuthor     = `SELECT ` + eventColumns + ` FROM events_by_author($1, $2, $3, $4, $5, $6, $7) e`
	sqlByAuthorKind = `SELECT ` + eventColumns + ` FROM events_by_author_and_kind($1, $2, $3, $4, $5, $6, $7) e`
	sqlByTag        = `SELECT ` + eventColumns + ` FROM events_by_tag($1, $2, $3, $4, $5, $6, $7, $8) e`
	// OFFSET 0 keeps the planner from walking through the whole stretch by time in
	// the hope that the first few events are soon found.
	sqlByAny = `SELECT ` + eventColumns + ` FROM (
			SELECT * FROM event
			WHERE created_at >= $1 AND created_at <= $2 AND (created_at < $2 OR id > $3)
				AND ($5::bigint[] IS NULL OR author = ANY ($5)) AND ($6::bigint[] IS NULL OR kind = ANY ($6))
				AND ($7::bigint[] IS NULL OR kind <> ALL ($7)) AND ($8::bigint IS NULL OR expires IS NULL OR expires > $8)
				AND ($9::bigint[] IS NULL OR tagh && $9) AND ($10::bigint[] IS NULL OR tagh && $10) AND ($11::bigint[] IS NULL OR tagh && $11)
			OFFSET 0
		) e
		ORDER BY e.created_at DESC, e.id LIMIT $4`
)

// sqlPlanner holds for the transaction that the statements of one batch are. A
// scan of a table is never wanted, and statements that end early need no
// compiler, whatever the planner expects of them. A dear page would make it walk
// through everything by time for the sake of the order of the table.
const sqlPlanner = `SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true), set_config('random_page_cost', '1', true),
	set_config('enable_bitmapscan', CASE WHEN $1 THEN 'on' ELSE 'off' END, true)`

// eachPlanned is each for a statement that is planned for its values. bitmaps
// lets it read an index out of order.
func eachPlanned(ctx context.Context, q querier, bitmaps bool, scan func(pgx.Rows) error, sql string, args ...any) (err error) {
	var b pgx.Batch
	b.Queue(sqlPlanner, bitmaps)
	b.Queue(sql, args...)
	results := q.SendBatch(ctx, &b)
	defer func() { err = errors.Join(err, results.Close()) }()
	if _, err := results.Exec(); err != nil {
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	return scanAll(rows, scan)
}

// ask runs a statement of the search: what is costly is planned for its values.
func (s *search) ask(ctx context.Context, conn querier, scan func(pgx.Rows) error, sql string, args ...any) error {
	if s.costly || s.words != nil {
		return eachPlanned(ctx, conn, s.bitmaps, scan, sql, args...)
	}
	return each(ctx, conn, scan, sql, args...)
}

func (s *search) run(ctx context.Context, conn querier) error {
	if err := s.price(ctx, conn); err != nil {
		return err
	}
	for !s.full && s.lo <= s.hi {
		from, whole, err := s.stretch(ctx, conn)
		if err != nil {
			return err
		}
		before := len(s.events)
		more := true
		for more && !s.full {
			if more, err = s.take(ctx, conn, from); err != nil {
				return err
			}
		}
		if s.full || from <= s.lo {
			return nil
		}
		if whole {
			s.grow(len(s.events) - before)
		}
		s.hi, s.id = from-1, []byte{}
	}
	return nil
}

// grow chooses how many periods to ask about next, after one answer found so
// many events: enough to fill the page if it goes on like that, and no more.
func (s *search) grow(found int) {
	wanted := spanGrowth * s.span
	if found > 0 {
		wanted = min(wanted, max(1, 2*s.span*(s.q.Limit-len(s.events))/found))
	}
	s.span = wanted
}

// stretch returns from where to hi the next statement searches, and whether
// those are all the periods it wanted. One that is costly is about few periods at
// a time, the newest first.
func (s *search) stretch(ctx context.Context, conn querier) (from int64, whole bool, err error) {
	if !s.costly {
		return s.lo, true, nil
	}
	s.bitmaps = true
	// What is beyond now is so little that it goes with the present.
	i, found := slices.BinarySearch(s.starts, min(s.hi, s.now))
	if !found {
		i--
	}
	for ; ; s.span /= 2 {
		from = max(s.lo, s.starts[max(i+1-s.span, 0)])
		if s.bounded {
			return from, true, nil
		}
		cost, err := s.cost(ctx, conn, sqlCost, s.statement(from)...)
		if err != nil || cost <= s.dear {
			return from, true, err
		}
		if s.span == 1 {
			break
		}
	}
	// So few are looked at one by one: an index of tags would be asked for all
	// it has of a tag.
	s.bitmaps = false
	edge, err := s.edge(ctx, conn, from)
	return edge, edge == from, err
}

const (
	sqlTagCost = `EXPLAIN (FORMAT JSON) SELECT seq FROM event WHERE tagh && $1::bigint[]`
	sqlCost    = `EXPLAIN (FORMAT JSON) ` + sqlByAny
)

// price looks whether a tag is on so few events that all of them may be collected:
// at once, or of more period by period, as far as the page needs them.
func (s *search) price(ctx context.Context, conn querier) error {
	if s.tag == nil || s.lo > s.hi {
		return nil
	}
	s.bitmaps = true
	cost, err := s.cost(ctx, conn, sqlTagCost, s.tag)
	if s.bounded = err == nil && cost <= s.dear; !s.bounded || cost > collectCost {
		return err
	}
	kinds, hidden, now := s.args[1], s.args[2], s.args[3]
	s.sql, s.args, s.costly = sqlByTag, []any{s.tag, kinds, hidden, now}, false
	return nil
}

// cost is what the planner expects of a statement.
func (s *search) cost(ctx context.Context, conn querier, sql string, args ...any) (float64, error) {
	var text []byte
	if err := s.ask(ctx, conn, func(rows pgx.Rows) error { return rows.Scan(&text) }, sql, args...); err != nil {
		return 0, err
	}
	var plans []struct {
		Plan struct {
			Cost float64 `json:"Total Cost"`
		}
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) == 0 {
		return 0, fmt.Errorf("read a plan: %w", cmp.Or(err, errEventRow))
	}
	return plans[0].Plan.Cost, nil
}

const sqlEdge = `SELECT created_at FROM event WHERE created_at >= $1 AND created_at <= $2 ORDER BY created_at DESC OFFSET $3 LIMIT 1`

// edge cuts a stretch so that it spans a bounded number of events; twice as many
// each time, so that a long way is done in few steps.
func (s *search) edge(ctx context.Context, conn querier, from int64) (int64, error) {
	edge := from
	if err := s.ask(ctx, conn, func(rows pgx.Rows) error {
		err := rows.Scan(&edge)
		edge = min(edge+1, s.hi) // the rest of its second is beyond
		return err
	}, sqlEdge, from, s.hi, s.rows); err != nil {
		return 0, err
	}
	s.rows = min(2*s.rows, maxSliceRows)
	return edge, nil
}

// statement returns the arguments of the search for a stretch.
func (s *search) statement(from int64) []any {
	return append([]any{from, s.hi, s.id, min(s.q.Limit-len(s.events), maxRows)}, s.args...)
}

// take reads the next events of a stretch and puts on the page what the query
// asks for. It tells whether there may be more, which is behind hi and id then.
func (s *search) take(ctx context.Context, conn querier, from int64) (more bool, err error) {
	args := s.statement(from)
	var records []store.Record
	n, size := 0, s.size
	var last store.Position
	if err := s.ask(ctx, conn, func(rows pgx.Rows) error {
		if size > pageBytes {
			more = true // the rest is asked for again, if at all
			return nil
		}
		r, err := scanEvent(rows)
		if err != nil {
			return err
		}
		n++
		last = store.Position{At: r.Event.CreatedAt, ID: r.Event.ID}
		if s.wants(&r) {
			records = append(records, r)
			size += r.Weight()
		}
		return nil
	}, s.sql, args...); err != nil {
		return false, err
	}
	if n == 0 {
		return false, nil
	}
	more = more || n == args[3].(int)
	if s.q.Public {
		if records, err = undeleted(ctx, conn, records); err != nil {
			return false, err
		}
	}
	for i := range records {
		s.events = append(s.events, records[i].Stored)
		s.size += records[i].Weight()
	}
	s.full = len(s.events) >= s.q.Limit || len(s.events) > 0 && s.size > pageBytes
	s.hi, s.id = last.At, last.ID[:]
	return more, nil
}

// wants checks what the statements do not, or only by half a key.
func (s *search) wants(r *store.Record) bool {
	return s.after.Before(&r.Event) && s.wanted.Matches(r) && !s.q.Withholds(r)
}

const (
	sqlDeletions = `SELECT w.nr, d.created_at, d.seq
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (h, author, since, nr), LATERAL (
			SELECT created_at, seq FROM deletion WHERE h = w.h AND author = w.author AND created_at >= w.since
			ORDER BY created_at DESC, seq DESC LIMIT 1
		) d`
	sqlRequests = `SELECT ` + eventColumns + ` FROM unnest($1::bigint[], $2::bigint[]) AS w (created_at, seq), LATERAL (
			SELECT * FROM event WHERE created_at = w.created_at AND seq = w.seq OFFSET 0
		) e`
)

// undeleted returns those events that their authors did not ask to forget
// (NIP-09).
func undeleted(ctx context.Context, conn querier, records []store.Record) ([]store.Record, error) {
	type question struct {
		record int
		way    store.Deletion
	}
	var questions []question
	var hashes, authors, sinces []int64
	for i := range records {
		for _, way := range store.DeletionsOf(&records[i]) {
			questions = append(questions, question{i, way})
			hashes, authors, sinces = append(hashes, way.Hash), append(authors, authorPrefix(records[i].Event.PubKey)), append(sinces, way.Since)
		}
	}
	if len(questions) == 0 {
		return records, nil
	}
	type place struct{ at, seq int64 }
	answers := make(map[int]place)
	requests := make(map[place]store.Record)
	if err := each(ctx, conn, func(rows pgx.Rows) error {
		var nr int
		var p place
		err := rows.Scan(&nr, &p.at, &p.seq)
		answers[nr-1] = p
		requests[p] = store.Record{}
		return err
	}, sqlDeletions, hashes, authors, sinces); err != nil || len(answers) == 0 {
		return records, err
	}
	var ats, seqs []int64
	for p := range requests {
		ats, seqs = append(ats, p.at), append(seqs, p.seq)
	}
	if err := each(ctx, conn, func(rows pgx.Rows) error {
		r, err := scanEvent(rows)
		requests[place{r.Event.CreatedAt, int64(r.Seq)}] = r
		return err
	}, sqlRequests, ats, seqs); err != nil {
		return nil, err
	}
	deleted := make(map[int]bool)
	for nr, p := range answers {
		q, request := questions[nr], requests[p]
		if request.Seq != 0 && q.way.AskedFor(records[q.record].Event.PubKey, &request) {
			deleted[q.record] = true
		}
	}
	left := records[:0]
	for i := range records {
		if !deleted[i] {
			left = append(left, records[i])
		}
	}
	return left, nil
}

const (
	sqlSeqOf       = `SELECT seq, created_at FROM event WHERE id = $1`
	sqlEventRelays = `SELECT r.url, greatest(s.seen_at, ~s.seen_at), s.seen_at < 0, coalesce(s.gone_at, 0) FROM sighting s JOIN relay r ON r.id = s.relay_id
		WHERE s.event_seq = $1 AND s.created_at = $2 ORDER BY 2, r.url`
)

// EventRelays implements store.EventReader.
func (db *DB) EventRelays(ctx context.Context, id nostr.ID) (relays []store.Carried, err error) {
	err = db.read(ctx, func(q querier) error {
		relays = nil
		var seq, at int64
		if err := q.QueryRow(ctx, sqlSeqOf, id[:]).Scan(&seq, &at); err != nil {
			if errors.Is(err, pgx.ErrNoRows) {
				err = store.ErrNotFound
			}
			return err
		}
		return each(ctx, q, func(rows pgx.Rows) error {
			var one store.Carried
			var url string
			err := rows.Scan(&url, &one.SeenAt, &one.Claimed, &one.GoneAt)
			if err == nil {
				one.URL, err = store.ParseURL(url)
			}
			relays = append(relays, one)
			return err
		}, sqlEventRelays, seq, at)
	})
	if err != nil {
		return nil, fmt.Errorf("read relays of an event: %w", err)
	}
	return relays, nil
}

const (
	// The newest are looked at first, and never more than so many.
	sqlAuthorsAt = `SELECT DISTINCT e.pubkey
		FROM (SELECT event_seq, created_at FROM sighting WHERE relay_id = $1 AND gone_at IS NULL ORDER BY created_at DESC LIMIT $2) s
		CROSS JOIN LATERAL (SELECT v.pubkey FROM event v WHERE v.created_at = s.created_at AND v.seq = s.event_seq OFFSET 0) e LIMIT $3`
	sqlAnyAuthors = `SELECT DISTINCT pubkey FROM (SELECT pubkey FROM event ORDER BY created_at DESC LIMIT $1) e LIMIT $2`
)

// Authors implements store.EventReader.
func (db *DB) Authors(ctx context.Context, relay store.RelayID, limit int) (authors []nostr.PubKey, err error) {
	sql, args := sqlAnyAuthors, []any{int64(store.MaxLooked), int64(limit)}
	if relay != 0 {
		sql, args = sqlAuthorsAt, append([]any{int32(relay)}, args...)
	}
	err = db.read(ctx, func(q querier) error {
		authors = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var key []byte
			err := rows.Scan(&key)
			if err == nil {
				authors = append(authors, nostr.PubKey(key))
			}
			return err
		}, sql, args...)
	})
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
			coalesce((SELECT sum(n) FROM relay_day WHERE relay_id = r.id), 0)::bigint,
			(SELECT count(*) FROM missing WHERE relay_id = r.id AND hold = 3), (SELECT count(*) FROM missing WHERE relay_id = r.id AND hold = 4)
		FROM relay r
		WHERE r.url > $1 AND ($2::text = '' OR r.network = $2) AND ($3::text = '' OR r.state = $3) AND r.kept_out = ''
		ORDER BY r.url LIMIT $4`
	sqlCoverageOf    = `SELECT ` + coverageColumns + ` FROM coverage WHERE relay_id = ANY ($1) ORDER BY relay_id, filter_id, lo`
	sqlRelayCoverage = `SELECT ` + coverageColumns + ` FROM coverage WHERE relay_id = $1 ORDER BY filter_id, lo`
	sqlClaimPage     = `SELECT ` + coverageColumns + ` FROM coverage WHERE relay_id = $1 AND (filter_id, lo) > ($2::bigint, $3)
		ORDER BY filter_id, lo LIMIT $4`
	sqlHolePage = `SELECT ` + holeColumns + ` FROM hole WHERE relay_id = $1 AND (filter_id, lo, hi, kind) > ($2::bigint, $3, $4, $5)
		ORDER BY filter_id, lo, hi, kind LIMIT $6`
	sqlRelayHoles = `SELECT ` + holeColumns + ` FROM hole WHERE relay_id = $1 ORDER BY filter_id, lo, hi, kind`
)

// RelaySummaries implements store.RelayReader.
func (db *DB) RelaySummaries(ctx context.Context, query store.RelayQuery) (summaries []store.RelaySummary, err error) {
	if query.Limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(q querier) error {
		summaries = nil
		var ids []int32
		if err := each(ctx, q, func(rows pgx.Rows) error {
			var s store.RelaySummary
			var err error
			var nips string
			s.Relay, err = scanRelay(rows, &s.Name, &s.Software, &s.Version, &nips, &s.Auth, &s.Payment, &s.Restricted,
				&s.Country, &s.City, &s.ASN, &s.Org, &s.Lat, &s.Lon, &s.OpenMS, &s.ReadMS, &s.CheckedAt, &s.Month.Up, &s.Month.Watched, &s.OpenP95, &s.ReadP95,
				&s.Events, &s.Holes, &s.MaxLimit, &s.SyncDue, &s.CheckDue, &s.Named, &s.Withheld, &s.Refused)
			s.NIPs = store.ParseNIPs(nips)
			summaries, ids = append(summaries, s), append(ids, int32(s.ID))
			return err
		}, sqlSummaries, query.After, string(query.Network), string(query.State), min(query.Limit, maxPage)); err != nil {
			return err
		}
		all, err := readCoverage(ctx, q, sqlCoverageOf, ids)
		if err != nil {
			return err
		}
		claims := make(map[store.RelayID][]store.Coverage)
		for _, c := range all {
			claims[c.Relay] = append(claims[c.Relay], c)
		}
		open, err := openFilter(ctx, q)
		if err != nil {
			return err
		}
		costs, err := readCosts(ctx, q, ids)
		if err != nil {
			return err
		}
		for i := range summaries {
			summaries[i].Cost = costs[summaries[i].ID]
			summaries[i].Summarize(claims[summaries[i].ID], store.FilterID(open))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read relays: %w", err)
	}
	return summaries, nil
}

// Claims implements store.RelayReader.
func (db *DB) Claims(ctx context.Context, relays []store.RelayID) (claims map[store.RelayID][]store.Coverage, err error) {
	err = db.read(ctx, func(q querier) error {
		all, err := readCoverage(ctx, q, sqlCoverageOf, relays)
		if err != nil {
			return err
		}
		open, err := openFilter(ctx, q)
		claims = store.CountedOf(all, store.FilterID(open))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read claims: %w", err)
	}
	return claims, nil
}

// RelayCoverage implements store.RelayReader.
func (db *DB) RelayCoverage(ctx context.Context, id store.RelayID) (claims []store.Coverage, holes []store.Hole, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		if claims, err = readCoverage(ctx, q, sqlRelayCoverage, int32(id)); err == nil {
			holes, err = readHoles(ctx, q, sqlRelayHoles, int32(id))
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read coverage of a relay: %w", err)
	}
	return claims, holes, nil
}

// ClaimPage implements store.RelayReader.
func (db *DB) ClaimPage(ctx context.Context, id store.RelayID, after store.Cursor, limit int) (claims []store.Coverage, next store.Cursor, err error) {
	p, err := store.ParseKey(after, 2)
	if err != nil || limit <= 0 {
		return nil, "", err
	}
	err = db.read(ctx, func(q querier) (err error) {
		claims, err = readCoverage(ctx, q, sqlClaimPage, int32(id), p[0], p[1], limit+1)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read claims: %w", err)
	}
	claims, next = store.PageOf(claims, limit)
	return claims, next, nil
}

// HolePage implements store.RelayReader.
func (db *DB) HolePage(ctx context.Context, id store.RelayID, after store.Cursor, limit int) (holes []store.Hole, next store.Cursor, err error) {
	p, err := store.ParseKey(after, 4)
	if err != nil || limit <= 0 {
		return nil, "", err
	}
	err = db.read(ctx, func(q querier) (err error) {
		holes, err = readHoles(ctx, q, sqlHolePage, int32(id), p[0], p[1], p[2], p[3], limit+1)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read holes: %w", err)
	}
	holes, next = store.PageOf(holes, limit)
	return holes, next, nil
}

const (
	// plausibleFrom is when Nostr began: 2020-11-01.
	plausibleFrom = 1604188800
	day           = 86400
)

const (
	sqlTotals = `
		SELECT coalesce((SELECT n FROM rollup_total WHERE name = 'events'), 0),
			coalesce((SELECT n FROM rollup_total WHERE name = 'sightings'), 0),
			(SELECT authors FROM rollup_total WHERE name = 'events'),
			(SELECT count(*) FROM candidate WHERE kept_out = ''),
			coalesce((SELECT created_at FROM event WHERE created_at >= $1 AND created_at <= $2 ORDER BY created_at LIMIT 1), 0),
			coalesce((SELECT created_at FROM event WHERE created_at >= $1 AND created_at <= $2 ORDER BY created_at DESC LIMIT 1), 0),
			(SELECT count(*) FROM hole),
			(SELECT least(coalesce(sum(n), 0), 9e18)::bigint FROM hole WHERE n > 0),
			coalesce((SELECT sum(kept + dropped)::bigint FROM quarantine_count), 0),
			pg_database_size(current_database())`
	sqlRelayTotals = `SELECT network, state, count(*) FROM relay WHERE kept_out = '' GROUP BY network, state ORDER BY network, state`
	sqlLevelTotals = `
		SELECT level, count(*), least(sum(seconds), 9e18)::bigint
		FROM (SELECT level, sum(hi::float8 - lo + 1) AS seconds FROM coverage WHERE filter_id = $1 GROUP BY relay_id, level) c GROUP BY level ORDER BY level`
	sqlTops = `SELECT max(hi), bool_or(filter_id = $1) FROM coverage GROUP BY relay_id`
)

// Totals implements store.StatsReader.
func (db *DB) Totals(ctx context.Context, now int64) (t store.Totals, err error) {
	err = db.read(ctx, func(q querier) error {
		t = store.Totals{}
		var sketch []byte
		if err := q.QueryRow(ctx, sqlTotals, int64(plausibleFrom), now+day).Scan(&t.Events, &t.Sightings, &sketch, &t.Candidates,
			&t.Oldest, &t.Newest, &t.Holes, &t.HoleEvents, &t.Rejected, &t.Bytes); err != nil {
			return err
		}
		authors, err := store.ParseDistinct(sketch)
		if err != nil {
			return err
		}
		t.Authors = authors.Count()
		if err := each(ctx, q, func(rows pgx.Rows) error {
			var r store.RelayTotal
			err := rows.Scan(&r.Network, &r.State, &r.Relays)
			t.Relays = append(t.Relays, r)
			return err
		}, sqlRelayTotals); err != nil {
			return err
		}
		open, err := openFilter(ctx, q)
		if err != nil {
			return err
		}
		if err := each(ctx, q, func(rows pgx.Rows) error {
			var l store.LevelTotal
			err := rows.Scan(&l.Level, &l.Relays, &l.Seconds)
			t.Levels = append(t.Levels, l)
			return err
		}, sqlLevelTotals, open); err != nil {
			return err
		}
		var lags []int64
		if err := each(ctx, q, func(rows pgx.Rows) error {
			var top int64
			var whole bool
			err := rows.Scan(&top, &whole)
			if lags = append(lags, max(now-top, 0)); !whole {
				t.Partly++
			}
			return err
		}, sqlTops, open); err != nil {
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
	return t, nil
}

const (
	sqlKinds = `SELECT kind, n, authors FROM rollup_kind ORDER BY n DESC, kind LIMIT $1`
	sqlDays  = `SELECT day, n, authors FROM rollup_day WHERE day >= $1 AND day <= $2 ORDER BY day`
)

// Kinds implements store.StatsReader.
func (db *DB) Kinds(ctx context.Context, limit int) ([]store.KindTotal, error) {
	if limit <= 0 {
		return nil, nil
	}
	kinds, err := readTotals(ctx, db, func(key, n, authors int64) store.KindTotal {
		return store.KindTotal{Kind: nostr.Kind(key), Events: n, Authors: authors}
	}, sqlKinds, limit)
	if err != nil {
		return nil, fmt.Errorf("read kinds: %w", err)
	}
	return kinds, nil
}

// Days implements store.StatsReader.
func (db *DB) Days(ctx context.Context, lo, hi int64) ([]store.DayTotal, error) {
	days, err := readTotals(ctx, db, func(key, n, authors int64) store.DayTotal {
		return store.DayTotal{Day: key, Events: n, Authors: authors}
	}, sqlDays, lo, hi)
	if err != nil {
		return nil, fmt.Errorf("read days: %w", err)
	}
	return days, nil
}

const (
	sqlKindsOf = `SELECT kind, n, NULL::bytea FROM rollup_relay_kind WHERE relay_id = $1 ORDER BY n DESC, kind LIMIT $2`
	sqlDaysOf  = `SELECT day, n, NULL::bytea FROM rollup_relay_day WHERE relay_id = $1 AND day >= $2 AND day <= $3 ORDER BY day`
)

// RelayKinds implements store.StatsReader.
func (db *DB) RelayKinds(ctx context.Context, relay store.RelayID, limit int) ([]store.KindTotal, error) {
	if limit <= 0 {
		return nil, nil
	}
	kinds, err := readTotals(ctx, db, func(key, n, _ int64) store.KindTotal {
		return store.KindTotal{Kind: nostr.Kind(key), Events: n}
	}, sqlKindsOf, int32(relay), limit)
	if err != nil {
		return nil, fmt.Errorf("read kinds of a relay: %w", err)
	}
	return kinds, nil
}

// RelayDays implements store.StatsReader.
func (db *DB) RelayDays(ctx context.Context, relay store.RelayID, lo, hi int64) ([]store.DayTotal, error) {
	days, err := readTotals(ctx, db, func(key, n, _ int64) store.DayTotal {
		return store.DayTotal{Day: key, Events: n}
	}, sqlDaysOf, int32(relay), lo, hi)
	if err != nil {
		return nil, fmt.Errorf("read days of a relay: %w", err)
	}
	return days, nil
}

// An event is drawn by a place in its day: the newest one up to there.
const (
	sqlAllEvents = `SELECT created_at, seq FROM event ORDER BY created_at DESC, id LIMIT $1`
	sqlAllSeen   = `SELECT created_at, event_seq FROM sighting WHERE relay_id = $1 AND gone_at IS NULL ORDER BY created_at DESC, event_seq LIMIT $2`
	sqlDrawn     = `SELECT DISTINCT e.created_at, e.seq FROM unnest($1::bigint[]) AS d (at) CROSS JOIN LATERAL (
			SELECT created_at, seq FROM event WHERE created_at <= d.at AND created_at >= d.at - 86400 ORDER BY created_at DESC, id LIMIT 1
		) e`
	sqlDrawnSeen = `SELECT DISTINCT s.created_at, s.event_seq FROM unnest($2::bigint[]) AS d (at) CROSS JOIN LATERAL (
			SELECT created_at, event_seq FROM sighting WHERE relay_id = $1 AND gone_at IS NULL AND created_at <= d.at AND created_at >= d.at - 86400
			ORDER BY created_at DESC, event_seq LIMIT 1
		) s`
	sqlCarriers = `SELECT event_seq, relay_id FROM sightings_of($1, $2) WHERE gone_at = 0 ORDER BY event_seq, relay_id`
)

// Carriers implements store.StatsReader.
func (db *DB) Carriers(ctx context.Context, relay store.RelayID, n int) (carriers [][]store.RelayID, err error) {
	if n <= 0 {
		return nil, nil
	}
	var days []store.DayTotal
	if relay == 0 {
		days, err = db.Days(ctx, store.FirstDay, store.LastDay)
	} else {
		days, err = db.RelayDays(ctx, relay, store.FirstDay, store.LastDay)
	}
	if err != nil {
		return nil, err
	}
	draw, args := sqlAllEvents, []any{int64(n)}
	places := store.Draw(days, n)
	switch {
	case relay == 0 && places != nil:
		draw, args = sqlDrawn, []any{places}
	case relay != 0 && places != nil:
		draw, args = sqlDrawnSeen, []any{int32(relay), places}
	case relay != 0:
		draw, args = sqlAllSeen, []any{int32(relay), int64(n)}
	}
	err = db.read(ctx, func(q querier) error {
		carriers = nil
		var ats, seqs []int64
		place := make(map[int64]int) // in carriers, by seq
		if err := eachPlanned(ctx, q, false, func(rows pgx.Rows) error {
			var at, seq int64
			err := rows.Scan(&at, &seq)
			place[seq] = len(seqs)
			ats, seqs = append(ats, at), append(seqs, seq)
			return err
		}, draw, args...); err != nil || len(seqs) == 0 {
			return err
		}
		carriers = make([][]store.RelayID, len(seqs))
		return each(ctx, q, func(rows pgx.Rows) error {
			var seq int64
			var id store.RelayID
			err := rows.Scan(&seq, &id)
			carriers[place[seq]] = append(carriers[place[seq]], id)
			return err
		}, sqlCarriers, ats, seqs)
	})
	if err != nil {
		return nil, fmt.Errorf("read carriers: %w", err)
	}
	return carriers, nil
}

// readTotals reads sums with their authors.
func readTotals[T any](ctx context.Context, db *DB, total func(key, n, authors int64) T, sql string, args ...any) (list []T, err error) {
	err = db.read(ctx, func(q querier) error {
		list = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var key, n int64
			var sketch []byte
			if err := rows.Scan(&key, &n, &sketch); err != nil {
				return err
			}
			authors, err := store.ParseDistinct(sketch)
			if err != nil {
				return err
			}
			list = append(list, total(key, n, min(authors.Count(), n)))
			return nil
		}, sql, args...)
	})
	return list, err
}

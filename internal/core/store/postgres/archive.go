package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const sqlKnown = `SELECT known_events($1, $2)`

// Known implements store.Archive. An event is found by its id and created_at
// together.
func (db *DB) Known(ctx context.Context, refs []nostr.Ref) ([]store.Seq, error) {
	if len(refs) == 0 {
		return nil, ctx.Err()
	}
	ids, createdAts := make([][]byte, len(refs)), make([]int64, len(refs))
	for i := range refs {
		ids[i], createdAts[i] = refs[i].ID[:], refs[i].CreatedAt
	}
	var found []int64
	err := db.read(ctx, func(q querier) error { return q.QueryRow(ctx, sqlKnown, ids, createdAts).Scan(&found) })
	if err != nil {
		return nil, fmt.Errorf("look up ids: %w", err)
	}
	seqs := make([]store.Seq, len(found))
	for i, seq := range found {
		seqs[i] = store.Seq(seq)
	}
	return seqs, nil
}

// The keys of transaction locks. Every ingest holds vanishing in common with
// others, so that whoever takes it alone to forget an author waits for all that
// began before, and those that follow see the tombstone. Coverage is locked by
// relay (coverageClass), numbering last of all.
const (
	vanishing     int64 = 0x62626f7402
	numbering     int64 = 0x62626f7403
	coverageClass int32 = 0x62626f74
)

// ingestMost is how many events one call of the function ingest takes: the
// numbers of a block.
const ingestMost = 4096

// SaveBatch implements store.Archive. When the server is lost while a commit is
// under way the batch is saved again, and may then count as known.
func (db *DB) SaveBatch(ctx context.Context, batch store.Batch) (store.Saved, error) {
	var s *saving
	var err error
	careful := false
	for {
		err = db.write(ctx, func(tx pgx.Tx) error {
			s = &saving{tx: tx, batch: &batch, careful: careful}
			return s.save(ctx)
		})
		if careful || !poisoned(err) {
			break
		}
		careful = true
	}
	if err == nil && s.vanished {
		err = db.purge(context.WithoutCancel(ctx))
	}
	if err != nil {
		return store.Saved{}, fmt.Errorf("save batch: %w", err)
	}
	return s.saved, nil
}

// poisoned tells whether a value was refused: of the classes "data exception",
// "integrity constraint violation" and "program limit exceeded".
func poisoned(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23") || strings.HasPrefix(pg.Code, "54"))
}

// saving is one SaveBatch under way.
type saving struct {
	tx       pgx.Tx
	batch    *store.Batch
	keep     store.Keep
	careful  bool // a value of the batch was refused: find the row
	saved    store.Saved
	poison   []store.Rejected
	vanished bool

	firstSeqs []int64 // what ingest returned
	added     []int32

	out     []nostr.Ref // delivered, and not to be kept
	tally   *tally
	missing bool // there may be ids missing at the relay
}

func (s *saving) save(ctx context.Context) error {
	for _, step := range []func(context.Context) error{s.vanish, s.standing, s.events, s.barred, s.rejected, s.prove} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

const (
	sqlShareLock    = `SELECT pg_advisory_xact_lock_shared($1)`
	sqlAddTombstone = `
		INSERT INTO tombstone AS t (target, until, purged) SELECT target, max(until), false
		FROM unnest($1::bytea[], $2::bigint[]) AS u (target, until) GROUP BY target ORDER BY target
		ON CONFLICT (target) DO UPDATE SET until = excluded.until, purged = false WHERE excluded.until > t.until`
)

// vanish obeys the vanish requests of a batch before anything of it is stored.
// What was archived earlier is deleted after the batch, in slices of its own.
func (s *saving) vanish(ctx context.Context) error {
	var targets [][]byte
	var untils []int64
	for i := range s.batch.Events {
		if e := &s.batch.Events[i]; store.Vanishes(e) {
			targets, untils = append(targets, e.PubKey[:]), append(untils, e.CreatedAt)
		}
	}
	lock := sqlShareLock
	if len(targets) > 0 {
		lock = sqlLock
	}
	if err := s.enter(ctx, lock); err != nil || len(targets) == 0 {
		return err
	}
	// Not only when a tombstone is new: it may be of a try whose commit was done
	// and its answer lost.
	s.vanished = true
	_, err := s.tx.Exec(ctx, sqlAddTombstone, targets, untils)
	return err
}

// enter takes the locks and then reads what may have changed while it waited:
// the policy, and what there is of sums.
func (s *saving) enter(ctx context.Context, lock string) error {
	s.tally = newTally(s.batch.Relay)
	holding := sqlShareHolding
	if changesStanding(s.batch) {
		holding = sqlLockHolding
	}
	var b pgx.Batch
	b.Queue(lock, vanishing)
	b.Queue(holding, holdingClass, s.tally.relay)
	b.Queue(sqlSettings).Query(func(rows pgx.Rows) (err error) {
		s.keep, err = scanKeep(rows)
		return err
	})
	b.Queue(sqlSummed, s.tally.relay).QueryRow(s.tally.read)
	b.Queue(sqlAnyMissing, s.tally.relay).QueryRow(func(row pgx.Row) error { return row.Scan(&s.missing) })
	return s.tx.SendBatch(ctx, &b).Close()
}

// reasonUnstorable says of a rejected row that the backend cannot hold it.
const reasonUnstorable = "unstorable"

// events adds the events of the batch that are to be kept.
func (s *saving) events(ctx context.Context) error {
	var kept []*nostr.Event
	for i := range s.batch.Events {
		e := &s.batch.Events[i]
		if e.Kind.IsEphemeral() && !s.batch.Ephemeral {
			s.refuse(e)
			continue
		}
		if err := store.Storable(e); err != nil {
			s.reject(e)
			continue
		}
		kept = append(kept, e)
	}
	known := s.batch.Known
	if s.batch.Relay == 0 {
		known = nil
	}
	for len(kept) > 0 || len(known) > 0 {
		n := min(len(kept), ingestMost)
		if err := s.ingest(ctx, kept[:n], known); err != nil {
			return err
		}
		kept, known = kept[n:], nil
	}
	s.order()
	return nil
}

func (s *saving) refuse(e *nostr.Event) { s.saved.Refused = append(s.saved.Refused, e.ID) }

func (s *saving) reject(e *nostr.Event) {
	s.poison = append(s.poison, store.Rejected{Reason: reasonUnstorable, Raw: e.AppendJSON(nil)})
	s.bar(e)
}

func (s *saving) bar(e *nostr.Event) {
	s.out = append(s.out, e.Ref())
}

// order puts refused events into the order of the batch.
func (s *saving) order() {
	if len(s.saved.Refused) < 2 {
		return
	}
	place := make(map[nostr.ID]int, len(s.batch.Events))
	for i := range s.batch.Events {
		place[s.batch.Events[i].ID] = i
	}
	slices.SortStableFunc(s.saved.Refused, func(a, b nostr.ID) int { return cmp.Compare(place[a], place[b]) })
}

const sqlIngest = `SELECT first_seq, added, repeated, refused, fresh, had_created_ats, had_seqs, had_ids
	FROM ingest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`

// ingest adds events, and bisects them when one is refused and it is to be
// found.
func (s *saving) ingest(ctx context.Context, events []*nostr.Event, known []store.Seen) error {
	if !s.careful {
		return s.call(ctx, s.tx, events, known)
	}
	inner, err := s.tx.Begin(ctx) // a savepoint
	if err != nil {
		return err
	}
	if err = s.call(ctx, inner, events, known); err == nil {
		return inner.Commit(ctx)
	}
	if !poisoned(err) {
		return err
	}
	if err := inner.Rollback(ctx); err != nil {
		return err
	}
	switch {
	case len(events) == 1 && len(known) == 0:
		s.reject(events[0])
		return nil
	case len(events) == 0:
		return err
	case len(known) > 0:
		if err := s.ingest(ctx, nil, known); err != nil {
			return err
		}
	}
	if len(events) == 1 {
		return s.ingest(ctx, events, nil)
	}
	half := len(events) / 2
	if err := s.ingest(ctx, events[:half], nil); err != nil {
		return err
	}
	return s.ingest(ctx, events[half:], nil)
}

func (s *saving) call(ctx context.Context, tx pgx.Tx, events []*nostr.Event, known []store.Seen) error {
	a := newArrays(len(events))
	for _, e := range events {
		if err := a.add(e, s.keep); err != nil {
			return err
		}
	}
	createdAts, seqs := make([]int64, len(known)), make([]int64, len(known))
	for i, k := range known {
		createdAts[i], seqs[i] = k.CreatedAt, int64(k.Seq)
	}
	var firstSeq int64
	var added, repeated int32
	var refused, fresh []int32
	var hadCreatedAts, hadSeqs []int64
	var hadIDs [][]byte
	if err := tx.QueryRow(ctx, sqlIngest, int32(s.batch.Relay), s.batch.SeenAt,
		a.ids, a.pubkeys, a.authors, a.createdAts, a.kinds, a.ds, a.expiries, a.taghs, a.sigs, a.tags, a.contents, a.raws,
		a.deletionPlaces, a.deletionHashes, createdAts, seqs,
	).Scan(&firstSeq, &added, &repeated, &refused, &fresh, &hadCreatedAts, &hadSeqs, &hadIDs); err != nil {
		return err
	}
	for _, place := range refused {
		s.refuse(events[place-1])
		s.bar(events[place-1])
	}
	s.saved.New += int(added)
	s.saved.Known += int(repeated)
	s.firstSeqs, s.added = append(s.firstSeqs, firstSeq), append(s.added, added)
	return s.had(ctx, events, firstSeq, fresh, hadCreatedAts, hadSeqs, hadIDs)
}

const (
	sqlLockCount = `
		INSERT INTO quarantine_count (relay_id, kept, dropped) VALUES ($1, 0, 0)
		ON CONFLICT (relay_id) DO UPDATE SET kept = quarantine_count.kept RETURNING kept`
	sqlQuarantined   = `SELECT digest FROM quarantine WHERE relay_id = $1 AND digest = ANY($2)`
	sqlAddQuarantine = `
		INSERT INTO quarantine (relay_id, digest, reason, at, raw)
		SELECT $1, digest, reason, $2, raw FROM unnest($3::bigint[], $4::text[], $5::bytea[]) AS u (digest, reason, raw)`
	sqlQuarantineCounts = `UPDATE quarantine_count SET kept = kept + $2, dropped = dropped + $3 WHERE relay_id = $1`
)

// rejected puts what cannot be archived into quarantine.
func (s *saving) rejected(ctx context.Context) error {
	rejected := slices.Concat(s.batch.Rejected, s.poison)
	if len(rejected) == 0 {
		return nil
	}
	relay := int32(s.batch.Relay)
	var kept int64
	if err := s.tx.QueryRow(ctx, sqlLockCount, relay).Scan(&kept); err != nil {
		return err
	}
	digests := make([]int64, len(rejected))
	for i, r := range rejected {
		sum := sha256.Sum256(slices.Concat([]byte(r.Reason), []byte{0}, r.Raw[:min(len(r.Raw), store.MaxRejected)]))
		digests[i] = int64(binary.BigEndian.Uint64(sum[:8]))
	}
	there := make(map[int64]bool)
	if err := each(ctx, s.tx, func(rows pgx.Rows) error {
		var digest int64
		err := rows.Scan(&digest)
		there[digest] = true
		return err
	}, sqlQuarantined, relay, digests); err != nil {
		return err
	}
	var fresh []int64
	var reasons []string
	var raws [][]byte
	dropped := int64(0)
	for i, r := range rejected {
		switch {
		case there[digests[i]]:
			continue
		case kept+int64(len(fresh)) >= store.MaxQuarantine:
			dropped++
			continue
		}
		there[digests[i]] = true
		fresh, reasons = append(fresh, digests[i]), append(reasons, store.Substitute(r.Reason))
		raws = append(raws, append([]byte{}, r.Raw[:min(len(r.Raw), store.MaxRejected)]...))
	}
	var b pgx.Batch
	b.Queue(sqlAddQuarantine, relay, s.batch.SeenAt, fresh, reasons, raws)
	b.Queue(sqlQuarantineCounts, relay, int64(len(fresh)), dropped)
	return s.tx.SendBatch(ctx, &b).Close()
}

const (
	sqlLockCoverage = `SELECT pg_advisory_xact_lock($1, $2)`
	sqlCloseBatch   = `SELECT close_batch($1, $2, $3, $4)`
)

// prove writes claims and holes, and numbers what was added.
func (s *saving) prove(ctx context.Context) error {
	var b pgx.Batch
	s.tally.queue(&b)
	if len(s.batch.Claims)+len(s.batch.Holes)+len(s.batch.Healed) > 0 {
		if err := s.coverage(ctx, &b); err != nil {
			return err
		}
	}
	if s.saved.New > 0 {
		b.Queue(sqlCloseBatch, numbering, int32(s.batch.Relay), s.firstSeqs, s.added)
	}
	if b.Len() == 0 {
		return nil
	}
	return s.tx.SendBatch(ctx, &b).Close()
}

const (
	sqlHeal = `
		DELETE FROM hole h USING unnest($3::bigint[], $4::bigint[]) AS u (lo, hi)
		WHERE h.relay_id = $1 AND h.filter_id = $2 AND h.lo >= u.lo AND h.hi <= u.hi`
	sqlAddHoles = `
		INSERT INTO hole (relay_id, filter_id, lo, hi, kind, reason, n, seen_at, next_try)
		SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[])
		ON CONFLICT (relay_id, filter_id, lo, hi, kind) DO UPDATE
		SET reason = excluded.reason, n = excluded.n, seen_at = excluded.seen_at, next_try = excluded.next_try`
	sqlTouching = `
		SELECT ` + coverageColumns + ` FROM coverage
		WHERE relay_id = $1 AND filter_id = $2 AND lo <= $3 AND hi >= $4 ORDER BY lo`
	sqlDeleteCoverage = `DELETE FROM coverage WHERE relay_id = $1 AND filter_id = $2 AND lo = ANY($3)`
	sqlAddCoverage    = `
		INSERT INTO coverage (` + coverageColumns + `)
		SELECT $1, $2, lo, hi, level, as_of, method, n, tail_since
		FROM unnest($3::bigint[], $4::bigint[], $5::smallint[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[]) AS u (lo, hi, level, as_of, method, n, tail_since)`
)

// place is a relay and filter.
type place struct {
	relay  store.RelayID
	filter store.FilterID
}

// coverage closes what the batch healed, opens what it found, since a hole
// found in a healed place is newer, and merges what it proves into the map.
func (s *saving) coverage(ctx context.Context, b *pgx.Batch) error {
	relays := map[store.RelayID]bool{s.batch.Relay: true}
	claims := make(map[place][]store.Coverage)
	var places []place
	for _, c := range s.batch.Claims {
		if c.Lo > c.Hi {
			continue
		}
		p := place{c.Relay, c.Filter}
		if claims[p] == nil {
			places = append(places, p)
		}
		claims[p] = append(claims[p], c)
		relays[c.Relay] = true
	}
	for _, h := range s.batch.Holes {
		relays[h.Relay] = true
	}
	held, err := s.touching(ctx, slices.Sorted(maps.Keys(relays)), places, claims)
	if err != nil {
		return err
	}
	s.holes(b)
	for i, p := range places {
		merge(b, p, held[i], claims[p])
	}
	return nil
}

// touching locks the coverage of relays, in the order given, and then reads what
// overlaps or touches the claims of each place; nothing else can change.
func (s *saving) touching(ctx context.Context, relays []store.RelayID, places []place, claims map[place][]store.Coverage) ([][]store.Coverage, error) {
	var b pgx.Batch
	for _, id := range relays {
		b.Queue(sqlLockCoverage, coverageClass, int32(id))
	}
	held := make([][]store.Coverage, len(places))
	for i, p := range places {
		lo, hi := claims[p][0].Lo, claims[p][0].Hi
		for _, c := range claims[p] {
			lo, hi = min(lo, c.Lo), max(hi, c.Hi)
		}
		if lo > math.MinInt64 {
			lo--
		}
		if hi < math.MaxInt64 {
			hi++
		}
		b.Queue(sqlTouching, int32(p.relay), int32(p.filter), hi, lo).Query(func(rows pgx.Rows) (err error) {
			held[i], err = scanCoverage(rows)
			return err
		})
	}
	return held, s.tx.SendBatch(ctx, &b).Close()
}

func (s *saving) holes(b *pgx.Batch) {
	if len(s.batch.Healed) > 0 {
		los, his := make([]int64, len(s.batch.Healed)), make([]int64, len(s.batch.Healed))
		for i, h := range s.batch.Healed {
			los[i], his[i] = h.Lo, h.Hi
		}
		b.Queue(sqlHeal, int32(s.batch.Relay), int32(s.batch.Filter), los, his)
	}
	if len(s.batch.Holes) == 0 {
		return
	}
	// The last of the same place and kind counts; a statement takes each once.
	type key struct {
		place
		store.Interval
		kind nostr.Kind
	}
	last := make(map[key]store.Hole, len(s.batch.Holes))
	var keys []key
	for _, h := range s.batch.Holes {
		k := key{place{h.Relay, h.Filter}, h.Interval, h.Kind}
		if _, found := last[k]; !found {
			keys = append(keys, k)
		}
		last[k] = h
	}
	var relays, filters []int32
	var los, his, kinds, ns, seen, tries []int64
	var reasons []string
	for _, k := range keys {
		h := last[k]
		relays, filters = append(relays, int32(h.Relay)), append(filters, int32(h.Filter))
		los, his, kinds = append(los, h.Lo), append(his, h.Hi), append(kinds, int64(h.Kind))
		reasons, ns = append(reasons, string(h.Reason)), append(ns, h.Count)
		seen, tries = append(seen, h.SeenAt), append(tries, h.NextTry)
	}
	b.Queue(sqlAddHoles, relays, filters, los, his, kinds, reasons, ns, seen, tries)
}

// merge adds the claims of one relay and filter to what is held.
func merge(b *pgx.Batch, p place, old, claims []store.Coverage) {
	merged := old
	for _, c := range claims {
		merged = store.MergeCoverage(merged, c)
	}
	if slices.Equal(old, merged) {
		return
	}
	gone := make([]int64, len(old))
	for i, c := range old {
		gone[i] = c.Lo
	}
	var los, his, asOf, ns, tails []int64
	var levels []int16
	var methods []string
	for _, c := range merged {
		los, his, levels = append(los, c.Lo), append(his, c.Hi), append(levels, int16(c.Level))
		asOf, methods, ns = append(asOf, c.AsOf), append(methods, c.Method), append(ns, c.N)
		tails = append(tails, c.Tail)
	}
	b.Queue(sqlDeleteCoverage, int32(p.relay), int32(p.filter), gone)
	b.Queue(sqlAddCoverage, int32(p.relay), int32(p.filter), los, his, levels, asOf, methods, ns, tails)
}

// cursor is a place in the order of commits: an event of a batch. The epoch
// names the life of the database in which it was given: numbers that a restored
// database has lost it gives again, for other events.
type cursor struct{ epoch, nr, seq int64 }

func (c cursor) String() string {
	return strconv.FormatInt(c.epoch, 10) + "." + strconv.FormatInt(c.nr, 10) + "." + strconv.FormatInt(c.seq, 10)
}

// parseCursor reads a cursor of any epoch.
func parseCursor(text store.Cursor) (cursor, error) {
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 {
		return cursor{}, store.ErrCursor
	}
	var n [3]int64
	for i, p := range parts {
		var err error
		if n[i], err = strconv.ParseInt(p, 10, 64); err != nil || n[i] < 0 {
			return cursor{}, store.ErrCursor
		}
	}
	return cursor{n[0], n[1], n[2]}, nil
}

// scanRows is how many events a scan asks for at once, scanBytes about how large
// they may be together.
const (
	scanRows  = 500
	scanBytes = 4 << 20
)

const (
	// A database that was restored from a dump or copied is another one, or has
	// another table; one that a server brought back to an earlier moment, or that
	// a replica took over, is on another timeline. Files that were put back behind
	// the server's back look the same: who does that changes the setting.
	sqlEpoch = `
		SELECT hashtextextended(concat_ws('/',
			(SELECT system_identifier FROM pg_control_system()),
			CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
				ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer END,
			(SELECT oid FROM pg_database WHERE datname = current_database()), 'batch'::regclass::oid,
			(SELECT value FROM setting WHERE name = 'epoch')), 0) & 9223372036854775807`
	sqlLastBatch  = `SELECT coalesce(max(nr), 0) FROM batch`
	sqlScanEvents = `SELECT nr, seq, id, pubkey, created_at, kind, first_seen, sig, tags, content, raw, tagh, d, expires
		FROM scan_events($1, $2, $3, $4, $5, $6, $7, $8)`
)

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

// placed is an event and where it stands.
type placed struct {
	store.Record
	at cursor
}

// Head implements store.EventScanner.
func (db *DB) Head(ctx context.Context) (store.Cursor, error) {
	var epoch, last int64
	if err := db.read(ctx, func(q querier) (err error) {
		if epoch, err = readEpoch(ctx, q); err != nil {
			return err
		}
		return q.QueryRow(ctx, sqlLastBatch).Scan(&last)
	}); err != nil {
		return "", fmt.Errorf("read the head: %w", err)
	}
	return store.Cursor(cursor{epoch, last, math.MaxInt64}.String()), nil
}

// ScanEvents implements store.EventScanner. It ends with the batch that was the
// last when it began.
func (db *DB) ScanEvents(ctx context.Context, after store.Cursor, filter nostr.Filter) iter.Seq2[store.Scanned, error] {
	return func(yield func(store.Scanned, error) bool) {
		left := -1
		if filter.Limit != nil {
			left = max(*filter.Limit, 0)
		}
		wanted := store.Matcher{Filter: filter}
		since, until := bounds(&filter)
		for one, err := range db.scan(ctx, after, since, until, filter.Kinds) {
			if err != nil {
				yield(store.Scanned{}, fmt.Errorf("scan events: %w", err))
				return
			}
			if left == 0 {
				return
			}
			if !wanted.Matches(&one.Record) {
				continue
			}
			left--
			if !yield(store.Scanned{Stored: one.Stored, Cursor: store.Cursor(one.at.String())}, nil) {
				return
			}
		}
	}
}

// scan yields the events after a cursor, of a time and of kinds.
func (db *DB) scan(ctx context.Context, after store.Cursor, since, until int64, kinds []nostr.Kind) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		at, last, err := db.startScan(ctx, after)
		if err != nil {
			yield(placed{}, err)
			return
		}
		var wanted []int64
		for _, k := range kinds {
			wanted = append(wanted, int64(k))
		}
		for {
			if err := ctx.Err(); err != nil {
				yield(placed{}, err)
				return
			}
			page, next, err := db.scanPage(ctx, at, last, since, until, wanted)
			if err != nil {
				yield(placed{}, err)
				return
			}
			for _, one := range page {
				if err := ctx.Err(); err != nil {
					yield(placed{}, err)
					return
				}
				if !yield(one, nil) {
					return
				}
			}
			if next == at {
				return
			}
			at = next
		}
	}
}

// startScan returns where a scan after a cursor begins, and the last batch that there
// is.
func (db *DB) startScan(ctx context.Context, after store.Cursor) (at cursor, last int64, err error) {
	if after != "" {
		if at, err = parseCursor(after); err != nil {
			return at, 0, err
		}
	}
	err = db.read(ctx, func(q querier) error {
		epoch, err := readEpoch(ctx, q)
		if err != nil {
			return err
		}
		if after != "" && at.epoch != epoch {
			return store.ErrCursor
		}
		at.epoch = epoch
		return q.QueryRow(ctx, sqlLastBatch).Scan(&last)
	})
	return at, last, err
}

func readEpoch(ctx context.Context, q querier) (epoch int64, err error) {
	err = q.QueryRow(ctx, sqlEpoch).Scan(&epoch)
	return epoch, err
}

// scanPage reads a page and returns how far it came; where it began when
// nothing is left.
func (db *DB) scanPage(ctx context.Context, at cursor, last, since, until int64, kinds []int64) (page []placed, next cursor, err error) {
	err = db.read(ctx, func(q querier) error {
		page, next = nil, at
		return each(ctx, q, func(rows pgx.Rows) error {
			var nr int64
			var r eventRow
			if err := rows.Scan(append([]any{&nr}, r.fields()...)...); err != nil {
				return err
			}
			if r.seq == nil { // the batch is done
				if nr > at.nr || at.seq < math.MaxInt64 {
					next = cursor{at.epoch, nr, math.MaxInt64}
				}
				return nil
			}
			record, err := r.record()
			if err != nil {
				return err
			}
			next = cursor{at.epoch, nr, *r.seq}
			page = append(page, placed{record, next})
			return nil
		}, sqlScanEvents, at.nr, at.seq, last, since, until, kinds, int32(scanRows), int64(scanBytes))
	})
	return page, next, err
}

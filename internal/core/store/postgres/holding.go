package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

// holdingClass is the class of the transaction locks on what relays have, by
// relay. Who brings events takes it in common with others, who changes how ids
// stand otherwise, or counts, alone. It comes before the locks on rows.
const holdingClass int32 = 0x62626f75

const (
	sqlShareHolding = `SELECT pg_advisory_xact_lock_shared($1, $2)`
	sqlLockHolding  = `SELECT pg_advisory_xact_lock($1, $2)`
	sqlSummed       = `SELECT s.at, s.seq FROM relay_summed s WHERE s.relay_id = $1`
	sqlAnyMissing   = `SELECT EXISTS (SELECT 1 FROM missing m WHERE m.relay_id = $1)`
)

// spot is a place in the order of a relay's sightings, which goes back in time.
type spot struct{ at, seq int64 }

// The spots before every sighting and behind.
var (
	beforeAll = spot{math.MaxInt64, math.MinInt64}
	behindAll = spot{math.MinInt64, math.MaxInt64}
)

// lanes is the sum of ids by 32 bits each, lowest first; and how many they are.
type lanes struct {
	n int64
	s [8]int64
}

func (l *lanes) add(id nostr.ID, sign int64) {
	l.n += sign
	for i := range l.s {
		l.s[i] += sign * int64(binary.LittleEndian.Uint32(id[4*i:]))
	}
}

// accumulator carries from lane to lane what is beyond 32 bits.
func (l *lanes) accumulator() negentropy.Accumulator {
	a := negentropy.Accumulator{Count: l.n}
	carry := int64(0)
	for i, lane := range l.s {
		lane += carry
		binary.LittleEndian.PutUint32(a.Sum[4*i:], uint32(lane))
		carry = lane >> 32
	}
	return a
}

// lanesOf spreads a sum over lanes.
func lanesOf(a negentropy.Accumulator) lanes {
	l := lanes{n: a.Count}
	for i := range l.s {
		l.s[i] = int64(binary.LittleEndian.Uint32(a.Sum[4*i:]))
	}
	return l
}

// tally gathers how a transaction changes the sums of a relay.
type tally struct {
	relay int32
	kept  bool // the relay has sums
	upTo  spot // they hold the sightings up to this one
	days  map[int64]lanes
}

func newTally(relay store.RelayID) *tally {
	return &tally{relay: int32(relay), days: make(map[int64]lanes)}
}

// read reads what there is of sums.
func (t *tally) read(row pgx.Row) (err error) {
	t.kept, err = found(row.Scan(&t.upTo.at, &t.upTo.seq))
	return err
}

// add puts an id in, or takes it out with sign -1.
func (t *tally) add(id nostr.ID, at, sign int64) {
	if !t.kept {
		return
	}
	day := t.days[store.SumDay(at)]
	day.add(id, sign)
	t.days[store.SumDay(at)] = day
}

// sighting is add for an id that has a sighting.
func (t *tally) sighting(id nostr.ID, at, seq, sign int64) {
	if at > t.upTo.at || at == t.upTo.at && seq <= t.upTo.seq {
		t.add(id, at, sign)
	}
}

const sqlAddHeldDays = `
	INSERT INTO relay_day AS d (relay_id, day, n, s0, s1, s2, s3, s4, s5, s6, s7)
	SELECT $1, u.* FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
		AS u (day, n, s0, s1, s2, s3, s4, s5, s6, s7)
	ORDER BY u.day
	ON CONFLICT (relay_id, day) DO UPDATE SET n = d.n + excluded.n, s0 = d.s0 + excluded.s0, s1 = d.s1 + excluded.s1, s2 = d.s2 + excluded.s2,
		s3 = d.s3 + excluded.s3, s4 = d.s4 + excluded.s4, s5 = d.s5 + excluded.s5, s6 = d.s6 + excluded.s6, s7 = d.s7 + excluded.s7`

// queue has a batch of statements change the sums.
func (t *tally) queue(b *pgx.Batch) {
	var days []int32
	var columns [9][]int64
	for _, day := range slices.Sorted(maps.Keys(t.days)) {
		change := t.days[day]
		if change == (lanes{}) {
			continue
		}
		days = append(days, int32(day))
		columns[0] = append(columns[0], change.n)
		for i, lane := range change.s {
			columns[i+1] = append(columns[i+1], lane)
		}
	}
	if len(days) == 0 {
		return
	}
	args := []any{t.relay, days}
	for _, c := range columns {
		args = append(args, c)
	}
	b.Queue(sqlAddHeldDays, args...)
}

const (
	sqlClaim = `SELECT place, seq FROM claim_events($1, $2, $3, $4)`
	sqlLose  = `SELECT place, seq FROM lose_events($1, $2, $3, $4)`
	sqlMiss  = `SELECT place, was FROM miss_events($1, $2, $3, $4, $5, $6, $7)`
	sqlFound = `DELETE FROM missing WHERE relay_id = $1 AND id = ANY ($2) RETURNING id, at`
)

// changesStanding tells whether the batch says more than what was delivered.
func changesStanding(b *store.Batch) bool {
	return len(b.Claimed)+len(b.Withheld)+len(b.Refused)+len(b.Gone) > 0
}

// standing changes how ids stand at the relay as the batch says. What it
// delivered comes later, and of the rest what takes away comes first: what is
// named twice is had after all.
func (s *saving) standing(ctx context.Context) error {
	if s.batch.Relay == 0 || !changesStanding(s.batch) {
		return nil
	}
	if err := s.lose(ctx); err != nil {
		return err
	}
	if err := s.miss(ctx, s.batch.Withheld, store.HoldWithheld); err != nil {
		return err
	}
	if err := s.miss(ctx, s.batch.Refused, store.HoldRefused); err != nil {
		return err
	}
	return s.claim(ctx)
}

// split returns refs as arrays, each id once, the last one.
func split(refs []nostr.Ref) (ids [][]byte, createdAts []int64) {
	place := make(map[nostr.ID]int, len(refs))
	for i := range refs {
		if at, there := place[refs[i].ID]; there {
			createdAts[at] = refs[i].CreatedAt
			continue
		}
		place[refs[i].ID] = len(ids)
		ids, createdAts = append(ids, refs[i].ID[:]), append(createdAts, refs[i].CreatedAt)
	}
	return ids, createdAts
}

func (s *saving) lose(ctx context.Context) error {
	if len(s.batch.Gone) == 0 {
		return nil
	}
	ids, createdAts := split(s.batch.Gone)
	if err := each(ctx, s.tx, func(rows pgx.Rows) error {
		var place int32
		var seq int64
		err := rows.Scan(&place, &seq)
		s.tally.sighting(nostr.ID(ids[place-1]), createdAts[place-1], seq, -1)
		return err
	}, sqlLose, s.tally.relay, s.batch.SeenAt, ids, createdAts); err != nil {
		return err
	}
	return s.found(ctx, ids)
}

// found takes ids away from what is missing.
func (s *saving) found(ctx context.Context, ids [][]byte) error {
	if !s.missing || len(ids) == 0 {
		return nil
	}
	return each(ctx, s.tx, func(rows pgx.Rows) error {
		var id []byte
		var at int64
		err := rows.Scan(&id, &at)
		if err == nil {
			s.tally.add(nostr.ID(id), at, -1)
		}
		return err
	}, sqlFound, s.tally.relay, ids)
}

// miss notes that the relay has ids of which the archive has nothing.
func (s *saving) miss(ctx context.Context, refs []nostr.Ref, hold store.Hold) error {
	if len(refs) == 0 {
		return nil
	}
	ids, ats := split(refs)
	los, his := make([]int64, len(ats)), make([]int64, len(ats))
	for i, at := range ats {
		span := store.SumSpan(store.SumDay(at))
		los[i], his[i] = span.Lo, span.Hi
	}
	s.missing = true
	return each(ctx, s.tx, func(rows pgx.Rows) error {
		var place int32
		var was *int64
		if err := rows.Scan(&place, &was); err != nil {
			return err
		}
		id := nostr.ID(ids[place-1])
		if was != nil {
			s.tally.add(id, *was, -1)
		}
		s.tally.add(id, ats[place-1], 1)
		return nil
	}, sqlMiss, s.tally.relay, int16(hold), s.batch.SeenAt, ids, ats, los, his)
}

// claim makes sightings of what the relay named and the archive has.
func (s *saving) claim(ctx context.Context) error {
	all, allCreatedAts := split(s.batch.Claimed)
	for len(all) > 0 {
		n := min(len(all), ingestMost)
		ids, createdAts := all[:n], allCreatedAts[:n]
		all, allCreatedAts = all[n:], allCreatedAts[n:]
		var had [][]byte
		if err := each(ctx, s.tx, func(rows pgx.Rows) error {
			var place int32
			var seq int64
			err := rows.Scan(&place, &seq)
			s.tally.sighting(nostr.ID(ids[place-1]), createdAts[place-1], seq, 1)
			had = append(had, ids[place-1])
			return err
		}, sqlClaim, s.tally.relay, s.batch.SeenAt, ids, createdAts); err != nil {
			return err
		}
		if err := s.found(ctx, had); err != nil {
			return err
		}
	}
	return nil
}

// had notes what an ingest has brought into the relay's set.
func (s *saving) had(ctx context.Context, events []*nostr.Event, firstSeq int64, fresh []int32, createdAts, seqs []int64, again [][]byte) error {
	if s.batch.Relay == 0 || !s.tally.kept && !s.missing {
		return nil
	}
	ids := again
	for i, id := range again {
		s.tally.sighting(nostr.ID(id), createdAts[i], seqs[i], 1)
	}
	for _, place := range fresh {
		e := events[place-1]
		s.tally.sighting(e.ID, e.CreatedAt, firstSeq+int64(place), 1)
		ids = append(ids, e.ID[:])
	}
	return s.found(ctx, ids)
}

// barred notes what the relay has that is kept out here, lest it be asked for
// again.
func (s *saving) barred(ctx context.Context) error {
	if s.batch.Relay == 0 || !s.tally.kept {
		return nil
	}
	return s.miss(ctx, s.out, store.HoldRefused)
}

// sumRows is how many sightings one transaction adds to sums that are not whole
// yet, or one statement reads.
const sumRows = 10000

const sqlHeldDays = `SELECT day, n, s0, s1, s2, s3, s4, s5, s6, s7 FROM relay_day WHERE relay_id = $1 ORDER BY day`

// HeldDays implements store.Holdings.
func (db *DB) HeldDays(ctx context.Context, relay store.RelayID, now int64) ([]negentropy.Day, error) {
	days, err := db.heldDays(ctx, relay, now)
	if err != nil {
		return nil, fmt.Errorf("read the sums of relay %d: %w", relay, err)
	}
	return days, nil
}

func (db *DB) heldDays(ctx context.Context, relay store.RelayID, now int64) ([]negentropy.Day, error) {
	for {
		upTo, err := db.summedUpTo(ctx, relay)
		if err != nil {
			return nil, err
		}
		if upTo == behindAll {
			break
		}
		if err := db.write(ctx, func(tx pgx.Tx) error { return sumSome(ctx, tx, relay) }); err != nil {
			return nil, err
		}
	}
	var days store.HeldDays
	err := db.read(ctx, func(q querier) error {
		days = store.HeldDays{Now: now}
		return eachHeldDay(ctx, q, relay, days.Add)
	})
	return days.Days, err
}

func eachHeldDay(ctx context.Context, q querier, relay store.RelayID, add func(day int64, a negentropy.Accumulator)) error {
	return each(ctx, q, func(rows pgx.Rows) error {
		var day int64
		var l lanes
		if err := rows.Scan(append([]any{&day}, l.fields()...)...); err != nil {
			return err
		}
		add(day, l.accumulator())
		return nil
	}, sqlHeldDays, int32(relay))
}

func (l *lanes) fields() []any {
	fields := []any{&l.n}
	for i := range l.s {
		fields = append(fields, &l.s[i])
	}
	return fields
}

// summedUpTo returns how far the sums of a relay are.
func (db *DB) summedUpTo(ctx context.Context, relay store.RelayID) (spot, error) {
	t := newTally(relay)
	err := db.read(ctx, func(q querier) error { return t.read(q.QueryRow(ctx, sqlSummed, t.relay)) })
	return t.upTo, err
}

const (
	sqlSetSummed = `INSERT INTO relay_summed (relay_id, at, seq) VALUES ($1, $2, $3)
		ON CONFLICT (relay_id) DO UPDATE SET at = excluded.at, seq = excluded.seq`
	sqlMissingHeld = `SELECT id, at FROM missing WHERE relay_id = $1 AND at >= $2 AND at <= $3`
	sqlHeldEvents  = `SELECT created_at, seq, gone, id FROM held_events($1, $2, $3, $4, $5)`
)

// counting locks what a relay has, so that it does not change.
func counting(ctx context.Context, tx pgx.Tx, relay store.RelayID) error {
	if _, err := tx.Exec(ctx, sqlShareLock, vanishing); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sqlLockHolding, holdingClass, int32(relay))
	return err
}

// sumSome adds the next sightings of a relay to its sums.
func sumSome(ctx context.Context, tx pgx.Tx, relay store.RelayID) error {
	if err := counting(ctx, tx, relay); err != nil {
		return err
	}
	t := newTally(relay)
	if err := t.read(tx.QueryRow(ctx, sqlSummed, t.relay)); err != nil {
		return err
	}
	if !t.kept {
		t.kept, t.upTo = true, beforeAll
		if err := eachMissing(ctx, tx, relay, store.Interval{Lo: math.MinInt64, Hi: math.MaxInt64}, func(ref nostr.Ref) { t.add(ref.ID, ref.CreatedAt, 1) }); err != nil {
			return err
		}
	}
	next, err := eachHeld(ctx, tx, relay, math.MinInt64, t.upTo, func(ref nostr.Ref) { t.add(ref.ID, ref.CreatedAt, 1) })
	if err != nil {
		return err
	}
	var b pgx.Batch
	t.queue(&b)
	b.Queue(sqlSetSummed, t.relay, next.at, next.seq)
	return tx.SendBatch(ctx, &b).Close()
}

func eachMissing(ctx context.Context, q querier, relay store.RelayID, within store.Interval, give func(nostr.Ref)) error {
	return each(ctx, q, func(rows pgx.Rows) error {
		var id []byte
		var at int64
		err := rows.Scan(&id, &at)
		if err == nil {
			give(nostr.Ref{ID: nostr.ID(id), CreatedAt: at})
		}
		return err
	}, sqlMissingHeld, int32(relay), within.Lo, within.Hi)
}

// eachHeld reads the next sightings that are not gone, not before a time, and
// returns how far it came: behind all when none are left.
func eachHeld(ctx context.Context, q querier, relay store.RelayID, since int64, after spot, give func(nostr.Ref)) (spot, error) {
	n := 0
	err := each(ctx, q, func(rows pgx.Rows) error {
		var gone bool
		var id []byte
		if err := rows.Scan(&after.at, &after.seq, &gone, &id); err != nil {
			return err
		}
		n++
		if !gone && id != nil {
			give(nostr.Ref{ID: nostr.ID(id), CreatedAt: after.at})
		}
		return nil
	}, sqlHeldEvents, int32(relay), since, after.at, after.seq, int32(sumRows))
	if err == nil && n < sumRows {
		after = behindAll
	}
	return after, err
}

// ScanHeld implements store.Holdings.
func (db *DB) ScanHeld(ctx context.Context, relay store.RelayID, within store.Interval) iter.Seq2[nostr.Ref, error] {
	return func(yield func(nostr.Ref, error) bool) {
		var page []nostr.Ref
		give := func(ref nostr.Ref) { page = append(page, ref) }
		err := db.read(ctx, func(q querier) error {
			page = nil
			return eachMissing(ctx, q, relay, within, give)
		})
		for at := (spot{within.Hi, math.MinInt64}); ; {
			if err != nil {
				yield(nostr.Ref{}, fmt.Errorf("read what relay %d has: %w", relay, err))
				return
			}
			for _, ref := range page {
				if !yield(ref, nil) {
					return
				}
			}
			if at == behindAll {
				return
			}
			next := at
			err = db.read(ctx, func(q querier) (err error) {
				page = page[:0]
				next, err = eachHeld(ctx, q, relay, within.Lo, at, give)
				return err
			})
			at = next
		}
	}
}

const sqlHoldings = `SELECT coalesce(seq, 0), coalesce(created_at, 0), seen_at, gone, coalesce(hold, 0) FROM holdings($1, $2, $3, $4)`

// Holdings implements store.Holdings.
func (db *DB) Holdings(ctx context.Context, relay store.RelayID, ids []nostr.ID, within store.Interval) ([]store.Holding, error) {
	list := make([]store.Holding, 0, len(ids))
	for part := range slices.Chunk(ids, ingestMost) {
		asked := make([][]byte, len(part))
		for i := range part {
			asked[i] = part[i][:]
		}
		before := len(list)
		if err := db.read(ctx, func(q querier) error {
			list = list[:before]
			return each(ctx, q, func(rows pgx.Rows) error {
				h, err := scanHolding(rows)
				list = append(list, h)
				return err
			}, sqlHoldings, int32(relay), asked, within.Lo, within.Hi)
		}); err != nil {
			return nil, fmt.Errorf("look up what relay %d has: %w", relay, err)
		}
	}
	return list, nil
}

func scanHolding(rows pgx.Rows) (h store.Holding, err error) {
	var seenAt *int64
	var gone bool
	var missing store.Hold
	err = rows.Scan(&h.Seq, &h.CreatedAt, &seenAt, &gone, &missing)
	switch {
	case seenAt == nil:
	case gone:
		h.Hold = store.HoldGone
	case *seenAt < 0:
		h.Hold = store.HoldClaimed
	default:
		h.Hold = store.HoldDelivered
	}
	if missing != store.HoldNone && (h.Hold == store.HoldNone || h.Hold == store.HoldGone) {
		h.Hold = missing
	}
	return h, err
}

const sqlScanMissing = `SELECT id, at, hold, since FROM missing WHERE relay_id = $1 AND id > $2 ORDER BY id LIMIT $3`

// ScanMissing implements store.Holdings.
func (db *DB) ScanMissing(ctx context.Context, relay store.RelayID) iter.Seq2[store.Missing, error] {
	return func(yield func(store.Missing, error) bool) {
		after := []byte{}
		for {
			var page []store.Missing
			if err := db.read(ctx, func(q querier) error {
				page = nil
				return each(ctx, q, func(rows pgx.Rows) error {
					var id []byte
					var m store.Missing
					err := rows.Scan(&id, &m.At, &m.Hold, &m.Since)
					if err == nil {
						m.ID = nostr.ID(id)
					}
					page = append(page, m)
					return err
				}, sqlScanMissing, int32(relay), after, int32(maxPage))
			}); err != nil {
				yield(store.Missing{}, fmt.Errorf("read what is missing of relay %d: %w", relay, err))
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if len(page) < maxPage {
				return
			}
			after = page[len(page)-1].ID[:]
		}
	}
}

// The next time at which a relay has something of a day, or a sum.
const sqlNextHeld = `
	SELECT min(at) FROM (
		SELECT min(created_at) AS at FROM sighting WHERE relay_id = $1 AND created_at >= $2
		UNION ALL SELECT min(at) FROM missing WHERE relay_id = $1 AND at >= $2
		UNION ALL SELECT min(day) * 86400::bigint FROM relay_day WHERE relay_id = $1 AND day >= $3) AS next`

// RecountHeld implements store.Holdings.
func (db *DB) RecountHeld(ctx context.Context, relay store.RelayID, within store.Interval) ([]store.Difference, error) {
	var found []store.Difference
	upTo, err := db.summedUpTo(ctx, relay)
	for day, last := store.SumDay(within.Lo), store.SumDay(within.Hi); err == nil && upTo == behindAll && day <= last; day++ {
		var next *int64
		err = db.read(ctx, func(q querier) error {
			return q.QueryRow(ctx, sqlNextHeld, int32(relay), store.SumSpan(day).Lo, int32(day)).Scan(&next)
		})
		if err != nil || next == nil {
			break
		}
		if day = max(day, store.SumDay(*next)); day > last {
			break
		}
		err = db.recountDay(ctx, relay, day, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("recount what relay %d has: %w", relay, err)
	}
	return found, nil
}

const sqlHeldDay = `SELECT n, s0, s1, s2, s3, s4, s5, s6, s7 FROM relay_day WHERE relay_id = $1 AND day = $2`

// recountDay counts a day anew, in a transaction.
func (db *DB) recountDay(ctx context.Context, relay store.RelayID, day int64, found *[]store.Difference) error {
	var was, is negentropy.Accumulator
	if err := db.write(ctx, func(tx pgx.Tx) error {
		was, is = negentropy.Accumulator{}, negentropy.Accumulator{}
		if err := counting(ctx, tx, relay); err != nil {
			return err
		}
		span := store.SumSpan(day)
		give := func(ref nostr.Ref) { is.Add(ref.ID) }
		if err := eachMissing(ctx, tx, relay, span, give); err != nil {
			return err
		}
		for at := (spot{span.Hi, math.MinInt64}); at != behindAll; {
			var err error
			if at, err = eachHeld(ctx, tx, relay, span.Lo, at, give); err != nil {
				return err
			}
		}
		var l lanes
		if err := tx.QueryRow(ctx, sqlHeldDay, int32(relay), int32(day)).Scan(l.fields()...); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if was = l.accumulator(); was == is {
			return nil
		}
		change := lanesOf(is)
		change.n -= l.n
		for i := range change.s {
			change.s[i] -= l.s[i]
		}
		var b pgx.Batch
		t := newTally(relay)
		t.days[day] = change
		t.queue(&b)
		return tx.SendBatch(ctx, &b).Close()
	}); err != nil {
		return err
	}
	if was != is && len(*found) < maxDifferences {
		*found = append(*found, store.Difference{Rollup: "relay_day", Key: fmt.Sprintf("relay=%d day=%d", relay, day), Was: was.Count, Is: is.Count})
	}
	return nil
}

const sqlSummedRelays = `SELECT relay_id FROM relay_summed WHERE at = '-9223372036854775808'::bigint ORDER BY relay_id`

// held looks through the sums of all relays for days that differ. What changes
// while it counts may look so too; those days are counted again, each in a
// transaction.
func (rc *recounting) held(ctx context.Context) error {
	var relays []store.RelayID
	if err := rc.db.read(ctx, func(q querier) error {
		relays = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var relay store.RelayID
			err := rows.Scan(&relay)
			relays = append(relays, relay)
			return err
		}, sqlSummedRelays)
	}); err != nil {
		return err
	}
	for _, relay := range relays {
		days, err := rc.db.countHeld(ctx, relay)
		if err != nil {
			return err
		}
		for _, day := range days {
			if err := rc.db.recountDay(ctx, relay, day, &rc.found); err != nil {
				return err
			}
		}
	}
	return nil
}

// countHeld counts what a relay has and returns the days whose sums differ.
func (db *DB) countHeld(ctx context.Context, relay store.RelayID) ([]int64, error) {
	is := make(map[int64]negentropy.Accumulator)
	for ref, err := range db.ScanHeld(ctx, relay, store.Interval{Lo: math.MinInt64, Hi: math.MaxInt64}) {
		if err != nil {
			return nil, err
		}
		a := is[store.SumDay(ref.CreatedAt)]
		a.Add(ref.ID)
		is[store.SumDay(ref.CreatedAt)] = a
	}
	var days []int64
	if err := db.read(ctx, func(q querier) error {
		left := maps.Clone(is)
		days = nil
		if err := eachHeldDay(ctx, q, relay, func(day int64, was negentropy.Accumulator) {
			if was != left[day] {
				days = append(days, day)
			}
			delete(left, day)
		}); err != nil {
			return err
		}
		days = append(days, slices.Sorted(maps.Keys(left))...)
		return nil
	}); err != nil {
		return nil, err
	}
	return days, nil
}

// sqlAlike ranks relays first and adds up their days then, until one is large enough:
// all relays together have millions of days.
const sqlAlike = `
	WITH sample AS MATERIALIZED (
		SELECT event_seq, created_at FROM sighting WHERE relay_id = $1 AND gone_at IS NULL ORDER BY created_at DESC LIMIT $3
	), common AS MATERIALIZED (
		SELECT o.relay_id, count(*) AS n FROM sample s
		CROSS JOIN LATERAL (SELECT g.relay_id FROM sighting g WHERE g.created_at = s.created_at AND g.event_seq = s.event_seq AND g.gone_at IS NULL OFFSET 0) o
		GROUP BY o.relay_id
	), ranked AS MATERIALIZED (
		SELECT r.relay_id, coalesce(c.n, 0) AS common, coalesce(t.n, 0) AS counted FROM relay_summed r
		LEFT JOIN common c ON c.relay_id = r.relay_id LEFT JOIN rollup_relay t ON t.relay_id = r.relay_id
		WHERE r.relay_id <> $1
	)
	SELECT r.relay_id FROM (SELECT * FROM ranked ORDER BY common DESC, counted DESC, relay_id OFFSET 0) r
	CROSS JOIN LATERAL (SELECT sum(d.n) AS n FROM relay_day d WHERE d.relay_id = r.relay_id OFFSET 0) h
	WHERE h.n >= $2 ORDER BY r.common DESC, r.counted DESC, r.relay_id LIMIT 1`

// Alike implements store.Holdings.
func (db *DB) Alike(ctx context.Context, relay store.RelayID, least int64) (id store.RelayID, err error) {
	err = db.read(ctx, func(q querier) error {
		err := q.QueryRow(ctx, sqlAlike, int32(relay), least, int64(store.AlikeSample)).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			id, err = 0, nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look for a relay like %d: %w", relay, err)
	}
	return id, nil
}

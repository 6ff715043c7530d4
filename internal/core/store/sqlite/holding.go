package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

// tally gathers how a transaction changes the sums of a relay.
type tally struct {
	relay int64
	kept  bool  // the relay has sums
	below int64 // of sightings those of lower numbers are in them
	days  map[int64]negentropy.Accumulator
}

const sqlBelow = `SELECT below FROM relay_summed WHERE relay_id = ?`

func (c *conn) tally(relay int64) (*tally, error) {
	t := &tally{relay: relay, days: make(map[int64]negentropy.Accumulator)}
	var err error
	t.kept, err = c.first(func(r row) { t.below = r.int(0) }, sqlBelow, relay)
	return t, err
}

// add puts an id in, or takes it out.
func (t *tally) add(ref nostr.Ref, in bool) {
	if !t.kept {
		return
	}
	day := store.SumDay(ref.CreatedAt)
	a := t.days[day]
	if in {
		a.Add(ref.ID)
	} else {
		a.Sub(ref.ID)
	}
	t.days[day] = a
}

// sighting is add for an id that has a sighting.
func (t *tally) sighting(seq int64, ref nostr.Ref, in bool) {
	if seq < t.below {
		t.add(ref, in)
	}
}

const (
	sqlHeldDay     = `SELECT n, sum FROM relay_day WHERE relay_id = ? AND day = ?`
	sqlSetHeldDay  = `INSERT OR REPLACE INTO relay_day (relay_id, day, n, sum) VALUES (?, ?, ?, ?)`
	sqlDropHeldDay = `DELETE FROM relay_day WHERE relay_id = ? AND day = ?`
)

// save changes the sums.
func (t *tally) save(c *conn) error {
	for _, day := range slices.Sorted(maps.Keys(t.days)) {
		change := t.days[day]
		if change == (negentropy.Accumulator{}) {
			continue
		}
		have, err := c.heldDay(t.relay, day)
		if err != nil {
			return err
		}
		have.Merge(change)
		if err := c.setHeldDay(t.relay, day, have); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) heldDay(relay, day int64) (a negentropy.Accumulator, err error) {
	_, err = c.first(func(r row) { a = accumulator(r.int(0), r.blob(1)) }, sqlHeldDay, relay, day)
	return a, err
}

func (c *conn) setHeldDay(relay, day int64, a negentropy.Accumulator) (err error) {
	if a == (negentropy.Accumulator{}) {
		_, err = c.exec(sqlDropHeldDay, relay, day)
	} else {
		_, err = c.exec(sqlSetHeldDay, relay, day, a.Count, a.Sum[:])
	}
	return err
}

func accumulator(n int64, sum []byte) negentropy.Accumulator {
	a := negentropy.Accumulator{Count: n}
	copy(a.Sum[:], sum)
	return a
}

// sighted is the sighting of an event as it is, if there is one.
type sighted struct {
	nostr.Ref
	seq     int64
	there   bool
	claimed bool
	gone    bool
}

var (
	// Returns nothing for what the relay delivered, as most was that comes again.
	sqlSighted = `SELECT v.column1, s.seen_at < 0, s.gone_at IS NOT NULL FROM (VALUES ` + placeholders("(?)") + `) v
		LEFT JOIN sighting s ON s.relay_id = ? AND s.event_seq = v.column1
		WHERE s.seen_at IS NULL OR s.seen_at < 0 OR s.gone_at IS NOT NULL`
	sqlRefsOf = `SELECT seq, id, created_at FROM event WHERE seq IN (` + placeholders("?") + `)`
	sqlSeqsOf = `SELECT id, seq, created_at FROM event WHERE id IN (` + placeholders("?") + `)`
)

const (
	sqlRevive     = `UPDATE sighting SET gone_at = NULL WHERE relay_id = ? AND event_seq = ?`
	sqlDelivered  = `UPDATE sighting SET gone_at = NULL, seen_at = ? WHERE relay_id = ? AND event_seq = ?`
	sqlAnyMissing = `SELECT 1 FROM missing WHERE relay_id = ? LIMIT 1`
	sqlFound      = `DELETE FROM missing WHERE relay_id = ? AND id = ? RETURNING at`
)

func seqArg(args []any, seq int64) []any { return append(args, seq) }

// sightings writes that the relay delivered what is new and what is known.
func (s *saving) sightings() error {
	if s.batch.Relay == 0 {
		return nil
	}
	if err := s.freshSightings(); err != nil {
		return err
	}
	for _, k := range s.batch.Known {
		s.known = append(s.known, int64(k.Seq))
	}
	slices.Sort(s.known)
	changed, err := s.sighted(slices.Compact(s.known))
	if err != nil {
		return err
	}
	// Without sums ids do not matter, and no event is gone that nobody purged.
	if s.tally.kept || s.missing || s.w.purges > 0 {
		if err := s.identify(changed); err != nil {
			return err
		}
		changed = slices.DeleteFunc(changed, func(e sighted) bool { return e.ID == nostr.ID{} })
	}
	var again []int64
	for i := range changed {
		e := &changed[i]
		switch {
		case e.there && e.claimed:
			_, err = s.c.exec(sqlDelivered, s.batch.SeenAt, int64(s.batch.Relay), e.seq)
		case e.there:
			_, err = s.c.exec(sqlRevive, int64(s.batch.Relay), e.seq)
		default:
			again = append(again, e.seq)
		}
		if err == nil && (e.gone || !e.there) {
			err = s.had(e.seq, e.Ref)
		}
		if err != nil {
			return err
		}
	}
	if err := s.addSightings(again, s.batch.SeenAt); err != nil {
		return err
	}
	return s.logSightings()
}

// addSightings adds sightings of events that the relay has none of.
func (s *saving) addSightings(seqs []int64, seenAt int64) error {
	s.added = append(s.added, seqs...)
	return inChunks([]any{int64(s.batch.Relay), seenAt}, seqs, seqArg, func(args []any) error {
		_, err := s.c.exec(sqlAddSightings, args...)
		return err
	})
}

// freshSightings is sightings for events of this batch that are new.
func (s *saving) freshSightings() error {
	if err := s.addSightings(s.fresh, s.batch.SeenAt); err != nil {
		return err
	}
	if !s.tally.kept && !s.missing {
		return nil
	}
	for i, e := range s.created {
		if err := s.had(s.fresh[i], e.Ref()); err != nil {
			return err
		}
	}
	return nil
}

// sighted looks for the sightings of events, whose numbers ascend, and returns
// the events that have none, or one that is claimed or gone.
func (s *saving) sighted(seqs []int64) ([]sighted, error) {
	var list []sighted
	err := inChunks(nil, seqs, seqArg, func(args []any) error {
		return s.c.each(func(r row) bool {
			e := sighted{seq: r.int(0), there: r[1] != nil, claimed: r.bool(1), gone: r.bool(2)}
			if len(list) == 0 || list[len(list)-1].seq < e.seq {
				list = append(list, e)
			}
			return true
		}, sqlSighted, append(args, int64(s.batch.Relay))...)
	})
	return list, err
}

func bySeq(list []sighted, seq int64) *sighted {
	i, _ := slices.BinarySearchFunc(list, seq, func(e sighted, seq int64) int { return cmp.Compare(e.seq, seq) })
	return &list[i]
}

// identify reads the ids of events, whose numbers ascend. Those of events that
// were deleted stay zero.
func (s *saving) identify(list []sighted) error {
	return inChunks(nil, list, func(args []any, e sighted) []any { return append(args, e.seq) }, func(args []any) error {
		return s.c.each(func(r row) bool {
			bySeq(list, r.int(0)).Ref = nostr.Ref{ID: nostr.ID(r.blob(1)), CreatedAt: r.int(2)}
			return true
		}, sqlRefsOf, args...)
	})
}

// had notes that an event has come into the relay's set by a sighting.
func (s *saving) had(seq int64, ref nostr.Ref) error {
	s.tally.sighting(seq, ref, true)
	return s.found(ref.ID)
}

// found takes an id away from what is missing.
func (s *saving) found(id nostr.ID) error {
	if !s.missing {
		return nil
	}
	var at int64
	n, err := s.c.first(func(r row) { at = r.int(0) }, sqlFound, int64(s.batch.Relay), id[:])
	if n {
		s.tally.add(nostr.Ref{ID: id, CreatedAt: at}, false)
	}
	return err
}

const sqlAddSightingLog = `INSERT INTO sighting_log (relay_id, seqs) VALUES (?, ?)`

func (s *saving) logSightings() error {
	if len(s.added) == 0 {
		return nil
	}
	slices.Sort(s.added)
	_, err := s.c.exec(sqlAddSightingLog, int64(s.batch.Relay), appendSteps(nil, s.added))
	return err
}

// standing changes how ids stand at the relay as the batch says. What it
// delivered comes later, and of the rest what takes away comes first: what is
// named twice is had after all.
func (s *saving) standing() (err error) {
	if s.batch.Relay == 0 {
		return nil
	}
	relay := int64(s.batch.Relay)
	if s.tally, err = s.c.tally(relay); err != nil {
		return err
	}
	if s.missing, err = s.c.first(func(row) {}, sqlAnyMissing, relay); err != nil {
		return err
	}
	for _, ref := range s.batch.Gone {
		if err := s.gone(ref.ID); err != nil {
			return err
		}
	}
	for _, ref := range s.batch.Withheld {
		if err := s.miss(ref, store.HoldWithheld); err != nil {
			return err
		}
	}
	for _, ref := range s.batch.Refused {
		if err := s.miss(ref, store.HoldRefused); err != nil {
			return err
		}
	}
	return s.claimed()
}

const (
	sqlGone    = `UPDATE sighting SET gone_at = ? WHERE relay_id = ? AND event_seq = ? AND gone_at IS NULL`
	sqlEventOf = `SELECT seq, created_at FROM event WHERE id = ?`
)

func (s *saving) gone(id nostr.ID) error {
	var seq, at int64
	archived, err := s.c.first(func(r row) { seq, at = r.int(0), r.int(1) }, sqlEventOf, id[:])
	if err != nil {
		return err
	}
	if archived {
		n, err := s.c.exec(sqlGone, s.batch.SeenAt, int64(s.batch.Relay), seq)
		if err != nil {
			return err
		}
		if n > 0 {
			s.tally.sighting(seq, nostr.Ref{ID: id, CreatedAt: at}, false)
		}
	}
	return s.found(id)
}

const (
	sqlHas = `SELECT 1 FROM event e JOIN sighting s ON s.event_seq = e.seq
		WHERE e.id = ? AND s.relay_id = ? AND s.gone_at IS NULL`
	sqlMissing    = `SELECT at, hold FROM missing WHERE relay_id = ? AND id = ?`
	sqlSetMissing = `INSERT INTO missing (relay_id, id, at, hold, since) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET at = excluded.at, hold = excluded.hold, since = excluded.since`
	sqlMoveMissing = `UPDATE missing SET at = ? WHERE relay_id = ? AND id = ?`
)

// miss notes that the relay has an id of which the archive has nothing.
func (s *saving) miss(ref nostr.Ref, hold store.Hold) error {
	relay := int64(s.batch.Relay)
	if has, err := s.c.first(func(row) {}, sqlHas, ref.ID[:], relay); has || err != nil {
		return err
	}
	var at int64
	var was store.Hold
	there, err := s.c.first(func(r row) { at, was = r.int(0), store.Hold(r.int(1)) }, sqlMissing, relay, ref.ID[:])
	if err != nil {
		return err
	}
	if there {
		s.tally.add(nostr.Ref{ID: ref.ID, CreatedAt: at}, false)
	}
	s.tally.add(ref, true)
	s.missing = true
	if was == hold {
		_, err = s.c.exec(sqlMoveMissing, ref.CreatedAt, relay, ref.ID[:])
		return err
	}
	_, err = s.c.exec(sqlSetMissing, relay, ref.ID[:], ref.CreatedAt, int64(hold), s.batch.SeenAt)
	return err
}

// claimed makes sightings of what the relay named and the archive has.
func (s *saving) claimed() error {
	refs := make(map[int64]nostr.Ref, len(s.batch.Claimed))
	if err := inChunks(nil, s.batch.Claimed, func(args []any, ref nostr.Ref) []any { return append(args, ref.ID[:]) }, func(args []any) error {
		return s.c.each(func(r row) bool {
			refs[r.int(1)] = nostr.Ref{ID: nostr.ID(r.blob(0)), CreatedAt: r.int(2)}
			return true
		}, sqlSeqsOf, args...)
	}); err != nil {
		return err
	}
	seen, err := s.sighted(slices.Sorted(maps.Keys(refs)))
	if err != nil {
		return err
	}
	var added []int64
	for i := range seen {
		e := &seen[i]
		switch {
		case e.gone:
			_, err = s.c.exec(sqlRevive, int64(s.batch.Relay), e.seq)
		case !e.there:
			added = append(added, e.seq)
		default:
			continue
		}
		if err == nil {
			err = s.had(e.seq, refs[e.seq])
		}
		if err != nil {
			return err
		}
	}
	return s.addSightings(added, ^s.batch.SeenAt)
}

// sums notes what the relay has that is kept out here, lest it be asked for
// again, and saves what has changed in the sums.
func (s *saving) sums() error {
	if s.batch.Relay == 0 || !s.tally.kept {
		return nil
	}
	for _, ref := range s.barred {
		if err := s.miss(ref, store.HoldRefused); err != nil {
			return err
		}
	}
	return s.tally.save(s.c)
}

// sumRows is how many sightings one transaction adds to sums that are not whole
// yet.
const sumRows = 10000

// whole is the bound of sums that hold every sighting.
const whole = math.MaxInt64

const sqlHeldDays = `SELECT day, n, sum FROM relay_day WHERE relay_id = ? ORDER BY day`

// HeldDays implements store.Holdings.
func (db *DB) HeldDays(ctx context.Context, relay store.RelayID, now int64) ([]negentropy.Day, error) {
	days, err := db.heldDays(ctx, int64(relay), now)
	if err != nil {
		return nil, fmt.Errorf("read the sums of relay %d: %w", relay, err)
	}
	return days, nil
}

func (db *DB) heldDays(ctx context.Context, relay, now int64) ([]negentropy.Day, error) {
	for {
		below, err := db.summedBelow(ctx, relay)
		if err != nil {
			return nil, err
		}
		if below == whole {
			break
		}
		if err := db.write(ctx, func(w *writer) error { return w.sumSome(relay) }); err != nil {
			return nil, err
		}
	}
	var days store.HeldDays
	err := db.read(ctx, func(c *conn) error {
		days = store.HeldDays{Now: now}
		return c.query(ctx, func(r row) bool {
			days.Add(r.int(0), accumulator(r.int(1), r.blob(2)))
			return true
		}, sqlHeldDays, relay)
	})
	return days.Days, err
}

// summedBelow returns how far the sums of a relay are.
func (db *DB) summedBelow(ctx context.Context, relay int64) (below int64, err error) {
	err = db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { below = r.int(0) }, sqlBelow, relay)
		return err
	})
	return below, err
}

const (
	sqlSetBelow     = `INSERT OR REPLACE INTO relay_summed (relay_id, below) VALUES (?, ?)`
	sqlMissingRefs  = `SELECT id, at FROM missing WHERE relay_id = ?`
	sqlSightingRefs = `
		SELECT s.event_seq, s.gone_at IS NOT NULL, e.id, e.created_at FROM sighting s LEFT JOIN event e ON e.seq = s.event_seq
		WHERE s.relay_id = ? AND s.event_seq >= ? ORDER BY s.event_seq LIMIT ?`
)

// sumSome adds the next sightings of a relay to its sums.
func (w *writer) sumSome(relay int64) error {
	t, err := w.c.tally(relay)
	if err != nil || t.below == whole {
		return err
	}
	if !t.kept {
		t.kept = true
		if err := w.c.each(func(r row) bool {
			t.add(nostr.Ref{ID: nostr.ID(r.blob(0)), CreatedAt: r.int(1)}, true)
			return true
		}, sqlMissingRefs, relay); err != nil {
			return err
		}
	}
	n := 0
	below := int64(whole)
	if err := w.c.each(func(r row) bool {
		if n++; n > sumRows {
			below = r.int(0)
			return false
		}
		if !r.bool(1) && r[2] != nil {
			t.add(nostr.Ref{ID: nostr.ID(r.blob(2)), CreatedAt: r.int(3)}, true)
		}
		return true
	}, sqlSightingRefs, relay, t.below, int64(sumRows+1)); err != nil {
		return err
	}
	if err := t.save(w.c); err != nil {
		return err
	}
	_, err = w.c.exec(sqlSetBelow, relay, below)
	return err
}

const (
	// The last place of a stretch of so many events, none when there are fewer.
	sqlHeldEdge = `SELECT created_at, seq FROM event INDEXED BY event_time
		WHERE (created_at, seq) > (?1, ?2) AND created_at <= ?3 ORDER BY created_at, seq LIMIT 1 OFFSET ?4`
	sqlHeld = `
		SELECT e.id, e.created_at FROM event e INDEXED BY event_time CROSS JOIN sighting s
		WHERE (e.created_at, e.seq) > (?1, ?2) AND (e.created_at, e.seq) <= (?3, ?4)
			AND s.relay_id = ?5 AND s.event_seq = e.seq AND s.gone_at IS NULL`
	sqlMissingHeld = `SELECT id, at FROM missing INDEXED BY missing_time WHERE relay_id = ? AND at >= ? AND at <= ?`
)

// ScanHeld implements store.Holdings.
func (db *DB) ScanHeld(ctx context.Context, relay store.RelayID, within store.Interval) iter.Seq2[nostr.Ref, error] {
	return func(yield func(nostr.Ref, error) bool) {
		fail := func(err error) { yield(nostr.Ref{}, fmt.Errorf("read what relay %d has: %w", relay, err)) }
		var page []nostr.Ref
		give := func(r row) bool {
			page = append(page, nostr.Ref{ID: nostr.ID(r.blob(0)), CreatedAt: r.int(1)})
			return true
		}
		if err := db.read(ctx, func(c *conn) error {
			page = nil
			return c.query(ctx, give, sqlMissingHeld, int64(relay), within.Lo, within.Hi)
		}); err != nil {
			fail(err)
			return
		}
		at, last := hit{within.Lo, math.MinInt64}, hit{within.Hi, math.MaxInt64}
		for more := within.Lo <= within.Hi; ; {
			for _, ref := range page {
				if !yield(ref, nil) {
					return
				}
			}
			if !more {
				return
			}
			page = page[:0]
			edge := last
			err := db.read(ctx, func(c *conn) (err error) {
				page = page[:0]
				if more, err = c.one(ctx, func(r row) { edge = hit{r.int(0), r.int(1)} }, sqlHeldEdge, at.at, at.seq, last.at, int64(scanSpan)); err != nil {
					return err
				}
				return c.query(ctx, give, sqlHeld, at.at, at.seq, edge.at, edge.seq, int64(relay))
			})
			if err != nil {
				fail(err)
				return
			}
			at = edge
		}
	}
}

// Holdings implements store.Holdings.
func (db *DB) Holdings(ctx context.Context, relay store.RelayID, ids []nostr.ID, within store.Interval) ([]store.Holding, error) {
	list := make([]store.Holding, len(ids))
	err := db.read(ctx, func(c *conn) error {
		clear(list)
		return c.snapshot(func() error {
			for i := range ids {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := c.holding(int64(relay), ids[i], within, &list[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look up what relay %d has: %w", relay, err)
	}
	return list, nil
}

const sqlHolding = `
	SELECT e.seq, e.created_at, s.seen_at, s.gone_at IS NOT NULL FROM event e LEFT JOIN sighting s ON s.relay_id = ?1 AND s.event_seq = e.seq
	WHERE e.id = ?2 AND e.created_at >= ?3 AND e.created_at <= ?4`

func (c *conn) holding(relay int64, id nostr.ID, within store.Interval, h *store.Holding) error {
	if _, err := c.first(func(r row) {
		h.Seq, h.CreatedAt = store.Seq(r.int(0)), r.int(1)
		switch {
		case r[2] == nil:
		case r.bool(3):
			h.Hold = store.HoldGone
		case r.int(2) < 0:
			h.Hold = store.HoldClaimed
		default:
			h.Hold = store.HoldDelivered
		}
	}, sqlHolding, relay, id[:], within.Lo, within.Hi); err != nil {
		return err
	}
	if h.Hold == store.HoldDelivered || h.Hold == store.HoldClaimed {
		return nil
	}
	_, err := c.first(func(r row) { h.Hold = store.Hold(r.int(1)) }, sqlMissing, relay, id[:])
	return err
}

const sqlScanMissing = `SELECT id, at, hold, since FROM missing WHERE relay_id = ? AND id > ? ORDER BY id LIMIT ?`

// ScanMissing implements store.Holdings.
func (db *DB) ScanMissing(ctx context.Context, relay store.RelayID) iter.Seq2[store.Missing, error] {
	return func(yield func(store.Missing, error) bool) {
		after := []byte{}
		for {
			page, err := list(ctx, db, func(r row) store.Missing {
				return store.Missing{ID: nostr.ID(r.blob(0)), At: r.int(1), Hold: store.Hold(r.int(2)), Since: r.int(3)}
			}, sqlScanMissing, int64(relay), after, int64(tablePage))
			if err != nil {
				yield(store.Missing{}, fmt.Errorf("read what is missing of relay %d: %w", relay, err))
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			if len(page) < tablePage {
				return
			}
			after = page[len(page)-1].ID[:]
		}
	}
}

// The next time at which a relay may have something of a day.
const sqlNextHeld = `
	SELECT min(at) FROM (
		SELECT min(created_at) AS at FROM event WHERE created_at >= ?2
		UNION ALL SELECT min(at) FROM missing WHERE relay_id = ?1 AND at >= ?2
		UNION ALL SELECT min(day) * 86400 FROM relay_day WHERE relay_id = ?1 AND day >= ?3)`

// RecountHeld implements store.Holdings.
func (db *DB) RecountHeld(ctx context.Context, relay store.RelayID, within store.Interval) ([]store.Difference, error) {
	var found []store.Difference
	below, err := db.summedBelow(ctx, int64(relay))
	for day, last := store.SumDay(within.Lo), store.SumDay(within.Hi); err == nil && below == whole && day <= last; day++ {
		next, there := int64(0), false
		if err = db.read(ctx, func(c *conn) error {
			_, err := c.one(ctx, func(r row) { next, there = r.int(0), r[0] != nil }, sqlNextHeld, int64(relay), store.SumSpan(day).Lo, day)
			return err
		}); err != nil || !there {
			break
		}
		if day = max(day, store.SumDay(next)); day > last {
			break
		}
		err = db.recountDay(ctx, int64(relay), day, &found)
	}
	if err != nil {
		return nil, fmt.Errorf("recount what relay %d has: %w", relay, err)
	}
	return found, nil
}

// recountDay counts a day anew, in a transaction.
func (db *DB) recountDay(ctx context.Context, relay, day int64, found *[]store.Difference) error {
	var was, is negentropy.Accumulator
	if err := db.write(ctx, func(w *writer) (err error) {
		is = negentropy.Accumulator{}
		add := func(r row) bool {
			is.Add(nostr.ID(r.blob(0)))
			return true
		}
		span := store.SumSpan(day)
		if err := w.c.each(add, sqlHeld, span.Lo, int64(math.MinInt64), span.Hi, int64(math.MaxInt64), relay); err != nil {
			return err
		}
		if err := w.c.each(add, sqlMissingHeld, relay, span.Lo, span.Hi); err != nil {
			return err
		}
		if was, err = w.c.heldDay(relay, day); err != nil || was == is {
			return err
		}
		return w.c.setHeldDay(relay, day, is)
	}); err != nil {
		return err
	}
	if was != is && len(*found) < maxDifferences {
		*found = append(*found, store.Difference{Rollup: "relay_day", Key: fmt.Sprintf("relay=%d day=%d", relay, day), Was: was.Count, Is: is.Count})
	}
	return nil
}

const sqlSummedRelays = `SELECT relay_id FROM relay_summed WHERE below = 9223372036854775807 ORDER BY relay_id`

// held looks through the sums of all relays for days that differ. What changes
// while it counts may look so too; those days are counted again, each in a
// transaction.
func (rc *recounting) held(ctx context.Context) error {
	relays, err := list(ctx, rc.db, func(r row) int64 { return r.int(0) }, sqlSummedRelays)
	if err != nil {
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
func (db *DB) countHeld(ctx context.Context, relay int64) (days []int64, err error) {
	is := &tally{relay: relay, kept: true, days: make(map[int64]negentropy.Accumulator)}
	if err := db.read(ctx, func(c *conn) error {
		return c.query(ctx, func(r row) bool {
			is.add(nostr.Ref{ID: nostr.ID(r.blob(0)), CreatedAt: r.int(1)}, true)
			return true
		}, sqlMissingRefs, relay)
	}); err != nil {
		return nil, err
	}
	for after, more := int64(0), true; more; {
		n := 0
		if err := db.read(ctx, func(c *conn) error {
			return c.query(ctx, func(r row) bool {
				n++
				after = r.int(0) + 1
				if !r.bool(1) && r[2] != nil {
					is.add(nostr.Ref{ID: nostr.ID(r.blob(2)), CreatedAt: r.int(3)}, true)
				}
				return true
			}, sqlSightingRefs, relay, after, int64(sumRows))
		}); err != nil {
			return nil, err
		}
		more = n == sumRows
	}
	if err := db.read(ctx, func(c *conn) error {
		return c.query(ctx, func(r row) bool {
			day := r.int(0)
			if was := accumulator(r.int(1), r.blob(2)); was != is.days[day] {
				days = append(days, day)
			}
			delete(is.days, day)
			return true
		}, sqlHeldDays, relay)
	}); err != nil {
		return nil, err
	}
	return append(days, slices.Sorted(maps.Keys(is.days))...), nil
}

const sqlAlike = `
	WITH sample AS (SELECT event_seq FROM sighting WHERE relay_id = ?1 AND gone_at IS NULL ORDER BY event_seq DESC LIMIT ?3),
	common AS (SELECT o.relay_id, count(*) AS n FROM sample s CROSS JOIN sighting o INDEXED BY sighting_event
		WHERE o.event_seq = s.event_seq AND o.gone_at IS NULL GROUP BY o.relay_id),
	held AS (SELECT relay_id, sum(n) AS n FROM relay_day WHERE relay_id <> ?1 GROUP BY relay_id)
	SELECT h.relay_id FROM held h LEFT JOIN common c ON c.relay_id = h.relay_id WHERE h.n >= ?2
	ORDER BY coalesce(c.n, 0) DESC, h.n DESC, h.relay_id LIMIT 1`

// Alike implements store.Holdings.
func (db *DB) Alike(ctx context.Context, relay store.RelayID, least int64) (id store.RelayID, err error) {
	err = db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { id = store.RelayID(r.int(0)) }, sqlAlike, int64(relay), least, int64(store.AlikeSample))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look for a relay like %d: %w", relay, err)
	}
	return id, nil
}

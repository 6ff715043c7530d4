package sqlite

import (
	"context"
	"fmt"
	"math"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

const sqlTail = `SELECT since, heard, alive, ahead, proved, cause FROM tail WHERE relay_id = ?`

func scanTail(relay store.RelayID, r row) store.Tail {
	return store.Tail{
		Relay: relay, Since: r.int(0), Heard: r.int(1), Alive: r.int(2), Ahead: r.bool(3), Proved: r.int(4), Cause: dial.Cause(r.text(5)),
	}
}

// Tail implements store.Tails.
func (db *DB) Tail(ctx context.Context, relay store.RelayID) (store.Tail, error) {
	t := store.Tail{Relay: relay}
	err := db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { t = scanTail(relay, r) }, sqlTail, int64(relay))
		return err
	})
	if err != nil {
		return store.Tail{}, fmt.Errorf("read tail: %w", err)
	}
	return t, nil
}

func (w *writer) tail(relay store.RelayID) (store.Tail, error) {
	t := store.Tail{Relay: relay}
	_, err := w.c.first(func(r row) { t = scanTail(relay, r) }, sqlTail, int64(relay))
	return t, err
}

const (
	sqlBeginTail = `
		INSERT INTO tail (relay_id, since, heard, alive) VALUES (?1, ?2, ?2, ?2)
		ON CONFLICT (relay_id) DO UPDATE SET since = ?2, heard = ?2, alive = ?2, ahead = 0, cause = ''`
	sqlBoundGap   = `UPDATE arrival_gap SET until = max(since, ?2) WHERE relay_id = ?1 AND until = 0`
	sqlClosedGaps = `
		DELETE FROM arrival_gap WHERE relay_id = ?1 AND until > 0
		AND NOT EXISTS (SELECT 1 FROM coverage c WHERE c.relay_id = ?1 AND c.as_of < arrival_gap.until)`
)

// BeginTail implements store.Tails.
func (db *DB) BeginTail(ctx context.Context, relay store.RelayID, since int64) error {
	err := db.write(ctx, func(w *writer) error {
		t, err := w.tail(relay)
		if err != nil {
			return err
		}
		if t.Since == since {
			return nil
		}
		if t.Since > 0 {
			if err := w.endTail(t, store.TailEnd{Heard: t.Heard, Cause: dial.CauseSelf}); err != nil {
				return err
			}
		}
		if _, err := w.c.exec(sqlBoundGap, int64(relay), since); err != nil {
			return err
		}
		if _, err := w.c.exec(sqlClosedGaps, int64(relay)); err != nil {
			return err
		}
		if _, err := w.c.exec(sqlBeginTail, int64(relay), since); err != nil {
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("begin tail: %w", err)
	}
	return nil
}

const (
	sqlKeepLease = `UPDATE work SET lease_until = ?1 WHERE service = ?2 AND relay_id = ?3 AND lease_owner = ?4
		AND NOT EXISTS (SELECT 1 FROM relay WHERE id = ?3 AND kept_out <> '')`
	sqlSaveTail = `UPDATE tail SET heard = max(heard, ?3), alive = max(alive, ?4) WHERE relay_id = ?1 AND since = ?2`
	// What is kept by a tail becomes as of what it heard; the newest stretch of a
	// filter grows, where nothing dated ahead is left out.
	sqlRaise = `
		UPDATE coverage SET as_of = max(as_of, ?3),
			hi = CASE WHEN ?4 AND hi >= ?2 - 1 AND NOT EXISTS (
				SELECT 1 FROM coverage d WHERE d.relay_id = coverage.relay_id AND d.filter_id = coverage.filter_id AND d.lo > coverage.lo)
			THEN max(hi, ?3 - 1) ELSE hi END
		WHERE relay_id = ?1 AND tail_since = ?2 AND as_of < ?3`
)

// SaveTails implements store.Tails.
func (db *DB) SaveTails(ctx context.Context, beat store.Beat) ([]store.RelayID, error) {
	var lost []store.RelayID
	err := db.write(ctx, func(w *writer) error {
		lost = nil
		for _, one := range beat.Tails {
			n, err := w.c.exec(sqlKeepLease, beat.Until, beat.Service, int64(one.Relay), beat.Owner)
			if err != nil {
				return err
			}
			if n == 0 {
				lost = append(lost, one.Relay)
				continue
			}
			before, err := w.tail(one.Relay)
			if err != nil {
				return err
			}
			if one.Since == 0 {
				continue
			}
			if before.Since != one.Since {
				lost = append(lost, one.Relay)
				continue
			}
			if _, err := w.c.exec(sqlSaveTail, int64(one.Relay), one.Since, one.Heard, one.Alive); err != nil {
				return err
			}
			if spent, ok := beat.Spent[one.Relay]; ok {
				if err := w.addCost(one.Relay, store.WayTail, spent); err != nil {
					return err
				}
			}
			if one.Heard > before.Heard {
				before.Heard = one.Heard
				if err := w.raise(before); err != nil {
					return err
				}
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("save tails: %w", err)
	}
	return lost, nil
}

// raise takes the claims of a tail along to what it heard.
func (w *writer) raise(t store.Tail) error {
	if t.Proved == 0 {
		return nil
	}
	_, err := w.c.exec(sqlRaise, int64(t.Relay), t.Since, t.Heard, integer(t.Ahead))
	return err
}

const sqlNoteTail = `UPDATE tail SET ahead = max(ahead, ?3), proved = max(proved, ?4) WHERE relay_id = ?1 AND since = ?2`

// NoteTail implements store.Tails.
func (db *DB) NoteTail(ctx context.Context, relay store.RelayID, since int64, ahead bool, proved int64) error {
	err := db.write(ctx, func(w *writer) error {
		if n, err := w.c.exec(sqlNoteTail, int64(relay), since, integer(ahead), proved); err != nil || n == 0 {
			return err
		}
		t, err := w.tail(relay)
		if err != nil {
			return err
		}
		return w.raise(t)
	})
	if err != nil {
		return fmt.Errorf("note tail: %w", err)
	}
	return nil
}

const (
	sqlForgetTail = `UPDATE tail SET since = 0, ahead = 0, heard = max(heard, ?2), cause = ?3 WHERE relay_id = ?1`
	sqlDoubtTail  = `UPDATE tail SET since = 0, ahead = 0, proved = 0, cause = ?2 WHERE relay_id = ?1`
	sqlLetGo      = `UPDATE coverage SET tail_since = 0 WHERE relay_id = ?1 AND tail_since = ?2`
	sqlDropAbove  = `DELETE FROM coverage WHERE relay_id = ?1 AND tail_since = ?2 AND lo >= ?2`
	sqlTakeBack   = `UPDATE coverage SET tail_since = 0, as_of = min(as_of, ?2), hi = min(hi, ?2 - 1) WHERE relay_id = ?1 AND tail_since = ?2`
	sqlOpenGap    = `INSERT INTO arrival_gap (relay_id, since, until, cause) VALUES (?1, ?2, 0, ?3) ON CONFLICT DO UPDATE SET until = 0, cause = excluded.cause`
	sqlGapStarts  = `SELECT since FROM arrival_gap WHERE relay_id = ? ORDER BY since`
	sqlDropGap    = `DELETE FROM arrival_gap WHERE relay_id = ? AND since = ?`
	sqlExtendGap  = `UPDATE arrival_gap SET since = ?3 WHERE relay_id = ?1 AND since = ?2`
)

// EndTail implements store.Tails.
func (db *DB) EndTail(ctx context.Context, end store.TailEnd) error {
	err := db.write(ctx, func(w *writer) error {
		t, err := w.tail(end.Relay)
		if err != nil || t.Since == 0 || t.Since != end.Since {
			return err
		}
		if err := w.endTail(t, end); err != nil {
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("end tail: %w", err)
	}
	return nil
}

func (w *writer) endTail(t store.Tail, end store.TailEnd) error {
	relay, from := int64(t.Relay), max(t.Heard, end.Heard)
	type step struct {
		sql  string
		args []any
	}
	var steps []step
	if end.Lied {
		from = t.Since
		steps = []step{
			{sqlDropAbove, []any{relay, t.Since}},
			{sqlTakeBack, []any{relay, t.Since}},
			{sqlDoubtTail, []any{relay, string(end.Cause)}},
		}
	} else {
		t.Heard = from
		if err := w.raise(t); err != nil {
			return err
		}
		steps = []step{
			{sqlLetGo, []any{relay, t.Since}},
			{sqlForgetTail, []any{relay, from, string(end.Cause)}},
		}
	}
	for _, s := range append(steps, step{sqlClosedGaps, []any{relay}}, step{sqlOpenGap, []any{relay, from, string(end.Cause)}}) {
		if _, err := w.c.exec(s.sql, s.args...); err != nil {
			return err
		}
	}
	return w.thinGaps(relay)
}

// thinGaps makes one of the oldest two gaps while there are too many.
func (w *writer) thinGaps(relay int64) error {
	var starts []int64
	if err := w.c.each(func(r row) bool {
		starts = append(starts, r.int(0))
		return true
	}, sqlGapStarts, relay); err != nil {
		return err
	}
	for ; len(starts) > store.MaxArrivalGaps; starts = append(starts[:1], starts[2:]...) {
		if _, err := w.c.exec(sqlDropGap, relay, starts[0]); err != nil {
			return err
		}
		if _, err := w.c.exec(sqlExtendGap, relay, starts[1], starts[0]); err != nil {
			return err
		}
	}
	return nil
}

// Closed gaps may still have their row; they are left out.
const (
	sqlArrivalGaps = `
		SELECT g.relay_id, g.since, g.until, g.cause,
			(SELECT max(c.hi) FROM coverage c WHERE c.relay_id = g.relay_id AND c.as_of < g.until)
		FROM arrival_gap g
		WHERE g.relay_id = ? AND (g.until = 0 OR EXISTS (SELECT 1 FROM coverage c WHERE c.relay_id = g.relay_id AND c.as_of < g.until))
		ORDER BY g.since`
	sqlGapTotals = `
		SELECT count(*), count(DISTINCT relay_id) FROM arrival_gap g
		WHERE g.until = 0 OR EXISTS (SELECT 1 FROM coverage c WHERE c.relay_id = g.relay_id AND c.as_of < g.until)`
	sqlStanding = `SELECT heard, proved FROM tail WHERE since > 0 AND alive > ? ORDER BY heard DESC`
)

// ArrivalGaps implements store.Tails.
func (db *DB) ArrivalGaps(ctx context.Context, relay store.RelayID) ([]store.ArrivalGap, error) {
	gaps, err := list(ctx, db, func(r row) store.ArrivalGap {
		g := store.ArrivalGap{
			Relay: store.RelayID(r.int(0)), From: r.int(1), Until: r.int(2), Cause: dial.Cause(r.text(3)), Below: math.MaxInt64,
		}
		if hi := r.int(4); g.Until > 0 && hi < math.MaxInt64 {
			g.Below = hi + 1
		}
		return g
	}, sqlArrivalGaps, int64(relay))
	if err != nil {
		return nil, fmt.Errorf("read arrival gaps: %w", err)
	}
	return gaps, nil
}

// TailTotals implements store.Tails.
func (db *DB) TailTotals(ctx context.Context, now int64) (store.TailTotals, error) {
	var t store.TailTotals
	err := db.read(ctx, func(c *conn) error {
		t = store.TailTotals{}
		if _, err := c.one(ctx, func(r row) { t.Gaps, t.GapRelays = r.int(0), r.int(1) }, sqlGapTotals); err != nil {
			return err
		}
		var lags []int64
		if err := c.query(ctx, func(r row) bool {
			lags = append(lags, max(0, now-r.int(0)))
			if r.bool(1) {
				t.Proved++
			}
			return true
		}, sqlStanding, now-store.Stale); err != nil {
			return err
		}
		if n := len(lags); n > 0 {
			t.Standing, t.LagMedian, t.LagMax = int64(n), lags[n/2], lags[n-1]
		}
		return nil
	})
	if err != nil {
		return store.TailTotals{}, fmt.Errorf("sum up tails: %w", err)
	}
	return t, nil
}

const (
	sqlAddSample   = `INSERT INTO sample (relay_id, kind, at, seen, missed) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
	sqlThinSamples = `
		DELETE FROM sample WHERE relay_id = ?1 AND kind = ?2 AND at <= coalesce((
			SELECT at FROM sample WHERE relay_id = ?1 AND kind = ?2 ORDER BY at DESC LIMIT 1 OFFSET ?3), -1)`
	sqlSampleTotal = `
		SELECT count(*), coalesce(sum(seen), 0), coalesce(sum(missed), 0),
			coalesce(sum(seen * seen), 0), coalesce(sum(missed * missed), 0), coalesce(sum(seen * missed), 0)
		FROM sample WHERE (?1 = 0 OR relay_id = ?1) AND kind = ?2`
	sqlLastSample = `SELECT coalesce(max(at), 0) FROM sample WHERE relay_id = ? AND kind = ?`
)

// AddSample implements store.Samples.
func (db *DB) AddSample(ctx context.Context, s store.Sample) error {
	err := db.write(ctx, func(w *writer) error {
		if _, err := w.c.exec(sqlAddSample, int64(s.Relay), string(s.Kind), s.At, s.Seen, s.Missed); err != nil {
			return err
		}
		_, err := w.c.exec(sqlThinSamples, int64(s.Relay), string(s.Kind), int64(store.MaxSamples))
		return err
	})
	if err != nil {
		return fmt.Errorf("add sample: %w", err)
	}
	return nil
}

// SampleTotal implements store.Samples.
func (db *DB) SampleTotal(ctx context.Context, relay store.RelayID, kind store.SampleKind) (store.SampleTotal, error) {
	var t store.SampleTotal
	err := db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) {
			t = store.SampleTotal{
				Samples: r.int(0), Seen: r.int(1), Missed: r.int(2), SeenSeen: r.int(3), MissedMissed: r.int(4), SeenMissed: r.int(5),
			}
		}, sqlSampleTotal, int64(relay), string(kind))
		return err
	})
	if err != nil {
		return store.SampleTotal{}, fmt.Errorf("sum up samples: %w", err)
	}
	return t, nil
}

// LastSample implements store.Samples.
func (db *DB) LastSample(ctx context.Context, relay store.RelayID, kind store.SampleKind) (int64, error) {
	var at int64
	err := db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { at = r.int(0) }, sqlLastSample, int64(relay), string(kind))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read last sample: %w", err)
	}
	return at, nil
}

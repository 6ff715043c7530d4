package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

const sqlTail = `SELECT since, heard, alive, ahead, proved, cause FROM tail WHERE relay_id = $1`

func readTail(ctx context.Context, q querier, relay store.RelayID) (store.Tail, error) {
	t := store.Tail{Relay: relay}
	err := q.QueryRow(ctx, sqlTail, int32(relay)).Scan(&t.Since, &t.Heard, &t.Alive, &t.Ahead, &t.Proved, &t.Cause)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return t, err
}

// Tail implements store.Tails.
func (db *DB) Tail(ctx context.Context, relay store.RelayID) (t store.Tail, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		t, err = readTail(ctx, q, relay)
		return err
	})
	if err != nil {
		return store.Tail{}, fmt.Errorf("read tail: %w", err)
	}
	return t, nil
}

// changeTail runs work on the tail of a relay, whose coverage nobody else
// changes meanwhile. Work queues what it writes.
func (db *DB) changeTail(ctx context.Context, relay store.RelayID, work func(t store.Tail, b *pgx.Batch)) error {
	return db.write(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLockCoverage, coverageClass, int32(relay)); err != nil {
			return err
		}
		t, err := readTail(ctx, tx, relay)
		if err != nil {
			return err
		}
		var b pgx.Batch
		work(t, &b)
		return tx.SendBatch(ctx, &b).Close()
	})
}

const (
	sqlBeginTail = `
		INSERT INTO tail (relay_id, since, heard, alive) VALUES ($1, $2, $2, $2)
		ON CONFLICT (relay_id) DO UPDATE SET since = $2, heard = $2, alive = $2, ahead = false, cause = ''`
	sqlBoundGap   = `UPDATE arrival_gap SET until = greatest(since, $2::bigint) WHERE relay_id = $1 AND until = 0`
	sqlClosedGaps = `
		DELETE FROM arrival_gap g WHERE g.relay_id = $1 AND g.until > 0
		AND NOT EXISTS (SELECT 1 FROM coverage c WHERE c.relay_id = $1 AND c.as_of < g.until)`
)

// BeginTail implements store.Tails.
func (db *DB) BeginTail(ctx context.Context, relay store.RelayID, since int64) error {
	err := db.changeTail(ctx, relay, func(t store.Tail, b *pgx.Batch) {
		if t.Since == since {
			return
		}
		if t.Since > 0 {
			endTail(b, t, store.TailEnd{Heard: t.Heard, Cause: dial.CauseSelf})
		}
		b.Queue(sqlBoundGap, int32(relay), since)
		b.Queue(sqlClosedGaps, int32(relay))
		b.Queue(sqlBeginTail, int32(relay), since)
	})
	if err != nil {
		return fmt.Errorf("begin tail: %w", err)
	}
	return nil
}

const (
	sqlKeepLeases = `
		WITH mine AS MATERIALIZED (
			SELECT service, relay_id FROM work WHERE service = $1 AND relay_id = ANY ($2) AND lease_owner = $3
			AND NOT EXISTS (SELECT FROM relay r WHERE r.id = work.relay_id AND r.kept_out <> '')
			ORDER BY service, relay_id FOR UPDATE
		)
		UPDATE work w SET lease_until = $4 FROM mine WHERE w.service = mine.service AND w.relay_id = mine.relay_id
		RETURNING w.relay_id`
	sqlSaveTails = `
		UPDATE tail t SET heard = greatest(t.heard, u.heard), alive = greatest(t.alive, u.alive)
		FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (relay_id, since, heard, alive)
		WHERE t.relay_id = u.relay_id AND t.since = u.since
		RETURNING t.relay_id`
	sqlMovedTails = `
		SELECT DISTINCT c.relay_id FROM tail t JOIN coverage c ON c.relay_id = t.relay_id
		WHERE t.relay_id = ANY ($1) AND t.since > 0 AND t.proved > 0 AND c.tail_since = t.since AND c.as_of < t.heard
		ORDER BY c.relay_id`
	// What is kept by a tail becomes as of what it heard; the newest stretch of a
	// filter grows, where nothing dated ahead is left out.
	sqlRaise = `
		UPDATE coverage c SET as_of = t.heard,
			hi = CASE WHEN t.ahead AND c.hi >= t.since - 1 AND NOT EXISTS (
				SELECT 1 FROM coverage d WHERE d.relay_id = c.relay_id AND d.filter_id = c.filter_id AND d.lo > c.lo)
			THEN greatest(c.hi, t.heard - 1) ELSE c.hi END
		FROM tail t
		WHERE t.relay_id = ANY ($1) AND t.since > 0 AND t.proved > 0
		AND c.relay_id = t.relay_id AND c.tail_since = t.since AND c.as_of < t.heard`
)

// raiseMost is how many relays' coverage is locked at once.
const raiseMost = 50

// SaveTails implements store.Tails. Claims follow in transactions of their own,
// some relays at a time; what of them is lost to a failure the next beat does.
func (db *DB) SaveTails(ctx context.Context, beat store.Beat) ([]store.RelayID, error) {
	var relays []int32
	var sinces, heards, alives []int64
	for _, t := range beat.Tails {
		relays, sinces = append(relays, int32(t.Relay)), append(sinces, t.Since)
		heards, alives = append(heards, t.Heard), append(alives, t.Alive)
	}
	var lost []store.RelayID
	var moved []int32
	err := db.write(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, sqlKeepLeases, beat.Service, relays, beat.Owner, beat.Until)
		if err != nil {
			return err
		}
		kept, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			return err
		}
		lost = nil
		var ours []int32
		var since, heard, alive []int64
		for i, id := range relays {
			if !slices.Contains(kept, id) {
				lost = append(lost, store.RelayID(id))
				continue
			}
			if sinces[i] == 0 {
				continue
			}
			ours, since = append(ours, id), append(since, sinces[i])
			heard, alive = append(heard, heards[i]), append(alive, alives[i])
		}
		if rows, err = tx.Query(ctx, sqlSaveTails, ours, since, heard, alive); err != nil {
			return err
		}
		standing, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			return err
		}
		var costs pgx.Batch
		for _, id := range ours {
			if !slices.Contains(standing, id) {
				lost = append(lost, store.RelayID(id))
			} else if spent, ok := beat.Spent[store.RelayID(id)]; ok {
				costs.Queue(sqlAddCost, costArgs(store.RelayID(id), store.WayTail, spent)...)
			}
		}
		if costs.Len() > 0 {
			if err := tx.SendBatch(ctx, &costs).Close(); err != nil {
				return err
			}
		}
		rows, err = tx.Query(ctx, sqlMovedTails, ours)
		if err != nil {
			return err
		}
		moved, err = pgx.CollectRows(rows, pgx.RowTo[int32])
		return err
	})
	for some := range slices.Chunk(moved, raiseMost) {
		if err != nil {
			break
		}
		err = db.write(ctx, func(tx pgx.Tx) error {
			var b pgx.Batch
			for _, id := range some {
				b.Queue(sqlLockCoverage, coverageClass, id)
			}
			b.Queue(sqlRaise, some)
			return tx.SendBatch(ctx, &b).Close()
		})
	}
	if err != nil {
		return nil, fmt.Errorf("save tails: %w", err)
	}
	return lost, nil
}

const sqlNoteTail = `UPDATE tail SET ahead = ahead OR $3, proved = greatest(proved, $4::bigint) WHERE relay_id = $1 AND since = $2`

// NoteTail implements store.Tails.
func (db *DB) NoteTail(ctx context.Context, relay store.RelayID, since int64, ahead bool, proved int64) error {
	err := db.changeTail(ctx, relay, func(t store.Tail, b *pgx.Batch) {
		if t.Since != since {
			return
		}
		b.Queue(sqlNoteTail, int32(relay), since, ahead, proved)
		b.Queue(sqlRaise, []int32{int32(relay)})
	})
	if err != nil {
		return fmt.Errorf("note tail: %w", err)
	}
	return nil
}

const (
	sqlHearTail   = `UPDATE tail SET heard = greatest(heard, $2::bigint) WHERE relay_id = $1`
	sqlForgetTail = `UPDATE tail SET since = 0, ahead = false, cause = $2 WHERE relay_id = $1`
	sqlDoubtTail  = `UPDATE tail SET since = 0, ahead = false, proved = 0, cause = $2 WHERE relay_id = $1`
	sqlLetGo      = `UPDATE coverage SET tail_since = 0 WHERE relay_id = $1 AND tail_since = $2`
	sqlDropAbove  = `DELETE FROM coverage WHERE relay_id = $1 AND tail_since = $2 AND lo >= $2`
	sqlTakeBack   = `UPDATE coverage SET tail_since = 0, as_of = least(as_of, $2), hi = least(hi, $2 - 1) WHERE relay_id = $1 AND tail_since = $2`
	sqlOpenGap    = `
		INSERT INTO arrival_gap AS g (relay_id, since, until, cause) VALUES ($1, $2, 0, $3)
		ON CONFLICT (relay_id, since) DO UPDATE SET until = 0, cause = excluded.cause`
	// While there are too many gaps, the oldest become one.
	sqlThinGaps = `
		WITH place AS MATERIALIZED (
			SELECT since, until, cause, row_number() OVER (ORDER BY since DESC) AS n, min(since) OVER () AS first
			FROM arrival_gap WHERE relay_id = $1
		), gone AS (
			DELETE FROM arrival_gap g USING place p WHERE g.relay_id = $1 AND g.since = p.since AND p.n >= $2 AND p.since > p.first
		)
		UPDATE arrival_gap g SET until = p.until, cause = p.cause FROM place p
		WHERE g.relay_id = $1 AND g.since = p.first AND p.n = $2 AND p.since > p.first`
)

// EndTail implements store.Tails.
func (db *DB) EndTail(ctx context.Context, end store.TailEnd) error {
	err := db.changeTail(ctx, end.Relay, func(t store.Tail, b *pgx.Batch) {
		if t.Since > 0 && t.Since == end.Since {
			endTail(b, t, end)
		}
	})
	if err != nil {
		return fmt.Errorf("end tail: %w", err)
	}
	return nil
}

// endTail queues the end of a tail that stands.
func endTail(b *pgx.Batch, t store.Tail, end store.TailEnd) {
	relay, from := int32(t.Relay), max(t.Heard, end.Heard)
	if end.Lied {
		from = t.Since
		b.Queue(sqlDropAbove, relay, t.Since)
		b.Queue(sqlTakeBack, relay, t.Since)
		b.Queue(sqlDoubtTail, relay, string(end.Cause))
	} else {
		b.Queue(sqlHearTail, relay, from)
		b.Queue(sqlRaise, []int32{relay})
		b.Queue(sqlLetGo, relay, t.Since)
		b.Queue(sqlForgetTail, relay, string(end.Cause))
	}
	b.Queue(sqlClosedGaps, relay)
	b.Queue(sqlOpenGap, relay, from, string(end.Cause))
	b.Queue(sqlThinGaps, relay, int64(store.MaxArrivalGaps))
}

// Closed gaps may still have their row; they are left out.
const (
	sqlArrivalGaps = `
		SELECT g.since, g.until, g.cause,
			(SELECT max(c.hi) FROM coverage c WHERE c.relay_id = g.relay_id AND c.as_of < g.until)
		FROM arrival_gap g
		WHERE g.relay_id = $1 AND (g.until = 0 OR EXISTS (SELECT 1 FROM coverage c WHERE c.relay_id = g.relay_id AND c.as_of < g.until))
		ORDER BY g.since`
	sqlTailTotals = `
		WITH standing AS MATERIALIZED (SELECT greatest(0, $1 - heard) AS lag, proved > 0 AS proved FROM tail WHERE since > 0 AND alive > $2),
		gaps AS MATERIALIZED (
			SELECT g.relay_id FROM arrival_gap g
			WHERE g.until = 0 OR EXISTS (SELECT 1 FROM coverage c WHERE c.relay_id = g.relay_id AND c.as_of < g.until)
		)
		SELECT (SELECT count(*) FROM standing), (SELECT count(*) FROM standing WHERE proved),
			coalesce((SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY lag) FROM standing), 0),
			coalesce((SELECT max(lag) FROM standing), 0),
			(SELECT count(*) FROM gaps), (SELECT count(DISTINCT relay_id) FROM gaps)`
)

// ArrivalGaps implements store.Tails.
func (db *DB) ArrivalGaps(ctx context.Context, relay store.RelayID) (gaps []store.ArrivalGap, err error) {
	err = db.read(ctx, func(q querier) error {
		gaps = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			g := store.ArrivalGap{Relay: relay, Below: math.MaxInt64}
			var hi *int64
			if err := rows.Scan(&g.From, &g.Until, &g.Cause, &hi); err != nil {
				return err
			}
			if g.Until > 0 && hi != nil && *hi < math.MaxInt64 {
				g.Below = *hi + 1
			}
			gaps = append(gaps, g)
			return nil
		}, sqlArrivalGaps, int32(relay))
	})
	if err != nil {
		return nil, fmt.Errorf("read arrival gaps: %w", err)
	}
	return gaps, nil
}

// TailTotals implements store.Tails.
func (db *DB) TailTotals(ctx context.Context, now int64) (t store.TailTotals, err error) {
	err = db.read(ctx, func(q querier) error {
		return q.QueryRow(ctx, sqlTailTotals, now, now-store.Stale).
			Scan(&t.Standing, &t.Proved, &t.LagMedian, &t.LagMax, &t.Gaps, &t.GapRelays)
	})
	if err != nil {
		return store.TailTotals{}, fmt.Errorf("sum up tails: %w", err)
	}
	return t, nil
}

const (
	sqlAddSample   = `INSERT INTO sample (relay_id, kind, at, seen, missed) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`
	sqlThinSamples = `
		DELETE FROM sample WHERE relay_id = $1 AND kind = $2 AND at <= (
			SELECT at FROM sample WHERE relay_id = $1 AND kind = $2 ORDER BY at DESC LIMIT 1 OFFSET $3)`
	sqlSampleTotal = `
		SELECT count(*), coalesce(sum(seen), 0)::bigint, coalesce(sum(missed), 0)::bigint,
			coalesce(sum(seen * seen), 0)::bigint, coalesce(sum(missed * missed), 0)::bigint, coalesce(sum(seen * missed), 0)::bigint
		FROM sample WHERE ($1 = 0 OR relay_id = $1) AND kind = $2`
	sqlLastSample = `SELECT coalesce(max(at), 0) FROM sample WHERE relay_id = $1 AND kind = $2`
)

// AddSample implements store.Samples.
func (db *DB) AddSample(ctx context.Context, s store.Sample) error {
	err := db.write(ctx, func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(sqlAddSample, int32(s.Relay), string(s.Kind), s.At, s.Seen, s.Missed)
		b.Queue(sqlThinSamples, int32(s.Relay), string(s.Kind), int64(store.MaxSamples))
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("add sample: %w", err)
	}
	return nil
}

// SampleTotal implements store.Samples.
func (db *DB) SampleTotal(ctx context.Context, relay store.RelayID, kind store.SampleKind) (t store.SampleTotal, err error) {
	err = db.read(ctx, func(q querier) error {
		return q.QueryRow(ctx, sqlSampleTotal, int32(relay), string(kind)).
			Scan(&t.Samples, &t.Seen, &t.Missed, &t.SeenSeen, &t.MissedMissed, &t.SeenMissed)
	})
	if err != nil {
		return store.SampleTotal{}, fmt.Errorf("sum up samples: %w", err)
	}
	return t, nil
}

// LastSample implements store.Samples.
func (db *DB) LastSample(ctx context.Context, relay store.RelayID, kind store.SampleKind) (at int64, err error) {
	err = db.read(ctx, func(q querier) error {
		return q.QueryRow(ctx, sqlLastSample, int32(relay), string(kind)).Scan(&at)
	})
	if err != nil {
		return 0, fmt.Errorf("read last sample: %w", err)
	}
	return at, nil
}

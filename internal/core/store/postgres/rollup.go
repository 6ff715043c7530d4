package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

const (
	// foldEvents and foldLogs bound what one refresh takes: batches and rows of
	// the log of sightings.
	foldEvents = 20000
	foldLogs   = 200
)

const (
	sqlLockCounted = `SELECT nr FROM rollup_total WHERE name = 'events' FOR UPDATE`
	sqlFoldBatches = `
		SELECT nr, first_seq, relay_id, n FROM (
			SELECT nr, first_seq, relay_id, n, sum(n) OVER (ORDER BY nr) - n AS before FROM batch WHERE nr > $1 ORDER BY nr LIMIT 500
		) AS b WHERE before = 0 OR before + n <= $2 ORDER BY nr`
	sqlMoreBatches = `SELECT EXISTS (SELECT 1 FROM batch WHERE nr > $1)`
	sqlFoldEvents  = `SELECT nr, relay_id, created_at, kind, pubkey FROM fold_events($1)`
	sqlFoldLog     = `SELECT id, relay_id, created_at, kind FROM fold_sightings($1)`
	sqlDropLog     = `DELETE FROM sighting_log WHERE id = ANY($1)`
	sqlSetCounted  = `UPDATE rollup_total SET nr = $1 WHERE name = 'events'`
	sqlFoldLogs    = `SELECT id FROM sighting_log ORDER BY id LIMIT $1`
)

// Refresh implements store.Rollups. It takes whole batches, so that it may pass
// the limit by one. Processes that refresh at once take turns.
func (db *DB) Refresh(ctx context.Context, limit int) (done store.Refreshed, err error) {
	if limit <= 0 {
		return done, nil
	}
	err = db.write(ctx, func(tx pgx.Tx) (err error) {
		done, err = refresh(ctx, tx, min(limit, foldEvents))
		return err
	})
	if err != nil {
		return store.Refreshed{}, fmt.Errorf("refresh sums: %w", err)
	}
	return done, nil
}

func refresh(ctx context.Context, tx pgx.Tx, limit int) (done store.Refreshed, err error) {
	var counted int64
	if err := tx.QueryRow(ctx, sqlLockCounted).Scan(&counted); err != nil {
		return done, err
	}
	last := counted
	var batches []int64
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		var first, n int64
		var relay int32
		err := rows.Scan(&last, &first, &relay, &n)
		batches = append(batches, last)
		return err
	}, sqlFoldBatches, counted, int64(limit)); err != nil {
		return done, err
	}
	s := store.NewSums()
	if len(batches) > 0 {
		if err := each(ctx, tx, func(rows pgx.Rows) error {
			var nr, at, kind int64
			var relay int32
			var author []byte
			err := rows.Scan(&nr, &relay, &at, &kind, &author)
			s.Event(at, kind, author)
			if relay != 0 {
				s.Sighting(int64(relay), at, kind, 1)
			}
			return err
		}, sqlFoldEvents, batches); err != nil {
			return done, err
		}
	}
	done.Events = int(s.Events)

	logs, err := numbersOf(ctx, tx, sqlFoldLogs, foldLogs)
	if err != nil {
		return done, err
	}
	if len(logs) > 0 {
		// An event that is gone since is not found, and not counted.
		if err := each(ctx, tx, func(rows pgx.Rows) error {
			var id, at, kind int64
			var relay int32
			err := rows.Scan(&id, &relay, &at, &kind)
			s.Sighting(int64(relay), at, kind, 1)
			return err
		}, sqlFoldLog, logs); err != nil {
			return done, err
		}
	}
	done.Sightings = int(s.Sightings)
	if err := tx.QueryRow(ctx, sqlMoreBatches, last).Scan(&done.More); err != nil {
		return done, err
	}
	done.More = done.More || len(logs) == foldLogs
	if err := ctx.Err(); err != nil {
		return done, err
	}
	var b pgx.Batch
	if err := addSums(ctx, tx, &b, s, 1); err != nil {
		return done, err
	}
	b.Queue(sqlDropLog, logs)
	b.Queue(sqlSetCounted, last)
	return done, tx.SendBatch(ctx, &b).Close()
}

// numbersOf reads a column of numbers.
func numbersOf(ctx context.Context, q querier, sql string, args ...any) ([]int64, error) {
	var list []int64
	err := each(ctx, q, func(rows pgx.Rows) error {
		var n int64
		err := rows.Scan(&n)
		list = append(list, n)
		return err
	}, sql, args...)
	return list, err
}

const (
	sqlAddTotals = `UPDATE rollup_total t SET n = t.n + u.n FROM unnest($1::text[], $2::bigint[]) AS u (name, n) WHERE t.name = u.name`
	sqlAuthors   = `
		SELECT 'total', 0::bigint, authors FROM rollup_total WHERE name = 'events'
		UNION ALL SELECT 'day', day, authors FROM rollup_day WHERE day = ANY($1)
		UNION ALL SELECT 'kind', kind, authors FROM rollup_kind WHERE kind = ANY($2)`
	sqlSetAuthors = `UPDATE rollup_total SET authors = $1 WHERE name = 'events'`
	sqlAddDays    = `INSERT INTO rollup_day AS r (day, n, authors) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
		ON CONFLICT (day) DO UPDATE SET n = r.n + excluded.n, authors = excluded.authors`
	sqlAddKinds = `INSERT INTO rollup_kind AS r (kind, n, authors) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])
		ON CONFLICT (kind) DO UPDATE SET n = r.n + excluded.n, authors = excluded.authors`
	sqlAddDayKinds = `INSERT INTO rollup_day_kind AS r (day, kind, n) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
		ON CONFLICT (day, kind) DO UPDATE SET n = r.n + excluded.n`
	sqlAddRelaySums = `INSERT INTO rollup_relay AS r (relay_id, n) SELECT * FROM unnest($1::integer[], $2::bigint[])
		ON CONFLICT (relay_id) DO UPDATE SET n = r.n + excluded.n`
	sqlAddRelayKinds = `INSERT INTO rollup_relay_kind AS r (relay_id, kind, n) SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
		ON CONFLICT (relay_id, kind) DO UPDATE SET n = r.n + excluded.n`
	sqlAddRelayDays = `INSERT INTO rollup_relay_day AS r (relay_id, day, n) SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
		ON CONFLICT (relay_id, day) DO UPDATE SET n = r.n + excluded.n`
	sqlDropDays       = `DELETE FROM rollup_day WHERE n = 0`
	sqlDropKinds      = `DELETE FROM rollup_kind WHERE n = 0`
	sqlDropDayKinds   = `DELETE FROM rollup_day_kind WHERE n = 0`
	sqlDropRelays     = `DELETE FROM rollup_relay WHERE n = 0`
	sqlDropRelayKinds = `DELETE FROM rollup_relay_kind WHERE n = 0`
	sqlDropRelayDays  = `DELETE FROM rollup_relay_day WHERE n = 0`
)

// addSums queues what adds the sums to the rollups, or with sign -1 takes them
// off. The row of rollup_total must be locked. Authors are only ever added: a
// sketch cannot forget, the next recount does.
func addSums(ctx context.Context, tx pgx.Tx, b *pgx.Batch, s *store.Sums, sign int64) error {
	days, kinds := slices.Sorted(maps.Keys(s.Days)), slices.Sorted(maps.Keys(s.Kinds))
	if s.Events != 0 {
		if err := mergeAuthors(ctx, tx, s, days, kinds); err != nil {
			return err
		}
		b.Queue(sqlSetAuthors, s.Authors.AppendTo([]byte{}))
	}
	b.Queue(sqlAddTotals, []string{"events", "sightings"}, []int64{sign * s.Events, sign * s.Sightings})
	for _, t := range []struct {
		sql  string
		keys []int64
		sums map[int64]*store.Sum
	}{{sqlAddDays, days, s.Days}, {sqlAddKinds, kinds, s.Kinds}} {
		ns, authors := make([]int64, len(t.keys)), make([][]byte, len(t.keys))
		for i, k := range t.keys {
			ns[i], authors[i] = sign*t.sums[k].N, t.sums[k].Authors.AppendTo([]byte{})
		}
		b.Queue(t.sql, t.keys, ns, authors)
	}
	relays := slices.Sorted(maps.Keys(s.Relays))
	ns := make([]int64, len(relays))
	for i, r := range relays {
		ns[i] = sign * s.Relays[r]
	}
	b.Queue(sqlAddRelaySums, relays, ns)
	for _, t := range []struct {
		sql  string
		sums map[[2]int64]int64
	}{{sqlAddDayKinds, s.DayKinds}, {sqlAddRelayKinds, s.RelayKinds}, {sqlAddRelayDays, s.RelayDays}} {
		keys := slices.SortedFunc(maps.Keys(t.sums), func(a, b [2]int64) int {
			return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
		})
		one, two, ns := make([]int64, len(keys)), make([]int64, len(keys)), make([]int64, len(keys))
		for i, k := range keys {
			one[i], two[i], ns[i] = k[0], k[1], sign*t.sums[k]
		}
		b.Queue(t.sql, one, two, ns)
	}
	if sign < 0 {
		for _, sql := range []string{sqlDropDays, sqlDropKinds, sqlDropDayKinds, sqlDropRelays, sqlDropRelayKinds, sqlDropRelayDays} {
			b.Queue(sql)
		}
	}
	return nil
}

// mergeAuthors adds the authors that the rollups hold to those of the sums.
func mergeAuthors(ctx context.Context, tx pgx.Tx, s *store.Sums, days, kinds []int64) error {
	return each(ctx, tx, func(rows pgx.Rows) error {
		var rollup string
		var key int64
		var authors []byte
		if err := rows.Scan(&rollup, &key, &authors); err != nil {
			return err
		}
		before, err := store.ParseDistinct(authors)
		if err != nil {
			return err
		}
		switch rollup {
		case "total":
			s.Authors.Merge(before)
		case "day":
			s.Days[key].Authors.Merge(before)
		case "kind":
			s.Kinds[key].Authors.Merge(before)
		}
		return nil
	}, sqlAuthors, days, kinds)
}

package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

const (
	// recountBatches is how many batches one read of a recount takes,
	// recountWrites how many sums one transaction of it repairs.
	recountBatches = 100
	recountWrites  = 1000
	// maxDifferences is how many are told; all are repaired.
	maxDifferences = 1000
)

// errPurged is returned when events were deleted while a recount was counting.
var errPurged = errors.New("events were deleted meanwhile")

// Recount implements store.Rollups. What the sums were is read at its beginning,
// and repairs add the difference, so that refreshes may go on meanwhile. It
// counts batch by batch, and relay by relay in a snapshot of each.
func (db *DB) Recount(ctx context.Context) ([]store.Difference, error) {
	for again := 0; ; again++ {
		found, err := db.recount(ctx)
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, errPurged) || again == 3 {
			return nil, fmt.Errorf("recount sums: %w", err)
		}
	}
}

// recounting is a recount under way.
type recounting struct {
	db      *DB
	purges  int64
	counted int64 // batches up to this number are in the sums of events
	found   []store.Difference
	repairs []repair
}

// repair adds to a sum.
type repair struct {
	sql  string
	args []any
}

// rollups is what the sums of events were, each with its authors.
type rollups struct {
	total       int64
	authors     []byte
	days, kinds map[int64]authored
	dayKinds    map[[2]int64]int64
}

type authored struct {
	n       int64
	authors []byte
}

const (
	sqlRecount = `
		SELECT t.nr, t.n, t.authors, coalesce((SELECT value::bigint FROM setting WHERE name = 'purges'), 0)
		FROM rollup_total t WHERE t.name = 'events'`
	sqlAllDays     = `SELECT day, n, authors FROM rollup_day`
	sqlAllKinds    = `SELECT kind, n, authors FROM rollup_kind`
	sqlAllDayKinds = `SELECT day, kind, n FROM rollup_day_kind`
)

func (db *DB) recount(ctx context.Context) ([]store.Difference, error) {
	rc := &recounting{db: db}
	was := rollups{days: map[int64]authored{}, kinds: map[int64]authored{}, dayKinds: map[[2]int64]int64{}}
	if err := db.snapshot(ctx, func(q querier) error {
		if err := q.QueryRow(ctx, sqlRecount).Scan(&rc.counted, &was.total, &was.authors, &rc.purges); err != nil {
			return err
		}
		for _, t := range []struct {
			sql  string
			into map[int64]authored
		}{{sqlAllDays, was.days}, {sqlAllKinds, was.kinds}} {
			if err := each(ctx, q, func(rows pgx.Rows) error {
				var key int64
				var a authored
				err := rows.Scan(&key, &a.n, &a.authors)
				t.into[key] = a
				return err
			}, t.sql); err != nil {
				return err
			}
		}
		return each(ctx, q, func(rows pgx.Rows) error {
			var key [2]int64
			var n int64
			err := rows.Scan(&key[0], &key[1], &n)
			was.dayKinds[key] = n
			return err
		}, sqlAllDayKinds)
	}); err != nil {
		return nil, err
	}
	if err := rc.events(ctx, was); err != nil {
		return nil, err
	}
	if err := rc.sightings(ctx); err != nil {
		return nil, err
	}
	if err := rc.write(ctx); err != nil {
		return nil, err
	}
	err := rc.held(ctx)
	return rc.found, err
}

// differs notes a difference and how to repair it.
func (rc *recounting) differs(ctx context.Context, rollup, key string, was, is int64, sql string, args ...any) error {
	if was != is && len(rc.found) < maxDifferences {
		rc.found = append(rc.found, store.Difference{Rollup: rollup, Key: key, Was: was, Is: is})
	}
	if rc.repairs = append(rc.repairs, repair{sql, args}); len(rc.repairs) >= recountWrites {
		return rc.write(ctx)
	}
	return nil
}

const sqlPurgeCount = `SELECT coalesce((SELECT value::bigint FROM setting WHERE name = 'purges'), 0)`

// write applies the repairs. Sketches of authors are replaced only while
// nothing has been added to them since they were read.
func (rc *recounting) write(ctx context.Context) error {
	repairs := rc.repairs
	rc.repairs = nil
	return rc.db.write(ctx, func(tx pgx.Tx) error {
		var counted, purges int64
		if err := tx.QueryRow(ctx, sqlLockCounted).Scan(&counted); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, sqlPurgeCount).Scan(&purges); err != nil {
			return err
		}
		if purges != rc.purges {
			return errPurged
		}
		var b pgx.Batch
		for _, r := range repairs {
			if counted != rc.counted && (r.sql == sqlFixAuthors || r.sql == sqlFixDayAuthors || r.sql == sqlFixKindAuthors) {
				continue
			}
			b.Queue(r.sql, r.args...)
		}
		for _, sql := range []string{sqlDropDays, sqlDropKinds, sqlDropDayKinds, sqlDropRelays, sqlDropRelayKinds, sqlDropRelayDays} {
			b.Queue(sql)
		}
		return tx.SendBatch(ctx, &b).Close()
	})
}

const (
	sqlBatchesAfter = `SELECT nr FROM batch WHERE nr > $1 AND nr <= $2 ORDER BY nr LIMIT $3`

	sqlFixTotal       = `UPDATE rollup_total SET n = n + $2 WHERE name = $1`
	sqlFixAuthors     = `UPDATE rollup_total SET authors = $1 WHERE name = 'events'`
	sqlFixDay         = `INSERT INTO rollup_day AS r (day, n, authors) VALUES ($1, $2, '') ON CONFLICT (day) DO UPDATE SET n = r.n + excluded.n`
	sqlFixDayAuthors  = `UPDATE rollup_day SET authors = $2 WHERE day = $1`
	sqlFixKind        = `INSERT INTO rollup_kind AS r (kind, n, authors) VALUES ($1, $2, '') ON CONFLICT (kind) DO UPDATE SET n = r.n + excluded.n`
	sqlFixKindAuthors = `UPDATE rollup_kind SET authors = $2 WHERE kind = $1`
	sqlFixDayKind     = `INSERT INTO rollup_day_kind AS r (day, kind, n) VALUES ($1, $2, $3) ON CONFLICT (day, kind) DO UPDATE SET n = r.n + excluded.n`
)

// events counts the events that the sums should hold and compares.
func (rc *recounting) events(ctx context.Context, was rollups) error {
	is := store.NewSums()
	for after := int64(0); ; {
		var batches []int64
		if err := rc.db.snapshot(ctx, func(q querier) (err error) {
			if batches, err = numbersOf(ctx, q, sqlBatchesAfter, after, rc.counted, int64(recountBatches)); err != nil || len(batches) == 0 {
				return err
			}
			part := store.NewSums()
			err = each(ctx, q, func(rows pgx.Rows) error {
				var nr, at, kind int64
				var relay int32
				var author []byte
				err := rows.Scan(&nr, &relay, &at, &kind, &author)
				part.Event(at, kind, author)
				return err
			}, sqlFoldEvents, batches)
			if err == nil {
				is.Merge(part)
			}
			return err
		}); err != nil {
			return err
		}
		if len(batches) == 0 {
			break
		}
		after = batches[len(batches)-1]
	}
	if was.total != is.Events {
		if err := rc.differs(ctx, "rollup_total", "events", was.total, is.Events, sqlFixTotal, "events", is.Events-was.total); err != nil {
			return err
		}
	}
	if authors := is.Authors.AppendTo([]byte{}); !bytes.Equal(authors, was.authors) {
		if err := rc.differs(ctx, "rollup_total", "authors", 0, 0, sqlFixAuthors, authors); err != nil {
			return err
		}
	}
	if err := rc.authored(ctx, "rollup_day", "day=%d", was.days, is.Days, sqlFixDay, sqlFixDayAuthors); err != nil {
		return err
	}
	if err := rc.authored(ctx, "rollup_kind", "kind=%d", was.kinds, is.Kinds, sqlFixKind, sqlFixKindAuthors); err != nil {
		return err
	}
	return rc.numbers(ctx, "rollup_day_kind", "day=%d kind=%d", was.dayKinds, is.DayKinds, sqlFixDayKind)
}

// authored compares sums that have authors. Authors alone are set right without
// a word: they are estimates, and deletions leave them behind.
func (rc *recounting) authored(ctx context.Context, rollup, key string, was map[int64]authored, is map[int64]*store.Sum, add, set string) error {
	keys := slices.Sorted(maps.Keys(was))
	for _, k := range slices.Sorted(maps.Keys(is)) {
		if _, found := was[k]; !found {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		now := is[k]
		if now == nil {
			now = new(store.Sum)
		}
		if d := now.N - was[k].n; d != 0 {
			if err := rc.differs(ctx, rollup, fmt.Sprintf(key, k), was[k].n, now.N, add, k, d); err != nil {
				return err
			}
		}
		if authors := now.Authors.AppendTo([]byte{}); !bytes.Equal(authors, was[k].authors) {
			if err := rc.differs(ctx, rollup, "", 0, 0, set, k, authors); err != nil {
				return err
			}
		}
	}
	return nil
}

// numbers compares sums of two keys.
func (rc *recounting) numbers(ctx context.Context, rollup, key string, was, is map[[2]int64]int64, add string) error {
	all := make(map[[2]int64]bool, len(is))
	for k := range was {
		all[k] = true
	}
	for k := range is {
		all[k] = true
	}
	for _, k := range slices.SortedFunc(maps.Keys(all), func(a, b [2]int64) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	}) {
		if d := is[k] - was[k]; d != 0 {
			if err := rc.differs(ctx, rollup, fmt.Sprintf(key, k[0], k[1]), was[k], is[k], add, k[0], k[1], d); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	// The relays that have sightings or sums, one after the other.
	sqlNextRelay = `
		SELECT min(id) FROM (
			SELECT min(id) AS id FROM relay WHERE id > $1
			UNION ALL SELECT min(relay_id) FROM rollup_relay WHERE relay_id > $1
			UNION ALL SELECT min(relay_id) FROM rollup_relay_kind WHERE relay_id > $1
			UNION ALL SELECT min(relay_id) FROM rollup_relay_day WHERE relay_id > $1) AS next`
	// What is not in the sums yet is in the log, or is a new event of a batch
	// that is not counted. Each is a list that is hashed once, however long.
	sqlRelaySightings = `
		SELECT e.created_at / 86400, e.kind, count(*)
		FROM sighting s JOIN event e ON e.created_at = s.created_at AND e.seq = s.event_seq
		WHERE s.relay_id = $1
		AND e.seq / 4096 * 4096 - 1 NOT IN (SELECT b.first_seq FROM batch b
			WHERE b.relay_id = $1 AND b.nr > (SELECT nr FROM rollup_total WHERE name = 'events'))
		AND e.seq NOT IN (SELECT u.seq FROM sighting_log l, unnest(l.seqs) AS u (seq) WHERE l.relay_id = $1)
		GROUP BY 1, 2`
	sqlRelaySum   = `SELECT coalesce((SELECT n FROM rollup_relay WHERE relay_id = $1), 0)`
	sqlRelayKinds = `SELECT relay_id, kind, n FROM rollup_relay_kind WHERE relay_id = $1`
	sqlRelayDays  = `SELECT relay_id, day, n FROM rollup_relay_day WHERE relay_id = $1`
	sqlSumTotals  = `SELECT (SELECT n FROM rollup_total WHERE name = 'sightings'), coalesce((SELECT sum(n) FROM rollup_relay), 0)::bigint`

	sqlFixRelay     = `INSERT INTO rollup_relay AS r (relay_id, n) VALUES ($1, $2) ON CONFLICT (relay_id) DO UPDATE SET n = r.n + excluded.n`
	sqlFixRelayKind = `INSERT INTO rollup_relay_kind AS r (relay_id, kind, n) VALUES ($1, $2, $3) ON CONFLICT (relay_id, kind) DO UPDATE SET n = r.n + excluded.n`
	sqlFixRelayDay  = `INSERT INTO rollup_relay_day AS r (relay_id, day, n) VALUES ($1, $2, $3) ON CONFLICT (relay_id, day) DO UPDATE SET n = r.n + excluded.n`
)

// sightings counts the sightings of every relay and compares, and then the
// total with the relays.
func (rc *recounting) sightings(ctx context.Context) error {
	for relay := int32(0); ; {
		var next *int32
		if err := rc.db.read(ctx, func(q querier) error { return q.QueryRow(ctx, sqlNextRelay, relay).Scan(&next) }); err != nil {
			return err
		}
		if next == nil {
			break
		}
		relay = *next
		if err := rc.relay(ctx, relay); err != nil {
			return err
		}
	}
	if err := rc.write(ctx); err != nil {
		return err
	}
	var was, is int64
	if err := rc.db.read(ctx, func(q querier) error { return q.QueryRow(ctx, sqlSumTotals).Scan(&was, &is) }); err != nil {
		return err
	}
	if was == is {
		return nil
	}
	return rc.differs(ctx, "rollup_total", "sightings", was, is, sqlFixTotal, "sightings", is-was)
}

func (rc *recounting) relay(ctx context.Context, relay int32) error {
	var is *store.Sums
	var was int64
	var kinds, days map[[2]int64]int64
	if err := rc.db.snapshot(ctx, func(q querier) error {
		is, kinds, days = store.NewSums(), map[[2]int64]int64{}, map[[2]int64]int64{}
		if err := each(ctx, q, func(rows pgx.Rows) error {
			var day, kind, n int64
			err := rows.Scan(&day, &kind, &n)
			is.Sighting(int64(relay), day*store.Day, kind, n)
			return err
		}, sqlRelaySightings, relay); err != nil {
			return err
		}
		for _, t := range []struct {
			sql  string
			into map[[2]int64]int64
		}{{sqlRelayKinds, kinds}, {sqlRelayDays, days}} {
			if err := each(ctx, q, func(rows pgx.Rows) error {
				var key [2]int64
				var n int64
				err := rows.Scan(&key[0], &key[1], &n)
				t.into[key] = n
				return err
			}, t.sql, relay); err != nil {
				return err
			}
		}
		return q.QueryRow(ctx, sqlRelaySum, relay).Scan(&was)
	}); err != nil {
		return err
	}
	if was != is.Sightings {
		if err := rc.differs(ctx, "rollup_relay", fmt.Sprintf("relay=%d", relay), was, is.Sightings, sqlFixRelay, relay, is.Sightings-was); err != nil {
			return err
		}
	}
	if err := rc.numbers(ctx, "rollup_relay_kind", "relay=%d kind=%d", kinds, is.RelayKinds, sqlFixRelayKind); err != nil {
		return err
	}
	return rc.numbers(ctx, "rollup_relay_day", "relay=%d day=%d", days, is.RelayDays, sqlFixRelayDay)
}

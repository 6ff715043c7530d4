package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"bigbrotr/internal/core/store"
)

const (
	// recountRows is how many rows one read of a recount takes, recountWrites
	// how many sums one transaction of it repairs.
	recountRows   = 20000
	recountWrites = 1000
	// maxDifferences is how many are told; all are repaired.
	maxDifferences = 1000
)

// errPurged is returned when events were deleted while a recount was counting.
var errPurged = errors.New("events were deleted meanwhile")

// Recount implements store.Rollups. Refresh waits for it. It counts relay by
// relay, so that it needs the memory of one.
func (db *DB) Recount(ctx context.Context) ([]store.Difference, error) {
	db.folding.Lock()
	defer db.folding.Unlock()
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
	purges  int
	counted int64
	found   []store.Difference
	repairs []repair
}

// repair sets a sum right.
type repair struct {
	sql  string
	args []any
}

func (db *DB) recount(ctx context.Context) ([]store.Difference, error) {
	rc := &recounting{db: db}
	if err := db.write(ctx, func(w *writer) (err error) {
		rc.purges = w.purges
		rc.counted, err = w.counted(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	if err := rc.events(ctx); err != nil {
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

func (rc *recounting) write(ctx context.Context) error {
	repairs := rc.repairs
	rc.repairs = nil
	return rc.db.write(ctx, func(w *writer) error {
		if w.purges != rc.purges {
			return errPurged
		}
		for _, r := range repairs {
			if _, err := w.c.exec(r.sql, r.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	sqlAllDays     = `SELECT day, n, authors FROM rollup_day ORDER BY day`
	sqlAllKinds    = `SELECT kind, n, authors FROM rollup_kind ORDER BY kind`
	sqlAllDayKinds = `SELECT day, kind, n FROM rollup_day_kind ORDER BY day, kind`
	sqlTotal       = `SELECT n, authors FROM rollup_total WHERE name = ?`
	sqlSetTotal    = `UPDATE rollup_total SET n = ?, authors = ? WHERE name = ?`
	sqlSetDay      = `INSERT OR REPLACE INTO rollup_day (day, n, authors) VALUES (?, ?, ?)`
	sqlSetKind     = `INSERT OR REPLACE INTO rollup_kind (kind, n, authors) VALUES (?, ?, ?)`
	sqlSetDayKind  = `INSERT OR REPLACE INTO rollup_day_kind (day, kind, n) VALUES (?, ?, ?)`
	sqlUnsetDay    = `DELETE FROM rollup_day WHERE day = ?`
	sqlUnsetKind   = `DELETE FROM rollup_kind WHERE kind = ?`
	sqlUnsetDKind  = `DELETE FROM rollup_day_kind WHERE day = ? AND kind = ?`
)

// events counts the events that the sums should hold and compares.
func (rc *recounting) events(ctx context.Context) error {
	is := store.NewSums()
	for after, more := int64(0), true; more; {
		rows := 0
		if err := rc.db.read(ctx, func(c *conn) error {
			return c.query(ctx, func(r row) bool {
				after = r.int(0)
				is.Event(r.int(1), r.int(2), r.blob(3))
				rows++
				return true
			}, sqlFoldEvents, after, rc.counted, int64(recountRows))
		}); err != nil {
			return err
		}
		more = rows == recountRows
	}
	if err := rc.total(ctx, "events", is.Events, is.Authors.AppendTo([]byte{})); err != nil {
		return err
	}
	if err := rc.authored(ctx, "rollup_day", "day=%d", is.Days, sqlAllDays, sqlSetDay, sqlUnsetDay); err != nil {
		return err
	}
	if err := rc.authored(ctx, "rollup_kind", "kind=%d", is.Kinds, sqlAllKinds, sqlSetKind, sqlUnsetKind); err != nil {
		return err
	}
	return rc.numbers(ctx, "rollup_day_kind", "day=%d kind=%d", is.DayKinds, sqlSetDayKind, sqlUnsetDKind, sqlAllDayKinds)
}

func (rc *recounting) total(ctx context.Context, name string, is int64, authors []byte) error {
	var was int64
	var before []byte
	if err := rc.db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { was, before = r.int(0), r.blob(1) }, sqlTotal, name)
		return err
	}); err != nil {
		return err
	}
	if was == is && bytes.Equal(before, authors) {
		return nil
	}
	return rc.differs(ctx, "rollup_total", name, was, is, sqlSetTotal, is, authors, name)
}

// authored compares sums that have authors. Authors alone are set right without
// a word: they are estimates, and deletions leave them behind.
func (rc *recounting) authored(ctx context.Context, rollup, key string, is map[int64]*store.Sum, read, set, unset string) error {
	type was struct {
		key, n  int64
		authors []byte
	}
	rows, err := list(ctx, rc.db, func(r row) was { return was{r.int(0), r.int(1), r.blob(2)} }, read)
	if err != nil {
		return err
	}
	for _, was := range rows {
		now := is[was.key]
		delete(is, was.key)
		switch {
		case now == nil:
			err = rc.differs(ctx, rollup, fmt.Sprintf(key, was.key), was.n, 0, unset, was.key)
		case now.N != was.n || !bytes.Equal(now.Authors.AppendTo([]byte{}), was.authors):
			err = rc.differs(ctx, rollup, fmt.Sprintf(key, was.key), was.n, now.N, set, was.key, now.N, now.Authors.AppendTo([]byte{}))
		}
		if err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(is)) {
		if err := rc.differs(ctx, rollup, fmt.Sprintf(key, k), 0, is[k].N, set, k, is[k].N, is[k].Authors.AppendTo([]byte{})); err != nil {
			return err
		}
	}
	return nil
}

// numbers compares sums of two keys.
func (rc *recounting) numbers(ctx context.Context, rollup, key string, is map[[2]int64]int64, set, unset, read string, args ...any) error {
	type was struct {
		key [2]int64
		n   int64
	}
	rows, err := list(ctx, rc.db, func(r row) was { return was{[2]int64{r.int(0), r.int(1)}, r.int(2)} }, read, args...)
	if err != nil {
		return err
	}
	for _, was := range rows {
		now, there := is[was.key]
		delete(is, was.key)
		switch {
		case !there:
			err = rc.differs(ctx, rollup, fmt.Sprintf(key, was.key[0], was.key[1]), was.n, 0, unset, was.key[0], was.key[1])
		case now != was.n:
			err = rc.differs(ctx, rollup, fmt.Sprintf(key, was.key[0], was.key[1]), was.n, now, set, was.key[0], was.key[1], now)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(is), func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) }) {
		if err := rc.differs(ctx, rollup, fmt.Sprintf(key, k[0], k[1]), 0, is[k], set, k[0], k[1], is[k]); err != nil {
			return err
		}
	}
	return nil
}

const (
	// The relays that have sightings or sums, one after the other.
	sqlNextRelay = `
		SELECT min(id) FROM (
			SELECT min(relay_id) AS id FROM sighting WHERE relay_id > ?1
			UNION ALL SELECT min(relay_id) FROM rollup_relay WHERE relay_id > ?1
			UNION ALL SELECT min(relay_id) FROM rollup_relay_kind WHERE relay_id > ?1
			UNION ALL SELECT min(relay_id) FROM rollup_relay_day WHERE relay_id > ?1)`
	sqlRelaySightings = `
		SELECT s.event_seq, e.created_at, e.kind FROM sighting s LEFT JOIN event e ON e.seq = s.event_seq
		WHERE s.relay_id = ? AND s.event_seq > ? ORDER BY s.event_seq LIMIT ?`
	sqlRelayLog       = `SELECT id, seqs FROM sighting_log WHERE relay_id = ? AND id > ? ORDER BY id`
	sqlRelaySum       = `SELECT n FROM rollup_relay WHERE relay_id = ?`
	sqlSetRelaySum    = `INSERT OR REPLACE INTO rollup_relay (relay_id, n) VALUES (?, ?)`
	sqlUnsetRelaySum  = `DELETE FROM rollup_relay WHERE relay_id = ?`
	sqlRelayKinds     = `SELECT relay_id, kind, n FROM rollup_relay_kind WHERE relay_id = ? ORDER BY kind`
	sqlSetRelayKind   = `INSERT OR REPLACE INTO rollup_relay_kind (relay_id, kind, n) VALUES (?, ?, ?)`
	sqlUnsetRelayKind = `DELETE FROM rollup_relay_kind WHERE relay_id = ? AND kind = ?`
	sqlRelayDays      = `SELECT relay_id, day, n FROM rollup_relay_day WHERE relay_id = ? ORDER BY day`
	sqlSetRelayDay    = `INSERT OR REPLACE INTO rollup_relay_day (relay_id, day, n) VALUES (?, ?, ?)`
	sqlUnsetRelayDay  = `DELETE FROM rollup_relay_day WHERE relay_id = ? AND day = ?`
)

// sightings counts the sightings of every relay and compares.
func (rc *recounting) sightings(ctx context.Context) error {
	var total int64
	for relay := int64(0); ; {
		if err := rc.db.read(ctx, func(c *conn) error {
			_, err := c.one(ctx, func(r row) { relay = r.int(0) }, sqlNextRelay, relay)
			return err
		}); err != nil {
			return err
		}
		if relay == 0 {
			return rc.total(ctx, "sightings", total, []byte{})
		}
		n, err := rc.relay(ctx, relay)
		if err != nil {
			return err
		}
		total += n
	}
}

func (rc *recounting) relay(ctx context.Context, relay int64) (int64, error) {
	is := store.NewSums()
	waiting := make(map[int64]bool)
	for log, after, more := int64(0), int64(0), true; more; {
		rows := 0
		if err := rc.db.read(ctx, func(c *conn) error {
			// Both in one snapshot: what is not in the sums yet is in the log.
			return c.snapshot(func() error {
				if err := c.query(ctx, func(r row) bool {
					log = r.int(0)
					for seq := range steps(r.blob(1)) {
						waiting[seq] = true
					}
					return true
				}, sqlRelayLog, relay, log); err != nil {
					return err
				}
				return c.query(ctx, func(r row) bool {
					rows++
					after = r.int(0)
					if r[1] != nil && !waiting[after] {
						is.Sighting(relay, r.int(1), r.int(2), 1)
					}
					return true
				}, sqlRelaySightings, relay, after, int64(recountRows))
			})
		}); err != nil {
			return 0, err
		}
		more = rows == recountRows
	}
	var was int64
	if err := rc.db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { was = r.int(0) }, sqlRelaySum, relay)
		return err
	}); err != nil {
		return 0, err
	}
	if key := fmt.Sprintf("relay=%d", relay); was != is.Sightings {
		set, args := sqlSetRelaySum, []any{relay, is.Sightings}
		if is.Sightings == 0 {
			set, args = sqlUnsetRelaySum, args[:1]
		}
		if err := rc.differs(ctx, "rollup_relay", key, was, is.Sightings, set, args...); err != nil {
			return 0, err
		}
	}
	if err := rc.numbers(ctx, "rollup_relay_kind", "relay=%d kind=%d", is.RelayKinds, sqlSetRelayKind, sqlUnsetRelayKind, sqlRelayKinds, relay); err != nil {
		return 0, err
	}
	return is.Sightings, rc.numbers(ctx, "rollup_relay_day", "relay=%d day=%d", is.RelayDays, sqlSetRelayDay, sqlUnsetRelayDay, sqlRelayDays, relay)
}

// snapshot runs reads that see the same state. Many small ones are also cheaper
// so: each alone takes and drops a lock in the shared memory.
func (c *conn) snapshot(run func() error) error {
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	err := run()
	_, end := c.exec("COMMIT")
	return errors.Join(err, end)
}

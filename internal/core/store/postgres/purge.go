package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// purgeSlice is how many events one transaction of a purge deletes.
const purgeSlice = 500

const (
	sqlUnpurged = `SELECT target, until FROM tombstone WHERE NOT purged LIMIT 1`
	sqlPurge    = `SELECT relay_id, created_at, kind, counted FROM purge_events($1, $2, $3, $4)`
	sqlPurged   = `UPDATE tombstone SET purged = true WHERE target = $1 AND until = $2`
	sqlPurges   = `INSERT INTO setting (name, value) VALUES ('purges', '1')
		ON CONFLICT (name) DO UPDATE SET value = (setting.value::bigint + 1)::text`
)

// purge deletes what tombstones name, in slices. A process that ends before it
// does leaves the rest to the next vanish request or Migrate.
func (db *DB) purge(ctx context.Context) error {
	for {
		var target []byte
		var until int64
		err := db.read(ctx, func(q querier) error { return q.QueryRow(ctx, sqlUnpurged).Scan(&target, &until) })
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(target) != len(nostr.PubKey{}) {
			return store.ErrCorrupt
		}
		for more := true; more; {
			if err := db.write(ctx, func(tx pgx.Tx) (err error) {
				more, err = purgeSome(ctx, tx, nostr.PubKey(target), until)
				return err
			}); err != nil {
				return err
			}
		}
	}
}

// purgeSome deletes the next events of an author, takes them out of the sums
// and tells whether there may be more.
func purgeSome(ctx context.Context, tx pgx.Tx, author nostr.PubKey, until int64) (more bool, err error) {
	if _, err := tx.Exec(ctx, sqlLock, vanishing); err != nil {
		return false, err
	}
	var counted int64
	if err := tx.QueryRow(ctx, sqlLockCounted).Scan(&counted); err != nil {
		return false, err
	}
	s := store.NewSums()
	events := 0
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		var relay *int32
		var at, kind int64
		var counted bool
		if err := rows.Scan(&relay, &at, &kind, &counted); err != nil {
			return err
		}
		switch {
		case relay != nil:
			s.Sighting(int64(*relay), at, kind, 1)
		case counted:
			s.Event(at, kind, nil)
		}
		if relay == nil {
			events++
		}
		return nil
	}, sqlPurge, author[:], authorPrefix(author), until, int32(purgeSlice)); err != nil {
		return false, err
	}
	var b pgx.Batch
	if err := addSums(ctx, tx, &b, s, -1); err != nil {
		return false, err
	}
	b.Queue(sqlPurges)
	if events < purgeSlice {
		b.Queue(sqlPurged, author[:], until)
	}
	return events == purgeSlice, tx.SendBatch(ctx, &b).Close()
}

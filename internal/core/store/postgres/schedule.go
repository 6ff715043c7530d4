package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

const (
	// Relays promoted since the service last asked get their row here. A
	// smaller number may become visible after a larger one, so the whole set is
	// compared, which is small.
	sqlEnsureWork = `
		INSERT INTO work (service, relay_id, due_at)
		SELECT $1, r.id, r.promoted_at FROM relay r
		WHERE NOT EXISTS (SELECT 1 FROM work w WHERE w.service = $1 AND w.relay_id = r.id)
		ORDER BY r.id
		ON CONFLICT (service, relay_id) DO NOTHING`
	// Here the index finds it.
	sqlDueAgain = `UPDATE work SET due_at = $2 WHERE service = $1 AND due_at > $3`
	// Rows that another process is leasing right now are skipped.
	sqlLeaseRelays = `
		WITH due AS MATERIALIZED (
			SELECT w.service, w.relay_id, w.due_at, w.attempts FROM work w JOIN relay r ON r.id = w.relay_id
			WHERE w.service = $1 AND w.due_at <= $2 AND w.lease_until NOT BETWEEN $2 + 1 AND $7
			AND r.kept_out = '' AND ($9 OR r.alias_of = 0 OR EXISTS (SELECT 1 FROM relay o WHERE o.id = r.alias_of AND o.state = 'dead'))
			AND ($3::text[] IS NULL OR r.network = ANY($3)) AND ($8 = 0 OR w.relay_id = $8)
			ORDER BY w.due_at, w.relay_id LIMIT $4
			FOR UPDATE OF w SKIP LOCKED
		), leased AS (
			UPDATE work w SET lease_owner = $5, lease_until = $6 FROM due
			WHERE w.service = due.service AND w.relay_id = due.relay_id
		)
		SELECT ` + relayColumns + `, due.due_at, due.attempts FROM due JOIN relay r ON r.id = due.relay_id
		ORDER BY due.due_at, due.relay_id`
)

// DueRelays implements store.Schedule.
func (db *DB) DueRelays(ctx context.Context, due store.Due) ([]store.Work, error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	var work []store.Work
	err := db.write(ctx, func(tx pgx.Tx) error {
		work = nil
		if _, err := tx.Exec(ctx, sqlEnsureWork, due.Service); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlDueAgain, due.Service, due.Now, due.Now+store.MaxWait); err != nil {
			return err
		}
		return each(ctx, tx, func(rows pgx.Rows) error {
			var one store.Work
			var err error
			one.Relay, err = scanRelay(rows, &one.DueAt, &one.Attempts)
			work = append(work, one)
			return err
		}, sqlLeaseRelays, due.Service, due.Now, networkList(due.Networks), int64(due.Limit), due.Owner, due.Until, due.Now+store.MaxLease, int32(due.Relay), due.Aliases)
	})
	if err != nil {
		return nil, fmt.Errorf("lease relays: %w", err)
	}
	return work, nil
}

// networkList is nil for every network.
func networkList(networks []relay.Network) []string {
	var list []string
	for _, n := range networks {
		list = append(list, string(n))
	}
	return list
}

// Who never leased may make a row. Who did finds one, and writes it when it is
// locked and the lease is still theirs.
const sqlSaveNext = `
	INSERT INTO work AS w (service, relay_id, due_at, attempts, lease_owner)
	SELECT u.service, u.relay_id, u.due_at, u.attempts, u.owner
	FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[], $5::text[]) AS u (service, relay_id, due_at, attempts, owner)
	WHERE u.owner = '' OR EXISTS (
		SELECT 1 FROM work l WHERE l.service = u.service AND l.relay_id = u.relay_id AND l.lease_owner = u.owner)
	ORDER BY u.service, u.relay_id
	ON CONFLICT (service, relay_id) DO UPDATE
	SET due_at = excluded.due_at, attempts = excluded.attempts, lease_owner = '', lease_until = 0
	WHERE w.lease_owner = excluded.lease_owner`

// queueNext queues what SaveNext writes.
func queueNext(b *pgx.Batch, next []store.Next) {
	var services, owners []string
	var relays, attempts []int32
	var dues []int64
	for _, n := range store.LastNext(next) {
		services, relays, owners = append(services, n.Service), append(relays, int32(n.Relay)), append(owners, n.Owner)
		dues, attempts = append(dues, n.DueAt), append(attempts, int32(n.Attempts))
	}
	b.Queue(sqlSaveNext, services, relays, dues, attempts, owners)
}

// SaveNext implements store.Schedule.
func (db *DB) SaveNext(ctx context.Context, next []store.Next) error {
	err := db.write(ctx, func(tx pgx.Tx) error {
		var b pgx.Batch
		queueNext(&b, next)
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("save schedule: %w", err)
	}
	return nil
}

const (
	sqlFreeWork = `
		WITH locked AS MATERIALIZED (SELECT service, relay_id FROM work WHERE lease_owner = $1 ORDER BY service, relay_id FOR UPDATE)
		UPDATE work w SET lease_owner = '', lease_until = 0 FROM locked WHERE w.service = locked.service AND w.relay_id = locked.relay_id`
	sqlFreeCandidates = `
		WITH locked AS MATERIALIZED (SELECT url FROM candidate WHERE lease_owner = $1 ORDER BY url FOR UPDATE)
		UPDATE candidate c SET lease_owner = '', lease_until = 0 FROM locked WHERE c.url = locked.url`
	sqlFreeSources = `
		WITH locked AS MATERIALIZED (SELECT class, name FROM source WHERE lease_owner = $1 ORDER BY class, name FOR UPDATE)
		UPDATE source s SET lease_owner = '', lease_until = 0 FROM locked WHERE s.class = locked.class AND s.name = locked.name`
	sqlFreeJobs = `
		WITH locked AS MATERIALIZED (SELECT id FROM job WHERE lease_owner = $1 ORDER BY id FOR UPDATE)
		UPDATE job j SET lease_owner = '', lease_until = 0 FROM locked WHERE j.id = locked.id`
	sqlFreeAlerts = `
		WITH locked AS MATERIALIZED (
			SELECT receiver, kind, relay_id, about FROM alert WHERE lease_owner = $1 ORDER BY receiver, kind, relay_id, about FOR UPDATE)
		UPDATE alert a SET lease_owner = '', lease_until = 0 FROM locked l
		WHERE a.receiver = l.receiver AND a.kind = l.kind AND a.relay_id = l.relay_id AND a.about = l.about`
)

// FreeLeases implements store.Schedule.
func (db *DB) FreeLeases(ctx context.Context, owner string) error {
	err := db.write(ctx, func(tx pgx.Tx) error {
		for _, sql := range []string{sqlFreeWork, sqlFreeCandidates, sqlFreeSources, sqlFreeJobs, sqlFreeAlerts} {
			if _, err := tx.Exec(ctx, sql, owner); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("free leases: %w", err)
	}
	return nil
}

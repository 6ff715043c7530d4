package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

const (
	// Relays promoted since the service last asked get their row here: ids
	// only grow, and every row is made by this statement.
	sqlEnsureWork = `
		INSERT INTO work (service, relay_id, due_at)
		SELECT ?1, id, promoted_at FROM relay
		WHERE id > coalesce((SELECT max(relay_id) FROM work WHERE service = ?1), 0)`
	sqlDueAgain  = `UPDATE work SET due_at = ?2 WHERE service = ?1 AND due_at > ?3`
	sqlDueRelays = `
		SELECT ` + relayColumns + `, w.due_at, w.attempts FROM work w INDEXED BY work_due JOIN relay r ON r.id = w.relay_id
		WHERE w.service = ?1 AND w.due_at <= ?2 AND w.lease_until NOT BETWEEN ?2 + 1 AND ?5
		AND r.kept_out = '' AND (?7 OR r.alias_of = 0 OR EXISTS (SELECT 1 FROM relay o WHERE o.id = r.alias_of AND o.state = 'dead'))
		AND (?3 = '' OR r.network IN (SELECT value FROM json_each(?3)))
		AND (?6 = 0 OR w.relay_id = ?6)
		ORDER BY w.due_at, w.relay_id LIMIT ?4`
	sqlLease = `UPDATE work SET lease_owner = ?, lease_until = ? WHERE service = ? AND relay_id = ?`
)

// DueRelays implements store.Schedule.
func (db *DB) DueRelays(ctx context.Context, due store.Due) ([]store.Work, error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	var work []store.Work
	err := db.write(ctx, func(w *writer) error {
		work = nil
		if _, err := w.c.exec(sqlEnsureWork, due.Service); err != nil {
			return err
		}
		if _, err := w.c.exec(sqlDueAgain, due.Service, due.Now, due.Now+store.MaxWait); err != nil {
			return err
		}
		var bad error
		if err := w.c.query(ctx, func(r row) bool {
			var one store.Relay
			one, bad = scanRelay(r)
			work = append(work, store.Work{Relay: one, DueAt: r.int(11), Attempts: int(r.int(12))})
			return bad == nil
		}, sqlDueRelays, due.Service, due.Now, networkList(due.Networks), int64(due.Limit), due.Now+store.MaxLease, int64(due.Relay), integer(due.Aliases)); err != nil || bad != nil {
			return errors.Join(err, bad)
		}
		for _, one := range work {
			if _, err := w.c.exec(sqlLease, due.Owner, due.Until, due.Service, int64(one.Relay.ID)); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("lease relays: %w", err)
	}
	return work, nil
}

// networkList is networks as a JSON array, empty for every network.
func networkList(networks []relay.Network) string {
	if len(networks) == 0 {
		return ""
	}
	b, err := json.Marshal(networks)
	if err != nil {
		panic(err) // strings always have a form
	}
	return string(b)
}

const sqlSaveNext = `
	UPDATE work SET due_at = ?, attempts = ?, lease_owner = '', lease_until = 0
	WHERE service = ? AND relay_id = ? AND lease_owner = ?`

func (w *writer) saveNext(n store.Next) error {
	if _, err := w.c.exec(sqlEnsureWork, n.Service); err != nil {
		return err
	}
	_, err := w.c.exec(sqlSaveNext, n.DueAt, int64(n.Attempts), n.Service, int64(n.Relay), n.Owner)
	return err
}

// SaveNext implements store.Schedule.
func (db *DB) SaveNext(ctx context.Context, next []store.Next) error {
	next = store.LastNext(next)
	err := db.write(ctx, func(w *writer) error {
		for _, n := range next {
			if err := w.saveNext(n); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("save schedule: %w", err)
	}
	return nil
}

const (
	sqlFreeWork       = `UPDATE work SET lease_owner = '', lease_until = 0 WHERE lease_owner <> '' AND (?1 = '' OR lease_owner = ?1)`
	sqlFreeCandidates = `UPDATE candidate SET lease_owner = '', lease_until = 0 WHERE lease_owner <> '' AND (?1 = '' OR lease_owner = ?1)`
	sqlFreeSources    = `UPDATE source SET lease_owner = '', lease_until = 0 WHERE lease_owner <> '' AND (?1 = '' OR lease_owner = ?1)`
	sqlFreeJobs       = `UPDATE job SET lease_owner = '', lease_until = 0 WHERE lease_owner <> '' AND (?1 = '' OR lease_owner = ?1)`
	sqlFreeAlerts     = `UPDATE alert SET lease_owner = '', lease_until = 0 WHERE lease_owner <> '' AND (?1 = '' OR lease_owner = ?1)`
)

// free gives back what owner has leased, or everybody when it is empty.
func (w *writer) free(owner string) error {
	for _, sql := range []string{sqlFreeWork, sqlFreeCandidates, sqlFreeSources, sqlFreeJobs, sqlFreeAlerts} {
		if _, err := w.c.exec(sql, owner); err != nil {
			return err
		}
	}
	return nil
}

// inherit frees what the last process had leased, if it was killed: who has the
// writer's lock is alone.
func (w *writer) inherit() error {
	return w.begin(func() error { return w.free("") })
}

// FreeLeases implements store.Schedule.
func (db *DB) FreeLeases(ctx context.Context, owner string) error {
	if owner == "" {
		return nil // what is not leased
	}
	if err := db.write(ctx, func(w *writer) error { return w.free(owner) }); err != nil {
		return fmt.Errorf("free leases: %w", err)
	}
	return nil
}

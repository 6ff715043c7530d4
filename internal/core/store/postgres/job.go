package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const sqlAddJob = `
	INSERT INTO job (id, customer, at, request, state, payment, due_at, lease_owner, lease_until) VALUES ($1, $2, $3, $4, $5, $6, $3, $7, $8)
	ON CONFLICT DO NOTHING`

// AddJob implements store.Jobs. A job whose commit was in doubt may be taken for
// another's: it is due again when the lease ends.
func (db *DB) AddJob(ctx context.Context, job store.Job, lease store.Lease) (bool, error) {
	added, err := db.changes(ctx, sqlAddJob, job.ID[:], job.Customer[:], job.At, job.Request, string(job.State), job.Payment, lease.Owner, lease.Until)
	if err != nil {
		return false, fmt.Errorf("add job: %w", err)
	}
	return added > 0, nil
}

// changes runs a statement in a transaction of its own and returns how many rows
// it changed.
func (db *DB) changes(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = db.write(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

const sqlDueJobs = `
	WITH due AS MATERIALIZED (
		SELECT id, customer, at, request, state, payment, answer, due_at FROM job j
		WHERE state IN ('open', 'unpaid', 'answered') AND due_at <= $1 AND lease_until NOT BETWEEN $1 + 1 AND $2
		ORDER BY due_at, id LIMIT $3
		FOR UPDATE OF j SKIP LOCKED
	), leased AS (
		UPDATE job j SET lease_owner = $4, lease_until = $5 FROM due WHERE j.id = due.id
	)
	SELECT id, customer, at, request, state, payment, answer FROM due ORDER BY due_at, id`

// DueJobs implements store.Jobs.
func (db *DB) DueJobs(ctx context.Context, due store.Due) (jobs []store.Job, err error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	err = db.write(ctx, func(tx pgx.Tx) error {
		jobs = nil
		return each(ctx, tx, func(rows pgx.Rows) error {
			var job store.Job
			var id, customer []byte
			err := rows.Scan(&id, &customer, &job.At, &job.Request, &job.State, &job.Payment, &job.Answer)
			copy(job.ID[:], id)
			copy(job.Customer[:], customer)
			jobs = append(jobs, job)
			return err
		}, sqlDueJobs, due.Now, due.Now+store.MaxLease, int64(due.Limit), due.Owner, due.Until)
	})
	if err != nil {
		return nil, fmt.Errorf("lease jobs: %w", err)
	}
	return jobs, nil
}

const sqlSaveJob = `
	UPDATE job SET state = $1::text, payment = CASE WHEN answer IS NULL THEN $2 ELSE payment END, answer = coalesce(answer, $3),
		due_at = $4, lease_owner = CASE WHEN $5::bigint > 0 THEN lease_owner ELSE '' END, lease_until = $5::bigint
	WHERE id = $6 AND lease_owner = $7 AND state IN ('open', 'unpaid', 'answered') AND (answer IS NULL OR $1::text NOT IN ('open', 'unpaid'))`

// SaveJob implements store.Jobs.
func (db *DB) SaveJob(ctx context.Context, job store.Job, lease store.Lease, dueAt int64) (bool, error) {
	saved, err := db.changes(ctx, sqlSaveJob, string(job.State), job.Payment, job.Answer, dueAt, lease.Until, job.ID[:], lease.Owner)
	if err != nil {
		return false, fmt.Errorf("save job: %w", err)
	}
	return saved > 0, nil
}

const sqlCancelJob = `
	UPDATE job SET state = 'ended', lease_owner = '', lease_until = 0
	WHERE id = $1 AND customer = $2 AND state IN ('open', 'unpaid') AND answer IS NULL`

// CancelJob implements store.Jobs.
func (db *DB) CancelJob(ctx context.Context, id nostr.ID, customer nostr.PubKey) (bool, error) {
	cancelled, err := db.changes(ctx, sqlCancelJob, id[:], customer[:])
	if err != nil {
		return false, fmt.Errorf("cancel job: %w", err)
	}
	return cancelled > 0, nil
}

const sqlDropJobs = `
	WITH old AS MATERIALIZED (SELECT id FROM job WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
	DELETE FROM job j USING old WHERE j.id = old.id`

// DropJobs implements store.Jobs.
func (db *DB) DropJobs(ctx context.Context, before int64, limit int) (int, error) {
	dropped, err := db.changes(ctx, sqlDropJobs, before, int64(limit))
	if err != nil {
		return 0, fmt.Errorf("drop jobs: %w", err)
	}
	return int(dropped), nil
}

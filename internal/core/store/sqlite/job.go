package sqlite

import (
	"context"
	"fmt"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const sqlAddJob = `
	INSERT INTO job (id, customer, at, request, state, payment, due_at, lease_owner, lease_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?3, ?7, ?8)
	ON CONFLICT DO NOTHING`

// AddJob implements store.Jobs.
func (db *DB) AddJob(ctx context.Context, job store.Job, lease store.Lease) (added bool, err error) {
	err = db.write(ctx, func(w *writer) error {
		n, err := w.c.exec(sqlAddJob, job.ID[:], job.Customer[:], job.At, job.Request, string(job.State), blobOrNull(job.Payment), lease.Owner, lease.Until)
		added = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("add job: %w", err)
	}
	return added, nil
}

func blobOrNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

const (
	sqlDueJobs = `
		SELECT id, customer, at, request, state, payment, answer FROM job INDEXED BY job_due
		WHERE state IN ('open', 'unpaid', 'answered') AND due_at <= ?1 AND lease_until NOT BETWEEN ?1 + 1 AND ?2
		ORDER BY due_at, id LIMIT ?3`
	sqlLeaseJob = `UPDATE job SET lease_owner = ?, lease_until = ? WHERE id = ?`
)

// DueJobs implements store.Jobs.
func (db *DB) DueJobs(ctx context.Context, due store.Due) (jobs []store.Job, err error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	err = db.write(ctx, func(w *writer) error {
		jobs = nil
		if err := w.c.query(ctx, func(r row) bool {
			job := store.Job{At: r.int(2), Request: r.blob(3), State: store.JobState(r.text(4)), Payment: r.blob(5), Answer: r.blob(6)}
			copy(job.ID[:], r.blob(0))
			copy(job.Customer[:], r.blob(1))
			jobs = append(jobs, job)
			return true
		}, sqlDueJobs, due.Now, due.Now+store.MaxLease, int64(due.Limit)); err != nil {
			return err
		}
		for _, job := range jobs {
			if _, err := w.c.exec(sqlLeaseJob, due.Owner, due.Until, job.ID[:]); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("lease jobs: %w", err)
	}
	return jobs, nil
}

const sqlSaveJob = `
	UPDATE job SET state = ?1, payment = CASE WHEN answer IS NULL THEN ?2 ELSE payment END, answer = coalesce(answer, ?3),
		due_at = ?4, lease_owner = CASE WHEN ?5 > 0 THEN lease_owner ELSE '' END, lease_until = ?5
	WHERE id = ?6 AND lease_owner = ?7 AND state IN ('open', 'unpaid', 'answered') AND (answer IS NULL OR ?1 <> 'open' AND ?1 <> 'unpaid')`

// SaveJob implements store.Jobs.
func (db *DB) SaveJob(ctx context.Context, job store.Job, lease store.Lease, dueAt int64) (saved bool, err error) {
	err = db.write(ctx, func(w *writer) error {
		n, err := w.c.exec(sqlSaveJob, string(job.State), blobOrNull(job.Payment), blobOrNull(job.Answer), dueAt, lease.Until, job.ID[:], lease.Owner)
		saved = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("save job: %w", err)
	}
	return saved, nil
}

const sqlCancelJob = `
	UPDATE job SET state = 'ended', lease_owner = '', lease_until = 0
	WHERE id = ? AND customer = ? AND state IN ('open', 'unpaid') AND answer IS NULL`

// CancelJob implements store.Jobs.
func (db *DB) CancelJob(ctx context.Context, id nostr.ID, customer nostr.PubKey) (cancelled bool, err error) {
	err = db.write(ctx, func(w *writer) error {
		n, err := w.c.exec(sqlCancelJob, id[:], customer[:])
		cancelled = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("cancel job: %w", err)
	}
	return cancelled, nil
}

const sqlDropJobs = `DELETE FROM job WHERE id IN (SELECT id FROM job INDEXED BY job_at WHERE at < ? ORDER BY at LIMIT ?)`

// DropJobs implements store.Jobs.
func (db *DB) DropJobs(ctx context.Context, before int64, limit int) (dropped int, err error) {
	err = db.write(ctx, func(w *writer) error {
		n, err := w.c.exec(sqlDropJobs, before, int64(limit))
		dropped = int(n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("drop jobs: %w", err)
	}
	return dropped, nil
}

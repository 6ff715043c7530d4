package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"bigbrotr/internal/core/store"
)

// querier is what reads need of a connection or transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// The waits between tries: from the first, doubled, up to the last, and each
// shortened at random so that processes do not meet again.
const (
	retryFirst = 20 * time.Millisecond
	retryLast  = 2 * time.Second
)

// commitWithin bounds a commit, which is not given up with its context: what
// became of it would stay unknown.
const commitWithin = 30 * time.Second

// write runs work in a transaction of its own and commits it. It is run again,
// from its beginning, when the server was away or chose the transaction to give
// way; work therefore sets what it returns anew each time, and doing it twice
// must be as good as once: a commit whose answer was lost is repeated.
func (db *DB) write(ctx context.Context, work func(tx pgx.Tx) error) error {
	if db.opts.ReadOnly {
		return errReadOnly
	}
	return db.retry(ctx, func() error {
		tx, err := db.pool.Begin(ctx)
		if err != nil {
			return err
		}
		err = work(tx)
		if err == nil {
			err = ctx.Err()
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
		defer cancel()
		if err != nil {
			return errors.Join(err, ignoreClosed(tx.Rollback(end)))
		}
		return tx.Commit(end)
	})
}

// ignoreClosed drops the error of ending what has ended: the transaction whose
// connection was lost.
func ignoreClosed(err error) error {
	if errors.Is(err, pgx.ErrTxClosed) || passing(err) {
		return nil
	}
	return err
}

// read runs work on the pool, each statement a snapshot of its own.
func (db *DB) read(ctx context.Context, work func(q querier) error) error {
	return db.retry(ctx, func() error { return work(db.pool) })
}

// snapshot runs work in a transaction in which every statement sees the same.
func (db *DB) snapshot(ctx context.Context, work func(q querier) error) error {
	return db.retry(ctx, func() error {
		tx, err := db.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		err = work(tx)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitWithin)
		defer cancel()
		return errors.Join(err, ignoreClosed(tx.Rollback(end)))
	})
}

// retry runs work until it succeeds or fails for good, for at most
// Options.RetryFor.
func (db *DB) retry(ctx context.Context, work func() error) error {
	deadline := time.Now().Add(db.opts.RetryFor)
	for wait := retryFirst; ; wait = min(2*wait, retryLast) {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := work()
		if err == nil || ctx.Err() != nil || !passing(err) || time.Now().After(deadline) {
			return explain(err)
		}
		db.log.Debug("database call is tried again", "error", err)
		if err := rest(ctx, wait/2+rand.N(wait/2)); err != nil {
			return err
		}
	}
}

// rest waits, or fails with the context.
func rest(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The conditions by which PostgreSQL and PgBouncer say what went wrong
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	codeSerialization   = "40001"
	codeDeadlock        = "40P01"
	codeLockTimeout     = "55P03"
	codeAdminShutdown   = "57P01"
	codeCrashShutdown   = "57P02"
	codeCannotConnect   = "57P03"
	codeTooMany         = "53300"
	codeDiskFull        = "53100"
	codeStaleStatement  = "26000" // and 0A000: the description of a statement is out of date
	codeFeature         = "0A000"
	codeUndefinedTable  = "42P01"
	codePermission      = "42501"
	codeReadOnly        = "25006"
	codeBouncerShutdown = "08P01" // PgBouncer's word for its own troubles
)

// passing tells whether an error may be over soon: the server is away or
// starting, or a transaction had to give way.
func passing(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case codeSerialization, codeDeadlock, codeLockTimeout, codeAdminShutdown, codeCrashShutdown, codeCannotConnect,
			codeTooMany, codeStaleStatement, codeBouncerShutdown:
			return true
		case codeFeature:
			return pg.Message == "cached plan must not change result type"
		}
		return pg.Code[:2] == "08"
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, pgx.ErrNoRows) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		pgconn.SafeToRetry(err)
}

// explain gives an error of the server the meaning that package store has for
// it.
func explain(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case pg.Code == codeDiskFull:
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case pg.Code == codeUndefinedTable:
		return fmt.Errorf("%w: %w", store.ErrUninitialised, err)
	case pg.Code == codeReadOnly:
		return fmt.Errorf("%w: %w", errReadOnly, err)
	}
	return err
}

// each calls scan for every row.
func each(ctx context.Context, q querier, scan func(pgx.Rows) error, sql string, args ...any) error {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	return scanAll(rows, scan)
}

func scanAll(rows pgx.Rows, scan func(pgx.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ServerError is the failure to open a database.
type ServerError struct {
	Code string // the condition that the server named; empty when it could not be reached
	Err  error
}

func (e *ServerError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the driver, which never holds the password.
func (e *ServerError) Unwrap() error { return e.Err }

// unopened gives the failure of Open its code.
func unopened(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return &ServerError{Code: pg.Code, Err: err}
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return &ServerError{Err: err}
	}
	return err
}

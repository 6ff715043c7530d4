package sqlite

import (
	"context"
	"errors"
	"sync"
	"time"

	"bigbrotr/internal/core/store"
)

const (
	// slice is how long a transaction takes more work in, and so about how
	// long a small write waits.
	slice = 100 * time.Millisecond
	// quiet is how long nothing must have been written before the writer
	// tidies up.
	quiet = time.Second
)

// errClosed is returned by writes after Close.
var errClosed = errors.New("the database is closed")

// task is one piece of work for the writer: run is called inside a transaction
// and a savepoint of its own.
type task struct {
	run  func(*writer) error
	done chan error
}

// writer is the one goroutine that writes, and what only it may touch. Work
// that is queued when a transaction begins shares it: each piece is isolated by
// a savepoint, and all of them are durable when it commits. Small work is taken
// before ingest.
type writer struct {
	db     *DB
	c      *conn
	small  chan *task
	ingest chan *task
	solo   chan *task // work that makes its own transactions
	stop   chan struct{}
	wg     sync.WaitGroup

	archiveState
	archiveSets
	merge *merge // under way, nil when none
	cp    checkpointer
}

func newWriter(db *DB, c *conn) *writer {
	c.steady = true
	w := &writer{db: db, c: c, small: make(chan *task), ingest: make(chan *task), solo: make(chan *task), stop: make(chan struct{})}
	w.wg.Go(w.loop)
	return w
}

// do runs a piece of work and returns when it is durable. Once it has begun,
// only its outcome counts, not ctx: the caller learns what is true.
func (w *writer) do(ctx context.Context, lane chan *task, run func(*writer) error) error {
	t := &task{run: run, done: make(chan error, 1)}
	select {
	case lane <- t:
		return <-t.done
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return errClosed
	}
}

// alone runs work between transactions.
func (w *writer) alone(ctx context.Context, run func(*writer) error) error {
	return w.do(ctx, w.solo, run)
}

func (w *writer) loop() {
	idle := time.NewTimer(quiet)
	defer idle.Stop()
	for {
		var t *task
		select {
		case t = <-w.small:
		default:
			select {
			case t = <-w.small:
			case t = <-w.ingest:
			case t := <-w.solo:
				t.done <- w.db.failed(t.run(w))
				continue
			case <-idle.C:
				w.tidy()
				continue
			case <-w.stop:
				return
			}
		}
		w.transaction(t)
		w.mergeSome(false)
		w.checkpointWhenLarge()
		idle.Reset(quiet)
	}
}

// next takes queued work without waiting for any.
func (w *writer) next() *task {
	select {
	case t := <-w.small:
		return t
	default:
	}
	select {
	case t := <-w.small:
		return t
	case t := <-w.ingest:
		return t
	default:
		return nil
	}
}

// transaction runs t and what else is queued, for a slice of time.
func (w *writer) transaction(t *task) {
	begin := time.Now()
	if _, err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		t.done <- w.db.failed(err)
		return
	}
	type result struct {
		t   *task
		err error
	}
	var results []result
	var broken error
	saved := w.archiveState
	for t != nil {
		err := w.isolated(t)
		results = append(results, result{t, err})
		if broken = w.broken(err); broken != nil || time.Since(begin) > slice {
			break
		}
		t = w.next()
	}
	if broken == nil {
		_, broken = w.c.exec("COMMIT")
	}
	if broken != nil {
		// Nothing of the transaction is kept. SQLite may have ended it itself.
		w.c.exec("ROLLBACK")
		w.archiveState = saved
	}
	for _, r := range results {
		if r.err == nil {
			r.err = broken
		}
		r.t.done <- w.db.failed(r.err)
	}
}

// isolated runs one task in a savepoint.
func (w *writer) isolated(t *task) error {
	if _, err := w.c.exec("SAVEPOINT task"); err != nil {
		return &fatal{err}
	}
	saved := w.archiveState
	err := t.run(w)
	if err != nil {
		w.archiveState = saved
		if _, e := w.c.exec("ROLLBACK TO task"); e != nil {
			return &fatal{err}
		}
	}
	if _, e := w.c.exec("RELEASE task"); e != nil {
		return &fatal{e}
	}
	return err
}

// fatal is an error after which the whole transaction is lost.
type fatal struct{ err error }

func (e *fatal) Error() string { return e.err.Error() }
func (e *fatal) Unwrap() error { return e.err }

func (w *writer) broken(err error) error {
	if f, ok := errors.AsType[*fatal](err); ok {
		return f.err
	}
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, errWrite) {
		return err
	}
	return nil
}

// write runs small work on the writer.
func (db *DB) write(ctx context.Context, run func(*writer) error) error {
	if db.writer == nil {
		return errReadOnly
	}
	return db.writer.do(ctx, db.writer.small, run)
}

// tidy is called when nothing has been written for a while.
func (w *writer) tidy() {
	w.mergeSome(true)
	w.cut()
}

// close waits for the work in hand. Closing the connection writes the log back.
func (w *writer) close() error {
	close(w.stop)
	w.wg.Wait()
	return w.c.close()
}

package sqlite

import (
	"context"
	"errors"
	"sync"
	"time"
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

// task is one piece of work for the writer. Run may be called more than once: a
// transaction that fails is tried again.
type task struct {
	run  func(*writer) error
	done chan error
}

// writer is the one goroutine that writes, and what only it may touch. Work
// that is queued while a transaction runs joins it. Small work is taken before
// ingest.
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
	if err := ctx.Err(); err != nil {
		return err
	}
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
				if w.tidy() {
					idle.Reset(0)
				}
				continue
			case <-w.stop:
				return
			}
		}
		w.transaction(t)
		_ = w.mergeSome(false) // which has told of it; the next turn tries again
		w.checkpointWhenLarge()
		idle.Reset(quiet)
	}
}

// take takes queued work without waiting for any.
func (w *writer) take() *task {
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

// transaction runs t and what else is queued, for a slice of time. Savepoints
// would isolate one from the other, but SQLite then copies every page before it
// is changed, which doubles the cost. So when one fails, which is rare, all are
// taken back and each runs again in a transaction of its own.
func (w *writer) transaction(t *task) {
	tasks := []*task{t}
	err := w.begin(func() error {
		begin := time.Now()
		for {
			if err := tasks[len(tasks)-1].run(w); err != nil || time.Since(begin) > slice {
				return err
			}
			t := w.take()
			if t == nil {
				return nil
			}
			tasks = append(tasks, t)
		}
	})
	for _, t := range tasks {
		if err != nil && len(tasks) > 1 {
			t.done <- w.db.failed(w.begin(func() error { return t.run(w) }))
			continue
		}
		t.done <- w.db.failed(err)
	}
}

// begin runs work in a transaction that is durable when begin returns nil, and
// else leaves nothing.
func (w *writer) begin(run func() error) error {
	if _, err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	saved := w.archiveState
	err := run()
	if err == nil {
		_, err = w.c.exec("COMMIT")
	}
	if err != nil {
		w.archiveState = saved
		// It fails when SQLite has ended the transaction itself, on a full
		// disk; were the transaction still open, the next BEGIN would say so.
		_, _ = w.c.exec("ROLLBACK")
	}
	return err
}

// write runs small work on the writer.
func (db *DB) write(ctx context.Context, run func(*writer) error) error {
	if db.writer == nil {
		return errReadOnly
	}
	return db.writer.do(ctx, db.writer.small, run)
}

// tidy is called when nothing has been written for a while. It does a part, so
// that new work need not wait, and tells whether there is more.
func (w *writer) tidy() (more bool) {
	if w.merge != nil || len(w.terms) > 0 {
		return w.mergeSome(true) == nil
	}
	w.cut()
	return false
}

// close waits for the work in hand. Closing the connection writes the log back.
func (w *writer) close() error {
	close(w.stop)
	w.wg.Wait()
	return w.c.close()
}

// Package sqlite is the embedded backend of the store: one file, one writing
// process, any number of readers. It owns the schema, the SQL and the order of
// writes; the words and promises are package store's.
//
// A write that has returned survives the death of the process at any moment.
// After a loss of power the last commits may be missing (synchronous=NORMAL:
// the log is flushed at checkpoints, not at commits), but what is there is
// whole: events, sightings and claims of a batch come and go together.
package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"bigbrotr/internal/core/store"
)

// Options are the choices of Open.
type Options struct {
	// ReadOnly opens beside a process that writes, and takes no lock. The file
	// must exist.
	ReadOnly bool
	// Keep is the policy for a new database, and what an older one must have:
	// another mode is a *store.KeepError. The zero Keep takes what is there.
	Keep   store.Keep
	Logger *slog.Logger // nil discards
}

// DB is an open database. All methods may be called from many goroutines.
type DB struct {
	path    string
	keep    store.Keep // as Open wants it
	log     *slog.Logger
	lock    *os.File
	readers pool
	writer  *writer // nil when read-only
	folding sync.Mutex
	closing sync.Once
	closed  error
}

var _ store.Store = (*DB)(nil)

// errReadOnly is returned by writes to a database opened for reading.
var errReadOnly = fmt.Errorf("the database was opened for reading only: %w", fs.ErrPermission)

// applicationID marks a SQLite file as ours, in its header: "BBtr".
const applicationID = 0x42427472

// Open opens the database at path and, unless it is read-only, makes it when
// there is none; Migrate gives it its schema. A second writer is refused with a
// *store.LockedError, a file that is not ours with store.ErrCorrupt, one of a
// newer version with store.ErrNewer, one that keeps events by another policy with
// a *store.KeepError. What a process that was killed had leased is free again.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	db := &DB{path: path, keep: opts.Keep, log: opts.Logger}
	if err := checkFile(path, opts.ReadOnly); err != nil {
		return nil, err
	}
	if !opts.ReadOnly {
		lock, err := lockFile(path)
		if err != nil {
			return nil, err
		}
		db.lock = lock
	}
	if err := db.open(ctx, opts.ReadOnly); err != nil {
		return nil, errors.Join(db.failed(err), db.Close())
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, readOnly bool) error {
	db.readers.init(db.path)
	c, err := connect(db.path, readOnly, "busy_timeout=10000")
	if err != nil {
		return err
	}
	ours, err := c.prove(ctx)
	if err == nil && ours {
		err = c.notNewer(ctx)
	}
	if err == nil && ours && readOnly {
		var have store.Keep
		if have, err = c.keep(ctx); err == nil {
			err = agrees(have, db.keep)
		}
	}
	if readOnly || err != nil {
		if readOnly && err == nil && !ours {
			err = store.ErrUninitialised
		}
		return errors.Join(err, c.close())
	}
	for _, p := range []string{
		"page_size=4096",
		fmt.Sprintf("application_id=%d", applicationID),
		"journal_mode=wal",
		"synchronous=normal",
		"wal_autocheckpoint=0", // see checkpoint.go
		"cache_size=-65536",    // KiB
		"temp_store=memory",
	} {
		if _, err := c.exec("PRAGMA " + p); err != nil {
			return errors.Join(err, c.close())
		}
	}
	if ours {
		return db.resume(ctx, c)
	}
	db.writer = newWriter(db, c)
	return nil
}

// resume takes up what the last process left.
func (db *DB) resume(ctx context.Context, c *conn) error {
	w := newWriter(db, c)
	db.writer = w
	v, err := c.version(ctx)
	if err != nil || v == 0 {
		return err
	}
	if err := w.alone(ctx, func(w *writer) error {
		if v == newest() {
			if err := w.settle(ctx, db.keep); err != nil {
				return err
			}
			if err := w.inherit(); err != nil {
				return err
			}
		}
		return w.load(ctx)
	}); err != nil || v < newest() {
		return err // Migrate goes on
	}
	return db.purge(ctx)
}

// checkFile looks at the file before SQLite does, whose messages say less.
func checkFile(path string, mustExist bool) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !mustExist {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file: %w", path, store.ErrCorrupt)
	}
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if n > 0 && !bytes.Equal(head, []byte("SQLite format 3\x00")) {
		return fmt.Errorf("%s: %w", path, store.ErrCorrupt)
	}
	return nil
}

const (
	sqlApplicationID = `PRAGMA application_id`
	sqlCountTables   = `SELECT count(*) FROM sqlite_schema`
)

// prove tells whether the database is ours, or new. One of somebody else is an
// error.
func (c *conn) prove(ctx context.Context) (ours bool, err error) {
	var id, tables int64
	if _, err := c.one(ctx, func(r row) { id = r.int(0) }, sqlApplicationID); err != nil {
		return false, err
	}
	if _, err := c.one(ctx, func(r row) { tables = r.int(0) }, sqlCountTables); err != nil {
		return false, err
	}
	if id == applicationID {
		return true, nil
	}
	if id != 0 || tables != 0 {
		return false, fmt.Errorf("a database of another program: %w", store.ErrCorrupt)
	}
	return false, nil
}

// Close waits for the work in hand, writes the log back into the file and
// releases the lock. A write after it fails.
func (db *DB) Close() error {
	db.closing.Do(func() {
		var errs []error
		errs = append(errs, db.readers.close())
		if db.writer != nil {
			errs = append(errs, db.writer.close())
		}
		if db.lock != nil {
			errs = append(errs, db.lock.Close())
		}
		db.closed = errors.Join(errs...)
	})
	return db.closed
}

// failed turns a refused write into store.ErrFull when the disk is full.
func (db *DB) failed(err error) error {
	if errors.Is(err, errWrite) && full(db.path) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// readers is how many connections read at once: more would only share the same
// cores and disk, and each has a cache.
const readers = 4

// pool is the connections that read. They are opened when first wanted.
type pool struct {
	path string
	free chan *conn // readers entries; nil stands for one not opened yet
	done chan struct{}
}

func (p *pool) init(path string) {
	p.path = path
	p.done = make(chan struct{})
	p.free = make(chan *conn, readers)
	for range readers {
		p.free <- nil
	}
}

func (p *pool) close() error {
	if p.free == nil {
		return nil
	}
	close(p.done)
	var errs []error
	for range readers { // waits for reads under way
		if c := <-p.free; c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}

// read runs a piece of reading on a connection of the pool. It is kept short:
// a long read keeps the log from being cut.
func (db *DB) read(ctx context.Context, run func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := &db.readers
	var c *conn
	select {
	case <-p.done:
		return errClosed
	default:
	}
	select {
	case c = <-p.free:
	case <-p.done:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	if c == nil {
		var err error
		if c, err = connect(p.path, true, "busy_timeout=10000", "cache_size=-8192", "temp_store=memory"); err != nil {
			p.free <- nil
			return err
		}
	}
	err := run(c)
	p.free <- c
	return err
}

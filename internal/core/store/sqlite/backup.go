package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bigbrotr/internal/core/store"
)

// partSuffix is added to the name of a file that is not whole yet.
const partSuffix = ".part"

// watchEvery is how often the progress of a copy is told.
const watchEvery = 200 * time.Millisecond

const (
	sqlVacuumInto = `VACUUM INTO ?`
	sqlUsed       = `SELECT (p.page_count - f.freelist_count) * s.page_size
		FROM pragma_page_count AS p, pragma_freelist_count AS f, pragma_page_size AS s`
)

// Backup writes the archive as it is at this moment into a new file, checks that
// it is whole, and gives it its name last: a file of that name is a backup, also
// after a crash. Others may write meanwhile; the log beside the database grows
// until it is done, and so large a file again is needed. progress is told the
// bytes written and how many there will be, about.
func (db *DB) Backup(ctx context.Context, to string, progress func(done, all int64)) error {
	if err := db.backup(ctx, to, nil, progress); err != nil {
		return fmt.Errorf("back up to %s: %w", to, err)
	}
	return nil
}

// Restore makes the database at path of a backup. Cursors that were given of the
// archive before are refused from then on: the numbers of events are used again.
// When there is a database at path the error is fs.ErrExist, when another process
// has it open to write a *store.LockedError, when the backup is none
// store.ErrCorrupt.
func Restore(ctx context.Context, from, path string, progress func(done, all int64)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore %s: %w", from, err)
		}
	}()
	db, err := Open(ctx, from, Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	lock, err := lockFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	// A log without its database would be taken for the log of the new one.
	for _, name := range []string{path, path + "-wal"} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, fmt.Errorf("%s: %w", name, fs.ErrExist))
		}
	}
	return db.backup(ctx, path, (*conn).renewEpoch, progress)
}

// backup copies the archive into a new file, which is changed before it gets its
// name.
func (db *DB) backup(ctx context.Context, to string, change func(*conn) error, progress func(done, all int64)) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fs.ErrExist)
	}
	part := to + partSuffix
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := db.vacuumInto(ctx, part, progress)
	if err == nil {
		err = finish(ctx, part, change)
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		if full(part) {
			err = fmt.Errorf("%w: %w", store.ErrFull, err)
		}
		_ = os.Remove(part)
		return err
	}
	return flush(filepath.Dir(to))
}

func (db *DB) vacuumInto(ctx context.Context, part string, progress func(done, all int64)) (err error) {
	// Not a read-only connection: that could not write the new file either.
	c, err := connect(db.path, false, "busy_timeout=10000", "temp_store=file")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var all int64
	if _, err := c.one(ctx, func(r row) { all = r.int(0) }, sqlUsed); err != nil {
		return err
	}
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if st, err := os.Stat(part); err == nil {
					progress(min(st.Size(), all), all)
				}
			case <-done:
				return
			}
		}
	}()
	err = c.query(ctx, func(row) bool { return true }, sqlVacuumInto, part)
	close(done)
	<-watched
	return err
}

// finish checks a new file, changes it and flushes it to the disk.
func finish(ctx context.Context, part string, change func(*conn) error) (err error) {
	if err := os.Chmod(part, 0o600); err != nil {
		return err
	}
	c, err := connect(part, false)
	if err != nil {
		return err
	}
	var verdict string
	_, err = c.one(ctx, func(r row) { verdict = r.text(0) }, sqlQuickCheck)
	if err == nil && verdict != "ok" {
		err = fmt.Errorf("%s: %w", verdict, store.ErrCorrupt)
	}
	if err == nil && change != nil {
		err = change(c)
	}
	if err := errors.Join(err, c.close()); err != nil {
		return err
	}
	return flush(part)
}

// flush writes a file or the names in a folder through to the disk.
func flush(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Compact gives space that is no longer used back to the file system, and puts
// in order what is left. Until it is done writes wait; it needs as much free space
// as the database has, in the folder of temporary files (SQLITE_TMPDIR, else
// /var/tmp or /tmp) and beside the database.
func (db *DB) Compact(ctx context.Context) error {
	if db.writer == nil {
		return errReadOnly
	}
	if err := db.writer.alone(ctx, (*writer).vacuum); err != nil {
		return fmt.Errorf("compact: %w", db.failed(err))
	}
	return nil
}

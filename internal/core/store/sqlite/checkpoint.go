package sqlite

import (
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const (
	// walLarge is the size of the log at which it is written back. Larger
	// logs save more, since a page changed twice is written back once.
	walLarge = 256 << 20
	// walHuge is where the writer waits for readers to let go of the log, so
	// that it can be cut: beyond it, a reader that never ends would let it
	// grow for ever.
	walHuge = 1 << 30
)

// checkpointer writes the log back into the file beside the writer, which then
// only has to do the little that came meanwhile.
type checkpointer struct {
	busy atomic.Bool
	last time.Time // of the writer
}

const (
	sqlCheckpointPassive  = `PRAGMA wal_checkpoint(PASSIVE)`
	sqlCheckpointTruncate = `PRAGMA wal_checkpoint(TRUNCATE)`
)

func (db *DB) walSize() int64 {
	st, err := os.Stat(db.path + "-wal")
	if err != nil {
		return 0
	}
	return st.Size()
}

// checkpointWhenLarge is called by the writer between transactions.
func (w *writer) checkpointWhenLarge() {
	if time.Since(w.cp.last) < slice {
		return
	}
	w.cp.last = time.Now()
	size := w.db.walSize()
	if size < walLarge || w.cp.busy.Load() {
		return
	}
	if size > walHuge {
		w.cut()
		return
	}
	w.cp.busy.Store(true)
	w.wg.Go(func() {
		defer w.cp.busy.Store(false)
		if err := w.db.writeBack(); err != nil {
			w.db.log.Warn("checkpoint failed", slog.Any("error", err))
			return
		}
		// Little came meanwhile: the writer does it at once, and the log ends.
		// It is not done when the writer stops meanwhile: closing does it.
		_ = w.alone(uninterrupted(), func(w *writer) error {
			w.cut()
			return nil
		})
	})
}

// writeBack copies the log into the file while the writer goes on.
func (db *DB) writeBack() (err error) {
	c, err := connect(db.path, false, "busy_timeout=0", "cache_size=-1024", "synchronous=normal")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	_, err = c.first(func(row) {}, sqlCheckpointPassive)
	return err
}

// cut writes back what is left of the log and empties it. It fails while a
// reader uses the log; the next try follows soon.
func (w *writer) cut() {
	if w.db.walSize() == 0 {
		return
	}
	_, err := w.c.exec("PRAGMA busy_timeout=1000")
	if err == nil {
		_, err = w.c.first(func(row) {}, sqlCheckpointTruncate)
	}
	if _, e := w.c.exec("PRAGMA busy_timeout=10000"); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		w.db.log.Warn("checkpoint failed", slog.Any("error", err))
	}
}

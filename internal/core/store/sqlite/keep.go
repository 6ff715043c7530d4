package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// The names of settings.
const (
	settingKeep      = "keep"
	settingFullKinds = "keep_full_kinds"
	settingThin      = "thin"
)

const (
	sqlHasSettings   = `SELECT 1 FROM sqlite_schema WHERE name = 'setting'`
	sqlSetting       = `SELECT value FROM setting WHERE name = ?`
	sqlSetSetting    = `INSERT OR REPLACE INTO setting (name, value) VALUES (?, ?)`
	sqlDeleteSetting = `DELETE FROM setting WHERE name = ?`
)

// keep reads the policy, which is zero before the first Migrate has ended.
func (c *conn) keep(ctx context.Context) (keep store.Keep, err error) {
	found, err := c.one(ctx, func(row) {}, sqlHasSettings)
	if err != nil || !found {
		return keep, err
	}
	if _, err := c.one(ctx, func(r row) { keep.Mode = store.KeepMode(r.text(0)) }, sqlSetting, settingKeep); err != nil {
		return keep, err
	}
	var kinds string
	if found, err = c.one(ctx, func(r row) { kinds = r.text(0) }, sqlSetting, settingFullKinds); err != nil || !found {
		return keep, err
	}
	if err := json.Unmarshal([]byte(kinds), &keep.FullKinds); err != nil {
		return keep, fmt.Errorf("read setting %s: %w: %w", settingFullKinds, store.ErrCorrupt, err)
	}
	return keep, nil
}

// setKeep writes the policy, in the transaction under way.
func (w *writer) setKeep(keep store.Keep) error {
	kinds, err := json.Marshal(append([]nostr.Kind{}, keep.FullKinds...))
	if err != nil {
		return err
	}
	_, err = w.c.exec(sqlSetSetting, settingKeep, string(keep.Mode))
	if err == nil {
		_, err = w.c.exec(sqlSetSetting, settingFullKinds, string(kinds))
	}
	if err == nil {
		w.keep = keep
	}
	return err
}

// agrees returns a *store.KeepError when the wanted policy is of another mode
// than a database has.
func agrees(have, want store.Keep) error {
	if have.Mode != "" && want.Mode != "" && have.Mode != want.Mode {
		return &store.KeepError{Have: have.Mode, Want: want.Mode}
	}
	return nil
}

// settle brings the database's policy and the wanted one together.
func (w *writer) settle(ctx context.Context, want store.Keep) error {
	have, err := w.c.keep(ctx)
	if err == nil {
		err = agrees(have, want)
	}
	if err != nil {
		return err
	}
	switch want.Mode {
	case "":
		if have.Mode != "" {
			return nil
		}
		want.Mode = store.KeepFull
	case store.KeepFull, store.KeepIndex:
		if have.Mode == want.Mode && slices.Equal(have.FullKinds, want.FullKinds) {
			return nil
		}
	default:
		return fmt.Errorf("no policy is called %q", want.Mode)
	}
	return w.begin(func() error { return w.setKeep(want) })
}

// Keep implements store.Keeper.
func (db *DB) Keep(ctx context.Context) (store.Keep, error) {
	var keep store.Keep
	if err := db.read(ctx, func(c *conn) (err error) {
		keep, err = c.keep(ctx)
		return err
	}); err != nil {
		return keep, fmt.Errorf("read the policy: %w", err)
	}
	if keep.Mode == "" {
		return keep, store.ErrUninitialised
	}
	return keep, nil
}

const (
	// thinRows and thinBytes bound what one transaction of Thin drops.
	thinRows  = 2000
	thinBytes = 4 << 20
	// thinned is the position when every event is done and the space is not
	// given back yet.
	thinned = -1
)

const (
	sqlThinnable = `
		SELECT ` + eventColumns + ` FROM event
		WHERE seq > ? AND seq <= ? AND length(sig) > 0 AND (kind = 5 OR kind NOT IN (SELECT value FROM json_each(?)))
		ORDER BY seq`
	sqlThinPosition = `SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'thin'`
	sqlThinEvent    = `UPDATE event SET sig = x'', tags = '', content = '', raw = NULL, tagh = ?, d = ?, expires = ? WHERE seq = ?`
)

// Thin implements store.Thinner. To give the space back SQLite copies what is
// left twice, into its directory for temporary files (SQLITE_TMPDIR, else
// /var/tmp or /tmp) and into the log beside the database, and writes wait while
// it does. When there is no room the error is store.ErrFull; the events are
// thin all the same, the space is used for new ones, and the next Thin tries
// again.
func (db *DB) Thin(ctx context.Context, keep store.Keep, progress func(done, all int64)) error {
	if keep.Mode != store.KeepIndex {
		return &store.KeepError{Have: store.KeepIndex, Want: keep.Mode}
	}
	if err := db.thin(ctx, keep, progress); err != nil {
		return fmt.Errorf("make an index: %w", err)
	}
	return nil
}

func (db *DB) thin(ctx context.Context, keep store.Keep, progress func(done, all int64)) error {
	th := thinning{keep: keep}
	if err := db.write(ctx, func(w *writer) error {
		if err := w.dropTexts(); err != nil {
			return err
		}
		return th.start(w)
	}); err != nil {
		return err
	}
	for th.at != thinned {
		// A transaction that fails may be tried again: what it has done counts
		// when it has ended well.
		next := th
		if err := db.write(ctx, func(w *writer) error {
			next = th
			return next.some(w)
		}); err != nil {
			return err
		}
		th = next
		if th.at == thinned {
			progress(th.last, th.last)
		} else {
			progress(th.at, th.last)
		}
	}
	if th.dropped {
		return db.writer.alone(ctx, func(w *writer) error { return w.vacuum() })
	}
	return db.write(ctx, func(w *writer) error {
		_, err := w.c.exec(sqlDeleteSetting, settingThin)
		return err
	})
}

// thinning is a Thin under way, as the database holds it.
type thinning struct {
	keep    store.Keep
	at      int64 // done up to this seq
	last    int64 // the last event when it began
	dropped bool  // there is space to give back
}

// start writes the policy and finds where an earlier Thin was.
func (th *thinning) start(w *writer) (err error) {
	th.at, th.last = 0, w.nextSeq-1
	if th.dropped, err = w.c.first(func(r row) { th.at = r.int(0) }, sqlThinPosition); err != nil {
		return err
	}
	if w.keep.Mode != th.keep.Mode || !slices.Equal(w.keep.FullKinds, th.keep.FullKinds) {
		th.at = 0
	}
	if err := w.setKeep(th.keep); err != nil {
		return err
	}
	return th.save(w)
}

func (th *thinning) save(w *writer) error {
	_, err := w.c.exec(sqlSetSetting, settingThin, strconv.FormatInt(th.at, 10))
	return err
}

// some thins the next events.
func (th *thinning) some(w *writer) error {
	until := min(th.at+scanSpan, th.last)
	kinds := cmp.Or(kindList(th.keep.FullKinds), "[]")
	var events []store.Record
	size, n := 0, 0
	var bad error
	if err := w.c.each(func(r row) bool {
		var a store.Record
		a, bad = scanEvent(r)
		events = append(events, a)
		size += len(r.text(7)) + len(r.text(8)) + len(r.blob(9))
		if n++; n == thinRows || size > thinBytes {
			until = int64(a.Seq)
			return false
		}
		return bad == nil
	}, sqlThinnable, th.at, until, kinds); err != nil || bad != nil {
		return errors.Join(err, bad)
	}
	for i := range events {
		if err := th.event(w, &events[i]); err != nil {
			return err
		}
	}
	if th.at = until; until >= th.last {
		th.at = thinned
	}
	return th.save(w)
}

// event drops what an index does not keep of an event.
func (th *thinning) event(w *writer, a *store.Record) error {
	e := &a.Event
	if e.Kind == store.KindDeletion {
		// What it asks to forget may become thin, and is found by another hash
		// then, which older versions did not note.
		if err := w.addDeletions(int64(a.Seq), e); err != nil {
			return err
		}
		if th.keep.Full(e.Kind) {
			return nil
		}
	}
	th.dropped = true
	tagh, d, expires := indexColumns(store.IndexOf(e))
	_, err := w.c.exec(sqlThinEvent, tagh, d, expires, int64(a.Seq))
	return err
}

const sqlVacuum = `VACUUM`

// vacuum gives back to the file system what Thin has freed. It has a connection
// of its own: the writer's would hold the copy in memory.
func (w *writer) vacuum() (err error) {
	c, err := connect(w.db.path, false, "busy_timeout=10000", "temp_store=file", "synchronous=normal")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if _, err := c.exec(sqlVacuum); err != nil {
		return err
	}
	w.cut()
	_, err = w.c.exec(sqlDeleteSetting, settingThin)
	return err
}

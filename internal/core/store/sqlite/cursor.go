package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"bigbrotr/internal/core/store"
)

// cursor is a place in the order of the archive: behind the event of a number.
// The epoch tells this archive from those that it is a restored backup of, and
// from those that have been restored of it.
type cursor struct{ epoch, seq int64 }

// Cursor returns the place as a token.
func (c cursor) Cursor() store.Cursor {
	return store.Cursor(strconv.FormatInt(c.epoch, 10) + "." + strconv.FormatInt(c.seq, 10))
}

// to returns the token of another place of the same archive.
func (c cursor) to(seq store.Seq) store.Cursor { return cursor{c.epoch, int64(seq)}.Cursor() }

// parseCursor reads a token of any epoch: store.ErrCursor when it is none.
func parseCursor(token store.Cursor) (c cursor, err error) {
	epoch, seq, _ := strings.Cut(string(token), ".")
	if c.epoch, err = strconv.ParseInt(epoch, 10, 64); err != nil || c.epoch < 0 {
		return cursor{}, store.ErrCursor
	}
	if c.seq, err = strconv.ParseInt(seq, 10, 64); err != nil || c.seq < 0 {
		return cursor{}, store.ErrCursor
	}
	return c, nil
}

const (
	sqlEpoch = `SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'epoch'`
	// Positions of ours are as old as the events: they stay where they are.
	sqlRenewEpoch     = `UPDATE setting SET value = abs(random() >> 1) WHERE name = 'epoch'`
	sqlRenewPositions = `UPDATE position SET cursor = (SELECT value FROM setting WHERE name = 'epoch') || substr(cursor, instr(cursor, '.'))
		WHERE cursor <> ''`
)

// startScan returns where a scan after a token begins, and the last event that there
// is.
func (db *DB) startScan(ctx context.Context, after store.Cursor) (at cursor, last int64, err error) {
	if after != "" {
		if at, err = parseCursor(after); err != nil {
			return at, 0, err
		}
	}
	err = db.read(ctx, func(c *conn) error {
		var epoch int64
		if _, err := c.one(ctx, func(r row) { epoch = r.int(0) }, sqlEpoch); err != nil {
			return err
		}
		if after != "" && at.epoch != epoch {
			return store.ErrCursor
		}
		at.epoch = epoch
		_, err := c.one(ctx, func(r row) { last = r.int(0) }, sqlLastSeq)
		return err
	})
	return at, last, err
}

// renewEpoch makes another archive of a copy: tokens that were given before are
// refused.
func (c *conn) renewEpoch() error {
	if v, err := c.version(uninterrupted()); err != nil || v < epochStep {
		return err // the step that makes cursors of epochs draws one
	}
	for _, sql := range []string{"BEGIN IMMEDIATE", sqlRenewEpoch, sqlRenewPositions, "COMMIT"} {
		if _, err := c.exec(sql); err != nil {
			return fmt.Errorf("tell the copy from its source: %w", err)
		}
	}
	return nil
}

// epochStep is the step of the schema from which on cursors have an epoch.
const epochStep = 24

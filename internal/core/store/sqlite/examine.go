package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"bigbrotr/internal/core/store"
)

const (
	// roomBad and roomNote are how much the disk should have left.
	roomBad  = 256 << 20
	roomNote = 2 << 30
	// logNote is how large the log may be: it is cut at 1 GB when nobody reads.
	logNote = 2 << 30
)

const (
	sqlQuickCheck = `PRAGMA quick_check(1)`
	sqlFirstSeen  = `SELECT coalesce(max(first_seen), 0) FROM event WHERE seq > (SELECT max(seq) FROM event) - 1000`
)

// Examine looks at a database file as its operator would: whether it is ours
// and whole, its schema, room on the disk, the log, who writes, the clock. It
// changes nothing; what fails is a finding, not an error. Checking a large file
// takes as long as reading it; ctx bounds the time.
func Examine(ctx context.Context, path string) store.Findings {
	var found store.Findings
	room(&found, path)
	db, err := Open(ctx, path, Options{ReadOnly: true})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		found.Note("file", path+" does not exist yet", "run `bigbrotr up` or `bigbrotr init`")
		return found
	case err != nil:
		found.Bad("file", err.Error(), "restore it from a backup or name another with --store")
		return found
	}
	defer func() { _ = db.Close() }()
	if st, err := os.Stat(path); err == nil {
		found.OK("file", fmt.Sprintf("%s, %d MB", path, st.Size()>>20))
	}
	if st, err := os.Stat(path + "-wal"); err == nil && st.Size() > logNote {
		found.Note("log", fmt.Sprintf("%d MB", st.Size()>>20), "look for a reader that never ends")
	}
	if pid := holder(path + ".lock"); pid != 0 && syscall.Kill(pid, 0) == nil {
		found.OK("writer", fmt.Sprintf("process %d", pid))
	} else {
		found.OK("writer", "none")
	}
	if err := db.VerifySchema(ctx); err != nil {
		found.Bad("schema", err.Error(), "run `bigbrotr migrate`")
		return found
	}
	found.OK("schema", fmt.Sprintf("version %d", newest()))
	if err := db.read(ctx, func(c *conn) error {
		var verdict string
		if _, err := c.one(ctx, func(r row) { verdict = r.text(0) }, sqlQuickCheck); err != nil {
			return err
		}
		if verdict == "ok" {
			found.OK("contents", "whole")
		} else {
			found.Bad("contents", verdict, "restore it from a backup; what relays still have comes back by itself")
		}
		var last int64
		if _, err := c.one(ctx, func(r row) { last = r.int(0) }, sqlFirstSeen); err != nil {
			return err
		}
		if ahead := time.Until(time.Unix(last, 0)).Round(time.Second); ahead > 0 {
			found.Note("clock", fmt.Sprintf("the last events were archived %v from now", ahead), "let the machine follow a time server")
		}
		return nil
	}); err != nil {
		found.Bad("contents", err.Error(), "restore it from a backup")
	}
	return found
}

func room(found *store.Findings, path string) {
	var st syscall.Statfs_t
	dir := filepath.Dir(path)
	if err := syscall.Statfs(dir, &st); err != nil {
		return // a folder that does not exist yet
	}
	left := st.Bavail * uint64(st.Bsize)
	text := fmt.Sprintf("%d MB left in %s", left>>20, dir)
	switch {
	case left < roomBad:
		found.Bad("disk", text, "free some space: an archive that cannot grow stops")
	case left < roomNote:
		found.Note("disk", text, "free some space soon")
	default:
		found.OK("disk", text)
	}
}

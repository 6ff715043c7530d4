package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"bigbrotr/internal/core/store/sqlite"
)

// onServer is the error of a command that is for files, about an archive on
// PostgreSQL, whose own tools do the same.
func onServer(tool string) error {
	return fmt.Errorf("this archive is on PostgreSQL, which has a tool of its own for that: %s", tool)
}

// Backup writes a copy of the archive's file as it is at this moment, also while
// services run, and returns its size in bytes.
func Backup(ctx context.Context, cfg Config, to string, log *slog.Logger, progress func(done, all int64)) (size int64, err error) {
	at, err := parseStoreURL(cfg.StoreURL())
	if err != nil {
		return 0, err
	}
	if at.file == "" {
		return 0, onServer("pg_dump --format=custom --file=FILE")
	}
	db, err := sqlite.Open(ctx, at.file, sqlite.Options{ReadOnly: true, Logger: log})
	if err != nil {
		return 0, explain(cfg, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Backup(ctx, to, progress); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w; name another", err)
		}
		return 0, err
	}
	return fileSize(to)
}

// Restore makes the archive's file of a backup, where there is none yet, and
// returns its size in bytes.
func Restore(ctx context.Context, cfg Config, from string, progress func(done, all int64)) (size int64, err error) {
	at, err := parseStoreURL(cfg.StoreURL())
	if err != nil {
		return 0, err
	}
	if at.file == "" {
		return 0, onServer("pg_restore --dbname=DATABASE FILE")
	}
	if err := os.MkdirAll(filepath.Dir(at.file), 0o700); err != nil {
		return 0, fmt.Errorf("make the folder of the store: %w; choose another with --store or --data", err)
	}
	if err := sqlite.Restore(ctx, from, at.file, progress); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return 0, fmt.Errorf("%w; move it away first, or name another with --store", err)
		}
		return 0, explain(cfg, err)
	}
	return fileSize(at.file)
}

// Compacted is the size of an archive's file before and after, in bytes.
type Compacted struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}

// Compact gives space that the archive no longer uses back to the file system.
func Compact(ctx context.Context, cfg Config, log *slog.Logger) (done Compacted, err error) {
	at, err := parseStoreURL(cfg.StoreURL())
	if err != nil {
		return done, err
	}
	if at.file == "" {
		return done, onServer("autovacuum keeps space for new events, VACUUM FULL gives it back under a lock")
	}
	if done.Before, err = fileSize(at.file); err != nil {
		return done, explain(cfg, err)
	}
	st, err := OpenStore(ctx, cfg, log)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	db, ok := st.(*sqlite.DB)
	if !ok {
		return done, fmt.Errorf("%T has no file", st)
	}
	if err := db.Compact(ctx); err != nil {
		return done, Explain(cfg, err)
	}
	if err := db.Close(); err != nil { // writes the log back
		return done, err
	}
	done.After, err = fileSize(at.file)
	return done, err
}

func fileSize(path string) (int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

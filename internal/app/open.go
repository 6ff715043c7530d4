package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
)

// storeFile returns the file of a store's URL.
func storeFile(url string) (string, error) {
	scheme, rest, found := strings.Cut(url, ":")
	switch {
	case !found || rest == "":
		return "", fmt.Errorf("%q is not the URL of a store", url)
	case scheme == "sqlite":
		file := strings.TrimPrefix(rest, "//")
		if file == "" || file == ":memory:" || strings.HasSuffix(file, "/") {
			return "", fmt.Errorf("%q is not the URL of a store: it names no file", url)
		}
		return file, nil
	case scheme == "postgres" || scheme == "postgresql":
		// The URL is not repeated: it may hold a password.
		return "", errors.New("PostgreSQL is not supported by this version")
	default:
		return "", fmt.Errorf("no store has the scheme %q", scheme)
	}
}

// OpenStore opens the store for writing, makes its folder if need be and brings
// its schema to this version. The error says what to do.
func OpenStore(ctx context.Context, cfg Config, log *slog.Logger) (store.Store, error) {
	st, err := open(ctx, cfg, sqlite.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	if _, err := st.Migrate(ctx); err != nil {
		return nil, errors.Join(explain(cfg, err), st.Close())
	}
	// After that, a schema that differs is nobody's older or newer version.
	if err := st.VerifySchema(ctx); err != nil {
		err = fmt.Errorf("open %s: %w; another program changed it: restore it from a backup or name another with --store", cfg.StoreURL(), err)
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// ReadStore opens the store for reading only, also while another process
// writes to it.
func ReadStore(ctx context.Context, cfg Config, log *slog.Logger) (store.Store, error) {
	st, err := open(ctx, cfg, sqlite.Options{Logger: log, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	if err := st.VerifySchema(ctx); err != nil {
		return nil, errors.Join(explain(cfg, err), st.Close())
	}
	return st, nil
}

func open(ctx context.Context, cfg Config, opts sqlite.Options) (*sqlite.DB, error) {
	file, err := storeFile(cfg.StoreURL())
	if err != nil {
		return nil, err
	}
	if !opts.ReadOnly {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of the store: %w; choose another with --store or --data", err)
		}
	}
	db, err := sqlite.Open(ctx, file, opts)
	if err != nil {
		return nil, explain(cfg, err)
	}
	return db, nil
}

// explain adds to the error of opening a store what its reader can do.
func explain(cfg Config, err error) error {
	remedy := ""
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, store.ErrUninitialised):
		remedy = "run `bigbrotr init` or `bigbrotr up` first, or name another with --store"
	case errors.Is(err, fs.ErrPermission):
		remedy = "check its permissions or name another with --store"
	case errors.Is(err, store.ErrNewer):
		remedy = "use the newer bigbrotr that wrote it, or name another store with --store"
	case errors.Is(err, store.ErrSchema):
		remedy = "run `bigbrotr init` to bring it to this version"
	case errors.Is(err, store.ErrCorrupt):
		remedy = "check that --store names a BigBrotr database, or restore it from a backup"
	case errors.Is(err, store.ErrFull):
		remedy = "free some space; nothing was written half"
	}
	if _, locked := errors.AsType[*store.LockedError](err); locked {
		remedy = "stop it first, or name another store with --store"
	}
	if remedy == "" {
		return fmt.Errorf("open %s: %w", cfg.StoreURL(), err)
	}
	return fmt.Errorf("open %s: %w; %s", cfg.StoreURL(), err, remedy)
}

// Explain adds to the error of work on an open store what its reader can do.
func Explain(cfg Config, err error) error {
	if errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w; free some space where %s is; nothing was written half", err, cfg.StoreURL())
	}
	return err
}

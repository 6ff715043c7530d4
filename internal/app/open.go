package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/core/store/sqlite"
)

// storeURL is the parsed URL of a store: a file of SQLite, or a database of
// PostgreSQL.
type storeURL struct {
	file     string
	postgres string
}

// parseStoreURL reads the URL of a store. The error does not repeat one that
// may hold a password.
func parseStoreURL(text string) (storeURL, error) {
	scheme, rest, found := strings.Cut(text, ":")
	switch {
	case !found || rest == "":
		return storeURL{}, fmt.Errorf("%q is not the URL of a store", text)
	case scheme == "sqlite":
		file := strings.TrimPrefix(rest, "//")
		if file == "" || file == ":memory:" || strings.HasSuffix(file, "/") {
			return storeURL{}, fmt.Errorf("%q is not the URL of a store: it names no file", text)
		}
		return storeURL{file: file}, nil
	case scheme == "postgres" || scheme == "postgresql":
		u, err := url.Parse(text)
		if err != nil {
			return storeURL{}, errors.New("it is not the URL of a PostgreSQL database")
		}
		if _, has := u.User.Password(); has {
			return storeURL{}, errors.New("the password must not stand in the URL: give it as store.password")
		}
		if err := postgres.ParseURL(text); err != nil {
			return storeURL{}, err
		}
		return storeURL{postgres: text}, nil
	default:
		return storeURL{}, fmt.Errorf("no store has the scheme %q", scheme)
	}
}

// Database is what an open store can do: everything, being copied and thinned,
// and telling what Migrate would do.
type Database interface {
	store.Store
	store.Transfer
	store.Thinner
	// Pending returns the names of the steps that Migrate would run.
	Pending(ctx context.Context) ([]string, error)
}

// OpenStore opens the store for writing, makes the folder of a file if need be
// and brings the schema to this version. On PostgreSQL only the owner of the
// schema can do that; others find it done, or are told whom to ask. The error
// says what to do.
func OpenStore(ctx context.Context, cfg Config, log *slog.Logger) (Database, error) {
	st, err := openDatabase(ctx, cfg, false, log)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, cfg, st); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if err := copied(ctx, cfg, st); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// copied refuses the unfinished copy of another database.
func copied(ctx context.Context, cfg Config, st Database) error {
	state, err := st.CopyState(ctx)
	if err == nil && state.Source != "" {
		err = fmt.Errorf("it holds an unfinished copy of %s; finish it with `bigbrotr copy`, or begin with an empty database", state.Source)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", cfg.StoreURL(), err)
	}
	return nil
}

// prepare brings the schema to this version. A database of PostgreSQL that is
// so far already is left alone: most who open it may not change it.
func prepare(ctx context.Context, cfg Config, st store.Store) error {
	_, onServer := st.(*postgres.DB)
	if onServer && st.VerifySchema(ctx) == nil {
		return nil
	}
	if _, err := st.Migrate(ctx); err != nil {
		return explain(cfg, err)
	}
	// After that, a schema that differs is nobody's older or newer version.
	if err := st.VerifySchema(ctx); err != nil {
		return fmt.Errorf("open %s: %w; another program changed it: restore it from a backup or name another with --store", cfg.StoreURL(), err)
	}
	return nil
}

// ReadStore opens the store for reading only, also while another process
// writes to it.
func ReadStore(ctx context.Context, cfg Config, log *slog.Logger) (Database, error) {
	st, err := openDatabase(ctx, cfg, true, log)
	if err != nil {
		return nil, err
	}
	if err := st.VerifySchema(ctx); err != nil {
		return nil, errors.Join(explain(cfg, err), st.Close())
	}
	return st, nil
}

// openDatabase opens a store as it is. Readers take its policy as it is, too.
func openDatabase(ctx context.Context, cfg Config, readOnly bool, log *slog.Logger) (Database, error) {
	var keep store.Keep
	if !readOnly {
		keep = cfg.Store.keep()
	}
	return openKept(ctx, cfg, readOnly, keep, log)
}

// openKept opens a store that has to have a policy; the zero one takes any.
func openKept(ctx context.Context, cfg Config, readOnly bool, keep store.Keep, log *slog.Logger) (Database, error) {
	at, err := parseStoreURL(cfg.StoreURL())
	if err != nil {
		return nil, err
	}
	if at.postgres != "" {
		opts := cfg.Store.options(log)
		opts.ReadOnly, opts.Keep = readOnly, keep
		db, err := postgres.Open(ctx, at.postgres, opts)
		if err != nil {
			return nil, explain(cfg, err)
		}
		return db, nil
	}
	if !readOnly {
		if err := os.MkdirAll(filepath.Dir(at.file), 0o700); err != nil {
			return nil, fmt.Errorf("make the folder of the store: %w; choose another with --store or --data", err)
		}
	}
	db, err := sqlite.Open(ctx, at.file, sqlite.Options{Logger: log, ReadOnly: readOnly, Keep: keep})
	if err != nil {
		return nil, explain(cfg, err)
	}
	return db, nil
}

// options are those of a connection to PostgreSQL.
func (c StoreConfig) options(log *slog.Logger) postgres.Options {
	return postgres.Options{
		Password: c.Password.Reveal(), Connections: c.Connections, ConnectTimeout: c.ConnectTimeout.Std(),
		RetryFor: c.RetryFor.Std(), Logger: log,
	}
}

// remedies are what the reader of an error of PostgreSQL can do, by its code.
var remedies = map[string]string{
	"28P01": "check store.password",
	"28000": "check the user in store.url, and who may connect (pg_hba.conf)",
	"3D000": "create the database, or name another with --store",
	"42501": "let the owner of the schema run `bigbrotr init`, or make the user a member of bigbrotr_writer (bigbrotr_reader to read)",
	"53300": "raise max_connections, lower store.connections, or put PgBouncer in between",
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
	if keep, ok := errors.AsType[*store.KeepError](err); ok {
		remedy = fmt.Sprintf("set store.keep to %s, or name another store", keep.Have)
		if keep.Have == store.KeepFull {
			remedy = "set store.keep to full, or take that step with `bigbrotr thin`"
		}
	}
	if pg, ok := errors.AsType[*postgres.ServerError](err); ok {
		if remedy = remedies[pg.Code]; pg.Code == "" {
			remedy = "check that the server runs and that store.url has its address"
		}
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

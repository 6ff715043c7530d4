// Package postgres is the backend of the store for full deployments: PostgreSQL
// 15 or newer, reached directly or through PgBouncer in transaction mode, by
// any number of processes. It owns the schema, the SQL, partitions and retries;
// the words and promises are package store's.
//
// A write that has returned survives the death of any process, also of the
// server's; how much a loss of power of the server takes is its setting
// synchronous_commit. A batch is whole or absent: events, sightings and claims
// come and go together.
//
// Everything goes through unnamed statements whose descriptions are cached
// (pgx's QueryExecModeCacheDescribe), because PgBouncer before 1.21 has no
// others; nothing relies on a session: no prepared statement, no session lock,
// no LISTEN, no SET outside of a transaction.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"bigbrotr/internal/core/store"
)

// Options are the choices of Open. Zero values are the defaults.
type Options struct {
	// Password is that of the URL's user. It is kept apart so that the URL can
	// be shown.
	Password string
	// ReadOnly refuses writes here; the user's rights are the server's affair.
	ReadOnly bool
	// Keep is the policy that the first Migrate writes down and that an existing
	// database must have; the zero Keep takes what is there.
	Keep store.Keep
	// Connections is how many are open at most, 8 unless set.
	Connections int
	// ConnectTimeout bounds the opening of one connection, 5 s unless set.
	ConnectTimeout time.Duration
	// RetryFor is how long a call tries again when the server is away or a
	// transaction was chosen to give way, 30 s unless set.
	RetryFor time.Duration
	Logger   *slog.Logger // nil discards
}

// filled returns the options with their defaults.
func (o Options) filled() Options {
	o.Connections = cmp.Or(o.Connections, 8)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 5*time.Second)
	o.RetryFor = cmp.Or(o.RetryFor, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// DB is an open database. All methods may be called from many goroutines and
// many processes.
type DB struct {
	pool *pgxpool.Pool
	opts Options
	log  *slog.Logger

	mu    sync.Mutex
	slots []*Slots // those that Close gives back
}

// errReadOnly is returned by writes to a database opened for reading.
var errReadOnly = errors.New("the database was opened for reading only")

// Open connects to the database of a URL (postgres://user@host:port/name) and
// looks whether it is ours: a database of a newer version is refused with
// store.ErrNewer, one that keeps events by another policy with a
// *store.KeepError. A database without a schema is fine; Migrate makes it.
func Open(ctx context.Context, url string, opts Options) (*DB, error) {
	opts = opts.filled()
	cfg, err := poolConfig(url, opts)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, unopened(err)
	}
	db := &DB{pool: pool, opts: opts, log: opts.Logger}
	if err := db.prove(ctx); err != nil {
		pool.Close()
		return nil, unopened(err)
	}
	return db, nil
}

// ParseURL checks the URL of a database. The error does not repeat it: it may
// hold a password.
func ParseURL(url string) error {
	_, err := poolConfig(url, Options{})
	return err
}

func poolConfig(url string, opts Options) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("not the URL of a PostgreSQL database")
	}
	c := cfg.ConnConfig
	if opts.Password != "" {
		c.Password = opts.Password
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	c.ConnectTimeout = opts.ConnectTimeout
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "bigbrotr"
	}
	cfg.MaxConns = int32(max(opts.Connections, 1))
	cfg.MinConns = 0
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 10 * time.Minute
	return cfg, nil
}

const sqlServerVersion = `SELECT current_setting('server_version_num')::int`

// prove looks whether the database is one that this version may use.
func (db *DB) prove(ctx context.Context) error {
	var number int
	if err := db.read(ctx, func(q querier) error { return q.QueryRow(ctx, sqlServerVersion).Scan(&number) }); err != nil {
		return err
	}
	if number < oldest {
		return fmt.Errorf("the server is PostgreSQL %d, and 15 or newer is needed", number/10_000)
	}
	v, err := db.version(ctx)
	if err != nil {
		return err
	}
	if known := newest(); v > known {
		return fmt.Errorf("schema %d, this version knows %d: %w", v, known, store.ErrNewer)
	}
	if v == 0 {
		return nil
	}
	have, err := db.Keep(ctx)
	if errors.Is(err, store.ErrUninitialised) {
		return nil // a migration that has not ended
	}
	if err != nil {
		return err
	}
	if want := db.opts.Keep.Mode; want != "" && have.Mode != "" && want != have.Mode {
		return &store.KeepError{Have: have.Mode, Want: want}
	}
	return nil
}

// Close gives back the slots, waits for the work in hand and closes the
// connections.
func (db *DB) Close() error {
	db.mu.Lock()
	slots := db.slots
	db.slots = nil
	db.mu.Unlock()
	for _, s := range slots {
		s.close()
	}
	db.pool.Close()
	return nil
}

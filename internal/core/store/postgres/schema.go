package postgres

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// golden is the schema that the migrations lead to, in one look.
//
//go:embed testdata/schema.golden
var golden string

// versionTable is where goose notes the steps that ran, lockTable where it
// notes who runs them.
const (
	versionTable = "schema_version"
	lockTable    = "schema_lock"
)

const (
	sqlHasVersions = `SELECT to_regclass('schema_version') IS NOT NULL`
	sqlVersion     = `SELECT coalesce(max(version_id), 0) FROM schema_version WHERE is_applied`
)

// version returns the last step that ran, 0 when none did.
func (db *DB) version(ctx context.Context) (v int64, err error) {
	err = db.read(ctx, func(q querier) error {
		var found bool
		v = 0
		if err := q.QueryRow(ctx, sqlHasVersions).Scan(&found); err != nil || !found {
			return err
		}
		return q.QueryRow(ctx, sqlVersion).Scan(&v)
	})
	return v, err
}

// newest is the number of the last step we have.
func newest() int64 {
	names, _ := fs.Glob(migrations, "migrations/*.sql")
	v, err := goose.NumericComponent(path.Base(names[len(names)-1]))
	if err != nil {
		panic(err) // a file of ours with a bad name
	}
	return v
}

const (
	// migrateLease is how long a process that died while it migrated keeps
	// others from it.
	migrateLease = 30 * time.Second
	// migrateWait is how long one waits for another's migration.
	migrateWait = time.Hour
)

// Migrate implements store.Schema. It needs the rights of the schema's owner.
// Processes that migrate at once take turns. It also makes the partitions of
// the coming time, gives the groups bigbrotr_writer and bigbrotr_reader, where
// they exist, their rights, and ends the purges that others began.
func (db *DB) Migrate(ctx context.Context) ([]string, error) {
	if db.opts.ReadOnly {
		return nil, errReadOnly
	}
	ran, err := db.migrate(ctx)
	if err == nil {
		err = db.settle(ctx)
	}
	if err == nil {
		err = db.purge(ctx)
	}
	if err != nil {
		return ran, fmt.Errorf("migrate: %w", explain(err))
	}
	return ran, nil
}

func (db *DB) migrate(ctx context.Context) (ran []string, err error) {
	provider, closeDB, err := db.provider()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeDB()) }()
	// Without this two processes that begin together quarrel over the tables
	// in which the order is kept.
	pending, err := db.Pending(ctx)
	if err != nil || len(pending) == 0 {
		return nil, err
	}
	err = db.retry(ctx, func() error {
		results, err := provider.Up(ctx)
		for _, r := range results {
			ran = append(ran, strings.TrimSuffix(path.Base(r.Source.Path), ".sql"))
		}
		return err
	})
	return ran, err
}

// Pending returns the names of the steps that Migrate would run.
func (db *DB) Pending(ctx context.Context) ([]string, error) {
	have, err := db.version(ctx)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var pending []string
	for _, name := range names {
		v, err := goose.NumericComponent(path.Base(name))
		if err != nil {
			return nil, err
		}
		if v > have {
			pending = append(pending, strings.TrimSuffix(path.Base(name), ".sql"))
		}
	}
	return pending, nil
}

func (db *DB) provider() (*goose.Provider, func() error, error) {
	sqlDB := stdlib.OpenDB(*db.pool.Config().ConnConfig)
	fail := func(err error) (*goose.Provider, func() error, error) {
		return nil, nil, errors.Join(err, sqlDB.Close())
	}
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fail(err)
	}
	locker, err := lock.NewPostgresTableLocker(lock.WithTableName(lockTable), lock.WithTableLeaseDuration(migrateLease),
		lock.WithTableHeartbeatInterval(migrateLease/6),
		lock.WithTableLockTimeout(time.Second, uint64(migrateWait/time.Second)))
	if err != nil {
		return fail(err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, sqlDB, dir, goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()), goose.WithLocker(locker))
	if err != nil {
		return fail(err)
	}
	return provider, sqlDB.Close, nil
}

// settling is the key of the transaction lock under which partitions, rights
// and the policy are set.
const settling = 0x62626f7401

const (
	sqlLock       = `SELECT pg_advisory_xact_lock($1)`
	sqlAddSetting = `INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`
	sqlPutSetting = `INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	sqlSettings   = `SELECT name, value FROM setting WHERE name IN ('keep', 'keep_full_kinds')`
)

// settle does what Migrate does every time.
func (db *DB) settle(ctx context.Context) error {
	return db.write(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLock, int64(settling)); err != nil {
			return err
		}
		if err := db.setKeep(ctx, tx); err != nil {
			return err
		}
		if err := makePeriods(ctx, tx, time.Now()); err != nil {
			return err
		}
		return grant(ctx, tx)
	})
}

func (db *DB) setKeep(ctx context.Context, tx pgx.Tx) error {
	keep := db.opts.Keep
	if keep.Mode == "" {
		keep.Mode = store.KeepFull
	}
	if _, err := tx.Exec(ctx, sqlAddSetting, "keep", string(keep.Mode)); err != nil {
		return err
	}
	have, err := readKeep(ctx, tx)
	if err != nil {
		return err
	}
	if want := db.opts.Keep.Mode; want != "" && want != have.Mode {
		return &store.KeepError{Have: have.Mode, Want: want}
	}
	if db.opts.Keep.FullKinds == nil {
		return nil
	}
	kinds, err := json.Marshal(keep.FullKinds)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sqlPutSetting, "keep_full_kinds", string(kinds))
	return err
}

func readKeep(ctx context.Context, q querier) (store.Keep, error) {
	rows, err := q.Query(ctx, sqlSettings)
	if err != nil {
		return store.Keep{}, err
	}
	return scanKeep(rows)
}

func scanKeep(rows pgx.Rows) (store.Keep, error) {
	var keep store.Keep
	var name, value string
	_, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		if name == "keep" {
			keep.Mode = store.KeepMode(value)
			return nil
		}
		keep.FullKinds = []nostr.Kind{}
		return json.Unmarshal([]byte(value), &keep.FullKinds)
	})
	return keep, err
}

// Keep implements store.Keeper.
func (db *DB) Keep(ctx context.Context) (keep store.Keep, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		keep, err = readKeep(ctx, q)
		return err
	})
	if err == nil && keep.Mode == "" {
		err = store.ErrUninitialised
	}
	if err != nil {
		return keep, fmt.Errorf("read the policy: %w", err)
	}
	return keep, nil
}

const sqlGroups = `SELECT rolname FROM pg_roles WHERE rolname IN ('bigbrotr_reader', 'bigbrotr_writer')`

// grant gives the groups their rights on everything that is there.
func grant(ctx context.Context, tx pgx.Tx) error {
	var groups []string
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		var name string
		err := rows.Scan(&name)
		groups = append(groups, name)
		return err
	}, sqlGroups); err != nil {
		return err
	}
	for _, group := range groups {
		rights := "SELECT"
		if group == "bigbrotr_writer" {
			rights = "SELECT, INSERT, UPDATE, DELETE"
		}
		for _, stmt := range []string{
			"GRANT USAGE ON SCHEMA public TO " + group,
			"GRANT " + rights + " ON ALL TABLES IN SCHEMA public TO " + group,
		} {
			if _, err := tx.Exec(ctx, stmt, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		if group == "bigbrotr_writer" {
			if _, err := tx.Exec(ctx, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO "+group, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
	}
	return nil
}

// VerifySchema implements store.Schema.
func (db *DB) VerifySchema(ctx context.Context) error {
	v, err := db.version(ctx)
	switch {
	case err != nil:
		return err
	case v == 0:
		return store.ErrUninitialised
	case v > newest():
		return fmt.Errorf("schema %d, this version knows %d: %w", v, newest(), store.ErrNewer)
	case v < newest():
		return fmt.Errorf("schema %d, this version needs %d: %w", v, newest(), store.ErrSchema)
	}
	have, err := db.schema(ctx)
	if err != nil {
		return err
	}
	if have != golden {
		return fmt.Errorf("%s: %w", difference(golden, have), store.ErrSchema)
	}
	return nil
}

// sqlSchema lists what the schema is made of, one line each, from the catalog:
// columns, constraints, indexes, columns of views, functions. How a view is
// written down depends on the server's version, so that is left out, and so are
// partitions, which come with time, and goose's tables.
const sqlSchema = `
WITH ours AS (
    SELECT c.oid, c.relname, c.relkind, c.reltablespace FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
      AND c.relname NOT LIKE 'schema\_version%' AND c.relname NOT LIKE 'schema\_lock%'
), lines AS (
    SELECT relname AS what, 1 AS rank, a.attnum AS nr,
        CASE relkind WHEN 'v' THEN 'view ' ELSE 'table ' END || relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || CASE a.attidentity WHEN '' THEN '' ELSE ' identity' END
        || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
        || CASE WHEN a.attcollation NOT IN (0, 'pg_catalog."default"'::regcollation) THEN ' collate ' || (SELECT collname FROM pg_collation WHERE oid = a.attcollation) ELSE '' END AS line
    FROM ours JOIN pg_attribute a ON a.attrelid = ours.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE relkind IN ('r', 'p', 'v')
  UNION ALL
    SELECT relname, 2, 0, 'partitioned ' || relname || ' ' || pg_get_partkeydef(oid) FROM ours WHERE relkind = 'p'
  UNION ALL
    SELECT relname, 3, 0, 'constraint ' || conname || ' ' || pg_get_constraintdef(k.oid)
    FROM ours JOIN pg_constraint k ON k.conrelid = ours.oid WHERE k.contype <> 'n'
  UNION ALL
    SELECT relname, 4, 0, 'index ' || pg_get_indexdef(i.indexrelid) FROM ours JOIN pg_index i ON i.indrelid = ours.oid
  UNION ALL
    SELECT relname, 5, 0, 'sequence ' || relname FROM ours WHERE relkind = 'S'
  UNION ALL
    SELECT proname, 7, 0, 'function ' || p.oid::regprocedure || ' ' || md5(p.prosrc || coalesce(array_to_string(p.proconfig, ','), '') || p.provolatile::text)
    FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT 1 FROM pg_depend x WHERE x.objid = p.oid AND x.deptype = 'e')
)
SELECT line FROM lines ORDER BY what COLLATE "C", rank, nr, line COLLATE "C"`

// schema describes the schema as it is.
func (db *DB) schema(ctx context.Context) (string, error) {
	var text string
	err := db.read(ctx, func(q querier) error {
		var b strings.Builder
		err := each(ctx, q, func(rows pgx.Rows) error {
			var line string
			err := rows.Scan(&line)
			b.WriteString(line)
			b.WriteByte('\n')
			return err
		}, sqlSchema)
		text = b.String()
		return err
	})
	return text, err
}

// difference names the first thing in which a schema is not the expected one.
func difference(want, have string) string {
	there := make(map[string]bool)
	for line := range strings.Lines(have) {
		there[line] = true
	}
	for line := range strings.Lines(want) {
		if !there[line] {
			return "missing or changed: " + strings.TrimSpace(line)
		}
		delete(there, line)
	}
	for line := range strings.Lines(have) {
		if there[line] {
			return "unexpected: " + strings.TrimSpace(line)
		}
	}
	return "in another order"
}

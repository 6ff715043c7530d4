package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"bigbrotr/internal/core/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// golden is the schema that the migrations lead to, in one look.
//
//go:embed testdata/schema.golden
var golden string

// versionTable is where goose notes the steps that ran.
const versionTable = "schema_version"

const (
	sqlHasVersions = `SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'`
	sqlVersion     = `SELECT max(version_id) FROM schema_version WHERE is_applied = 1`
)

// version returns the last step that ran, 0 when none did.
func (c *conn) version(ctx context.Context) (v int64, err error) {
	found, err := c.one(ctx, func(row) {}, sqlHasVersions)
	if err != nil || !found {
		return 0, err
	}
	_, err = c.one(ctx, func(r row) { v = r.int(0) }, sqlVersion)
	return v, err
}

func (c *conn) notNewer(ctx context.Context) error {
	have, err := c.version(ctx)
	if err != nil {
		return err
	}
	if known := newest(); have > known {
		return fmt.Errorf("schema %d, this version knows %d: %w", have, known, store.ErrNewer)
	}
	return nil
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

// Migrate implements store.Schema.
func (db *DB) Migrate(ctx context.Context) ([]string, error) {
	if db.writer == nil {
		return nil, errReadOnly
	}
	var ran []string
	// On the writer, so that nothing else writes meanwhile, but outside its
	// transaction: goose has a connection and transactions of its own.
	err := db.writer.alone(ctx, func(w *writer) error {
		if err := w.c.notNewer(ctx); err != nil {
			return err
		}
		var err error
		if ran, err = migrate(ctx, db.path, migrations); err != nil {
			return err
		}
		if err := w.settle(ctx, db.keep); err != nil {
			return err
		}
		if len(ran) > 0 {
			if err := w.inherit(); err != nil {
				return err
			}
		}
		return w.load(ctx)
	})
	if err == nil && len(ran) > 0 {
		err = db.purge(ctx)
	}
	if err != nil {
		return ran, fmt.Errorf("migrate: %w", db.failed(translate(err)))
	}
	return ran, nil
}

// migrate runs the steps of a folder that did not run yet.
func migrate(ctx context.Context, file string, steps fs.FS) (ran []string, err error) {
	dsn, err := sourceName(file, "rwc")
	if err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(dsn + "&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	sqlDB := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, sqlDB.Close()) }()
	dir, err := fs.Sub(steps, "migrations")
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, sqlDB, dir,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	for _, r := range results {
		ran = append(ran, strings.TrimSuffix(path.Base(r.Source.Path), ".sql"))
	}
	return ran, err
}

// Pending returns the names of the steps that Migrate would run.
func (db *DB) Pending(ctx context.Context) (pending []string, err error) {
	var have int64
	if err := db.read(ctx, func(c *conn) (err error) {
		have, err = c.version(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
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

// VerifySchema implements store.Schema.
func (db *DB) VerifySchema(ctx context.Context) error {
	return db.read(ctx, func(c *conn) error {
		v, err := c.version(ctx)
		if err != nil {
			return err
		}
		if v == 0 {
			return store.ErrUninitialised
		}
		if err := c.notNewer(ctx); err != nil {
			return err
		}
		have, err := c.schema(ctx)
		if err != nil {
			return err
		}
		if have != golden {
			return fmt.Errorf("%s: %w", difference(golden, have), store.ErrSchema)
		}
		return nil
	})
}

const sqlSchema = `
SELECT sql FROM sqlite_schema
WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND tbl_name <> 'schema_version'
ORDER BY tbl_name, type DESC, name`

// schema returns every statement that made a table or index of ours.
func (c *conn) schema(ctx context.Context) (string, error) {
	var b strings.Builder
	err := c.query(ctx, func(r row) bool {
		b.WriteString(r.text(0))
		b.WriteString(";\n\n")
		return true
	}, sqlSchema)
	return b.String(), err
}

// difference names the first thing in which a schema is not the expected one.
func difference(want, have string) string {
	statements := func(s string) []string { return strings.Split(s, ";\n\n") }
	name := func(s string) string { return strings.Join(strings.Fields(s)[:min(3, len(strings.Fields(s)))], " ") }
	there := make(map[string]bool)
	for _, s := range statements(have) {
		there[s] = true
	}
	for _, s := range statements(want) {
		if !there[s] {
			return "missing or changed: " + name(s)
		}
		delete(there, s)
	}
	for _, s := range statements(have) {
		if there[s] {
			return "unexpected: " + name(s)
		}
	}
	return "in another order"
}

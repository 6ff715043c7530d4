package postgres

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/pgtest"
)

// TestRestore goes back to what a database was, by a dump and by a copy of its
// files. Whoever read on meanwhile has to begin again, because the numbers of
// what is lost are given to other events; readers whose positions are in the
// database go on where it is.
func TestRestore(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	cluster := pgtest.Shared(t)
	from := cluster.Database(t)
	db := openAt(t, from)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	add := func(db *DB, first, n int) {
		t.Helper()
		if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: numbered(first, n)}); err != nil {
			t.Fatal(err)
		}
	}
	// read returns the contents of what comes after a cursor, and the last cursor.
	read := func(db *DB, after store.Cursor) (contents []string, last store.Cursor, err error) {
		for s, err := range db.ScanEvents(t.Context(), after, nostr.Filter{}) {
			if err != nil {
				return nil, after, err
			}
			contents, last = append(contents, s.Event.Content), s.Cursor
		}
		return contents, last, nil
	}
	add(db, 0, 10)
	_, before, err := read(db, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.SaveFindings(t.Context(), "finder", before, store.Found{}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.SaveFindings(t.Context(), "list", "0123abcd", store.Found{}); err != nil {
		t.Fatal(err)
	}
	copies := map[string]string{"dump": cluster.Database(t), "copy of files": cluster.Database(t)}
	dump(t, from, copies["dump"])
	clone(t, cluster, from, copies["copy of files"])

	add(db, 10, 10)
	_, after, err := read(db, before)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"note 30", "note 31"}
	for name, url := range copies {
		t.Run(name, func(t *testing.T) {
			restored := openAt(t, url)
			if err := restored.VerifySchema(t.Context()); err != nil {
				t.Fatal(err)
			}
			add(restored, 30, 2)
			for _, c := range []store.Cursor{before, after} {
				if got, _, err := read(restored, c); !errors.Is(err, store.ErrCursor) {
					t.Errorf("after %s it reads %q, %v, want %v", c, got, err, store.ErrCursor)
				}
			}
			position, err := restored.Position(t.Context(), "finder")
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := read(restored, position)
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("the finder goes on with (-want +got): %v\n%s", err, d)
			}
			if other, err := restored.Position(t.Context(), "list"); err != nil || other != "0123abcd" {
				t.Errorf("a position of something else: %q, %v", other, err)
			}
		})
	}
	// The first database lives on.
	if got, _, err := read(db, before); err != nil || len(got) != 10 {
		t.Errorf("the database as it was: %d events, %v", len(got), err)
	}
	// Files that are put back behind the server's back are told of.
	if _, err := db.pool.Exec(t.Context(), `INSERT INTO setting (name, value) VALUES ('epoch', '1')`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(db, before); !errors.Is(err, store.ErrCursor) {
		t.Errorf("a cursor of another epoch: %v", err)
	}
}

// dump brings a database into an empty one as a backup does.
func dump(t *testing.T, from, to string) {
	t.Helper()
	for _, program := range []string{"pg_dump", "psql"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	text, err := exec.CommandContext(t.Context(), "pg_dump", "--no-owner", "--dbname", from).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	restore := exec.CommandContext(t.Context(), "psql", "--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null", to)
	restore.Stdin = strings.NewReader(string(text))
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
}

// clone makes a database anew as a copy of the files of another.
func clone(t *testing.T, cluster *pgtest.Cluster, from, to string) {
	t.Helper()
	source, target := databaseName(t, from), databaseName(t, to)
	conn, err := pgx.Connect(t.Context(), cluster.Superuser(strings.Replace(from, source, "postgres", 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, sql := range []string{
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + source + "'",
		"DROP DATABASE " + target,
		"CREATE DATABASE " + target + " OWNER owner TEMPLATE " + source,
	} {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// databaseName is the name of the database of a URL.
func databaseName(t *testing.T, url string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Database
}

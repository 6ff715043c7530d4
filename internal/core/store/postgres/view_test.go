package postgres

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// TestViews compares what every view shows of a small archive in which relays
// and authors wrote what they should not.
func TestViews(t *testing.T) {
	db := openNew(t, Options{})
	data, err := os.ReadFile("testdata/views.sql")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := db.write(t.Context(), func(tx pgx.Tx) error {
		b.Reset()
		if _, err := tx.Exec(t.Context(), "SET LOCAL TIME ZONE 'UTC'; "+string(data), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		views, err := column1(t.Context(), tx, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v' ORDER BY 1`)
		if err != nil {
			return err
		}
		for _, view := range views {
			rows, err := column1(t.Context(), tx, fmt.Sprintf(`SELECT row_to_json(v)::text FROM %s v ORDER BY row_to_json(v)::text COLLATE "C"`, view))
			if err != nil {
				return fmt.Errorf("%s: %w", view, err)
			}
			fmt.Fprintf(&b, "# %s\n%s\n\n", view, strings.Join(rows, "\n"))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/views.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); d != "" {
		t.Errorf("views (-want +got):\n%s", d)
	}
}

// TestViewsAreExplained looks for what a person at psql would ask: what each view
// and column is. None is a copy that somebody has to refresh.
func TestViewsAreExplained(t *testing.T) {
	db := openNew(t, Options{})
	if err := db.read(t.Context(), func(q querier) error {
		silent, err := column1(t.Context(), q, `
			SELECT c.relname || coalesce('.' || a.attname, '')
			FROM pg_class c LEFT JOIN LATERAL (
				SELECT attname, attnum FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 UNION ALL SELECT NULL, 0
			) a ON true
			WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v'
				AND NOT EXISTS (SELECT 1 FROM pg_description d WHERE d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum)`)
		if err != nil {
			return err
		}
		copies, err := column1(t.Context(), q, `SELECT relname::text FROM pg_class WHERE relkind = 'm'`)
		if len(silent)+len(copies) > 0 {
			t.Errorf("without a comment: %q; materialized: %q", silent, copies)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// column1 reads the first column of what a statement returns.
func column1(ctx context.Context, q querier, sql string) (values []string, err error) {
	err = each(ctx, q, func(rows pgx.Rows) error {
		var v string
		err := rows.Scan(&v)
		values = append(values, v)
		return err
	}, sql)
	return values, err
}

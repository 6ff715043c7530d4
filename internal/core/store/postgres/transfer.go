package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

// tablePage is how many rows of a table are read at once.
const tablePage = 1000

// ScanTable implements store.Transfer.
func (db *DB) ScanTable(ctx context.Context, table store.Table, after store.Row) iter.Seq2[store.Row, error] {
	return func(yield func(store.Row, error) bool) {
		for {
			rows, err := db.tableRows(ctx, table, after)
			if err != nil {
				yield(nil, fmt.Errorf("read table %s: %w", table.Name, err))
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if len(rows) < tablePage {
				return
			}
			after = rows[len(rows)-1]
		}
	}
}

// columnType is the type in which a column is sent and read.
func columnType(t store.ColumnType) string {
	switch t {
	case store.Integer:
		return "bigint"
	case store.Number:
		return "float8"
	case store.Boolean:
		return "boolean"
	case store.Blob:
		return "bytea"
	}
	return "text"
}

// list puts what each makes of the columns together.
func list(columns []store.Column, each func(i int, c store.Column) string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = each(i, c)
	}
	return strings.Join(parts, ", ")
}

func name(_ int, c store.Column) string { return c.Name }

func (db *DB) tableRows(ctx context.Context, table store.Table, after store.Row) (rows []store.Row, err error) {
	key := list(table.Columns[:table.Key], name)
	where, args := "", []any(nil)
	if after != nil {
		where = fmt.Sprintf(" WHERE (%s) > (%s)", key, list(table.Columns[:table.Key], func(i int, c store.Column) string {
			return fmt.Sprintf("$%d::%s", i+1, columnType(c.Type))
		}))
		args = after[:table.Key]
	}
	sql := fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d", list(table.Columns, func(_ int, c store.Column) string {
		return c.Name + "::" + columnType(c.Type)
	}), table.Name, where, key, tablePage)
	err = db.read(ctx, func(q querier) error {
		rows = nil
		return each(ctx, q, func(r pgx.Rows) error {
			values, err := r.Values()
			rows = append(rows, values)
			return err
		}, sql, args...)
	})
	return rows, err
}

// PutRows implements store.Transfer.
func (db *DB) PutRows(ctx context.Context, table store.Table, rows []store.Row) error {
	if len(rows) == 0 {
		return nil
	}
	sql := putRows(table)
	args := make([]any, len(table.Columns))
	for i, c := range table.Columns {
		args[i] = column(c.Type, rows, i)
	}
	err := db.write(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql, args...); err != nil {
			return err
		}
		if table.Name == "relay" || table.Name == "filter" {
			// The next ones are numbered behind them.
			_, err := tx.Exec(ctx, fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%[1]s', 'id'), max(id)) FROM %[1]s", table.Name))
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write table %s: %w", table.Name, err)
	}
	return nil
}

// putRows returns the statement that writes rows given as one array a column.
func putRows(table store.Table) string {
	into, from := list(table.Columns, name), list(table.Columns, func(_ int, c store.Column) string {
		if c.Type == store.JSON {
			return "r." + c.Name + "::jsonb"
		}
		return "r." + c.Name
	})
	overriding := ""
	switch table.Name {
	case "relay":
		overriding = " OVERRIDING SYSTEM VALUE"
	case "filter":
		overriding = " OVERRIDING SYSTEM VALUE"
		into, from = into+", hash", from+", sha256(convert_to(r.json, 'UTF8'))"
	}
	return fmt.Sprintf("INSERT INTO %s (%s)%s SELECT %s FROM unnest(%s) AS r (%s) ON CONFLICT (%s) DO UPDATE SET %s",
		table.Name, into, overriding, from,
		list(table.Columns, func(i int, c store.Column) string { return fmt.Sprintf("$%d::%s[]", i+1, columnType(c.Type)) }),
		list(table.Columns, name), list(table.Columns[:table.Key], name),
		list(table.Columns[table.Key:], func(_ int, c store.Column) string { return c.Name + " = excluded." + c.Name }))
}

// column returns the values of a column of rows as an array of its type.
func column(t store.ColumnType, rows []store.Row, i int) any {
	switch t {
	case store.Integer:
		return gather[int64](rows, i)
	case store.Number:
		return gather[float64](rows, i)
	case store.Boolean:
		return gather[bool](rows, i)
	case store.Blob:
		return gather[[]byte](rows, i)
	}
	return gather[string](rows, i)
}

func gather[T any](rows []store.Row, i int) []T {
	values := make([]T, len(rows))
	for n, row := range rows {
		values[n], _ = row[i].(T) // NULL is nil, and so is the zero blob
	}
	return values
}

// settingCopy is the state of a copy into this database.
const settingCopy = "copy"

const (
	sqlSetting     = `SELECT value FROM setting WHERE name = $1`
	sqlDropSetting = `DELETE FROM setting WHERE name = $1`
)

// CopyState implements store.Transfer.
func (db *DB) CopyState(ctx context.Context) (state store.CopyState, err error) {
	var text string
	err = db.read(ctx, func(q querier) error {
		text = ""
		return each(ctx, q, func(r pgx.Rows) error { return r.Scan(&text) }, sqlSetting, settingCopy)
	})
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &state)
	}
	if err != nil {
		return state, fmt.Errorf("read how far the copy is: %w", err)
	}
	return state, nil
}

// SetCopyState implements store.Transfer.
func (db *DB) SetCopyState(ctx context.Context, state store.CopyState) error {
	if err := db.write(ctx, func(tx pgx.Tx) error { return setCopyState(ctx, tx, state) }); err != nil {
		return fmt.Errorf("note how far the copy is: %w", err)
	}
	return nil
}

func setCopyState(ctx context.Context, tx pgx.Tx, state store.CopyState) error {
	if state == (store.CopyState{}) {
		_, err := tx.Exec(ctx, sqlDropSetting, settingCopy)
		return err
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sqlPutSetting, settingCopy, string(text))
	return err
}

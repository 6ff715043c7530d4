package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
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
	err = db.read(ctx, func(q querier) (err error) {
		state, err = copyState(ctx, q)
		return err
	})
	if err != nil {
		return state, fmt.Errorf("read how far the copy is: %w", err)
	}
	return state, nil
}

func copyState(ctx context.Context, q querier) (state store.CopyState, err error) {
	var text string
	if there, err := found(q.QueryRow(ctx, sqlSetting, settingCopy).Scan(&text)); err != nil || !there {
		return state, err
	}
	return state, json.Unmarshal([]byte(text), &state)
}

const (
	sqlDropSummed   = `DELETE FROM relay_summed`
	sqlDropHeldDays = `DELETE FROM relay_day`
)

// SetCopyState implements store.Transfer.
func (db *DB) SetCopyState(ctx context.Context, state store.CopyState) error {
	if err := db.write(ctx, func(tx pgx.Tx) error {
		// What a copy writes goes past the sums, so there are none while it lasts.
		for _, sql := range []string{sqlDropSummed, sqlDropHeldDays} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return setCopyState(ctx, tx, state)
	}); err != nil {
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

// copyPage is how many events are read with their sightings at once.
const copyPage = 500

// ScanCopies implements store.Transfer.
func (db *DB) ScanCopies(ctx context.Context, after store.Cursor) iter.Seq2[store.CopiedAt, error] {
	return func(yield func(store.CopiedAt, error) bool) {
		var page []placed
		flush := func() bool {
			copies, err := db.withSightings(ctx, page)
			page = page[:0]
			if err != nil {
				return yield(store.CopiedAt{}, fmt.Errorf("read events to copy: %w", err)) && false
			}
			for _, one := range copies {
				if !yield(one, nil) {
					return false
				}
			}
			return true
		}
		for one, err := range db.scan(ctx, after, math.MinInt64, math.MaxInt64, nil) {
			if err != nil {
				yield(store.CopiedAt{}, fmt.Errorf("read events to copy: %w", err))
				return
			}
			if page = append(page, one); len(page) == copyPage && !flush() {
				return
			}
		}
		flush()
	}
}

const sqlSightingsOf = `SELECT event_seq, relay_id, greatest(seen_at, ~seen_at), seen_at < 0, gone_at FROM sightings_of($1, $2) ORDER BY event_seq, relay_id`

func (db *DB) withSightings(ctx context.Context, page []placed) ([]store.CopiedAt, error) {
	if len(page) == 0 {
		return nil, nil
	}
	copies := make([]store.CopiedAt, len(page))
	createdAts, seqs := make([]int64, len(page)), make([]int64, len(page))
	bySeq := make(map[int64]*store.CopiedAt, len(page))
	for i, one := range page {
		copies[i] = store.CopiedAt{Copied: store.Copied{Record: one.Record}, Cursor: store.Cursor(one.at.String())}
		createdAts[i], seqs[i] = one.Event.CreatedAt, int64(one.Seq)
		bySeq[seqs[i]] = &copies[i]
	}
	err := db.read(ctx, func(q querier) error {
		for i := range copies {
			copies[i].Sightings = nil
		}
		return each(ctx, q, func(rows pgx.Rows) error {
			var seq int64
			var s store.Sighting
			err := rows.Scan(&seq, &s.Relay, &s.SeenAt, &s.Claimed, &s.GoneAt)
			if one := bySeq[seq]; one != nil {
				one.Sightings = append(one.Sightings, s)
			}
			return err
		}, sqlSightingsOf, createdAts, seqs)
	})
	return copies, err
}

const sqlPutCopies = `SELECT first_seq, added
	FROM put_copies($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`

// PutCopies implements store.Transfer.
func (db *DB) PutCopies(ctx context.Context, copies []store.Copied, position store.Cursor) error {
	keep, err := db.Keep(ctx)
	if err != nil {
		return fmt.Errorf("write copied events: %w", err)
	}
	err = db.write(ctx, func(tx pgx.Tx) error {
		for part := range slices.Chunk(copies, ingestMost) {
			if err := putCopies(ctx, tx, keep, part); err != nil {
				return err
			}
		}
		state, err := copyState(ctx, tx)
		if err != nil {
			return err
		}
		state.Position = position
		return setCopyState(ctx, tx, state)
	})
	if err != nil {
		return fmt.Errorf("write copied events: %w", err)
	}
	return nil
}

func putCopies(ctx context.Context, tx pgx.Tx, keep store.Keep, copies []store.Copied) error {
	a := newArrays(len(copies))
	firstSeen := make([]int64, len(copies))
	places, relays, seen, gone := []int32{}, []int32{}, []int64{}, []int64{}
	for i := range copies {
		one := &copies[i]
		if err := a.copied(one, keep); err != nil {
			return fmt.Errorf("event %s: %w", one.Event.ID, err)
		}
		firstSeen[i] = one.FirstSeen
		for _, s := range one.Sightings {
			at := s.SeenAt
			if s.Claimed {
				at = ^at
			}
			places, relays = append(places, int32(i+1)), append(relays, int32(s.Relay))
			seen, gone = append(seen, at), append(gone, s.GoneAt)
		}
	}
	var firstSeq int64
	var added int32
	if err := tx.QueryRow(ctx, sqlPutCopies,
		a.ids, a.pubkeys, a.authors, a.createdAts, a.kinds, a.ds, a.expiries, a.taghs, a.sigs, a.tags, a.contents, a.raws, firstSeen,
		a.deletionPlaces, a.deletionHashes, places, relays, seen, gone,
	).Scan(&firstSeq, &added); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sqlCloseBatch, numbering, int32(0), []int64{firstSeq}, []int32{added})
	return err
}

// copied appends an event of another archive.
func (a *arrays) copied(one *store.Copied, keep store.Keep) error {
	e := &one.Event
	if !one.IndexOnly {
		return a.add(e, keep)
	}
	if e.Kind == store.KindDeletion {
		for _, h := range one.Index.Tags {
			a.deletionPlaces = append(a.deletionPlaces, int32(len(a.ids)+1))
			a.deletionHashes = append(a.deletionHashes, h)
		}
	}
	a.put(e, one.Index, nil, nil, nil, nil)
	return nil
}

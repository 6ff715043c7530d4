package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"bigbrotr/internal/core/store"
)

// tablePage is how many rows of a table are read at once.
const tablePage = 500

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

// columnList returns the names of columns, joined.
func columnList(columns []store.Column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func (db *DB) tableRows(ctx context.Context, table store.Table, after store.Row) (rows []store.Row, err error) {
	key := columnList(table.Columns[:table.Key])
	where, args := "", []any(nil)
	if after != nil {
		where = fmt.Sprintf(" WHERE (%s) > (%s)", key, marks(table.Key))
		args = after[:table.Key]
	}
	sql := fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d", columnList(table.Columns), table.Name, where, key, tablePage)
	err = db.read(ctx, func(c *conn) error {
		rows = nil
		return c.query(ctx, func(r row) bool {
			one := make(store.Row, len(table.Columns))
			for i, column := range table.Columns {
				switch column.Type {
				case store.Integer:
					one[i] = r.int(i)
				case store.Number:
					one[i] = r.float(i)
				case store.Boolean:
					one[i] = r.bool(i)
				case store.Text, store.JSON:
					one[i] = r.text(i)
				case store.Blob:
					if one[i] = r.blob(i); r[i] != nil && len(r.blob(i)) == 0 {
						one[i] = []byte{} // empty, which is not NULL
					}
				}
			}
			rows = append(rows, one)
			return true
		}, sql, args...)
	})
	return rows, err
}

// PutRows implements store.Transfer.
func (db *DB) PutRows(ctx context.Context, table store.Table, rows []store.Row) error {
	names := columnList(table.Columns)
	sets := make([]string, 0, len(table.Columns))
	for _, c := range table.Columns[table.Key:] {
		sets = append(sets, fmt.Sprintf("%[1]s = excluded.%[1]s", c.Name))
	}
	sql := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT DO UPDATE SET %s", table.Name, names, marks(len(table.Columns)), strings.Join(sets, ", "))
	err := db.write(ctx, func(w *writer) error {
		for i, row := range rows {
			if i%256 == 255 && ctx.Err() != nil {
				return ctx.Err()
			}
			args := make([]any, len(row))
			for i, v := range row {
				switch v := v.(type) {
				case bool:
					args[i] = integer(v)
				case []byte:
					if args[i] = v; v == nil {
						args[i] = nil
					}
				default:
					args[i] = v
				}
			}
			if _, err := w.c.exec(sql, args...); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("write table %s: %w", table.Name, err)
	}
	return nil
}

// settingCopy is the state of a copy into this database.
const settingCopy = "copy"

// CopyState implements store.Transfer.
func (db *DB) CopyState(ctx context.Context) (state store.CopyState, err error) {
	var text string
	err = db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { text = r.text(0) }, sqlSetting, settingCopy)
		return err
	})
	if err == nil && text != "" {
		err = json.Unmarshal([]byte(text), &state)
	}
	if err != nil {
		return state, fmt.Errorf("read how far the copy is: %w", err)
	}
	return state, nil
}

const (
	sqlDropSummed   = `DELETE FROM relay_summed`
	sqlDropHeldDays = `DELETE FROM relay_day`
)

// SetCopyState implements store.Transfer.
func (db *DB) SetCopyState(ctx context.Context, state store.CopyState) error {
	if err := db.write(ctx, func(w *writer) error {
		// What a copy writes goes past the sums, so there are none while it lasts.
		for _, sql := range []string{sqlDropSummed, sqlDropHeldDays} {
			if _, err := w.c.exec(sql); err != nil {
				return err
			}
		}
		return w.setCopyState(state)
	}); err != nil {
		return fmt.Errorf("note how far the copy is: %w", err)
	}
	return nil
}

func (w *writer) setCopyState(state store.CopyState) error {
	if state == (store.CopyState{}) {
		_, err := w.c.exec(sqlDeleteSetting, settingCopy)
		return err
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	_, err = w.c.exec(sqlSetSetting, settingCopy, string(text))
	return err
}

const sqlCopySightings = `SELECT event_seq, relay_id, seen_at, gone_at FROM sighting WHERE event_seq IN (SELECT value FROM json_each(?)) ORDER BY event_seq, relay_id`

// ScanCopies implements store.Transfer.
func (db *DB) ScanCopies(ctx context.Context, after store.Cursor) iter.Seq2[store.CopiedAt, error] {
	return func(yield func(store.CopiedAt, error) bool) {
		fail := func(err error) { yield(store.CopiedAt{}, fmt.Errorf("read events to copy: %w", err)) }
		at, _, err := db.startScan(ctx, after)
		if err != nil {
			fail(err)
			return
		}
		for {
			page, next, err := db.scanPage(ctx, at.seq, math.MaxInt64, math.MinInt64, math.MaxInt64, "")
			if err != nil {
				fail(err)
				return
			}
			if len(page) == 0 {
				return
			}
			sightings, err := db.sightingsOf(ctx, page)
			if err != nil {
				fail(err)
				return
			}
			at.seq = next
			for i := range page {
				seq := int64(page[i].Seq)
				one := store.CopiedAt{Copied: store.Copied{Record: page[i], Sightings: sightings[seq]}, Cursor: at.to(page[i].Seq)}
				if !yield(one, nil) {
					return
				}
			}
		}
	}
}

func (db *DB) sightingsOf(ctx context.Context, page []store.Record) (map[int64][]store.Sighting, error) {
	seqs := make([]int64, len(page))
	for i := range page {
		seqs[i] = int64(page[i].Seq)
	}
	list, err := json.Marshal(seqs)
	if err != nil {
		return nil, err
	}
	sightings := make(map[int64][]store.Sighting, len(page))
	err = db.read(ctx, func(c *conn) error {
		return c.query(ctx, func(r row) bool {
			one := store.Sighting{Relay: store.RelayID(r.int(1)), GoneAt: r.int(3)}
			one.SeenAt, one.Claimed = seenAt(r.int(2))
			sightings[r.int(0)] = append(sightings[r.int(0)], one)
			return true
		}, sqlCopySightings, string(list))
	})
	return sightings, err
}

// PutCopies implements store.Transfer.
func (db *DB) PutCopies(ctx context.Context, copies []store.Copied, position store.Cursor) error {
	err := db.write(ctx, func(w *writer) error {
		s := saving{w: w, c: w.c, batch: &store.Batch{}}
		added := make(map[int64][]int64) // numbers of events by relay
		terms := len(w.terms)
		for i := range copies {
			if i%256 == 255 && ctx.Err() != nil {
				return ctx.Err()
			}
			seq, err := s.putCopy(&copies[i])
			if err != nil {
				return fmt.Errorf("event %s: %w", copies[i].Event.ID, err)
			}
			for _, sighting := range copies[i].Sightings {
				seen := sighting.SeenAt
				if sighting.Claimed {
					seen = ^seen
				}
				n, err := w.c.exec(sqlPutSighting, int64(sighting.Relay), seq, seen, sighting.GoneAt)
				if err != nil {
					return err
				}
				if n > 0 {
					added[int64(sighting.Relay)] = append(added[int64(sighting.Relay)], seq)
				}
			}
		}
		s.newTerms = w.terms[terms:]
		if err := s.terms(); err != nil {
			return err
		}
		for _, relay := range slices.Sorted(maps.Keys(added)) {
			slices.Sort(added[relay])
			if _, err := w.c.exec(sqlAddSightingLog, relay, appendSteps(nil, added[relay])); err != nil {
				return err
			}
		}
		return w.moveCopy(position)
	})
	if err != nil {
		return fmt.Errorf("write copied events: %w", err)
	}
	return nil
}

const sqlPutSighting = `INSERT INTO sighting (relay_id, event_seq, seen_at, gone_at) VALUES (?, ?, ?, nullif(?, 0)) ON CONFLICT DO NOTHING`

// putCopy adds an event that is not there and returns its number.
func (s *saving) putCopy(one *store.Copied) (seq int64, err error) {
	e := &one.Event
	s.batch.SeenAt = one.FirstSeen
	var n int64
	if one.IndexOnly {
		n, err = s.putIndexOnly(one)
	} else {
		n, err = s.addEvent(e)
	}
	if err != nil {
		return 0, err
	}
	if n == 0 {
		_, err = s.c.first(func(r row) { seq = r.int(0) }, sqlSeqOf, e.ID[:])
		return seq, err
	}
	seq = s.w.nextSeq
	s.w.nextSeq++
	s.w.terms = appendTerms(s.w.terms, seq, e)
	for _, h := range one.Index.Tags {
		s.w.terms = append(s.w.terms, term{h, e.CreatedAt, seq, int64(e.Kind)})
	}
	if e.Kind == store.KindDeletion {
		for _, h := range slices.Concat(store.DeletionHashes(e), one.Index.Tags) {
			if _, err := s.c.exec(sqlAddDeletion, h, int64(prefix(e.PubKey[:])), e.CreatedAt, seq); err != nil {
				return 0, err
			}
		}
	}
	return seq, nil
}

func (s *saving) putIndexOnly(one *store.Copied) (int64, error) {
	e := &one.Event
	tagh, d, expires := indexColumns(one.Index)
	return s.c.exec(sqlAddEvent, s.w.nextSeq, e.ID[:], e.PubKey[:], e.CreatedAt, int64(e.Kind), one.FirstSeen, []byte{}, "", "", nil, tagh, d, expires)
}

// moveCopy notes the position of the copy under way.
func (w *writer) moveCopy(position store.Cursor) error {
	var text string
	if _, err := w.c.first(func(r row) { text = r.text(0) }, sqlSetting, settingCopy); err != nil {
		return err
	}
	var state store.CopyState
	if text != "" {
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			return err
		}
	}
	state.Position = position
	return w.setCopyState(state)
}

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"bigbrotr/internal/core/store"
)

const (
	// foldEvents and foldSightings bound what one refresh takes: it runs on
	// the writer.
	foldEvents    = 5000
	foldSightings = 20000
	day           = store.Day
)

const (
	sqlCounted     = `SELECT seq FROM rollup_total WHERE name = 'events'`
	sqlSetCounted  = `UPDATE rollup_total SET seq = ? WHERE name = 'events'`
	sqlFoldEvents  = `SELECT seq, created_at, kind, pubkey FROM event WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?`
	sqlSightingLog = `SELECT id, relay_id, seqs FROM sighting_log ORDER BY id`
	sqlDeleteLog   = `DELETE FROM sighting_log WHERE id <= ?`
)

var sqlFoldSightings = `SELECT seq, created_at, kind FROM event WHERE seq IN (` + placeholders("?") + `)`

// counted returns up to which number events are in the sums.
func (w *writer) counted(ctx context.Context) (seq int64, err error) {
	_, err = w.c.one(ctx, func(r row) { seq = r.int(0) }, sqlCounted)
	return seq, err
}

// Refresh implements store.Rollups.
func (db *DB) Refresh(ctx context.Context, limit int) (store.Refreshed, error) {
	db.folding.Lock()
	defer db.folding.Unlock()
	return db.refresh(ctx, limit)
}

func (db *DB) refresh(ctx context.Context, limit int) (store.Refreshed, error) {
	var done store.Refreshed
	err := db.write(ctx, func(w *writer) (err error) {
		done, err = w.refresh(ctx, min(limit, foldEvents))
		return err
	})
	if err != nil {
		return store.Refreshed{}, fmt.Errorf("refresh sums: %w", err)
	}
	return done, nil
}

func (w *writer) refresh(ctx context.Context, limit int) (store.Refreshed, error) {
	var done store.Refreshed
	if limit <= 0 {
		return done, nil
	}
	s := store.NewSums()
	counted, err := w.counted(ctx)
	if err != nil {
		return done, err
	}
	if err := w.c.query(ctx, func(r row) bool {
		counted = r.int(0)
		s.Event(r.int(1), r.int(2), r.blob(3))
		return true
	}, sqlFoldEvents, counted, w.nextSeq, int64(limit)); err != nil {
		return done, err
	}
	done.Events = int(s.Events)
	done.More = done.Events == limit

	var last int64
	relaysOf := make(map[int64][]int64)
	if err := w.c.query(ctx, func(r row) bool {
		if done.Sightings >= foldSightings {
			done.More = true
			return false
		}
		last = r.int(0)
		for seq := range steps(r.blob(2)) {
			relaysOf[seq] = append(relaysOf[seq], r.int(1))
			done.Sightings++
		}
		return true
	}, sqlSightingLog); err != nil {
		return done, err
	}
	// An event that is gone since is not found, and not counted.
	if err := inChunks(nil, slices.Sorted(maps.Keys(relaysOf)), func(args []any, seq int64) []any { return append(args, seq) }, func(args []any) error {
		return w.c.query(ctx, func(r row) bool {
			for _, relay := range relaysOf[r.int(0)] {
				s.Sighting(relay, r.int(1), r.int(2), 1)
			}
			return true
		}, sqlFoldSightings, args...)
	}); err != nil {
		return done, err
	}
	if err := w.add(s, 1); err != nil {
		return done, err
	}
	if _, err := w.c.exec(sqlDeleteLog, last); err != nil {
		return done, err
	}
	if _, err := w.c.exec(sqlSetCounted, counted); err != nil {
		return done, err
	}
	return done, ctx.Err()
}

const (
	sqlAddTotal      = `UPDATE rollup_total SET n = n + ? WHERE name = ?`
	sqlTotalAuthors  = `SELECT authors FROM rollup_total WHERE name = 'events'`
	sqlSetAuthors    = `UPDATE rollup_total SET authors = ? WHERE name = 'events'`
	sqlDayAuthors    = `SELECT authors FROM rollup_day WHERE day = ?`
	sqlAddDay        = `INSERT INTO rollup_day (day, n, authors) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n, authors = excluded.authors`
	sqlDropDay       = `DELETE FROM rollup_day WHERE day = ? AND n = 0`
	sqlKindAuthors   = `SELECT authors FROM rollup_kind WHERE kind = ?`
	sqlAddKind       = `INSERT INTO rollup_kind (kind, n, authors) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n, authors = excluded.authors`
	sqlDropKind      = `DELETE FROM rollup_kind WHERE kind = ? AND n = 0`
	sqlAddDayKind    = `INSERT INTO rollup_day_kind (day, kind, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n`
	sqlDropDayKind   = `DELETE FROM rollup_day_kind WHERE day = ? AND kind = ? AND n = 0`
	sqlAddRelaySum   = `INSERT INTO rollup_relay (relay_id, n) VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n`
	sqlDropRelaySum  = `DELETE FROM rollup_relay WHERE relay_id = ? AND n = 0`
	sqlAddRelayKind  = `INSERT INTO rollup_relay_kind (relay_id, kind, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n`
	sqlDropRelayKind = `DELETE FROM rollup_relay_kind WHERE relay_id = ? AND kind = ? AND n = 0`
	sqlAddRelayDay   = `INSERT INTO rollup_relay_day (relay_id, day, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n`
	sqlDropRelayDay  = `DELETE FROM rollup_relay_day WHERE relay_id = ? AND day = ? AND n = 0`
)

// add adds the sums to the rollups, or with sign -1 takes them off. Authors are
// only ever added: a sketch cannot forget, the next recount does.
func (w *writer) add(s *store.Sums, sign int64) error {
	if s.Events != 0 {
		if err := w.addAuthors(sqlTotalAuthors, nil, &s.Authors, func(authors []byte) error {
			_, err := w.c.exec(sqlSetAuthors, authors)
			return err
		}); err != nil {
			return err
		}
	}
	for name, n := range map[string]int64{"events": s.Events, "sightings": s.Sightings} {
		if _, err := w.c.exec(sqlAddTotal, sign*n, name); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		sums                map[int64]*store.Sum
		authors, add, strip string
	}{
		{s.Days, sqlDayAuthors, sqlAddDay, sqlDropDay},
		{s.Kinds, sqlKindAuthors, sqlAddKind, sqlDropKind},
	} {
		for _, key := range slices.Sorted(maps.Keys(t.sums)) {
			one := t.sums[key]
			if err := w.addAuthors(t.authors, []any{key}, &one.Authors, func(authors []byte) error {
				_, err := w.c.exec(t.add, key, sign*one.N, authors)
				return err
			}); err != nil {
				return err
			}
			if sign < 0 {
				if _, err := w.c.exec(t.strip, key); err != nil {
					return err
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Relays)) {
		if err := w.addNumber(sqlAddRelaySum, sqlDropRelaySum, sign*s.Relays[key], key); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		sums       map[[2]int64]int64
		add, strip string
	}{
		{s.DayKinds, sqlAddDayKind, sqlDropDayKind},
		{s.RelayKinds, sqlAddRelayKind, sqlDropRelayKind},
		{s.RelayDays, sqlAddRelayDay, sqlDropRelayDay},
	} {
		for _, key := range slices.SortedFunc(maps.Keys(t.sums), func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) }) {
			if err := w.addNumber(t.add, t.strip, sign*t.sums[key], key[0], key[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// addNumber adds to the number of a row and drops the row when none is left.
func (w *writer) addNumber(add, strip string, n int64, key ...any) error {
	if _, err := w.c.exec(add, append(key, n)...); err != nil || n > 0 {
		return err
	}
	_, err := w.c.exec(strip, key...)
	return err
}

// addAuthors merges authors with those of a row and hands on the result.
func (w *writer) addAuthors(read string, key []any, authors *store.Distinct, write func([]byte) error) error {
	var before *store.Distinct
	var bad error
	found, err := w.c.first(func(r row) { before, bad = store.ParseDistinct(r.blob(0)) }, read, key...)
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	if found {
		before.Merge(authors)
		authors = before
	}
	return write(authors.AppendTo([]byte{}))
}

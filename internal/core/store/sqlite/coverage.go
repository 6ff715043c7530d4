package sqlite

import (
	"context"
	"fmt"
	"math"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	sqlFilterID  = `SELECT id FROM filter WHERE json = ?`
	sqlAddFilter = `INSERT INTO filter (json) VALUES (?) ON CONFLICT DO NOTHING`
)

// FilterID implements store.Coverages. Filters are the same when they ask for
// the same events: the order and number of repetitions in their lists, and the
// limit, do not matter.
func (db *DB) FilterID(ctx context.Context, filter nostr.Filter) (store.FilterID, error) {
	text := store.FilterText(filter)
	var id int64
	err := db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { id = r.int(0) }, sqlFilterID, text)
		return err
	})
	if err == nil && id == 0 {
		err = db.write(ctx, func(w *writer) error {
			if _, err := w.c.exec(sqlAddFilter, text); err != nil {
				return err
			}
			_, err := w.c.one(ctx, func(r row) { id = r.int(0) }, sqlFilterID, text)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("number the filter: %w", err)
	}
	return store.FilterID(id), nil
}

const sqlFilter = `SELECT json FROM filter WHERE id = ?`

// Filter implements store.RelayReader.
func (db *DB) Filter(ctx context.Context, id store.FilterID) (nostr.Filter, error) {
	var text string
	err := db.read(ctx, func(c *conn) error {
		found, err := c.one(ctx, func(r row) { text = r.text(0) }, sqlFilter, int64(id))
		if err == nil && !found {
			err = store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nostr.Filter{}, fmt.Errorf("read filter %d: %w", id, err)
	}
	filter, err := nostr.ParseFilter([]byte(text))
	if err != nil {
		return nostr.Filter{}, fmt.Errorf("read filter %d: %w", id, err)
	}
	return filter, nil
}

// coverageColumns is what scanCoverage reads.
const coverageColumns = `relay_id, filter_id, lo, hi, level, as_of, method, n, tail_since`

const (
	sqlCoverage = `SELECT ` + coverageColumns + ` FROM coverage
		WHERE relay_id = ? AND filter_id = ? ORDER BY lo`
	sqlHoles = `SELECT relay_id, filter_id, lo, hi, kind, reason, n, seen_at, next_try FROM hole
		WHERE relay_id = ? AND filter_id = ? ORDER BY lo, hi, kind`
)

func scanCoverage(r row) store.Coverage {
	return store.Coverage{
		Relay: store.RelayID(r.int(0)), Filter: store.FilterID(r.int(1)),
		Interval: store.Interval{Lo: r.int(2), Hi: r.int(3)},
		Level:    store.Level(r.int(4)), AsOf: r.int(5), Method: r.text(6), N: r.int(7), Tail: r.int(8),
	}
}

func scanHole(r row) store.Hole {
	return store.Hole{
		Relay: store.RelayID(r.int(0)), Filter: store.FilterID(r.int(1)),
		Interval: store.Interval{Lo: r.int(2), Hi: r.int(3)},
		Kind:     nostr.Kind(r.int(4)), Reason: store.HoleReason(r.text(5)), Count: r.int(6),
		SeenAt: r.int(7), NextTry: r.int(8),
	}
}

// Coverage implements store.Coverages.
func (db *DB) Coverage(ctx context.Context, relay store.RelayID, filter store.FilterID) ([]store.Coverage, error) {
	claims, err := list(ctx, db, scanCoverage, sqlCoverage, int64(relay), int64(filter))
	if err != nil {
		return nil, fmt.Errorf("read coverage: %w", err)
	}
	return claims, nil
}

// Holes implements store.Coverages.
func (db *DB) Holes(ctx context.Context, relay store.RelayID, filter store.FilterID) ([]store.Hole, error) {
	holes, err := list(ctx, db, scanHole, sqlHoles, int64(relay), int64(filter))
	if err != nil {
		return nil, fmt.Errorf("read holes: %w", err)
	}
	return holes, nil
}

// list reads all rows of a query.
func list[T any](ctx context.Context, db *DB, scan func(row) T, sql string, args ...any) ([]T, error) {
	var rows []T
	err := db.read(ctx, func(c *conn) error {
		return c.query(ctx, func(r row) bool {
			rows = append(rows, scan(r))
			return true
		}, sql, args...)
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

const (
	sqlTouching = `SELECT ` + coverageColumns + ` FROM coverage
		WHERE relay_id = ? AND filter_id = ? AND lo <= ? ORDER BY lo DESC`
	sqlDeleteCoverage = `DELETE FROM coverage WHERE relay_id = ? AND filter_id = ? AND lo = ?`
	sqlAddCoverage    = `INSERT INTO coverage (` + coverageColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// claims merges what a batch proves into the map.
func (s *saving) claims() error {
	for _, claim := range s.batch.Claims {
		if claim.Lo > claim.Hi {
			continue
		}
		// The claims that overlap or touch this one; no other can change.
		var old []store.Coverage
		after := claim.Hi
		if after < math.MaxInt64 {
			after++
		}
		if err := s.c.each(func(r row) bool {
			c := scanCoverage(r)
			if c.Hi < claim.Lo && c.Hi+1 < claim.Lo {
				return false
			}
			old = append(old, c)
			return true
		}, sqlTouching, int64(claim.Relay), int64(claim.Filter), after); err != nil {
			return err
		}
		slices.Reverse(old)
		merged := store.MergeCoverage(old, claim)
		if slices.Equal(old, merged) {
			continue
		}
		for _, c := range old {
			if _, err := s.c.exec(sqlDeleteCoverage, int64(c.Relay), int64(c.Filter), c.Lo); err != nil {
				return err
			}
		}
		for _, c := range merged {
			if _, err := s.c.exec(sqlAddCoverage, int64(claim.Relay), int64(claim.Filter), c.Lo, c.Hi, int64(c.Level), c.AsOf, c.Method, c.N, c.Tail); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	sqlHeal    = `DELETE FROM hole WHERE relay_id = ? AND filter_id = ? AND lo >= ? AND hi <= ?`
	sqlAddHole = `INSERT INTO hole (relay_id, filter_id, lo, hi, kind, reason, n, seen_at, next_try) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET reason = excluded.reason, n = excluded.n, seen_at = excluded.seen_at, next_try = excluded.next_try`
)

// holes closes what the batch healed, then opens what it found: a hole found in
// a healed place is newer.
func (s *saving) holes() error {
	for _, i := range s.batch.Healed {
		if _, err := s.c.exec(sqlHeal, int64(s.batch.Relay), int64(s.batch.Filter), i.Lo, i.Hi); err != nil {
			return err
		}
	}
	for _, h := range s.batch.Holes {
		if _, err := s.c.exec(sqlAddHole, int64(h.Relay), int64(h.Filter), h.Lo, h.Hi, int64(h.Kind), string(h.Reason), h.Count, h.SeenAt, h.NextTry); err != nil {
			return err
		}
	}
	return nil
}

const (
	sqlCalibration = `SELECT at, max_limit, largest_page, page_order, post_filtering, exclusive_until, ignores_until, counts, open_refused,
			no_negentropy, negentropy_cause, negentropy_most, author_list, auth, overlap, visit_every
		FROM calibration WHERE relay_id = ?`
	sqlSaveCalibration = `INSERT OR REPLACE INTO calibration
		(relay_id, at, max_limit, largest_page, page_order, post_filtering, exclusive_until, ignores_until, counts, open_refused,
		no_negentropy, negentropy_cause, negentropy_most, author_list, auth, overlap, visit_every)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
)

// Calibration implements store.Coverages.
func (db *DB) Calibration(ctx context.Context, relay store.RelayID) (store.Calibration, error) {
	c := store.Calibration{Relay: relay}
	err := db.read(ctx, func(conn *conn) error {
		_, err := conn.one(ctx, func(r row) {
			c = store.Calibration{
				Relay: relay, At: r.int(0), Limit: int(r.int(1)), LargestPage: int(r.int(2)), Order: store.PageOrder(r.text(3)),
				PostFiltering: r.bool(4), ExclusiveUntil: r.bool(5), IgnoresUntil: r.bool(6), Counts: r.bool(7), OpenRefused: r.bool(8),
				NoNegentropy: r.int(9), NegentropyCause: r.text(10), NegentropyMost: r.int(11),
				AuthorList: int(r.int(12)), Auth: store.AuthResult(r.text(13)), Overlap: r.int(14), Every: r.int(15),
			}
		}, sqlCalibration, int64(relay))
		return err
	})
	if err != nil {
		return store.Calibration{}, fmt.Errorf("read calibration: %w", err)
	}
	return c, nil
}

// SaveCalibration implements store.Coverages.
func (db *DB) SaveCalibration(ctx context.Context, c store.Calibration) error {
	err := db.write(ctx, func(w *writer) error {
		_, err := w.c.exec(sqlSaveCalibration, int64(c.Relay), c.At, int64(c.Limit), int64(c.LargestPage), string(c.Order),
			integer(c.PostFiltering), integer(c.ExclusiveUntil), integer(c.IgnoresUntil), integer(c.Counts), integer(c.OpenRefused),
			c.NoNegentropy, c.NegentropyCause, c.NegentropyMost, int64(c.AuthorList), string(c.Auth), c.Overlap, c.Every)
		return err
	})
	if err != nil {
		return fmt.Errorf("save calibration: %w", err)
	}
	return nil
}

package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	sqlFilterID  = `SELECT id FROM filter WHERE hash = $1`
	sqlAddFilter = `INSERT INTO filter (hash, json) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING`
)

// findFilter is the number of a filter by its text, 0 while it has none.
func findFilter(ctx context.Context, q querier, text string) (id int32, err error) {
	hash := sha256.Sum256([]byte(text))
	err = q.QueryRow(ctx, sqlFilterID, hash[:]).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// openFilter is the number of the filter of all events, 0 while it has none.
func openFilter(ctx context.Context, q querier) (int32, error) {
	return findFilter(ctx, q, store.FilterText(nostr.Filter{}))
}

// FilterID implements store.Coverages.
func (db *DB) FilterID(ctx context.Context, filter nostr.Filter) (store.FilterID, error) {
	text := store.FilterText(filter)
	hash := sha256.Sum256([]byte(text))
	var id int32
	find := func(q querier) (err error) {
		id, err = findFilter(ctx, q, text)
		return err
	}
	err := db.read(ctx, find)
	if err == nil && id == 0 {
		err = db.write(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, sqlAddFilter, hash[:], text); err != nil {
				return err
			}
			return find(tx)
		})
	}
	if err != nil {
		return 0, fmt.Errorf("number the filter: %w", err)
	}
	return store.FilterID(id), nil
}

const sqlFilter = `SELECT json FROM filter WHERE id = $1`

// Filter implements store.RelayReader.
func (db *DB) Filter(ctx context.Context, id store.FilterID) (nostr.Filter, error) {
	var text string
	err := db.read(ctx, func(q querier) error {
		err := q.QueryRow(ctx, sqlFilter, int32(id)).Scan(&text)
		if errors.Is(err, pgx.ErrNoRows) {
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

// coverageColumns is what readCoverage reads, holeColumns what readHoles does.
const (
	coverageColumns = `relay_id, filter_id, lo, hi, level, as_of, method, n, tail_since`
	holeColumns     = `relay_id, filter_id, lo, hi, kind, reason, n, seen_at, next_try`
)

func readCoverage(ctx context.Context, q querier, sql string, args ...any) ([]store.Coverage, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return scanCoverage(rows)
}

func scanCoverage(rows pgx.Rows) ([]store.Coverage, error) {
	var list []store.Coverage
	var c store.Coverage
	_, err := pgx.ForEachRow(rows, []any{&c.Relay, &c.Filter, &c.Lo, &c.Hi, &c.Level, &c.AsOf, &c.Method, &c.N, &c.Tail}, func() error {
		list = append(list, c)
		return nil
	})
	return list, err
}

func readHoles(ctx context.Context, q querier, sql string, args ...any) ([]store.Hole, error) {
	var list []store.Hole
	err := each(ctx, q, func(rows pgx.Rows) error {
		var h store.Hole
		err := rows.Scan(&h.Relay, &h.Filter, &h.Lo, &h.Hi, &h.Kind, &h.Reason, &h.Count, &h.SeenAt, &h.NextTry)
		list = append(list, h)
		return err
	}, sql, args...)
	return list, err
}

const (
	sqlCoverage = `SELECT ` + coverageColumns + ` FROM coverage WHERE relay_id = $1 AND filter_id = $2 ORDER BY lo`
	sqlHoles    = `SELECT ` + holeColumns + ` FROM hole WHERE relay_id = $1 AND filter_id = $2 ORDER BY lo, hi, kind`
)

// Coverage implements store.Coverages.
func (db *DB) Coverage(ctx context.Context, relay store.RelayID, filter store.FilterID) (claims []store.Coverage, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		claims, err = readCoverage(ctx, q, sqlCoverage, int32(relay), int32(filter))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read coverage: %w", err)
	}
	return claims, nil
}

// Holes implements store.Coverages.
func (db *DB) Holes(ctx context.Context, relay store.RelayID, filter store.FilterID) (holes []store.Hole, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		holes, err = readHoles(ctx, q, sqlHoles, int32(relay), int32(filter))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read holes: %w", err)
	}
	return holes, nil
}

const (
	sqlCalibration = `SELECT at, max_limit, largest_page, page_order, post_filtering, exclusive_until, ignores_until, counts, open_refused,
			no_negentropy, negentropy_cause, negentropy_most, author_list, auth, overlap, visit_every
		FROM calibration WHERE relay_id = $1`
	sqlSaveCalibration = `INSERT INTO calibration
		(relay_id, at, max_limit, largest_page, page_order, post_filtering, exclusive_until, ignores_until, counts, open_refused,
		no_negentropy, negentropy_cause, negentropy_most, author_list, auth, overlap, visit_every)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
		ON CONFLICT (relay_id) DO UPDATE SET at = excluded.at, max_limit = excluded.max_limit, largest_page = excluded.largest_page,
			page_order = excluded.page_order, post_filtering = excluded.post_filtering, exclusive_until = excluded.exclusive_until,
			ignores_until = excluded.ignores_until, counts = excluded.counts, open_refused = excluded.open_refused,
			no_negentropy = excluded.no_negentropy, negentropy_cause = excluded.negentropy_cause, negentropy_most = excluded.negentropy_most,
			author_list = excluded.author_list, auth = excluded.auth,
			overlap = excluded.overlap, visit_every = excluded.visit_every`
)

// Calibration implements store.Coverages.
func (db *DB) Calibration(ctx context.Context, relay store.RelayID) (store.Calibration, error) {
	c := store.Calibration{Relay: relay}
	err := db.read(ctx, func(q querier) error {
		err := q.QueryRow(ctx, sqlCalibration, int32(relay)).Scan(&c.At, &c.Limit, &c.LargestPage, &c.Order, &c.PostFiltering,
			&c.ExclusiveUntil, &c.IgnoresUntil, &c.Counts, &c.OpenRefused, &c.NoNegentropy, &c.NegentropyCause, &c.NegentropyMost, &c.AuthorList, &c.Auth, &c.Overlap, &c.Every)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return store.Calibration{}, fmt.Errorf("read calibration: %w", err)
	}
	return c, nil
}

// SaveCalibration implements store.Coverages.
func (db *DB) SaveCalibration(ctx context.Context, c store.Calibration) error {
	err := db.write(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sqlSaveCalibration, int32(c.Relay), c.At, int32(c.Limit), int32(c.LargestPage), string(c.Order),
			c.PostFiltering, c.ExclusiveUntil, c.IgnoresUntil, c.Counts, c.OpenRefused, c.NoNegentropy, c.NegentropyCause, c.NegentropyMost, int32(c.AuthorList), string(c.Auth), c.Overlap, c.Every)
		return err
	})
	if err != nil {
		return fmt.Errorf("save calibration: %w", err)
	}
	return nil
}

package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

const (
	sqlPaces    = `SELECT target, spacing, parallel, complaints, at, until, day, bytes FROM pace WHERE target = ANY ($1)`
	sqlSavePace = `INSERT INTO pace (target, spacing, parallel, complaints, at, until, day, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (target) DO UPDATE SET spacing = excluded.spacing, parallel = excluded.parallel, complaints = excluded.complaints,
			at = excluded.at, until = greatest(pace.until, excluded.until), day = excluded.day, bytes = excluded.bytes`
)

// Paces implements store.Paces.
func (db *DB) Paces(ctx context.Context, targets []string) ([]store.Pace, error) {
	paces := make([]store.Pace, len(targets))
	err := db.read(ctx, func(q querier) error {
		for i, target := range targets {
			paces[i] = store.Pace{Target: target}
		}
		return each(ctx, q, func(rows pgx.Rows) error {
			var p store.Pace
			err := rows.Scan(&p.Target, &p.Spacing, &p.Parallel, &p.Complaints, &p.At, &p.Until, &p.Day, &p.Bytes)
			for i := range paces {
				if paces[i].Target == p.Target {
					paces[i] = p
				}
			}
			return err
		}, sqlPaces, targets)
	})
	if err != nil {
		return nil, fmt.Errorf("read paces: %w", err)
	}
	return paces, nil
}

// SavePaces implements store.Paces.
func (db *DB) SavePaces(ctx context.Context, paces []store.Pace) error {
	// In one order, so that two who save the same do not wait for each other in a
	// circle; a stable one, so that the last of a target stays the last.
	paces = slices.Clone(paces)
	slices.SortStableFunc(paces, func(a, b store.Pace) int { return strings.Compare(a.Target, b.Target) })
	err := db.write(ctx, func(tx pgx.Tx) error {
		var b pgx.Batch
		for _, p := range paces {
			b.Queue(sqlSavePace, p.Target, p.Spacing, p.Parallel, p.Complaints, p.At, p.Until, p.Day, p.Bytes)
		}
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("save paces: %w", err)
	}
	return nil
}

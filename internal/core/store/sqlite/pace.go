package sqlite

import (
	"context"
	"fmt"

	"bigbrotr/internal/core/store"
)

const (
	sqlPace     = `SELECT spacing, parallel, complaints, at, until, day, bytes FROM pace WHERE target = ?`
	sqlSavePace = `INSERT INTO pace (target, spacing, parallel, complaints, at, until, day, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (target) DO UPDATE SET spacing = excluded.spacing, parallel = excluded.parallel, complaints = excluded.complaints,
			at = excluded.at, until = max(pace.until, excluded.until), day = excluded.day, bytes = excluded.bytes`
)

// Paces implements store.Paces.
func (db *DB) Paces(ctx context.Context, targets []string) ([]store.Pace, error) {
	paces := make([]store.Pace, len(targets))
	err := db.read(ctx, func(c *conn) error {
		for i, target := range targets {
			paces[i] = store.Pace{Target: target}
			if _, err := c.one(ctx, func(r row) {
				paces[i] = store.Pace{
					Target: target, Spacing: r.int(0), Parallel: int(r.int(1)), Complaints: int(r.int(2)),
					At: r.int(3), Until: r.int(4), Day: r.int(5), Bytes: r.int(6),
				}
			}, sqlPace, target); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read paces: %w", err)
	}
	return paces, nil
}

// SavePaces implements store.Paces.
func (db *DB) SavePaces(ctx context.Context, paces []store.Pace) error {
	err := db.write(ctx, func(w *writer) error {
		for _, p := range paces {
			if _, err := w.c.exec(sqlSavePace, p.Target, p.Spacing, int64(p.Parallel), int64(p.Complaints), p.At, p.Until, p.Day, p.Bytes); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("save paces: %w", err)
	}
	return nil
}

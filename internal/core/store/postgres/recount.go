package postgres

import (
	"context"

	"bigbrotr/internal/core/store"
)

// Recount implements store.Rollups.
func (db *DB) Recount(ctx context.Context) ([]store.Difference, error) {
	return nil, ctx.Err()
}

package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

const (
	sqlAddCost = `INSERT INTO cost (relay_id, way, since, requests, bytes, received, fresh, known, last) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (relay_id, way) DO UPDATE SET requests = cost.requests + excluded.requests, bytes = cost.bytes + excluded.bytes,
			received = cost.received + excluded.received, fresh = cost.fresh + excluded.fresh, known = cost.known + excluded.known,
			last = excluded.last
		WHERE cost.last <> excluded.last`
	sqlCosts     = `SELECT relay_id, since, requests, bytes, received, fresh, known FROM cost WHERE relay_id = ANY ($1)`
	sqlCostTotal = `SELECT coalesce(min(since), 0), coalesce(sum(requests), 0)::bigint, coalesce(sum(bytes), 0)::bigint,
			coalesce(sum(received), 0)::bigint, coalesce(sum(fresh), 0)::bigint, coalesce(sum(known), 0)::bigint
		FROM cost`
)

// AddCost implements store.Costs.
func (db *DB) AddCost(ctx context.Context, relay store.RelayID, way store.Way, spent store.Spent) error {
	err := db.write(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sqlAddCost, costArgs(relay, way, spent)...)
		return err
	})
	if err != nil {
		return fmt.Errorf("add cost: %w", err)
	}
	return nil
}

func costArgs(relay store.RelayID, way store.Way, s store.Spent) []any {
	return []any{int32(relay), string(way), s.At, s.Requests, s.Bytes, s.Received, s.New, s.Known, s.ID}
}

// readCosts reads what relays have cost.
func readCosts[ID ~int32](ctx context.Context, q querier, relays []ID) (map[store.RelayID]store.CostSum, error) {
	sums := map[store.RelayID]store.CostSum{}
	err := each(ctx, q, func(rows pgx.Rows) error {
		var id store.RelayID
		var s store.CostSum
		err := rows.Scan(&id, &s.Since, &s.Requests, &s.Bytes, &s.Received, &s.New, &s.Known)
		sums[id] = sums[id].Plus(s)
		return err
	}, sqlCosts, relays)
	return sums, err
}

// Costs implements store.Costs.
func (db *DB) Costs(ctx context.Context, relays []store.RelayID) (sums map[store.RelayID]store.CostSum, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		sums, err = readCosts(ctx, q, relays)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read costs: %w", err)
	}
	return sums, nil
}

// CostTotal implements store.Costs.
func (db *DB) CostTotal(ctx context.Context) (sum store.CostSum, err error) {
	err = db.read(ctx, func(q querier) error {
		return q.QueryRow(ctx, sqlCostTotal).Scan(&sum.Since, &sum.Requests, &sum.Bytes, &sum.Received, &sum.New, &sum.Known)
	})
	if err != nil {
		return store.CostSum{}, fmt.Errorf("sum up costs: %w", err)
	}
	return sum, nil
}

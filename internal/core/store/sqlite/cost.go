package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"bigbrotr/internal/core/store"
)

const (
	sqlAddCost = `INSERT INTO cost (relay_id, way, since, requests, bytes, received, fresh, known, last) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (relay_id, way) DO UPDATE SET requests = cost.requests + excluded.requests, bytes = cost.bytes + excluded.bytes,
			received = cost.received + excluded.received, fresh = cost.fresh + excluded.fresh, known = cost.known + excluded.known,
			last = excluded.last
		WHERE cost.last <> excluded.last`
	sqlCosts = `SELECT relay_id, since, requests, bytes, received, fresh, known FROM cost
		WHERE relay_id IN (SELECT value FROM json_each(?))`
	sqlCostTotal = `SELECT 0, coalesce(min(since), 0), coalesce(sum(requests), 0), coalesce(sum(bytes), 0), coalesce(sum(received), 0),
			coalesce(sum(fresh), 0), coalesce(sum(known), 0)
		FROM cost`
)

// AddCost implements store.Costs.
func (db *DB) AddCost(ctx context.Context, relay store.RelayID, way store.Way, spent store.Spent) error {
	err := db.write(ctx, func(w *writer) error { return w.addCost(relay, way, spent) })
	if err != nil {
		return fmt.Errorf("add cost: %w", err)
	}
	return nil
}

func (w *writer) addCost(relay store.RelayID, way store.Way, s store.Spent) error {
	_, err := w.c.exec(sqlAddCost, int64(relay), string(way), s.At, s.Requests, s.Bytes, s.Received, s.New, s.Known, s.ID)
	return err
}

func scanCost(r row) store.CostSum {
	return store.CostSum{Since: r.int(1), Cost: store.Cost{
		Requests: r.int(2), Bytes: r.int(3), Received: r.int(4), New: r.int(5), Known: r.int(6),
	}}
}

// costs reads what relays have cost.
func (c *conn) costs(ctx context.Context, relays []store.RelayID) (map[store.RelayID]store.CostSum, error) {
	ids, err := json.Marshal(relays)
	if err != nil {
		return nil, err
	}
	sums := map[store.RelayID]store.CostSum{}
	err = c.query(ctx, func(r row) bool {
		id := store.RelayID(r.int(0))
		sums[id] = sums[id].Plus(scanCost(r))
		return true
	}, sqlCosts, string(ids))
	return sums, err
}

// Costs implements store.Costs.
func (db *DB) Costs(ctx context.Context, relays []store.RelayID) (sums map[store.RelayID]store.CostSum, err error) {
	err = db.read(ctx, func(c *conn) (err error) {
		sums, err = c.costs(ctx, relays)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read costs: %w", err)
	}
	return sums, nil
}

// CostTotal implements store.Costs.
func (db *DB) CostTotal(ctx context.Context) (sum store.CostSum, err error) {
	err = db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { sum = scanCost(r) }, sqlCostTotal)
		return err
	})
	if err != nil {
		return store.CostSum{}, fmt.Errorf("sum up costs: %w", err)
	}
	return sum, nil
}

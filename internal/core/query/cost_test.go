package query_test

import (
	"testing"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

// TestCost tells what reading relays has cost, also where it brought nothing.
func TestCost(t *testing.T) {
	for _, tt := range []struct {
		cost             store.Cost
		perNew, skipped  string
		bytes, duplicate float64
	}{
		{store.Cost{}, "no new events yet", "no events received yet", 0, 0},
		{store.Cost{Requests: 3, Bytes: 90}, "no new events yet", "no events received yet", 0, 0},
		{store.Cost{Requests: 3, Bytes: 9000, Received: 9, Known: 9}, "no new events yet", "100 % duplicates skipped", 0, 1},
		{store.Cost{Requests: 12, Bytes: 6000, Received: 50, New: 5, Known: 40}, "1.2 KiB and 2.4 requests per new event", "80.0 % duplicates skipped", 1200, 0.8},
		{store.Cost{Requests: 203, Bytes: 110 << 20, Received: 100_000, New: 99_000, Known: 500}, "1.1 KiB and 0.0021 requests per new event", "0.5 % duplicates skipped", 1165.084444, 0.005},
		{store.Cost{Requests: 1, Bytes: 500_000, Received: 2000, New: 2000}, "250 B and <0.001 requests per new event", "no duplicates", 250, 0},
		{store.Cost{Requests: 1, Bytes: 1 << 20, Received: 10_000, New: 9999, Known: 1}, "105 B and <0.001 requests per new event", "0.1 % duplicates skipped", 104.868086, 0.0001},
		{store.Cost{Requests: 400, Bytes: 1 << 50, Received: 1 << 40, New: 1, Known: 1<<40 - 1}, "1024.0 TiB and 400 requests per new event", "99.9 % duplicates skipped", 1 << 50, 1},
	} {
		c := query.NewCost(store.CostSum{Since: 7, Cost: tt.cost})
		if got := c.PerNew(); got != tt.perNew {
			t.Errorf("%+v: %q, want %q", tt.cost, got, tt.perNew)
		}
		if got := c.Skipped(); got != tt.skipped {
			t.Errorf("%+v: %q, want %q", tt.cost, got, tt.skipped)
		}
		if near := func(a, b float64) bool { return a-b < 1e-6 && b-a < 1e-6 }; !near(c.BytesPerNew, tt.bytes) || !near(c.Duplicates, tt.duplicate) {
			t.Errorf("%+v: %v bytes, %v duplicates, want %v and %v", tt.cost, c.BytesPerNew, c.Duplicates, tt.bytes, tt.duplicate)
		}
		if c.Since != 7 || c.Requests != tt.cost.Requests || c.Bytes != tt.cost.Bytes || c.New != tt.cost.New {
			t.Errorf("%+v became %+v", tt.cost, c)
		}
	}
}

package service

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// StoreTime bounds a call of the store by which a group of work is leased or
// saved.
const StoreTime = time.Minute

// overrun is how long work may go on when its context has ended: a last message
// to a peer that does not read, and the farewell.
const overrun = 30 * time.Second

// LeaseTime is for how long items must be leased, from before the call that
// leases them, to be done by Gather, each within a timeout, and saved. Both calls
// of the store are bounded by StoreTime.
func LeaseTime(items, parallel int, timeout time.Duration) time.Duration {
	rounds := (items + parallel - 1) / parallel
	return StoreTime + time.Duration(rounds)*(timeout+overrun) + StoreTime
}

// Gather does something with each item, at most parallel of them at once, and
// returns the results in the order in which they came. When a stop is asked for
// the context of do ends; what ends after that is left out, because it was cut
// short by us and says nothing about its item.
func Gather[T, R any](ctx context.Context, parallel int, items []T, do func(context.Context, T) R) []R {
	until, cancel := UntilStop(ctx)
	defer cancel()
	var (
		mu      sync.Mutex
		results []R
		work    errgroup.Group
	)
	work.SetLimit(parallel)
	for _, item := range items {
		work.Go(func() error {
			r := do(until, item)
			if until.Err() != nil {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			results = append(results, r)
			return nil
		})
	}
	_ = work.Wait() // none of them fails
	return results
}

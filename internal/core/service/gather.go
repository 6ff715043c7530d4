package service

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

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

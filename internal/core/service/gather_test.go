package service_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/service"
)

// TestLeaseTime checks that a lease lasts until the slowest items are done, and
// little longer.
func TestLeaseTime(t *testing.T) {
	for _, test := range []struct {
		items, parallel int
		timeout         time.Duration
		rounds          int
	}{
		{1, 1, time.Second, 1},
		{2, 50, time.Second, 1},
		{100, 50, 20 * time.Second, 2},
		{101, 50, 90 * time.Second, 3},
		{2, 1, 10 * time.Minute, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			service.Gather(t.Context(), test.parallel, make([]int, test.items), func(context.Context, int) int {
				<-time.After(test.timeout)
				return 0
			})
			took, lease := time.Since(begin), service.LeaseTime(test.items, test.parallel, test.timeout)
			if took != time.Duration(test.rounds)*test.timeout {
				t.Errorf("%d items, %d at once, take %s", test.items, test.parallel, took)
			}
			if left := lease - took - 2*service.StoreTime; left < 0 || left > time.Duration(test.rounds)*time.Minute {
				t.Errorf("%d items, %d at once, take %s; besides the calls of the store the lease is for %s more", test.items, test.parallel, took, left)
			}
		})
	}
}

// TestGather checks that every item is done, no more at once than allowed, and
// that what a stop cuts short is left out.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		items := []int{1, 2, 3, 4, 5, 6, 7}
		got := service.Gather(t.Context(), 3, items, func(_ context.Context, n int) int {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-time.After(time.Second)
			return 10 * n
		})
		slices.Sort(got)
		if want := []int{10, 20, 30, 40, 50, 60, 70}; !slices.Equal(got, want) {
			t.Errorf("results %v, want %v", got, want)
		}
		if most.Load() != 3 {
			t.Errorf("%d at once, want 3", most.Load())
		}

		ctx, stop := context.WithCancel(t.Context())
		got = service.Gather(ctx, 3, []int{1, 2, 3}, func(ctx context.Context, n int) int {
			if n == 2 {
				<-time.After(time.Second) // after item 1 has ended
				stop()
			}
			if n > 1 {
				<-ctx.Done()
			}
			return n
		})
		if !slices.Equal(got, []int{1}) {
			t.Errorf("results %v of a gathering that was stopped, want the first only", got)
		}
	})
}

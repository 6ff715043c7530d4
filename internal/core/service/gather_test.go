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

package query

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestKept checks when what is kept is read anew: each second while somebody
// asks, more seldom when it costs much, and not at all when nobody does.
func TestKept(t *testing.T) {
	for _, test := range []struct {
		name string
		cost time.Duration // of reading
		want int64         // reads within ten seconds
	}{{"cheap", 0, 11}, {"costly", 200 * time.Millisecond, 3}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				var reads atomic.Int64
				k := keep(func(context.Context) (int, error) {
					time.Sleep(test.cost)
					return int(reads.Add(1)), nil
				})
				go k.run(ctx)
				defer stop()
				// ask returns how long somebody waits.
				ask := func() time.Duration {
					begin := time.Now()
					if _, err := k.get(ctx); err != nil {
						t.Error(err)
					}
					return time.Since(begin)
				}
				if n := reads.Load(); n > 0 {
					t.Errorf("%d reads before anybody asked", n)
				}
				if waited := ask(); waited != test.cost || reads.Load() != 1 {
					t.Errorf("the first waits %v for %d reads", waited, reads.Load())
				}
				time.Sleep(10*time.Second + 100*time.Millisecond)
				if n := reads.Load(); n != test.want {
					t.Errorf("%d reads in ten seconds, want %d", n, test.want)
				}
				if waited := ask(); waited != 0 {
					t.Errorf("who asks later waits %v", waited)
				}
				time.Sleep(2 * keptIdle)
				before := reads.Load()
				time.Sleep(keptIdle)
				if n := reads.Load(); n != before {
					t.Errorf("%d reads while nobody asked", n-before)
				}
				if waited := ask(); waited != test.cost || reads.Load() != before+1 {
					t.Errorf("after a quiet time one waits %v for %d reads", waited, reads.Load()-before)
				}
			})
		})
	}
}

// TestKeptFails checks that a failure is told to who asks, and not kept.
func TestKeptFails(t *testing.T) {
	trouble := errors.New("the store is away")
	fails := true
	k := keep(func(context.Context) (int, error) {
		if fails {
			return 0, trouble
		}
		return 7, nil
	})
	if _, err := k.get(t.Context()); !errors.Is(err, trouble) {
		t.Errorf("the error is %v", err)
	}
	fails = false
	if n, err := k.get(t.Context()); n != 7 || err != nil {
		t.Errorf("after the trouble there is %d, %v", n, err)
	}
	k.reading <- struct{}{} // somebody reads it, and does not come to an end
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.younger(ended, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("who goes away while another reads is told %v", err)
	}
}

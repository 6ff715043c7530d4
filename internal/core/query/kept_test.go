package query

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestKept checks when what is kept is read anew: before anybody asks, each second
// while somebody does, more seldom when it costs much, and seldom when nobody does.
func TestKept(t *testing.T) {
	for _, test := range []struct {
		name string
		cost time.Duration // of reading
		busy int64         // reads within ten seconds
		idle [2]int64      // reads within ten minutes without a question, from and to
		age  time.Duration
		old  bool // whether who asks after that is told what was so when it was as old
	}{
		{"cheap", 0, 10, [2]int64{590, 600}, 700 * time.Millisecond, false},
		{"middling", 50 * time.Millisecond, 10, [2]int64{11, 13}, 9 * time.Second, false},
		{"costly", 200 * time.Millisecond, 2, [2]int64{9, 10}, 30 * time.Second, true},
		{"too costly for ten seconds", 2 * time.Second, 0, [2]int64{9, 10}, 50 * time.Second, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				var reads atomic.Int64
				k := keep(func(context.Context) (int64, error) {
					n := reads.Add(1)
					time.Sleep(test.cost)
					return n, nil
				})
				go k.run(ctx)
				defer stop()
				// ask returns what somebody is told, and how long he waits for it.
				ask := func() (int64, time.Duration) {
					begin := time.Now()
					n, err := k.get(ctx)
					if err != nil {
						t.Error(err)
					}
					return n, time.Since(begin)
				}
				time.Sleep(test.cost + time.Millisecond)
				if n, waited := ask(); n != 1 || waited != 0 {
					t.Errorf("the first is told %d and waits %v", n, waited)
				}
				time.Sleep(10*time.Second + 100*time.Millisecond)
				if n := reads.Load() - 1; n != test.busy {
					t.Errorf("%d reads in ten seconds, want %d", n, test.busy)
				}
				if _, waited := ask(); waited != 0 {
					t.Errorf("who asks later waits %v", waited)
				}
				time.Sleep(2 * keptIdle)
				before := reads.Load()
				time.Sleep(10 * time.Minute)
				if n := reads.Load() - before; n < test.idle[0] || n > test.idle[1] {
					t.Errorf("%d reads in ten minutes without a question", n)
				}
				for before = reads.Load(); reads.Load() == before; {
					time.Sleep(time.Millisecond)
				}
				before = reads.Load()
				time.Sleep(test.cost + test.age)
				want, longest := before+1, test.cost
				if test.old {
					want, longest = before, 0
				}
				if n, waited := ask(); n != want || waited > longest {
					t.Errorf("after a quiet time one is told %d, not %d, and waits %v", n, want, waited)
				}
				time.Sleep(test.cost + time.Millisecond)
				if n, waited := ask(); n != before+1 || waited != 0 {
					t.Errorf("the next is told %d, not %d, and waits %v", n, before+1, waited)
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

package dial

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// take acquires a lease or fails after a second.
func take(t *testing.T, b *budget, key string) *lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l, err := b.acquire(ctx, key)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("acquire: %v", err)
	}
	return l
}

func smallBudget() *budget {
	cfg := DefaultConfig()
	cfg.PerAddress, cfg.IdlePerAddress, cfg.PerMinute = 2, 1, 6_000
	return newBudget(cfg)
}

func TestBudgetPerHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := smallBudget()
		first, second := take(t, b, "a"), take(t, b, "a")
		if take(t, b, "a") != nil {
			t.Fatal("a third connection to one host")
		}
		other := take(t, b, "b")
		if other == nil {
			t.Fatal("no connection to another host")
		}
		// Whoever waits longest comes first.
		order := make(chan int, 2)
		for i := range 2 {
			go func() {
				l, err := b.acquire(t.Context(), "a")
				if err != nil {
					t.Error(err)
				}
				order <- i
				l.release()
			}()
			synctest.Wait()
		}
		first.release()
		first.release() // once is enough
		if got := []int{<-order, <-order}; got[0] != 0 || got[1] != 1 {
			t.Errorf("order %v", got)
		}
		second.release()
		other.release()
		if len(b.hosts) != 0 {
			t.Errorf("%d hosts remembered", len(b.hosts))
		}
	})
}

func TestBudgetRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := smallBudget()
		first, second := take(t, b, "a"), take(t, b, "a")
		for range 2 { // a second time changes nothing
			if !first.rest() {
				t.Fatal("no room to rest")
			}
		}
		if second.rest() {
			t.Error("more than one resting connection")
		}
		third := take(t, b, "a")
		if third == nil {
			t.Fatal("resting does not free an active place")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := first.wake(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wake without a place: %v", err)
		}
		woken := make(chan error)
		go func() { woken <- first.wake(t.Context()) }()
		synctest.Wait()
		third.release()
		if err := <-woken; err != nil {
			t.Errorf("wake: %v", err)
		}
		if take(t, b, "a") != nil {
			t.Error("waking does not take an active place")
		}
		// Closed while it waits to wake.
		if !first.rest() {
			t.Fatal("no room to rest")
		}
		fourth := take(t, b, "a")
		go func() { woken <- first.wake(t.Context()) }()
		synctest.Wait()
		first.release()
		fourth.release()
		if err := <-woken; err != nil {
			t.Errorf("wake: %v", err)
		}
		second.release()
		if first.rest() || len(b.hosts) != 0 {
			t.Errorf("%d hosts remembered", len(b.hosts))
		}
	})
}

func TestBudgetPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.PerMinute, cfg.PerAddress = 120, 1000
		b := newBudget(cfg)
		begin := time.Now()
		for range 120 {
			if _, err := b.acquire(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took < 58*time.Second || took > time.Minute {
			t.Errorf("120 connections in %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.acquire(ctx, "b"); err == nil {
			t.Error("one more at once")
		}
		if b.hosts["b"] != nil {
			t.Error("a failed acquire keeps its place")
		}
	})
}

func TestBudgetGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := smallBudget()
		first, second := take(t, b, "a"), take(t, b, "a")
		// Give up in the same moment as the place becomes free: it must not be lost.
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				if l, err := b.acquire(ctx, "a"); err == nil {
					l.release()
				}
			}()
			synctest.Wait()
			cancel()
			first.release()
			<-done
			if first = take(t, b, "a"); first == nil {
				t.Fatal("a place is lost")
			}
		}
		first.release()
		second.release()
		if len(b.hosts) != 0 {
			t.Errorf("%d hosts remembered", len(b.hosts))
		}
	})
}

func TestHostKey(t *testing.T) {
	tests := []struct{ a, b string }{
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9"},
	}
	for _, tt := range tests {
		if a, b := hostKey(netip.MustParseAddr(tt.a)), hostKey(netip.MustParseAddr(tt.b)); a != b {
			t.Errorf("%s and %s differ: %s, %s", tt.a, tt.b, a, b)
		}
	}
	if hostKey(netip.MustParseAddr("2001:db8:1:2::1")) == hostKey(netip.MustParseAddr("2001:db8:1:3::1")) {
		t.Error("two networks are one host")
	}
	if hostKey(netip.MustParseAddr("192.0.2.1")) == hostKey(netip.MustParseAddr("192.0.2.2")) {
		t.Error("two addresses are one host")
	}
}

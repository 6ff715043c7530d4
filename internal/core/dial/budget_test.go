package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/relay"
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
	return newBudget(cfg, nil)
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
		synctest.Wait() // until those that waited have released too
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
		b := newBudget(cfg, nil)
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
		if a, b := Host(netip.MustParseAddr(tt.a)), Host(netip.MustParseAddr(tt.b)); a != b {
			t.Errorf("%s and %s differ: %s, %s", tt.a, tt.b, a, b)
		}
	}
	if Host(netip.MustParseAddr("2001:db8:1:2::1")) == Host(netip.MustParseAddr("2001:db8:1:3::1")) {
		t.Error("two networks are one host")
	}
	if Host(netip.MustParseAddr("192.0.2.1")) == Host(netip.MustParseAddr("192.0.2.2")) {
		t.Error("two addresses are one host")
	}
}

// shared are slots that another process might take, too. It fails while away.
type shared struct {
	mu    sync.Mutex
	taken map[string]int
	asked []int // the limits per minute, in the order asked
	away  error
}

func (s *shared) Take(ctx context.Context, host string, limit, perMinute int) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, perMinute)
	if s.away != nil {
		return nil, s.away
	}
	if s.taken[host] == limit {
		s.mu.Unlock()
		<-ctx.Done()
		s.mu.Lock()
		return nil, ctx.Err()
	}
	s.taken[host]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken[host]--
	}, nil
}

// TestBudgetShared follows the slots of a connection through its life.
func TestBudgetShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shared{taken: map[string]int{}}
		cfg := DefaultConfig()
		cfg.PerAddress, cfg.IdlePerAddress = 2, 1
		b := newBudget(cfg, s)
		check := func(when string, want int) {
			t.Helper()
			if s.taken["a"] != want {
				t.Errorf("%s: %d slots, want %d", when, s.taken["a"], want)
			}
		}
		first, second := take(t, b, "a"), take(t, b, "a")
		check("two at work", 2)
		if !first.rest() || second.rest() {
			t.Fatal("one, and only one, may rest")
		}
		check("one rests", 1)
		s.taken["a"]++ // another process
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := first.wake(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("wake without a slot: %v", err)
		}
		if take(t, b, "a") != nil {
			t.Error("one at work too many")
		}
		s.taken["a"]--
		if err := first.wake(t.Context()); err != nil {
			t.Errorf("wake: %v", err)
		}
		check("both at work again", 2)

		// Closed while it waits for the other processes.
		if !first.rest() {
			t.Fatal("no room to rest")
		}
		s.away = errors.New("away")
		if err := first.wake(t.Context()); !errors.Is(err, s.away) {
			t.Errorf("wake when nobody can be asked: %v", err)
		}
		if l, err := b.acquire(t.Context(), "b"); !errors.Is(err, s.away) {
			t.Errorf("acquire when nobody can be asked: %v, %v", l, err)
		}
		s.away = nil
		first.release()
		check("a resting one ended", 1)
		second.release()
		second.release()
		check("all ended", 0)
		if len(b.hosts) != 0 {
			t.Errorf("%d hosts remembered", len(b.hosts))
		}
		want := []int{600, 600, 0, 600, 0, 0, 600} // only what opens a connection counts
		if d := cmp.Diff(want, s.asked); d != "" {
			t.Errorf("per minute (-want +got):\n%s", d)
		}
	})
}

// TestShare checks what a dialer makes of slots that cannot be had.
func TestShare(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AllowLocal = true
	cfg.Tor = "127.0.0.1:9050"
	s := &shared{taken: map[string]int{}}
	d := New(cfg).Over(func(context.Context, string, string) (net.Conn, error) { return piped(), nil }).Share(s)
	u := parse(t, "ws://127.0.0.1:7777")
	c, err := d.Dial(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if s.taken["127.0.0.1"] != 1 || !c.Rest() {
		t.Errorf("slots %v", s.taken)
	}
	s.away = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} // of the database
	onion := parse(t, "ws://2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion")
	for _, u := range []relay.URL{u, onion} {
		_, err = d.Dial(t.Context(), u)
		if cause := CauseOf(err); cause != CauseBusy {
			t.Errorf("dial %s: cause %q: %v", u, cause, err)
		}
	}
	if cause := CauseOf(c.Wake(t.Context())); cause != CauseBusy {
		t.Errorf("wake: cause %q", cause)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, u); CauseOf(err) != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("dial after our own cancellation: %v", err)
	}
	c.Close()
	if s.taken["127.0.0.1"] != 0 || len(d.budget.hosts) != 0 {
		t.Errorf("left: %v, %v", s.taken, d.budget.hosts)
	}
}

package dial

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// budget is the politeness of one process: how many connections one host
// carries at once, and how many are opened in a minute over all hosts. A host
// is an IPv4 address, an IPv6 /64 (the smallest network a customer gets), or
// an overlay name.
type budget struct {
	active, idle int
	opens        *rate.Limiter

	mu    sync.Mutex
	hosts map[string]*host
}

// host counts the connections of one host. It exists while it has any.
type host struct {
	active, idle int
	waiting      []chan struct{} // a closed channel means: the slot is yours
}

func newBudget(cfg Config) *budget {
	perSecond := rate.Limit(float64(cfg.PerMinute) / 60)
	// A burst of a second keeps the minute's limit honest and lets a single
	// command start without a wait.
	return &budget{
		active: cfg.PerAddress,
		idle:   cfg.IdlePerAddress,
		opens:  rate.NewLimiter(perSecond, max(1, cfg.PerMinute/60)),
		hosts:  map[string]*host{},
	}
}

func hostKey(addr netip.Addr) string {
	if addr.Is6() && !addr.Is4In6() {
		p, _ := addr.WithZone("").Prefix(64)
		return p.String()
	}
	return addr.Unmap().String()
}

// acquire waits for an active slot of key and for the right to open a
// connection. It fails only with the context.
func (b *budget) acquire(ctx context.Context, key string) (*lease, error) {
	if err := b.enter(ctx, key); err != nil {
		return nil, err
	}
	if err := b.opens.Wait(ctx); err != nil {
		b.leave(key, false)
		return nil, err
	}
	return &lease{budget: b, key: key}, nil
}

func (b *budget) enter(ctx context.Context, key string) error {
	b.mu.Lock()
	h := b.hosts[key]
	if h == nil {
		h = &host{}
		b.hosts[key] = h
	}
	if h.active < b.active {
		h.active++
		b.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	h.waiting = append(h.waiting, turn)
	b.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, w := range h.waiting {
		if w == turn {
			h.waiting = append(h.waiting[:i], h.waiting[i+1:]...)
			return ctx.Err()
		}
	}
	// The turn came in the same moment: pass it on.
	b.pass(key, h)
	return ctx.Err()
}

// leave gives a slot back.
func (b *budget) leave(key string, idle bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[key]
	if idle {
		h.idle--
		b.forget(key, h)
		return
	}
	b.pass(key, h)
}

// pass gives an active slot to whoever waits longest.
func (b *budget) pass(key string, h *host) {
	if len(h.waiting) > 0 {
		close(h.waiting[0])
		h.waiting = h.waiting[1:]
		return
	}
	h.active--
	b.forget(key, h)
}

func (b *budget) forget(key string, h *host) {
	if h.active == 0 && h.idle == 0 {
		delete(b.hosts, key)
	}
}

// lease is the right to hold one connection. It starts active.
type lease struct {
	budget *budget
	key    string

	mu       sync.Mutex
	idle     bool
	returned bool
}

// rest makes the lease idle and frees its active slot. It reports false, and
// the lease stays active, when the host has too many idle connections.
func (l *lease) rest() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.returned {
		return false
	}
	if l.idle {
		return true
	}
	b := l.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[l.key]
	if h.idle >= b.idle {
		return false
	}
	h.idle++
	l.idle = true
	b.pass(l.key, h)
	return true
}

// wake waits for an active slot and leaves the idle ones.
func (l *lease) wake(ctx context.Context) error {
	l.mu.Lock()
	idle := l.idle && !l.returned
	l.mu.Unlock()
	if !idle {
		return nil
	}
	// Without the lock, so that a connection can be closed while it waits.
	if err := l.budget.enter(ctx, l.key); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.returned || !l.idle {
		l.budget.leave(l.key, false)
		return nil
	}
	l.idle = false
	l.budget.leave(l.key, true)
	return nil
}

// release gives the lease back, once.
func (l *lease) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.returned {
		return
	}
	l.returned = true
	l.budget.leave(l.key, l.idle)
}

package dial

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Slots are the connections at work that several processes have between them.
type Slots interface {
	// Take waits until fewer than limit connections at work to host are open in
	// all processes and, unless perMinute is 0, until one more may be opened by
	// any of them in this minute. Whoever came first is served first. The slot is
	// kept until free is called, which does not wait.
	Take(ctx context.Context, host string, limit, perMinute int) (free func(), err error)
}

// budget is our politeness: how many connections one host carries at once, and
// how many are opened in a minute over all hosts. A host is an IPv4 address, an
// IPv6 /64 (the smallest network a customer gets), or an overlay name. What this
// process may do is decided here; with slots, it also asks the others.
type budget struct {
	active, idle int
	perMinute    int
	opens        *rate.Limiter
	slots        Slots // nil: there is one process only

	mu    sync.Mutex
	hosts map[string]*host
}

// host counts the connections of one host. It exists while it has any.
type host struct {
	active, idle int
	waiting      []chan struct{} // a closed channel means: the slot is yours
}

func newBudget(cfg Config, slots Slots) *budget {
	perSecond := rate.Limit(float64(cfg.PerMinute) / 60)
	// A burst of a second keeps the minute's limit honest and lets a single
	// command start without a wait.
	return &budget{
		active:    cfg.PerAddress,
		idle:      cfg.IdlePerAddress,
		perMinute: cfg.PerMinute,
		opens:     rate.NewLimiter(perSecond, max(1, cfg.PerMinute/60)),
		slots:     slots,
		hosts:     map[string]*host{},
	}
}

// Host names what counts as one host: an IPv4 address, or an IPv6 /64, the
// smallest network a customer gets.
func Host(addr netip.Addr) string {
	if addr.Is6() && !addr.Is4In6() {
		p, _ := addr.WithZone("").Prefix(64)
		return p.String()
	}
	return addr.Unmap().String()
}

// acquire waits for an active slot of key and for the right to open a
// connection, for at most half of the time that ctx leaves: what fails after a
// turn that came has then had its time, and one that came too late is nothing
// that a relay did. It also fails when the other processes cannot be asked.
func (b *budget) acquire(ctx context.Context, key string) (*lease, error) {
	if end, ends := ctx.Deadline(); ends {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	if err := b.enter(ctx, key); err != nil {
		return nil, err
	}
	if err := b.opens.Wait(ctx); err != nil {
		b.leave(key, false)
		return nil, err
	}
	free, err := b.share(ctx, key, b.perMinute)
	if err != nil {
		b.leave(key, false)
		return nil, err
	}
	return &lease{budget: b, key: key, free: free}, nil
}

// share takes an active slot of key among all processes. At most active of ours
// ask at once for one key; the others wait here.
func (b *budget) share(ctx context.Context, key string, perMinute int) (free func(), err error) {
	if b.slots == nil {
		return func() {}, nil
	}
	return b.slots.Take(ctx, key, b.active, perMinute)
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
	free     func() // gives the slot among all processes back; nil when idle
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
	l.free()
	l.free = nil
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
	free, err := l.budget.share(ctx, l.key, 0)
	if err != nil {
		l.budget.leave(l.key, false)
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.returned || !l.idle {
		free()
		l.budget.leave(l.key, false)
		return nil
	}
	l.idle, l.free = false, free
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
	if !l.idle {
		l.free()
	}
	l.budget.leave(l.key, l.idle)
}

package dvm

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bigbrotr/internal/core/nostr"
)

// maxKeys is how many keys and requests are remembered in memory.
const maxKeys = 10_000

// limits bounds the jobs of each key. When there are too many keys to remember,
// those that have not asked for long are forgotten, who have everything left.
type limits struct {
	mu   sync.Mutex
	per  rate.Limit
	most int
	keys map[nostr.PubKey]*account
}

// account is what is known of a key.
type account struct {
	limit *rate.Limiter
	told  bool // that it asks too often
	last  time.Time
}

func newLimits(perHour int) *limits {
	return &limits{per: rate.Limit(float64(perHour) / time.Hour.Seconds()), most: perHour, keys: map[nostr.PubKey]*account{}}
}

// allow tells whether a key may have another job, and if not whether it is to be
// told so: once, until it may again.
func (l *limits) allow(key nostr.PubKey, now time.Time) (allowed, tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.keys[key]
	if a == nil {
		if len(l.keys) >= maxKeys {
			l.sweep(now)
		}
		if len(l.keys) >= maxKeys {
			return false, false
		}
		a = &account{limit: rate.NewLimiter(l.per, l.most)}
		l.keys[key] = a
	}
	a.last = now
	allowed = a.limit.AllowN(now, 1)
	tell = !allowed && !a.told
	a.told = !allowed
	return allowed, tell
}

// sweep forgets who has all of an hour's jobs left.
func (l *limits) sweep(now time.Time) {
	for key, a := range l.keys {
		if now.Sub(a.last) > time.Hour {
			delete(l.keys, key)
		}
	}
}

// seen remembers the ids that came lately, so that what several relays bring is
// looked at once. It is no promise: that is the store's.
type seen struct {
	mu       sync.Mutex
	now, old map[nostr.ID]struct{}
}

func newSeen() *seen { return &seen{now: map[nostr.ID]struct{}{}} }

// first tells whether an id came for the first time.
func (s *seen) first(id nostr.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, now := s.now[id]
	_, old := s.old[id]
	if len(s.now) >= maxKeys/2 {
		s.old, s.now = s.now, map[nostr.ID]struct{}{}
	}
	s.now[id] = struct{}{}
	return !now && !old
}

// forget lets an id come again.
func (s *seen) forget(id nostr.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, id)
	delete(s.old, id)
}

// hand knows the jobs in hand, so that one can be cancelled.
type hand struct {
	mu   sync.Mutex
	jobs map[nostr.ID]context.CancelFunc
}

// enter returns the context of the work on a job, and what ends it.
func (h *hand) enter(ctx context.Context, id nostr.ID) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs[id] = cancel
	return ctx, func() {
		cancel()
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.jobs, id)
	}
}

func (h *hand) cancel(id nostr.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if cancel := h.jobs[id]; cancel != nil {
		cancel()
	}
}

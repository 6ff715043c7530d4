package synchronizer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// TailName is the name of live tails in the store's schedule.
const TailName = "tail"

const (
	// beatTime is how often the archive is told that tails live, and claims
	// follow what they have heard. A tail whose process dies is taken over by
	// another when tailLease is over.
	beatTime  = 30 * time.Second
	tailLease = 90 * time.Second
	// openingMost is how many tails are being opened at once.
	openingMost = 50
	// standTime bounds how long a visit waits for a tail to stand before it
	// begins.
	standTime = time.Minute
)

// Tails holds the live tails of a process.
type Tails struct {
	s       *Service
	most    int
	saves   chan struct{} // one for each batch that is saved at once
	wanted  chan want
	running atomic.Bool

	mu      sync.Mutex
	held    map[store.RelayID]*tail // stand or are being opened
	opening int
}

// want is a visit's wish for the tail of its relay.
type want struct {
	relay store.RelayID
	tail  chan *tail // gets the tail, or nil
}

func newTails(s *Service, most int) *Tails {
	return &Tails{
		s: s, most: most, saves: make(chan struct{}, s.cfg.Parallel),
		wanted: make(chan want), held: map[store.RelayID]*tail{},
	}
}

// Tails returns what keeps live tails open beside the cycles; nil when the
// configuration wants none.
func (s *Service) Tails() *Tails { return s.tails }

// Cycle opens the tails of relays that are due and keeps them until a stop is
// asked for. Each is leased: of several processes one has it. When the archive
// fails all end, and the next cycle opens them again.
func (t *Tails) Cycle(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	t.running.Store(true)
	defer t.running.Store(false)
	group.Go(func() error { return t.lease(ctx, group) })
	group.Go(func() error { return t.beats(ctx) })
	return group.Wait()
}

// lease opens tails: those that visits wish for at once, others as they are due.
func (t *Tails) lease(ctx context.Context, group *errgroup.Group) error {
	until, cancel := service.UntilStop(ctx)
	defer cancel()
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-until.Done():
			return nil
		case w := <-t.wanted:
			found, err := t.due(ctx, group, w.relay, 1)
			if err != nil {
				w.tail <- nil
				return err
			}
			var one *tail
			if len(found) > 0 {
				one = found[0]
			}
			w.tail <- one
		case <-look.C:
			found, err := t.due(ctx, group, 0, openingMost)
			if err != nil {
				return err
			}
			wait := t.s.cfg.Interval.Std()
			if len(found) > 0 {
				wait = min(wait, time.Second)
			}
			look.Reset(service.Jitter(wait, spread))
		}
	}
}

// due leases tails, of one relay or of any, as far as there is room, and begins
// to open them.
func (t *Tails) due(ctx context.Context, group *errgroup.Group, relay store.RelayID, limit int) ([]*tail, error) {
	t.mu.Lock()
	limit = min(limit, t.most-len(t.held), openingMost-t.opening)
	held := t.held[relay]
	t.mu.Unlock()
	if held != nil {
		return []*tail{held}, nil
	}
	if limit <= 0 {
		return nil, nil
	}
	now := t.s.now()
	works, err := t.s.store.DueRelays(ctx, store.Due{
		Service: TailName, Now: now.Unix(), Limit: limit, Owner: t.s.owner, Until: now.Add(tailLease).Unix(),
		Networks: t.s.dialer.Networks(), Relay: relay,
	})
	if err != nil {
		return nil, fmt.Errorf("lease tails: %w", err)
	}
	var found []*tail
	for _, work := range works {
		off := t.s.cfg.terms(work.Relay.URL).Off
		if s := work.Relay.State; off || s == store.StateDown || s == store.StateDead {
			// It is not connected to for this; the monitor tells when it is back.
			next := store.Next{Relay: work.Relay.ID, Service: TailName, Owner: t.s.owner, DueAt: now.Add(service.Jitter(downWait, spread)).Unix()}
			if err := t.s.store.SaveNext(ctx, []store.Next{next}); err != nil {
				return nil, fmt.Errorf("save schedule of tails: %w", err)
			}
			continue
		}
		one := newTail(t, work)
		t.mu.Lock()
		if t.held[work.Relay.ID] != nil { // its lease ran out, and is ours again
			t.mu.Unlock()
			continue
		}
		t.held[work.Relay.ID] = one
		t.opening++
		t.mu.Unlock()
		group.Go(func() error { return t.keep(ctx, one) })
		found = append(found, one)
	}
	return found, nil
}

// settled is called once for each tail, when it stands or will not.
func (t *Tails) settled(one *tail) {
	one.once.Do(func() {
		t.mu.Lock()
		t.opening--
		t.mu.Unlock()
		close(one.settled)
	})
}

// downWait is how long a relay that is down waits for its tail, and lieWait one
// whose tail has left things out.
const (
	downWait = 15 * time.Minute
	lieWait  = 24 * time.Hour
	// longLife is how long a tail must stand for its end to be no failure.
	longLife = 10 * time.Minute
)

// keep opens a tail and follows it to its end.
func (t *Tails) keep(ctx context.Context, one *tail) error {
	begun := t.s.now()
	cause, err := one.follow(ctx)
	t.settled(one)
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.held, one.relay.ID)
	}()
	// What is over is told also when we are being stopped.
	saving, done := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer done()
	since, heard := one.life()
	if since > 0 {
		t.s.sums.tails.Dec()
		t.s.sums.tailEnds.WithLabelValues(string(cause)).Inc()
		ended := t.s.store.EndTail(saving, store.TailEnd{Relay: one.relay.ID, Since: since, Heard: heard, Cause: cause})
		err = errors.Join(err, ended)
	}
	if spent, ok := one.spent(); ok {
		err = errors.Join(err, t.s.store.AddCost(saving, one.relay.ID, store.WayTail, spent))
	}
	if err != nil {
		return fmt.Errorf("tail %s: %w", one.relay.URL, err)
	}
	now := t.s.now()
	next := store.Next{Relay: one.relay.ID, Service: TailName, Owner: t.s.owner, Attempts: one.work.Attempts + 1}
	if since > 0 && now.Sub(begun) > longLife {
		next.Attempts = 1
	}
	var wait time.Duration
	switch {
	case service.Stopping(ctx):
		next.Attempts = one.work.Attempts
	case cause == dial.CauseContradicts:
		wait = service.Jitter(lieWait, spread)
	case store.Ours(cause):
		next.Attempts, wait = one.work.Attempts, service.Jitter(t.s.cfg.Retry.Std(), spread)
	case since > 0 && next.Attempts == 1:
		wait = service.Jitter(t.s.cfg.Retry.Std()/3, spread)
	case cause == dial.CauseRateLimited:
		wait = t.s.after(rateSteps, next.Attempts)
	case cause == dial.CauseReadAuth, cause == dial.CauseReadRestricted:
		wait = t.s.after(refusedSteps, next.Attempts)
	default:
		wait = t.s.after(lostSteps, next.Attempts)
	}
	next.DueAt = now.Add(wait).Unix()
	t.s.log.DebugContext(ctx, "tail ended", "relay", one.relay.URL.String(), "cause", string(cause), "stood", since > 0, "due", next.DueAt)
	if err := t.s.store.SaveNext(saving, []store.Next{next}); err != nil {
		return fmt.Errorf("save schedule of tails: %w", err)
	}
	return nil
}

// beats tells the archive, until a stop is asked for, which tails live.
func (t *Tails) beats(ctx context.Context) error {
	for {
		service.Pause(ctx, service.Jitter(beatTime, spread))
		if service.Stopping(ctx) {
			return nil
		}
		if err := t.beat(ctx); err != nil {
			return err
		}
	}
}

func (t *Tails) beat(ctx context.Context) error {
	t.mu.Lock()
	held := make([]*tail, 0, len(t.held))
	for _, one := range t.held {
		held = append(held, one)
	}
	t.mu.Unlock()
	if len(held) == 0 {
		return nil
	}
	beat := store.Beat{Service: TailName, Owner: t.s.owner, Until: t.s.now().Add(tailLease).Unix(), Spent: map[store.RelayID]store.Spent{}}
	for _, one := range held {
		since, heard := one.life()
		if since > 0 {
			if spent, ok := one.spent(); ok {
				beat.Spent[one.relay.ID] = spent
			}
		}
		beat.Tails = append(beat.Tails, store.Tail{Relay: one.relay.ID, Since: since, Heard: heard, Alive: one.alive(t.s.now())})
	}
	lost, err := t.s.store.SaveTails(ctx, beat)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range lost {
		if one := t.held[id]; one != nil {
			one.cancel()
		}
	}
	return nil
}

// ensure opens the tail of a relay that is about to be visited, so that what
// arrives while its history is read is not lost, and waits until it stands or
// will not. Without room, a lease or a running Cycle it returns at once.
func (t *Tails) ensure(ctx context.Context, relay store.RelayID) {
	if t == nil || !t.running.Load() {
		return
	}
	waiting, cancel := context.WithTimeout(ctx, standTime)
	defer cancel()
	waiting, done := service.UntilStop(waiting)
	defer done()
	w := want{relay: relay, tail: make(chan *tail, 1)}
	select {
	case t.wanted <- w:
	case <-waiting.Done():
		return
	}
	select {
	case one := <-w.tail:
		if one == nil {
			return
		}
		select {
		case <-one.settled:
		case <-waiting.Done():
		}
	case <-waiting.Done():
	}
}

// borrow returns the connection of the relay's tail for a visit, and what gives
// it back; false when there is none.
func (t *Tails) borrow(ctx context.Context, relay store.RelayID) (pager, func(), bool) {
	if t == nil {
		return nil, nil, false
	}
	t.mu.Lock()
	one := t.held[relay]
	t.mu.Unlock()
	if one == nil {
		return nil, nil, false
	}
	return one.lend(ctx)
}

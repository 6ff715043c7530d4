package face

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

const (
	// maxSet is the most events that are reconciled at a time. Who wants more
	// asks for a shorter stretch of time.
	maxSet = 1_000_000
	// maxSets bounds the sets of all reconciliations together, each event of
	// which takes 40 bytes, and about 60 more where it can be superseded.
	maxSets = 4 * maxSet
	// setFresh is how long a set serves new reconciliations of the same filter,
	// before another one is made of it.
	setFresh = time.Minute
	// setWithin bounds the making of one.
	setWithin = time.Minute
	// setStep is how many events are added to a set before the account of all
	// is looked at.
	setStep = 10_000
	// maxReconciliations is how many a connection may have open, and
	// reconcileIdle how long one may be silent.
	maxReconciliations = 4
	reconcileIdle      = time.Minute
)

var errSetSize = errors.New("too many events to reconcile")

// set is what is served of a filter, at one time. It does not change.
type set struct {
	made  time.Time
	ready chan struct{} // closed when the rest is set
	err   error
	items *negentropy.Vector
	base  *base // to make the next one of; under the right to make one

	// Under the lock of sets.
	ids   int64 // accounted for
	users int
	held  bool // to be found
}

// sets are those of all reconciliations. Who asks for the same shares one.
type sets struct {
	mu    sync.Mutex
	found map[string]*set // by the text of the filter
	ids   int64
	build chan struct{} // the right to make one
}

func newSets() *sets { return &sets{found: map[string]*set{}, build: make(chan struct{}, 1)} }

// setOf returns the set of a filter, which the caller gives back by release.
func (f *Face) setOf(ctx context.Context, filter nostr.Filter) (*set, error) {
	text := store.FilterText(filter)
	for {
		s, old, mine := f.sets.enter(text)
		if mine {
			s.err = f.makeSet(ctx, s, old, filter)
			close(s.ready)
		}
		if old != nil {
			f.sets.release(old)
		}
		var err error
		select {
		case <-s.ready:
			err = s.err
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err == nil {
			return s, nil
		}
		f.sets.drop(text, s)
		f.sets.release(s)
		// Who made it may have left; we have not.
		if mine || ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return nil, err
		}
	}
}

// enter returns a set that is fresh enough, or one that is for the caller to
// make, of the old one if there is one. The caller gives back both.
func (s *sets) enter(text string) (_, old *set, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old = s.found[text]; old != nil {
		old.users++
		if time.Since(old.made) < setFresh {
			return old, nil, false
		}
		s.hide(text, old)
	}
	fresh := &set{made: time.Now(), ready: make(chan struct{}), users: 1, held: true}
	s.found[text] = fresh
	return fresh, old, true
}

// hide keeps a set from being found. The caller holds the lock.
func (s *sets) hide(text string, old *set) {
	if s.found[text] == old {
		delete(s.found, text)
	}
	old.held = false
	s.forget(old)
}

// forget takes a set off the account that nobody has or finds.
func (s *sets) forget(old *set) {
	if old.users == 0 && !old.held {
		s.ids -= old.ids
		old.ids = 0
	}
}

func (s *sets) drop(text string, old *set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide(text, old)
}

func (s *sets) release(old *set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old.users--
	s.forget(old)
}

// sweep forgets the sets that nobody has asked for in a long time.
func (s *sets) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, one := range s.found {
		if time.Since(one.made) >= setKept {
			s.hide(text, one)
		}
	}
}

// grow accounts for more ids of a set; false when there is no room for them even
// without the sets that nobody has.
func (s *sets) grow(one *set, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, other := range s.found {
		if s.ids+n > maxSets && other.users == 0 {
			s.hide(text, other)
		}
	}
	if s.ids+n > maxSets {
		return false
	}
	s.ids += n
	one.ids += n
	return true
}

// makeSet makes a set of an old one, or else by reading what is served of the
// filter.
func (f *Face) makeSet(ctx context.Context, s, old *set, filter nostr.Filter) error {
	ctx, cancel := context.WithTimeout(ctx, setWithin)
	defer cancel()
	select {
	case f.sets.build <- struct{}{}:
		defer func() { <-f.sets.build }()
	case <-ctx.Done():
		return errBusy
	}
	if old != nil {
		if err := f.renew(ctx, s, old, filter); !errors.Is(err, errWhole) {
			return err
		}
	}
	// What is archived while it is read is looked at again when it is renewed.
	at, err := f.store.Head(ctx)
	if err != nil {
		return err
	}
	base := newBase(at)
	list := f.serve([]nostr.Filter{filter}, nil)
	defer list.close()
	list.left, list.size = setWithin, countSize
	list.lists[0].limit, list.lists[0].ties = maxSet+1, 0
	var refs []nostr.Ref
	for {
		e, err := list.next(ctx)
		if err != nil {
			return err
		}
		if e == nil {
			s.items, s.base = negentropy.NewVector(refs), base
			return nil
		}
		if len(refs) == maxSet {
			return errSetSize
		}
		if len(refs)%setStep == 0 && !f.sets.grow(s, setStep) {
			return errBusy
		}
		refs = append(refs, e.Event.Ref())
		base.add(&e.Event)
	}
}

// reconciliation is an open NEG-OPEN.
type reconciliation struct {
	set  *set
	idle *time.Timer

	mu        sync.Mutex // a client may not wait for its answer
	responder *negentropy.Responder
}

// reconcile opens a reconciliation (NIP-77) of what strangers are served.
func (c *client) reconcile(ctx context.Context, m *nostr.ClientMessage) {
	c.endReconciliation(m.Sub)
	filters, _, why := c.check(ctx, m)
	if why == "" {
		filters, _, why = c.whole(ctx, filters)
	}
	if why == "" && filters[0].Search != "" {
		why = nostr.PrefixUnsupported + ": what is searched for is not reconciled"
	}
	c.mu.Lock()
	if why == "" && len(c.reconciling)+c.opening >= maxReconciliations {
		why = nostr.PrefixBlocked + ": no more than " + strconv.Itoa(maxReconciliations) + " reconciliations at a time"
	}
	if why == "" {
		c.opening++
	}
	c.mu.Unlock()
	if why != "" {
		c.negErr(ctx, m.Sub, why, 0)
		return
	}
	c.accepted()
	c.run(ctx, func() {
		r, err := c.open(ctx, filters[0])
		c.mu.Lock()
		c.opening--
		c.mu.Unlock()
		if errors.Is(err, errSetSize) {
			c.negErr(ctx, m.Sub, nostr.PrefixBlocked+": too many events; ask for less", maxSet)
			return
		}
		if err != nil {
			c.negErr(ctx, m.Sub, c.face.reason(ctx, err), 0)
			return
		}
		c.mu.Lock()
		old := c.reconciling[m.Sub]
		c.reconciling[m.Sub] = r
		r.idle = time.AfterFunc(reconcileIdle, func() {
			if c.endReconciliation(m.Sub) {
				c.negErr(ctx, m.Sub, "closed: silent for too long", 0)
			}
		})
		c.mu.Unlock()
		if old != nil { // opened again before this was
			old.close(c.face)
		}
		c.reply(ctx, m.Sub, r, m.Payload)
	})
}

func (c *client) open(ctx context.Context, filter nostr.Filter) (*reconciliation, error) {
	set, err := c.face.setOf(ctx, filter)
	if err != nil {
		return nil, err
	}
	responder, err := negentropy.NewResponder(set.items, negentropy.Limits{Message: maxMessage})
	if err != nil {
		c.face.sets.release(set)
		return nil, err
	}
	return &reconciliation{set: set, responder: responder}, nil
}

func (r *reconciliation) close(f *Face) {
	r.idle.Stop()
	f.sets.release(r.set)
}

// reply answers a message of a reconciliation. The client waits for the answer
// before it sends the next one.
func (c *client) reply(ctx context.Context, sub string, r *reconciliation, payload []byte) {
	r.idle.Reset(reconcileIdle)
	r.mu.Lock()
	answer, err := r.responder.Reply(ctx, payload)
	r.mu.Unlock()
	if err != nil {
		if c.endReconciliation(sub) {
			why := c.face.reason
			if e, ok := errors.AsType[*negentropy.Error](err); ok {
				why = func(context.Context, error) string { return nostr.PrefixInvalid + ": " + e.Error() }
			}
			c.negErr(ctx, sub, why(ctx, err), 0)
		}
		return
	}
	_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendNegMsg(dst, sub, answer) })
}

// goOn answers the next message of a reconciliation.
func (c *client) goOn(ctx context.Context, m *nostr.ClientMessage) {
	c.mu.Lock()
	r := c.reconciling[m.Sub]
	c.mu.Unlock()
	if r == nil {
		c.negErr(ctx, m.Sub, "closed: no such reconciliation", 0)
		return
	}
	c.accepted()
	c.reply(ctx, m.Sub, r, m.Payload)
}

// endReconciliation tells whether it was open.
func (c *client) endReconciliation(sub string) bool {
	c.mu.Lock()
	r := c.reconciling[sub]
	delete(c.reconciling, sub)
	c.mu.Unlock()
	if r != nil {
		r.close(c.face)
	}
	return r != nil
}

func (c *client) endReconciliations() {
	c.mu.Lock()
	names := slices.Collect(maps.Keys(c.reconciling))
	c.mu.Unlock()
	for _, sub := range names {
		c.endReconciliation(sub)
	}
}

func (c *client) negErr(ctx context.Context, sub, why string, most int64) {
	c.refused(nostr.Prefix(why))
	_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendNegErr(dst, sub, why, most) })
}

package synchronizer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

const (
	// gatherTime is how long the first event of a batch waits for others: an
	// event must be archived within two seconds of its arrival.
	gatherTime = 500 * time.Millisecond
	// What a tail holds raw at most while it is being saved; then nothing more is
	// read from the relay. A single larger event still passes.
	tailBytes  = 128 << 10
	tailEvents = 500
	// tailSlack is how long before an event that a tail brought the arrivals end
	// that are sure to have come too: a relay may tell of events not quite in the
	// order in which it took them.
	tailSlack = 5
	// staleEvents is how many stored events may come before the EOSE of a
	// subscription that asks for none.
	staleEvents = 100
)

// tailLimits are what a tail asks for of stored events: none, or where a relay
// does not understand that, one.
var tailLimits = []int{0, 1}

// tail is the live tail of one relay.
type tail struct {
	tails   *Tails
	work    store.Work
	relay   store.Relay
	once    sync.Once
	settled chan struct{} // closed when it stands or will not
	drained chan struct{} // holds a token when there is room again
	saving  sync.WaitGroup

	mu      sync.Mutex
	stop    context.CancelFunc // ends the subscription; nil before there is one
	ended   bool               // stop was asked for
	since   int64              // 0 until it stands
	heard   int64
	session *session.Session // nil until it stands
	taken   arena
	last    int64            // when the newest of taken came
	busy    bool             // a batch is being gathered or saved
	cost    store.Cost       // since it was asked for last, but for bytes
	wire    *session.Session // as session, and kept when the tail has ended
	counted int64            // bytes that came by wire until then
	err     error            // of saving
	noise   int64            // messages that could not be read, at the last look
	visited bool             // a visit has the connection
	left    bool             // the tail has ended meanwhile: the visit closes it
}

func newTail(t *Tails, work store.Work) *tail {
	return &tail{
		tails: t, work: work, relay: work.Relay,
		settled: make(chan struct{}), drained: make(chan struct{}, 1),
	}
}

// life is what the archive is to know.
func (t *tail) life() (since, heard int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since, t.heard
}

// spent takes what the tail has cost since it was asked for last; false when that
// is nothing.
func (t *tail) spent() (store.Spent, bool) {
	t.mu.Lock()
	cost := t.cost
	t.cost = store.Cost{}
	if t.wire != nil {
		all := t.wire.Stats().PayloadTail
		cost.Bytes, t.counted = all-t.counted, all
	}
	t.mu.Unlock()
	t.tails.s.sums.requests.Add(float64(cost.Requests))
	t.tails.s.sums.bytes.Add(float64(cost.Bytes))
	return store.Spent{ID: rand.Int64(), At: t.tails.s.now().Unix(), Cost: cost}, cost != store.Cost{}
}

// cancel ends the tail.
func (t *tail) cancel() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if t.stop != nil {
		t.stop()
	}
}

// alive is when the relay last gave a sign of life. A message that could not be
// read, while nothing but the tail was under way, may have been an arrival: that
// ends the tail, and what the gap lacks is read again.
func (t *tail) alive(now time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session == nil {
		return 0
	}
	stats := t.session.Stats()
	if noise := stats.Malformed + stats.Oversize; noise > t.noise {
		if !t.visited {
			t.ended = true
			t.stop()
		}
		t.noise = noise
	}
	return min(now.Unix(), stats.LastHeard.Unix())
}

// follow opens the tail and returns when it has ended, and why. The error is
// ours.
func (t *tail) follow(ctx context.Context) (dial.Cause, error) {
	s := t.tails.s
	until, done := service.UntilStop(ctx)
	defer done()
	until, stop := context.WithCancel(until)
	defer stop()
	t.mu.Lock()
	t.stop = stop
	if t.ended {
		stop()
	}
	t.mu.Unlock()

	dialling, cancel := context.WithTimeout(until, dialTime)
	defer cancel()
	sess, err := session.Dial(dialling, t.relay.URL, s.options())
	if err != nil {
		cause := dial.CauseOf(err)
		if until.Err() != nil || dialling.Err() != nil {
			cause = dial.CauseBusy
		} else if cause == "" {
			return dial.CauseSelf, fmt.Errorf("connect: %w", err)
		}
		return cause, nil
	}
	defer func() {
		if !t.leave() {
			farewell(ctx, sess)
		}
	}()

	t.mu.Lock()
	t.wire = sess
	t.mu.Unlock()

	var cause dial.Cause
	who := newLogin(sess, s.cfg.signer(), nil)
	for _, limit := range tailLimits {
		cause, err = t.subscribe(ctx, until, sess, limit)
		if since, _ := t.life(); since == 0 && cause == dial.CauseReadAuth && err == nil {
			var opened bool
			if opened, err = who.open(until); opened {
				cause, err = t.subscribe(ctx, until, sess, limit)
			}
		}
		if since, _ := t.life(); since > 0 || err != nil || until.Err() != nil {
			break
		}
		if _, gone := sess.Ended(); gone {
			break
		}
	}
	t.saving.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil:
		err = t.err
	case err == nil && len(t.taken.ends) > 0:
		err = t.save(ctx) // what came after the last batch
	}
	return cause, err
}

// subscribe asks for what arrives and takes it until that ends.
func (t *tail) subscribe(ctx, until context.Context, sess *session.Session, limit int) (dial.Cause, error) {
	s, stored, rested := t.tails.s, 0, true
	filters := s.cfg.terms(t.relay.URL).live()
	for i := range filters {
		filters[i].Limit = &limit
	}
	t.mu.Lock()
	t.cost.Requests++
	t.mu.Unlock()
	page, err := sess.Tail(until, filters, func(raw []byte) error {
		if since, _ := t.life(); since == 0 {
			if stored++; stored > staleEvents {
				return session.ErrStop
			}
		}
		return t.take(ctx, until, raw)
	}, func() {
		rested = sess.Rest()
		if !rested {
			t.cancel() // the relay's address has as many tails as it may
			return
		}
		if err := t.stand(ctx, sess); err != nil {
			t.fail(err)
		}
	})
	switch {
	case !rested:
		return dial.CauseBusy, nil
	case err != nil && until.Err() == nil:
		return dial.CauseSelf, err
	case err != nil, page.End.Kind == session.Unended:
		return t.why(ctx)
	case page.End.Kind == session.Stopped:
		return dial.CauseReadRestricted, nil // it sends what was not asked for
	}
	return page.End.Cause(), nil
}

// why tells for what reason we have ended the tail ourselves.
func (t *tail) why(ctx context.Context) (dial.Cause, error) {
	if service.Stopping(ctx) {
		return dial.CauseSelf, nil
	}
	saving, done := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer done()
	known, err := t.tails.s.store.Tail(saving, t.relay.ID)
	if err != nil {
		return dial.CauseSelf, err
	}
	if since, _ := t.life(); known.Since == since {
		return dial.CauseNoNostr, nil // something came that could not be read
	}
	return known.Cause, nil // another has ended it
}

// stand notes that the tail stands: everything that arrives from now on comes.
func (t *tail) stand(ctx context.Context, sess *session.Session) error {
	s := t.tails.s
	now := s.now()
	since := now.Unix()
	if now.Nanosecond() > 0 {
		since++ // a REQ of this second may have been sent before
	}
	saving, done := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer done()
	before, err := s.store.Tail(saving, t.relay.ID)
	if err != nil {
		return err
	}
	if err := s.store.BeginTail(saving, t.relay.ID, since); err != nil {
		return err
	}
	if before.Since > 0 || before.Cause != "" {
		// What came in between is to be read at once.
		if err := s.store.SaveNext(saving, []store.Next{{Relay: t.relay.ID, Service: Name, DueAt: now.Unix()}}); err != nil {
			return err
		}
	}
	t.mu.Lock()
	stats := sess.Stats()
	t.since, t.heard, t.session, t.noise = since, since, sess, stats.Malformed+stats.Oversize
	t.mu.Unlock()
	s.sums.tails.Inc()
	t.tails.settled(t)
	return nil
}

// leave keeps the connection from visits to come, and reports whether one has it
// that is to close it.
func (t *tail) leave() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.session, t.left = nil, true
	return t.visited
}

// farewell closes a session.
func farewell(ctx context.Context, sess *session.Session) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	sess.Close(closing)
}

// lend gives a visit the connection.
func (t *tail) lend(ctx context.Context) (pager, func(), bool) {
	t.mu.Lock()
	sess := t.session
	t.mu.Unlock()
	if sess == nil {
		return nil, nil, false
	}
	if _, gone := sess.Ended(); gone || sess.Wake(ctx) != nil {
		return nil, nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left {
		return nil, nil, false
	}
	t.visited = true
	return sess, func() {
		stats := sess.Stats()
		t.mu.Lock()
		t.visited, t.noise = false, stats.Malformed+stats.Oversize
		left := t.left
		t.mu.Unlock()
		switch {
		case left:
			farewell(ctx, sess)
		case !sess.Rest():
			t.cancel()
		}
	}, true
}

// take keeps an event until it is saved. While there is no room it waits, and
// nothing is read from the relay.
func (t *tail) take(ctx, until context.Context, raw []byte) error {
	for {
		t.mu.Lock()
		if t.err != nil {
			defer t.mu.Unlock()
			return t.err
		}
		if len(t.taken.ends) == 0 || len(t.taken.bytes)+len(raw) <= tailBytes && len(t.taken.ends) < tailEvents {
			t.taken.add(raw)
			t.last = t.tails.s.now().Unix()
			if !t.busy {
				t.busy = true
				t.saving.Go(func() { t.batches(ctx, until) })
			}
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		select {
		case <-t.drained:
		case <-until.Done():
			return until.Err()
		}
	}
}

// batches saves what is taken, batch by batch, until nothing is left.
func (t *tail) batches(ctx, until context.Context) {
	service.Pause(until, gatherTime)
	for {
		select {
		case t.tails.saves <- struct{}{}:
		case <-ctx.Done():
			t.fail(ctx.Err())
			return
		}
		t.mu.Lock()
		err := t.save(ctx)
		t.busy = err == nil && len(t.taken.ends) > 0
		again := t.busy
		t.mu.Unlock()
		<-t.tails.saves
		if err != nil {
			t.fail(err)
			return
		}
		if !again {
			return
		}
	}
}

// fail ends the tail because of a failure of ours.
func (t *tail) fail(err error) {
	t.mu.Lock()
	t.err = errors.Join(t.err, err)
	t.mu.Unlock()
	t.cancel()
}

// save writes what was taken. t.mu is held, and is not while the archive works.
func (t *tail) save(ctx context.Context) error {
	taken, last := t.taken, t.last
	t.taken = arena{} // an idle tail keeps no memory
	t.mu.Unlock()
	select {
	case t.drained <- struct{}{}:
	default:
	}
	err := t.archive(ctx, taken.list())
	t.mu.Lock()
	if err == nil && t.since > 0 {
		t.heard = max(t.heard, last-tailSlack)
	}
	return err
}

// archive sorts and saves one batch.
func (t *tail) archive(ctx context.Context, raws [][]byte) error {
	s := t.tails.s
	filters := s.cfg.terms(t.relay.URL).live()
	sorted, err := s.intake.Sort(ctx, raws, func(e *nostr.Event) bool {
		return slices.ContainsFunc(filters, func(f nostr.Filter) bool { return f.Matches(e) })
	})
	if err != nil {
		return fmt.Errorf("sort arrivals: %w", err)
	}
	var ids []store.FilterID
	for _, f := range filters {
		f.Since, f.Until = nil, nil
		id, err := s.store.FilterID(ctx, f)
		if err != nil {
			return fmt.Errorf("number filter: %w", err)
		}
		ids = append(ids, id)
	}
	now := s.now()
	batch := store.Batch{
		Relay: t.relay.ID, SeenAt: now.Unix(), Events: sorted.New, Known: sorted.Known, Rejected: sorted.Rejected,
	}
	for _, f := range sorted.Findings {
		if f.Verdict != archive.Refused {
			continue
		}
		for _, filter := range ids {
			batch.Holes = append(batch.Holes, store.Hole{
				Relay: t.relay.ID, Filter: filter, Interval: store.Interval{Lo: f.CreatedAt, Hi: f.CreatedAt}, Kind: store.AnyKind,
				Reason: store.HoleInvalid, Count: 1, SeenAt: now.Unix(), NextTry: now.Add(retryInvalid).Unix(),
			})
		}
	}
	saved, err := s.store.SaveBatch(ctx, batch)
	if err != nil {
		return fmt.Errorf("save arrivals: %w", err)
	}
	s.sums.saved(saved, batch)
	s.sums.arrived(saved, batch)
	t.mu.Lock()
	t.cost.Received += int64(len(raws))
	t.cost.New += int64(saved.New)
	t.cost.Known += int64(saved.Known + len(batch.Known))
	t.mu.Unlock()
	return nil
}

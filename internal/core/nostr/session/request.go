package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
)

// request is a REQ, COUNT or NEG-OPEN on its way. The reader fills it, and
// whoever ends it first, the reader or the caller, decides how it ended.
type request struct {
	sub   string
	visit func(raw []byte) error // nil but for REQ
	stood func()                 // of a tail: called at its EOSE, which does not end it
	done  chan struct{}          // closed by finish
	poke  chan struct{}          // a NOTICE came: judge the deadlines again
	turns *turns                 // nil but for NEG-OPEN

	mu     sync.Mutex // the reader holds it during a visit
	over   bool
	stands bool // a tail has had its EOSE
	page   Page
	err    error // of visit
	count  nostr.CountResult
	begin  int64 // when it was sent, and
	visits int64 // the time spent in visits until then, by the session's clock
	asked  int64 // when the last message of a NEG-OPEN was sent
	own    int64 // the time that we took between messages
	notice struct {
		at       int64 // 0: none, or something has been answered since
		terminal Terminal
	}
}

// finish ends the request unless it has ended, and from the same moment counts
// its late events. The caller holds r.mu.
func (s *Session) finish(r *request, t Terminal) {
	if r.over {
		return
	}
	r.over = true
	r.page.End = t
	s.mu.Lock()
	delete(s.active, r.sub)
	copy(s.ended[1:], s.ended[:])
	s.ended[0] = Late{Sub: r.sub}
	s.mu.Unlock()
	close(r.done)
}

// Req sends one filter as a REQ and hands the bytes of each event of the
// answer to visit, one at a time and in order, while Req waits. The bytes are
// what the relay sent, of any shape between braces, and valid only during the
// call. While visit runs nothing is read, so a slow visit slows the relay down;
// it must not call the session. When visit returns ErrStop the request ends early.
//
// The error is nil whatever the relay does. It is the context's when that
// ended first, ErrClosed after Close, or what visit returned other than ErrStop;
// the page is filled as far as it came.
func (s *Session) Req(ctx context.Context, f nostr.Filter, visit func(raw []byte) error) (Page, error) {
	if visit == nil {
		return Page{}, errors.New("request without a visit")
	}
	return s.req(ctx, visit, nil, f)
}

// Tail sends filters as a REQ whose subscription stays open. Until its EOSE it
// is as Req. Then stood is called, and what arrives at the relay is handed to
// visit, for days if need be and with any silence between, until the relay ends
// the subscription, the connection is lost, or visit or the context ends it. A
// filter with a limit of 0 asks for what arrives only. Neither function may call
// the session; while they run nothing is read.
//
// Of the page, Notices, Malformed and Oversize count up to the end, as do its
// sums. Errors are as of Req.
func (s *Session) Tail(ctx context.Context, filters []nostr.Filter, visit func(raw []byte) error, stood func()) (Page, error) {
	if visit == nil || stood == nil {
		return Page{}, errors.New("tail without a visit")
	}
	return s.req(ctx, visit, stood, filters...)
}

func (s *Session) req(ctx context.Context, visit func([]byte) error, stood func(), filters ...nostr.Filter) (Page, error) {
	r, err := s.run(ctx, visit, stood, func(dst []byte, sub string) []byte {
		return nostr.AppendREQ(dst, sub, filters...)
	})
	if r == nil {
		return Page{}, err
	}
	return r.page, err
}

// Count asks how many events match the filter. The kind of the page's end is
// Counted when an answer came.
func (s *Session) Count(ctx context.Context, f nostr.Filter) (nostr.CountResult, Page, error) {
	r, err := s.run(ctx, nil, nil, func(dst []byte, sub string) []byte {
		return nostr.AppendCOUNT(dst, sub, f)
	})
	if r == nil {
		return nostr.CountResult{}, Page{}, err
	}
	return r.count, r.page, err
}

// run sends a request and waits for its end.
func (s *Session) run(ctx context.Context, visit func([]byte) error, stood func(), message func([]byte, string) []byte) (*request, error) {
	r := &request{visit: visit, stood: stood}
	if err := s.register(ctx, r); err != nil {
		return nil, err
	}
	s.send(ctx, func(dst []byte) []byte { return message(dst, r.sub) })
	_, err := s.await(ctx, r)
	s.conclude(r)
	if k := r.page.End.Kind; k != Closed && k != Counted && !r.page.End.Lost() {
		s.send(ctx, func(dst []byte) []byte { return nostr.AppendCLOSE(dst, r.sub) })
	}
	if err == nil {
		err = r.err
	}
	return r, err
}

// register makes a request one whose answers are waited for.
func (s *Session) register(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.done, r.poke = make(chan struct{}), make(chan struct{}, 1)
	r.begin, r.visits = s.clock.now(), s.clock.visits.Load()
	r.page.SentAt = time.Now()
	r.page.Wire, _ = s.conn.Wire() // until now; conclude makes the difference of it
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	// A fresh id each time: some relays ignore a REQ whose id they know, and
	// late events must not be taken for those of the next page.
	s.next++
	r.sub = strconv.FormatUint(s.next, 36)
	r.page.Sub = r.sub
	s.stray, s.strayBytes = 0, 0
	s.active[r.sub] = r
	s.stats.requests.Add(1)
	return nil
}

// conclude measures a request that is over: nobody else touches it any more.
func (s *Session) conclude(r *request) {
	after, _ := s.conn.Wire()
	r.page.Wire = after - r.page.Wire
	r.page.Duration = time.Duration(s.clock.now() - r.begin)
}

// await returns when the request has ended, or with the relay's turn when one
// came. Its error is the context's.
func (s *Session) await(ctx context.Context, r *request) (*turn, error) {
	var turns chan turn
	if r.turns != nil {
		turns = r.turns.theirs
	}
	timer := time.NewTimer(s.judge(r))
	defer timer.Stop()
	for {
		select {
		case t := <-turns:
			return &t, nil
		case <-r.done:
			return nil, nil
		case <-s.gone:
			r.mu.Lock()
			defer r.mu.Unlock()
			s.finish(r, s.end)
			return nil, nil
		case <-ctx.Done():
			// Behind a running visit, which must not outlive Req.
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.over {
				return nil, nil
			}
			s.finish(r, Terminal{Kind: Unended})
			return nil, ctx.Err()
		case <-r.poke:
		case <-timer.C:
		}
		timer.Reset(s.judge(r))
	}
}

// judge ends the request if it is overdue, and otherwise returns when it has
// to be judged again.
func (s *Session) judge(r *request) time.Duration {
	o := s.options
	// Our own slowness is not the relay's. The reader holds the lock then.
	if s.clock.visiting.Load() || !r.mu.TryLock() {
		return min(o.Idle, o.AfterNotice)
	}
	defer r.mu.Unlock()
	if r.stands {
		return o.Request // nothing is overdue; the pulse tells whether the relay is there
	}
	now := s.clock.now()
	last := max(r.begin, r.asked, s.clock.answered.Load())
	patience, silent := o.Idle, Terminal{Kind: Idle}
	if r.notice.at > 0 {
		last = max(last, r.notice.at)
		patience, silent = min(o.AfterNotice, o.Idle), r.notice.terminal
		if r.turns != nil && r.turns.read == 0 {
			patience = min(patience, s.disbelief())
		}
	}
	idle := patience - time.Duration(now-last)
	spent := now - r.begin - r.own - (s.clock.visits.Load() - r.visits)
	whole := o.Request - time.Duration(spent)
	switch {
	case idle <= 0:
		s.finish(r, silent)
	case whole <= 0:
		s.finish(r, Terminal{Kind: Slow})
	default:
		return min(idle, whole)
	}
	return 0
}

// waiter waits for the OK of one event.
type waiter struct {
	done chan struct{}
	ok   OK
}

// Publish sends an event and waits for its OK.
func (s *Session) Publish(ctx context.Context, e *nostr.Event) (OK, error) {
	return s.confirm(ctx, e.ID, func(dst []byte) []byte { return nostr.AppendEVENT(dst, e) })
}

// ErrNoChallenge is returned by Auth before the relay has sent a challenge.
var ErrNoChallenge = errors.New("relay has sent no challenge")

// kindAuth is the kind of an authentication event (NIP-42).
const kindAuth nostr.Kind = 22242

// Auth answers the relay's last challenge (NIP-42) with an event that signer
// signs, and waits for the OK.
func (s *Session) Auth(ctx context.Context, signer Signer) (OK, error) {
	challenge := s.Challenge()
	if challenge == "" {
		return OK{}, ErrNoChallenge
	}
	e := nostr.Event{
		CreatedAt: time.Now().Unix(),
		Kind:      kindAuth,
		Tags:      []nostr.Tag{{"relay", s.url.String()}, {"challenge", challenge}},
	}
	if err := signer.Sign(&e); err != nil {
		return OK{}, fmt.Errorf("sign authentication: %w", err)
	}
	return s.confirm(ctx, e.ID, func(dst []byte) []byte { return nostr.AppendAUTH(dst, &e) })
}

// confirm sends a message about an event and waits for the OK of that event.
func (s *Session) confirm(ctx context.Context, id nostr.ID, message func([]byte) []byte) (OK, error) {
	if err := ctx.Err(); err != nil {
		return OK{}, err
	}
	w := &waiter{done: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return OK{}, ErrClosed
	}
	if _, ok := s.oks[id]; ok {
		s.mu.Unlock()
		return OK{}, fmt.Errorf("event %s is being published", id)
	}
	s.oks[id] = w
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.oks, id)
		s.mu.Unlock()
	}()

	s.send(ctx, message)
	timer := time.NewTimer(s.options.Idle)
	defer timer.Stop()
	select {
	case <-w.done:
		return w.ok, nil
	case <-s.gone:
		return OK{End: s.end}, nil
	case <-timer.C:
		return OK{End: Terminal{Kind: Idle}}, nil
	case <-ctx.Done():
		return OK{}, ctx.Err()
	}
}

// send writes one message. A failure ends the connection, which the reader
// notices; there is nothing else to say about it here.
func (s *Session) send(ctx context.Context, message func(dst []byte) []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.out = message(s.out[:0])
	s.stats.out.Add(int64(len(s.out)))
	// The deadline is set below the library, which would close the connection
	// on a context's end.
	if err := s.ws.Write(context.WithoutCancel(ctx), websocket.MessageText, s.out); err != nil {
		s.conn.Abort()
	}
	if cap(s.out) > keepBuffer {
		s.out = nil
	}
}

// Close says goodbye, waits a moment for the answer, and closes the
// connection. Requests on their way end with a Disconnect. It returns when the
// reader has stopped, and may be called more than once.
func (s *Session) Close(ctx context.Context) {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		stop := context.AfterFunc(ctx, s.conn.Abort)
		s.pulse.stop(time.Now().Add(closeTimeout))
		_ = s.ws.Close(websocket.StatusNormalClosure, "") // a lost connection is closed too
		stop()
		s.conn.Abort()
	}
	s.reader.Wait()
}

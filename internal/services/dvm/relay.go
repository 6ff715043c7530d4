package dvm

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
)

const (
	// lasted is how long a connection must have lasted to count as good.
	lasted = time.Minute
	// announceEvery is the time between two announcements.
	announceEvery = 24 * time.Hour
	kindHandler   = nostr.Kind(31990)
	identifier    = "bigbrotr"
)

// waits are when a relay that was lost is connected to again.
var waits = service.Multiples(time.Second, 0.2, 1, 2, 5, 15, 60, 300)

// peer is a relay where jobs are looked for.
type peer struct {
	service *Service
	url     relay.URL

	mu        sync.Mutex
	session   *session.Session // nil while there is none
	announced time.Time
}

// listen brings what arrives at the relay until ctx ends.
func (p *peer) listen(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		begin := time.Now()
		err := p.stay(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > lasted {
			failures = 0
		}
		failures++
		wait := waits.After(failures)
		p.service.log.DebugContext(ctx, "relay of jobs is lost", "relay", p.url.String(), "retry_in", wait, "error", err)
		service.Pause(ctx, wait)
	}
}

// stay connects, asks for requests and cancellations, and returns when either
// subscription has ended.
func (p *peer) stay(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := session.Dial(ctx, p.url, p.service.session())
	if err != nil {
		return err
	}
	s.Rest() // what is said on it is little, and seldom
	p.set(s)
	p.service.metrics.connected.Inc()
	var tails sync.WaitGroup
	// With a job of which this relay is the only one to know its answer is sent.
	since := time.Now().Add(-p.service.cfg.MaxAge.Std()).Unix()
	kind := p.service.cfg.Kind
	filters := []nostr.Filter{
		{Kinds: []nostr.Kind{kind}, Since: &since},
		{Kinds: []nostr.Kind{kindDeletion}, Tags: map[string][]string{"k": {strconv.FormatInt(int64(kind), 10)}}, Since: &since},
	}
	stand := make(chan struct{}, len(filters))
	for _, f := range filters {
		tails.Go(func() {
			defer cancel()
			p.tail(ctx, s, f, sync.OnceFunc(func() { stand <- struct{}{} }))
		})
	}
	// Who reads that we take jobs may send one at once.
	for range filters {
		select {
		case <-stand:
		case <-ctx.Done():
		}
	}
	p.announce(ctx, s)
	tails.Wait()
	p.set(nil)
	p.service.metrics.connected.Dec()
	s.Close(context.WithoutCancel(ctx))
	return nil
}

func (p *peer) set(s *session.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = s
}

// tail reads one subscription, a second time when the relay wants to know who
// we are. stands is called when what is stored has come.
func (p *peer) tail(ctx context.Context, s *session.Session, f nostr.Filter, stands func()) {
	for range 2 {
		page, err := s.Tail(ctx, []nostr.Filter{f}, func(raw []byte) error {
			p.service.brought(raw)
			return nil
		}, stands)
		if err != nil || page.End.Prefix != nostr.PrefixAuthRequired {
			return
		}
		if ok, err := s.Auth(ctx, *p.service.key); err != nil || !ok.Accepted {
			return
		}
	}
}

// brought puts an event in the queue. Nothing may wait here: the answers of the
// relay to what we publish come on the same way.
func (s *Service) brought(raw []byte) {
	if len(raw) > maxRequest {
		s.metrics.end(endMalformed)
		return
	}
	select {
	case s.queue <- slices.Clone(raw):
	default:
		s.metrics.end(endDropped)
	}
}

func (s *Service) session() session.Options {
	return session.Options{Dialer: s.dialer, Idle: sendTime}
}

// announce says what the service does (NIP-89), once a day to each relay.
func (p *peer) announce(ctx context.Context, s *session.Session) {
	if time.Since(p.announced) < announceEvery {
		return
	}
	e, err := p.service.announcement()
	if err != nil {
		p.service.log.WarnContext(ctx, "no announcement can be made", "error", err)
		return
	}
	if p.publish(ctx, s, &e) {
		p.announced = time.Now()
	}
}

func (s *Service) announcement() (nostr.Event, error) {
	content, err := json.Marshal(map[string]any{"name": s.cfg.Name, "about": s.cfg.About, "encryptionSupported": true, "amount": price(s.cfg.Price.Msats)})
	if err != nil {
		return nostr.Event{}, err
	}
	e := nostr.Event{
		CreatedAt: time.Now().Unix(), Kind: kindHandler, Content: string(content),
		Tags: []nostr.Tag{{"d", identifier}, {"k", strconv.FormatInt(int64(s.cfg.Kind), 10)}},
	}
	return e, s.key.Sign(&e)
}

// price says what a job costs in the words that clients look for.
func price(msats int64) any {
	if msats == 0 {
		return "free"
	}
	return msats
}

// publish sends an event and tells whether the relay took it.
func (p *peer) publish(ctx context.Context, s *session.Session, e *nostr.Event) bool {
	ok, err := s.Publish(ctx, e)
	if err == nil && !ok.Accepted && ok.Prefix == nostr.PrefixAuthRequired && s.Challenge() != "" {
		if who, auth := s.Auth(ctx, *p.service.key); auth == nil && who.Accepted {
			ok, err = s.Publish(ctx, e)
		}
	}
	taken := err == nil && ok.Accepted
	result := "refused"
	if taken {
		result = "accepted"
	}
	p.service.metrics.sent.WithLabelValues(result).Inc()
	return taken
}

// outbox sends the events of one job, in their order, to each of its relays.
type outbox struct {
	lines []chan *nostr.Event
	work  sync.WaitGroup
	mu    sync.Mutex
	taken map[nostr.ID]int // by how many relays
}

// outboxEvents is the most events that a job has in one outbox.
const outboxEvents = 4

// outbox opens the way to our relays and to those that a request names.
func (s *Service) outbox(ctx context.Context, named []relay.URL) *outbox {
	o := &outbox{taken: map[nostr.ID]int{}}
	peers := slices.Clone(s.peers)
	for _, u := range named {
		if !slices.ContainsFunc(peers, func(p *peer) bool { return p.url == u }) {
			peers = append(peers, &peer{service: s, url: u})
		}
	}
	for _, p := range peers {
		line := make(chan *nostr.Event, outboxEvents)
		o.lines = append(o.lines, line)
		o.work.Go(func() { o.drain(ctx, p, line) })
	}
	return o
}

// send puts an event on its way.
func (o *outbox) send(e *nostr.Event) {
	for _, line := range o.lines {
		line <- e
	}
}

// close waits until everything has been sent, and tells by how many relays each
// event was taken.
func (o *outbox) close() map[nostr.ID]int {
	for _, line := range o.lines {
		close(line)
	}
	o.work.Wait()
	return o.taken
}

func (o *outbox) drain(ctx context.Context, p *peer, line chan *nostr.Event) {
	dialling, cancel := context.WithTimeout(ctx, sendTime)
	s, done := p.connect(dialling)
	cancel()
	defer done()
	for e := range line {
		if s == nil {
			continue
		}
		sending, cancel := context.WithTimeout(ctx, sendTime)
		if p.publish(sending, s, e) {
			o.mu.Lock()
			o.taken[e.ID]++
			o.mu.Unlock()
		}
		cancel()
	}
}

// connect returns the standing connection to a relay of ours, else a new one, and
// what to do when it is not needed any more; nil when there is none.
func (p *peer) connect(ctx context.Context) (*session.Session, func()) {
	p.mu.Lock()
	standing := p.session
	p.mu.Unlock()
	if standing != nil {
		return standing, func() {}
	}
	s, err := session.Dial(ctx, p.url, p.service.session())
	if err != nil {
		p.service.metrics.sent.WithLabelValues("unreachable").Inc()
		return nil, func() {}
	}
	return s, func() { s.Close(context.WithoutCancel(ctx)) }
}

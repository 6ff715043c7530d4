package simnet

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

const (
	maxAsks   = 64     // requests of a connection that wait; more are not read
	maxLive   = 10_000 // live events that wait; a slower client is cut off
	maxClient = 1 << 20
)

// conversation is one WebSocket. One goroutine reads, one answers.
type conversation struct {
	relay *Relay
	ws    *session.Conn
	wire  *wire

	challenge string
	authed    bool // of the answering goroutine
	asked     int  // requests since since, for Rate
	since     time.Time
	out       []byte
	// negotiations are open, of the answering goroutine.
	negotiations []negotiation
	prefixOf     string // the subscription whose event prefix was made last
	prefix       []byte

	mu   sync.Mutex
	subs map[string]*subscription
	live []entry
	// flooded: more came than was sent in time.
	flooded bool
	wake    chan struct{} // holds one token while live is not empty
}

// subscription is an open REQ.
type subscription struct {
	filters []nostr.Filter
	closed  atomic.Bool
	live    bool   // stored events have been sent; guarded by conversation.mu
	upTo    uint32 // the newest arrival among them
}

// ask is a client's message that wants an answer.
type ask struct {
	nostr.ClientMessage
	sub *subscription // of a REQ
}

// serveSession takes a WebSocket and talks until one side ends it.
func (r *Relay) serveSession(w http.ResponseWriter, req *http.Request) {
	be := r.behaviour.Load()
	n := r.counters.handshakes.Add(1)
	mode := What("")
	for _, f := range be.struck(r.seed, n, What.ofConnection) {
		switch f.What {
		case Status:
			http.Error(w, http.StatusText(f.N), f.N)
			return
		case Hang:
			<-req.Context().Done()
			return
		case Silent, Echo:
			mode = f.What
		}
	}
	wire, ok := req.Context().Value(wireKey{}).(*wire)
	if !ok {
		http.Error(w, "no connection", http.StatusInternalServerError)
		return
	}
	ws, err := session.Accept(w, req, session.AcceptOptions{MaxFrame: maxClient, Compress: be.Compress})
	if err != nil {
		return // Accept has answered
	}
	most(&r.counters.maxOpen, r.counters.open.Add(1))
	defer r.counters.open.Add(-1)
	c := &conversation{
		relay: r, ws: ws, wire: wire,
		subs: map[string]*subscription{}, wake: make(chan struct{}, 1),
	}
	// The request's context ends when this handler returns; the base ends when
	// the relay stops. Both are in here.
	ctx, cancel := context.WithCancel(req.Context())
	var answering sync.WaitGroup
	defer func() {
		cancel()
		ws.Abort()
		answering.Wait()
	}()
	if mode != "" {
		c.pretend(ctx, mode)
		return
	}
	r.mu.Lock()
	if r.talks == nil {
		r.talks = map[*conversation]bool{}
	}
	r.talks[c] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.talks, c)
	}()

	asks := make(chan ask, maxAsks)
	answering.Go(func() {
		defer cancel() // whoever stops answering stops reading
		c.answerAll(ctx, asks)
	})
	c.read(ctx, asks)
}

// most raises a counter to n.
func most(counter *atomic.Int64, n int64) {
	for {
		have := counter.Load()
		if n <= have || counter.CompareAndSwap(have, n) {
			return
		}
	}
}

// pretend keeps a WebSocket that is not Nostr.
func (c *conversation) pretend(ctx context.Context, mode What) {
	for {
		b, err := c.ws.ReadMessage(ctx)
		if err != nil {
			return
		}
		if mode == Echo && c.write(ctx, b) != nil {
			return
		}
	}
}

// read takes the client's messages until the connection ends.
func (c *conversation) read(ctx context.Context, asks chan<- ask) {
	for {
		b, err := c.ws.ReadMessage(ctx)
		if err != nil {
			return
		}
		a := ask{}
		a.ClientMessage, err = nostr.ParseClientMessage(append([]byte(nil), b...))
		switch {
		case err != nil:
			a.Label = "" // answered by a NOTICE
		case a.Label == nostr.LabelReq:
			c.relay.record(a.Filters)
			a.sub = &subscription{filters: a.Filters}
			c.mu.Lock()
			if old := c.subs[a.Sub]; old != nil {
				old.closed.Store(true)
			}
			c.subs[a.Sub] = a.sub
			most(&c.relay.counters.maxSubs, int64(len(c.subs)))
			c.mu.Unlock()
		case a.Label == nostr.LabelCount:
			c.relay.counters.counts.Add(1)
		case a.Label == nostr.LabelClose:
			c.relay.counters.closes.Add(1)
			c.drop(a.Sub)
			continue
		}
		select {
		case asks <- a:
		case <-ctx.Done():
			return
		}
	}
}

func (c *conversation) drop(sub string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.subs[sub]; s != nil {
		s.closed.Store(true)
		delete(c.subs, sub)
	}
}

// offer hands events that have just arrived to live subscriptions.
func (c *conversation) offer(events []entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.subs) == 0 || len(events) == 0 {
		return
	}
	if len(c.live)+len(events) > maxLive {
		c.flooded = true
	} else {
		c.live = append(c.live, events...)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// answerAll answers requests one after another and sends live events between
// them. It returns when the connection is no longer of use.
func (c *conversation) answerAll(ctx context.Context, asks <-chan ask) {
	if be := c.relay.behaviour.Load(); (be.Auth || be.Parties) && c.challengeClient(ctx) != nil {
		return
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case a := <-asks:
			err = c.answer(ctx, a)
		case <-c.wake:
			err = c.sendLive(ctx)
		}
		if err != nil {
			return
		}
	}
}

func (c *conversation) answer(ctx context.Context, a ask) error {
	be := c.relay.behaviour.Load()
	switch a.Label {
	case nostr.LabelReq:
		return c.answerReq(ctx, be, a)
	case nostr.LabelCount:
		return c.answerCount(ctx, be, a)
	case nostr.LabelAuth:
		return c.answerAuth(ctx, a)
	case nostr.LabelEvent:
		return c.answerEvent(ctx, a)
	case nostr.LabelNegOpen, nostr.LabelNegMsg, nostr.LabelNegClose:
		return c.negotiate(ctx, be, a)
	case "":
		return c.notice(ctx, "error: bad message")
	}
	return c.notice(ctx, "error: unknown message")
}

// refusal returns why a request is refused whatever its page would be.
func (c *conversation) refusal(be *Behaviour, filters []nostr.Filter) string {
	if be.Auth && !c.authed {
		return "auth-required: who are you?"
	}
	if be.Auth && be.Admits == AdmitMembers {
		return "restricted: for members only"
	}
	if be.Rate.Requests > 0 {
		if now := time.Now(); c.since.IsZero() || be.Rate.Per > 0 && now.Sub(c.since) >= be.Rate.Per {
			c.since, c.asked = now, 0
		}
		if c.asked++; c.asked > be.Rate.Requests {
			return cmp.Or(be.Rate.Text, "rate-limited: slow down")
		}
	}
	if be.MaxSubs > 0 {
		c.mu.Lock()
		open := len(c.subs)
		c.mu.Unlock()
		if open > be.MaxSubs {
			return "error: too many concurrent REQs"
		}
	}
	for i := range filters {
		if why := be.refuses(&filters[i], c.authed); why != "" {
			return why
		}
	}
	return ""
}

// refuse says no in the relay's way.
func (c *conversation) refuse(ctx context.Context, be *Behaviour, sub, why string) error {
	c.relay.counters.refused.Add(1)
	c.drop(sub)
	if strings.HasPrefix(why, nostr.PrefixAuthRequired) && c.challenge == "" {
		if err := c.challengeClient(ctx); err != nil {
			return err
		}
	}
	switch be.RefuseAs {
	case RefuseNotice:
		return c.notice(ctx, why)
	case RefuseNoticeEOSE:
		if err := c.notice(ctx, why); err != nil {
			return err
		}
		return c.eose(ctx, sub, 0)
	case RefuseEmpty:
		return c.eose(ctx, sub, 0)
	}
	return c.closed(ctx, sub, why)
}

func (c *conversation) answerCount(ctx context.Context, be *Behaviour, a ask) error {
	if err := wait(ctx, be.Latency); err != nil {
		return err
	}
	switch be.Count {
	case CountNever:
		return nil
	case CountNotice:
		return c.notice(ctx, "error: unknown message")
	case CountClosed:
		return c.closed(ctx, a.Sub, "unsupported: no COUNT here")
	}
	if why := c.refusal(be, a.Filters); why != "" {
		c.relay.counters.refused.Add(1)
		return c.closed(ctx, a.Sub, why)
	}
	keep := be.shows
	if be.PostFilter {
		keep = nil
	}
	n := 0
	for i := range a.Filters {
		n += c.relay.book.count(&a.Filters[i], boundsOf(&a.Filters[i], be), keep)
	}
	result := nostr.CountResult{Count: int64(n)}
	if be.Count != CountExact {
		result.Count += int64(n/10 + 1)
		result.Approximate = be.Count == CountApproximate
	}
	c.out = nostr.AppendCountMessage(c.out[:0], a.Sub, result)
	return c.write(ctx, c.out)
}

func (c *conversation) challengeClient(ctx context.Context) error {
	c.challenge = hex.EncodeToString([]byte(c.relay.url.String())) // not a secret, and the same in every run
	c.out = nostr.AppendChallenge(c.out[:0], c.challenge)
	return c.write(ctx, c.out)
}

// answerAuth checks a NIP-42 event.
func (c *conversation) answerAuth(ctx context.Context, a ask) error {
	e, err := nostr.ParseEvent(a.Event)
	if err != nil {
		return c.notice(ctx, "invalid: not an event")
	}
	has := func(name, value string) bool {
		for _, t := range e.Tags {
			if len(t) > 1 && t[0] == name && strings.TrimSuffix(t[1], "/") == strings.TrimSuffix(value, "/") {
				return true
			}
		}
		return false
	}
	ok := e.Kind == 22242 && e.CheckID() == nil && e.Verify() == nil &&
		c.challenge != "" && has("challenge", c.challenge) && has("relay", c.relay.url.String())
	text := ""
	switch {
	case ok && c.relay.behaviour.Load().Admits == AdmitNone:
		ok, text = false, "restricted: not you"
	case ok:
		c.authed = true
		c.relay.meet(e.PubKey)
	default:
		text = "invalid: not the authentication that was asked for"
	}
	c.out = nostr.AppendOK(c.out[:0], e.ID, ok, text)
	return c.write(ctx, c.out)
}

// answerEvent takes a published event in.
func (c *conversation) answerEvent(ctx context.Context, a ask) error {
	e, err := nostr.ParseEvent(a.Event)
	if err != nil {
		return c.notice(ctx, "invalid: not an event")
	}
	be := c.relay.behaviour.Load()
	text := be.Writes.refuses(&e, time.Now())
	switch {
	case e.CheckID() != nil || e.Verify() != nil:
		text = "invalid: id or signature is wrong"
	case be.Auth && !c.authed:
		text = "auth-required: who are you?"
	}
	if text == "" {
		c.relay.Add(NewEvent(&e))
		if be.Writes.Deletes {
			c.relay.Remove(deleted(&e)...)
		}
	}
	c.out = nostr.AppendOK(c.out[:0], e.ID, text == "", text)
	return c.write(ctx, c.out)
}

// refuses returns why a valid event is refused, or "".
func (w *Writes) refuses(e *nostr.Event, now time.Time) string {
	at := time.Unix(e.CreatedAt, 0)
	zeros := 0
	for _, b := range e.ID {
		zeros += bits.LeadingZeros8(b)
		if b != 0 {
			break
		}
	}
	switch {
	case w.Refuse != "":
		return w.Refuse
	case zeros < w.Bits:
		return "pow: too little work"
	case w.Past > 0 && at.Before(now.Add(-w.Past)):
		return "invalid: too old"
	case w.Future > 0 && at.After(now.Add(w.Future)):
		return "invalid: of the future"
	}
	for _, tag := range e.Tags {
		switch {
		case w.Protects && len(tag) == 1 && tag[0] == "-":
			return "auth-required: only its author may send it"
		case w.Expires && len(tag) > 1 && tag[0] == "expiration":
			if until, err := strconv.ParseInt(tag[1], 10, 64); err == nil && until < now.Unix() {
				return "invalid: expired"
			}
		}
	}
	return ""
}

// deleted are the events whose deletion an event asks for.
func deleted(e *nostr.Event) []nostr.ID {
	var ids []nostr.ID
	if e.Kind != 5 {
		return nil
	}
	for _, tag := range e.Tags {
		if len(tag) > 1 && tag[0] == "e" {
			if id, err := nostr.ParseID(tag[1]); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// sendLive sends what has arrived since to the subscriptions it matches.
func (c *conversation) sendLive(ctx context.Context) error {
	c.mu.Lock()
	events := c.live
	c.live = nil
	flooded := c.flooded
	subs := make(map[string]*subscription, len(c.subs))
	for name, s := range c.subs {
		if s.live {
			subs[name] = s
		}
	}
	c.mu.Unlock()
	if flooded {
		return errSlow
	}
	be := c.relay.behaviour.Load()
	c.wire.pack()
	for name, s := range subs {
		for i := range s.filters {
			f := &s.filters[i]
			m, w := newMatcher(f), boundsOf(f, be)
			for _, e := range events {
				if e.seq <= s.upTo || e.CreatedAt < w.lo || e.CreatedAt > w.hi || !be.shows(e.Event) || !be.Live.tells(e.Event) || !m.matches(e.Event) {
					continue
				}
				if err := c.event(ctx, name, e.JSON); err != nil {
					return err
				}
			}
		}
	}
	return c.wire.release()
}

func (c *conversation) event(ctx context.Context, sub string, text []byte) error {
	if c.prefixOf != sub || c.prefix == nil {
		c.prefixOf, c.prefix = sub, eventPrefix(sub)
	}
	c.out = append(append(append(c.out[:0], c.prefix...), text...), ']')
	c.relay.counters.events.Add(1)
	return c.write(ctx, c.out)
}

func (c *conversation) notice(ctx context.Context, text string) error {
	c.out = nostr.AppendNOTICE(c.out[:0], text)
	return c.write(ctx, c.out)
}

func (c *conversation) closed(ctx context.Context, sub, why string) error {
	c.out = nostr.AppendCLOSED(c.out[:0], sub, why)
	return c.write(ctx, c.out)
}

func (c *conversation) eose(ctx context.Context, sub string, hints nostr.Hints) error {
	c.out = nostr.AppendEOSE(c.out[:0], sub, hints)
	return c.write(ctx, c.out)
}

func (c *conversation) write(ctx context.Context, b []byte) error {
	c.relay.counters.frames.Add(1)
	c.relay.counters.payload.Add(int64(len(b)))
	return c.ws.WriteMessage(ctx, b)
}

// eventPrefix is an EVENT message up to its event.
func eventPrefix(sub string) []byte {
	b, err := json.Marshal(sub)
	if err != nil {
		panic(fmt.Sprintf("simnet: encode subscription: %v", err)) // strings always encode
	}
	return append(append([]byte(`["EVENT",`), b...), ',')
}

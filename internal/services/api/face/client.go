package face

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

// client is a connection of a client. One goroutine reads; questions are
// answered and new events sent by others.
type client struct {
	face  *Face
	conn  *session.Conn
	limit *rate.Limiter
	host  string // that it asked for, or that it has to ask for
	end   context.CancelFunc

	running chan struct{} // the right to have a question answered
	work    sync.WaitGroup

	writing sync.Mutex
	out     []byte

	mu        sync.Mutex
	subs      map[string]*subscription
	queue     []delivery
	queued    int           // bytes of queue and of what is pending
	sending   bool          // somebody sends the queue
	slow      bool          // it was cut
	caughtUp  chan struct{} // to be closed when half of the queue is free; may be nil
	challenge string
	readers   []nostr.PubKey // replaced, never changed
	// Reconciliations that are open, by name, and how many are being opened.
	reconciling map[string]*reconciliation
	opening     int
	refusals    int // in a row
}

// subscription is an open REQ.
type subscription struct {
	client  *client
	id      string
	filters []nostr.Filter
	values  int64
	cancel  context.CancelFunc

	// Under the client's lock.
	over    bool
	live    bool                  // what is stored was sent
	pending []delivery            // came before that
	sent    map[nostr.ID]struct{} // what was stored and may come again as new

	// Under the feed's lock.
	mark  uint64 // the last event that it was found for
	until uint64 // the round after which nothing comes again
}

// delivery is a newly archived event on its way to a subscription.
type delivery struct {
	sub   *subscription
	event *store.Stored
}

func newClient(f *Face, conn *session.Conn, account, host string, end context.CancelFunc) *client {
	return &client{
		face: f, conn: conn, limit: f.clients.limit(account), host: host, end: end,
		running: make(chan struct{}, maxRunning), subs: map[string]*subscription{}, challenge: rand.Text(),
		reconciling: map[string]*reconciliation{},
	}
}

// serve answers the client until it leaves.
func (c *client) serve(ctx context.Context) {
	defer c.endReconciliations() // also those that were just being opened
	defer c.work.Wait()
	defer c.leave()
	for {
		b, err := c.conn.ReadMessage(ctx)
		if err != nil {
			return
		}
		if !c.handle(ctx, b) {
			c.close(closePolicy, "too many messages that could not be answered")
			return
		}
	}
}

// leave ends everything that is under way.
func (c *client) leave() {
	c.end()
	c.conn.Abort()
	c.mu.Lock()
	subs := make([]*subscription, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	c.mu.Unlock()
	for _, s := range subs {
		c.drop(s)
	}
}

// close says goodbye; the reader notices.
func (c *client) close(code int, reason string) {
	_ = c.conn.Close(code, reason)
	c.end()
	c.conn.Abort()
}

// write sends one message. A client that does not take it in time is cut.
func (c *client) write(ctx context.Context, message func(dst []byte) []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	c.out = message(c.out[:0])
	err := c.conn.WriteMessage(ctx, c.out)
	if cap(c.out) > keepOut {
		c.out = nil
	}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			c.face.metrics.cut.Inc()
		}
		c.end()
		c.conn.Abort()
	}
	return err
}

// keepOut is how large a buffer may be that a connection keeps.
const keepOut = 4 << 10

func (c *client) notice(ctx context.Context, prefix, text string) {
	c.refused(prefix)
	_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendNOTICE(dst, prefix+": "+text) })
}

func (c *client) closed(ctx context.Context, sub, text string) {
	c.refused(nostr.Prefix(text))
	_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendCLOSED(dst, sub, text) })
}

func (c *client) refused(prefix string) {
	c.face.metrics.refused.WithLabelValues(prefix).Inc()
	c.mu.Lock()
	c.refusals++
	c.mu.Unlock()
}

// accepted notes that a message could be answered.
func (c *client) accepted() {
	c.mu.Lock()
	c.refusals = 0
	c.mu.Unlock()
}

// handle answers one message. It is false when the client does nothing but
// what is refused.
func (c *client) handle(ctx context.Context, b []byte) bool {
	m, err := nostr.ParseClientMessage(b)
	label := "other"
	if slices.Contains(labels, m.Label) {
		label = m.Label
	}
	c.face.metrics.messages.WithLabelValues(label).Inc()
	switch {
	case !c.limit.AllowN(time.Now(), c.price(m.Label)):
		c.refuse(ctx, &m, nostr.PrefixRateLimited, "slow down")
	case err != nil:
		c.refuse(ctx, &m, nostr.PrefixInvalid, problem(err))
	default:
		c.answer(ctx, &m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusals < maxRefusals
}

// labels are the messages that are known.
var labels = []string{
	nostr.LabelEvent, nostr.LabelReq, nostr.LabelClose, nostr.LabelAuth, nostr.LabelCount,
	nostr.LabelNegOpen, nostr.LabelNegMsg, nostr.LabelNegClose,
}

func (c *client) price(label string) int {
	switch label {
	case nostr.LabelClose, nostr.LabelNegMsg, nostr.LabelNegClose:
		return costRound
	}
	return costRequest
}

// problem is an error of the parser for people.
func problem(err error) string {
	if e, ok := errors.AsType[*nostr.ParseError](err); ok {
		return "not understood (" + string(e.Reason) + ") at byte " + strconv.Itoa(e.Offset)
	}
	return err.Error()
}

// refuse says no to a message, in the way in which its sender waits for it.
func (c *client) refuse(ctx context.Context, m *nostr.ClientMessage, prefix, text string) {
	switch {
	case m.Label == nostr.LabelEvent || m.Label == nostr.LabelAuth:
		if ref, ok := nostr.ScanEvent(m.Event); ok {
			c.ok(ctx, ref.ID, false, prefix+": "+text)
			return
		}
	case (m.Label == nostr.LabelNegOpen || m.Label == nostr.LabelNegMsg) && m.Sub != "":
		c.endReconciliation(m.Sub)
		c.negErr(ctx, m.Sub, prefix+": "+text, 0)
		return
	case (m.Label == nostr.LabelReq || m.Label == nostr.LabelCount) && m.Sub != "":
		c.closed(ctx, m.Sub, prefix+": "+text)
		return
	}
	c.notice(ctx, prefix, text)
}

func (c *client) ok(ctx context.Context, id nostr.ID, accepted bool, text string) {
	if !accepted {
		c.refused(nostr.Prefix(text))
	}
	_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendOK(dst, id, accepted, text) })
}

func (c *client) answer(ctx context.Context, m *nostr.ClientMessage) {
	switch m.Label {
	case nostr.LabelReq:
		c.request(ctx, m)
	case nostr.LabelCount:
		c.count(ctx, m)
	case nostr.LabelClose:
		c.mu.Lock()
		s := c.subs[m.Sub]
		c.mu.Unlock()
		if s != nil {
			c.drop(s)
		}
	case nostr.LabelNegOpen:
		c.reconcile(ctx, m)
	case nostr.LabelNegMsg:
		c.goOn(ctx, m)
	case nostr.LabelNegClose:
		c.endReconciliation(m.Sub)
	case nostr.LabelAuth:
		c.authenticate(ctx, m)
	case nostr.LabelEvent:
		c.refuse(ctx, m, nostr.PrefixBlocked, "this is an archive, it takes no events from clients")
	default:
		c.refuse(ctx, m, nostr.PrefixUnsupported, "no such message here")
	}
}

// request opens a subscription.
func (c *client) request(ctx context.Context, m *nostr.ClientMessage) {
	// An open one of that name is replaced, whatever becomes of this one.
	c.mu.Lock()
	old := c.subs[m.Sub]
	c.mu.Unlock()
	if old != nil {
		c.drop(old)
	}
	filters, values, why := c.check(ctx, m)
	if why != "" {
		c.closed(ctx, m.Sub, why)
		return
	}
	filters, narrowed, why := c.whole(ctx, filters)
	if why != "" {
		c.closed(ctx, m.Sub, why)
		return
	}
	asking, cancel := context.WithCancel(ctx)
	s := &subscription{client: c, id: m.Sub, filters: filters, values: values, cancel: cancel, sent: map[nostr.ID]struct{}{}}
	c.mu.Lock()
	full := len(c.subs) >= c.face.cfg.Subscriptions
	if !full {
		c.subs[s.id] = s
	}
	c.mu.Unlock()
	if full {
		cancel()
		c.closed(ctx, m.Sub, nostr.PrefixRestricted+": no more than "+strconv.Itoa(c.face.cfg.Subscriptions)+" subscriptions at a time")
		return
	}
	if c.face.values.Add(values) > maxAllValues {
		c.face.values.Add(-values)
		s.values = 0
		c.forget(s)
		c.closed(ctx, m.Sub, c.face.reason(ctx, errBusy))
		return
	}
	// Before the store is asked, so that nothing falls in between.
	if err := c.face.feed.join(ctx, s); err != nil {
		c.forget(s)
		c.closed(ctx, m.Sub, c.face.reason(ctx, err))
		return
	}
	c.accepted()
	c.run(ctx, func() { c.stored(ctx, asking, s, narrowed) })
}

// run has a question answered while the reader goes on, unless so many are
// being answered that the client has to wait.
func (c *client) run(ctx context.Context, question func()) {
	select {
	case c.running <- struct{}{}:
	case <-ctx.Done():
		return
	}
	c.work.Go(func() {
		defer func() { <-c.running }()
		question()
	})
}

// check returns the filters of a question and how many values they have, or why
// it is not answered.
func (c *client) check(ctx context.Context, m *nostr.ClientMessage) (filters []nostr.Filter, values int64, why string) {
	if len(m.Filters) > maxFilters {
		return nil, 0, nostr.PrefixRestricted + ": no more than " + strconv.Itoa(maxFilters) + " filters"
	}
	private := 0
	for i := range m.Filters {
		f := &m.Filters[i]
		if f.Search != "" {
			if why := c.search(ctx, f.Search); why != "" {
				return nil, 0, why
			}
		}
		values += int64(1 + len(f.IDs) + len(f.Authors) + len(f.Kinds))
		for _, v := range f.Tags {
			values += int64(len(v))
		}
		if len(f.Kinds) > 0 && !slices.ContainsFunc(f.Kinds, func(k nostr.Kind) bool { return !recipients(k) }) {
			private++
		}
	}
	if values > maxValues {
		return nil, 0, nostr.PrefixRestricted + ": no more than " + strconv.Itoa(maxValues) + " values in filters"
	}
	if private == len(m.Filters) && len(c.authenticated()) == 0 {
		c.mu.Lock()
		challenge := c.challenge
		c.mu.Unlock()
		_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendChallenge(dst, challenge) })
		return nil, 0, nostr.PrefixAuthRequired + ": these kinds are served to their authors and recipients only"
	}
	return m.Filters, values, ""
}

// search returns why a search is not answered, if it is not.
func (c *client) search(ctx context.Context, text string) string {
	on, err := c.face.searchable(ctx)
	if err != nil {
		return c.face.reason(ctx, err)
	}
	if !on {
		return nostr.PrefixUnsupported + ": search is not supported"
	}
	if _, err := store.SearchWords(text); err != nil {
		return nostr.PrefixInvalid + ": " + err.Error()
	}
	return ""
}

// recipients tells whether events of a kind are for their recipients only.
func recipients(k nostr.Kind) bool { return slices.Contains(store.PrivateKinds(), k) }

// whole narrows filters to the kinds that are kept whole: others cannot be
// served as events. It says why when nothing is left.
func (c *client) whole(ctx context.Context, filters []nostr.Filter) (left []nostr.Filter, narrowed bool, why string) {
	keep, err := c.face.policy(ctx)
	if err != nil {
		return nil, false, c.face.reason(ctx, err)
	}
	if keep.Mode != store.KeepIndex {
		return filters, false, ""
	}
	for _, f := range filters {
		kinds := slices.DeleteFunc(slices.Clone(f.Kinds), func(k nostr.Kind) bool { return !keep.Full(k) })
		if len(f.Kinds) == 0 {
			kinds = slices.Clone(keep.FullKinds)
		}
		narrowed = narrowed || len(f.Kinds) == 0 || len(kinds) < len(f.Kinds)
		if f.Kinds = kinds; len(kinds) > 0 {
			left = append(left, f)
		}
	}
	if len(left) == 0 {
		return nil, false, nostr.PrefixUnsupported + ": this archive cannot serve events of these kinds. " + indexed(keep)
	}
	return left, narrowed, ""
}

// stored sends what is archived, and lets what came meanwhile follow. Asking
// ends with the subscription; a write that is cut short takes the connection
// with it, so those end with the connection.
func (c *client) stored(ctx, asking context.Context, s *subscription, narrowed bool) {
	asking, cancel := context.WithTimeout(asking, answerWithin)
	defer cancel()
	hints, err := c.sendStored(ctx, asking, s)
	if err != nil {
		if c.drop(s) { // else the client has closed it, or has left
			c.closed(ctx, s.id, c.face.reason(ctx, err))
		}
		return
	}
	if narrowed {
		hints &^= nostr.HintFinish
		if keep, err := c.face.policy(asking); err == nil {
			_ = c.write(ctx, func(dst []byte) []byte { return nostr.AppendNOTICE(dst, s.id+": "+indexed(keep)) })
		}
	}
	if c.write(ctx, func(dst []byte) []byte { return nostr.AppendEOSE(dst, s.id, hints) }) != nil {
		return
	}
	c.mu.Lock()
	s.live = true
	for _, d := range s.pending {
		if _, sent := s.sent[d.event.Event.ID]; sent {
			c.queued -= d.event.Weight()
		} else {
			c.queue = append(c.queue, d)
		}
	}
	s.pending = nil
	c.send(ctx)
	c.mu.Unlock()
	c.face.feed.settle(s)
}

func (c *client) sendStored(ctx, asking context.Context, s *subscription) (nostr.Hints, error) {
	list := c.face.serve(s.filters, c.authenticated())
	defer list.close()
	for {
		e, err := list.next(asking)
		if err != nil {
			return 0, err
		}
		if e == nil {
			return c.hints(asking, s, list)
		}
		c.mu.Lock()
		over := s.over
		if !over {
			s.sent[e.Event.ID] = struct{}{}
		}
		c.mu.Unlock()
		if over {
			return 0, context.Canceled
		}
		if err := c.write(ctx, func(dst []byte) []byte { return nostr.AppendEventMessage(dst, s.id, &e.Event) }); err != nil {
			return 0, err
		}
		c.face.metrics.events.WithLabelValues("stored").Inc()
	}
}

// hints tells what to say of the completeness of an answer (NIP-67).
func (c *client) hints(ctx context.Context, s *subscription, list *served) (hints nostr.Hints, err error) {
	if slices.ContainsFunc(s.filters, func(f nostr.Filter) bool { return slices.ContainsFunc(f.Kinds, recipients) }) && len(c.authenticated()) == 0 {
		hints |= nostr.HintAuth
	}
	more, err := list.more(ctx)
	switch {
	case err != nil:
		return 0, err
	case more:
		hints |= nostr.HintMore
	case !list.omitted:
		hints |= nostr.HintFinish
	}
	return hints, nil
}

// drop ends a subscription and tells whether it was open.
func (c *client) drop(s *subscription) bool {
	if !c.forget(s) {
		return false
	}
	c.face.feed.leave(s)
	return true
}

// forget ends a subscription that the feed does not know.
func (c *client) forget(s *subscription) bool {
	s.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.over {
		return false
	}
	s.over = true
	c.face.values.Add(-s.values)
	for _, d := range s.pending {
		c.queued -= d.event.Weight()
	}
	s.pending, s.sent = nil, nil
	if c.subs[s.id] == s {
		delete(c.subs, s.id)
	}
	return true
}

// authenticated returns the keys that the client has shown to have.
func (c *client) authenticated() []nostr.PubKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readers
}

// settled says that what was stored does not come again as new.
func (c *client) settled(s *subscription) {
	c.mu.Lock()
	s.sent = nil
	c.mu.Unlock()
}

// deliver puts a newly archived event on the way to a subscription, and tells
// whether the client is behind. One that does not take what comes is cut.
func (c *client) deliver(ctx context.Context, s *subscription, e *store.Stored) (behind bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	query := store.EventQuery{Public: true, Readers: c.readers, Now: math.MinInt64} // whether it has expired was looked at
	if _, sent := s.sent[e.Event.ID]; sent || s.over || c.slow || query.Withholds(&store.Record{Stored: *e}) {
		return false
	}
	if c.queued += e.Weight(); c.queued > maxQueue && c.queued > e.Weight() {
		c.slow = true
		c.face.metrics.cut.Inc()
		c.end()
		c.conn.Abort()
		return false
	}
	d := delivery{s, e}
	if !s.live {
		s.pending = append(s.pending, d)
		return false
	}
	c.queue = append(c.queue, d)
	c.send(ctx)
	return c.queued > maxQueue/2
}

// waitFor returns when the client has caught up, or ctx has ended.
func (c *client) waitFor(ctx context.Context) {
	caughtUp := make(chan struct{})
	c.mu.Lock()
	if c.queued <= maxQueue/2 || c.slow {
		c.mu.Unlock()
		return
	}
	c.caughtUp = caughtUp
	c.mu.Unlock()
	select {
	case <-caughtUp:
	case <-ctx.Done():
	}
}

// send starts the sending of the queue unless it is under way. The caller holds
// the lock.
func (c *client) send(ctx context.Context) {
	if c.sending || len(c.queue) == 0 {
		return
	}
	c.sending = true
	c.work.Go(func() { c.drain(ctx) })
}

// drain sends what is new until nothing is left.
func (c *client) drain(ctx context.Context) {
	for {
		c.mu.Lock()
		batch := c.queue
		c.queue = nil
		if len(batch) == 0 {
			c.sending = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, d := range batch {
			c.mu.Lock()
			c.queued -= d.event.Weight()
			if c.caughtUp != nil && c.queued <= maxQueue/2 {
				close(c.caughtUp)
				c.caughtUp = nil
			}
			over := d.sub.over
			c.mu.Unlock()
			if over {
				continue
			}
			if c.write(ctx, func(dst []byte) []byte { return nostr.AppendEventMessage(dst, d.sub.id, &d.event.Event) }) == nil {
				c.face.metrics.events.WithLabelValues("new").Inc()
			}
		}
	}
}

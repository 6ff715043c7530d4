package simnet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// Relay is one scripted relay. What it holds and how it behaves can change
// while it serves.
type Relay struct {
	url       relay.URL
	addr      netip.AddrPort
	listen    func(netip.AddrPort) (net.Listener, error)
	tls       *tls.Config // nil: without TLS
	seed      uint64
	book      book
	behaviour atomic.Pointer[Behaviour]
	counters  counters

	mu      sync.Mutex
	running *server // nil while stopped
	talks   map[*conversation]bool
	asked   []nostr.Filter
	clients []nostr.PubKey // that authenticated
}

// maxAsked bounds what Asked and Clients remember.
const maxAsked = 10_000

// counters are the totals behind Stats.
type counters struct {
	accepted, handshakes, requests, answered atomic.Int64
	counts, negs, opens, closes, infos       atomic.Int64
	events, frames, payload, bytes, refused  atomic.Int64
	open, maxOpen, maxSubs                   atomic.Int64
}

// Stats are totals over the life of a relay.
type Stats struct {
	Connections int64 // TCP connections made
	Sessions    int64 // WebSocket handshakes asked for
	Open        int64 // sessions that stand now
	MaxOpen     int64 // most sessions at once
	MaxSubs     int64 // most subscriptions of a session at once
	Requests    int64 // REQs received
	Counts      int64 // COUNTs received
	Negs        int64 // NEG-OPENs and NEG-MSGs received
	Opens       int64 // of those, NEG-OPENs
	Closes      int64 // CLOSEs received
	Infos       int64 // NIP-11 requests
	Refused     int64 // REQs and COUNTs refused
	Events      int64 // EVENT messages sent, forged and repeated ones too
	Frames      int64 // messages sent
	Payload     int64 // bytes of these messages, before they are compressed
	Bytes       int64 // sent on all connections, as compressed
}

// URL is where the relay stands.
func (r *Relay) URL() relay.URL { return r.url }

// Stats returns the totals.
func (r *Relay) Stats() Stats {
	c := &r.counters
	return Stats{
		Connections: c.accepted.Load(), Sessions: c.handshakes.Load(),
		Open: c.open.Load(), MaxOpen: c.maxOpen.Load(), MaxSubs: c.maxSubs.Load(),
		Requests: c.requests.Load(), Counts: c.counts.Load(), Closes: c.closes.Load(),
		Negs: c.negs.Load(), Opens: c.opens.Load(), Infos: c.infos.Load(), Refused: c.refused.Load(),
		Events: c.events.Load(), Frames: c.frames.Load(), Payload: c.payload.Load(), Bytes: c.bytes.Load(),
	}
}

// Asked returns the filters of the REQs received, in their order; of very many
// the first 10,000.
func (r *Relay) Asked() []nostr.Filter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// Clients returns the keys that clients have authenticated with, each once; of
// very many the first 10,000.
func (r *Relay) Clients() []nostr.PubKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.clients)
}

func (r *Relay) meet(key nostr.PubKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.clients) < maxAsked && !slices.Contains(r.clients, key) {
		r.clients = append(r.clients, key)
	}
}

func (r *Relay) record(filters []nostr.Filter) {
	r.counters.requests.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) < maxAsked {
		r.asked = append(r.asked, filters...)
	}
}

// Behaviour returns how the relay answers now.
func (r *Relay) Behaviour() Behaviour { return *r.behaviour.Load() }

// SetBehaviour changes how the relay answers from the next request on. The
// occasions of faults are counted on.
func (r *Relay) SetBehaviour(b Behaviour) { r.behaviour.Store(&b) }

// Add takes events in and hands them to open subscriptions. Events that the
// relay holds already, and ephemeral ones, are left out.
func (r *Relay) Add(events ...*Event) {
	at := int64(0) // before anybody asked: part of every claim
	if r.counters.requests.Load()+r.counters.negs.Load() > 0 {
		at = time.Now().Unix()
	}
	fresh := r.book.add(events, at)
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.talks {
		c.offer(fresh)
	}
}

// Hush forgets all open subscriptions without a word; connections stay.
func (r *Relay) Hush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.talks {
		c.mu.Lock()
		clear(c.subs)
		c.mu.Unlock()
	}
}

// Remove drops events and returns how many the relay held.
func (r *Relay) Remove(ids ...nostr.ID) int { return r.book.remove(ids) }

// Len is how many events the relay holds, shown or not.
func (r *Relay) Len() int { return r.book.len() }

// Visible returns what a patient client that does not authenticate can get of
// a filter by REQs, however often and narrowly it has to ask: newest first,
// without events that are not valid. Limits do not count.
func (r *Relay) Visible(filter nostr.Filter) []*Event {
	rows := r.visible(&filter, false)
	out := make([]*Event, len(rows))
	for i, e := range rows {
		out[i] = e.Event
	}
	return out
}

func (r *Relay) visible(filter *nostr.Filter, authenticates bool) []entry {
	be := r.behaviour.Load()
	if be.mute(authenticates) {
		return nil
	}
	w := boundsOf(filter, &Behaviour{})
	return r.book.pick(filter, w, -1, NewestFirst, func(e *Event) bool { return e.Valid && be.shows(e) })
}

// server is the time between Start and Stop.
type server struct {
	http   *http.Server
	cancel context.CancelFunc
	wg     sync.WaitGroup // the accept loop, every connection, every handler
}

// Start serves again at the relay's address after Stop.
func (r *Relay) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running != nil {
		return nil
	}
	ln, err := r.listen(r.addr)
	if err != nil {
		return fmt.Errorf("start relay: %w", err)
	}
	r.serve(ln)
	return nil
}

// serve takes connections from ln. r.mu is held, or nobody knows r yet.
func (r *Relay) serve(ln net.Listener) {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // a relay runs until Stop
	s := &server{cancel: cancel}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.handle(s, w, req) }),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // what clients do wrong is theirs
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, wireKey{}, inner(c))
		},
	}
	r.running = s
	s.wg.Go(func() {
		// It ends with ErrServerClosed, or because the listener failed: then
		// the relay is as good as gone.
		_ = s.http.Serve(&listener{Listener: ln, relay: r, server: s})
	})
}

// Stop closes the relay's connections and address, as a relay that goes down,
// and waits until nothing of it runs.
func (r *Relay) Stop() {
	r.mu.Lock()
	s := r.running
	r.running = nil
	r.mu.Unlock()
	if s == nil {
		return
	}
	s.cancel()
	_ = s.http.Close()
	s.wg.Wait()
}

type wireKey struct{}

// listener makes a wire of every connection, or resets it.
type listener struct {
	net.Listener
	relay  *Relay
	server *server
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		n := l.relay.counters.accepted.Add(1)
		l.server.wg.Add(1)
		w := &wire{Conn: c, sent: &l.relay.counters.bytes, closed: l.server.wg.Done}
		if be := l.relay.behaviour.Load(); len(be.struck(l.relay.seed, n, func(w What) bool { return w == Refuse })) > 0 {
			w.reset()
			continue
		}
		if l.relay.tls != nil {
			return tls.Server(w, l.relay.tls), nil
		}
		return w, nil
	}
}

// handle answers on the relay's URL: WebSocket, NIP-11, or a word to people.
func (r *Relay) handle(s *server, w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	stopped := r.running != s
	if !stopped {
		s.wg.Add(1)
	}
	r.mu.Unlock()
	if stopped {
		return
	}
	defer s.wg.Done()
	switch {
	case strings.EqualFold(req.Header.Get("Upgrade"), "websocket"):
		r.serveSession(w, req)
	case strings.Contains(req.Header.Get("Accept"), "application/nostr+json"):
		r.counters.infos.Add(1)
		r.serveInfo(w)
	case req.URL.Path == "/robots.txt":
		robots := r.behaviour.Load().Robots
		if robots == "" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, robots)
	default:
		fmt.Fprintln(w, "A simulated Nostr relay.")
	}
}

func (r *Relay) serveInfo(w http.ResponseWriter) {
	be := r.behaviour.Load()
	info := be.Info
	if info == nil {
		info = &Info{Body: truthfulInfo(be)}
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "*")
	h.Set("Access-Control-Allow-Methods", "GET, OPTIONS")
	h.Set("Content-Type", "application/nostr+json")
	if info.ContentType != "" {
		h.Set("Content-Type", info.ContentType)
	}
	if info.Location != "" {
		h.Set("Location", info.Location)
	}
	for name, value := range info.Header {
		h.Set(name, value)
		if value == "" {
			h.Del(name)
		}
	}
	if info.Status != 0 {
		w.WriteHeader(info.Status)
	}
	fmt.Fprint(w, info.Body)
}

// truthfulInfo is the document of a relay that knows itself.
func truthfulInfo(be *Behaviour) string {
	nips := []int{1, 11, 42}
	if be.Count == CountExact || be.Count == CountApproximate {
		nips = append(nips, 45)
	}
	if be.Hints {
		nips = append(nips, 67)
	}
	if be.Negentropy.As == NegHonest {
		nips = append(nips, 77)
	}
	limitation := map[string]any{"auth_required": be.Auth, "payment_required": false}
	for name, n := range map[string]int{"max_limit": be.Cap, "default_limit": be.DefaultLimit, "max_subscriptions": be.MaxSubs} {
		if n > 0 {
			limitation[name] = n
		}
	}
	doc, err := json.Marshal(map[string]any{
		"name":           "simnet",
		"description":    "A simulated relay.",
		"software":       "bigbrotr/simnet",
		"supported_nips": nips,
		"limitation":     limitation,
	})
	if err != nil {
		panic(fmt.Sprintf("simnet: own NIP-11 document: %v", err)) // plain values always encode
	}
	return string(doc)
}

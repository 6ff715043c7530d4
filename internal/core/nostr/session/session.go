// Package session owns one WebSocket connection to one relay and what is said
// on it: requests and how each of them ended, counts, reconciliations,
// publications and authentication on our side, and the bare message exchange on
// the side of a relay. It leaves the choice of what to ask, and the judgement of
// what the answers say, to its callers; the opening of connections to package
// dial; and the shape of messages to package nostr.
//
// What a relay does is a value (Page, Terminal); an error is a local matter.
package session

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// Options says how a session behaves. The zero value of a field, except
// Dialer, means its default.
type Options struct {
	// Dialer opens the connection. Required.
	Dialer *dial.Dialer
	// MaxFrame is the largest message that is read, in bytes after
	// decompression. Larger ones are skipped up to four times this size, beyond
	// that the connection is closed. Default 4 MiB.
	MaxFrame int
	// Handshake bounds the WebSocket handshake. Default 15 s.
	Handshake time.Duration
	// Idle is how long a request waits for the next message that answers a
	// request. Default 30 s.
	Idle time.Duration
	// AfterNotice takes the place of Idle after a NOTICE, until an answer comes.
	// Default 5 s.
	AfterNotice time.Duration
	// Request bounds a whole request, the time spent in visit not counted, so
	// that a relay cannot hold us by slow drips. Default 5 min.
	Request time.Duration
	// KeepAlive is the silence after which a ping is sent; after three times as
	// much the connection is dead. Default 30 s.
	KeepAlive time.Duration
	// Uncompressed keeps us from offering compression (permessage-deflate).
	Uncompressed bool
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = 4 << 20
	}
	set(&o.Handshake, 15*time.Second)
	set(&o.Idle, 30*time.Second)
	set(&o.AfterNotice, 5*time.Second)
	set(&o.Request, 5*time.Minute)
	set(&o.KeepAlive, 30*time.Second)
	return o
}

// Bounds that hold for every session.
const (
	skipFactor   = 4        // of MaxFrame: how much of an oversized message is skipped
	maxMalformed = 64       // messages per connection that are not Nostr
	maxStray     = 10_000   // messages that answer nothing, since the last request
	maxStrayByte = 32 << 20 // and their bytes
	maxChallenge = 1 << 10  // bytes of an AUTH challenge
	writeTimeout = 20 * time.Second
	closeTimeout = 2 * time.Second
	lateMemory   = 16 // ended requests whose late events are counted
)

// ErrClosed is returned for a request on a session that we have closed.
var ErrClosed = errors.New("session is closed")

// ErrStop is what a visit returns to end the request early without an error.
var ErrStop = errors.New("stop")

// Session is a connection to one relay. It is safe for concurrent use; the
// visits of concurrent requests run one after another. A goroutine reads from
// Dial until Close, so that pings are answered and a lost connection is seen
// between requests too.
type Session struct {
	url     relay.URL
	options Options
	conn    *dial.Conn
	pulse   *pulse
	ws      *websocket.Conn
	opening Opening

	reader sync.WaitGroup
	gone   chan struct{} // closed when the connection has ended
	end    Terminal      // why; set before gone is closed

	mu        sync.Mutex
	closed    bool // by us
	next      uint64
	active    map[string]*request
	oks       map[nostr.ID]*waiter
	ended     [lateMemory]Late // newest first
	challenge string
	// Messages that answered nothing since the last request or arrival by a tail,
	// and their bytes.
	stray, strayBytes int

	writing sync.Mutex
	out     []byte

	clock clock
	stats stats
}

// Opening is how a session came about.
type Opening struct {
	dial.Trace
	// WebSocket is the time of the WebSocket handshake.
	WebSocket time.Duration
	// Compressed tells whether the relay compresses (permessage-deflate).
	Compressed bool
	// Header is the relay's answer to the handshake.
	Header http.Header
}

// Total is the time from the first packet to an open WebSocket, the wait for
// our own budgets not counted.
func (o Opening) Total() time.Duration { return o.DNS + o.TCP + o.TLS + o.WebSocket }

// clock keeps the moments that deadlines are judged by, in nanoseconds since
// the session began.
type clock struct {
	begin    time.Time
	answered atomic.Int64 // the last message that answered a request
	heard    atomic.Int64 // the last bytes of any kind
	visiting atomic.Bool  // a visit is running: we are slow, not the relay
	visits   atomic.Int64 // the time spent in visits
}

func (c *clock) now() int64 { return int64(time.Since(c.begin)) }

// stats are the totals behind Stats.
type stats struct {
	requests, messages, events, late, malformed, oversize, unknown, notices atomic.Int64
	in, out, tail                                                           atomic.Int64
}

// Stats are totals since the session began.
type Stats struct {
	Requests  int64 // REQ, COUNT and NEG-OPEN sent
	Messages  int64 // received
	Events    int64 // handed to visits
	Late      int64 // events of requests that had ended
	Malformed int64
	Oversize  int64
	Unknown   int64 // messages with a label that we do not know
	Notices   int64

	PayloadIn, PayloadOut int64 // bytes of messages, uncompressed
	PayloadTail           int64 // of PayloadIn, those of tails
	WireIn, WireOut       int64 // bytes on the connection, TLS included

	// LastHeard is when the relay last sent anything, a pong included.
	LastHeard time.Time
}

// Page is what came of one REQ or COUNT.
type Page struct {
	End Terminal
	// Sub is the subscription id, for Session.Late.
	Sub string
	// SentAt is when the REQ was sent, by our clock. No completeness can be
	// claimed above it.
	SentAt time.Time

	Events int   // handed to visit
	Bytes  int64 // of the messages of this subscription, uncompressed
	Wire   int64 // read from the connection meanwhile, for whatever reason

	// Notices came between REQ and end, by which the page is tainted: the relay
	// may have dropped results and told so in words only. Notice is the last
	// one, printable and bounded.
	Notices int
	Notice  string
	// Malformed and Oversize are messages that were skipped meanwhile. Each may
	// have been an event of this page.
	Malformed int
	Oversize  int
	// Challenged tells that the relay asked for authentication meanwhile.
	Challenged bool

	FirstEvent time.Duration // from REQ to the first event; 0 without one
	Duration   time.Duration // from REQ to the end
}

// Late are the events that came for a request after it had ended.
type Late struct {
	Sub    string
	Events int
	// Oldest and Newest bound their created_at, as far as it could be read.
	Oldest, Newest int64
	// Unread are those of them whose created_at could not be read.
	Unread int
}

// OK is the answer to a publication or an authentication.
type OK struct {
	Accepted bool
	Prefix   string // machine-readable prefix of Message
	Message  string // printable, at most 300 bytes
	// End says what came instead of an answer; its kind is Unended when an
	// answer came.
	End Terminal
}

// Signer signs events, as nostr.SecretKey does.
type Signer interface {
	Sign(e *nostr.Event) error
}

// URL is the relay this session is with.
func (s *Session) URL() relay.URL { return s.url }

// Opening says how the session came about.
func (s *Session) Opening() Opening { return s.opening }

// Rest marks the session as resting (a live tail), which frees its place among
// those at work; see dial.Conn.Rest.
func (s *Session) Rest() bool { return s.conn.Rest() }

// Wake waits until a resting session may work again.
func (s *Session) Wake(ctx context.Context) error { return s.conn.Wake(ctx) }

// Ended reports how the connection ended, and false while it stands.
func (s *Session) Ended() (Terminal, bool) {
	select {
	case <-s.gone:
		return s.end, true
	default:
		return Terminal{}, false
	}
}

// Challenge is the last NIP-42 challenge of the relay; empty before the first.
func (s *Session) Challenge() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.challenge
}

// Late returns the events that came for an ended request of this session since
// its end. Only the last 16 ended requests are remembered. All that the relay
// sent before it answered a later request has been counted when that request
// has ended.
func (s *Session) Late(sub string) Late {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.ended {
		if l.Sub == sub {
			return l
		}
	}
	return Late{Sub: sub}
}

// Stats returns the totals.
func (s *Session) Stats() Stats {
	in, out := s.conn.Wire()
	return Stats{
		Requests: s.stats.requests.Load(), Messages: s.stats.messages.Load(), Events: s.stats.events.Load(),
		Late: s.stats.late.Load(), Malformed: s.stats.malformed.Load(), Oversize: s.stats.oversize.Load(),
		Unknown: s.stats.unknown.Load(), Notices: s.stats.notices.Load(),
		PayloadIn: s.stats.in.Load(), PayloadOut: s.stats.out.Load(), PayloadTail: s.stats.tail.Load(), WireIn: in, WireOut: out,
		LastHeard: s.clock.begin.Add(time.Duration(s.clock.heard.Load())),
	}
}

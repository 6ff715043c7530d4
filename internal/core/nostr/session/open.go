package session

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// Dial opens a session with the relay, whose connection waits for the dialer's
// budgets as dial.Dialer.Dial does. Failures are *dial.Error; only our own cancellation is
// returned as it is. Redirects are not followed: the relay at another URL is
// another relay.
func Dial(ctx context.Context, u relay.URL, o Options) (*Session, error) {
	o = o.withDefaults()
	s, err := dialOnce(ctx, u, o)
	if errors.Is(err, errExtension) && !o.Uncompressed {
		o.Uncompressed = true
		return dialOnce(ctx, u, o)
	}
	return s, err
}

func dialOnce(ctx context.Context, u relay.URL, o Options) (*Session, error) {
	conn, err := o.Dialer.Dial(ctx, u)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, conn, u, o)
	if err != nil {
		conn.Abort()
		return nil, err
	}
	return s, nil
}

// errExtension means that the relay agreed to the WebSocket and not to a
// compression that we can do.
var errExtension = errors.New("compression cannot be agreed on")

// open makes a session of a fresh connection. The caller closes conn on error.
func open(ctx context.Context, conn *dial.Conn, u relay.URL, o Options) (*Session, error) {
	s := &Session{
		url: u, options: o, conn: conn,
		gone:   make(chan struct{}),
		active: map[string]*request{},
		oks:    map[nostr.ID]*waiter{},
	}
	s.clock.begin = time.Now()
	s.opening.Trace = conn.Trace()

	handshake, cancel := context.WithTimeout(ctx, o.Handshake)
	defer cancel()
	stop := context.AfterFunc(handshake, func() { conn.SetDeadline(time.Unix(1, 0)) })
	s.pulse = &pulse{Conn: conn, session: s}
	up := newUpgrade(s.pulse)
	begin := time.Now()
	mode := websocket.CompressionContextTakeover
	if o.Uncompressed {
		mode = websocket.CompressionDisabled
	}
	ws, resp, err := websocket.Dial(handshake, u.String(), &websocket.DialOptions{ //nolint:bodyclose // its contract: nobody has to
		HTTPClient: &http.Client{
			Transport:     up,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader:      http.Header{"User-Agent": {o.Dialer.UserAgent()}},
		CompressionMode: mode,
		// What we send is small, and mostly hex. Never compressing it is always
		// allowed (RFC 7692), saves 1.2 MB of compressor a session, and makes
		// the relay's demands on our window irrelevant.
		CompressionThreshold: math.MaxInt,
	})
	s.opening.WebSocket = time.Since(begin)
	if !stop() && err == nil {
		_ = ws.CloseNow()
		err = handshake.Err()
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, refusal(conn, u, up, resp, err)
	}
	s.ws = ws
	up.body.open = true
	s.opening.Header = resp.Header
	s.opening.Compressed = resp.Header.Get("Sec-WebSocket-Extensions") != ""
	ws.SetReadLimit(-1) // read bounds the messages itself, to skip large ones
	conn.SetDeadline(time.Time{})
	s.pulse.start()
	s.clock.heard.Store(s.clock.now())
	// The reader outlives the call, and ends with the connection.
	reading := context.WithoutCancel(ctx)
	s.reader.Go(func() { s.read(reading) })
	return s, nil
}

// refusal is the error of a failed handshake.
func refusal(conn *dial.Conn, u relay.URL, up *upgrade, resp *http.Response, err error) error {
	e := &dial.Error{Phase: dial.PhaseHandshake, Host: u.Host(), Trace: conn.Trace(), Err: err}
	switch {
	case resp == nil:
		// The exchange itself failed.
		switch cause := dial.CauseOf(up.err); {
		case cause == dial.CauseReadTimeout:
			e.Cause = dial.CauseWSTimeout
		case cause == dial.CauseSelf:
			e.Cause = cause
		default:
			e.Cause = dial.CauseWSRefused
		}
	case resp.StatusCode != http.StatusSwitchingProtocols:
		e.Cause, e.Status, e.Err = dial.CauseHTTPStatus, resp.StatusCode, nil
	case resp.Header.Get("Sec-WebSocket-Extensions") != "":
		e.Cause, e.Err = dial.CauseWSRefused, errors.Join(errExtension, err)
	default:
		e.Cause = dial.CauseWSRefused
	}
	return e
}

// upgrade is the HTTP side of the handshake over a connection that stands
// already. It is a transport for a single request: no pool, no goroutine, no
// proxy from the environment.
type upgrade struct {
	conn  net.Conn
	limit io.LimitedReader
	br    *bufio.Reader
	body  stream
	err   error // of the exchange
}

const (
	maxHeader   = 64 << 10
	readBuffer  = 16 << 10 // a read from the system serves about twelve events
	maxInterim  = 5        // 1xx answers
	paramWindow = "client_max_window_bits"
)

func newUpgrade(conn net.Conn) *upgrade {
	u := &upgrade{conn: conn, limit: io.LimitedReader{R: conn, N: maxHeader}}
	u.br = bufio.NewReaderSize(&u.limit, readBuffer)
	u.body = stream{br: u.br, conn: conn}
	return u
}

func (u *upgrade) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := u.exchange(req)
	u.err = err
	return resp, err
}

func (u *upgrade) exchange(req *http.Request) (*http.Response, error) {
	if err := req.Write(u.conn); err != nil {
		return nil, err
	}
	for range maxInterim {
		resp, err := http.ReadResponse(u.br, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			u.limit.N = math.MaxInt64
			for i, v := range resp.Header.Values("Sec-WebSocket-Extensions") {
				resp.Header["Sec-Websocket-Extensions"][i] = withoutWindow(v)
			}
			resp.Body = &u.body
			return resp, nil
		}
		if resp.StatusCode >= 200 {
			return resp, nil
		}
	}
	return nil, errors.New("too many interim answers")
}

// withoutWindow takes the demand for a smaller window of ours off an answer:
// some relays make it unasked, the library would give up, and we compress
// nothing anyway.
func withoutWindow(extensions string) string {
	list := strings.Split(extensions, ",")
	for i, extension := range list {
		params := strings.Split(extension, ";")
		list[i] = strings.Join(slices.DeleteFunc(params, func(p string) bool {
			name, _, _ := strings.Cut(p, "=")
			return strings.TrimSpace(name) == paramWindow
		}), ";")
	}
	return strings.Join(list, ",")
}

// stream is the connection after the handshake. It has nothing to read until
// it is open, because the library waits three seconds for an explanation when
// it does not like the answer.
type stream struct {
	br   *bufio.Reader
	conn net.Conn
	open bool
}

func (s *stream) Read(p []byte) (int, error) {
	if !s.open {
		return 0, io.EOF
	}
	return s.br.Read(p)
}

func (s *stream) Write(p []byte) (int, error) { return s.conn.Write(p) }
func (s *stream) Close() error                { return s.conn.Close() }

// pulse gives every read and write a deadline, and asks with pings whether a
// silent relay is still there. A read that times out at this level has taken
// nothing from the stream, so it can be repeated.
type pulse struct {
	net.Conn
	session *Session

	mu      sync.Mutex
	running bool
}

const missedPulses = 2 // pings without any answer before the connection is dead

func (p *pulse) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = true
}

// stop ends the pulse: what is still to be said must be said until then.
func (p *pulse) stop(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
	p.Conn.SetDeadline(until)
}

// beat sets the next deadline, and reports whether the pulse runs.
func (p *pulse) beat() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		p.Conn.SetReadDeadline(time.Now().Add(p.session.options.KeepAlive))
	}
	return p.running
}

func (p *pulse) Read(b []byte) (int, error) {
	for missed := 0; ; missed++ {
		running := p.beat()
		n, err := p.Conn.Read(b)
		if n > 0 {
			p.session.clock.heard.Store(p.session.clock.now())
			return n, err
		}
		if !running || missed == missedPulses || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		p.session.ping()
	}
}

func (p *pulse) Write(b []byte) (int, error) {
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	if running {
		p.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	return p.Conn.Write(b)
}

// ping asks the relay for a sign of life, which read will see. It is called by
// the reader, which must go on reading.
func (s *Session) ping() {
	s.reader.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.options.KeepAlive) //nolint:forbidigo // a read has no caller with a context
		defer cancel()
		_ = s.ws.Ping(ctx) // silence is noticed by the reader
	})
}

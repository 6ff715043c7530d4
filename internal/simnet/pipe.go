package simnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Piped returns an empty network without sockets, whose relays are reached by
// Dial only. All that waits in it waits on channels and conditions, so that it
// may live in a bubble of testing/synctest, whose clock goes on by itself when
// everybody waits.
func Piped(seed uint64) *Network {
	n := New(seed)
	n.pipes = new(pipes)
	return n
}

// Dial connects to a relay of a piped network, in the place of TCP. A connection
// that is closed after SetLinger(0) is reset.
func (n *Network) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	n.pipes.mu.Lock()
	ln := n.pipes.listeners[at]
	n.pipes.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(at), Err: syscall.ECONNREFUSED}
	if ln == nil {
		return nil, refused
	}
	up, down := newStream(), newStream()
	client := &pipeEnd{in: down, out: up, remote: at}
	select {
	case ln.waiting <- &pipeEnd{in: up, out: down, local: at}:
		return client, nil
	case <-ln.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pipes are the listeners of a piped network.
type pipes struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*pipeListener
}

func (p *pipes) listen(at netip.AddrPort) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listeners[at] != nil {
		return nil, syscall.EADDRINUSE
	}
	ln := &pipeListener{pipes: p, addr: at, waiting: make(chan net.Conn), closed: make(chan struct{})}
	if p.listeners == nil {
		p.listeners = map[netip.AddrPort]*pipeListener{}
	}
	p.listeners[at] = ln
	return ln, nil
}

type pipeListener struct {
	pipes   *pipes
	addr    netip.AddrPort
	waiting chan net.Conn
	closed  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.pipes.mu.Lock()
	defer l.pipes.mu.Unlock()
	if l.pipes.listeners[l.addr] == l {
		delete(l.pipes.listeners, l.addr)
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// maxUnread is how much a stream takes that nobody reads.
const maxUnread = 256 << 10

// stream is one direction of a connection. net.Pipe keeps nothing, so that who
// writes waits for a reader, which sockets do not.
type stream struct {
	mu      sync.Mutex
	changed sync.Cond
	data    []byte
	end     error // why no more comes: io.EOF or a reset
	gone    bool  // nobody reads any more
	reads   limit
	writes  limit
}

func newStream() *stream {
	s := new(stream)
	s.changed.L = &s.mu
	return s
}

// limit is a deadline of one side of a stream.
type limit struct {
	timer *time.Timer
	over  bool
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.gone:
			return 0, net.ErrClosed
		case s.reads.over:
			return 0, os.ErrDeadlineExceeded
		case errors.Is(s.end, syscall.ECONNRESET):
			return 0, s.end
		case len(s.data) > 0:
			n := copy(b, s.data)
			s.data = append(s.data[:0], s.data[n:]...)
			s.changed.Broadcast()
			return n, nil
		case s.end != nil:
			return 0, s.end
		}
		s.changed.Wait()
	}
}

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.end != nil:
			return n, net.ErrClosed
		case s.gone:
			return n, syscall.EPIPE
		case s.writes.over:
			return n, os.ErrDeadlineExceeded
		}
		room := min(max(maxUnread-len(s.data), 0), len(b))
		s.data = append(s.data, b[:room]...)
		n, b = n+room, b[room:]
		s.changed.Broadcast()
		if len(b) == 0 {
			return n, nil
		}
		s.changed.Wait()
	}
}

// close ends the stream for the side that writes, or that reads.
func (s *stream) close(end error, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		s.end = end
	}
	s.gone = s.gone || gone
	s.changed.Broadcast()
}

// until sets a deadline; the zero time takes it away.
func (s *stream) until(l *limit, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer, l.over = nil, false
	if t.IsZero() {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(time.Until(t), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.timer == own {
			l.over = true
			s.changed.Broadcast()
		}
	})
	l.timer = own
}

// pipeEnd is one end of a connection.
type pipeEnd struct {
	in, out       *stream
	local, remote netip.AddrPort

	mu    sync.Mutex
	reset bool
}

func (p *pipeEnd) Read(b []byte) (int, error)  { return p.in.read(b) }
func (p *pipeEnd) Write(b []byte) (int, error) { return p.out.write(b) }

func (p *pipeEnd) Close() error {
	p.mu.Lock()
	end := io.EOF
	if p.reset {
		end = syscall.ECONNRESET
	}
	p.mu.Unlock()
	_ = p.SetDeadline(time.Time{}) // no timer is left behind
	p.out.close(end, false)
	p.in.close(nil, true)
	return nil
}

// SetLinger is that of TCP; only 0 is known.
func (p *pipeEnd) SetLinger(int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reset = true
	return nil
}

func (p *pipeEnd) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(p.local) }
func (p *pipeEnd) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(p.remote) }

func (p *pipeEnd) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.in.until(&p.in.reads, t)
	return nil
}

func (p *pipeEnd) SetWriteDeadline(t time.Time) error {
	p.out.until(&p.out.writes, t)
	return nil
}

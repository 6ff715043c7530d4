package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/api"
)

// piped is a listener whose connections are pipes, for a bubble of synctest.
type piped struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newPiped() *piped {
	p := &piped{conns: make(chan net.Conn), done: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.done) })
	return p
}

func (p *piped) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *piped) Close() error   { p.close(); return nil }
func (p *piped) Addr() net.Addr { return &net.TCPAddr{} }

// watched is the server's end of a connection, which tells when it is closed.
type watched struct {
	net.Conn
	end func()
}

func (w *watched) Close() error { defer w.end(); return w.Conn.Close() }

// dial connects; ended is closed when the server has hung up.
func (p *piped) dial() (client net.Conn, ended <-chan struct{}) {
	client, conn := net.Pipe()
	closed := make(chan struct{})
	p.conns <- &watched{conn, sync.OnceFunc(func() { close(closed) })}
	return client, closed
}

// upgrade asks for the relay; the frames that follow are masked with zeros.
const upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// TestSlowClients has clients take their time wherever they can: each is let go in
// the time that is meant for it, and meanwhile another one is answered at once.
func TestSlowClients(t *testing.T) {
	const get, form = "GET / HTTP/1.1\r\nHost: x\r\n", "POST /theme HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	clients := []slowClient{
		{"says nothing", "", "", forever, 5 * time.Second},
		{"line of the request", "", "GET /aaaaaaaa", forever, 5 * time.Second},
		{"headers", get, "X-A: b\r\n", forever, 5 * time.Second},
		{"body", form + "Content-Length: 1000\r\n\r\n", "theme=dark&", forever, 10 * time.Second},
		{"body in chunks", form + "Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", forever, 10 * time.Second},
		{"body that nobody wants", "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "a", forever, 10 * time.Second},
		{"nothing more", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "", forever, 60 * time.Second},
		{"second request", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "GET /aaaaaaaa", forever, 10 * time.Second},
		{"takes no page", get + "\r\n", "", 0, 15 * time.Second},
		{"takes a piece of a page", get + "\r\n", "", 3, 15 * time.Second},
		{"takes no answer", "GET /api/v1/relays HTTP/1.1\r\nHost: x\r\n\r\n", "", 0, 15 * time.Second},
		{"takes no export", "GET /api/v1/export HTTP/1.1\r\nHost: x\r\n\r\n", "", 0, 30 * time.Second},
		{"takes no stream", "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n", "", 0, 40 * time.Second},
		{"takes a piece of a stream", "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n", "", 3, 60 * time.Second},
		{"message", upgrade + "\x81\xfe\x04\x00\x00\x00\x00\x00", "x", forever, 10 * time.Second},
		{"message in pieces", upgrade + "\x01\x81\x00\x00\x00\x00x", "\x00\x81\x00\x00\x00\x00x", forever, 10 * time.Second},
		{"message with pings in between", upgrade + "\x01\x81\x00\x00\x00\x00x", "\x89\x80\x00\x00\x00\x00", forever, 10 * time.Second},
		// One question: writers that wait for each other are no rest for the bubble.
		{"takes no message", upgrade + "\x81\x8e\x00\x00\x00\x00[\"REQ\",\"s\",{}]", "", 5, 10 * time.Second},
	}
	synctest.Test(t, func(t *testing.T) {
		l, stop := serveIn(t)
		defer stop()
		var work sync.WaitGroup
		defer work.Wait()
		began, left := time.Now(), make(chan struct{})
		for _, c := range clients {
			conn, ended := l.dial()
			work.Go(func() { c.sends(conn) })
			work.Go(func() { c.takes(conn) })
			work.Go(func() {
				defer conn.Close()
				select {
				case <-ended:
				case <-time.After(time.Hour):
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("%s: let go after %v, want %v", c.name, took, c.within)
				}
				left <- struct{}{}
			})
		}
		other, _ := l.dial()
		defer other.Close()
		lines := bufio.NewReader(other)
		for there := len(clients); there >= 0; {
			asked := time.Now()
			_, err := io.WriteString(other, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
			must(t, err)
			resp, err := http.ReadResponse(lines, nil)
			must(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK || time.Since(asked) > 0 {
				t.Errorf("another client: status %d after %v", resp.StatusCode, time.Since(asked))
			}
			if there == 0 {
				break
			}
			select {
			case <-left:
				there--
			case <-time.After(time.Second):
			}
		}
	})
}

// slowClient is a client that takes its time.
type slowClient struct {
	name   string
	begin  string // sent at once
	drip   string // sent again and again, a byte a second
	reads  int    // lines of the answer, then nothing
	within time.Duration
}

const forever = -1

func (c *slowClient) sends(conn net.Conn) {
	if _, err := io.WriteString(conn, c.begin); err != nil {
		return
	}
	for i := 0; c.drip != ""; i++ {
		time.Sleep(time.Second)
		if _, err := conn.Write([]byte{c.drip[i%len(c.drip)]}); err != nil {
			return
		}
	}
}

func (c *slowClient) takes(conn net.Conn) {
	r := bufio.NewReaderSize(conn, 16) // no more than it has to
	for i := 0; i != c.reads; i++ {
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
	}
}

// serveIn runs an api with an archive of a few events in a bubble. It stops when
// stop is called.
func serveIn(t *testing.T) (l *piped, stop func()) {
	t.Helper()
	db := openStore(t, t.TempDir(), store.Keep{})
	fill(t, db)
	l = newPiped()
	log := slog.New(slog.DiscardHandler)
	s := api.New(api.DefaultConfig(), db, api.Process{Ready: func(context.Context) error { return nil }, Metrics: http.NotFoundHandler()}, log)
	s.ListenAt(l)
	runner := service.NewRunner(time.Second, log)
	runner.Add("api", s)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	return l, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		must(t, db.Close())
	}
}

// raw says something on a connection of its own and returns the answer: its
// status, 0 when there is none, its header and what follows.
func (r *running) raw(t *testing.T, text string) (status int, header http.Header, body string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.addr)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.WriteString(conn, text) }) // the server need not read it all
	defer sending.Wait()
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%.60q: no answer", text)
		}
		return 0, nil, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, resp.Header, string(b)
}

// besieged starts an api with some events. At the end of the test it has to serve
// still, and to stop.
func besieged(t *testing.T) (r *running, end func()) {
	t.Helper()
	r = run(t, time.Second)
	close(r.store.give)
	fill(t, r.db)
	return r, func() {
		if a := <-r.get("/api/v1/events"); a.status != http.StatusOK {
			t.Errorf("afterwards: %+v", a)
		}
		r.stop()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	}
}

// TestHostileRequests says over sockets what no client says that means well.
func TestHostileRequests(t *testing.T) {
	r, end := besieged(t)
	defer end()
	const line = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	header := func(lines string) string {
		return "GET /api/v1/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + "\r\n"
	}
	for _, test := range []struct {
		say  string
		want []int // 0 is no answer
	}{
		// Addresses.
		{"GET //api/v1/stats" + line, []int{301, 307}},
		{"GET //evil.example/" + line, []int{301, 307, 404}},
		{"GET //evil.example/.." + line, []int{301, 307, 404}},
		{"GET /\\evil.example/" + line, []int{301, 307, 404}},
		{"GET /../../../../etc/passwd" + line, []int{301, 307, 404}},
		{"GET /assets/../../../etc/passwd" + line, []int{301, 307, 404}},
		{"GET /%2e%2e/%2e%2e/etc/passwd" + line, []int{301, 307, 404}},
		{"GET /assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd" + line, []int{301, 307, 404}},
		{"GET /api/v1/%2e%2e/stats" + line, []int{301, 307, 404}},
		{"GET /api/v1/relays/%2e%2e%2f%2e%2e" + line, []int{404, 422}},
		{"GET /api/v1/relays/..%2f..%2fetc%2fpasswd" + line, []int{404}},
		{"GET /api/v1/relays/%00" + line, []int{404}},
		{"GET /relay/%00" + line, []int{404}},
		{"GET /relay/%FF%C0%AF" + line, []int{404}},
		{"GET /event/%27%20OR%201=1--" + line, []int{404}},
		{"GET /%00" + line, []int{404}},
		{"GET /%" + line, []int{400}},
		{"GET /%zz" + line, []int{400}},
		{"GET /\x00" + line, []int{400}},
		{"GET /\xff\xfe" + line, []int{400, 404}},
		{"GET /api/v1/events?tag=t:\xff\xfe" + line, []int{200, 400}},
		{"GET /" + strings.Repeat("a", 60_000) + line, []int{404}},
		{"GET /" + strings.Repeat("a/", 30_000) + line, []int{404}},
		{"GET /" + strings.Repeat("../", 20_000) + line, []int{301, 307, 404}},
		{"GET /relay/" + strings.Repeat("%2f", 20_000) + line, []int{404}},
		{"GET /api/v1/relays/" + strings.Repeat("a", 50_000) + line, []int{422}},
		{"GET http://evil.example/api/v1/stats" + line, []int{200}},
		{"GET *" + line, []int{400, 404}},
		{"OPTIONS *" + line, []int{200, 404}},
		{"CONNECT evil.example:443" + line, []int{404, 405}},
		{"CONNECT /api/v1/stats" + line, []int{405}},
		// Values.
		{"GET /api/v1/events?since=-1" + line, []int{422}},
		{"GET /api/v1/events?until=9223372036854775808" + line, []int{422}},
		{"GET /api/v1/events?since=" + strings.Repeat("9", 10_000) + line, []int{422}},
		{"GET /api/v1/events?since=9223372036854775807&until=0" + line, []int{200}},
		{"GET /api/v1/relays?text=%27;DROP%20TABLE%20relay;--" + line, []int{422}}, // a semicolon
		{"GET /api/v1/relays?text=%27%3BDROP%20TABLE%20relay%3B--" + line, []int{200}},
		{"GET /relays?sort=1%3Bselect%20pg_sleep(9)" + line, []int{200, 400, 422}},
		{"GET /relays?" + strings.Repeat("a=b&", 15_000) + line, []int{200, 400, 422}},
		// Headers.
		{header("X: " + strings.Repeat("a", 2<<20) + "\r\n"), []int{431}},
		{header(strings.Repeat("a", 2<<20) + ": x\r\n"), []int{431}},
		{header(strings.Repeat("X: a\r\n", 400_000)), []int{431}},
		{header("X: " + strings.Repeat("a", 50_000) + "\r\n"), []int{200}},
		{header("Cookie: " + strings.Repeat("theme=x; ", 5000) + "\r\n"), []int{200}},
		{"GET /?" + strings.Repeat("a", 2<<20), []int{431}},
		{strings.Repeat("A", 2<<20), []int{400, 431}},
		{header("X Y: a\r\n"), []int{400}},
		{header("X\x00: a\r\n"), []int{400}},
		{header("X: a\x00\r\n"), []int{400}},
		{header(": a\r\n"), []int{400}},
		{header(" folded\r\n"), []int{200, 400}},
		{header("Host: y\r\n"), []int{400}},
		{"GET /api/v1/stats HTTP/1.1\r\n\r\n", []int{400}},
		{"GET /api/v1/stats HTTP/1.1\r\nHost: x/y\x01\r\n\r\n", []int{400}},
		{"GET /api/v1/stats HTTP/9.9\r\nHost: x\r\n\r\n", []int{505}},
		{"GET /api/v1/stats\r\n\r\n", []int{400}},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 404, 505}},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}}, // TLS
		{"[\"REQ\",\"s\",{}]\r\n\r\n", []int{400}},
		{header("If-None-Match: " + strings.Repeat("\"a\",", 10_000) + "\r\n"), []int{200}},
		{header("Accept-Encoding: " + strings.Repeat("gzip,", 10_000) + "\r\n"), []int{200}},
		{header("Range: bytes=" + strings.Repeat("0-,", 10_000) + "\r\n"), []int{200}},
		{header("Authorization: Bearer \xff\xfe\r\n"), []int{200}},
		// Bodies.
		{header("Content-Length: 1\r\nContent-Length: 2\r\n"), []int{400}},
		{header("Content-Length: -1\r\n"), []int{400}},
		{header("Content-Length: 9999999999999999999999\r\n"), []int{400}},
		{header("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", []int{200, 400}},
		{header("Transfer-Encoding: nonsense\r\n"), []int{400, 501}},
		{header("Expect: miracles\r\n"), []int{417}},
		{"POST /theme HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\n" +
			strings.Repeat("theme=dark&", 100_000), []int{303, 400, 413}},
		// The handshake of a WebSocket.
		{strings.Replace(upgrade, "AAAAAAAAAAAAAAAAAAAAAA==", "x", 1), []int{400}},
		{strings.Replace(upgrade, "Version: 13", "Version: 99", 1), []int{400, 426}},
		{strings.Replace(upgrade, "Connection: Upgrade\r\n", "Connection: close\r\n", 1), []int{426}},
	} {
		status, headers, body := r.raw(t, test.say)
		short := fmt.Sprintf("%.60q … (%d bytes)", test.say, len(test.say))
		if !slices.Contains(test.want, status) {
			t.Errorf("%s: status %d, want one of %d: %.200s", short, status, test.want, body)
		}
		if to := headers.Get("Location"); strings.HasPrefix(to, "//") || strings.HasPrefix(to, "/\\") || strings.Contains(to, "://") {
			t.Errorf("%s: sent to %q", short, to)
		}
		if strings.Contains(body, "root:") || strings.Contains(body, "goroutine ") || strings.Contains(body, "SQL") {
			t.Errorf("%s: %.300s", short, body)
		}
	}
}

// TestHeaderFlood sends headers without end from many sides: each connection is
// answered or cut after a bounded number of bytes.
func TestHeaderFlood(t *testing.T) {
	r, end := besieged(t)
	defer end()
	const clients, most = 20, 64 << 20
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			lines := []byte(strings.Repeat("X-Flood: "+strings.Repeat("a", 100)+"\r\n", 100))
			n, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
			for sent := n; err == nil; sent += n {
				if sent > most {
					t.Errorf("%d bytes of headers were taken", sent)
					return
				}
				n, err = conn.Write(lines)
			}
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
	wg.Wait()
}

// TestManyConnections opens as many connections as one client may have, and more:
// those are told why they cannot stay, and another client does not notice.
func TestManyConnections(t *testing.T) {
	r, end := besieged(t)
	defer end()
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	refused := ""
	for range 1000 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.addr)
		must(t, err)
		held = append(held, conn)
		// Accepted one after the other, and who is turned away hears of it.
		if n := len(held); n > 100 && n%50 == 0 {
			must(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
			_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			if err != nil {
				continue
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				continue // reset because of what we sent
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusServiceUnavailable {
				refused = string(b)
				if resp.Header.Get("Retry-After") == "" {
					t.Errorf("headers are %v", resp.Header)
				}
				break
			}
		}
	}
	if !strings.HasPrefix(refused, "too many connections") {
		t.Errorf("of %d connections the last is told %q", len(held), refused)
	}
	if len(held) > 300 {
		t.Errorf("%d connections of one client", len(held))
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	other, err := dialer.DialContext(t.Context(), "tcp4", r.addr)
	must(t, err)
	defer other.Close()
	must(t, other.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(other, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(other), nil)
	must(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("another client: status %d", resp.StatusCode)
	}
	// Places are free again when they are left.
	for _, c := range held {
		_ = c.Close()
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if a := <-r.get("/healthz"); a.status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no place is free")
		}
	}
}

package validator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/validator"
	"bigbrotr/internal/simnet"
)

// ways are the ways of being dead, each with what it is to be found out by. Serve
// answers connections until the listener is closed; nil refuses them.
var ways = []struct {
	name, scheme string
	serve        func(net.Listener)
	want         dial.Cause
}{
	{"refuses connections", "ws", nil, dial.CauseTCPRefused},
	{"accepts and is silent", "ws", raw("", true), dial.CauseWSTimeout},
	{"hangs up", "ws", raw("", false), dial.CauseWSRefused},
	{"speaks something else", "ws", raw("SSH-2.0-OpenSSH_9.7\r\n", true), dial.CauseWSRefused},
	{"has no TLS", "wss", raw("HTTP/1.1 400 Bad Request\r\n\r\n", true), dial.CauseTLS},
	{"has no WebSocket", "ws", web(http.NotFound), dial.CauseHTTPStatus},
	{"has a silent WebSocket", "ws", talk(func(*session.Conn, []byte) bool { return true }), dial.CauseNoNostr},
	{"only says NOTICE", "ws", talk(func(c *session.Conn, _ []byte) bool {
		return c.WriteMessage(context.Background(), []byte(`["NOTICE","hello"]`)) == nil
	}), dial.CauseNoNostr},
	{"sends back what it gets", "ws", talk(func(c *session.Conn, message []byte) bool {
		return c.WriteMessage(context.Background(), message) == nil
	}), dial.CauseNoNostr},
	{"leaves", "ws", talk(func(c *session.Conn, _ []byte) bool { return false }), dial.CauseDisconnected},
}

// answers is a relay without events.
var answers = talk(func(c *session.Conn, message []byte) bool {
	var request []any
	if json.Unmarshal(message, &request) != nil || len(request) < 2 || request[0] != "REQ" {
		return true
	}
	answer, err := json.Marshal([]any{"EOSE", request[1]})
	return err == nil && c.WriteMessage(context.Background(), answer) == nil
})

// raw serves connections without a protocol: it greets, and hangs up or reads
// until the other side has had enough of it.
func raw(greeting string, stay bool) func(net.Listener) {
	return func(l net.Listener) {
		var serving sync.WaitGroup
		defer serving.Wait()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// In a pipe each side writes only while the other reads.
			serving.Go(func() { _, _ = io.Copy(io.Discard, c) })
			serving.Go(func() {
				if _, err := io.WriteString(c, greeting); err != nil || !stay {
					_ = c.Close()
				}
			})
		}
	}
}

// web serves HTTP. It returns when all connections have ended.
func web(handle http.HandlerFunc) func(net.Listener) {
	return func(l net.Listener) {
		var serving sync.WaitGroup
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				serving.Add(1)
				defer serving.Done()
				handle(w, r)
			}),
			ErrorLog: log.New(io.Discard, "", 0),
		}
		_ = server.Serve(l)
		_ = server.Close()
		serving.Wait()
	}
}

// talk serves WebSockets, and goes on as long as answer returns true.
func talk(answer func(c *session.Conn, message []byte) bool) func(net.Listener) {
	return web(func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{})
		if err != nil {
			return
		}
		defer c.Abort()
		for {
			message, err := c.ReadMessage(context.Background())
			if err != nil || !answer(c, message) {
				return
			}
		}
	})
}

// pipes is a network in memory, whose time is that of the bubble it is in.
type pipes struct {
	serving sync.WaitGroup
	mu      sync.Mutex
	ends    []chan net.Conn
	at      map[string]chan net.Conn
}

// serve has connections to an address answered; those to others are refused.
func (p *pipes) serve(addr string, serve func(net.Listener)) {
	if p.at == nil {
		p.at = map[string]chan net.Conn{}
	}
	if serve == nil {
		return
	}
	l := pipeListener(make(chan net.Conn))
	p.at[addr], p.ends = l, append(p.ends, l)
	p.serving.Go(func() { serve(l) })
}

func (p *pipes) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	p.mu.Lock()
	l, ok := p.at[addr]
	p.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	select {
	case l <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// close ends the network once nobody dials any longer.
func (p *pipes) close() {
	for _, l := range p.ends {
		close(l)
	}
	p.serving.Wait()
}

type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	c, open := <-l
	if !open {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// wanted are candidates, and what each is to be found out as; "" is a relay.
type wanted map[relay.URL]dial.Cause

func (w wanted) add(t testing.TB, text string, cause dial.Cause) {
	t.Helper()
	u, err := (relay.Rules{AllowLocal: true}).Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	w[u] = cause
}

// pass tries all candidates in one cycle and returns how long it took.
func pass(t testing.TB, wants wanted, cfg validator.Config, dialer func(dial.Config) *dial.Dialer) time.Duration {
	t.Helper()
	var mentions []store.Mention
	for u := range wants {
		mentions = append(mentions, store.Mention{URL: u, Class: hints.Seed, At: 1000})
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "pass.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.AddMentions(t.Context(), mentions); err != nil {
		t.Fatal(err)
	}
	dialled := dial.DefaultConfig()
	dialled.AllowLocal, dialled.PerAddress, dialled.PerMinute = true, 1000, 1_000_000
	s := validator.New(cfg, db, dialer(dialled), "test", slog.New(slog.DiscardHandler))
	begin := time.Now()
	if err := s.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)

	promoted := map[relay.URL]bool{}
	for r, err := range db.ScanRelays(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		promoted[r.URL] = true
	}
	left := map[relay.URL]store.Candidate{}
	for c, err := range db.ScanCandidates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		left[c.URL] = c
	}
	wrong := 0
	for u, want := range wants {
		c, is := left[u]
		ok := promoted[u] && !is
		if want != "" {
			ok = !promoted[u] && is && c.Attempts == 1 && c.NextDue > begin.Unix() && c.LastCause == want
		}
		if !ok {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: promoted is %t, %+v, want cause %q", u, promoted[u], c, want)
			}
		}
	}
	if len(promoted)+len(left) != len(wants) || wrong > 0 {
		t.Errorf("of %d candidates %d are relays and %d are left, %d of them wrongly", len(wants), len(promoted), len(left), wrong)
	}
	return took
}

// TestFirstPass has one cycle meet every way of being dead, many times over. It
// takes as long as those take that are silent for half of their time, 256 at
// once.
func TestFirstPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network pipes
		wants := wanted{}
		const each = 36
		for i, way := range ways {
			addr := fmt.Sprintf("127.0.0.1:%d", 7000+i)
			network.serve(addr, way.serve)
			for n := range each {
				wants.add(t, fmt.Sprintf("%s://%s/%d", way.scheme, addr, n), way.want)
			}
		}
		for n := range each {
			addr := fmt.Sprintf("127.0.0.1:%d", 8000+n)
			network.serve(addr, answers)
			wants.add(t, "ws://"+addr, "")
		}
		cfg := validator.DefaultConfig()
		took := pass(t, wants, cfg, func(d dial.Config) *dial.Dialer { return dial.New(d).Over(network.dial) })
		network.close()
		if most := 2 * cfg.Timeout.Std(); took < cfg.Timeout.Std()/2 || took > most {
			t.Errorf("the pass took %s of the bubble's time, want %s to %s", took, cfg.Timeout.Std()/2, most)
		}
	})
}

// TestPipeline has more candidates than are tried at once, one of which is
// silent: all are tried in one cycle, and the silent one keeps no other waiting.
func TestPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network pipes
		wants := wanted{}
		for n := range 40 {
			addr := fmt.Sprintf("127.0.0.1:%d", 8000+n)
			network.serve(addr, answers)
			wants.add(t, "ws://"+addr, "")
		}
		network.serve("127.0.0.1:7000", talk(func(*session.Conn, []byte) bool { return true }))
		wants.add(t, "ws://127.0.0.1:7000", dial.CauseNoNostr)
		cfg := validator.DefaultConfig()
		cfg.Parallel = 2
		took := pass(t, wants, cfg, func(d dial.Config) *dial.Dialer { return dial.New(d).Over(network.dial) })
		network.close()
		if silence := cfg.Timeout.Std() / 2; took < silence || took > silence+2*time.Second {
			t.Errorf("the pass took %s of the bubble's time, want the %s of the silent one", took, silence)
		}
	})
}

// BenchmarkFirstPass is the first pass of a new installation: 10,000 candidates,
// nine tenths of them dead in different ways. The budgets towards others are
// lifted, since all are on loopback, and nothing is tried twice; everything else
// is the default. The peak of memory includes the relays, which live in the same
// process.
func BenchmarkFirstPass(b *testing.B) {
	n := 1000
	if os.Getenv("BENCH_FULL") != "" {
		n = 10_000
	}
	for b.Loop() {
		wants := wanted{}
		at := map[string]string{} // where the ways are
		for _, way := range ways {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			at[way.name] = fmt.Sprintf("%s://%s/", way.scheme, l.Addr())
			if way.serve == nil {
				_ = l.Close()
				continue
			}
			go way.serve(l)
			b.Cleanup(func() { _ = l.Close() })
		}
		for i := range n - n/10 {
			way := ways[i%len(ways)]
			wants.add(b, at[way.name]+strconv.Itoa(i), way.want)
		}
		for i := 0; i < n/10; {
			network := simnet.New(uint64(10 + i))
			b.Cleanup(network.Close)
			for range min(200, n/10-i) { // as many as a network may have, and some more
				r, err := network.AddRelay(simnet.Behaviour{})
				if err != nil {
					b.Fatal(err)
				}
				wants[r.URL()] = ""
				i++
			}
		}
		cfg := validator.DefaultConfig()
		cfg.Retry = config.Duration(time.Hour)
		took := pass(b, wants, cfg, dial.New)
		b.ReportMetric(took.Seconds(), "s/pass")
		b.ReportMetric(float64(n)/took.Seconds(), "candidates/s")
		b.ReportMetric(peak(b), "MB-peak")
	}
}

// peak is the most memory the process has had resident, in MB.
func peak(t testing.TB) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	return 0
}

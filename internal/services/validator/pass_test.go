package validator_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/validator"
	"bigbrotr/internal/simnet"
)

// ways are the ways of being dead, each with what it is to be found out by.
var ways = []struct {
	name string
	open func(t testing.TB, network *simnet.Network) string // returns where: scheme and authority
	want dial.Cause
}{
	{"refuses connections", func(t testing.TB, network *simnet.Network) string {
		u, err := network.AddDead()
		if err != nil {
			t.Fatal(err)
		}
		return u.String()
	}, dial.CauseTCPRefused},
	{"accepts and is silent", func(t testing.TB, _ *simnet.Network) string {
		return "ws://" + raw(t, func(net.Conn) bool { return true })
	}, dial.CauseWSTimeout},
	{"hangs up", func(t testing.TB, _ *simnet.Network) string {
		return "ws://" + raw(t, func(net.Conn) bool { return false })
	}, dial.CauseWSRefused},
	{"speaks something else", func(t testing.TB, _ *simnet.Network) string {
		return "ws://" + raw(t, func(c net.Conn) bool {
			_, err := c.Write([]byte("SSH-2.0-OpenSSH_9.7\r\n"))
			return err == nil
		})
	}, dial.CauseWSRefused},
	{"has no TLS", func(t testing.TB, _ *simnet.Network) string {
		return "wss://" + raw(t, func(c net.Conn) bool {
			_, err := c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			return err == nil
		})
	}, dial.CauseTLS},
	{"has no WebSocket", faulty(simnet.Status, 404), dial.CauseHTTPStatus},
	{"has a silent WebSocket", faulty(simnet.Silent, 0), dial.CauseNoNostr},
	{"sends back what it gets", faulty(simnet.Echo, 0), dial.CauseNoNostr},
	{"leaves", faulty(simnet.Leave, 0), dial.CauseDisconnected},
}

func faulty(what simnet.What, n int) func(testing.TB, *simnet.Network) string {
	return func(t testing.TB, network *simnet.Network) string {
		r, err := network.AddRelay(simnet.Behaviour{Faults: []simnet.Fault{{What: what, When: simnet.Always, N: n}}})
		if err != nil {
			t.Fatal(err)
		}
		return r.URL().String()
	}
}

// raw serves connections without a protocol; it keeps those open for which greet
// returns true, and returns where it listens.
func raw(t testing.TB, greet func(net.Conn) bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				if greet(c) {
					// Until the other side has had enough of it.
					_, _ = io.Copy(io.Discard, c)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// pass makes candidates, of which one in ten is a relay and the others are dead
// in different ways, tries them all in one cycle, and returns how long it took.
func pass(t testing.TB, n int, timeout time.Duration) time.Duration {
	t.Helper()
	network := simnet.New(10)
	t.Cleanup(network.Close)
	var where []string
	for _, way := range ways {
		where = append(where, way.open(t, network))
	}
	wants := map[relay.URL]dial.Cause{}
	var mentions []store.Mention
	alive := 0
	for i := range n {
		var u relay.URL
		if i%10 == 0 {
			if alive > 0 && alive%200 == 0 { // as many as a network may have, and some more
				network = simnet.New(uint64(10 + alive/200))
				t.Cleanup(network.Close)
			}
			r, err := network.AddRelay(simnet.Behaviour{})
			if err != nil {
				t.Fatal(err)
			}
			u = r.URL()
			alive++
		} else {
			way := i % len(ways)
			var err error
			if u, err = (relay.Rules{AllowLocal: true}).Parse(where[way] + "/" + strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
			wants[u] = ways[way].want
		}
		mentions = append(mentions, store.Mention{URL: u, Class: hints.Seed, At: int64(1000 + i)})
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "pass.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.AddMentions(t.Context(), mentions); err != nil {
		t.Fatal(err)
	}
	dialled := dial.DefaultConfig()
	dialled.AllowLocal, dialled.PerAddress, dialled.PerMinute = true, 1000, 1_000_000
	cfg := validator.DefaultConfig()
	cfg.Timeout = config.Duration(timeout)
	s := validator.New(cfg, db, dial.New(dialled), "test", slog.New(slog.DiscardHandler))
	begin := time.Now()
	if err := s.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)

	promoted := 0
	for _, err := range db.ScanRelays(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		promoted++
	}
	left, wrong := 0, 0
	for c, err := range db.ScanCandidates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		left++
		if c.Attempts != 1 || c.NextDue <= begin.Unix() || c.LastCause != wants[c.URL] {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %+v, want cause %s", c.URL, c, wants[c.URL])
			}
		}
	}
	if promoted != alive || left != n-alive {
		t.Errorf("%d of %d relays promoted, %d of %d others left", promoted, alive, left, n-alive)
	}
	return took
}

// TestFirstPass has one cycle meet every way of being dead.
func TestFirstPass(t *testing.T) { pass(t, 360, 20*time.Second) }

// BenchmarkFirstPass is the first pass of a new installation: 10,000 candidates,
// nine tenths of them dead. The budgets towards others are lifted, since all are
// on loopback; everything else is the default. The peak of memory includes the
// relays, which live in the same process.
func BenchmarkFirstPass(b *testing.B) {
	n := 1000
	if os.Getenv("BENCH_FULL") != "" {
		n = 10_000
	}
	for b.Loop() {
		took := pass(b, n, validator.DefaultConfig().Timeout.Std())
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

package dial

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/relay"
)

const (
	onion      = "ws://pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
	otherOnion = "ws://2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"
)

// proxy is a scripted SOCKS5 server. It sends what a request holds to got.
type proxy struct {
	methods string // its choice of method
	status  string // its answer to user and password
	answer  string // its answer to the request
}

func (p proxy) serve(c net.Conn, got func(user, password, host string, port int)) {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	io.CopyN(io.Discard, c, int64(head[1]))
	io.WriteString(c, p.methods)
	text := func() string {
		var n [1]byte
		io.ReadFull(c, n[:])
		b := make([]byte, n[0])
		io.ReadFull(c, b)
		return string(b)
	}
	var user, password string
	if p.status != "" {
		io.CopyN(io.Discard, c, 1)
		user, password = text(), text()
		io.WriteString(c, p.status)
	}
	if n, _ := io.CopyN(io.Discard, c, 4); n < 4 {
		return
	}
	host := text()
	var port [2]byte
	io.ReadFull(c, port[:])
	got(user, password, host, int(port[0])<<8|int(port[1]))
	io.WriteString(c, p.answer)
	io.Copy(c, c) // an echo stands for the relay
}

func TestSOCKS(t *testing.T) {
	const (
		user   = "\x05\x02"
		none   = "\x05\x00"
		good   = "\x01\x00"
		bound  = "\x01\x00\x00\x00\x00\x00\x00"
		bound6 = "\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	)
	reply := func(code byte) string { return "\x05" + string([]byte{code}) + "\x00" + bound }
	tests := []struct {
		name  string
		proxy proxy
		cause Cause
	}{
		{"with a user", proxy{user, good, reply(0)}, ""},
		{"without", proxy{none, "", reply(0)}, ""},
		{"bound to IPv6", proxy{none, "", "\x05\x00\x00" + bound6}, ""},
		{"bound to a name", proxy{none, "", "\x05\x00\x00\x03\x04host\x00\x50"}, ""},
		{"user refused", proxy{user, "\x01\x01", ""}, CauseProxyDown},
		{"no method", proxy{"\x05\xff", "", ""}, CauseProxyDown},
		{"socks 4", proxy{"\x00\x5a", "", ""}, CauseProxyDown},
		{"http", proxy{"HTTP/1.1 400 Bad Request\r\n\r\n", "", ""}, CauseProxyDown},
		{"bound to nonsense", proxy{none, "", "\x05\x00\x00\x09"}, CauseProxyDown},
		{"general failure", proxy{none, "", reply(1)}, CauseOverlay},
		{"not allowed", proxy{none, "", reply(2)}, CauseProxyRefused},
		{"net unreachable", proxy{none, "", reply(3)}, CauseTCPUnreachable},
		{"host unreachable", proxy{none, "", reply(4)}, CauseTCPUnreachable},
		{"refused", proxy{none, "", reply(5)}, CauseTCPRefused},
		{"ttl expired", proxy{none, "", reply(6)}, CauseTCPTimeout},
		{"command unknown", proxy{none, "", reply(7)}, CauseProxyRefused},
		{"no descriptor", proxy{none, "", reply(0xf0)}, CauseOverlay},
		{"introduction timed out", proxy{none, "", reply(0xf7)}, CauseTCPTimeout},
		{"silence", proxy{none, "", ""}, CauseTCPTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := make(chan string, 1)
			port := serve(t, func(c net.Conn) {
				tt.proxy.serve(c, func(user, password, host string, port int) {
					if (user == "") != (tt.proxy.status == "") || (password == "") != (user == "") {
						t.Errorf("user %q, password %q", user, password)
					}
					asked <- fmt.Sprintf("%s:%d", host, port)
				})
			})
			cfg := DefaultConfig()
			cfg.Tor = "127.0.0.1:" + port
			if tt.proxy.answer == "" && tt.cause == CauseTCPTimeout {
				cfg.OverlayTimeout = config.Duration(200 * time.Millisecond)
			}
			d := New(cfg)
			d.lookup = names(nil)
			u := parse(t, onion)
			c, err := d.Dial(t.Context(), u)
			if got := CauseOf(err); got != tt.cause {
				t.Fatalf("cause %q, want %q: %v", got, tt.cause, err)
			}
			if err != nil {
				if len(d.budget.hosts) != 0 {
					t.Error("a failed dial keeps its place")
				}
				return
			}
			defer c.Close()
			if got, want := <-asked, u.Hostname()+":80"; got != want {
				t.Errorf("asked for %s, want %s", got, want)
			}
			// All of the proxy's answer has been read off.
			io.WriteString(c, "hello")
			var echo [5]byte
			if _, err := io.ReadFull(c, echo[:]); err != nil || string(echo[:]) != "hello" {
				t.Errorf("echo %q, %v", echo, err)
			}
			if tr := c.Trace(); tr.TCP == 0 || tr.DNS != 0 || tr.Addr.IsValid() {
				t.Errorf("trace %+v", tr)
			}
		})
	}
}

// said is a connection to a proxy that says what it says whatever it hears.
type said struct {
	net.Conn
	text *bytes.Reader
}

func (s said) Read(p []byte) (int, error)  { return s.text.Read(p) }
func (s said) Write(p []byte) (int, error) { return len(p), nil }

// FuzzSOCKS checks that nothing a proxy says is taken for success before its
// end, and that nothing is read beyond it: what follows is the relay's.
func FuzzSOCKS(f *testing.F) {
	for _, text := range []string{
		"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00",
		"\x05\x00\x05\x00\x00\x03\x04host\x00\x50HTTP/1.1 101",
		"\x05\x00\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x05\x02\x01\x00\x05\xf0\x00\x01\x00\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(text))
	}
	to := target{network: relay.Tor, host: "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion", port: "80", circuit: "c"}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := said{text: bytes.NewReader(text)}
		err := socksConnect(c, to)
		if err != nil {
			if CauseOf(proxyError("proxy", err)) == "" {
				t.Errorf("no cause for %v", err)
			}
			return
		}
		read := len(text) - c.text.Len()
		for end := range read {
			if err := socksConnect(said{text: bytes.NewReader(text[:end])}, to); err == nil {
				t.Errorf("%d of %d bytes are enough", end, read)
			}
		}
		if err := socksConnect(said{text: bytes.NewReader(text[:read])}, to); err != nil {
			t.Errorf("%d bytes were read and are not enough: %v", read, err)
		}
	})
}

func TestCircuits(t *testing.T) {
	users := make(chan string, 1)
	port := serve(t, func(c net.Conn) {
		go func() {
			<-t.Context().Done()
			c.Close()
		}()
		proxy{"\x05\x02", "\x01\x00", "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"}.serve(c, func(user, _, _ string, _ int) { users <- user })
	})
	cfg := DefaultConfig()
	cfg.Tor = "127.0.0.1:" + port
	d := New(cfg)
	var got []string
	for _, text := range []string{onion, otherOnion, onion} {
		c, err := d.Dial(t.Context(), parse(t, text))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		got = append(got, <-users)
	}
	if got[0] == got[1] || got[0] != got[2] {
		t.Errorf("circuits %q", got)
	}
}

func TestNetworks(t *testing.T) {
	cfg := DefaultConfig()
	cfg.I2P = "127.0.0.1:1" // nobody listens there
	d := New(cfg)
	tests := []struct {
		url   string
		cause Cause
	}{
		{onion, CauseNoProxy},
		{"ws://ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p", CauseProxyDown},
	}
	for _, tt := range tests {
		u := parse(t, tt.url)
		_, err := d.Dial(t.Context(), u)
		if got := CauseOf(err); got != tt.cause {
			t.Errorf("%s: cause %q, want %q: %v", u, got, tt.cause, err)
		}
		if got := d.Enabled(u.Network()); got != (tt.cause != CauseNoProxy) {
			t.Errorf("%s enabled: %v", u.Network(), got)
		}
	}
	if !d.Enabled(relay.Clearnet) {
		t.Error("clearnet is not enabled")
	}
}

func TestNetworkOf(t *testing.T) {
	want := map[string]relay.Network{
		"relay.example.com": relay.Clearnet, "x.ONION": relay.Tor, "x.onion.": relay.Tor,
		"onion": relay.Clearnet, "x.b32.i2p": relay.I2P, "x.loki": relay.Loki, "x.onion.example.com": relay.Clearnet,
	}
	got := map[string]relay.Network{}
	for host := range want {
		got[host] = networkOf(host)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("networks (-want +got):\n%s", d)
	}
}

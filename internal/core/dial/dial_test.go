package dial

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/relay"
)

func TestMain(m *testing.M) {
	http.DefaultTransport = poison{}
	goleak.VerifyTestMain(m)
}

// poison is a transport that must not be used.
type poison struct{}

func (poison) RoundTrip(r *http.Request) (*http.Response, error) {
	panic("a test dials " + r.URL.String())
}

func parse(t *testing.T, text string) relay.URL {
	t.Helper()
	u, err := relay.Rules{AllowLocal: true}.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// names is a resolver of fixed names.
func names(table map[string][]string) func(context.Context, string, string) ([]netip.Addr, error) {
	return func(_ context.Context, _, host string) ([]netip.Addr, error) {
		texts, ok := table[host]
		if !ok {
			return nil, &net.DNSError{Name: host, IsNotFound: true}
		}
		var addrs []netip.Addr
		for _, text := range texts {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		return addrs, nil
	}
}

// piped counts as connected: the far end of a pipe that nobody reads.
func piped() net.Conn {
	ours, theirs := net.Pipe()
	theirs.Close()
	return ours
}

func TestGuard(t *testing.T) {
	tests := []struct {
		name   string
		url    string
		addrs  []string // of relay.example.com
		local  bool
		dialed []string
		cause  Cause
	}{
		{name: "public", addrs: []string{"9.9.9.9"}, dialed: []string{"9.9.9.9:443"}},
		{name: "mapped answer of a resolver", addrs: []string{"::ffff:9.9.9.9"}, dialed: []string{"9.9.9.9:443"}},
		{name: "private", addrs: []string{"10.0.0.1"}, cause: CauseAddress},
		{name: "mapped private", addrs: []string{"::ffff:10.0.0.1"}, cause: CauseAddress},
		{name: "loopback", addrs: []string{"127.0.0.1", "::1"}, cause: CauseAddress},
		{name: "metadata service", addrs: []string{"169.254.169.254"}, cause: CauseAddress},
		{name: "nat64 of loopback", addrs: []string{"64:ff9b::7f00:1"}, cause: CauseAddress},
		{name: "6to4 of a private address", addrs: []string{"2002:a00:1::1"}, cause: CauseAddress},
		{name: "unspecified", addrs: []string{"0.0.0.0"}, cause: CauseAddress},
		{name: "only the public one of several", addrs: []string{"127.0.0.1", "9.9.9.9"}, dialed: []string{"9.9.9.9:443"}},
		{name: "no address", addrs: []string{}, cause: CauseAddress},
		{name: "unknown name", cause: CauseNXDomain},
		{name: "literal", url: "wss://9.9.9.9:8443", dialed: []string{"9.9.9.9:8443"}},
		{name: "private literal", url: "wss://10.0.0.1", cause: CauseAddress},
		{name: "loopback literal", url: "ws://[::1]:7777", cause: CauseAddress},
		{name: "allowed loopback", addrs: []string{"127.0.0.1"}, local: true, dialed: []string{"127.0.0.1:443"}},
		{name: "local is not everything", addrs: []string{"0.0.0.0"}, local: true, cause: CauseAddress},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var dialed []string
			cfg := DefaultConfig()
			cfg.AllowLocal = tt.local
			d := New(cfg).Over(func(_ context.Context, _, addr string) (net.Conn, error) {
				dialed = append(dialed, addr)
				return piped(), nil
			})
			table := map[string][]string{}
			if tt.addrs != nil {
				// The dot keeps search lists out; local names may need them.
				table["relay.example.com"+map[bool]string{false: "."}[tt.local]] = tt.addrs
			}
			d.lookup = names(table)
			u := tt.url
			if u == "" {
				u = "wss://relay.example.com"
			}
			_, err := d.Dial(t.Context(), parse(t, u))
			want := tt.cause
			if want == "" {
				want = CauseTLS // the pipe does not speak it
				if parse(t, u).Secure() == false {
					want = ""
				}
			}
			if got := CauseOf(err); got != want {
				t.Errorf("cause %q, want %q: %v", got, want, err)
			}
			if d := cmp.Diff(tt.dialed, dialed); d != "" {
				t.Errorf("dialed (-want +got):\n%s", d)
			}
			if len(d.budget.hosts) != 0 {
				t.Errorf("a failed dial keeps its place: %v", d.budget.hosts)
			}
		})
	}
}

func TestRace(t *testing.T) {
	// How each address behaves: it answers after a while, or fails.
	type host struct {
		after    time.Duration
		err      error
		stubborn bool // connects even when nobody wants it any more
	}
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	unreachable := os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	tests := []struct {
		name  string
		hosts map[string]host
		order []string
		addr  string
		took  time.Duration
		cause Cause
	}{
		{
			"first answers",
			map[string]host{"2620:fe::9": {after: 100 * time.Millisecond}, "9.9.9.9": {}},
			[]string{"2620:fe::9", "9.9.9.9"},
			"2620:fe::9", 100 * time.Millisecond, "",
		},
		{
			"second overtakes",
			map[string]host{"2620:fe::9": {after: 5 * time.Second}, "9.9.9.9": {after: time.Second}},
			[]string{"2620:fe::9", "9.9.9.9"},
			"9.9.9.9", 1250 * time.Millisecond, "",
		},
		{
			"a failure starts the next at once",
			map[string]host{"2620:fe::9": {err: unreachable}, "9.9.9.9": {after: time.Second}},
			[]string{"2620:fe::9", "9.9.9.9"},
			"9.9.9.9", time.Second, "",
		},
		{
			"each address has its head start",
			map[string]host{"9.9.9.9": {after: time.Hour}, "9.9.9.10": {after: time.Hour}, "9.9.9.11": {}},
			[]string{"9.9.9.9", "9.9.9.10", "9.9.9.11"},
			"9.9.9.11", 500 * time.Millisecond, "",
		},
		{
			"the loser connects too",
			map[string]host{"9.9.9.9": {after: time.Second}, "9.9.9.10": {after: time.Hour, stubborn: true}},
			[]string{"9.9.9.9", "9.9.9.10"},
			"9.9.9.9", time.Second, "",
		},
		{
			"families alternate",
			map[string]host{"2620:fe::9": {err: unreachable}, "2620:fe::fe": {err: unreachable}, "9.9.9.9": {}},
			[]string{"2620:fe::9", "2620:fe::fe", "9.9.9.9"},
			"9.9.9.9", 0, "",
		},
		{
			"the failure that tells most",
			map[string]host{"2620:fe::9": {err: unreachable}, "9.9.9.9": {err: refused, after: time.Second}, "9.9.9.10": {after: time.Hour}},
			[]string{"2620:fe::9", "9.9.9.9", "9.9.9.10"},
			"", 10*time.Second + 250*time.Millisecond, CauseTCPRefused,
		},
		{
			"nobody answers",
			map[string]host{"9.9.9.9": {after: time.Hour}},
			[]string{"9.9.9.9"},
			"", 10 * time.Second, CauseTCPTimeout,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := New(DefaultConfig()).Over(func(ctx context.Context, _, addr string) (net.Conn, error) {
					ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // as net.Dialer has it
					defer cancel()
					h := tt.hosts[netip.MustParseAddrPort(addr).Addr().String()]
					select {
					case <-time.After(h.after):
					case <-ctx.Done():
						if !h.stubborn {
							return nil, ctx.Err()
						}
					}
					if h.err != nil {
						return nil, h.err
					}
					return piped(), nil
				})
				d.lookup = names(map[string][]string{"relay.example.com.": tt.order})
				begin := time.Now()
				c, err := d.Dial(t.Context(), parse(t, "ws://relay.example.com"))
				if took := time.Since(begin); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if got := CauseOf(err); got != tt.cause {
					t.Fatalf("cause %q, want %q: %v", got, tt.cause, err)
				}
				if err == nil {
					if got := c.Trace().Addr.Addr().String(); got != tt.addr {
						t.Errorf("connected to %s, want %s", got, tt.addr)
					}
					if len(d.budget.hosts) != 1 {
						t.Errorf("%d hosts hold a place", len(d.budget.hosts))
					}
					c.Close()
					c.Close()
				}
				if len(d.budget.hosts) != 0 {
					t.Errorf("%d hosts hold a place", len(d.budget.hosts))
				}
			})
		})
	}
}

func TestCancelAndBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.PerAddress = 1
		d := New(cfg).Over(func(ctx context.Context, _, addr string) (net.Conn, error) {
			if addr == "9.9.9.10:80" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return piped(), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := d.Dial(ctx, parse(t, "ws://9.9.9.9"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Dial(ctx, parse(t, "ws://9.9.9.9")); CauseOf(err) != CauseBusy {
			t.Errorf("cause %q: %v", CauseOf(err), err)
		}
		c.Close()
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = d.Dial(ctx, parse(t, "ws://9.9.9.10"))
		if !errors.Is(err, context.Canceled) || CauseOf(err) != "" {
			t.Errorf("cause %q: %v", CauseOf(err), err)
		}
	})
}

// TestLateTurn has a connection wait for its turn and then fail: that is the
// host's fault when it had half of the time, and ours when its turn came later.
// What the wait took is told in both cases, of one address and of several.
func TestLateTurn(t *testing.T) {
	onion := "ws://2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"
	for _, tt := range []struct {
		name, url  string
		held, wait time.Duration
		cause      Cause
	}{
		{"at once", "ws://9.9.9.9", 0, 0, CauseTCPRefused},
		{"in time", "ws://9.9.9.9", 9 * time.Second, 9 * time.Second, CauseTCPRefused},
		{"in time, an overlay", onion, 9 * time.Second, 9 * time.Second, CauseProxyDown},
		{"several addresses", "ws://relay.example.com", 9 * time.Second, 9 * time.Second, CauseTCPRefused},
		{"too late", "ws://9.9.9.9", 11 * time.Second, 10 * time.Second, CauseBusy},
		{"too late, an overlay", onion, 11 * time.Second, 10 * time.Second, CauseBusy},
		{"never", "ws://9.9.9.9", time.Hour, 10 * time.Second, CauseBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := DefaultConfig()
				cfg.PerAddress, cfg.Tor = 1, "127.0.0.1:9050"
				d := New(cfg).Over(func(context.Context, string, string) (net.Conn, error) {
					return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
				})
				d.lookup = names(map[string][]string{"relay.example.com.": {"9.9.9.9", "8.8.8.8"}})
				u := parse(t, tt.url)
				for _, host := range []string{"9.9.9.9", "8.8.8.8", u.Hostname()} {
					if tt.held == 0 || d.budget.hosts[host] != nil {
						continue
					}
					other, err := d.budget.acquire(t.Context(), host)
					if err != nil {
						t.Fatal(err)
					}
					defer time.AfterFunc(tt.held, other.release).Stop()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				_, err := d.Dial(ctx, u)
				failed, ok := errors.AsType[*Error](err)
				if !ok || failed.Cause != tt.cause || failed.Phase != PhaseConnect {
					t.Fatalf("%v, want %q", err, tt.cause)
				}
				// An address that joins later waits less.
				if w := failed.Trace.Wait; w > tt.wait || w < tt.wait-headStart {
					t.Errorf("waited %s, want %s", w, tt.wait)
				}
			})
		})
	}
}

// certificate makes a chain of one for names.
func certificate(t *testing.T, notAfter time.Time, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// serve accepts connections at loopback and returns the port.
func serve(t *testing.T, h func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestTLS(t *testing.T) {
	day := 24 * time.Hour
	tests := []struct {
		name     string
		notAfter time.Time
		trusted  bool
		dns      string
		min      uint16
		cause    Cause
	}{
		{"good", time.Now().Add(day), true, "relay.example.com", 0, ""},
		{"expired", time.Now().Add(-day), true, "relay.example.com", 0, CauseTLSExpired},
		{"not yet valid", time.Now().Add(9 * day), true, "relay.example.com", 0, CauseTLSExpired},
		{"other name", time.Now().Add(day), true, "relay.example.org", 0, CauseTLSName},
		{"self-signed", time.Now().Add(day), false, "relay.example.com", 0, CauseTLSUntrusted},
		{"old protocol", time.Now().Add(day), true, "relay.example.com", tls.VersionTLS10, CauseTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert, pool := certificate(t, tt.notAfter, tt.dns)
			server := &tls.Config{Certificates: []tls.Certificate{cert}}
			if tt.min != 0 {
				server.MinVersion, server.MaxVersion = tt.min, tt.min
			}
			port := serve(t, func(c net.Conn) {
				secure := tls.Server(c, server)
				if secure.Handshake() == nil {
					io.Copy(secure, secure)
				}
			})
			cfg := DefaultConfig()
			cfg.AllowLocal = true
			d := New(cfg)
			d.lookup = names(map[string][]string{"relay.example.com": {"127.0.0.1"}})
			if tt.trusted {
				d.roots.RootCAs = pool
			}
			c, err := d.Dial(t.Context(), parse(t, "wss://relay.example.com:"+port))
			if got := CauseOf(err); got != tt.cause {
				t.Fatalf("cause %q, want %q: %v", got, tt.cause, err)
			}
			if err != nil {
				e, ok := errors.AsType[*Error](err)
				if !ok || e.Phase != PhaseTLS || e.Trace.TLS == 0 || e.Trace.TCP == 0 || e.Trace.DNS == 0 {
					t.Errorf("error %+v", e)
				}
				return
			}
			defer c.Close()
			tr := c.Trace()
			if tr.State == nil || !tr.State.PeerCertificates[0].NotAfter.Equal(tt.notAfter.Truncate(time.Second)) {
				t.Errorf("trace %+v", tr)
			}
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			if in, out := c.Wire(); in < 500 || out < 100 {
				t.Errorf("%d bytes in, %d out", in, out)
			}
		})
	}
}

func TestTLSPhases(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AllowLocal, cfg.TLSTimeout = true, config.Duration(200*time.Millisecond)
	tests := []struct {
		name  string
		h     func(net.Conn)
		cause Cause
	}{
		{"silence", func(c net.Conn) { io.Copy(io.Discard, c) }, CauseTLSTimeout},
		{"no tls", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, CauseTLS},
		{"cut off", func(net.Conn) {}, CauseTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(cfg).Dial(t.Context(), parse(t, "wss://127.0.0.1:"+serve(t, tt.h)))
			if got := CauseOf(err); got != tt.cause {
				t.Errorf("cause %q, want %q: %v", got, tt.cause, err)
			}
		})
	}
}

func TestDefaultConfigIsValid(t *testing.T) {
	c := DefaultConfig()
	if _, err := config.Load(&c, config.Sources{}); err != nil {
		t.Error(err)
	}
	for _, env := range []string{
		"BIGBROTR_PER_MINUTE=0", "BIGBROTR_TOR=9050", "BIGBROTR_PER_ADDRESS=0", "BIGBROTR_DNS_TIMEOUT=0s",
	} {
		c := DefaultConfig()
		if _, err := config.Load(&c, config.Sources{Env: []string{env}}); err == nil {
			t.Errorf("%s is taken", env)
		}
	}
}

// Package dial opens connections to relays. It owns the address guard (a name
// is resolved first, every address that is not public is refused, and the
// connection goes to the address that was checked, so that neither a hostile
// name nor a rebinding one reaches our own network), one way to dial per
// network, the budgets that keep us polite, and the closed list of causes. It
// leaves the WebSocket and what is said on it to package session, and the
// syntax of URLs to package relay.
package dial

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/relay"
)

// Config says how connections are opened.
type Config struct {
	// AllowLocal permits connections to loopback and private addresses, for
	// tests, demos and relays of one's own. Never set it on a machine that
	// takes relay URLs from strangers.
	AllowLocal bool `yaml:"allow_local"`

	// UserAgent is sent with every handshake and HTTP request.
	UserAgent string `yaml:"user_agent"`
	// Contact is a URL or mail address for relay operators, sent along with
	// UserAgent. Set it.
	Contact string `yaml:"contact"`

	// NameServer is the DNS server (host:port) that names are asked of. Empty
	// means those of the system.
	NameServer string `yaml:"name_server"`
	// DNSTimeout bounds the resolution of a name.
	DNSTimeout config.Duration `yaml:"dns_timeout"`
	// ConnectTimeout bounds one TCP connect; a host with several addresses
	// gets one per address, overlapping.
	ConnectTimeout config.Duration `yaml:"connect_timeout"`
	// TLSTimeout bounds the TLS handshake.
	TLSTimeout config.Duration `yaml:"tls_timeout"`
	// OverlayTimeout bounds a connect through a proxy.
	OverlayTimeout config.Duration `yaml:"overlay_timeout"`

	// Tor is the SOCKS5 proxy (host:port) for onion relays, such as
	// 127.0.0.1:9050. Without one they are not dialled.
	Tor string `yaml:"tor"`
	// I2P is the SOCKS5 proxy (host:port) for I2P relays. Without one they are
	// not dialled.
	I2P string `yaml:"i2p"`
	// Loki is the SOCKS5 proxy (host:port) for Lokinet relays. Without one they
	// are not dialled.
	Loki string `yaml:"loki"`

	// PerAddress is the number of connections at work that one address (one
	// /64 of IPv6, one overlay name) carries at once, from all processes on a
	// PostgreSQL database together.
	PerAddress int `yaml:"per_address"`
	// IdlePerAddress is the number of resting connections (live tails) that
	// one address carries besides, from each process.
	IdlePerAddress int `yaml:"idle_per_address"`
	// PerMinute is the number of connections opened in a minute to all hosts,
	// by all processes on a PostgreSQL database together.
	PerMinute int `yaml:"per_minute"`
}

// DefaultConfig returns the defaults: public addresses only, no overlay.
func DefaultConfig() Config {
	return Config{
		UserAgent:      "BigBrotr",
		DNSTimeout:     config.Duration(5 * time.Second),
		ConnectTimeout: config.Duration(10 * time.Second),
		TLSTimeout:     config.Duration(10 * time.Second),
		OverlayTimeout: config.Duration(60 * time.Second),
		PerAddress:     2,
		IdlePerAddress: 32,
		PerMinute:      600,
	}
}

// Validate implements config.Validator.
func (c *Config) Validate(check *config.Check) {
	low, high := config.Duration(100*time.Millisecond), config.Duration(10*time.Minute)
	config.InRange(check, "dns_timeout", c.DNSTimeout, low, high)
	config.InRange(check, "connect_timeout", c.ConnectTimeout, low, high)
	config.InRange(check, "tls_timeout", c.TLSTimeout, low, high)
	config.InRange(check, "overlay_timeout", c.OverlayTimeout, low, high)
	config.InRange(check, "per_address", c.PerAddress, 1, 1000)
	config.InRange(check, "idle_per_address", c.IdlePerAddress, 0, 10_000)
	config.InRange(check, "per_minute", c.PerMinute, 1, 1_000_000)
	if _, err := netip.ParseAddrPort(c.NameServer); c.NameServer != "" && err != nil {
		check.Add("name_server", "is not an address with a port", "write one such as 127.0.0.1:53")
	}
	for _, p := range []struct{ key, value string }{{"tor", c.Tor}, {"i2p", c.I2P}, {"loki", c.Loki}} {
		if p.value == "" {
			continue
		}
		if host, port, err := net.SplitHostPort(p.value); err != nil || host == "" || port == "" {
			check.Add(p.key, "is not host:port", "write the address of a SOCKS5 proxy such as 127.0.0.1:9050")
		}
	}
}

// Trace is what was learned while a connection was opened. A phase that did
// not happen took 0.
type Trace struct {
	Wait time.Duration // in our own budgets
	DNS  time.Duration
	TCP  time.Duration // through a proxy: until the proxy reports success
	TLS  time.Duration

	Addrs []netip.Addr   // everything the name resolved to, refused ones included
	Addr  netip.AddrPort // where the connection went; zero through a proxy
	// State is the TLS state with the peer's chain; nil without TLS.
	State *tls.ConnectionState
}

// Dialer opens connections. It is safe for concurrent use and holds the
// budgets, so a process has one.
type Dialer struct {
	cfg     Config
	proxies map[relay.Network]string
	budget  *budget
	left    *atomic.Int64 // connections of a visit; nil: no such limit
	roots   *tls.Config
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New returns a dialer for a valid configuration.
func New(cfg Config) *Dialer {
	return &Dialer{
		cfg: cfg,
		proxies: map[relay.Network]string{
			relay.Tor: cfg.Tor, relay.I2P: cfg.I2P, relay.Loki: cfg.Loki,
		},
		budget: newBudget(cfg, nil),
		// WebSocket and NIP-11 are HTTP/1.1; a server must not choose another.
		roots:   &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		lookup:  resolver(cfg).LookupNetIP,
		connect: (&net.Dialer{Timeout: cfg.ConnectTimeout.Std()}).DialContext,
	}
}

// Over returns a dialer with budgets of its own that opens its connections by
// connect, which gets an address with its port, instead of TCP: a simulated
// network, for tests.
func (d *Dialer) Over(connect func(ctx context.Context, network, addr string) (net.Conn, error)) *Dialer {
	other := New(d.cfg)
	other.connect = connect
	return other
}

// Share returns a dialer with budgets of its own of which PerAddress and
// PerMinute hold over all processes that share the slots.
func (d *Dialer) Share(slots Slots) *Dialer {
	other := *d
	other.budget = newBudget(d.cfg, slots)
	return &other
}

// ProductToken is how a robots.txt names whoever calls themselves agent (RFC
// 9309): the first word, without a version.
func ProductToken(agent string) string {
	name, _, _ := strings.Cut(agent, " ")
	name, _, _ = strings.Cut(name, "/")
	return name
}

// UserAgent is the text that tells operators who asks.
func (d *Dialer) UserAgent() string {
	if d.cfg.Contact == "" {
		return d.cfg.UserAgent
	}
	return d.cfg.UserAgent + " (+" + d.cfg.Contact + ")"
}

// Enabled reports whether relays of this network can be dialled.
func (d *Dialer) Enabled(n relay.Network) bool {
	return n == relay.Clearnet || d.proxies[n] != ""
}

// Networks returns the networks whose relays can be dialled.
func (d *Dialer) Networks() []relay.Network {
	var list []relay.Network
	for _, n := range []relay.Network{relay.Clearnet, relay.Tor, relay.I2P, relay.Loki} {
		if d.Enabled(n) {
			list = append(list, n)
		}
	}
	return list
}

// Dial opens a connection to the relay, with TLS for wss. It waits for the
// budgets for at most half of the time that ctx leaves, and fails as CauseBusy
// when that is not enough. Failures are *Error; only our own cancellation is
// returned as it is.
func (d *Dialer) Dial(ctx context.Context, u relay.URL) (*Conn, error) {
	return d.open(ctx, target{
		network: u.Network(), host: u.Hostname(), port: u.Port(),
		secure: u.Secure(), circuit: circuit(u),
	})
}

// circuit names the relay towards a proxy: connections with different names
// share no path, so that two relays cannot link us by it.
func circuit(u relay.URL) string {
	sum := sha256.Sum256([]byte(u.String()))
	return hex.EncodeToString(sum[:16])
}

// target is one end to connect to.
type target struct {
	network    relay.Network
	host, port string
	secure     bool
	circuit    string
}

func (t target) String() string { return net.JoinHostPort(t.host, t.port) }

func (d *Dialer) open(ctx context.Context, t target) (*Conn, error) {
	if err := d.spend(t); err != nil {
		return nil, err
	}
	c, err := d.reach(ctx, t)
	if err != nil || !t.secure {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.TLSTimeout.Std())
	defer cancel()
	cfg := d.roots.Clone()
	cfg.ServerName = t.host
	start := time.Now()
	secure := tls.Client(c.Conn, cfg)
	err = secure.HandshakeContext(ctx)
	c.trace.TLS = time.Since(start)
	if err != nil {
		c.Abort()
		return nil, fail(ctx, PhaseTLS, t, c.trace, err)
	}
	state := secure.ConnectionState()
	c.trace.State = &state
	c.Conn = secure
	return c, nil
}

// fail makes the error of a phase.
func fail(ctx context.Context, phase Phase, t target, trace Trace, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("dial %s: %w", t, ctx.Err())
	}
	e := &Error{Cause: classify(phase, err), Phase: phase, Host: t.String(), Trace: trace, Err: err}
	if inner, ok := errors.AsType[*Error](err); ok {
		e.Err = inner.Err // its cause is ours now
	}
	return e
}

func (d *Dialer) reach(ctx context.Context, t target) (*Conn, error) {
	if t.network != relay.Clearnet {
		return d.connectProxy(ctx, t)
	}
	var trace Trace
	addrs, err := d.resolve(ctx, t.host, &trace)
	if err != nil {
		return nil, fail(ctx, PhaseResolve, t, trace, err)
	}
	port, err := strconv.ParseUint(t.port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial %s: parse port: %w", t, err)
	}
	a := d.race(ctx, addrs, uint16(port))
	trace.Wait, trace.TCP = a.wait, a.took
	if a.err != nil {
		return nil, fail(ctx, PhaseConnect, t, trace, a.err)
	}
	trace.Addr = a.addr
	return newConn(a.conn, a.lease, trace), nil
}

// resolve returns the addresses of host that may be dialled.
func (d *Dialer) resolve(ctx context.Context, host string, trace *Trace) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		trace.Addrs = []netip.Addr{addr.Unmap()}
	} else {
		ctx, cancel := context.WithTimeout(ctx, d.cfg.DNSTimeout.Std())
		defer cancel()
		name := host
		if !d.cfg.AllowLocal && !strings.HasSuffix(name, ".") {
			name += "." // keeps the search list of resolv.conf out
		}
		start := time.Now()
		addrs, err := d.lookup(ctx, "ip", name)
		trace.DNS = time.Since(start)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			trace.Addrs = append(trace.Addrs, a.Unmap())
		}
	}
	var allowed []netip.Addr
	for _, a := range trace.Addrs {
		if (relay.Rules{AllowLocal: d.cfg.AllowLocal}).AllowsAddr(a) {
			allowed = append(allowed, a)
		}
	}
	if len(allowed) == 0 {
		return nil, &Error{Cause: CauseAddress, Phase: PhaseResolve, Host: host}
	}
	return interleave(allowed), nil
}

// maxAddrs bounds the addresses tried for one host.
const maxAddrs = 6

// interleave alternates the address families, beginning with the one the
// resolver put first, as RFC 8305 asks.
func interleave(addrs []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out[:min(len(out), maxAddrs)]
}

// attempt is a connect to one address.
type attempt struct {
	conn       net.Conn
	lease      *lease
	addr       netip.AddrPort
	wait, took time.Duration
	err        error
}

// headStart is how long an address is tried before the next one joins
// (RFC 8305, section 5).
const headStart = 250 * time.Millisecond

// race connects to the first address that answers, or returns the failure that
// speaks for all. Each address waits for its own budget; all attempts have
// ended when race returns.
func (d *Dialer) race(ctx context.Context, addrs []netip.Addr, port uint16) attempt {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan attempt, len(addrs))
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	next := 0
	start := func() {
		addr := netip.AddrPortFrom(addrs[next], port)
		next++
		running.Go(func() { results <- d.attempt(ctx, addr) })
	}
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	start()

	var failed attempt
	for done := 0; done < len(addrs); {
		select {
		case <-timer.C:
		case a := <-results:
			if a.err == nil {
				cancel()
				running.Wait()
				close(results)
				for late := range results {
					if late.err == nil {
						late.conn.Close()
						late.lease.release()
					}
				}
				return a
			}
			done++
			if failed.err == nil || rank(classify(PhaseConnect, a.err)) > rank(classify(PhaseConnect, failed.err)) {
				failed = a
			}
		}
		if next < len(addrs) {
			start()
			timer.Reset(headStart)
		}
	}
	return failed
}

func (d *Dialer) attempt(ctx context.Context, addr netip.AddrPort) attempt {
	a := attempt{addr: addr}
	begin := time.Now()
	a.lease, a.err = d.budget.acquire(ctx, Host(addr.Addr()))
	a.wait = time.Since(begin)
	if a.err != nil {
		a.err = busy(ctx, addr.String(), a.err)
		return a
	}
	begin = time.Now()
	// The checked address itself, not a name: nothing is resolved again.
	a.conn, a.err = d.connect(ctx, "tcp", addr.String())
	a.took = time.Since(begin)
	if a.err != nil {
		a.lease.release()
	}
	return a
}

// busy is the failure to get a place in our own budgets.
func busy(ctx context.Context, host string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &Error{Cause: CauseBusy, Phase: PhaseConnect, Host: host, Err: err}
}

// Conn is a connection to a relay. It counts what it carries and gives its
// place in the budgets back when it is closed.
type Conn struct {
	net.Conn
	wire  *wire
	lease *lease
	trace Trace
}

func newConn(c net.Conn, l *lease, trace Trace) *Conn {
	w := &wire{Conn: c}
	return &Conn{Conn: w, wire: w, lease: l, trace: trace}
}

// Trace says how the connection came about.
func (c *Conn) Trace() Trace { return c.trace }

// Wire returns the bytes read and written so far, TLS included and TCP not.
func (c *Conn) Wire() (in, out int64) { return c.wire.in.Load(), c.wire.out.Load() }

// Rest marks the connection as resting (a live tail), which frees its place
// among those at work. It reports false, and changes nothing, when the host
// already has as many resting connections as allowed.
func (c *Conn) Rest() bool { return c.lease.rest() }

// Wake waits until a resting connection may work again.
func (c *Conn) Wake(ctx context.Context) error {
	if err := c.lease.wake(ctx); err != nil {
		return busy(ctx, c.RemoteAddr().String(), err)
	}
	return nil
}

// Close closes the connection. It may be called more than once.
func (c *Conn) Close() error {
	defer c.lease.release()
	return c.Conn.Close()
}

// Abort closes the connection at once, without the farewell that TLS sends.
func (c *Conn) Abort() {
	defer c.lease.release()
	_ = c.wire.Close() // there is nothing left that could be lost
}

// wire counts the bytes of a connection.
type wire struct {
	net.Conn
	in, out atomic.Int64
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.in.Add(int64(n))
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.out.Add(int64(n))
	return n, err
}

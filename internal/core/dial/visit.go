package dial

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// errSpent is why a visit opens no further connection.
var errSpent = errors.New("the connections of this visit are spent")

// Visit returns a dialer for one visit of a relay. It has the budgets of d,
// resolves each name once, and opens at most n connections altogether, those
// of redirects counted; a further one fails as busy.
func (d *Dialer) Visit(n int) *Dialer {
	visit := *d
	visit.left = new(atomic.Int64)
	visit.left.Store(int64(n))
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	var mu sync.Mutex
	known := map[string]answer{}
	visit.lookup = func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		a, ok := known[host]
		if !ok {
			a.addrs, a.err = d.lookup(ctx, network, host)
			known[host] = a
		}
		return a.addrs, a.err
	}
	return &visit
}

// spend takes a connection of a visit.
func (d *Dialer) spend(t target) error {
	if d.left != nil && d.left.Add(-1) < 0 {
		return &Error{Cause: CauseBusy, Phase: PhaseConnect, Host: t.String(), Err: errSpent}
	}
	return nil
}

// To returns a dialer of the same visit that goes to addr, whatever a name
// leads to. The guard holds for addr too.
func (d *Dialer) To(addr netip.Addr) *Dialer {
	to := *d
	to.lookup = func(context.Context, string, string) ([]netip.Addr, error) { return []netip.Addr{addr}, nil }
	return &to
}

// Trusting returns a dialer that shares the budgets of d and trusts these
// certificate authorities instead of the system's.
func (d *Dialer) Trusting(roots *x509.CertPool) *Dialer {
	other := *d
	other.roots = d.roots.Clone()
	other.roots.RootCAs = roots
	return &other
}

// Roots are the certificate authorities that are trusted; nil means the
// system's.
func (d *Dialer) Roots() *x509.CertPool { return d.roots.RootCAs }

// NameServer is the name server of the configuration (host:port); empty means
// the system's.
func (d *Dialer) NameServer() string { return d.cfg.NameServer }

// resolver asks the name server of the configuration, or the system's.
func resolver(cfg Config) *net.Resolver {
	if cfg.NameServer == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, cfg.NameServer)
		},
	}
}

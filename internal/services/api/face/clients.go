package face

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

var (
	errFull      = errors.New("too many connections")
	errPerClient = errors.New("too many connections from this address")
	// errBusy says that others use up what we have for all.
	errBusy = errors.New("busy")
)

// clients keeps account of who is connected: by address, of IPv6 by the network
// of 64 bits that one customer has.
type clients struct {
	cfg Config

	mu       sync.Mutex
	accounts map[string]*account
	all      int
}

// account is what is known of one client address.
type account struct {
	connections int
	limit       *rate.Limiter
}

const (
	// maxAccounts is how many are remembered before those that are at rest are
	// forgotten.
	maxAccounts = 10_000
	// The price of a message: a request costs ten times what a round of a
	// reconciliation does.
	costRequest = 10
	costRound   = 1
	// burst is for how many seconds' worth of requests a client may come at once.
	burst = 4
)

func newClients(cfg Config) *clients { return &clients{cfg: cfg, accounts: map[string]*account{}} }

// Client names who a request is from: an address, of IPv6 the network of 64 bits
// that one customer has.
func (f *Face) Client(r *http.Request) string { return f.clients.key(r) }

// key tells whose account a request is on.
func (c *clients) key(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if c.cfg.ClientHeader != "" {
		values := r.Header.Values(c.cfg.ClientHeader)
		list := strings.Split(strings.Join(values, ","), ",")
		// What stands before the last the client may have written itself.
		if last := strings.TrimSpace(list[len(list)-1]); last != "" {
			host = last
		}
	}
	return ClientAt(host)
}

// ClientAt names the client at an address: that address, of IPv6 the network of
// 64 bits that one customer has.
func ClientAt(host string) string {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return "?" // all who hide share one
	}
	if addr = addr.Unmap(); addr.Is6() {
		network, _ := addr.WithZone("").Prefix(64) // 64 fits
		return network.String()
	}
	return addr.String()
}

func (c *clients) enter(key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.cfg.Connections {
		return errFull
	}
	a := c.account(key)
	if a.connections >= c.cfg.PerClient {
		return errPerClient
	}
	a.connections++
	c.all++
	return nil
}

func (c *clients) leave(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accounts[key].connections--
	c.all--
}

// account returns the account of a key. The caller holds the lock.
func (c *clients) account(key string) *account {
	if a := c.accounts[key]; a != nil {
		return a
	}
	if len(c.accounts) >= maxAccounts {
		now := time.Now()
		for key, a := range c.accounts {
			// Who has used nothing lately gets the same account again.
			if a.connections == 0 && a.limit.TokensAt(now) >= float64(a.limit.Burst()) {
				delete(c.accounts, key)
			}
		}
	}
	perSecond := c.cfg.PerSecond * costRequest
	a := &account{limit: rate.NewLimiter(rate.Limit(perSecond), burst*perSecond)}
	c.accounts[key] = a
	return a
}

// limit is the rate of a connected client.
func (c *clients) limit(key string) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accounts[key].limit
}

// Package face owns the archive's side of the Nostr protocol. To a client the
// archive is one more relay, at the address of the pages, that answers REQ,
// COUNT and NEG-OPEN and takes no events. It serves what a relay would that
// keeps the newest versions only, keeps deletions, expiry and what is private:
// the rules are those of package store, here they are put together.
//
// It reads through roles of the store and writes nothing. How messages look is
// package nostr's, the connection package session's, reconciliation package
// negentropy's.
package face

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

// Config is what an operator may choose.
type Config struct {
	// Enabled makes the address of the pages a relay, too.
	Enabled bool `yaml:"enabled"`
	// URL is the public address of the relay, such as wss://archive.example.com.
	// Clients that authenticate must name its host. Empty means the host that
	// they ask for.
	URL string `yaml:"url"`
	// Name is how the relay calls itself.
	Name string `yaml:"name"`
	// Description says what it is for.
	Description string `yaml:"description"`
	// Contact is a URI of the operator, such as mailto:admin@example.com.
	Contact string `yaml:"contact"`
	// PubKey is the operator's public key, 64 hex digits.
	PubKey string `yaml:"pubkey"`
	// ClientHeader is the header in which a reverse proxy gives the client's
	// address, such as X-Forwarded-For; the last address in it counts. Empty
	// means that clients connect by themselves.
	ClientHeader string `yaml:"client_header"`
	// Connections is how many connections are open at most.
	Connections int `yaml:"connections"`
	// PerClient is how many of them one client address may have.
	PerClient int `yaml:"per_client"`
	// PerSecond is how many requests a client address may make per second, on
	// average.
	PerSecond int `yaml:"per_second"`
	// Subscriptions is how many a connection may have at a time.
	Subscriptions int `yaml:"subscriptions"`
	// MaxLimit is the most stored events that one filter is answered with.
	MaxLimit int `yaml:"max_limit"`
	// DefaultLimit is how many when a filter has no limit.
	DefaultLimit int `yaml:"default_limit"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{
		Enabled: true, Name: "BigBrotr", Description: "An archive of the events of many relays. It takes none from clients.",
		Connections: 2000, PerClient: 50, PerSecond: 50, Subscriptions: 50, MaxLimit: 1000, DefaultLimit: 500,
	}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "connections", c.Connections, 1, 100_000)
	config.InRange(check, "per_client", c.PerClient, 1, 100_000)
	config.InRange(check, "per_second", c.PerSecond, 1, 100_000)
	config.InRange(check, "subscriptions", c.Subscriptions, 1, 10_000)
	config.InRange(check, "max_limit", c.MaxLimit, 1, 10_000)
	config.InRange(check, "default_limit", c.DefaultLimit, 1, c.MaxLimit)
	if c.URL != "" && hostOf(c.URL) == "" {
		check.Add("url", "is not the address of a relay", "write one such as wss://archive.example.com")
	}
	if _, err := nostr.ParsePubKey(c.PubKey); c.PubKey != "" && err != nil {
		check.Add("pubkey", "is "+err.Error(), "write the public key as hex")
	}
}

// hostOf returns the host of a relay's URL in lower case, with its port unless
// that is the usual one; empty when it has none.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" {
		return ""
	}
	return hostPort(u.Host)
}

func hostPort(host string) string {
	host = strings.ToLower(host)
	if name, port, err := net.SplitHostPort(host); err == nil && (port == "80" || port == "443") {
		return name
	}
	return host
}

// Store is what the face needs of the archive.
type Store interface {
	store.EventReader
	store.EventScanner
	store.Versions
	store.Keeper
	// TextsAt is that of store.Texts.
	TextsAt(ctx context.Context) (at store.Cursor, complete bool, err error)
}

// The bounds of what a client can make us read and keep. Those of Config are for
// the operator to choose.
const (
	maxMessage   = 256 << 10 // bytes of a message of a client
	maxFilters   = 20        // of one REQ or COUNT
	maxValues    = 5000      // ids, authors, kinds and tag values of one message
	maxAllValues = 1 << 20   // and of the open subscriptions of all clients
	maxRunning   = 4         // questions of one connection that are being answered
	maxQueue     = 4 << 20   // bytes of new events that wait for one client
	maxReaders   = 8         // keys that a connection is authenticated by
	maxRefusals  = 100       // in a row, before the connection is closed

	writeWithin   = 10 * time.Second // one message
	messageWithin = 10 * time.Second // from its first byte to its last
	answerWithin  = 2 * time.Minute  // everything that is stored, to a slow client

	maxReading = 4         // pages that are being read from the store
	maxHeld    = 256 << 20 // bytes of pages on their way to clients
	pageSize   = 128       // events read at once: a limit of 100, and one more, is one page
	countSize  = 1000      // and when they are only counted
)

// Face serves the archive as a relay.
type Face struct {
	cfg     Config
	store   Store
	timeout time.Duration // of reading for one question
	version string
	log     *slog.Logger
	metrics *metrics

	feed    *feed
	clients *clients
	sets    *sets
	values  atomic.Int64  // of open subscriptions
	reading chan struct{} // the right to read a page
	held    *semaphore.Weighted

	mu   sync.Mutex
	open map[*client]struct{}
	over bool // no more connections
	work sync.WaitGroup

	keeping sync.Mutex
	keep    *store.Keep // once it was read
}

// New returns a face that reads from st, for at most timeout for one question.
func New(cfg Config, st Store, timeout time.Duration, version string, reg prometheus.Registerer, log *slog.Logger) *Face {
	return &Face{
		cfg: cfg, store: st, timeout: timeout, version: version, log: log, metrics: newMetrics(reg),
		feed: newFeed(st, log), clients: newClients(cfg), sets: newSets(),
		reading: make(chan struct{}, maxReading), held: semaphore.NewWeighted(maxHeld),
		open: map[*client]struct{}{},
	}
}

// Wants tells whether a request is for the relay: a WebSocket or the document of
// NIP-11 at the one address that is one.
func (f *Face) Wants(r *http.Request) bool {
	return f.cfg.Enabled && r.URL.Path == "/" && (upgrades(r) || wantsDocument(r))
}

func upgrades(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// ServeHTTP answers what Wants takes. Of a connection it returns at its end.
func (f *Face) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !upgrades(r) {
		f.serveDocument(w, r)
		return
	}
	key := f.clients.key(r)
	if err := f.clients.enter(key); err != nil {
		w.Header().Set("Retry-After", "60")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer f.clients.leave(key)
	conn, err := session.Accept(w, r, session.AcceptOptions{MaxFrame: maxMessage, Message: messageWithin})
	if err != nil {
		return // it has been told
	}
	host := hostPort(r.Host)
	if f.cfg.URL != "" {
		host = hostOf(f.cfg.URL)
	}
	// The request's context ends with this function; a stop ends it earlier.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := newClient(f, conn, key, host, cancel)
	if !f.enter(c) {
		_ = conn.Close(closeGoingAway, "the relay ends")
		return
	}
	defer f.leave(c)
	c.serve(ctx)
}

// The codes of a WebSocket's end.
const (
	closeNormal    = 1000
	closeGoingAway = 1001
	closePolicy    = 1008
)

func (f *Face) enter(c *client) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false
	}
	f.open[c] = struct{}{}
	f.work.Add(1)
	f.metrics.connections.Inc()
	return true
}

func (f *Face) leave(c *client) {
	f.mu.Lock()
	delete(f.open, c)
	f.mu.Unlock()
	f.metrics.connections.Dec()
	f.work.Done()
}

// Run passes on what is newly archived until ctx ends, then closes every
// connection and waits for their ends. It may be run once.
func (f *Face) Run(ctx context.Context) {
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			f.feed.pass(ctx)
			f.sets.sweep()
		}
	}
	f.mu.Lock()
	f.over = true
	for c := range f.open {
		f.work.Go(func() { c.close(closeGoingAway, "the relay ends") })
	}
	f.mu.Unlock()
	f.work.Wait()
}

// policy returns what the archive keeps whole.
func (f *Face) policy(ctx context.Context) (store.Keep, error) {
	f.keeping.Lock()
	defer f.keeping.Unlock()
	if f.keep != nil {
		return *f.keep, nil
	}
	keep, err := f.store.Keep(ctx)
	if err == nil {
		f.keep = &keep
	}
	return keep, err
}

// searchable tells whether searches are answered now.
func (f *Face) searchable(ctx context.Context) (bool, error) {
	_, complete, err := f.store.TextsAt(ctx)
	return complete, err
}

// reason is what a client may know of an error, with its machine-readable
// prefix. The rest is for the log.
func (f *Face) reason(ctx context.Context, err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nostr.PrefixError + ": the question takes too long; ask a narrower one"
	case errors.Is(err, context.Canceled):
		return nostr.PrefixError + ": the question was cut short"
	case errors.Is(err, errBusy):
		return nostr.PrefixRateLimited + ": too much is asked at once; try again later"
	}
	f.log.ErrorContext(ctx, "question of a client failed", "error", err)
	return nostr.PrefixError + ": the archive cannot answer now"
}

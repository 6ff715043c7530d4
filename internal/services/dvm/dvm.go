// Package dvm answers jobs (NIP-90): a request that somebody publishes to a relay
// is a question as REST takes it, and the answer is published as an event. It
// owns the way of a job from relays and back, its price, and what keeps one from
// being answered twice. What a question means is not its business: it is asked of
// the handler of REST.
package dvm

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// Config is what an operator may choose.
type Config struct {
	// Key is the secret key of the service: an nsec, or 64 hex digits. Without
	// one no jobs are taken.
	Key config.Secret `yaml:"key"`
	// Relays are the URLs of the relays where jobs are looked for. Answers go to
	// them, and to those that a request names.
	Relays []string `yaml:"relays"`
	// Kind is the kind of the requests, 5000 to 5999; answers have the kind 1000
	// above.
	Kind nostr.Kind `yaml:"kind"`
	// Name is what the service calls itself.
	Name string `yaml:"name"`
	// About is what it says of itself.
	About string `yaml:"about"`
	// Parallel is the number of jobs answered at once.
	Parallel int `yaml:"parallel"`
	// PerHour is how many jobs of one key are taken in an hour.
	PerHour int `yaml:"per_hour"`
	// MaxAge is how old a request may be: older ones are taken to be replayed.
	MaxAge config.Duration `yaml:"max_age"`
	// MaxAnswer is how large an answer may be. Of a list that is larger a part
	// is given.
	MaxAnswer config.Bytes `yaml:"max_answer"`
	// Price says what a job costs.
	Price PriceConfig `yaml:"price"`
}

// PriceConfig says what a job costs and how it is paid.
type PriceConfig struct {
	// Msats is the price of a job in thousandths of a satoshi; 0 means free.
	Msats int64 `yaml:"msats"`
	// LNURL is who is paid: a lightning address such as name@example.com, or
	// the https address of an LNURL-pay service. It must tell whether an invoice
	// is paid (LUD-21).
	LNURL string `yaml:"lnurl"`
	// Within is how long a job waits for its payment.
	Within config.Duration `yaml:"within"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{
		Kind: 5050, Name: "BigBrotr", About: "Answers questions about the relays of Nostr and the events that they carry.",
		Parallel: 4, PerHour: 60, MaxAge: config.Duration(time.Hour), MaxAnswer: 48 << 10,
		Price: PriceConfig{Within: config.Duration(10 * time.Minute)},
	}
}

// The kinds of jobs (NIP-90).
const (
	firstKind, lastKind nostr.Kind = 5000, 5999
	resultOffset        nostr.Kind = 1000
	kindFeedback        nostr.Kind = 7000
)

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "kind", c.Kind, firstKind, lastKind)
	config.InRange(check, "parallel", c.Parallel, 1, 100)
	config.InRange(check, "per_hour", c.PerHour, 1, 1_000_000)
	config.InRange(check, "max_age", c.MaxAge, config.Duration(time.Minute), config.Duration(24*time.Hour))
	config.InRange(check, "max_answer", c.MaxAnswer, 1000, maxAnswer)
	config.InRange(check, "price.msats", c.Price.Msats, 0, 1_000_000_000_000)
	config.InRange(check, "price.within", c.Price.Within, config.Duration(10*time.Second), config.Duration(time.Hour))
	if !c.Key.IsZero() {
		if _, err := nip19.ParseSecret(c.Key.Reveal()); err != nil {
			check.Add("key", "is not a secret key", "put an nsec or 64 hex digits in the variable or file")
		}
	}
	for i, text := range c.Relays {
		if _, err := (relay.Rules{AllowLocal: true}).Parse(text); err != nil {
			check.Add(fmt.Sprintf("relays[%d]", i), "is not the URL of a relay", "write one such as wss://relay.example.com")
		}
	}
	if _, err := newWallet(c.Price.LNURL, nil); err != nil && (c.Price.Msats > 0 || c.Price.LNURL != "") {
		check.Add("price.lnurl", err.Error(), "write one such as name@example.com")
	}
}

// The bounds of what requests make us do and keep.
const (
	maxRequest  = 32 << 10 // bytes of a request
	maxAnswer   = 64_000   // what encryption can hold
	maxQueue    = 256      // requests that wait to be looked at
	maxTargets  = 8        // relays that a request may name
	maxInputs   = 16       // inputs and parameters of a request
	aheadWithin = 600      // seconds by which a request may come from the future

	jobTime   = 30 * time.Second // for a question
	sendTime  = 15 * time.Second // for one relay to take everything of a job
	leaseTime = 3 * time.Minute  // more than both, and what lies between
	sweepTime = 2 * time.Second  // between two looks at jobs that wait
	payEvery  = 3 * time.Second  // between two looks at an invoice, at first
	sendAgain = time.Minute      // until an answer that nobody took is sent again
	sendFor   = time.Hour        // and for how long
	forget    = 48 * time.Hour   // how long it is known that a job was answered: more than MaxAge
	dropEvery = time.Hour
	dropSome  = 1000
)

// Store is what the service needs of the archive.
type Store interface {
	store.Jobs
}

// Service takes jobs.
type Service struct {
	cfg     Config
	store   Store
	dialer  *dial.Dialer
	rules   relay.Rules
	ask     http.Handler // REST
	owner   string
	log     *slog.Logger
	metrics *metrics

	key    *nostr.SecretKey // nil: no jobs are taken
	wallet *wallet          // nil: jobs are free
	peers  []*peer
	queue  chan []byte
	limits *limits
	seen   *seen
	hand   hand

	failures atomic.Int64 // of the store, in a row
	// sweepTime and payEvery, but for tests.
	sweepEvery, payEvery time.Duration
}

// New returns a service that puts questions to ask, the handler of REST, and
// leases jobs as owner. reg may be nil.
func New(cfg Config, st Store, dialer *dial.Dialer, rules relay.Rules, ask http.Handler, owner string, reg prometheus.Registerer, log *slog.Logger) *Service {
	s := &Service{
		cfg: cfg, store: st, dialer: dialer, rules: rules, ask: ask, owner: owner, log: log, metrics: newMetrics(reg),
		queue: make(chan []byte, maxQueue), limits: newLimits(cfg.PerHour), seen: newSeen(), hand: hand{jobs: map[nostr.ID]context.CancelFunc{}},
		sweepEvery: sweepTime, payEvery: payEvery,
	}
	if cfg.Key.IsZero() {
		return s
	}
	key, err := nip19.ParseSecret(cfg.Key.Reveal())
	if err != nil {
		panic(fmt.Sprintf("dvm: the key was not validated: %v", err))
	}
	s.key = &key
	if cfg.Price.Msats > 0 {
		if s.wallet, err = newWallet(cfg.Price.LNURL, dialer); err != nil {
			panic(fmt.Sprintf("dvm: the price was not validated: %v", err))
		}
	}
	for _, text := range cfg.Relays {
		// What may be dialled is the dialer's business.
		if u, err := (relay.Rules{AllowLocal: true}).Parse(text); err == nil {
			s.peers = append(s.peers, &peer{service: s, url: u})
		}
	}
	return s
}

// Run takes jobs until a stop is asked for, then ends those in hand.
func (s *Service) Run(ctx context.Context) error {
	until, cancel := service.UntilStop(ctx)
	defer cancel()
	if s.key == nil || len(s.peers) == 0 {
		s.log.InfoContext(ctx, "no jobs are taken: dvm.key and dvm.relays are not both set")
		<-until.Done()
		return nil
	}
	s.log.InfoContext(ctx, "taking jobs", "pubkey", s.key.PubKey().String(), "kind", int64(s.cfg.Kind), "relays", len(s.peers), "msats", s.cfg.Price.Msats)
	var running sync.WaitGroup
	for _, p := range s.peers {
		running.Go(func() { p.listen(until) })
	}
	for range s.cfg.Parallel {
		running.Go(func() { s.take(ctx, until) })
	}
	running.Go(func() { s.sweep(ctx, until) })
	running.Wait()
	return nil
}

// Health tells how often in a row the store has failed. Bad requests are not
// failures.
func (s *Service) Health() service.Health { return service.Health{Failures: int(s.failures.Load())} }

// stored notes how a call of the store ended, and tells whether it went well.
func (s *Service) stored(ctx context.Context, what string, err error) bool {
	switch {
	case err == nil:
		s.failures.Store(0)
		return true
	case ctx.Err() == nil:
		s.failures.Add(1)
		s.log.ErrorContext(ctx, "job could not be noted", "what", what, "error", err)
	}
	return false
}

// take looks at what relays bring.
func (s *Service) take(ctx, until context.Context) {
	for {
		select {
		case raw := <-s.queue:
			s.arrive(ctx, raw)
		case <-until.Done():
			return
		}
	}
}

// sweep goes on with jobs that wait: for a payment, for a relay that takes their
// answer, or since whoever worked on them ended.
func (s *Service) sweep(ctx, until context.Context) {
	var dropped time.Time
	for until.Err() == nil {
		now := time.Now()
		due := store.Due{Now: now.Unix(), Limit: s.cfg.Parallel, Owner: s.owner, Until: now.Add(leaseTime).Unix()}
		jobs, err := s.store.DueJobs(ctx, due)
		if s.stored(ctx, "due", err) {
			service.Gather(ctx, s.cfg.Parallel, jobs, func(_ context.Context, job store.Job) struct{} {
				s.work(ctx, job)
				return struct{}{}
			})
		}
		if now.Sub(dropped) > dropEvery && err == nil {
			n, err := s.store.DropJobs(ctx, now.Add(-forget).Unix(), dropSome)
			if s.stored(ctx, "drop", err) && n < dropSome {
				dropped = now
			}
		}
		if len(jobs) < s.cfg.Parallel {
			service.Pause(until, service.Jitter(s.sweepEvery, 0.1))
		}
	}
}

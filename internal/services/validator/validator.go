// Package validator owns the question whether a candidate is a relay: it opens
// one connection, sends one request, and promotes the candidate when anything
// at all answers the request as a relay would. How healthy a relay is, is the
// monitor's business.
package validator

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// Config is what an operator may choose.
type Config struct {
	// Interval is the time between two looks at what is due.
	Interval config.Duration `yaml:"interval"`
	// Parallel is the number of candidates tried at once.
	Parallel int `yaml:"parallel"`
	// Timeout bounds the trial of one candidate.
	Timeout config.Duration `yaml:"timeout"`
	// OverlayTimeout takes the place of Timeout for Tor, I2P and Lokinet.
	OverlayTimeout config.Duration `yaml:"overlay_timeout"`
	// Retry is the wait after a first failed trial; it grows with each that
	// follows, to 43,200 times as much.
	Retry config.Duration `yaml:"retry"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{
		Interval:       config.Duration(10 * time.Second),
		Parallel:       50,
		Timeout:        config.Duration(20 * time.Second),
		OverlayTimeout: config.Duration(90 * time.Second),
		Retry:          config.Duration(time.Minute),
	}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	second := config.Duration(time.Second)
	config.InRange(check, "interval", c.Interval, second, config.Duration(24*time.Hour))
	config.InRange(check, "parallel", c.Parallel, 1, 1000)
	config.InRange(check, "timeout", c.Timeout, second, config.Duration(10*time.Minute))
	config.InRange(check, "overlay_timeout", c.OverlayTimeout, second, config.Duration(10*time.Minute))
	config.InRange(check, "retry", c.Retry, second, config.Duration(time.Hour))
}

// waits are when a failed candidate is tried again, in multiples of Retry: by
// default a minute, 20 minutes, 1, 6 and 24 hours, a week and a month. Soon, for
// what may pass, then ever more rarely, but never never.
var waits = []int{1, 20, 60, 6 * 60, 24 * 60, 7 * 24 * 60, 30 * 24 * 60}

const jitter = 0.15

// rounds is how many trials one after the other a group may take.
const rounds = 2

// unlikely are causes that do not pass by themselves: they begin two steps later.
var unlikely = []dial.Cause{
	dial.CauseNXDomain, dial.CauseAddress, dial.CauseNoNostr, dial.CauseNoProxy,
	dial.CauseHTTPStatus,
}

// Store is what the validator needs of the archive.
type Store interface {
	DueCandidates(ctx context.Context, due store.Due) ([]store.Candidate, error)
	SaveVerdicts(ctx context.Context, verdicts []store.Verdict) error
}

// Service is the validator.
type Service struct {
	cfg    Config
	store  Store
	dialer *dial.Dialer
	owner  string
	log    *slog.Logger
}

// New returns a validator that leases candidates as owner.
func New(cfg Config, st Store, dialer *dial.Dialer, owner string, log *slog.Logger) *Service {
	return &Service{cfg: cfg, store: st, dialer: dialer, owner: owner, log: log}
}

// Cycle tries every candidate that is due, in the order of the store. Each
// group of verdicts is saved as soon as it is there.
func (s *Service) Cycle(ctx context.Context) error {
	var tried, valid int
	for !service.Stopping(ctx) {
		verdicts, err := s.group(ctx)
		if err != nil {
			return err
		}
		if len(verdicts) == 0 {
			break
		}
		tried += len(verdicts)
		for _, v := range verdicts {
			if v.Valid {
				valid++
			}
		}
	}
	if tried > 0 {
		s.log.InfoContext(ctx, "candidates tried", "tried", tried, "valid", valid)
	}
	return nil
}

func (s *Service) group(ctx context.Context) ([]store.Verdict, error) {
	now, limit := time.Now(), rounds*s.cfg.Parallel
	lease := service.LeaseTime(limit, s.cfg.Parallel, max(s.cfg.Timeout, s.cfg.OverlayTimeout).Std())
	leasing, cancel := context.WithTimeout(ctx, service.StoreTime)
	defer cancel()
	candidates, err := s.store.DueCandidates(leasing, store.Due{
		Service: "validator", Now: now.Unix(), Limit: limit, Owner: s.owner, Until: now.Add(lease).Unix() + 1,
	})
	if err != nil {
		return nil, fmt.Errorf("due candidates: %w", err)
	}
	verdicts := service.Gather(ctx, s.cfg.Parallel, candidates, s.verdict)
	if len(verdicts) == 0 {
		return nil, nil
	}
	// What was found before a stop is kept.
	saving, done := context.WithTimeout(ctx, service.StoreTime)
	defer done()
	if err := s.store.SaveVerdicts(saving, verdicts); err != nil {
		return nil, fmt.Errorf("save verdicts: %w", err)
	}
	return verdicts, nil
}

func (s *Service) timeout(url relay.URL) time.Duration {
	if url.Network() != relay.Clearnet {
		return s.cfg.OverlayTimeout.Std()
	}
	return s.cfg.Timeout.Std()
}

func (s *Service) verdict(ctx context.Context, c store.Candidate) store.Verdict {
	trial, cancel := context.WithTimeout(ctx, s.timeout(c.URL))
	defer cancel()
	cause := s.try(trial, c.URL)
	s.log.DebugContext(ctx, "candidate tried", "relay", c.URL.String(), "cause", string(cause))
	now := time.Now()
	v := store.Verdict{URL: c.URL, Owner: s.owner, At: now.Unix(), Valid: cause == "", Cause: cause, Ours: store.Ours(cause)}
	var wait time.Duration
	switch {
	case v.Valid:
		return v
	case v.Ours:
		wait = service.Jitter(s.cfg.Retry.Std(), jitter)
	case slices.Contains(unlikely, cause):
		wait = s.wait(c.Attempts + 3)
	default:
		wait = s.wait(c.Attempts + 1)
	}
	v.NextDue = now.Add(wait).Unix() + 1 // never within the same second
	return v
}

func (s *Service) wait(failures int) time.Duration {
	return service.Multiples(s.cfg.Retry.Std(), jitter, waits...).After(failures)
}

// try returns the empty cause when what answers is a relay: it sent an event,
// an EOSE, a CLOSED or a challenge to our request. A WebSocket that is silent
// or speaks something else is none.
func (s *Service) try(ctx context.Context, url relay.URL) dial.Cause {
	// Silence is told from slowness before the trial ends.
	conn, err := session.Dial(ctx, url, session.Options{Dialer: s.dialer, Idle: s.timeout(url) / 2})
	if err != nil {
		return cmp.Or(dial.CauseOf(err), dial.CauseWSTimeout)
	}
	defer conn.Close(ctx)
	page, err := conn.Req(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Limit: new(1)}, func([]byte) error { return nil })
	switch {
	case page.Events > 0, page.End.EOSE(), page.End.Kind == session.Closed, page.Challenged:
		return ""
	case err != nil:
		return dial.CauseReadTimeout
	case page.End.Kind == session.Idle, page.End.Kind == session.Notice, page.End.Kind == session.Slow:
		return dial.CauseNoNostr
	}
	return page.End.Cause()
}

// Package validator owns the question whether a candidate is a relay, and
// whether it is one that is known under another URL: it opens one connection,
// sends one request, and promotes the candidate when anything at all answers the
// request as a relay would. How healthy a relay is, is the monitor's business.
package validator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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
		Parallel:       256,
		Timeout:        config.Duration(15 * time.Second),
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

// unlikely are causes that do not pass by themselves: they begin two steps later.
var unlikely = []dial.Cause{
	dial.CauseNXDomain, dial.CauseAddress, dial.CauseNoNostr, dial.CauseHTTPStatus,
}

// Store is what the validator needs of the archive.
type Store interface {
	DueCandidates(ctx context.Context, due store.Due) ([]store.Candidate, error)
	SaveVerdicts(ctx context.Context, verdicts []store.Verdict) error
	DueRelays(ctx context.Context, due store.Due) ([]store.Work, error)
	store.Aliases
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

// saveEvery bounds how long a verdict waits to be saved with others.
const saveEvery = time.Second

// Cycle tries every candidate that is due, and compares relays with those that
// may be the same.
func (s *Service) Cycle(ctx context.Context) error {
	if err := s.tryAll(ctx); err != nil || service.Stopping(ctx) {
		return err
	}
	return s.revisit(ctx)
}

// trial is what came of a candidate; the error is ours.
type trial struct {
	verdict store.Verdict
	err     error
}

// tryAll tries the candidates in the order of the store, Parallel at once: who
// is slow keeps no other waiting. It ends early when a trial fails for a trouble
// of ours, such as budgets that are spent: whoever came next would only have it
// too.
func (s *Service) tryAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	until, cancel := service.UntilStop(ctx)
	defer cancel()
	leasing, enough := context.WithCancel(until)
	defer enough()

	candidates, verdicts := make(chan store.Candidate), make(chan trial)
	group.Go(func() error {
		defer close(candidates)
		return s.lease(ctx, leasing, candidates)
	})
	var trials sync.WaitGroup
	for range s.cfg.Parallel {
		trials.Go(func() {
			for c := range candidates {
				// Not tried, or cut short by us, which says nothing of it.
				t := trial{verdict: store.Verdict{URL: c.URL, Owner: s.owner, Cause: dial.CauseBusy, Ours: true, NextDue: c.NextDue}}
				if leasing.Err() == nil {
					if v, err := s.verdict(until, c); until.Err() == nil {
						t = trial{v, err}
					}
				}
				select {
				case verdicts <- t:
				case <-ctx.Done():
				}
			}
		})
	}
	group.Go(func() error {
		trials.Wait()
		close(verdicts)
		return nil
	})
	group.Go(func() error { return s.save(ctx, verdicts, enough) })
	return group.Wait()
}

// lease takes candidates that are due until leasing ends, as many as can be
// tried at once, each time those before have found somebody to try them.
func (s *Service) lease(ctx, leasing context.Context, candidates chan<- store.Candidate) error {
	// One may wait for a trial that has just begun, and then be tried, each time
	// with a document and comparisons behind.
	most := (maxCompared + 3) * max(s.cfg.Timeout, s.cfg.OverlayTimeout).Std()
	lasts := service.LeaseTime(2*s.cfg.Parallel, s.cfg.Parallel, most) + saveEvery
	for leasing.Err() == nil {
		now := time.Now()
		asking, cancel := context.WithTimeout(ctx, service.StoreTime)
		list, err := s.store.DueCandidates(asking, store.Due{
			Service: Name, Now: now.Unix(), Limit: s.cfg.Parallel, Owner: s.owner, Until: now.Add(lasts).Unix() + 1,
			Networks: s.dialer.Networks(), // the others wait for a proxy
		})
		cancel()
		if err != nil {
			return fmt.Errorf("due candidates: %w", err)
		}
		for _, c := range list {
			select {
			case candidates <- c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if len(list) < s.cfg.Parallel {
			return nil // no more are due
		}
	}
	return nil
}

// save saves verdicts, some at a time, until there are no more of them. What was
// found before a stop is kept.
func (s *Service) save(ctx context.Context, trials <-chan trial, enough func()) error {
	var (
		batch        []store.Verdict
		tried, valid int
	)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		saving, cancel := context.WithTimeout(ctx, service.StoreTime)
		defer cancel()
		if err := s.store.SaveVerdicts(saving, batch); err != nil {
			return fmt.Errorf("save verdicts: %w", err)
		}
		batch = batch[:0]
		return nil
	}
	timer := time.NewTicker(saveEvery)
	defer timer.Stop()
	for {
		select {
		case t, more := <-trials:
			if t.err != nil {
				return t.err
			}
			v := t.verdict
			if !more {
				if tried > 0 {
					s.log.InfoContext(ctx, "candidates tried", "tried", tried, "valid", valid)
				}
				return flush()
			}
			batch = append(batch, v)
			if v.At > 0 {
				tried++
			}
			if v.Valid {
				valid++
			}
			if v.Ours {
				enough()
			}
			if len(batch) < s.cfg.Parallel {
				continue
			}
		case <-timer.C:
		}
		if err := flush(); err != nil {
			return err
		}
	}
}

func (s *Service) timeout(url relay.URL) time.Duration {
	if url.Network() != relay.Clearnet {
		return s.cfg.OverlayTimeout.Std()
	}
	return s.cfg.Timeout.Std()
}

func (s *Service) verdict(ctx context.Context, c store.Candidate) (store.Verdict, error) {
	trial, cancel := context.WithTimeout(ctx, s.timeout(c.URL))
	defer cancel()
	cause, opening := s.try(trial, c.URL)
	s.log.DebugContext(ctx, "candidate tried", "relay", c.URL.String(), "cause", string(cause))
	now := time.Now()
	v := store.Verdict{URL: c.URL, Owner: s.owner, At: now.Unix(), Valid: cause == "", Cause: cause, Ours: store.Ours(cause)}
	var wait time.Duration
	switch {
	case v.Valid:
		v.Traits = s.document(ctx, c.URL, s.traits(c.URL, opening))
		of, err := s.compare(ctx, c.URL, 0, v.Traits)
		if errors.Is(err, errNoSample) {
			err = nil // it stands for itself until it can be compared
		}
		v.AliasOf = of
		return v, err
	case v.Ours:
		wait = service.Jitter(s.cfg.Retry.Std(), jitter)
	case slices.Contains(unlikely, cause):
		wait = s.wait(c.Attempts + 3)
	default:
		wait = s.wait(c.Attempts + 1)
	}
	v.NextDue = now.Add(wait).Unix() + 1 // never within the same second
	return v, nil
}

func (s *Service) wait(failures int) time.Duration {
	return service.Multiples(s.cfg.Retry.Std(), jitter, waits...).After(failures)
}

// maxFrame bounds a message in a trial: an event can be no larger with most
// relays, and a larger one is skipped.
const maxFrame = 512 << 10

// session is how a connection of a trial behaves: silence is told from slowness
// before the trial ends.
func (s *Service) session(url relay.URL) session.Options {
	half := s.timeout(url) / 2
	return session.Options{Dialer: s.dialer, MaxFrame: maxFrame, Handshake: half, Idle: half}
}

// try returns the empty cause when what answers is a relay: it sent an event,
// an EOSE, a CLOSED or a challenge to our request. A WebSocket that is silent
// or speaks something else is none. The second result is how the connection of
// a valid one came about.
func (s *Service) try(ctx context.Context, url relay.URL) (dial.Cause, session.Opening) {
	conn, err := session.Dial(ctx, url, s.session(url))
	if err != nil {
		return cmp.Or(dial.CauseOf(err), dial.CauseWSTimeout), session.Opening{}
	}
	defer conn.Close(ctx)
	page, err := conn.Req(ctx, nostr.Filter{Kinds: []nostr.Kind{1}, Limit: new(1)}, func([]byte) error { return nil })
	switch {
	case page.Events > 0, page.End.EOSE(), page.End.Kind == session.Closed, page.Challenged:
		return "", conn.Opening()
	case err != nil:
		return dial.CauseReadTimeout, session.Opening{}
	case page.End.Kind == session.Idle, page.End.Kind == session.Notice, page.End.Kind == session.Slow:
		return dial.CauseNoNostr, session.Opening{}
	}
	return page.End.Cause(), session.Opening{}
}

package synchronizer

import (
	"errors"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// When places that could not be had are tried again.
const (
	retryDense   = 24 * time.Hour
	retryPolicy  = 24 * time.Hour
	retryOpaque  = 7 * 24 * time.Hour
	retryInvalid = 7 * 24 * time.Hour
)

// spread is the share by which due times differ at random.
const spread = 0.1

// The waits after visits that ended early, in multiples of Config.Retry, by the
// failures in a row. They are kept with the schedule, so that a restart does not
// forget them. With the default of 30 s, a relay that complains about our rate
// is left alone from 30 s to 1 h, a lost one from 1 min to 6 h, and one that does
// not want us from 15 min to a day.
var (
	rateSteps    = []int{1, 2, 4, 10, 30, 60, 120}
	lostSteps    = []int{2, 10, 30, 120, 360, 720}
	refusedSteps = []int{30, 120, 720, 2880}
)

// deadWait is how often a relay is tried that has been dead for a week.
const deadWait = 24 * time.Hour

// after is the wait after so many failures in a row.
func (s *Service) after(steps []int, failures int) time.Duration {
	b := service.Backoff{Jitter: spread}
	for _, n := range steps {
		b.Steps = append(b.Steps, time.Duration(n)*s.cfg.Retry.Std())
	}
	return b.After(failures)
}

// next says when a relay is visited again.
func (s *Service) next(work store.Work, v *visit, end error, now time.Time) store.Next {
	next := store.Next{Relay: work.Relay.ID, Service: Name, Owner: s.owner}
	attempts := work.Attempts + 1
	if v.progressed {
		attempts = 1
	}
	var wait time.Duration
	h, early := errors.AsType[*halt](end)
	switch {
	case !early:
		attempts = 0
		wait = service.Jitter(s.cfg.Every.Std(), spread)
		if v.stood {
			// What came before a tail stood again is to be read at once.
			wait = s.cfg.Retry.Std() / 3
		}
	case h.why == stopped:
		attempts = work.Attempts
	case h.why == yielded:
		attempts, wait = 0, s.cfg.Retry.Std()/3
	case store.Ours(h.cause):
		attempts, wait = work.Attempts, service.Jitter(s.cfg.Retry.Std(), spread)
		if v.progressed {
			attempts = 0
		}
	case h.cause == dial.CauseRateLimited:
		wait = s.after(rateSteps, attempts)
	case h.why == lost, h.cause == dial.CauseReadTimeout:
		wait = s.after(lostSteps, attempts)
	default:
		wait = s.after(refusedSteps, attempts)
	}
	if early && work.Relay.State == store.StateDead && !v.progressed && !store.Ours(h.cause) {
		wait = max(wait, deadWait)
	}
	next.DueAt = now.Add(wait).Unix()
	next.Attempts = attempts
	return next
}

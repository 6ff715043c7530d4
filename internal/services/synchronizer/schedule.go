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

// The waits after visits that ended early, by the failures in a row. They are
// kept with the schedule, so a restart does not forget them.
var (
	rateWait = service.Backoff{Jitter: spread, Steps: []time.Duration{
		30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
		15 * time.Minute, 30 * time.Minute, time.Hour,
	}}
	lostWait = service.Backoff{Jitter: spread, Steps: []time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour,
	}}
	refusedWait = service.Backoff{Jitter: spread, Steps: []time.Duration{
		15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
	}}
)

const (
	// yieldWait is how soon a visit goes on that gave its place to others.
	yieldWait = 10 * time.Second
	// deadWait is how often a relay is tried that has been dead for a week.
	deadWait = 24 * time.Hour
)

// next says when a relay is visited again.
func (s *Service) next(work store.Work, v *visit, end error, now time.Time) store.Next {
	next := store.Next{Relay: work.Relay.ID, Service: Name}
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
	case h.why == stopped:
		attempts = work.Attempts
	case h.why == yielded:
		attempts, wait = 0, yieldWait
	case h.cause == dial.CauseRateLimited:
		wait = rateWait.After(attempts)
	case h.why == lost, h.cause == dial.CauseReadTimeout:
		wait = lostWait.After(attempts)
	default:
		wait = refusedWait.After(attempts)
	}
	if early && work.Relay.State == store.StateDead && !v.progressed {
		wait = max(wait, deadWait)
	}
	next.DueAt = now.Add(wait).Unix()
	next.Attempts = attempts
	return next
}

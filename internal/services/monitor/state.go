package monitor

import (
	"slices"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

const (
	// patience is how many checks in a row must fail before a relay that was up
	// counts as down: one lost packet is no outage.
	patience = 2
	// deadAfter is how long a relay may go without a success.
	deadAfter = 7 * 24 * time.Hour
	// deadEvery is how often a dead relay is looked at.
	deadEvery = 24 * time.Hour
	jitter    = 0.15
)

// waits are when a relay that does not open is checked again, in multiples of
// Retry: by default a minute, 20 minutes, 1, 6 and 24 hours.
var waits = []int{1, 20, 60, 6 * 60, 24 * 60}

// judge says what the results of the probes make of a relay's state, and why it
// is not up. A trouble of ours makes nothing of it.
func judge(r store.Relay, checks []store.Check, at int64) (store.State, dial.Cause) {
	open, read := find(checks, "open"), find(checks, "read")
	switch {
	case store.Ours(open.Cause):
		return r.State, open.Cause
	case store.Ours(read.Cause):
		return r.State, read.Cause
	case open.OK && read.OK:
		return store.StateUp, ""
	case open.OK:
		return store.StateDegraded, read.Cause
	}
	wasUp := r.State == store.StateUp || r.State == store.StateDegraded
	switch {
	case wasUp && r.Failures+1 < patience:
		return store.StateDegraded, open.Cause
	case at-max(r.LastUp, r.PromotedAt) >= int64(deadAfter.Seconds()):
		return store.StateDead, open.Cause
	}
	return store.StateDown, open.Cause
}

func find(checks []store.Check, probe string) store.Check {
	for _, c := range checks {
		if c.Probe == probe {
			return c
		}
	}
	return store.Check{}
}

// selfDoubt tells whether a group of checks says more about our own network
// than about the relays: of at least ten that were up, over 30 % do not open.
// Those that had no turn to be checked are not counted.
func selfDoubt(reports []Report) bool {
	var up, failed int
	for _, r := range reports {
		if r.Relay.State != store.StateUp || r.Cause == dial.CauseBusy {
			continue
		}
		up++
		if !find(r.Checks, "open").OK {
			failed++
		}
	}
	return up >= 10 && failed*10 > up*3
}

// outcome is what is saved of a report. When the trouble is ours, or we suspect
// ourselves and the relay failed, it keeps its state and is checked again soon.
func (s *Service) outcome(r Report, ours bool) store.Outcome {
	o := store.Outcome{
		Relay: r.Relay.ID, At: r.At, Checks: r.Checks, State: r.State, Cause: r.Cause,
		LastUp: r.Relay.LastUp, Next: store.Next{Relay: r.Relay.ID, Service: Name, Owner: s.owner},
	}
	var wait time.Duration
	switch opened := find(r.Checks, "open").OK; {
	case store.Ours(r.Cause), ours && !opened:
		o.Checks = nil
		o.State, o.Cause, o.Failures = r.Relay.State, r.Relay.Cause, r.Relay.Failures
		wait = service.Jitter(5*s.cfg.Retry.Std(), jitter)
	case opened:
		o.LastUp = r.At
		wait = service.Jitter(s.cfg.Every.Std(), jitter)
	case r.State == store.StateDead:
		o.Failures = r.Relay.Failures + 1
		wait = service.Jitter(deadEvery, jitter)
	default:
		o.Failures = r.Relay.Failures + 1
		wait = service.Multiples(s.cfg.Retry.Std(), jitter, waits...).After(o.Failures)
	}
	o.Checks = slices.DeleteFunc(slices.Clone(o.Checks), func(c store.Check) bool { return store.Ours(c.Cause) })
	o.Next.DueAt = r.At + int64(wait.Seconds())
	o.Next.Attempts = o.Failures
	return o
}

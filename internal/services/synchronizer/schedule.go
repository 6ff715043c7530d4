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

// offWait is how often it is looked whether a relay is still to be left alone.
const offWait = 6 * time.Hour

// after is the wait after so many failures in a row.
func (s *Service) after(steps []int, failures int) time.Duration {
	b := service.Backoff{Jitter: spread}
	for _, n := range steps {
		b.Steps = append(b.Steps, time.Duration(n)*s.cfg.Retry.Std())
	}
	return b.After(failures)
}

const (
	// eventSize is about how many bytes an event takes: what a visit receives beyond
	// that for each new one, it receives in vain.
	eventSize = 800
	// Where less than poor of what a visit receives is new, the next one has time,
	// and where more than rich is, it comes earlier.
	poor, rich = 0.1, 0.3
	// A visit that gave way goes on after a while that is longer the less it brings,
	// up to leastYield: whoever brings more has its turn earlier, and as the longest
	// due is visited first, whoever waits has its turn in the end.
	leastYield = 0.05
)

// yield is the share of the bytes received that was new; 1 when there were none.
func (v *visit) yield() float64 {
	bytes := v.report.BytesReceived + v.report.BytesSent
	if bytes == 0 {
		return 1
	}
	return min(1, eventSize*float64(v.report.New)/float64(bytes))
}

// rhythm learns the time until the next visit of a relay that was read to the end:
// so long that there is something new then for the bytes that it costs.
func (v *visit) rhythm(every, most time.Duration) {
	if v.tail.Since > 0 && v.every > 0 {
		most = min(most, v.every) // its tail is looked after
	}
	next := max(every, time.Duration(v.cal.Every)*time.Second)
	switch yield := v.yield(); {
	case yield < poor:
		next += next / 2
	case yield > rich:
		next = next * 2 / 3
	}
	next = max(every, min(next, most))
	if n := int64(next.Seconds()); n != v.cal.Every {
		v.cal.Every, v.learned = n, true
	}
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
		wait = service.Jitter(max(s.cfg.Every.Std(), time.Duration(v.cal.Every)*time.Second), spread)
		if v.stood {
			// What came before a tail stood again is to be read at once.
			wait = s.cfg.Retry.Std() / 3
		}
	case h.why == stopped:
		attempts = work.Attempts
	case h.why == waits:
		attempts, wait = work.Attempts, max(0, time.Unix(h.until, 0).Sub(now))+service.Jitter(s.cfg.Retry.Std(), spread)
	case h.why == yielded:
		attempts, wait = 0, time.Duration(float64(s.cfg.Retry.Std())/3/max(v.yield(), leastYield))
	case store.Ours(h.cause):
		attempts, wait = work.Attempts, service.Jitter(s.cfg.Retry.Std(), spread)
		if v.progressed {
			attempts = 0
		}
	case h.cause == dial.CauseRateLimited:
		wait = max(s.after(rateSteps, attempts), time.Unix(v.relayPace.quiet(), 0).Sub(now))
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

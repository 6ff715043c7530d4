package service

import (
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait after failures in a row: Steps[0] after the
// first, and the last step for ever after. Jitter is the share by which a wait
// may differ to either side, so that what failed together is not tried together.
type Backoff struct {
	Steps  []time.Duration
	Jitter float64 // 0 to 1
}

// Multiples returns a Backoff whose steps are multiples of a unit.
func Multiples(unit time.Duration, jitter float64, steps ...int) Backoff {
	b := Backoff{Steps: make([]time.Duration, len(steps)), Jitter: jitter}
	for i, n := range steps {
		b.Steps[i] = time.Duration(n) * unit
	}
	return b
}

// After returns the wait after so many failures in a row; zero after none.
func (b Backoff) After(failures int) time.Duration {
	if failures <= 0 || len(b.Steps) == 0 {
		return 0
	}
	return Jitter(b.Steps[min(failures, len(b.Steps))-1], b.Jitter)
}

// Jitter returns d changed at random by at most share of it to either side.
func Jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration((2*rand.Float64()-1)*share*float64(d))
}

// Package probe owns the checks of one relay, one file each: what is done, when
// it counts as a success, and the cause when it does not. When a check is due,
// what its results mean for a relay's state, and where they are kept is the
// monitor's business.
package probe

import (
	"context"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
)

// Result is what one probe found.
type Result struct {
	Probe    string
	OK       bool
	Cause    dial.Cause         // why not OK
	Values   map[string]float64 // numbers by name; durations in milliseconds
	Detail   string             // a bounded remark; untrusted text
	Document []byte             // canonical JSON, for probes that bring one
}

// Probe is a check.
type Probe struct {
	Name string
	// Run performs the check on the target. A probe that makes no sense after
	// what earlier ones found returns false.
	Run func(ctx context.Context, t *Target) (Result, bool)
}

// All returns the probes in the order in which they run: each may use what the
// earlier ones left in the target, so that one connection serves them all.
func All() []Probe {
	return []Probe{
		{Name: "open", Run: open},
		{Name: "read", Run: read},
		{Name: "nip11", Run: nip11},
	}
}

// Target is the relay under check and what its probes share.
type Target struct {
	URL    relay.URL
	Dialer *dial.Dialer

	session *session.Session // set by open
	failed  dial.Phase       // where open failed
}

// Check runs every probe on one relay within the context's deadline.
func Check(ctx context.Context, url relay.URL, dialer *dial.Dialer) []Result {
	t := &Target{URL: url, Dialer: dialer}
	defer t.close(ctx)
	var results []Result
	for _, p := range All() {
		if r, ran := p.Run(ctx, t); ran {
			r.Probe = p.Name
			results = append(results, r)
		}
	}
	return results
}

func (t *Target) close(ctx context.Context) {
	if t.session != nil {
		t.session.Close(ctx)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

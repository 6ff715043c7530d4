package store

import "context"

// Pace is how a relay, or a host with all of its relays, wants to be asked, as
// its complaints have taught us. The zero value of a field is no complaint.
type Pace struct {
	Target     string // a relay's URL, or "host " and an address
	Spacing    int64  // milliseconds between two requests
	Parallel   int    // requests at once
	Complaints int    // in a row
	At         int64  // when the last one came
	Until      int64  // when it may be asked again
	// Day is a UTC day (Unix seconds divided by 86,400), Bytes what visits have
	// received of the target since it began.
	Day   int64
	Bytes int64
}

// Paces keeps what relays and hosts have complained about, for every process and
// after a restart.
type Paces interface {
	// Paces returns the paces of targets, in their order; of what nobody has
	// complained about a zero value with its target.
	Paces(ctx context.Context, targets []string) ([]Pace, error)
	// SavePaces replaces paces; Until is never brought forward, because another
	// process may have met the complaint. Of several for one target the last counts.
	// Idempotent.
	SavePaces(ctx context.Context, paces []Pace) error
}

package store

import "context"

// Refreshed says how far a refresh came.
type Refreshed struct {
	Events    int  // new events counted
	Sightings int  // new sightings counted
	More      bool // limit reached: there is more to count
}

// Difference is a sum that an audit found to be wrong.
type Difference struct {
	Rollup string // its table
	Key    string
	Was    int64
	Is     int64
}

// Rollups keeps the sums that pages and statistics read.
type Rollups interface {
	// Refresh adds at most limit new events, and the sightings that wait, to
	// the sums, in one transaction with the position. A backend may take the
	// new events of a batch as a whole, even of one that is larger.
	Refresh(ctx context.Context, limit int) (Refreshed, error)
	// Recount counts everything again, repairs the sums and returns what
	// differed (at most 1000). It runs in bounded transactions beside ingest.
	Recount(ctx context.Context) ([]Difference, error)
}

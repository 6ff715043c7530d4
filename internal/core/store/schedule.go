package store

import (
	"context"

	"bigbrotr/internal/core/relay"
)

// Due asks for work whose time has come and leases it.
type Due struct {
	Service  string          // whose schedule, e.g. "monitor"
	Now      int64           // work due at or before this
	Limit    int             // at most so many; zero asks for none
	Owner    string          // who leases: unique per process
	Until    int64           // when the lease ends by itself
	Networks []relay.Network // empty: every network
}

// Work is a leased relay.
type Work struct {
	Relay    Relay
	DueAt    int64
	Attempts int // failures in a row, as the service counted them
}

// Next is when a service wants a relay again.
type Next struct {
	Relay    RelayID
	Service  string
	DueAt    int64
	Attempts int
}

// Schedule says which relay is whose turn. A relay is due for every service
// from its promotion on; dead relays stay in it, aliases do not.
type Schedule interface {
	// DueRelays leases due relays, the longest due first. Leased ones whose
	// lease has not ended are left out.
	DueRelays(ctx context.Context, due Due) ([]Work, error)
	// SaveNext reschedules and frees the leases.
	SaveNext(ctx context.Context, next []Next) error
	// FreeLeases gives back all work leased by owner, candidates included.
	FreeLeases(ctx context.Context, owner string) error
}

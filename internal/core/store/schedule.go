package store

import (
	"context"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
)

// How far ahead a lease ends, and how far ahead something is due, at most. What
// lies further was written while a clock was wrong: that lease is over, that work
// is due.
const (
	MaxLease = 3 * Day
	MaxWait  = 100 * Day
)

// Due asks for work whose time has come and leases it.
type Due struct {
	Service  string          // whose schedule, e.g. "monitor"
	Now      int64           // work due at or before this
	Limit    int             // at most so many; zero asks for none
	Owner    string          // who leases: unique per process
	Until    int64           // when the lease ends by itself
	Networks []relay.Network // empty: every network
	Relay    RelayID         // only this one; 0: every relay
	Aliases  bool            // of DueRelays: also those that others stand for
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
	Owner    string // who leased the relay; empty: nobody did
	DueAt    int64
	Attempts int
}

// LastNext leaves out what a later one of the same service and relay takes the
// place of.
func LastNext(next []Next) []Next {
	type key struct {
		service string
		relay   RelayID
	}
	return last(next, func(n Next) key { return key{n.Service, n.Relay} })
}

// last leaves out the items that a later one of the same key takes the place
// of.
func last[T any, K comparable](items []T, key func(T) K) []T {
	places := make(map[K]int, len(items))
	for i, item := range items {
		places[key(item)] = i
	}
	list := make([]T, 0, len(places))
	for i, item := range items {
		if places[key(item)] == i {
			list = append(list, item)
		}
	}
	return list
}

// Ours tells whether a cause is a trouble of ours that may pass and says nothing
// of the relay: it is tried again soon, and nothing is held against it.
func Ours(cause dial.Cause) bool {
	switch cause {
	case dial.CauseBusy, dial.CauseSelf, dial.CauseNoProxy, dial.CauseProxyDown, dial.CauseProxyRefused:
		return true
	}
	return false
}

// Schedule says which relay is whose turn. A relay is due for every service
// from its promotion on; dead relays stay in it. Those that are kept out do not,
// nor do aliases, as long as the relay that stands for them is not dead.
type Schedule interface {
	// DueRelays leases due relays, the longest due first. Leased ones whose
	// lease has not ended are left out.
	DueRelays(ctx context.Context, due Due) ([]Work, error)
	// SaveNext reschedules the relays whose lease is still their Owner's, though
	// its time may be over, and frees those leases. A relay that another has
	// leased since, or that was freed, is left as it is: whoever came after
	// decides. Of several for one relay and service the last counts. Idempotent.
	SaveNext(ctx context.Context, next []Next) error
	// FreeLeases gives back all work leased by owner: relays, candidates, sources,
	// jobs and alerts.
	FreeLeases(ctx context.Context, owner string) error
}

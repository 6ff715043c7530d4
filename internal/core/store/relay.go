package store

import (
	"context"
	"fmt"
	"iter"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
)

// RelayID numbers a promoted relay. It is small because sightings repeat it.
type RelayID int32

// State is the health of a relay as the monitor's state machine sees it.
type State string

// The states of a relay.
const (
	StateNew      State = "new" // promoted, not checked yet
	StateUp       State = "up"
	StateDegraded State = "degraded" // opens, but cannot be read by us
	StateDown     State = "down"
	StateDead     State = "dead" // no success for seven days
)

// Relay is a promoted relay: one that has answered as a relay at least once,
// or that the operator named.
type Relay struct {
	ID         RelayID
	URL        relay.URL
	FirstSeen  int64
	PromotedAt int64
	State      State
	StateSince int64
	Cause      dial.Cause // why it is not up; empty when up or new
	LastUp     int64      // 0 when never seen up
	Failures   int        // checks failed in a row
	AliasOf    RelayID    // 0 when it stands for itself
	KeptOut    KeptOut    // nobody works on it; empty: it is in the set
}

// Relays is the set of promoted relays.
type Relays interface {
	// AddRelays promotes the URLs at once, without a validator's verdict: for
	// relays the operator names. Known ones are returned as they are; the order
	// of the result is that of urls. A candidate of that URL is consumed, one
	// that was removed is in the set again. A banned one is ErrBanned, and then
	// none is added.
	AddRelays(ctx context.Context, urls []relay.URL, at int64) ([]Relay, error)
	// Relay returns the relay of that URL or ErrNotFound.
	Relay(ctx context.Context, url relay.URL) (Relay, error)
	// ScanRelays yields every relay by ascending id, those kept out included. It pages inside and holds
	// no transaction while the caller works.
	ScanRelays(ctx context.Context) iter.Seq2[Relay, error]
}

// ParseURL reads a URL that was stored as it printed. Whether local addresses
// are allowed was decided when it was stored.
func ParseURL(text string) (relay.URL, error) {
	u, err := relay.Rules{AllowLocal: true}.Parse(text)
	if err != nil {
		return relay.URL{}, fmt.Errorf("stored: %w", err)
	}
	return u, nil
}

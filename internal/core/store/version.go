package store

import (
	"bytes"
	"context"

	"bigbrotr/internal/core/nostr"
)

// Versions tells the current state from what came before: an archive keeps
// every version of a replaceable or addressable event.
type Versions interface {
	// Superseded tells of each event whether a newer version of it is archived,
	// in the order of events. Of two of one second that of the lowest id is the
	// newer (NIP-01). Whether the newer one may be served makes no difference:
	// relays that keep only the newest have dropped the older by then.
	Superseded(ctx context.Context, events []Stored) ([]bool, error)
}

// Line is what the versions of an event have in common.
type Line struct {
	Author nostr.PubKey
	Kind   nostr.Kind
	D      int64 // the hash of the d tag of an addressable event
}

// LineOf returns the line of an event; false for a kind that has no versions.
func LineOf(r *Record) (Line, bool) {
	p := Line{Author: r.Event.PubKey, Kind: r.Event.Kind}
	switch {
	case p.Kind.IsReplaceable():
		return p, true
	case !p.Kind.IsAddressable():
		return Line{}, false
	case !r.IndexOnly:
		p.D = TagHash("d", DTag(&r.Event))
	case r.Index.D != nil:
		p.D = *r.Index.D
	}
	return p, true
}

// Newest holds the newest version that was found in each line.
type Newest map[Line]nostr.Ref

// Add takes a version into account.
func (n Newest) Add(l Line, version nostr.Ref) {
	if held, found := n[l]; !found || newer(version, held) {
		n[l] = version
	}
}

// Supersedes tells whether there is a newer one than a version.
func (n Newest) Supersedes(l Line, version nostr.Ref) bool {
	held, found := n[l]
	return found && newer(held, version)
}

func newer(a, b nostr.Ref) bool {
	return a.CreatedAt > b.CreatedAt || a.CreatedAt == b.CreatedAt && bytes.Compare(a.ID[:], b.ID[:]) < 0
}

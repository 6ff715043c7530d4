package store

import (
	"context"
	"iter"

	"bigbrotr/internal/core/nostr"
)

// Seq is the number of an archived event. Those of a batch ascend; between
// batches only a Cursor tells the order.
type Seq int64

// Stored is an archived event.
type Stored struct {
	Seq       Seq
	FirstSeen int64
	Event     nostr.Event
	// IndexOnly says that the archive keeps no tags, content and signature of
	// this event: those of Event are empty, and it cannot be verified.
	IndexOnly bool
}

// Seen is an archived event that a relay delivered again.
type Seen struct {
	Seq       Seq
	CreatedAt int64
}

// Rejected is something a relay or a file gave that cannot be archived.
type Rejected struct {
	Reason string // one of a closed list of words, see package archive
	Raw    []byte // cut to MaxRejected bytes
}

// MaxRejected is how much of a rejected row is kept.
const MaxRejected = 16 << 10

// Batch is what one page of a relay, or one slice of a file, brings. It is
// saved as a whole or not at all.
type Batch struct {
	Relay    RelayID // zero for an import: no sightings are written
	SeenAt   int64
	Events   []nostr.Event // ids and signatures already checked
	Known    []Seen        // archived before, delivered by Relay now
	Rejected []Rejected    // go to quarantine, at most MaxQuarantine a relay
	Claims   []Coverage    // what Events and Known prove; merged into the map
	Holes    []Hole        // replace earlier holes of the same place and kind
	Healed   []Interval    // holes of Filter that lie inside are closed
	Filter   FilterID      // whose Healed
	// What a negentropy exchange (NIP-77) with Relay came to. Events and Known
	// are had by it besides: what is delivered was never gone.
	Claimed  []nostr.Ref // named, and archived from elsewhere; what is not archived is left out
	Withheld []nostr.Ref // named, not delivered and not archived; CreatedAt: any time within the range it was named in
	Refused  []nostr.Ref // named or delivered, and not to be archived; CreatedAt likewise
	Gone     []nostr.Ref // not had any longer, each as ScanHeld gave it
	// Ephemeral keeps ephemeral kinds too: who imports a file means all of it.
	Ephemeral bool
}

// MaxQuarantine is how many rejected rows are kept of one relay; more are
// counted only.
const MaxQuarantine = 1000

// Saved says what became of a batch.
type Saved struct {
	New   int // archived for the first time
	Known int // of Batch.Events, archived before after all
	// Refused are those that are not to be kept: ephemeral kinds, and what has
	// a tombstone. In the order of Batch.Events.
	Refused []nostr.ID
}

// Archive takes events.
type Archive interface {
	// Known returns the number of each archived event of refs, and zero for
	// the others, in the order of refs.
	Known(ctx context.Context, refs []nostr.Ref) ([]Seq, error)
	// SaveBatch writes events, sightings, quarantine, claims and holes in one
	// transaction that is durable on return. Saving a batch twice equals once.
	// New events are numbered in the order of Batch.Events. Ephemeral kinds are
	// not stored unless the batch says so. A vanish request (kind 62 for ALL_RELAYS) deletes what it
	// names and keeps it out. A row the backend cannot hold goes to quarantine
	// and never fails the batch. How ids stand at the relay (see Holdings), and
	// the sums of it, change in the same transaction; of an event that the relay
	// delivers and that a tombstone or the backend keeps out it is HoldRefused.
	SaveBatch(ctx context.Context, batch Batch) (Saved, error)
}

// EventScanner reads the archive in its own order.
type EventScanner interface {
	// Head returns the position behind all that is archived.
	Head(ctx context.Context) (Cursor, error)
	// ScanEvents yields the events after a position that match the filter, in
	// the archive's order, each with the position behind it. Filter.Limit
	// bounds the number. It pages inside and holds no transaction while the
	// caller works.
	ScanEvents(ctx context.Context, after Cursor, filter nostr.Filter) iter.Seq2[Scanned, error]
}

// Scanned is an event of a scan and the position behind it.
type Scanned struct {
	Stored
	Cursor Cursor
}

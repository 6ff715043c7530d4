// Package negentropy is the range-based set reconciliation of NIP-77, protocol
// version 1. Two peers that each hold a set of (created_at, id) find out what
// the other lacks: an Initiator compares ranges by fingerprint and has the
// differing ones listed, a Responder answers. The set of either side is an
// Items: a Vector in memory, or Days, whose ids are read only for days that
// differ.
//
// The package owns the messages and the decisions. It opens no connection and
// stores nothing: the envelopes are nostr's, sending them is the session's, and
// what a named, missing or proven id means is the synchronizer's.
package negentropy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"

	"bigbrotr/internal/core/nostr"
)

// Limits bounds what a peer can make us send, read and keep. A value of 0
// stands for the default.
type Limits struct {
	// Frame is the most bytes of a message that we write, before hex doubles
	// them; default 60,000, which fits the 131,072 bytes that strfry reads. It
	// must not be below MinFrame.
	Frame int
	// Message is the most bytes of a message that we read; default 1 MiB, which
	// is what khatru writes.
	Message int
	// Rounds is the most messages that we read in one reconciliation; default
	// 1,024.
	Rounds int
	// IDs is the most ids that an Initiator finds lacking on either side in one
	// reconciliation; default 2^20.
	IDs int
}

// MinFrame is the smallest Limits.Frame: in it any one range finds room.
const MinFrame = 256

const (
	// maxRanges bounds the ranges of one message: a full one of khatru, made of
	// nothing but fingerprints, has 50,000.
	maxRanges = 1 << 16
	// maxPending bounds the ranges that an Initiator has still to ask for.
	maxPending = 1 << 17

	// fanout is how many parts a range that differs is cut into, and
	// listBelow the count under which its ids are named instead. Other
	// implementations have the same numbers; the protocol demands none.
	fanout    = 16
	listBelow = 2 * fanout
)

func (l Limits) orDefault() (Limits, error) {
	l.Frame = cmp.Or(l.Frame, 60_000)
	l.Message = cmp.Or(l.Message, 1<<20)
	l.Rounds = cmp.Or(l.Rounds, 1024)
	l.IDs = cmp.Or(l.IDs, 1<<20)
	if l.Frame < MinFrame {
		return l, fmt.Errorf("frame limit %d is below %d", l.Frame, MinFrame)
	}
	return l, nil
}

// Cause says what was wrong with a peer's message. The values are stable words,
// fit for a metric label or a stored row.
type Cause string

// Causes of an Error.
const (
	CauseTruncated Cause = "truncated" // the message ends too early
	CauseVarint    Cause = "varint"    // a number beyond 64 bits
	CauseBound     Cause = "bound"     // an id prefix beyond 32 bytes, or a bound below the one before
	CauseMode      Cause = "mode"      // none of skip, fingerprint and list
	CauseVersion   Cause = "version"   // not version 1, or no version of the protocol at all
	CauseSize      Cause = "size"      // beyond Limits.Message
	CauseRanges    Cause = "ranges"    // more ranges than any honest peer needs
	CauseIDs       Cause = "ids"       // beyond Limits.IDs
	CauseRounds    Cause = "rounds"    // beyond Limits.Rounds
	CauseUnasked   Cause = "unasked"   // ids of a range that was not asked for
	CauseUnlisted  Cause = "unlisted"  // no ids of a range whose ids were asked for
	CauseStalled   Cause = "stalled"   // an answer that settles nothing
)

// Error is what a peer's message does wrong. Whatever else goes wrong is a
// trouble of the Items and comes as it is.
type Error struct {
	Cause  Cause
	Offset int // of the byte where it was noticed
}

func (e *Error) Error() string {
	return fmt.Sprintf("negentropy message refused at byte %d: %s", e.Offset, e.Cause)
}

// Bound is a place in the order of items: before every item of (Time, ID) and
// above. Id prefixes are filled up with zeros, which does not move the place.
type Bound struct {
	Time uint64 // Unix seconds
	ID   nostr.ID
}

// Infinity is the bound above every item.
var Infinity = Bound{Time: math.MaxUint64}

// At returns the bound before the items of second t, which is not below 0.
func At(t int64) Bound { return Bound{Time: uint64(t)} }

// before returns the bound right before an item.
func before(r nostr.Ref) Bound { return Bound{Time: uint64(r.CreatedAt), ID: r.ID} }

// Compare orders bounds.
func (b Bound) Compare(c Bound) int {
	if b.Time != c.Time {
		return cmp.Compare(b.Time, c.Time)
	}
	return compareIDs(&b.ID, &c.ID)
}

func compareIDs(a, b *nostr.ID) int {
	for i := 0; i < len(a); i += 8 {
		if x, y := binary.BigEndian.Uint64(a[i:]), binary.BigEndian.Uint64(b[i:]); x != y {
			return cmp.Compare(x, y)
		}
	}
	return 0
}

// Between returns the shortest bound above a and not above b, two items in
// order.
func Between(a, b nostr.Ref) Bound {
	c := Bound{Time: uint64(b.CreatedAt)}
	if a.CreatedAt != b.CreatedAt {
		return c
	}
	for i := range b.ID {
		c.ID[i] = b.ID[i]
		if a.ID[i] != b.ID[i] {
			break
		}
	}
	return c
}

// least and greatest of two bounds.
func least(a, b Bound) Bound {
	if a.Compare(b) <= 0 {
		return a
	}
	return b
}

func greatest(a, b Bound) Bound {
	if a.Compare(b) >= 0 {
		return a
	}
	return b
}

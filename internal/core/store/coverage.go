package store

import (
	"context"

	"bigbrotr/internal/core/nostr"
)

// FilterID numbers a filter whose coverage is recorded.
type FilterID int32

// Interval is a closed interval of created_at.
type Interval struct{ Lo, Hi int64 }

// Level is how well a claim is proved.
type Level int8

// The levels of proof.
const (
	LevelUnknown     Level = 0
	LevelWalked      Level = 1 // a walk whose every page ended with EOSE
	LevelAsserted    Level = 2 // the relay said "finish" (NIP-67)
	LevelCounted     Level = 3 // an exact COUNT agreed in the same session
	LevelFingerprint Level = 4 // negentropy found no difference (NIP-77)
)

// Coverage claims that every event of the filter that the relay showed at AsOf
// with created_at in the interval is archived or listed as a hole.
type Coverage struct {
	Relay  RelayID
	Filter FilterID
	Interval
	Level  Level
	AsOf   int64
	Method string // how it was proved, one word
	N      int64  // events the proof saw
	Tail   int64  // the Since of the tail that keeps it; 0: none
}

// HoleReason says in one word why something known to exist is not held.
type HoleReason string

// The reasons of a hole.
const (
	HoleOverflow HoleReason = "overflow" // more events of one kind in one second than the relay gives
	HoleAuth     HoleReason = "auth"     // shown only after authentication
	HolePolicy   HoleReason = "policy"   // the relay refuses the filter
	HoleInvalid  HoleReason = "invalid"  // events whose id or signature is wrong
	HoleOversize HoleReason = "oversize" // events larger than we read
	HoleUnpaged  HoleReason = "unpaged"  // the relay ignores the bounds of a page
)

// Hole is a place of which we know that something is there, or may be, that we
// could not get.
type Hole struct {
	Relay  RelayID
	Filter FilterID
	Interval
	Kind    nostr.Kind // AnyKind when not about one kind
	Reason  HoleReason
	Count   int64 // events missing, -1 when unknown
	SeenAt  int64
	NextTry int64
}

// AnyKind stands in a hole that is not about one kind.
const AnyKind nostr.Kind = -1

// PageOrder is the order in which a relay answers.
type PageOrder string

// The orders of a page.
const (
	OrderUnknown  PageOrder = ""
	OrderNewest   PageOrder = "newest"
	OrderOldest   PageOrder = "oldest"
	OrderUnsorted PageOrder = "unsorted"
)

// Calibration is what the synchronizer has learned of how a relay answers.
type Calibration struct {
	Relay          RelayID
	At             int64
	Limit          int // the limit we may ask; 0 when not learned
	LargestPage    int // the most events it ever gave in a page
	Order          PageOrder
	PostFiltering  bool // filters after limiting: short pages prove nothing
	ExclusiveUntil bool
	IgnoresUntil   bool
	Counts         bool // answers COUNT
	OpenRefused    bool // refuses filters without authors, ids or kinds
	// AuthorList is how many authors it takes in a filter, of a relay that refuses
	// filters without any; 0 of others.
	AuthorList int
	// Overlap is for how many seconds below what was proved events still come late;
	// 0 when not learned.
	Overlap int64
	// Every is the time between two visits in seconds, by how much of what they
	// receive is new; 0 when not learned.
	Every int64
	// Auth says how the relay has answered to authentication (NIP-42).
	Auth AuthResult
	// NoNegentropy is when the relay was found not to do NIP-77, or not as it
	// should; 0 while nothing speaks against it. NegentropyCause says why in one
	// word.
	NoNegentropy    int64
	NegentropyCause string
	// NegentropyMost is how many records it says it reconciles at most, or 0.
	NegentropyMost int64
}

// AuthResult is what came of authenticating (NIP-42).
type AuthResult string

// What may come of it.
const (
	AuthNone     AuthResult = "" // it was not asked for
	AuthAccepted AuthResult = "accepted"
	AuthRefused  AuthResult = "refused"
)

// key is where a claim stands among those of its relay.
func (c Coverage) key() Key { return Key{int64(c.Filter), c.Lo} }

// key is where a hole stands among those of its relay.
func (h Hole) key() Key { return Key{int64(h.Filter), h.Lo, h.Hi, int64(h.Kind)} }

// PageOf cuts a list of which one entry more was read than a page may have, and
// returns the cursor behind the page; empty when nothing follows.
func PageOf[T interface{ key() Key }](list []T, limit int) (page []T, next Cursor) {
	if len(list) <= limit {
		return list, ""
	}
	return list[:limit], list[limit-1].key().Cursor()
}

// Coverages is the map of what is proved to be held. Claims and holes come
// into it with the events that justify them, by Archive.SaveBatch.
type Coverages interface {
	// FilterID returns the number of a filter, the same for the same filter.
	FilterID(ctx context.Context, filter nostr.Filter) (FilterID, error)
	// Coverage returns the disjoint claims of a relay and filter by ascending
	// time.
	Coverage(ctx context.Context, relay RelayID, filter FilterID) ([]Coverage, error)
	// Holes returns the open holes of a relay and filter by ascending time.
	Holes(ctx context.Context, relay RelayID, filter FilterID) ([]Hole, error)
	// Calibration returns what is known of a relay; the zero value with the
	// relay's id when nothing is.
	Calibration(ctx context.Context, relay RelayID) (Calibration, error)
	// SaveCalibration replaces it.
	SaveCalibration(ctx context.Context, c Calibration) error
}

package synchronizer

import (
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// Report says what a visit of one relay brought and what is proved of that
// relay now.
type Report struct {
	URL            string `json:"url"`
	Requests       int64  `json:"requests"`
	EventsReceived int64  `json:"events_received"`
	BytesReceived  int64  `json:"bytes_received"`
	BytesSent      int64  `json:"bytes_sent"` // in reconciliations (NIP-77)
	New            int64  `json:"new"`        // archived for the first time
	Known          int64  `json:"known"`      // archived before, from any source
	// Claimed are events that the relay has named (NIP-77), archived from
	// elsewhere, so that it need not send them; Withheld are those that it has
	// named and does not send, and Gone those that it had and has no longer.
	Claimed  int64 `json:"claimed"`
	Withheld int64 `json:"withheld"`
	Gone     int64 `json:"gone"`
	// Negentropy says why the relay is not reconciled, in one word; empty where
	// nothing speaks against it.
	Negentropy string    `json:"negentropy"`
	Coverage   []Covered `json:"coverage"`
	Holes      []Missing `json:"holes"`
	// Cause says why the visit ended early; empty when it did not.
	Cause dial.Cause `json:"cause"`
}

// Covered is a stretch of created_at that is proved to be held.
type Covered struct {
	Lo    int64       `json:"lo"`
	Hi    int64       `json:"hi"`
	Level store.Level `json:"level"`
	AsOf  int64       `json:"as_of"`
}

// Missing is a place of which something is known to be missing. Kind is -1 when
// it is not about one kind, Count when the number is not known.
type Missing struct {
	Lo     int64            `json:"lo"`
	Hi     int64            `json:"hi"`
	Kind   nostr.Kind       `json:"kind"`
	Reason store.HoleReason `json:"reason"`
	Count  int64            `json:"count"`
}

// Progress is where a visit stands, after each answer.
type Progress struct {
	Window   store.Interval // what was asked last
	Oldest   int64          // how far down the walk has come; 0 at the bottom
	Requests int64
	Events   int64
	New      int64
	Known    int64
	Bytes    int64
}

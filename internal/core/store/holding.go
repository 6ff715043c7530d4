package store

import (
	"context"
	"iter"
	"math"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
)

// Hold is how an id stands at a relay. A relay and an id have one at a time, and
// all but HoldNone and HoldGone say that the relay has the event: those are the
// relay's set, which negentropy (NIP-77) compares with what the relay names.
type Hold int8

// The ways an id stands at a relay.
const (
	HoldNone      Hold = iota // we know nothing of it there
	HoldDelivered             // the relay delivered the event, which is archived
	HoldClaimed               // the relay named the id; the event is archived from elsewhere
	HoldWithheld              // the relay named the id and does not deliver the event
	HoldRefused               // the relay has an event that is not to be archived
	HoldGone                  // archived, and the relay that had it has it no longer
)

// Holding is what is known of an id.
type Holding struct {
	Hold
	// Seq and CreatedAt are of the archived event; Seq is 0 when there is none.
	Seq       Seq
	CreatedAt int64
}

// Missing is an id that a relay has and the archive has not.
type Missing struct {
	ID   nostr.ID
	At   int64 // a time within the range in which the relay named the id
	Hold Hold  // HoldWithheld or HoldRefused
	// Since is when it came to stand so; it stays when the same is said again.
	Since int64
}

// The days that sums are kept for: what is before the first counts as of the day
// before it, what is behind the last as of the day behind it. Other times are
// not believed, and would be a row each.
const (
	FirstDay = 18262 // 2020-01-01
	LastDay  = 47481 // 2099-12-31
)

// SumDay returns the day whose sum an id of a time is in.
func SumDay(at int64) int64 {
	switch {
	case at < FirstDay*Day:
		return FirstDay - 1
	case at >= (LastDay+1)*Day:
		return LastDay + 1
	}
	return at / Day
}

// SumSpan returns the times of the ids whose sum a day has.
func SumSpan(day int64) Interval {
	span := Interval{Lo: day * Day, Hi: day*Day + Day - 1}
	if day < FirstDay {
		span.Lo = math.MinInt64
	}
	if day > LastDay {
		span.Hi = math.MaxInt64
	}
	return span
}

// AlikeSample is how many events Holdings.Alike looks at.
const AlikeSample = 200

// HeldDays makes what Holdings.HeldDays returns of the sums of days, which are
// added by ascending day.
type HeldDays struct {
	Now  int64
	Days []negentropy.Day
}

// Add adds a day.
func (h *HeldDays) Add(day int64, a negentropy.Accumulator) {
	if a == (negentropy.Accumulator{}) {
		return
	}
	day = min(day, h.Now/Day+2)
	start := max(SumSpan(day).Lo, 0)
	if n := len(h.Days); n > 0 && h.Days[n-1].Start == start {
		h.Days[n-1].Merge(a)
		return
	}
	h.Days = append(h.Days, negentropy.Day{Start: start, Accumulator: a})
}

// Holdings is what relays have, as far as we know, beyond what coverage claims:
// every id by itself, and summed up by days. It is about all events of a relay,
// so about the filter {} only. What changes it comes with Archive.SaveBatch.
type Holdings interface {
	// HeldDays returns the sums of a relay's set by ascending day, for
	// negentropy.NewDays: days without ids are left out, the first begins at 0 if
	// it is that before FirstDay, and what lies more than a day beyond now (Unix
	// seconds) is one day, the last. Sums are kept from the first call for a relay
	// on, which makes them from what is there, in bounded transactions; one that
	// was cut short is gone on with by the next.
	HeldDays(ctx context.Context, relay RelayID, now int64) ([]negentropy.Day, error)
	// ScanHeld yields the relay's set within an interval, in no order. The
	// CreatedAt of what is not archived is Missing.At. It pages inside and holds
	// no transaction while the caller works; what changes meanwhile may be in it
	// or not.
	ScanHeld(ctx context.Context, relay RelayID, within Interval) iter.Seq2[nostr.Ref, error]
	// Holdings tells how ids stand at a relay, in the order of ids. The archive is
	// searched within an interval only, which should be the range that the ids
	// were named in; where an event is outside of it, nothing is known.
	Holdings(ctx context.Context, relay RelayID, ids []nostr.ID, within Interval) ([]Holding, error)
	// ScanMissing yields what a relay withholds and what is refused of it, by id.
	ScanMissing(ctx context.Context, relay RelayID) iter.Seq2[Missing, error]
	// Alike returns, of the other relays whose sums are kept and hold at least least
	// ids, the one that has most of the newest AlikeSample events of a relay, and of
	// those that have as many, the one with the largest set as far as that is counted
	// (Rollups); 0 when there is none.
	Alike(ctx context.Context, relay RelayID, least int64) (RelayID, error)
	// RecountHeld counts the days that lie in an interval, or reach into it, anew
	// from the ids, repairs their sums and returns what differed. What
	// negentropy.ErrStale says of a day that does not change asks for it. Sums
	// that are not kept yet do not differ.
	RecountHeld(ctx context.Context, relay RelayID, within Interval) ([]Difference, error)
}

package store

import (
	"context"
	"math"

	"bigbrotr/internal/core/dial"
)

// Tail is the live subscription to everything that arrives at a relay, by
// whichever process holds it.
type Tail struct {
	Relay RelayID
	Since int64 // from when on arrivals are received: after its EOSE; 0 while none stands
	// Heard is up to when every arrival is known to be received and archived:
	// just before the last event that it brought, and Since before the first.
	Heard int64
	Alive int64 // when the connection gave its last sign of life, a pong included
	// Ahead says that events dated ahead of the relay's clock were read to the
	// last one since Since, so that claims may grow with the tail.
	Ahead bool
	// Proved is when what the relay shows was last found to have come by a tail;
	// 0: never, or it has lied since. Until then no claim follows the tail.
	Proved int64
	Cause  dial.Cause // why the last one ended; empty while one stands
}

// Stale is after how many seconds without a sign of life a tail counts as lost,
// whoever held it.
const Stale = 180

// Stands tells whether the tail receives what arrives now.
func (t Tail) Stands(now int64) bool { return t.Since > 0 && now-t.Alive < Stale }

// TailEnd is the end of a tail.
type TailEnd struct {
	Relay RelayID
	Since int64 // of the tail that ends; another one is left alone
	Heard int64 // as of Tail; what the store has may be older
	Cause dial.Cause
	// Lied says that the tail left out what arrived, so that nothing it seemed
	// to prove holds.
	Lied bool
}

// ArrivalGap is a time in which events that arrived at a relay may have been
// missed, whatever their created_at.
type ArrivalGap struct {
	Relay RelayID
	From  int64
	Until int64 // when a tail stood again; 0: not yet
	// Below is the first created_at above which everything has been proved since;
	// the largest int64 while nothing has.
	Below int64
	Cause dial.Cause // why the tail ended
}

// MaxArrivalGaps is how many gaps are kept of a relay. When there are more, the
// oldest two become one that holds both.
const MaxArrivalGaps = 100

// Beat is the sign of life of all tails of a process.
type Beat struct {
	Service string // in whose schedule the tails are leased
	Owner   string
	Until   int64  // to when their leases are prolonged
	Tails   []Tail // Relay, Since, Heard and Alive of each
	// Spent is what they have cost since the beat before, of those of which it is
	// anything; of tails that are lost it is not counted.
	Spent map[RelayID]Spent
}

// TailTotals are the figures of all tails.
type TailTotals struct {
	Standing  int64
	Proved    int64 // of those
	LagMedian int64 // seconds since Heard, over standing tails
	LagMax    int64
	Gaps      int64 // arrival gaps that are not closed
	GapRelays int64 // relays that have one
}

// Tails are the live subscriptions. A claim whose Tail is the Since of a tail
// that stands is kept by it: it was made by a REQ that came after the tail's
// EOSE, so that whatever arrived since has come by the tail. Such claims become
// as of the tail's Heard, and those at the top grow to it; a claim never moves
// before the events that justify it are archived.
type Tails interface {
	// Tail returns what is known of a relay's tail; the zero value with the
	// relay's id when nothing is.
	Tail(ctx context.Context, relay RelayID) (Tail, error)
	// BeginTail says that a tail stands since a time, and bounds the arrival gap
	// before it. A tail that has not ended, since its process died, ends as of
	// what is known of it. Idempotent.
	BeginTail(ctx context.Context, relay RelayID, since int64) error
	// SaveTails prolongs the leases of tails and takes their claims along. Tails
	// of which Owner has lost the lease, that another has ended, or whose relay is
	// kept out now, are left as they are and returned. Since is 0 of those that are being opened.
	// Idempotent.
	SaveTails(ctx context.Context, beat Beat) (lost []RelayID, err error)
	// NoteTail notes what a visit found while the tail of that Since stood: that
	// Ahead holds, and, unless 0, when it was Proved. Idempotent.
	NoteTail(ctx context.Context, relay RelayID, since int64, ahead bool, proved int64) error
	// EndTail ends a tail: claims stay as of the last that was heard, and an
	// arrival gap opens there. Idempotent.
	EndTail(ctx context.Context, end TailEnd) error
	// ArrivalGaps returns the gaps of a relay by ascending time. A gap is closed,
	// and gone, when everything claimed has been proved after its end.
	ArrivalGaps(ctx context.Context, relay RelayID) ([]ArrivalGap, error)
	// TailTotals sums up all tails.
	TailTotals(ctx context.Context, now int64) (TailTotals, error)
}

// SampleKind is what was sampled.
type SampleKind string

// The kinds of samples.
const (
	SampleOld  SampleKind = "old"  // a stretch that was claimed long ago
	SampleTail SampleKind = "tail" // what arrived while a tail stood
)

// Sample is a stretch of a claim that was read again.
type Sample struct {
	Relay  RelayID
	Kind   SampleKind
	At     int64
	Seen   int64 // events that the relay showed there
	Missed int64 // of those, not archived until then
}

// MaxSamples is how many samples of each kind are kept of a relay, the newest.
const MaxSamples = 500

// SampleTotal sums up the samples of a kind.
type SampleTotal struct {
	Samples, Seen, Missed int64
	// The sums of the squares and products of Seen and Missed over the samples.
	SeenSeen, MissedMissed, SeenMissed int64
}

// Rate is the share of events that are missed, with bounds between which the
// true share lies with 95 % confidence: those of Wilson, for as many events as
// the samples are worth. Misses come in bursts, so that a stretch of a hundred
// events may be worth no more than a few drawn one by one. Without an event it
// is 0, 0 and 1.
func (s SampleTotal) Rate() (rate, lo, hi float64) {
	n, m := float64(s.Seen), float64(s.Missed)
	if n <= 0 {
		return 0, 0, 1
	}
	rate = m / n
	worth := n
	if k := float64(s.Samples); k > 1 && rate > 0 && rate < 1 {
		// The variance of a ratio over clusters, and that of single events.
		squares := float64(s.MissedMissed) - 2*rate*float64(s.SeenMissed) + rate*rate*float64(s.SeenSeen)
		clusters := k / (k - 1) * squares / (n * n)
		single := rate * (1 - rate) / n
		worth = n / max(1, clusters/single)
	}
	const z = 1.959964 // of 95 %
	centre := (rate + z*z/(2*worth)) / (1 + z*z/worth)
	half := z / (1 + z*z/worth) * math.Sqrt(rate*(1-rate)/worth+z*z/(4*worth*worth))
	return rate, max(0, centre-half), min(1, centre+half)
}

// Samples are the measure of what claims are worth.
type Samples interface {
	// AddSample adds a sample; of one relay, kind and second the first counts.
	AddSample(ctx context.Context, s Sample) error
	// SampleTotal sums up the samples kept of a relay, or, with relay 0, of all.
	SampleTotal(ctx context.Context, relay RelayID, kind SampleKind) (SampleTotal, error)
	// LastSample is when a relay was last sampled; 0: never.
	LastSample(ctx context.Context, relay RelayID, kind SampleKind) (int64, error)
}

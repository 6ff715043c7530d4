package store

import "context"

// Cost is what it takes to read a relay, and what that brings.
type Cost struct {
	Requests int64 // REQ, COUNT and NEG-OPEN sent; what follows a NEG-OPEN is part of it
	Bytes    int64 // of the messages that answered them, uncompressed
	Received int64 // events in those messages
	New      int64 // of those, archived for the first time
	Known    int64 // of those, archived before from any source: skipped
}

// Plus adds up two costs.
func (c Cost) Plus(d Cost) Cost {
	return Cost{c.Requests + d.Requests, c.Bytes + d.Bytes, c.Received + d.Received, c.New + d.New, c.Known + d.Known}
}

// Way is how a relay is read.
type Way string

// The ways of reading a relay.
const (
	WayVisit Way = "visit"
	WayTail  Way = "tail"
)

// Spent is what a stretch of work at a relay has cost: a visit, or the time
// between two beats of a tail.
type Spent struct {
	ID int64 // drawn at random; by it the stretch is known again
	At int64 // when it was over
	Cost
}

// CostSum sums up what has been counted.
type CostSum struct {
	Since int64 // when the first of it was counted; 0: nothing has been
	Cost
}

// Plus adds up two sums.
func (s CostSum) Plus(t CostSum) CostSum {
	sum := CostSum{Since: s.Since, Cost: s.Cost.Plus(t.Cost)}
	if s.Since == 0 || t.Since > 0 && t.Since < s.Since {
		sum.Since = t.Since
	}
	return sum
}

// Costs keeps what reading relays costs. Tails add to it with their beats
// (Tails.SaveTails). What a process had in hand when it died is not counted.
type Costs interface {
	// AddCost adds what a stretch of work at a relay has cost. The last stretch of
	// its way is known again, so that saving it twice equals saving it once.
	AddCost(ctx context.Context, relay RelayID, way Way, spent Spent) error
	// Costs returns what relays have cost by every way. Relays of which nothing has
	// been counted are absent.
	Costs(ctx context.Context, relays []RelayID) (map[RelayID]CostSum, error)
	// CostTotal sums up what all relays have cost.
	CostTotal(ctx context.Context) (CostSum, error)
}

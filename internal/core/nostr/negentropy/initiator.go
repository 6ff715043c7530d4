package negentropy

import (
	"context"
	"errors"
	"math"
	"slices"

	"bigbrotr/internal/core/nostr"
)

// Ask is a range that an Initiator asks the peer about.
type Ask struct {
	Lo, Hi Bound
	// List has the peer name all its ids of the range at once, which costs 32
	// bytes for each. Otherwise fingerprints are compared. Ranges in which we
	// hold nothing are listed anyway.
	List bool
}

// Result is what an answer settles about a range.
type Result struct {
	Lo, Hi Bound
	// Equal says that both sides hold the same ids, by their fingerprints. The
	// fields below are then empty.
	Equal bool
	Named int         // how many ids the peer named
	Have  []nostr.Ref // ours that the peer did not name
	Need  []nostr.ID  // ids that the peer named and we do not have, in its order, each once
	// Places says of each of Need where the peer named it, which has a list in the
	// order of time.
	Places []Place
}

// Place is a place in a peer's list: the created_at of the last of our ids before
// it and of the next one behind it, or Unplaced where there is none.
type Place struct{ After, Before int64 }

// Unplaced is the time of an id that is not there. No created_at is below 0.
const Unplaced = -1

// Initiator finds out how a peer's set differs from ours. It never names an id
// of its own: where ids are to be compared it claims to hold none, so that the
// peer names its, and compares them here. That halves the bytes, and a peer
// cannot give our ids back as its own. It is not safe for concurrent use.
type Initiator struct {
	items  Items
	limits Limits
	rounds int
	have   int
	need   int
	sent   []ask // in the last message, in order
	// pending is what is still to be asked, the next one last.
	pending []ask
}

type askMode int8

const (
	// askCompare sends our fingerprint.
	askCompare askMode = iota
	// askDivide stands for the fingerprints of the parts of a range that is
	// known to differ. It is divided when there is room for it.
	askDivide
	// askList sends an empty list.
	askList
)

type ask struct {
	lo, hi Bound
	mode   askMode
	parts  int // of askDivide
}

var errPlan = errors.New("the ranges to ask for are empty or not in order")

// Open returns an Initiator and its first message. plan are ranges in order that
// do not overlap, each of which is answered for itself; without any, all there is
// is asked for, beginning with the fingerprints of sixteen parts. The error is one
// of plan, limits or items.
func Open(ctx context.Context, items Items, plan []Ask, limits Limits) (*Initiator, []byte, error) {
	limits, err := limits.orDefault()
	if err != nil {
		return nil, nil, err
	}
	in := &Initiator{items: items, limits: limits}
	if len(plan) == 0 {
		all, err := items.Sum(ctx, Bound{}, Infinity)
		if err != nil {
			return nil, nil, err
		}
		whole := ask{hi: Infinity, mode: askList}
		if all.Count >= listBelow {
			whole.mode, whole.parts = askDivide, fanout
		}
		in.pending = []ask{whole}
	}
	for i, a := range slices.Backward(plan) {
		if a.Lo.Compare(a.Hi) >= 0 || i > 0 && plan[i-1].Hi.Compare(a.Lo) > 0 {
			return nil, nil, errPlan
		}
		mode := askCompare
		if a.List {
			mode = askList
		}
		in.pending = append(in.pending, ask{a.Lo, a.Hi, mode, 0})
	}
	msg, err := in.message(ctx)
	if err != nil {
		return nil, nil, err
	}
	return in, msg, nil
}

// message asks for what is pending, in order, as far as there is room.
func (in *Initiator) message(ctx context.Context) ([]byte, error) {
	in.sent = in.sent[:0]
	e := newEncoder()
	for len(in.pending) > 0 && len(e.buf)+maxSkip+maxFingerprint <= in.limits.Frame {
		a := in.pending[len(in.pending)-1]
		in.pending = in.pending[:len(in.pending)-1]
		switch a.mode {
		case askDivide:
			cuts, err := in.items.Cut(ctx, a.lo, a.hi, a.parts)
			if err != nil {
				return nil, err
			}
			if len(cuts) > 0 {
				in.pendParts(a, cuts)
				continue
			}
			a.mode = askList
		case askCompare:
			sum, err := in.items.Sum(ctx, a.lo, a.hi)
			if err != nil {
				return nil, err
			}
			// The fingerprint of nothing would be a trap: a peer whose frame is
			// full may give that of less than the range it writes it for.
			if sum.Count > 0 {
				e.fingerprint(a.lo, a.hi, sum.Fingerprint())
				break
			}
			a.mode = askList
		}
		if a.mode == askList {
			e.list(a.lo, a.hi, nil)
		}
		in.sent = append(in.sent, a)
	}
	return e.buf, nil
}

// pendParts puts the parts of an ask in its place.
func (in *Initiator) pendParts(a ask, cuts []Bound) {
	hi := a.hi
	for _, lo := range slices.Backward(cuts) {
		in.pending = append(in.pending, ask{lo, hi, askCompare, 0})
		hi = lo
	}
	in.pending = append(in.pending, ask{a.lo, hi, askCompare, 0})
}

// Answer reads the peer's answer to the last message. It returns what that
// settles, in order, and the next message, or nil when all is settled. After an
// error, an *Error if the answer is at fault, nothing of the answer counts and
// the reconciliation is over; what earlier answers settled holds.
func (in *Initiator) Answer(ctx context.Context, msg []byte) ([]Result, []byte, error) {
	if in.rounds++; in.rounds > in.limits.Rounds {
		return nil, nil, &Error{Cause: CauseRounds}
	}
	d, known, err := newDecoder(msg, in.limits.Message)
	if err != nil {
		return nil, nil, err
	}
	if !known {
		return nil, nil, d.fail(CauseVersion)
	}
	r := reading{Initiator: in, asks: in.sent}
	for {
		b, ok, err := d.next()
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			b.hi = Infinity // what is left out at the end is skipped
		}
		if err := r.block(ctx, &b); err != nil {
			return nil, nil, err
		}
		if !ok {
			break
		}
	}
	r.divide()
	if len(r.next) > 0 && len(in.sent) > 0 && r.next[0] == in.sent[0] {
		return nil, nil, d.fail(CauseStalled)
	}
	if len(in.pending)+len(r.next) > maxPending {
		return nil, nil, d.fail(CauseRanges)
	}
	for _, a := range slices.Backward(r.next) {
		in.pending = append(in.pending, a)
	}
	if len(in.pending) == 0 {
		return r.results, nil, nil
	}
	next, err := in.message(ctx)
	if err != nil {
		return nil, nil, err
	}
	return r.results, next, nil
}

// reading is the reading of one answer.
type reading struct {
	*Initiator
	asks    []ask // of the last message, those that end above the block read
	next    []ask // what becomes of them, in order
	results []Result
	// parts are the fingerprints in a row by which the peer answered one ask.
	parts []part
}

type part struct {
	lo, hi Bound
	count  int64 // ours
	equal  bool
}

func (r *reading) block(ctx context.Context, b *block) error {
	for len(r.asks) > 0 && r.asks[0].hi.Compare(b.lo) <= 0 {
		r.divide()
		r.asks = r.asks[1:]
	}
	inside := len(r.asks) > 0 && r.asks[0].lo.Compare(b.lo) <= 0 && b.hi.Compare(r.asks[0].hi) <= 0
	switch {
	case b.mode == modeList && (!inside || b.lo == b.hi):
		return &Error{Cause: CauseUnasked, Offset: b.offset}
	case b.mode == modeList:
		return r.list(ctx, b)
	case b.mode == modeFingerprint && inside && r.asks[0].mode == askCompare:
		return r.compare(ctx, b)
	}
	for _, a := range r.asks {
		a.lo, a.hi = greatest(a.lo, b.lo), least(a.hi, b.hi)
		if a.lo.Compare(b.hi) >= 0 {
			break
		}
		switch {
		case b.mode == modeFingerprint:
			// One that goes beyond what we asked is of a peer whose frame was
			// full. It says nothing; we ask again from there.
			r.divide()
			r.next = append(r.next, a)
		case a.mode == askList:
			return &Error{Cause: CauseUnlisted, Offset: b.offset}
		default:
			r.results = append(r.results, Result{Lo: a.lo, Hi: a.hi, Equal: true})
		}
	}
	return nil
}

// compare reads the fingerprint of a part of what we asked.
func (r *reading) compare(ctx context.Context, b *block) error {
	if b.lo == b.hi {
		return nil
	}
	sum, err := r.items.Sum(ctx, b.lo, b.hi)
	if err != nil {
		return err
	}
	equal := sum.Fingerprint() == b.fingerprint
	if equal {
		r.results = append(r.results, Result{Lo: b.lo, Hi: b.hi, Equal: true})
	}
	r.parts = append(r.parts, part{b.lo, b.hi, sum.Count, equal})
	return nil
}

// divide decides how to go on with the parts of an ask that differ.
func (r *reading) divide() {
	if len(r.parts) == 0 {
		return
	}
	differing := 0
	for _, p := range r.parts {
		if !p.equal {
			differing++
		}
	}
	each := expected(len(r.parts), differing)
	for i, p := range r.parts {
		if p.equal {
			continue
		}
		if parts := partsOf(p.count, each); parts > 1 {
			r.next = append(r.next, ask{p.lo, p.hi, askDivide, parts})
			continue
		}
		if n := len(r.next); i > 0 && n > 0 && r.next[n-1].mode == askList && r.next[n-1].hi == p.lo {
			r.next[n-1].hi = p.hi // one list for neighbours
			continue
		}
		r.next = append(r.next, ask{p.lo, p.hi, askList, 0})
	}
	r.parts = r.parts[:0]
}

// expected estimates how many differences there are in each part that differs:
// of throws that hit so many parts of all, how many hit the same. When every part
// is hit, that can be any number above the one for half a part missed.
func expected(parts, differing int) float64 {
	n, hit := float64(parts), float64(differing)
	return max(1, n*math.Log(n/max(n-hit, 0.5))/hit)
}

// partsOf returns into how many parts to divide a range of count items with so
// many differences, or 0 where it costs less to have the peer list its ids.
//
// A peer lists parts that differ and are small right in its next answer. Of p
// such parts the fingerprints cost about 21 bytes each and the lists 32 for each
// item of those that differ, which is least for the p below. In a large range
// with few differences a step in between costs a round trip and fewer bytes.
func partsOf(count int64, differences float64) int {
	const (
		perPart = 21
		perItem = 32
		large   = 900 // with one difference, about twenty parts too many
		few     = 1. / 128
	)
	n := float64(count)
	if n > large && differences < few*n {
		return fanout
	}
	p := math.Ceil(math.Sqrt(n * differences * perItem / perPart))
	if p > n/2 {
		return 0
	}
	return int(p)
}

// list compares the ids that the peer names with ours.
func (r *reading) list(ctx context.Context, b *block) error {
	n := b.len()
	theirs := make(map[nostr.ID]int64, n) // when ours are of
	for i := range n {
		theirs[b.id(i)] = Unplaced
	}
	result := Result{Lo: b.lo, Hi: b.hi, Named: len(theirs)}
	for item, err := range r.items.Scan(ctx, b.lo, b.hi) {
		if err != nil {
			return err
		}
		if _, named := theirs[item.ID]; named {
			theirs[item.ID] = item.CreatedAt
			continue
		}
		if r.have++; r.have > r.limits.IDs {
			return &Error{Cause: CauseIDs, Offset: b.offset}
		}
		result.Have = append(result.Have, item)
	}
	last, placed := int64(Unplaced), 0
	needed := make(map[nostr.ID]bool)
	for i := range n {
		id := b.id(i)
		if at := theirs[id]; at != Unplaced {
			for ; placed < len(result.Places); placed++ {
				result.Places[placed].Before = at
			}
			last = at
			continue
		}
		if needed[id] { // named twice is named once
			continue
		}
		needed[id] = true
		if r.need++; r.need > r.limits.IDs {
			return &Error{Cause: CauseIDs, Offset: b.offset}
		}
		result.Need = append(result.Need, id)
		result.Places = append(result.Places, Place{last, Unplaced})
	}
	r.results = append(r.results, result)
	return nil
}

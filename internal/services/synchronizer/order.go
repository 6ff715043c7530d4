package synchronizer

import (
	"context"
	"math"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// enoughBits is from when on an order is believed: chance brings as much once in a
// million cases. Ten events of different seconds show it, or four pages of five
// that follow one another; a page of hundreds does so many times over.
const enoughBits = 20

// maxHeld is how many claims wait for an order that the pages hardly tell.
const maxHeld = 64

// evidence is what speaks for an order of pages that is not believed yet.
type evidence struct {
	order store.PageOrder
	bits  float64 // chance brings this order once in 2^bits cases
	heard map[nostr.ID]bool
}

// add has the events of a page speak that have not spoken before: where pages are
// in the order of something else, such as ids, the same events are in the same
// order each time.
func (e *evidence) add(p *page) {
	if p.order != e.order {
		*e = evidence{order: p.order, heard: map[nostr.ID]bool{}}
	}
	var fresh []nostr.ID
	seconds := map[int64]int{}
	for _, r := range p.refs {
		if !e.heard[r.ID] {
			fresh = append(fresh, r.ID)
			seconds[r.CreatedAt]++
		}
	}
	if len(seconds) < 2 {
		return // they might still say something together with others
	}
	// Of all n! orders those count once that differ within a second only.
	e.bits += factorial(len(fresh))
	for _, n := range seconds {
		e.bits -= factorial(n)
	}
	for _, id := range fresh {
		e.heard[id] = true
	}
}

// factorial is the logarithm of n! to base 2.
func factorial(n int) float64 {
	l, _ := math.Lgamma(float64(n) + 1)
	return l / math.Ln2
}

// believes reports whether the relay is known to sort its pages for this direction.
func (w *walk) believes(d direction) bool { return w.v.cal.Order == d.order() }

// weigh takes a page as evidence for the order that it shows. When that is enough,
// what has waited for it is proved.
func (w *walk) weigh(p *page, d direction) {
	v := w.v
	if w.believes(d) || p.order != d.order() {
		return
	}
	if v.pass.order == nil {
		v.pass.order = &evidence{}
	}
	v.pass.order.add(p)
	if v.pass.order.bits < enoughBits {
		return
	}
	v.cal.Order, v.learned, v.pass.order = d.order(), true, nil
	for _, s := range w.held {
		v.prove(s.claim)
	}
	w.held = nil
}

// prove takes the claim of a page, which holds if the relay sorts its pages. While
// that is not believed nothing of it is saved.
func (w *walk) prove(s *step, d direction) {
	if w.believes(d) {
		w.v.prove(s.claim)
		return
	}
	w.held = append(w.held, s)
}

// begin is from where on a walk has to go another way, when its last page does not
// show the order that was expected: that of the pages before it was chance.
func (w *walk) begin(prev *step, edge int64) int64 {
	switch {
	case len(w.held) > 0:
		return w.held[0].edge
	case prev != nil:
		return prev.edge
	}
	return edge
}

// unsure proves what the pages would have proved if they had told their order. A
// relay that holds a few events only never tells it, and then it does not matter:
// windows are claimed whose halves add nothing.
func (w *walk) unsure(ctx context.Context) error {
	held := w.held
	w.held = nil
	held = slices.DeleteFunc(held, func(s *step) bool { return s.claim == nil })
	if len(held) == 0 {
		return nil
	}
	if !w.listed {
		if err := w.v.calibratePrivate(ctx); err != nil {
			return err
		}
	}
	if w.hides() {
		w.v.unproved++
		return nil
	}
	all := held[0].claim.Interval
	for _, s := range held {
		all.Lo, all.Hi = min(all.Lo, s.claim.Lo), max(all.Hi, s.claim.Hi)
	}
	return w.split(ctx, all)
}

// middle is where a window is halved: in the middle of the events of its page, when
// those are few, else of the time.
func middle(p *page) int64 {
	win := p.win
	mid := win.Lo + (win.Hi-win.Lo)/2
	if n := len(p.refs); n > 0 && n < 2*smallestLimit {
		times := make([]int64, n)
		for i, r := range p.refs {
			times[i] = r.CreatedAt
		}
		slices.Sort(times)
		mid = max(win.Lo, times[n/2]-1)
	}
	return max(mid, 1)
}

package synchronizer

import (
	"math"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// maxTime is the highest created_at there is. A window that ends there is asked
// without until, as one that begins at 0 is asked without since: no bound below
// 1 is ever sent, because relays answer those in five different ways.
const maxTime = math.MaxInt64

// lead is how far into the future relays accept events: strfry and most others
// by 900 s, so the walk begins that far above now.
const lead = 900

func width(w store.Interval) int64 {
	if w.Hi-w.Lo < 0 { // beyond int64
		return maxTime
	}
	return w.Hi - w.Lo
}

func inside(w store.Interval, at int64) bool { return w.Lo <= at && at <= w.Hi }

// subtract returns what of target no interval of held covers, by ascending
// time. The intervals may come in any order and may overlap.
func subtract(target store.Interval, held []store.Interval) []store.Interval {
	held = slices.Clone(held)
	slices.SortFunc(held, func(a, b store.Interval) int {
		switch {
		case a.Lo < b.Lo:
			return -1
		case a.Lo > b.Lo:
			return 1
		}
		return 0
	})
	var gaps []store.Interval
	next := target.Lo
	for _, h := range held {
		if h.Hi < h.Lo || h.Hi < next {
			continue
		}
		if h.Lo > target.Hi {
			break
		}
		if h.Lo > next {
			gaps = append(gaps, store.Interval{Lo: next, Hi: h.Lo - 1})
		}
		if h.Hi >= target.Hi {
			return gaps
		}
		next = h.Hi + 1
	}
	if next <= target.Hi {
		gaps = append(gaps, store.Interval{Lo: next, Hi: target.Hi})
	}
	return gaps
}

// pass is one walk over all of a relay, which may take several visits. What it
// has proved is not walked again before the pass is over.
type pass struct {
	begun  int64
	proved map[store.FilterID][]store.Interval
	// calibrates says that the relay was to be got to know when it began.
	calibrates bool
	// What takes more requests than a relay may allow in a visit goes on in the
	// next one: lists in the place of a filter, the second that is got by kinds, and
	// the look for kinds that no list names. kindChunk is how many kinds the relay
	// takes, 0 when not known.
	walked    map[store.FilterID]bool // as far as a filter gets that has events hidden
	dense     *dense
	swept     *kindSet
	found     []nostr.Kind
	kindChunk int
	order     *evidence // of how the relay sorts its pages, until it is believed
}

// kindSet is a set of kinds from 0 to maxKind.
type kindSet [(maxKind + 1) / 64]uint64

func (s *kindSet) add(kinds ...nostr.Kind) {
	for _, k := range kinds {
		if k >= 0 && k <= maxKind {
			s[k/64] |= 1 << (k % 64)
		}
	}
}

func (s *kindSet) has(k nostr.Kind) bool {
	return k >= 0 && k <= maxKind && s[k/64]&(1<<(k%64)) != 0
}

// maxPieces bounds what a pass remembers of one filter.
const maxPieces = 1000

func (p *pass) add(id store.FilterID, iv store.Interval) {
	if p.proved == nil {
		p.proved = map[store.FilterID][]store.Interval{}
	}
	list := p.proved[id]
	for i, old := range list {
		// Pages follow one another, so nearly every claim continues an old one.
		if iv.Lo <= old.Hi+1 && old.Lo <= iv.Hi+1 {
			list[i] = store.Interval{Lo: min(old.Lo, iv.Lo), Hi: max(old.Hi, iv.Hi)}
			return
		}
	}
	if len(list) < maxPieces {
		p.proved[id] = append(list, iv)
	}
}

// settled returns the covered stretches that need not be walked in this pass:
// those below a time, and what this pass has proved itself. Above it everything
// is walked again, since events arrive late.
func settled(coverage []store.Coverage, below int64, proved []store.Interval) []store.Interval {
	out := slices.Clone(proved)
	for _, c := range coverage {
		iv := store.Interval{Lo: c.Lo, Hi: min(c.Hi, below)}
		if c.Level > store.LevelUnknown && iv.Lo <= iv.Hi {
			out = append(out, iv)
		}
	}
	return out
}

// resting returns the stretches of holes that are not to be tried yet. Holes
// that lie inside of claims, of forged events, keep nothing from being walked.
func resting(holes []store.Hole, now int64) []store.Interval {
	var out []store.Interval
	for _, h := range holes {
		whole := h.Kind == store.AnyKind || h.Reason == store.HoleOverflow
		if h.NextTry > now && whole && h.Reason != store.HoleInvalid {
			out = append(out, h.Interval)
		}
	}
	return out
}

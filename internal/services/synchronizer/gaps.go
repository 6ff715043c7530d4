package synchronizer

import (
	"math"
	"slices"

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

// settled returns the covered stretches that need not be walked in this pass.
// What lies within overlap below the top of the coverage is walked again, since
// events arrive late, unless this pass has proved it already.
func settled(coverage []store.Coverage, overlap int64, pass pass) []store.Interval {
	var top int64
	for _, c := range coverage {
		top = max(top, c.Hi)
	}
	var out []store.Interval
	for _, c := range coverage {
		if c.Level == store.LevelUnknown {
			continue
		}
		iv := c.Interval
		if !pass.topDone && c.AsOf < pass.begun {
			iv.Hi = min(iv.Hi, top-overlap)
		}
		if iv.Lo <= iv.Hi {
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

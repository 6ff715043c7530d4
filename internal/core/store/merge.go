package store

import (
	"cmp"
	"math"
	"slices"
)

// mergeWithin is how far the as-of times of two claims may lie apart, in
// seconds, for them to become one.
const mergeWithin = 86400

// MergeCoverage adds a claim to the disjoint claims of one relay and filter,
// given and returned by ascending time. Where the claim overlaps an older one it
// takes its place; a newer one stays, and of two of the same time the one of
// the higher level. The claim becomes one with claims of the same level, method
// and tail that it touches when the as-of times of all differ by at most a day;
// the whole is as of the earliest, so where the claim only repeats such a one,
// nothing changes. No claim grows over a second that was not claimed, and adding
// a claim twice is the same as once. N of a part is its share by length.
func MergeCoverage(existing []Coverage, claim Coverage) []Coverage {
	if claim.Lo > claim.Hi {
		return existing
	}
	type piece struct {
		Coverage
		fresh  bool  // holds a part of the claim
		latest int64 // the latest as-of time of its parts
	}
	parts := []Coverage{claim}
	var pieces []piece
	for _, e := range existing {
		switch {
		case e.Hi < claim.Lo || e.Lo > claim.Hi:
			pieces = append(pieces, piece{e, false, e.AsOf})
		case e.stays(claim):
			pieces = append(pieces, piece{e, false, e.AsOf})
			last := parts[len(parts)-1:] // existing is sorted: only the last can overlap e
			parts = append(parts[:len(parts)-1], last[0].without(e.Interval)...)
			if len(parts) == 0 {
				return existing // nothing new
			}
		default:
			for _, left := range e.without(claim.Interval) {
				pieces = append(pieces, piece{left, false, e.AsOf})
			}
		}
	}
	for _, p := range parts {
		pieces = append(pieces, piece{p, true, p.AsOf})
	}
	slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.Lo, b.Lo) })

	merged := make([]Coverage, 0, len(pieces))
	var last piece
	for i, p := range pieces {
		earliest, latest := min(last.AsOf, p.AsOf), max(last.latest, p.latest)
		// Old pieces that touch are left alone: only the claim may change
		// what was not named with it, or a second merge would differ.
		if i > 0 && (last.fresh || p.fresh) && last.Hi+1 == p.Lo && last.alike(p.Coverage) && latest-earliest <= mergeWithin {
			last.Hi = p.Hi
			last.AsOf, last.latest = earliest, latest
			last.N += p.N
			last.fresh = true
			merged[len(merged)-1] = last.Coverage
			continue
		}
		last = p
		merged = append(merged, p.Coverage)
	}
	return merged
}

// stays tells whether c keeps its place where claim overlaps it.
func (c Coverage) stays(claim Coverage) bool {
	switch {
	case c.AsOf > claim.AsOf:
		return true
	case c.alike(claim):
		return claim.AsOf-c.AsOf <= mergeWithin
	default:
		return c.AsOf == claim.AsOf && c.Level >= claim.Level
	}
}

// alike tells whether two claims have the same proof and are kept alike.
func (c Coverage) alike(d Coverage) bool {
	return c.Level == d.Level && c.Method == d.Method && c.Tail == d.Tail
}

// without returns what is left of c when an interval is taken out.
func (c Coverage) without(cut Interval) []Coverage {
	if cut.Hi < c.Lo || cut.Lo > c.Hi {
		return []Coverage{c}
	}
	var left []Coverage
	if c.Lo < cut.Lo {
		left = append(left, c.part(Interval{c.Lo, cut.Lo - 1}))
	}
	if c.Hi > cut.Hi {
		left = append(left, c.part(Interval{cut.Hi + 1, c.Hi}))
	}
	return left
}

// part returns the claim for an interval inside c.
func (c Coverage) part(i Interval) Coverage {
	c.N = int64(math.Round(float64(c.N) * i.length() / c.length()))
	c.Interval = i
	return c
}

// length is in seconds; a float because it may exceed an int64.
func (i Interval) length() float64 { return float64(i.Hi) - float64(i.Lo) + 1 }

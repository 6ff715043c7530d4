package synchronizer

import (
	"testing"

	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

// TestByDays cuts stretches of which the ends lie within days, before the first day
// and at the end of time.
func TestByDays(t *testing.T) {
	const day = 20_000 * store.Day
	for _, s := range []store.Interval{{Lo: day + 5, Hi: day + 5}, {Lo: day + 5, Hi: day + store.Day + 7}, {Lo: 0, Hi: day + 9}, {Lo: day, Hi: maxTime}} {
		parts := byDays([]store.Interval{s})
		next := s.Lo
		for _, p := range parts {
			if p.Lo != next || p.Hi < p.Lo || p.Hi != s.Hi && store.SumDay(p.Hi) == store.SumDay(p.Hi+1) {
				t.Errorf("%+v: part %+v after %d", s, p, next)
			}
			next = p.Hi + 1
		}
		if len(parts) == 0 || parts[len(parts)-1].Hi != s.Hi || len(parts) > maxParts {
			t.Errorf("%+v: %d parts %+v", s, len(parts), parts)
		}
	}
}

// TestStraighten places ids between those whose time is known, and believes no
// list that is in no order.
func TestStraighten(t *testing.T) {
	const day = 20_000 * store.Day
	need := make([]named, 7)
	for i := range need {
		need[i] = named{lo: 0, hi: day + store.Day, after: 0, before: day + store.Day, list: i / 6}
	}
	const no = negentropy.Unplaced
	straighten(need, []int64{no, day + 10, no, day + 20, no, day + 5, no})
	for i, want := range []store.Interval{{Lo: 0, Hi: day + 10}, {}, {Lo: day + 10, Hi: day + 20}, {}, {Lo: day + 20, Hi: day + store.Day}, {}, {Lo: 0, Hi: day + store.Day}} {
		n := need[i]
		if want != (store.Interval{}) && (n.after != want.Lo || n.before != want.Hi || n.at() < n.after || n.at() > n.before) {
			t.Errorf("%d: between %d and %d, at %d, want %+v", i, n.after, n.before, n.at(), want)
		}
	}
	if need[2].vague() || !need[0].vague() {
		t.Errorf("%+v, %+v", need[2], need[0])
	}
}

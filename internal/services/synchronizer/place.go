package synchronizer

import (
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

// named is an id that a relay has named and its set here has not.
type named struct {
	id     nostr.ID
	lo, hi int64 // the seconds it was named in
	// after and before are the times of what was named before and behind it in the
	// same list, as far as they are known: relays list by the order of time.
	after, before int64
	list          int // which of the lists of an exchange named it
}

// namedIn returns what a list has named, in its order.
func namedIn(list int, r *negentropy.Result) []named {
	lo, hi := seconds(r.Lo, r.Hi)
	out := make([]named, len(r.Need))
	for i, id := range r.Need {
		n := named{id: id, lo: lo, hi: hi, after: lo, before: hi, list: list}
		if at := r.Places[i].After; at != negentropy.Unplaced {
			n.narrow(at, hi)
		}
		if at := r.Places[i].Before; at != negentropy.Unplaced {
			n.narrow(lo, at)
		}
		out[i] = n
	}
	return out
}

// narrow takes in that the id stands between two times, unless that cannot be: a
// relay may list in any order.
func (n *named) narrow(after, before int64) {
	if after, before = max(n.after, after), min(n.before, before); after <= before {
		n.after, n.before = after, before
	}
}

// at is where an id of which nothing else is known is taken to stand. Hardly
// anything is older than Nostr. It is in the middle, so that what the neighbours
// are divided by divides it from them too.
func (n *named) at() int64 {
	after := n.after
	if n.before > nostrBirth {
		after = max(after, nostrBirth)
	}
	if n.before == maxTime {
		return after
	}
	return after + (n.before-after)/2
}

// vague reports whether not even the day is known.
func (n *named) vague() bool { return store.SumDay(n.after) != store.SumDay(n.before) }

// straighten narrows where ids stand by the times of the others, which are Unplaced
// where they are not known.
func straighten(need []named, times []int64) {
	last := 0
	for i := range need {
		switch {
		case times[i] != negentropy.Unplaced:
			last = i
		case times[last] != negentropy.Unplaced && need[last].list == need[i].list:
			need[i].narrow(times[last], maxTime)
		}
	}
	for i := len(need) - 1; i >= 0; i-- {
		switch {
		case times[i] != negentropy.Unplaced:
			last = i
		case last > i && times[last] != negentropy.Unplaced && need[last].list == need[i].list:
			need[i].narrow(0, times[last])
		}
	}
}

// byDays cuts stretches where the sums of days begin and end, long ones where only
// some of them do.
func byDays(stretches []store.Interval) []store.Interval {
	var out []store.Interval
	for _, s := range stretches {
		first, last := store.SumDay(s.Lo), store.SumDay(s.Hi)
		step := (last-first)/maxParts + 1
		for day := first; day <= last && len(out) < maxVague; day += step {
			out = append(out, store.Interval{
				Lo: max(s.Lo, store.SumSpan(day).Lo), Hi: min(s.Hi, store.SumSpan(min(day+step-1, last)).Hi),
			})
		}
	}
	return out
}

// overlap returns what two lists of stretches have in common, by ascending time.
func overlap(a, b []store.Interval) []store.Interval {
	whole := store.Interval{Lo: 0, Hi: maxTime}
	return subtract(whole, append(subtract(whole, a), subtract(whole, b)...))
}

package synchronizer

import "time"

// What is below the newest second that was proved is read again, as events reach
// relays late. How far below is learned from those that did.

const (
	// leastOverlap and mostOverlap bound what is learned.
	leastOverlap = time.Hour
	mostOverlap  = 30 * 24 * time.Hour
	// lateness is how many times as far as the latest of those that came late is
	// read again.
	lateness = 2
	// Without late ones it becomes an eighth less in each visit.
	lessOverlap = 8
	// wholeReads is how often all of the configured overlap is read while an event
	// is as old as that, so that what comes later than learned is noticed.
	wholeReads = 8
)

// setOverlap says how far below what is proved this visit reads again. A visit
// without bounds reads all that is configured, and what was learned beyond that.
func (v *visit) setOverlap(configured, every time.Duration) {
	v.overlap = int64(configured.Seconds())
	learned := v.cal.Overlap
	if learned == 0 || configured == 0 {
		return
	}
	rhythm := max(int64(every.Seconds()), v.cal.Every, 1)
	if learned > v.overlap || v.budget != (budget{}) && v.draw(v.overlap) >= wholeReads*rhythm {
		v.overlap = learned
	}
}

// cameLate takes note of an event that was not archived, of a time at which
// everything was claimed to be.
func (v *visit) cameLate(at int64) {
	for _, c := range v.covered {
		if inside(c, at) {
			v.lateBy = max(v.lateBy, v.top-at)
			return
		}
	}
}

// learnOverlap takes what came late in a visit that read everything, or that
// nothing did.
func (v *visit) learnOverlap(configured time.Duration) {
	if len(v.covered) == 0 || v.follows() || configured == 0 {
		return
	}
	have := v.cal.Overlap
	if have == 0 {
		have = int64(configured.Seconds())
	}
	have = max(have-have/lessOverlap, lateness*v.lateBy, int64(leastOverlap.Seconds()))
	have = min(have, max(int64(mostOverlap.Seconds()), int64(configured.Seconds())))
	if have != v.cal.Overlap {
		v.cal.Overlap, v.learned = have, true
	}
}

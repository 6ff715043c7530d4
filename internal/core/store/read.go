package store

import (
	"cmp"
	"context"
	"math"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// EventQuery asks for archived events, newest first, ties by lowest id.
type EventQuery struct {
	Filter nostr.Filter // Limit is ignored
	After  Cursor       // the position of the previous page's last event
	Limit  int          // 1 to 1000
	// Public leaves out what strangers must not be served: private kinds (4,
	// 1059 and friends), protected events (NIP-70), expired ones and those their
	// authors deleted.
	Public bool
	// Readers are served what is private or protected all the same when they
	// wrote it or, of private kinds, it is for them.
	Readers []nostr.PubKey
	Now     int64 // for expiry
}

// Withholds tells whether the query is not to be answered with an event that
// matches it. Whether its author deleted it is another question.
func (q *EventQuery) Withholds(r *Record) bool {
	e := &r.Event
	switch {
	case !q.Public:
		return false
	case r.Expired(q.Now), e.Kind.IsEphemeral():
		return true
	case Private(e.Kind):
		return !slices.Contains(q.Readers, e.PubKey) && !r.addressed(q.Readers)
	default:
		return r.Protected() && !slices.Contains(q.Readers, e.PubKey)
	}
}

// Private tells whether the answer may hold private kinds.
func (q *EventQuery) Private() bool { return !q.Public || len(q.Readers) > 0 }

// Carried is a relay that carries an event, or did.
type Carried struct {
	URL     relay.URL
	SeenAt  int64 // when it first delivered the event, or named it
	Claimed bool  // it named the event and has not delivered it
	GoneAt  int64 // when it was found not to have the event any longer; 0 while it has
}

// EventReader answers questions about events.
type EventReader interface {
	// Events returns a page and the cursor behind it, empty at the end. A filter
	// that searches finds what has all words, newest first too; the error is
	// ErrSearch for one that has none, and ErrNoSearch where there is no index.
	Events(ctx context.Context, q EventQuery) ([]Stored, Cursor, error)
	// EventRelays returns the relays that delivered or named an event, first
	// first; ErrNotFound when the event is not archived.
	EventRelays(ctx context.Context, id nostr.ID) ([]Carried, error)
	// Authors returns at most limit authors of events that a relay has, or with
	// relay 0 of any, each once and in no order. It looks at the newest MaxLooked
	// only.
	Authors(ctx context.Context, relay RelayID, limit int) ([]nostr.PubKey, error)
}

// MaxLooked is how many events EventReader.Authors looks at.
const MaxLooked = 100_000

// RelayQuery asks for relays by ascending URL.
type RelayQuery struct {
	Network relay.Network // empty: all
	State   State         // empty: all
	After   string        // the URL of the previous page's last relay
	Limit   int           // 1 to 1000
}

// RelaySummary is a relay with what is known about it.
type RelaySummary struct {
	Relay
	Introduction
	Location
	OpenMS    float64 // newest successful open; 0 when never
	ReadMS    float64
	CheckedAt int64
	Month     Share   // of the last 30 days, as of the newest check
	OpenP95   float64 // within them, milliseconds; 0 when there is none
	ReadP95   float64
	Events    int64 // sightings
	// Partly says that nothing is claimed of the relay as a whole: what follows
	// is of lists of kinds or authors, or of filters of the configuration.
	Partly bool
	Lo, Hi int64 // the lowest and highest second covered; both 0 when none
	Level  Level // the lowest level between Lo and Hi
	Gaps   int   // uncovered stretches between Lo and Hi
	// Proved is how many seconds are covered, by the best level that each is
	// proved with.
	Proved   [LevelFingerprint + 1]int64
	Holes    int
	AsOf     int64 // the oldest as-of of its claims
	MaxLimit int   // the largest page it ever gave
	SyncDue  int64
	CheckDue int64
	Named    int64 // ids that it has, by the sums; 0 while none are kept
	Withheld int64 // ids of those that it does not deliver
	Refused  int64 // ids of those that are not to be archived
	Cost     CostSum
}

// Summarize puts the claims of a relay together: those of all events, whose
// filter is open, or where there are none those of all other filters.
func (s *RelaySummary) Summarize(claims []Coverage, open FilterID) {
	if claims, s.Partly = Counted(claims, open); len(claims) == 0 {
		return
	}
	first := claims[0]
	s.Lo, s.Hi, s.Level, s.AsOf = first.Lo, first.Hi, first.Level, first.AsOf
	for _, c := range claims[1:] {
		if c.Lo > s.Hi && c.Lo-1 > s.Hi {
			s.Gaps++
		}
		s.Hi = max(s.Hi, c.Hi)
		s.Level, s.AsOf = min(s.Level, c.Level), min(s.AsOf, c.AsOf)
	}
	s.Proved = proved(claims)
}

// Counted returns the claims of a relay that a summary counts, by ascending
// beginning, and whether these are partly only.
func Counted(claims []Coverage, open FilterID) (counted []Coverage, partly bool) {
	counted = slices.DeleteFunc(slices.Clone(claims), func(c Coverage) bool { return c.Filter != open })
	if len(counted) == 0 && len(claims) > 0 {
		counted, partly = slices.Clone(claims), true
	}
	slices.SortFunc(counted, func(a, b Coverage) int { return cmp.Compare(a.Lo, b.Lo) })
	return counted, partly
}

// proved counts the seconds that claims cover, each by its best level. Claims are
// in the order of their beginning; those of one filter do not overlap, so that
// few are open at a time.
func proved(claims []Coverage) (seconds [LevelFingerprint + 1]int64) {
	var open []Coverage
	at := claims[0].Lo
	// to counts what is open up to a second, exclusive.
	to := func(end int64) {
		for at < end && len(open) > 0 {
			best, until := LevelUnknown, end
			for _, c := range open {
				best = max(best, c.Level)
				if c.Hi < end { // else Hi+1 could overflow
					until = min(until, c.Hi+1)
				}
			}
			seconds[best] = addUp(seconds[best], until, at)
			at = until
			open = slices.DeleteFunc(open, func(c Coverage) bool { return c.Hi < at })
		}
		at = end
	}
	for _, c := range claims {
		if c.Lo > c.Hi || c.Level < 0 || c.Level > LevelFingerprint {
			continue
		}
		to(c.Lo)
		open = append(open, c)
	}
	to(math.MaxInt64)
	return seconds
}

// addUp adds the seconds from lo to hi, exclusive, to a sum that does not
// overflow.
func addUp(sum, hi, lo int64) int64 {
	span := hi - lo
	if span < 0 || sum+span < 0 {
		return math.MaxInt64
	}
	return sum + span
}

// CountedOf is Counted of the claims of several relays.
func CountedOf(claims []Coverage, open FilterID) map[RelayID][]Coverage {
	by := map[RelayID][]Coverage{}
	for _, c := range claims {
		by[c.Relay] = append(by[c.Relay], c)
	}
	for id := range by {
		by[id], _ = Counted(by[id], open)
	}
	return by
}

// RelayReader answers questions about relays.
type RelayReader interface {
	// RelaySummaries returns a page by ascending URL.
	RelaySummaries(ctx context.Context, q RelayQuery) ([]RelaySummary, error)
	// RelayCoverage returns the claims and holes of a relay over all filters.
	RelayCoverage(ctx context.Context, id RelayID) ([]Coverage, []Hole, error)
	// ClaimPage returns at most limit claims of a relay over all filters, by filter
	// and time, and the cursor behind them, empty at the end; ErrCursor for a cursor
	// that is none of its own.
	ClaimPage(ctx context.Context, id RelayID, after Cursor, limit int) ([]Coverage, Cursor, error)
	// HolePage does the same for holes.
	HolePage(ctx context.Context, id RelayID, after Cursor, limit int) ([]Hole, Cursor, error)
	// Claims returns those of several relays that their summaries count, as Counted
	// does. Relays without any are absent.
	Claims(ctx context.Context, relays []RelayID) (map[RelayID][]Coverage, error)
	// Filter returns the filter that claims and holes name by its number;
	// ErrNotFound when it has none.
	Filter(ctx context.Context, id FilterID) (nostr.Filter, error)
}

// LevelTotal sums the claims of one level that are about all events of relays.
type LevelTotal struct {
	Level   Level
	Relays  int64
	Seconds int64
}

// RelayTotal counts relays of one network and state.
type RelayTotal struct {
	Network relay.Network
	State   State
	Relays  int64
}

// Totals are the figures of the whole archive.
type Totals struct {
	Relays     []RelayTotal
	Candidates int64
	Events     int64
	Sightings  int64
	Authors    int64 // estimated
	Oldest     int64 // first and last created_at within the plausible window
	Newest     int64 // (2020-11-01 to now + 1 day); 0 when there is none
	Levels     []LevelTotal
	Partly     int64 // relays of which only lists of kinds or authors, or configured filters, are covered
	Holes      int64
	HoleEvents int64 // known to be missing
	Rejected   int64
	LagMedian  int64 // seconds since the top of coverage, over covered relays
	LagMax     int64
	Bytes      int64 // of the database on disk
}

// KindTotal counts the events of a kind.
type KindTotal struct {
	Kind    nostr.Kind
	Events  int64
	Authors int64 // estimated
}

// DayTotal counts the events of a UTC day.
type DayTotal struct {
	Day     int64 // created_at divided by 86,400
	Events  int64
	Authors int64 // estimated
}

// StatsReader answers questions about the whole, from the sums.
type StatsReader interface {
	Totals(ctx context.Context, now int64) (Totals, error)
	// Kinds returns the most frequent kinds, most first.
	Kinds(ctx context.Context, limit int) ([]KindTotal, error)
	// Days returns the days from lo to hi (days, inclusive) that have events.
	Days(ctx context.Context, lo, hi int64) ([]DayTotal, error)
	// RelayKinds returns the most frequent kinds of what a relay carries, most
	// first, without authors.
	RelayKinds(ctx context.Context, relay RelayID, limit int) ([]KindTotal, error)
	// RelayDays returns the days from lo to hi (days, inclusive) of which a relay
	// carries events, without authors.
	RelayDays(ctx context.Context, relay RelayID, lo, hi int64) ([]DayTotal, error)
	// Carriers draws about n events evenly from those of a relay, or with relay 0
	// from all, and returns which relays carry each one now, by number. When there
	// are n or fewer it draws all; what is drawn is the same as long as the sums
	// are.
	Carriers(ctx context.Context, relay RelayID, n int) ([][]RelayID, error)
}

// Draw returns n times, spread evenly over the events that days have; nil when
// there are n or fewer.
func Draw(days []DayTotal, n int) []int64 {
	var all int64
	for _, d := range days {
		all += d.Events
	}
	if all <= int64(n) {
		return nil
	}
	places := make([]int64, 0, n)
	before := 0.0 // events of the days that are over
	for _, d := range days {
		for len(places) < n {
			at := (float64(len(places)) + 0.5) / float64(n) * float64(all)
			if at >= before+float64(d.Events) {
				break
			}
			places = append(places, d.Day*Day+int64((at-before)/float64(d.Events)*Day))
		}
		before += float64(d.Events)
	}
	return places
}

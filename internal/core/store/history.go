package store

import (
	"context"
	"math"
	"slices"
)

// KeepResults is how long results of checks are kept, in seconds; the newest of
// a probe stays whatever its age.
const KeepResults = 31 * 86400

// KeepVersions is how many versions of a document are kept of a relay and type.
const KeepVersions = 100

// Unwatched is the longest time, in seconds, for which the result of a check is
// taken to hold. What is beyond was watched by nobody.
const Unwatched = 30 * 3600

// Version is a document and when a relay had it.
type Version struct {
	From int64 // the first check that found it
	To   int64 // the last one
	Document
}

// Span is the result of a check that tried to open a relay and perhaps to read.
type Span struct {
	At     int64
	OK     bool
	OpenMS float64 // 0: not open
	ReadMS float64 // 0: not read
}

// Share is a part of the time that was watched, 0 to 1; Watched is that time in
// seconds, 0 when nothing is known.
type Share struct {
	Up      float64
	Watched int64
}

// Percentiles are of times in milliseconds, by nearest rank; N is of how many.
type Percentiles struct {
	P50, P95, P99 float64
	N             int
}

// Health is how a relay fared: the share of the time in which it could be
// opened, and how long opening and reading took within 30 days.
type Health struct {
	Day, Week, Month, All Share
	Open, Read            Percentiles
}

// Incident is an outage of a relay.
type Incident struct {
	Relay RelayID
	Outage
}

// Histories tells how relays fared over time.
type Histories interface {
	// Health sums up the results of a relay's checks until now.
	Health(ctx context.Context, relay RelayID, now int64) (Health, error)
	// Versions returns the newest documents of a type that a relay had, newest
	// first. Of those before the newest KeepVersions nothing is kept.
	Versions(ctx context.Context, relay RelayID, kind string, limit int) ([]Version, error)
	// LastChecks returns the newest result of one probe by relay, without
	// documents. Relays without one are absent.
	LastChecks(ctx context.Context, probe string, relays []RelayID) (map[RelayID]Check, error)
	// Results returns results of one probe of a relay before a time, newest
	// first, without documents.
	Results(ctx context.Context, relay RelayID, probe string, before int64, limit int) ([]Check, error)
	// Incidents returns the outages of all relays in the set, newest first, of one
	// second by falling number of the relay: those behind the From and Relay of
	// before.
	Incidents(ctx context.Context, before Incident, limit int) ([]Incident, error)
}

// HealthOf sums spans up, which are in the order of time. A result holds until
// the next one, or now, and never longer than Unwatched.
func HealthOf(spans []Span, now, seenUp, seenDown int64) Health {
	const day = 86400
	window := func(days int64) Share {
		from := now - days*day
		var up, down int64
		for i, s := range spans {
			end := now
			if i+1 < len(spans) {
				end = min(now, spans[i+1].At)
			}
			if end-s.At > Unwatched {
				end = s.At
			}
			if held := end - max(s.At, from); held > 0 {
				if s.OK {
					up += held
				} else {
					down += held
				}
			}
		}
		return share(up, down)
	}
	if n := len(spans); n > 0 { // what is summed ends with the newest result
		if held := now - spans[n-1].At; held > 0 && held <= Unwatched {
			if spans[n-1].OK {
				seenUp += held
			} else {
				seenDown += held
			}
		}
	}
	h := Health{Day: window(1), Week: window(7), Month: window(30), All: share(seenUp, seenDown)}
	var open, read []float64
	for _, s := range spans {
		if s.OpenMS > 0 {
			open = append(open, s.OpenMS)
		}
		if s.ReadMS > 0 {
			read = append(read, s.ReadMS)
		}
	}
	h.Open, h.Read = percentiles(open), percentiles(read)
	return h
}

func share(up, down int64) Share {
	if up+down == 0 {
		return Share{}
	}
	return Share{Up: float64(up) / float64(up+down), Watched: up + down}
}

func percentiles(values []float64) Percentiles {
	if len(values) == 0 {
		return Percentiles{}
	}
	slices.Sort(values)
	rank := func(p float64) float64 {
		return values[max(int(math.Ceil(p*float64(len(values))))-1, 0)]
	}
	return Percentiles{P50: rank(0.50), P95: rank(0.95), P99: rank(0.99), N: len(values)}
}

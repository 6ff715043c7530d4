package store

// Day is the length of a day in seconds; days are numbered by created_at
// divided by it.
const Day = 86400

// Sum counts events, and their authors when they are added.
type Sum struct {
	N       int64
	Authors Distinct
}

// Sums are counts of events and sightings by everything that the rollups are
// kept by. Keys of two numbers are in the order of the name.
type Sums struct {
	Events, Sightings int64
	Authors           Distinct
	Days, Kinds       map[int64]*Sum
	DayKinds          map[[2]int64]int64
	Relays            map[int64]int64
	RelayKinds        map[[2]int64]int64
	RelayDays         map[[2]int64]int64
}

// NewSums returns sums of nothing.
func NewSums() *Sums {
	return &Sums{
		Days: make(map[int64]*Sum), Kinds: make(map[int64]*Sum), DayKinds: make(map[[2]int64]int64),
		Relays: make(map[int64]int64), RelayKinds: make(map[[2]int64]int64), RelayDays: make(map[[2]int64]int64),
	}
}

// Event counts an event; author is nil when only the number matters.
func (s *Sums) Event(at, kind int64, author []byte) {
	s.Events++
	s.DayKinds[[2]int64{at / Day, kind}]++
	days, kinds := entry(s.Days, at/Day), entry(s.Kinds, kind)
	days.N++
	kinds.N++
	if len(author) == 32 {
		key := (*[32]byte)(author)
		s.Authors.Add(key)
		days.Authors.Add(key)
		kinds.Authors.Add(key)
	}
}

// Sighting counts n sightings of events of a time and kind by a relay.
func (s *Sums) Sighting(relay, at, kind, n int64) {
	s.Sightings += n
	s.Relays[relay] += n
	s.RelayKinds[[2]int64{relay, kind}] += n
	s.RelayDays[[2]int64{relay, at / Day}] += n
}

func entry(m map[int64]*Sum, key int64) *Sum {
	s := m[key]
	if s == nil {
		s = new(Sum)
		m[key] = s
	}
	return s
}

// Merge adds other sums.
func (s *Sums) Merge(o *Sums) {
	s.Events += o.Events
	s.Sightings += o.Sightings
	s.Authors.Merge(&o.Authors)
	for _, t := range []struct{ into, from map[int64]*Sum }{{s.Days, o.Days}, {s.Kinds, o.Kinds}} {
		for key, sum := range t.from {
			into := entry(t.into, key)
			into.N += sum.N
			into.Authors.Merge(&sum.Authors)
		}
	}
	for key, n := range o.Relays {
		s.Relays[key] += n
	}
	for _, t := range []struct{ into, from map[[2]int64]int64 }{{s.DayKinds, o.DayKinds}, {s.RelayKinds, o.RelayKinds}, {s.RelayDays, o.RelayDays}} {
		for key, n := range t.from {
			t.into[key] += n
		}
	}
}

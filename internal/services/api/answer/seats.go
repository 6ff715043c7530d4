package answer

import "sync"

// Seats are what a bounded number of clients may take at a time. They are safe for
// concurrent use.
type Seats struct {
	most, each int

	mu    sync.Mutex
	taken map[string]int
	all   int
}

// NewSeats returns most seats, of which one client may take as many as each.
func NewSeats(most, each int) *Seats {
	return &Seats{most: most, each: each, taken: map[string]int{}}
}

// Enter takes a seat, and reports whether there was one.
func (s *Seats) Enter(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.taken[who] >= s.each {
		return false
	}
	s.all++
	s.taken[who]++
	return true
}

// Leave gives back a seat that was taken.
func (s *Seats) Leave(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.taken[who]--; s.taken[who] == 0 {
		delete(s.taken, who)
	}
}

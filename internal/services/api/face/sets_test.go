package face

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSets checks who shares a set, and how much there is of all together.
func TestSets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSets()
		enter := func(text string, mine bool) *set {
			t.Helper()
			one, old, got := s.enter(text)
			if got != mine {
				t.Errorf("%s is to be made: %t", text, got)
			}
			if old != nil {
				s.release(old)
			}
			return one
		}
		holds := func(want int64) {
			t.Helper()
			if s.ids != want {
				t.Errorf("there are %d ids, want %d", s.ids, want)
			}
		}
		a := enter("a", true)
		if !s.grow(a, maxSets-1) || enter("a", false) != a {
			t.Error("who asks for the same does not share it")
		}
		b := enter("b", true)
		if s.grow(b, 2) {
			t.Error("more than there is room for")
		}
		holds(maxSets - 1)
		s.release(a)
		if s.grow(b, 2) || enter("a", false) != a {
			t.Error("one that is used made room")
		}
		s.release(a)
		s.release(a)
		if !s.grow(b, 2) {
			t.Error("one that nobody has made no room")
		}
		holds(2)
		if enter("a", true) == a {
			t.Error("one that made room is found")
		}
		time.Sleep(setFresh)
		c := enter("b", true)
		holds(2) // somebody has the old one
		s.release(b)
		holds(0)
		s.grow(c, 5)
		s.release(c)
		holds(5)
		time.Sleep(setKept)
		s.sweep()
		if holds(0); len(s.found) > 0 {
			t.Errorf("%d old sets are found", len(s.found))
		}
	})
}

package answer

import (
	"fmt"
	"testing"
)

// TestSeats checks that one client cannot take all.
func TestSeats(t *testing.T) {
	s := NewSeats(10, 2)
	var have []bool
	for _, who := range []string{"a", "a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f"} {
		have = append(have, s.Enter(who))
	}
	if want := "[true true false true true true true true true true true false]"; fmt.Sprint(have) != want {
		t.Errorf("entered %v, want %s", have, want)
	}
	s.Leave("a")
	if !s.Enter("f") || len(s.taken) != 6 {
		t.Errorf("taken by %v", s.taken)
	}
}

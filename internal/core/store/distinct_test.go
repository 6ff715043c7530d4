package store_test

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/store"
)

// key returns the i-th key; its bytes are as regular as chosen ones may be.
func key(i int) *[32]byte {
	var k [32]byte
	binary.BigEndian.PutUint32(k[28:], uint32(i))
	return &k
}

func TestDistinct(t *testing.T) {
	for _, n := range []int{0, 1, 64, 65, 1000, 100000} {
		var d store.Distinct
		for i := range n {
			d.Add(key(i))
			d.Add(key(i / 2))
		}
		d2, err := store.ParseDistinct(d.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		got := d2.Count()
		if got != d.Count() {
			t.Errorf("%d keys: stored and read back counts %d, before %d", n, got, d.Count())
		}
		if n <= 64 && got != int64(n) || math.Abs(float64(got)-float64(n)) > 0.06*float64(n) {
			t.Errorf("%d keys: counted %d", n, got)
		}
	}
}

func TestDistinctMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b, both store.Distinct
		fill := func(d *store.Distinct, name string) {
			from := rapid.IntRange(0, 300).Draw(t, name)
			for i := from; i < from+rapid.IntRange(0, 200).Draw(t, name); i++ {
				d.Add(key(i))
				both.Add(key(i))
			}
		}
		fill(&a, "a")
		fill(&b, "b")
		a.Merge(&b)
		if a.Count() != both.Count() {
			t.Fatalf("merged %d, added %d", a.Count(), both.Count())
		}
	})
}

func TestParseDistinctBroken(t *testing.T) {
	for _, b := range [][]byte{{0, 1}, {1}, {1, 2, 3}, {2}, make([]byte, 1+8*65), append(append([]byte{0}, 0, 0, 0, 0, 0, 0, 0, 2), 0, 0, 0, 0, 0, 0, 0, 1)} {
		if _, err := store.ParseDistinct(b); err == nil {
			t.Errorf("% x was read", b)
		}
	}
}

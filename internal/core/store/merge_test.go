package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bigbrotr/internal/core/store"
)

const day = 86400

func claim(lo, hi int64, level store.Level, asOf, n int64) store.Coverage {
	return store.Coverage{Interval: store.Interval{Lo: lo, Hi: hi}, Level: level, AsOf: asOf, Method: "walk", N: n}
}

func TestMergeCoverage(t *testing.T) {
	for _, tt := range []struct {
		name     string
		existing []store.Coverage
		add      store.Coverage
		want     []store.Coverage
	}{
		{"first", nil, claim(10, 20, 1, 100, 5), []store.Coverage{claim(10, 20, 1, 100, 5)}},
		{"empty interval", []store.Coverage{claim(1, 2, 1, 1, 1)}, claim(9, 8, 1, 100, 5), []store.Coverage{claim(1, 2, 1, 1, 1)}},
		{
			"apart",
			[]store.Coverage{claim(10, 20, 1, 100, 5)},
			claim(22, 30, 1, 100, 1),
			[]store.Coverage{claim(10, 20, 1, 100, 5), claim(22, 30, 1, 100, 1)},
		},
		{"adjacent above", []store.Coverage{claim(10, 20, 1, 100, 5)}, claim(21, 30, 1, 200, 1), []store.Coverage{claim(10, 30, 1, 100, 6)}},
		{"adjacent below", []store.Coverage{claim(10, 20, 1, 300, 5)}, claim(1, 9, 1, 200, 1), []store.Coverage{claim(1, 20, 1, 200, 6)}},
		{
			"adjacent, another level",
			[]store.Coverage{claim(10, 20, 1, 100, 5)},
			claim(21, 30, 2, 200, 1),
			[]store.Coverage{claim(10, 20, 1, 100, 5), claim(21, 30, 2, 200, 1)},
		},
		{"adjacent, a day later", []store.Coverage{claim(10, 20, 1, 100, 5)}, claim(21, 30, 1, 100+day, 1), []store.Coverage{claim(10, 30, 1, 100, 6)}},
		{
			"adjacent, more than a day later",
			[]store.Coverage{claim(10, 20, 1, 100, 5)},
			claim(21, 30, 1, 101+day, 1),
			[]store.Coverage{claim(10, 20, 1, 100, 5), claim(21, 30, 1, 101+day, 1)},
		},
		{"bridge", []store.Coverage{claim(10, 20, 1, 100, 5), claim(30, 40, 1, 90, 5)}, claim(21, 29, 1, 95, 1), []store.Coverage{claim(10, 40, 1, 90, 11)}},
		{
			"newer replaces the middle",
			[]store.Coverage{claim(0, 29, 1, 0, 30)},
			claim(10, 19, 1, 2*day, 7),
			[]store.Coverage{claim(0, 9, 1, 0, 10), claim(10, 19, 1, 2*day, 7), claim(20, 29, 1, 0, 10)},
		},
		{
			"older fills around",
			[]store.Coverage{claim(10, 19, 2, 2*day, 7)},
			claim(0, 29, 1, 0, 30),
			[]store.Coverage{claim(0, 9, 1, 0, 10), claim(10, 19, 2, 2*day, 7), claim(20, 29, 1, 0, 10)},
		},
		{"same time, higher level stays", []store.Coverage{claim(0, 9, 4, 50, 3)}, claim(0, 9, 1, 50, 9), []store.Coverage{claim(0, 9, 4, 50, 3)}},
		{"same time, higher level comes", []store.Coverage{claim(0, 9, 1, 50, 3)}, claim(0, 9, 4, 50, 9), []store.Coverage{claim(0, 9, 4, 50, 9)}},
		{"repeated within a day", []store.Coverage{claim(0, 9, 1, 50, 3)}, claim(2, 9, 1, 60, 2), []store.Coverage{claim(0, 9, 1, 50, 3)}},
		{
			"to the end of time",
			[]store.Coverage{claim(10, 1<<63-1, 1, 0, 3)},
			claim(20, 1<<63-1, 2, 60, 2),
			[]store.Coverage{claim(10, 19, 1, 0, 0), claim(20, 1<<63-1, 2, 60, 2)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, store.MergeCoverage(tt.existing, tt.add)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMergeCoverageModel compares the algebra with a list of seconds.
func TestMergeCoverageModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const seconds = 30
		draw := rapid.Custom(func(t *rapid.T) store.Coverage {
			lo := rapid.Int64Range(0, seconds-1).Draw(t, "lo")
			return store.Coverage{
				Interval: store.Interval{Lo: lo, Hi: rapid.Int64Range(lo-1, seconds-1).Draw(t, "hi")},
				Level:    store.Level(rapid.IntRange(1, 2).Draw(t, "level")),
				Method:   rapid.SampledFrom([]string{"walk", "probe"}).Draw(t, "method"),
				AsOf:     rapid.Int64Range(0, 6).Draw(t, "half days") * day / 2,
				N:        rapid.Int64Range(0, 100).Draw(t, "n"),
			}
		})
		var have []store.Coverage
		for range rapid.IntRange(1, 12).Draw(t, "claims") {
			add := draw.Draw(t, "claim")
			before := bySecond(have)
			merged := store.MergeCoverage(have, add)
			after := bySecond(merged)
			for s := range int64(seconds) {
				old, was := before[s]
				now, is := after[s]
				claimed := s >= add.Lo && s <= add.Hi
				if is != (was || claimed) {
					t.Fatalf("second %d: covered is %v", s, is)
				}
				if !is {
					continue
				}
				// Whose proof stands, by the rules one by one.
				want := old
				if claimed {
					switch {
					case !was, add.AsOf > old.AsOf, add.AsOf == old.AsOf && add.Level > old.Level:
						want = add
					}
				}
				if now.Level != want.Level || now.Method != want.Method {
					t.Fatalf("second %d: proved by %v, want %v", s, now, want)
				}
				// Becoming one makes a claim older by a day at most, never newer.
				if now.AsOf > want.AsOf || now.AsOf < want.AsOf-day {
					t.Fatalf("second %d: as of %d, want %d or up to a day less", s, now.AsOf, want.AsOf)
				}
			}
			for i := 1; i < len(merged); i++ {
				a, b := merged[i-1], merged[i]
				if a.Hi >= b.Lo {
					t.Fatalf("not disjoint and sorted: %v, %v", a, b)
				}
			}
			if diff := cmp.Diff(merged, store.MergeCoverage(merged, add)); diff != "" {
				t.Fatalf("adding twice differs: %s", diff)
			}
			have = merged
		}
	})
}

func bySecond(claims []store.Coverage) map[int64]store.Coverage {
	m := make(map[int64]store.Coverage)
	for _, c := range claims {
		for s := c.Lo; s <= c.Hi; s++ {
			m[s] = c
		}
	}
	return m
}

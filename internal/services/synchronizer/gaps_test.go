package synchronizer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/store"
)

func iv(lo, hi int64) store.Interval { return store.Interval{Lo: lo, Hi: hi} }

func TestSubtract(t *testing.T) {
	tests := []struct {
		name string
		held []store.Interval
		want []store.Interval
	}{
		{"nothing held", nil, []store.Interval{iv(0, 100)}},
		{"all held", []store.Interval{iv(0, 100)}, nil},
		{"more than all", []store.Interval{iv(-5, 200)}, nil},
		{"a piece", []store.Interval{iv(10, 20)}, []store.Interval{iv(0, 9), iv(21, 100)}},
		{"the ends", []store.Interval{iv(0, 9), iv(90, 100)}, []store.Interval{iv(10, 89)}},
		{"a second", []store.Interval{iv(0, 49), iv(51, 100)}, []store.Interval{iv(50, 50)}},
		{"overlapping, unsorted", []store.Interval{iv(50, 60), iv(5, 20), iv(10, 55)}, []store.Interval{iv(0, 4), iv(61, 100)}},
		{"contained", []store.Interval{iv(10, 50), iv(20, 30)}, []store.Interval{iv(0, 9), iv(51, 100)}},
		{"outside", []store.Interval{iv(200, 300)}, []store.Interval{iv(0, 100)}},
		{"upside down", []store.Interval{iv(30, 20)}, []store.Interval{iv(0, 100)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.want, subtract(iv(0, 100), test.held)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	coverage := []store.Coverage{
		{Interval: iv(0, 500), Level: store.LevelWalked},
		{Interval: iv(501, 600), Level: store.LevelUnknown},
		{Interval: iv(601, 900), Level: store.LevelCounted},
		{Interval: iv(901, 1000), Level: store.LevelWalked},
	}
	want := []store.Interval{iv(950, 1000), iv(0, 500), iv(601, 700)}
	if d := cmp.Diff(want, settled(coverage, 700, []store.Interval{iv(950, 1000)})); d != "" {
		t.Error(d)
	}
}

func TestPassJoinsWhatTouches(t *testing.T) {
	var p pass
	p.add(1, iv(50, 60))
	p.add(1, iv(40, 49))
	p.add(1, iv(10, 20))
	p.add(2, iv(0, 5))
	if d := cmp.Diff(map[store.FilterID][]store.Interval{1: {iv(40, 60), iv(10, 20)}, 2: {iv(0, 5)}}, p.proved); d != "" {
		t.Error(d)
	}
}

func TestResting(t *testing.T) {
	holes := []store.Hole{
		{Interval: iv(1, 2), Kind: store.AnyKind, Reason: store.HoleAuth, NextTry: 200},
		{Interval: iv(3, 4), Kind: store.AnyKind, Reason: store.HoleAuth, NextTry: 50},
		{Interval: iv(5, 5), Kind: 1, Reason: store.HoleOverflow, NextTry: 200},
		{Interval: iv(6, 7), Kind: 4, Reason: store.HoleAuth, NextTry: 200},
		{Interval: iv(8, 9), Kind: store.AnyKind, Reason: store.HoleInvalid, NextTry: 200},
	}
	if d := cmp.Diff([]store.Interval{iv(1, 2), iv(5, 5)}, resting(holes, 100)); d != "" {
		t.Error(d)
	}
}

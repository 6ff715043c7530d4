package store_test

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

func TestPosition(t *testing.T) {
	for _, want := range []store.Position{{}, {At: -1, ID: nostr.ID{1}}, {At: math.MaxInt64, ID: nostr.ID{31: 255}}, {At: math.MinInt64}} {
		got, err := store.ParsePosition(want.Cursor())
		if err != nil || *got != want {
			t.Errorf("ParsePosition(%q) = %v, %v", want.Cursor(), got, err)
		}
	}
	if p, err := store.ParsePosition(""); p != nil || err != nil {
		t.Errorf("the empty cursor is %v, %v", p, err)
	}
	for _, c := range []store.Cursor{"x", ".", "1", "1.", "1.2", ".00", "9223372036854775808." + store.Cursor(nostr.ID{}.String()), " " + (store.Position{}).Cursor()} {
		if p, err := store.ParsePosition(c); !errors.Is(err, store.ErrCursor) {
			t.Errorf("ParsePosition(%q) = %v, %v", c, p, err)
		}
	}
	p := &store.Position{At: 10, ID: nostr.ID{5}}
	for _, tt := range []struct {
		at   int64
		id   byte
		want bool
	}{{9, 0, true}, {9, 9, true}, {10, 4, false}, {10, 5, false}, {10, 6, true}, {11, 9, false}} {
		e := nostr.Event{CreatedAt: tt.at, ID: nostr.ID{tt.id}}
		if got := p.Before(&e); got != tt.want {
			t.Errorf("an event of %d, %d comes after: %t", tt.at, tt.id, got)
		}
		if !(*store.Position)(nil).Before(&e) {
			t.Error("an event does not come after the beginning")
		}
	}
}

func TestSummarize(t *testing.T) {
	type levels = [store.LevelFingerprint + 1]int64
	claim := func(lo, hi int64, level store.Level, asOf int64) store.Coverage {
		return store.Coverage{Interval: store.Interval{Lo: lo, Hi: hi}, Level: level, AsOf: asOf}
	}
	for _, tt := range []struct {
		name   string
		claims []store.Coverage
		want   store.RelaySummary
	}{
		{"none", nil, store.RelaySummary{}},
		{"one", []store.Coverage{claim(5, 9, 2, 7)}, store.RelaySummary{Lo: 5, Hi: 9, Level: 2, AsOf: 7, Proved: levels{2: 5}}},
		{"touching", []store.Coverage{claim(10, 20, 1, 8), claim(5, 9, 2, 7)}, store.RelaySummary{Lo: 5, Hi: 20, Level: 1, AsOf: 7, Proved: levels{1: 11, 2: 5}}},
		{"a gap", []store.Coverage{claim(11, 20, 3, 8), claim(5, 9, 4, 9)}, store.RelaySummary{Lo: 5, Hi: 20, Level: 3, AsOf: 8, Gaps: 1, Proved: levels{3: 10, 4: 5}}},
		{"one inside another", []store.Coverage{claim(0, 100, 3, 8), claim(5, 9, 4, 9), claim(90, 95, 4, 9)}, store.RelaySummary{Lo: 0, Hi: 100, Level: 3, AsOf: 8, Proved: levels{3: 90, 4: 11}}},
		{"to the ends of time", []store.Coverage{claim(math.MinInt64, 0, 1, 1), claim(2, math.MaxInt64, 1, 1)}, store.RelaySummary{Lo: math.MinInt64, Hi: math.MaxInt64, Level: 1, AsOf: 1, Gaps: 1, Proved: levels{1: math.MaxInt64}}},
		{"a list beside the whole", []store.Coverage{claim(5, 9, 2, 7), {Filter: 3, Interval: store.Interval{Lo: 0, Hi: 4}, Level: 1, AsOf: 1}}, store.RelaySummary{Lo: 5, Hi: 9, Level: 2, AsOf: 7, Proved: levels{2: 5}}},
		{"lists only", []store.Coverage{{Filter: 3, Interval: store.Interval{Lo: 0, Hi: 4}, Level: 1, AsOf: 1}}, store.RelaySummary{Partly: true, Hi: 4, Level: 1, AsOf: 1, Proved: levels{1: 5}}},
	} {
		var got store.RelaySummary
		got.Summarize(tt.claims, 0)
		if d := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b store.Relay) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

package pages

import (
	"testing"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

func TestCoverageBar(t *testing.T) {
	now := nostrBirth + 1000
	claim := func(lo, hi int64, level store.Level) query.Claim {
		return query.Claim{Lo: lo, Hi: hi, Level: level}
	}
	b := newCoverageBar([]query.Claim{
		claim(0, nostrBirth+99, store.LevelWalked), // begins before the bar
		claim(nostrBirth+200, nostrBirth+299, store.LevelCounted),
		claim(nostrBirth+900, nostrBirth+5000, store.LevelFingerprint), // ends behind it
		claim(10, 20, store.LevelWalked),                               // outside
	}, now)
	want := []struct {
		x, width float64
		class    string
	}{{0, 100, "level1"}, {200, 100, "level3"}, {900, 100, "level4"}}
	if len(b.Bars) != len(want) {
		t.Fatalf("%d bars, want %d: %+v", len(b.Bars), len(want), b.Bars)
	}
	for i, w := range want {
		if have := b.Bars[i]; have.X != w.x || have.Width != w.width || have.Class != w.class {
			t.Errorf("bar %d is %+v, want %+v", i, have, w)
		}
	}
	if b.Percent != 30 {
		t.Errorf("%v %% covered, want 30", b.Percent)
	}
}

func TestDayChart(t *testing.T) {
	c := newDayChart([]store.DayTotal{{Day: 1000 - chartDays + 1, Events: 1}, {Day: 1000, Events: 400}}, 1000)
	if c.Max != 400 || c.Total != 401 || len(c.Bars) != 2 {
		t.Fatalf("chart is %+v", c)
	}
	if first := c.Bars[0]; first.X != 1 || first.Height != 1 {
		t.Errorf("the first day is %+v, want it on the left and to be seen", first)
	}
	if last := c.Bars[1]; last.X != 10*(chartDays-1)+1 || last.Height != chartHeight || last.Y != 0 {
		t.Errorf("the last day is %+v, want it on the right and full", last)
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct{ have, want string }{
		{number(0), "0"},
		{number(999), "999"},
		{number(1000), "1,000"},
		{number(-1234567), "-1,234,567"},
		{ago(1000, 0), "never"},
		{ago(1000, 2000), "now"},
		{ago(1000, 990), "10 s ago"},
		{ago(100_000, 1), "27 h ago"},
		{date(0), "–"},
		{date(86400), "1970-01-02"},
	} {
		if test.have != test.want {
			t.Errorf("%q, want %q", test.have, test.want)
		}
	}
}

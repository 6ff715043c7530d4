package pages

import (
	"strings"
	"testing"

	"bigbrotr/internal/core/store"
)

func TestCoverageBar(t *testing.T) {
	now := nostrBirth + 2400 // ten seconds a step
	claim := func(lo, hi int64, level store.Level) store.Coverage {
		return store.Coverage{Interval: store.Interval{Lo: lo, Hi: hi}, Level: level}
	}
	b := newCoverageBar([]store.Coverage{
		claim(0, nostrBirth+479, store.LevelWalked), // begins before the bar
		claim(nostrBirth+960, nostrBirth+1439, store.LevelCounted),
		claim(nostrBirth+1200, nostrBirth+1439, store.LevelWalked),     // what is proved better shows
		claim(nostrBirth+1600, nostrBirth+1600, store.LevelWalked),     // one second is to be seen
		claim(nostrBirth+2160, nostrBirth+9000, store.LevelCounted),    // ends behind it
		claim(10, 20, store.LevelWalked),                               // outside
		claim(nostrBirth+1<<62, nostrBirth+1<<62+5, store.LevelWalked), // far outside
	}, now)
	want := map[string]string{"level1": "M0 .5h48m112 0h1", "level3": "M96 .5h48m72 0h24"}
	if len(b.Strip.Paths) != len(want) {
		t.Fatalf("%d colours, want %d: %+v", len(b.Strip.Paths), len(want), b.Strip.Paths)
	}
	for _, path := range b.Strip.Paths {
		if path.D != want[path.Class] {
			t.Errorf("%s is %q, want %q", path.Class, path.D, want[path.Class])
		}
	}
	if have, want := b.Part, 1201.0/2400; have != want {
		t.Errorf("%v covered, want %v", have, want)
	}
	if !strings.HasPrefix(b.Strip.Label, "50.0\u00a0% of the time") {
		t.Errorf("label %q", b.Strip.Label)
	}
}

// TestCoverageBarBound draws the coverage that needs the most.
func TestCoverageBarBound(t *testing.T) {
	now := nostrBirth + 240_000
	var claims []store.Coverage
	for at := nostrBirth; at < now; at += 1000 {
		claims = append(claims, store.Coverage{Interval: store.Interval{Lo: at, Hi: at + 999}, Level: store.Level(1 + (at-nostrBirth)/1000%4)})
	}
	b := newCoverageBar(claims, now)
	size := 0
	for _, path := range b.Strip.Paths {
		size += len(path.D)
	}
	if size > 2000 {
		t.Errorf("a bar has %d bytes", size)
	}
}

func TestDayChart(t *testing.T) {
	const days = 90
	c := newDayChart([]store.DayTotal{{Day: 1000 - days + 1, Events: 1}, {Day: 1000, Events: 400}}, 1000, days)
	if c.Max != 400 || c.Total != 401 || len(c.Bars) != 2 {
		t.Fatalf("chart is %+v", c)
	}
	if first := c.Bars[0]; first.X != 1 || first.Height != 1 {
		t.Errorf("the first day is %+v, want it on the left and to be seen", first)
	}
	if last := c.Bars[1]; last.X != 10*(days-1)+1 || last.Height != chartHeight || last.Y != 0 {
		t.Errorf("the last day is %+v, want it on the right and full", last)
	}
}

func TestLineChart(t *testing.T) {
	c := lineChart{Max: 100, From: 1000, To: 1600}
	c.draw("open", "open", []point{{1000, 0}, {1300, 50}, {1600, 500}})
	if len(c.Lines) != 1 || c.Lines[0].Points != "0.0,79.0 300.0,40.0 600.0,1.0" {
		t.Errorf("lines are %+v", c.Lines)
	}
	c.draw("read", "read", []point{{1300, 50}})
	if len(c.Lines) != 1 {
		t.Error("a line of one point is drawn")
	}
}

// TestDayChartCut draws a day that would make the others invisible.
func TestDayChartCut(t *testing.T) {
	days := make([]store.DayTotal, 9)
	for i := range days {
		days[i] = store.DayTotal{Day: int64(1000 + i), Events: int64(10 + i%2)}
	}
	days[4].Events = 100_000
	c := newDayChart(days, 1008, 9)
	if c.Top != 110 || c.Max != 100_000 || !c.Bars[4].Cut || c.Bars[4].Height != chartHeight {
		t.Errorf("top %d, max %d, bar %+v", c.Top, c.Max, c.Bars[4])
	}
	if c.Bars[3].Cut || c.Bars[3].Height < chartHeight/10 {
		t.Errorf("the day before is %+v", c.Bars[3])
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct{ have, want string }{
		{number(0), "0"},
		{number(999), "999"},
		{number(1000), "1,000"},
		{number(-1234567), "-1,234,567"},
		{plural(1, "relay", "relays"), "1 relay"},
		{plural(int64(2000), "relay", "relays"), "2,000 relays"},
		{ago(1000, 0), "never"},
		{ago(1000, 2000), "in 16\u00a0min"},
		{ago(1000, 1000), "now"},
		{ago(1000, 990), "10\u00a0s ago"},
		{ago(100_000, 1), "27\u00a0h ago"},
		{string(when(1000, 0)), "never"},
		{string(when(1000, 940)), `<time datetime="1970-01-01T00:15:40Z" title="1970-01-01 00:15:40 UTC">` + "60\u00a0s ago</time>"},
		{string(when(1000, 1<<62)), "4,611,686,018,427,387,904\u00a0s"},
		{date(0), "–"},
		{date(86400), "1970-01-02"},
		{string(datesText(0, 1<<53)), `any time`},
		{string(datesText(0, 86400)), `up to <span class="nowrap">1970-01-02</span>`},
		{string(datesText(86400, 1<<53)), `from <span class="nowrap">1970-01-02</span> on`},
		{string(datesText(86400, 86401)), `<span class="nowrap">1970-01-02</span>`},
		{string(datesText(86400, 2*86400)), `<span class="nowrap">1970-01-02</span> to <span class="nowrap">1970-01-03</span>`},
		{milliseconds(0), "–"},
		{milliseconds(1.25), "1.2\u00a0ms"},
		{milliseconds(1234.5), "1234\u00a0ms"},
		{milliseconds(12345), "12.3\u00a0s"},
		{percent(0), "0\u00a0%"},
		{percent(0.00001), "<\u00a00.1\u00a0%"},
		{percent(0.5), "50.0\u00a0%"},
		{percent(0.99999), ">\u00a099.9\u00a0%"},
		{percent(1), "100\u00a0%"},
		{exact([]byte(`{"b":"x\u202ey\u0000","a":1e400}`)), "{\n  \"a\": 1e400,\n  \"b\": \"x\\u202ey\\u0000\"\n}"},
		{inert("=1+1"), "'=1+1"},
		{inert("-12.5"), "-12.5"},
		{inert("wss://x"), "wss://x"},
	} {
		if test.have != test.want {
			t.Errorf("%q, want %q", test.have, test.want)
		}
	}
}

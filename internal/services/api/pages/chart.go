package pages

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

// bar is a rectangle of a chart, in the units of its viewBox.
type bar struct {
	X, Y, Width, Height float64
	Class               string
	Title               string
}

// dayChart is the chart of events per day: one bar a day, the last is today.
type dayChart struct {
	Bars  []bar
	Total int64
	Max   int64
	From  string
	To    string
}

const chartHeight = 80

func newDayChart(days []store.DayTotal, today int64) dayChart {
	first := today - chartDays + 1
	c := dayChart{From: date(first * 86400), To: date(today * 86400)}
	for _, d := range days {
		c.Max = max(c.Max, d.Events)
		c.Total += d.Events
	}
	for _, d := range days {
		height := max(1, float64(d.Events)/float64(c.Max)*chartHeight)
		c.Bars = append(c.Bars, bar{
			X: float64(d.Day-first)*10 + 1, Y: chartHeight - height, Width: 8, Height: height,
			Title: date(d.Day*86400) + ": " + number(d.Events) + " events",
		})
	}
	return c
}

// coverageBar shows what is covered of a relay between the birth of Nostr and
// now, 1000 units wide.
type coverageBar struct {
	Bars    []bar
	Percent float64 // of the time shown
}

// nostrBirth is the beginning of the time that is shown: November 2020.
var nostrBirth = time.Date(2020, 11, 1, 0, 0, 0, 0, time.UTC).Unix()

var levelNames = [...]string{"not proved", "walked", "asserted by the relay", "counted", "fingerprint-equal"}

func levelName(l store.Level) string {
	if l < 0 || int(l) >= len(levelNames) {
		return "unknown"
	}
	return levelNames[l]
}

func newCoverageBar(claims []query.Claim, now int64) coverageBar {
	var b coverageBar
	scale := 1000 / float64(now-nostrBirth)
	// Claims of several filters may overlap: what two prove is covered once.
	claims = slices.Clone(claims)
	slices.SortStableFunc(claims, func(a, b query.Claim) int { return cmp.Compare(a.Lo, b.Lo) })
	end, covered := nostrBirth, int64(0)
	for _, c := range claims {
		lo, hi := max(c.Lo, nostrBirth), now
		if c.Hi < now { // else Hi+1 could overflow
			hi = c.Hi + 1
		}
		if lo >= hi {
			continue
		}
		covered += max(hi-max(lo, end), 0)
		end = max(end, hi)
		b.Bars = append(b.Bars, bar{
			X: float64(lo-nostrBirth) * scale, Width: max(1, float64(hi-lo)*scale),
			Class: "level" + strconv.Itoa(int(c.Level)),
			Title: date(lo) + " to " + date(hi-1) + ": " + levelName(c.Level),
		})
	}
	b.Percent = float64(covered) * scale / 10
	return b
}

package api

import (
	"time"

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

var levelNames = [...]string{"not proved", "walked", "asserted", "counted", "fingerprint-equal"}

func newCoverageBar(claims []store.Coverage, now int64) coverageBar {
	var b coverageBar
	scale := 1000 / float64(now-nostrBirth)
	for _, c := range claims {
		lo, hi := max(c.Lo, nostrBirth), min(c.Hi+1, now)
		if lo >= hi || int(c.Level) >= len(levelNames) {
			continue
		}
		b.Percent += float64(hi-lo) * scale / 10
		b.Bars = append(b.Bars, bar{
			X: float64(lo-nostrBirth) * scale, Width: max(1, float64(hi-lo)*scale),
			Class: "level" + string('0'+rune(c.Level)),
			Title: date(lo) + " to " + date(hi) + ": " + levelNames[c.Level],
		})
	}
	b.Percent = min(b.Percent, 100)
	return b
}

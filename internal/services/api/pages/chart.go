package pages

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigbrotr/internal/core/store"
)

// bar is a rectangle of a chart, in the units of its viewBox.
type bar struct {
	X, Y, Width, Height float64
	Title               string
	Cut                 bool // it would be higher than the chart
}

// dayChart is the chart of events per day: one bar a day, the last is today.
type dayChart struct {
	Bars  []bar
	Total int64
	Max   int64
	Top   int64 // at the upper edge; Max is higher where a few days would hide the others
	From  string
	To    string
	Width int
}

const chartHeight = 80

// newDayChart draws a number of days until today.
func newDayChart(days []store.DayTotal, today, length int64) dayChart {
	first := today - length + 1
	c := dayChart{From: date(first * 86400), To: date(today * 86400), Width: int(10 * length)}
	for _, d := range days {
		c.Max = max(c.Max, d.Events)
		c.Total += d.Events
	}
	c.Top = top(days)
	for _, d := range days {
		height := max(1, min(float64(d.Events)/float64(c.Top), 1)*chartHeight)
		c.Bars = append(c.Bars, bar{
			X: float64(d.Day-first)*10 + 1, Y: chartHeight - height, Width: 8, Height: height,
			Title: date(d.Day*86400) + ": " + plural(d.Events, "event", "events"), Cut: d.Events > c.Top,
		})
	}
	return c
}

// top is what a chart of days goes up to: their most, or ten times the middle one
// where some have more.
func top(days []store.DayTotal) int64 {
	const times = 10
	var events []int64
	for _, d := range days {
		events = append(events, d.Events)
	}
	slices.Sort(events)
	if len(events) == 0 {
		return 0
	}
	return min(events[len(events)-1], times*max(events[len(events)/2], 1))
}

// strip is a bar along time of which parts are coloured. It is cut into a fixed
// number of steps, so that its size on a page is bounded however many parts
// there are; each has one class.
type strip struct {
	Width int
	Paths []stripPath
	Label string // says in words what is to be seen
}

type stripPath struct {
	Class string
	D     string // of an SVG path, drawn as wide as the strip is high
}

// steps are the places of a strip from a time to another, by class; the highest
// class of a step is shown.
type steps struct {
	from, to int64
	class    []int8
}

func newSteps(from, to int64, n int) steps {
	return steps{from, max(to, from+1), make([]int8, n)}
}

// paint colours the steps that a time from lo to hi, exclusive, touches.
func (s steps) paint(lo, hi int64, class int8) {
	lo, hi = max(lo, s.from), min(hi, s.to)
	if lo >= hi {
		return
	}
	n, span := float64(len(s.class)), float64(s.to-s.from)
	first := int(float64(lo-s.from) / span * n)
	last := min(int(float64(hi-1-s.from)/span*n), len(s.class)-1)
	for i := first; i <= last; i++ {
		s.class[i] = max(s.class[i], class)
	}
}

// strip draws the steps; names are the classes from 1 on.
func (s steps) strip(label string, names ...string) strip {
	out := strip{Width: len(s.class), Label: label}
	for i, name := range names {
		var d strings.Builder
		drawn := 0 // up to where the pen is
		for at := 0; at < len(s.class); at++ {
			end := at
			for end < len(s.class) && s.class[end] == int8(i+1) {
				end++
			}
			if end == at {
				continue
			}
			if d.Len() == 0 {
				fmt.Fprintf(&d, "M%d .5h%d", at, end-at)
			} else {
				fmt.Fprintf(&d, "m%d 0h%d", at-drawn, end-at)
			}
			at, drawn = end, end
		}
		if d.Len() > 0 {
			out.Paths = append(out.Paths, stripPath{name, d.String()})
		}
	}
	return out
}

// coverageSteps is how many steps a strip of coverage has: of ten days or so.
const coverageSteps = 240

// coverageBar shows what is covered of a relay between the birth of Nostr and
// now.
type coverageBar struct {
	Strip strip
	Part  float64 // of the time shown, 0 to 1
}

// nostrBirth is the beginning of the time that is shown: November 2020.
var nostrBirth = time.Date(2020, 11, 1, 0, 0, 0, 0, time.UTC).Unix()

func newCoverageBar(claims []store.Coverage, now int64) coverageBar {
	s := newSteps(nostrBirth, now, coverageSteps)
	// Claims of several filters may overlap: what two prove is covered once.
	claims = slices.Clone(claims)
	slices.SortStableFunc(claims, func(a, b store.Coverage) int { return cmp.Compare(a.Lo, b.Lo) })
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
		s.paint(lo, hi, int8(c.Level))
	}
	part := float64(covered) / float64(now-nostrBirth)
	return coverageBar{s.strip(percent(part)+" of the time since November 2020 proved", "level1", "level2", "level3", "level4"), part}
}

// point is a value at a time.
type point struct {
	At    int64
	Value float64
}

// series is a line of a chart.
type series struct {
	Name   string
	Class  string
	Points string // of an SVG polyline
}

// lineChart shows values over time, 600 by 80 units.
type lineChart struct {
	Lines []series
	Max   float64
	From  int64
	To    int64
}

const lineWidth = 600

// draw adds a line, which has two ends. Values above Max are drawn at the upper
// edge.
func (c *lineChart) draw(name, class string, points []point) {
	if len(points) < 2 {
		return
	}
	var b strings.Builder
	span := float64(max(c.To-c.From, 1))
	for _, p := range points {
		x := float64(p.At-c.From) / span * lineWidth
		y := chartHeight - min(p.Value/c.Max, 1)*(chartHeight-2) - 1
		b.WriteString(strconv.FormatFloat(x, 'f', 1, 64) + "," + strconv.FormatFloat(y, 'f', 1, 64) + " ")
	}
	c.Lines = append(c.Lines, series{name, class, strings.TrimSpace(b.String())})
}

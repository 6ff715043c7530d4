package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
)

type coverageCmd struct {
	URL string `arg:"" help:"The relay."`
}

// coverageReport is what is proved to be held of a relay.
type coverageReport struct {
	URL     string                  `json:"url"`
	Filters []filterCoverage        `json:"filters"`
	Tail    synchronizer.TailReport `json:"tail"`
	Cost    query.Cost              `json:"cost"`
}

// filterCoverage is what is proved of one filter.
type filterCoverage struct {
	Filter   string                 `json:"filter"`
	Coverage []synchronizer.Covered `json:"coverage"`
	Holes    []synchronizer.Missing `json:"holes"`
}

// Run prints what of a relay is proved to be held and what is not; it may run
// beside a writer.
func (c *coverageCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	url, err := parseURL(cfg, c.URL)
	if err != nil {
		return err
	}
	st, err := app.ReadStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	report, err := readCoverage(ctx, st, c.URL, func() (store.Relay, error) { return st.Relay(ctx, url) })
	if err != nil {
		return err
	}
	if g.JSON {
		return g.print(report)
	}
	return printCoverage(g, report)
}

func readCoverage(ctx context.Context, st store.Store, text string, find func() (store.Relay, error)) (coverageReport, error) {
	r, err := find()
	if errors.Is(err, store.ErrNotFound) {
		return coverageReport{}, fmt.Errorf("%s is not in the archive; run bigbrotr sync %s", text, text)
	}
	if err != nil {
		return coverageReport{}, err
	}
	report := coverageReport{URL: r.URL.String(), Filters: []filterCoverage{}}
	claims, holes, err := st.RelayCoverage(ctx, r.ID)
	if err != nil {
		return report, err
	}
	places := map[store.FilterID]int{}
	of := func(id store.FilterID) (*filterCoverage, error) {
		if _, ok := places[id]; !ok {
			f, err := st.Filter(ctx, id)
			if err != nil {
				return nil, err
			}
			places[id] = len(report.Filters)
			report.Filters = append(report.Filters, filterCoverage{
				Filter: string(f.AppendJSON(nil)), Coverage: []synchronizer.Covered{}, Holes: []synchronizer.Missing{},
			})
		}
		return &report.Filters[places[id]], nil
	}
	for _, c := range claims {
		f, err := of(c.Filter)
		if err != nil {
			return report, err
		}
		f.Coverage = append(f.Coverage, synchronizer.Covered{Lo: c.Lo, Hi: c.Hi, Level: c.Level, AsOf: c.AsOf})
	}
	for _, h := range holes {
		f, err := of(h.Filter)
		if err != nil {
			return report, err
		}
		f.Holes = append(f.Holes, synchronizer.Missing{Lo: h.Lo, Hi: h.Hi, Kind: h.Kind, Reason: h.Reason, Count: h.Count})
	}
	tail, err := st.Tail(ctx, r.ID)
	if err != nil {
		return report, err
	}
	if report.Tail, err = synchronizer.Tailed(ctx, st, tail, time.Now()); err != nil {
		return report, err
	}
	report.Cost, err = readCost(ctx, st, r.ID)
	return report, err
}

// readCost reads what a relay has cost.
func readCost(ctx context.Context, st store.Costs, id store.RelayID) (query.Cost, error) {
	sums, err := st.Costs(ctx, []store.RelayID{id})
	return query.NewCost(sums[id]), err
}

// short is a filter for a line: of many authors it tells the number.
func short(text string) string {
	f, err := nostr.ParseFilter([]byte(text))
	if err != nil || len(f.Authors) < 3 {
		return text
	}
	n := len(f.Authors)
	f.Authors = nil
	return fmt.Sprintf("%d authors, %s", n, f.AppendJSON(nil))
}

// barWidth is how many stretches of equal length the stripe of a filter shows.
const barWidth = 60

// stripe shows the time from the birth of Nostr until now: of each stretch the
// lowest level of proof, a dot where a part of it is not covered.
func stripe(covered []synchronizer.Covered, now int64) string {
	var out strings.Builder
	step := (now - nostrBirth) / barWidth
	for i := range int64(barWidth) {
		lo, hi := nostrBirth+i*step, nostrBirth+(i+1)*step-1
		level, next := store.LevelFingerprint, lo
		for _, c := range covered {
			if c.Hi < next || c.Lo > hi {
				continue
			}
			if c.Lo > next {
				break
			}
			level, next = min(level, c.Level), c.Hi+1
		}
		// What is younger than the last look is no gap.
		if next <= hi && i < barWidth-1 || next == lo {
			out.WriteByte('.')
			continue
		}
		fmt.Fprintf(&out, "%d", level)
	}
	return out.String()
}

func printCoverage(g *Globals, r coverageReport) error {
	w := tabwriter.NewWriter(g.terminal.out, 0, 0, 2, ' ', 0)
	now := time.Now().Unix()
	at := func(unix int64) string {
		switch {
		case unix <= 0:
			return "the beginning"
		case unix > now+10*365*86400:
			return "the end"
		}
		return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05")
	}
	fmt.Fprintf(w, "relay\t%s\n", r.URL)
	fmt.Fprintf(w, "levels\t1 walked, 2 asserted, 3 counted, 4 fingerprint-equal, . not covered; from %s until now\n", day(nostrBirth))
	if len(r.Filters) > 0 && !slices.ContainsFunc(r.Filters, func(f filterCoverage) bool { return f.Filter == "{}" && len(f.Coverage) > 0 }) {
		fmt.Fprintln(w, "whole\tnothing is claimed of the relay as a whole: what follows is of parts of it only")
	}
	for _, f := range r.Filters {
		fmt.Fprintf(w, "filter\t%s\n", short(f.Filter))
		fmt.Fprintf(w, "  time\t[%s]\n", stripe(f.Coverage, now))
		for i, c := range f.Coverage {
			if i > 0 && f.Coverage[i-1].Hi+1 < c.Lo {
				fmt.Fprintf(w, "  gap\t%s to %s\n", at(f.Coverage[i-1].Hi+1), at(c.Lo-1))
			}
			fmt.Fprintf(w, "  level %d\t%s to %s, as of %s\n", c.Level, at(c.Lo), at(c.Hi), at(c.AsOf))
		}
		for _, h := range f.Holes {
			fmt.Fprintf(w, "  hole\t%s to %s: %s", at(h.Lo), at(h.Hi), h.Reason)
			if h.Kind >= 0 {
				fmt.Fprintf(w, ", kind %d", h.Kind)
			}
			if h.Count >= 0 {
				fmt.Fprintf(w, ", %d events", h.Count)
			}
			fmt.Fprintln(w)
		}
	}
	if r.Tail.Stands {
		fmt.Fprintf(w, "tail\tstands since %s, last heard %s ago\n", at(r.Tail.Since), seconds(r.Tail.Lag))
	} else if r.Tail.Cause != "" {
		fmt.Fprintf(w, "tail\tdoes not stand: %s\n", r.Tail.Cause)
	} else {
		fmt.Fprintln(w, "tail\tdoes not stand")
	}
	for _, gap := range r.Tail.Gaps {
		until := "now"
		if gap.Until > 0 {
			until = at(gap.Until)
		}
		fmt.Fprintf(w, "arrivals\tmay have been missed from %s to %s, of events dated before %s: %s\n", at(gap.From), until, at(gap.Below), gap.Cause)
	}
	for _, m := range []struct {
		name string
		rate synchronizer.MissRate
	}{{"missed", r.Tail.Missed.Old}, {"missed live", r.Tail.Missed.Tail}} {
		if m.rate.Seen > 0 {
			fmt.Fprintf(w, "%s\t%s\n", m.name, missRate(m.rate))
		}
	}
	fmt.Fprintf(w, "cost\t%s\n", cost(r.Cost))
	return w.Flush()
}

// missRate is a share with its bounds.
func missRate(m synchronizer.MissRate) string {
	return fmt.Sprintf("%d of %d sampled events, %.2f %% (between %.2f and %.2f with 95 %% confidence)", m.Missed, m.Seen, 100*m.Rate, 100*m.Low, 100*m.High)
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/query"
)

type statusCmd struct{}

// Run prints the figures of the archive; it may run beside a writer.
func (*statusCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	st, err := app.ReadStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	stats, err := query.New(st).Stats(ctx)
	if err != nil {
		return err
	}
	tails, err := st.TailTotals(ctx, time.Now().Unix())
	if err != nil {
		return err
	}
	if g.JSON {
		return g.print(struct {
			query.Stats
			Tails tailStats `json:"tails"`
		}{stats, tailStats(tails)})
	}
	if err := printStats(g, cfg.StoreURL(), stats); err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.terminal.out, "tails       %d stand, %d of them proved; lag %s median, %s at most; %d arrival gaps of %d relays\n",
		tails.Standing, tails.Proved, seconds(tails.LagMedian), seconds(tails.LagMax), tails.Gaps, tails.GapRelays)
	return err
}

// tailStats are store.TailTotals as they are printed.
type tailStats struct {
	Standing  int64 `json:"standing"`
	Proved    int64 `json:"proved"`
	LagMedian int64 `json:"lag_median_seconds"`
	LagMax    int64 `json:"lag_max_seconds"`
	Gaps      int64 `json:"arrival_gaps"`
	GapRelays int64 `json:"arrival_gap_relays"`
}

func printStats(g *Globals, url string, s query.Stats) error {
	w := tabwriter.NewWriter(g.terminal.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "store\t%s, %s\n", url, config.Bytes(s.StoreBytes).Short())
	fmt.Fprintf(w, "relays\t%d, and %d candidates\n", s.Relays.Total, s.Candidates)
	for _, network := range slices.Sorted(maps.Keys(s.Relays.Each)) {
		states := s.Relays.Each[network]
		fmt.Fprintf(w, "  %s\t", network)
		for i, state := range slices.Sorted(maps.Keys(states)) {
			if i > 0 {
				fmt.Fprint(w, ", ")
			}
			fmt.Fprintf(w, "%d %s", states[state], state)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "events\t%d by about %d authors\n", s.Events, s.Authors)
	fmt.Fprintf(w, "sightings\t%d\n", s.Sightings)
	if s.Newest > 0 {
		fmt.Fprintf(w, "span\t%s to %s\n", day(s.Oldest), day(s.Newest))
	}
	for _, c := range s.Coverage {
		fmt.Fprintf(w, "coverage\tlevel %d on %d relays, %.1f years in all\n", c.Level, c.Relays, float64(c.Seconds)/(365.25*86400))
	}
	if s.Partly > 0 {
		fmt.Fprintf(w, "\tparts only, by lists of kinds or authors, of %d relays\n", s.Partly)
	}
	fmt.Fprintf(w, "holes\t%d, %d events known to be missing\n", s.Holes.Count, s.Holes.Events)
	fmt.Fprintf(w, "rejected\t%d\n", s.Rejected)
	if len(s.Coverage) > 0 || s.Partly > 0 {
		fmt.Fprintf(w, "lag\t%s median, %s at most\n", seconds(s.Lag.Median), seconds(s.Lag.Max))
	}
	fmt.Fprintf(w, "cost\t%s\n", cost(s.Cost))
	return w.Flush()
}

// cost tells what it took to read relays, and what that brought.
func cost(c query.Cost) string {
	if c.Since == 0 {
		return "nothing was read yet"
	}
	return fmt.Sprintf("%s, %s; %s in %d requests since %s", c.PerNew(), c.Skipped(), config.Bytes(c.Bytes).Short(), c.Requests, day(c.Since))
}

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateOnly) }

func seconds(n int64) string { return config.Duration(time.Duration(n) * time.Second).String() }

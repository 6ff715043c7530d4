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
	if g.JSON {
		return g.print(stats)
	}
	return printStats(g, cfg.StoreURL(), stats)
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
	fmt.Fprintf(w, "holes\t%d, %d events known to be missing\n", s.Holes.Count, s.Holes.Events)
	fmt.Fprintf(w, "rejected\t%d\n", s.Rejected)
	fmt.Fprintf(w, "lag\t%s median, %s at most\n", seconds(s.Lag.Median), seconds(s.Lag.Max))
	return w.Flush()
}

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateOnly) }

func seconds(n int64) string { return config.Duration(time.Duration(n) * time.Second).String() }

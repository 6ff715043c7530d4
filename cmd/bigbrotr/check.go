package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/monitor"
)

type checkCmd struct {
	URL string `arg:"" help:"The relay."`
}

// checkReport is the report of all probes.
type checkReport struct {
	URL     relay.URL     `json:"url"`
	Network relay.Network `json:"network"`
	At      int64         `json:"at"`
	State   store.State   `json:"state"`
	Causes  []dial.Cause  `json:"causes"`
	Checks  []probeReport `json:"checks"`
}

type probeReport struct {
	Probe    string             `json:"probe"`
	OK       bool               `json:"ok"`
	Cause    dial.Cause         `json:"cause,omitempty"`
	Detail   string             `json:"detail,omitempty"`
	Values   map[string]float64 `json:"values,omitempty"`
	Document json.RawMessage    `json:"document,omitempty"`
}

// Run checks the relay once. The exit code tells the state: up 0, degraded 3,
// everything else 1.
func (c *checkCmd) Run(ctx context.Context, g *Globals) error {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	url, err := parseURL(cfg, c.URL)
	if err != nil {
		return err
	}
	checker, err := app.NewMonitor(cfg, log)
	if err != nil {
		return err
	}
	report := checker.Check(ctx, store.Relay{URL: url, State: store.StateNew, PromotedAt: time.Now().Unix()}, true)
	if err := ctx.Err(); err != nil {
		return err
	}
	r := newCheckReport(report)
	if g.JSON {
		err = g.print(r)
	} else {
		err = printCheck(g, r)
	}
	switch {
	case err != nil:
		return err
	case r.State == store.StateUp:
		return nil
	case r.State == store.StateDegraded:
		return errPart
	}
	return errSaid
}

func newCheckReport(report monitor.Report) checkReport {
	r := checkReport{
		URL: report.Relay.URL, Network: report.Relay.URL.Network(), At: report.At, State: report.State, Causes: []dial.Cause{},
	}
	for _, check := range report.Checks {
		p := probeReport{Probe: check.Probe, OK: check.OK, Cause: check.Cause, Detail: check.Detail, Values: check.Values}
		if check.Document != nil {
			p.Document = check.Document.Data
		}
		if check.Cause != "" && !slices.Contains(r.Causes, check.Cause) {
			r.Causes = append(r.Causes, check.Cause)
		}
		r.Checks = append(r.Checks, p)
	}
	return r
}

func printCheck(g *Globals, r checkReport) error {
	w := tabwriter.NewWriter(g.terminal.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\t%s\t%s\n", r.URL, r.Network, r.State)
	for _, p := range r.Checks {
		verdict := "ok"
		if !p.OK {
			verdict = string(p.Cause)
		}
		fmt.Fprintf(w, "%s\t%s\t", p.Probe, verdict)
		for i, name := range slices.Sorted(maps.Keys(p.Values)) {
			if i > 0 {
				fmt.Fprint(w, ", ")
			}
			if value := p.Values[name]; p.Probe == "retention" {
				fmt.Fprintf(w, "%s %s", name, dateOf(int64(value)))
			} else {
				fmt.Fprintf(w, "%s %.4g", name, value)
			}
		}
		if p.Detail != "" {
			// Remote text is quoted: it must not steer the terminal.
			fmt.Fprintf(w, " %q", p.Detail)
		}
		fmt.Fprintln(w)
		for _, line := range findings(p.Probe, p.Document) {
			fmt.Fprintf(w, "\t\t%s\n", line)
		}
	}
	return w.Flush()
}

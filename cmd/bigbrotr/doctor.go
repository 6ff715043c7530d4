package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/store"
)

type doctorCmd struct{}

// Run looks at everything that an installation needs and changes nothing. It
// fails when something does not work.
func (*doctorCmd) Run(ctx context.Context, g *Globals) error {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	found := app.Examine(ctx, cfg, log)
	bad := 0
	for _, f := range found {
		if f.Grade == store.GradeBad {
			bad++
		}
	}
	if g.JSON {
		for _, f := range found {
			if err := g.print(f); err != nil {
				return err
			}
		}
	} else if err := printFindings(g, found); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d things looked at do not work", bad, len(found))
	}
	return nil
}

func printFindings(g *Globals, found store.Findings) error {
	w := tabwriter.NewWriter(g.terminal.out, 0, 0, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Grade, f.Subject, f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", f.Remedy)
		}
	}
	return w.Flush()
}

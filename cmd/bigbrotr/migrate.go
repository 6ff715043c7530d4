package main

import (
	"context"
	"fmt"
	"strings"

	"bigbrotr/internal/app"
)

type migrateCmd struct {
	DryRun bool `help:"Print the steps that would run, and change nothing."`
}

// Run brings the schema to this version; running it again changes nothing.
func (m *migrateCmd) Run(ctx context.Context, g *Globals) error {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	steps, err := app.Migrate(ctx, cfg, m.DryRun, log)
	if err != nil {
		return err
	}
	if g.JSON {
		return g.print(map[string]any{"store": cfg.StoreURL(), "steps": append([]string{}, steps...), "dry_run": m.DryRun})
	}
	text := "The schema is that of this version."
	switch {
	case len(steps) > 0 && m.DryRun:
		text = "Would run: " + strings.Join(steps, ", ")
	case len(steps) > 0:
		text = "Ran: " + strings.Join(steps, ", ")
	}
	_, err = fmt.Fprintln(g.terminal.out, text)
	return err
}

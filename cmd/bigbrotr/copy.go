package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/archive"
)

type copyCmd struct {
	From string `required:"" placeholder:"URL" help:"The archive to copy: sqlite:FILE or postgres://USER@HOST:PORT/DATABASE."`
	To   string `required:"" placeholder:"URL" help:"An empty database, or one with an unfinished copy of the same archive."`
}

// tell is how often a copy says how far it is.
const tell = time.Second

// Run copies an archive and compares both. Passwords of PostgreSQL are read from
// PGPASSWORD or a password file (~/.pgpass).
func (c *copyCmd) Run(ctx context.Context, g *Globals) error {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	last := time.Now()
	compared, err := app.Copy(ctx, cfg, c.From, c.To, log, func(p archive.Progress) {
		if time.Since(last) < tell {
			return
		}
		last = time.Now()
		verb := "copied"
		if p.Check {
			verb = "compared"
		}
		fmt.Fprintf(g.terminal.err, "%s: %d rows %s\n", p.Table, p.Rows, verb)
	})
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errStopped
	}
	if g.JSON {
		for _, t := range compared {
			if err := g.print(t); err != nil {
				return err
			}
		}
		return err
	}
	if err == nil {
		w := tabwriter.NewWriter(g.terminal.out, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, t := range compared {
			fmt.Fprintf(w, "%d\t %s\t\n", t.Target.Rows, t.Table)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		_, err = fmt.Fprintln(g.terminal.out, "Copied, and the same by counts and checksums.")
	}
	return err
}

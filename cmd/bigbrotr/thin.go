package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
)

type thinCmd struct {
	DryRun bool `help:"Say what would be dropped, and change nothing."`
}

// Help is what bigbrotr thin --help says besides.
func (*thinCmd) Help() string {
	return `Set store.keep to index first: from then on the archive keeps ids, authors, times,
kinds and hashes of tags, and whole only the kinds of store.keep_full_kinds. What is
dropped cannot come back. Run again after an interruption it goes on where it was.

SQLite copies what is left into a temporary file to give the space back; no other
process may write meanwhile. PostgreSQL rewrites one partition after the other, each
under a lock that keeps every process from it, and needs as much free disk as is left
of the largest; only the owner of the schema can do it.`
}

// Run makes an index of a full archive.
func (c *thinCmd) Run(ctx context.Context, g *Globals) error {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	var last time.Time
	done, err := app.Thin(ctx, cfg, c.DryRun, log, func(at, all int64) {
		if time.Since(last) < tell || all == 0 {
			return
		}
		last = time.Now()
		if at < all {
			fmt.Fprintf(g.terminal.err, "%d %% of the events are looked at\n", 100*at/all)
		} else {
			fmt.Fprintln(g.terminal.err, "every event is looked at; giving the space back")
		}
	})
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errStopped
	}
	if err != nil {
		return err
	}
	if g.JSON {
		return g.print(done)
	}
	size := func(n int64) string { return config.Bytes(n).Short() }
	if c.DryRun {
		_, err = fmt.Fprintf(g.terminal.out, "Would keep %d events whole, and drop tags, content and signature of %d for good.\nThe database has %s.\n",
			done.Whole, done.Index, size(done.Before))
	} else {
		_, err = fmt.Fprintf(g.terminal.out, "An index now: %d events are kept whole, %d without tags, content and signature.\nThe database had %s and has %s.\n",
			done.Whole, done.Index, size(done.Before), size(done.After))
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
)

type backupCmd struct {
	File string `arg:"" help:"The file to write. It must not exist."`
}

// Help is what bigbrotr backup --help says besides.
func (*backupCmd) Help() string {
	return `The copy is of one moment, checked, and complete once it has its name; services may
go on writing meanwhile. It is a database itself: --store sqlite:FILE reads it.`
}

// copied is what backup and restore print.
type copied struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

// Run backs up the archive.
func (c *backupCmd) Run(ctx context.Context, g *Globals) error {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	b := g.bytesBar("backup", 0)
	size, err := app.Backup(ctx, cfg, c.File, log, b.of)
	b.done()
	return g.copied("Backed up", c.File, size, whole(ctx, err))
}

type restoreCmd struct {
	File string `arg:"" help:"A file that bigbrotr backup wrote."`
}

// Help is what bigbrotr restore --help says besides.
func (*restoreCmd) Help() string {
	return `The archive named by --store or --data must not exist yet. Whoever follows it by a
cursor (exports, streams) is told to begin anew: what came after the backup is gone.`
}

// Run makes an archive of a backup.
func (c *restoreCmd) Run(ctx context.Context, g *Globals) error {
	cfg, _, err := g.once()
	if err != nil {
		return err
	}
	b := g.bytesBar("restore", 0)
	size, err := app.Restore(ctx, cfg, c.File, b.of)
	b.done()
	return g.copied("Restored", c.File, size, whole(ctx, err))
}

func (g *Globals) copied(did, file string, size int64, err error) error {
	if err != nil {
		return err
	}
	if g.JSON {
		return g.print(copied{file, size})
	}
	_, err = fmt.Fprintf(g.terminal.out, "%s %s, %s.\n", did, file, config.Bytes(size).Short())
	return err
}

type compactCmd struct{}

// Help is what bigbrotr compact --help says besides.
func (*compactCmd) Help() string {
	return `For an archive in a file, after much was deleted. No other process may write meanwhile;
so much space again is needed for temporary files (SQLITE_TMPDIR) and beside the file.`
}

// Run gives unused space back.
func (*compactCmd) Run(ctx context.Context, g *Globals) error {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	done, err := app.Compact(ctx, cfg, log)
	switch {
	case err != nil:
		return err
	case g.JSON:
		return g.print(done)
	}
	_, err = fmt.Fprintf(g.terminal.out, "The file had %s and has %s.\n", config.Bytes(done.Before).Short(), config.Bytes(done.After).Short())
	return err
}

// whole says of a file that was not finished because somebody stopped it that
// there is none: a script must not take that for success.
func whole(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("stopped before the end; no file was written")
	}
	return err
}

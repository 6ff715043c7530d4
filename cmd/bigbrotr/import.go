package main

import (
	"context"
	"fmt"
	"os"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/archive"
)

type importCmd struct {
	Files []string `arg:"" help:"Files with one event a line, also compressed with zstd; - for standard input."`
}

// fileReject is a line that was not stored.
type fileReject struct {
	File string `json:"file"`
	archive.Reject
}

// maxRejects bounds the rejects that one import lists; all are counted.
const maxRejects = 100_000

// Run imports the files one after another. Lines that are rejected make the
// exit code say so; running it again changes nothing.
func (c *importCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	st, err := app.OpenStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	intake := archive.NewIntake(st, nil)
	var total archive.Imported
	rejects := []fileReject{}
	for _, name := range c.Files {
		done, err := importFile(ctx, g, name, intake, st, func(r archive.Reject) {
			if len(rejects) < maxRejects {
				rejects = append(rejects, fileReject{name, r})
			}
		})
		total.Read += done.Read
		total.Stored += done.Stored
		total.Known += done.Known
		total.Rejected += done.Rejected
		if ctx.Err() != nil {
			return fmt.Errorf("import %s: %d events of it are stored: %w", name, done.Stored, errStopped)
		}
		if err != nil {
			return app.Explain(cfg, fmt.Errorf("import %s: %w; %d events of it are stored, run it again to go on", name, err, done.Stored))
		}
	}
	if err := app.Refresh(ctx, cfg, st, log); err != nil {
		return err
	}
	if g.JSON {
		err = g.print(struct {
			archive.Imported
			Rejects []fileReject `json:"rejects"`
		}{total, rejects})
	} else {
		for _, r := range rejects {
			fmt.Fprintf(g.terminal.err, "%s:%d: %s\n", r.File, r.Line, archive.Explain(r.Reason))
		}
		_, err = fmt.Fprintf(g.terminal.out, "%d read: %d stored, %d known, %d rejected\n", total.Read, total.Stored, total.Known, total.Rejected)
	}
	if err == nil && total.Rejected > 0 {
		err = errPart
	}
	return err
}

func importFile(ctx context.Context, g *Globals, name string, intake *archive.Intake, st archive.Importer, rejected func(archive.Reject)) (_ archive.Imported, err error) {
	r, size := g.terminal.in, int64(0)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return archive.Imported{}, err
		}
		defer closing(f, &err)
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		r = f
	}
	bar := g.bytesBar(name, size)
	defer bar.done()
	return archive.Import(ctx, r, intake, st, rejected, bar.set)
}

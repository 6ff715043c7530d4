package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/nostr"
)

type exportCmd struct {
	File   string `arg:"" optional:"" help:"The file to write, compressed when it ends in .zst; standard output when not given."`
	Filter string `placeholder:"JSON" help:"A NIP-01 filter."`
}

// Run exports what the filter selects. A file appears under its name only when
// it is whole.
func (c *exportCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	var filter nostr.Filter
	if c.Filter != "" {
		if filter, err = nostr.ParseFilter([]byte(c.Filter)); err != nil {
			return usageError{fmt.Errorf("--filter: %w", err)}
		}
	}
	st, err := app.ReadStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	bar := g.countBar("exported")
	defer bar.done()
	export := func(w io.Writer) (int, error) {
		return archive.Export(ctx, w, st, filter, func(n int) { bar.set(int64(n)) })
	}
	if c.File == "" || c.File == "-" {
		_, err := export(g.terminal.out)
		return err
	}
	n, err := writeFile(c.File, export)
	if err != nil {
		return fmt.Errorf("export to %s: %w", c.File, err)
	}
	if g.JSON {
		return g.print(map[string]any{"file": c.File, "exported": n})
	}
	_, err = fmt.Fprintf(g.terminal.out, "%d events exported to %s\n", n, c.File)
	return err
}

// writeFile writes a file beside its place and moves it there when it is whole.
func writeFile(name string, export func(io.Writer) (int, error)) (n int, err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if strings.HasSuffix(name, ".zst") {
		z, err := archive.Compress(f)
		if err != nil {
			return 0, err
		}
		if n, err = export(z); err != nil {
			return n, err
		}
		if err := z.Close(); err != nil {
			return n, err
		}
	} else if n, err = export(f); err != nil {
		return n, err
	}
	if err := f.Chmod(0o644); err != nil {
		return n, err
	}
	if err := f.Sync(); err != nil {
		return n, err
	}
	if err := f.Close(); err != nil {
		return n, err
	}
	return n, os.Rename(f.Name(), name)
}

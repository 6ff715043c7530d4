package main

import (
	"errors"
	"fmt"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
)

type configCmd struct {
	Show   configShowCmd   `cmd:"" help:"Show every key with its value and where it comes from."`
	Check  configCheckCmd  `cmd:"" help:"Check the configuration and report every problem."`
	Schema configSchemaCmd `cmd:"" help:"Print the JSON Schema of the configuration file."`
}

type configShowCmd struct{}

// Run prints the configuration in effect; secrets are dots.
func (*configShowCmd) Run(g *Globals) error {
	cfg, origins, err := g.load()
	if err != nil {
		return err
	}
	if g.JSON {
		return g.print(config.Values(&cfg))
	}
	_, err = g.terminal.out.Write(config.Show(&cfg, origins))
	return err
}

type configCheckCmd struct {
	File string `arg:"" optional:"" help:"The file to check, instead of --config."`
}

// Run reports every problem, one a line.
func (c *configCheckCmd) Run(g *Globals) error {
	if c.File != "" {
		g.File = c.File
	}
	_, _, err := g.load()
	if !g.JSON {
		if err == nil {
			_, err = fmt.Fprintln(g.terminal.out, "The configuration is good.")
		}
		return err
	}
	problems := []string{}
	if list, ok := errors.AsType[config.Problems](err); ok {
		for _, p := range list {
			problems = append(problems, p.String())
		}
	} else if err != nil {
		return err
	}
	if err := g.print(map[string]any{"ok": len(problems) == 0, "problems": problems}); err != nil {
		return err
	}
	if len(problems) > 0 {
		return errSaid
	}
	return nil
}

type configSchemaCmd struct{}

// Run prints the schema, which editors can check a file against.
func (*configSchemaCmd) Run(g *Globals) error {
	_, err := g.terminal.out.Write(app.ConfigSchema())
	return err
}

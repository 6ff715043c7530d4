package main

import (
	"errors"
	"fmt"

	"bigbrotr/internal/core/relay"
)

type urlCmd struct {
	Text string `arg:"" help:"The text to read, after -- if it may begin with a dash."`
}

// Run is strict whatever the configuration says, except for --allow-local.
func (c *urlCmd) Run(g *Globals) error {
	url, err := relay.Rules{AllowLocal: g.AllowLocal}.Parse(c.Text)
	if err != nil {
		refused, ok := errors.AsType[*relay.Error](err)
		if !g.JSON || !ok {
			return err
		}
		if err := g.print(map[string]any{"error": refused.Cause}); err != nil {
			return err
		}
		return errSaid
	}
	if g.JSON {
		return g.print(map[string]any{"url": url, "network": url.Network()})
	}
	fmt.Fprintf(g.terminal.out, "%s\t%s\n", url, url.Network())
	return nil
}

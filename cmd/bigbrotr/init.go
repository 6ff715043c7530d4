package main

import (
	"context"
	"fmt"

	"bigbrotr/internal/app"
)

type initCmd struct{}

// Run prepares the store; running it again changes nothing.
func (*initCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	st, err := app.OpenStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	if err := app.Init(ctx, cfg, st, log); err != nil {
		return err
	}
	if g.JSON {
		return g.print(map[string]any{"store": cfg.StoreURL()})
	}
	_, err = fmt.Fprintf(g.terminal.out, "The store is ready: %s\n", cfg.StoreURL())
	return err
}

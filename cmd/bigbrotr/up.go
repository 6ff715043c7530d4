package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
)

type upCmd struct {
	Listen string `placeholder:"ADDRESS" help:"Where pages are served, 127.0.0.1:8080 by default."`
}

// Run runs every service in this process.
func (c *upCmd) Run(ctx context.Context, g *Globals) error {
	return serve(ctx, g, app.Services(), c.Listen)
}

type runCmd struct {
	Services []string `arg:"" help:"The services: initializer, finder, validator, monitor, synchronizer, refresher, api, dvm."`
	Listen   string   `placeholder:"ADDRESS" help:"Where the api serves pages, 127.0.0.1:8080 by default."`
}

// Run runs the named services in this process.
func (c *runCmd) Run(ctx context.Context, g *Globals) error {
	return serve(ctx, g, c.Services, c.Listen)
}

// serve builds and runs services until ctx ends.
func serve(ctx context.Context, g *Globals, names []string, listen string) error {
	cfg, _, err := g.load(listenFlag(listen)...)
	if err != nil {
		return err
	}
	log := g.logger(cfg)
	a, err := app.Build(ctx, cfg, names, log)
	if _, unknown := errors.AsType[*app.UnknownServiceError](err); unknown {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	if err := g.announce(cfg, a, log); err != nil {
		return errors.Join(err, a.Close())
	}
	return a.RunAndClose(ctx)
}

func listenFlag(listen string) []config.Flag {
	if listen == "" {
		return nil
	}
	return []config.Flag{{Name: "--listen", Path: "api.listen", Value: listen}}
}

// announce says where to look.
func (g *Globals) announce(cfg app.Config, a *app.App, log *slog.Logger) error {
	pages := ""
	if a.Addr() != nil {
		pages = "http://" + a.Addr().String() + "/"
	}
	if g.JSON {
		return g.print(map[string]any{"store": cfg.StoreURL(), "pages": pages})
	}
	log.Info("running", "store", cfg.StoreURL())
	if pages != "" {
		_, err := fmt.Fprintf(g.terminal.out, "BigBrotr is running. Pages: %s  Stop: Ctrl-C\n", pages)
		return err
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/store"
)

type demoCmd struct {
	Listen string `placeholder:"ADDRESS" help:"Where pages are served, 127.0.0.1:8080 by default; a free port with --json."`
	Seed   uint64 `default:"1" help:"Which network is simulated."`
}

const (
	// demoLook is how often the archive is compared with the truth.
	demoLook = time.Second
	// demoLimit is when a demo that is not complete ends all the same.
	demoLimit = 3 * time.Minute
)

// demoResult is the comparison of archive and truth.
type demoResult struct {
	Relays      int                 `json:"relays"`
	Visible     int                 `json:"visible"`
	Archived    int                 `json:"archived"`
	Holes       int                 `json:"holes"`
	Missing     int                 `json:"missing"`
	FalseClaims int                 `json:"false_claims"`
	Levels      map[store.Level]int `json:"levels"` // relays of which something is proved, by level
}

// Run runs everything against a simulated network until the archive is
// complete, then stays for looking unless JSON is asked for.
func (c *demoCmd) Run(ctx context.Context, g *Globals) (err error) {
	if c.Listen == "" && g.JSON {
		c.Listen = "127.0.0.1:0"
	}
	cfg, _, err := g.load(listenFlag(c.Listen)...)
	if err != nil {
		return err
	}
	log := g.logger(cfg)
	demo, err := app.NewDemo(ctx, cfg, c.Seed, log)
	if err != nil {
		return err
	}
	defer closing(demo, &err)
	if !g.JSON {
		fmt.Fprintf(g.terminal.out, "A simulated network is archived. Pages: http://%s/\n", demo.App().Addr())
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- demo.App().RunAndClose(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	begin := time.Now()
	result, err := c.watch(running, demo)
	if ctx.Err() != nil && !g.JSON {
		return nil // whoever looked at it has seen enough
	}
	if err != nil {
		return err
	}
	r := demoResult{result.Relays, result.Visible, result.Archived, result.Holes, result.Missing, result.FalseClaims, result.Levels}
	if g.JSON {
		err = g.print(r)
	} else {
		_, err = fmt.Fprintf(g.terminal.out, "%d relays, %d visible events, %d archived, %d holes, %d missing, after %s\nStop: Ctrl-C\n",
			r.Relays, r.Visible, r.Archived, r.Holes, r.Missing, time.Since(begin).Round(time.Second/10))
	}
	if err != nil {
		return err
	}
	if !g.JSON {
		<-ctx.Done()
	}
	if !demo.Complete(result) {
		return errSaid
	}
	return nil
}

// watch compares until the archive is complete or the time is over.
func (c *demoCmd) watch(ctx context.Context, demo *app.Demo) (app.DemoResult, error) {
	limit := time.After(demoLimit)
	look := time.NewTicker(demoLook)
	defer look.Stop()
	for {
		result, err := demo.Compare(ctx)
		if err != nil || demo.Complete(result) {
			return result, err
		}
		select {
		case <-look.C:
		case <-limit:
			return result, nil
		case <-ctx.Done():
			return result, ctx.Err()
		}
	}
}

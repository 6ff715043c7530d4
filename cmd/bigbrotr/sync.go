package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sync/errgroup"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
)

type syncCmd struct {
	URLs []string `arg:"" name:"url" help:"The relays."`
}

// Run archives the named relays side by side, each to the end. A relay that
// cannot be read to the end makes the exit code say so; what came until then is
// kept.
func (c *syncCmd) Run(ctx context.Context, g *Globals) (err error) {
	cfg, log, err := g.once()
	if err != nil {
		return err
	}
	urls := make([]relay.URL, len(c.URLs))
	for i, text := range c.URLs {
		if urls[i], err = parseURL(cfg, text); err != nil {
			return err
		}
	}
	st, err := app.OpenStore(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	relays, err := st.AddRelays(ctx, urls, time.Now().Unix())
	if err != nil {
		return err
	}
	syncer := app.NewSynchronizer(ctx, cfg, st, log)
	bars := g.progress()
	var (
		mu   sync.Mutex
		part bool
	)
	runner := service.NewRunner(cfg.Stop.Grace.Std(), log)
	runner.Add("sync", service.Func(func(working context.Context) error {
		var group errgroup.Group
		group.SetLimit(cfg.Synchronizer.Parallel)
		for _, r := range relays {
			group.Go(func() error {
				bar := newSyncBar(bars, r.URL)
				report, err := syncer.Sync(working, r, bar.set)
				bar.done()
				if err != nil {
					return err
				}
				// Also when we are being stopped.
				altogether, err := readCost(context.WithoutCancel(working), st, r.ID)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				part = part || report.Cause != ""
				if g.JSON {
					return g.print(syncReport{report, altogether})
				}
				return printSync(g, report, ctx.Err() != nil)
			})
		}
		return group.Wait()
	}))
	err = runner.Run(ctx)
	bars.Wait()
	if err == nil && ctx.Err() == nil {
		err = app.Refresh(ctx, cfg, st, log)
	}
	switch {
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		return errStopped
	case err != nil:
		return app.Explain(cfg, err)
	case part:
		return errPart
	}
	return nil
}

// syncReport is what a visit of a relay brought, and what the relay has cost with
// all visits before.
type syncReport struct {
	synchronizer.Report
	Cost query.Cost `json:"cost"`
}

func printSync(g *Globals, r synchronizer.Report, stopped bool) error {
	var years [store.LevelFingerprint + 1]float64
	for _, c := range r.Coverage {
		if c.Level >= 0 && int(c.Level) < len(years) {
			years[c.Level] += float64(c.Hi-c.Lo+1) / (365.25 * 86400)
		}
	}
	covered := "nothing"
	for level := len(years) - 1; level > 0; level-- {
		if years[level] == 0 {
			continue
		}
		part := fmt.Sprintf("%.1f years at level %d", years[level], level)
		if covered == "nothing" {
			covered = part
		} else {
			covered += " and " + part
		}
	}
	if r.Authors > 0 {
		covered += fmt.Sprintf(", by lists of %d authors,", r.Authors)
	}
	outcome := "complete"
	if stopped {
		outcome = "stopped"
	}
	if r.Cause != "" {
		outcome = "ended early: " + string(r.Cause)
	}
	var named strings.Builder
	for _, n := range []struct {
		count int64
		what  string
	}{{r.Claimed, "claimed"}, {r.Withheld, "withheld"}, {r.Gone, "gone"}} {
		if n.count > 0 {
			fmt.Fprintf(&named, ", %d %s", n.count, n.what)
		}
	}
	spent := query.NewCost(store.CostSum{Cost: r.Cost()})
	_, err := fmt.Fprintf(g.terminal.out, "%s: %s; %d new, %d known%s, %d requests, %s; %s, %s; %s covered in %d stretches, %d holes\n",
		r.URL, outcome, r.New, r.Known, named.String(), r.Requests, config.Bytes(r.BytesReceived+r.BytesSent).Short(),
		spent.PerNew(), spent.Skipped(), covered, len(r.Coverage), len(r.Holes))
	return err
}

// syncBar shows how far down in time the walk of a relay has come, between now
// and the birth of Nostr.
type syncBar struct {
	bar  *mpb.Bar
	mu   sync.Mutex
	last synchronizer.Progress
}

// nostrBirth is when the first events were made, in Unix seconds.
const nostrBirth = 1604188800

func newSyncBar(bars *mpb.Progress, url relay.URL) *syncBar {
	b := &syncBar{}
	b.bar = bars.AddBar(time.Now().Unix()-nostrBirth,
		mpb.PrependDecorators(decor.Name(url.String(), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			spent := query.NewCost(store.CostSum{Cost: store.Cost{Requests: b.last.Requests, Bytes: b.last.Bytes, New: b.last.New}})
			return fmt.Sprintf("%d new, %d known, %d requests, %s, %s",
				b.last.New, b.last.Known, b.last.Requests, config.Bytes(b.last.Bytes).Short(), spent.PerNew())
		})),
	)
	return b
}

func (b *syncBar) set(p synchronizer.Progress) {
	b.mu.Lock()
	b.last = p
	b.mu.Unlock()
	b.bar.SetCurrent(time.Now().Unix() - max(p.Oldest, nostrBirth))
}

func (b *syncBar) done() { b.bar.SetTotal(-1, true) }

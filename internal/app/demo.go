package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

// The size of the simulated network of a demo.
const (
	demoRelays = 12
	demoEvents = 4000
)

// Demo is every service at work on a simulated network.
type Demo struct {
	network *simnet.Network
	app     *App
	folder  string // to be removed; empty when the store is the user's
}

// NewDemo starts the network and builds every service against it. Without a
// configured store the archive is made anew and removed by Close.
func NewDemo(ctx context.Context, cfg Config, seed uint64, log *slog.Logger) (_ *Demo, err error) {
	d := &Demo{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.network, err = simnet.Demo(seed, demoRelays, demoEvents, time.Now()); err != nil {
		return nil, err
	}
	if d.folder, err = os.MkdirTemp("", "bigbrotr-demo-"); err != nil {
		return nil, err
	}
	if cfg.Data == "" {
		cfg.Data = d.folder
	}
	var seeds strings.Builder
	for _, url := range d.network.URLs() {
		fmt.Fprintln(&seeds, url)
	}
	cfg.Initializer.Seeds = filepath.Join(d.folder, "seeds.txt")
	if err = os.WriteFile(cfg.Initializer.Seeds, []byte(seeds.String()), 0o600); err != nil {
		return nil, err
	}
	cfg.Dial.AllowLocal = true
	// Whoever watches a demo does not want to wait for what takes its time in
	// the real network.
	second := config.Duration(time.Second)
	cfg.Finder.Interval, cfg.Validator.Interval, cfg.Monitor.Interval = second, second, second
	cfg.Synchronizer.Interval, cfg.Refresher.Interval = second, second
	cfg.Synchronizer.Every = 5 * second
	cfg.Validator.Retry, cfg.Monitor.Retry, cfg.Synchronizer.Retry = second, second, second
	d.app, err = Build(ctx, cfg, Services(), log)
	return d, err
}

// App is what runs.
func (d *Demo) App() *App { return d.app }

// Close ends the network and removes what the demo made.
func (d *Demo) Close() error {
	if d.network != nil {
		d.network.Close()
	}
	if d.folder == "" {
		return nil
	}
	return os.RemoveAll(d.folder)
}

// DemoResult compares the archive of a demo with the truth of its network.
type DemoResult struct {
	simnet.Result
	Levels map[store.Level]int // relays of which something is proved at a level
}

// Compare holds the archive against the truth of the network.
func (d *Demo) Compare(ctx context.Context) (DemoResult, error) {
	accounts, err := Accounts(ctx, d.app.Store(), d.network.URLs())
	if err != nil {
		return DemoResult{}, fmt.Errorf("read the archive: %w", err)
	}
	r := DemoResult{d.network.Compare(accounts), map[store.Level]int{}}
	for _, a := range accounts {
		levels := map[store.Level]bool{}
		for _, c := range a.Claims {
			levels[c.Level] = true
		}
		for level := range levels {
			r.Levels[level]++
		}
	}
	return r, nil
}

// Complete tells whether a comparison shows that all is done: every relay of
// the network that answers is known, nothing is missing, and each level of proof
// is to be seen.
func (d *Demo) Complete(r DemoResult) bool {
	for level := store.LevelWalked; level <= store.LevelFingerprint; level++ {
		if r.Levels[level] == 0 {
			return false
		}
	}
	return r.Relays == len(d.network.Relays()) && r.OK()
}

// Accounts reads what an archive says about relays, for comparison with the
// truth. Relays it does not know are left out.
func Accounts(ctx context.Context, st store.Store, urls []relay.URL) ([]simnet.Account, error) {
	carried := map[relay.URL]map[nostr.ID]bool{}
	for scanned, err := range st.ScanEvents(ctx, "", nostr.Filter{}) {
		if err != nil {
			return nil, err
		}
		relays, err := st.EventRelays(ctx, scanned.Event.ID)
		if err != nil {
			return nil, err
		}
		for _, r := range relays {
			if carried[r.URL] == nil {
				carried[r.URL] = map[nostr.ID]bool{}
			}
			carried[r.URL][scanned.Event.ID] = true
		}
	}
	var accounts []simnet.Account
	for _, url := range urls {
		r, err := st.Relay(ctx, url)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		account := simnet.Account{
			Relay: url, Filters: map[store.FilterID]nostr.Filter{}, Authenticates: true,
			Held: func(id nostr.ID) bool { return carried[url][id] },
		}
		if account.Claims, account.Holes, err = st.RelayCoverage(ctx, r.ID); err != nil {
			return nil, err
		}
		named := map[store.FilterID]bool{}
		for _, c := range account.Claims {
			named[c.Filter] = true
		}
		for _, h := range account.Holes {
			named[h.Filter] = true
		}
		for id := range named {
			if account.Filters[id], err = st.Filter(ctx, id); err != nil {
				return nil, err
			}
		}
		accounts = append(accounts, account)
	}
	return accounts, nil
}

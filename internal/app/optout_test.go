package app_test

import (
	"context"
	"os"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

// TestOptOut runs all services over a network of which one relay opted out in
// the configuration, though it is named by the seeds, by an event and by a list:
// nobody connects to it. Taken off the list it is in the set again.
func TestOptOut(t *testing.T) {
	network := simnet.New(81)
	t.Cleanup(network.Close)
	out, err := network.AddRelay(simnet.Behaviour{})
	must(t, err)
	in, err := network.AddRelay(simnet.Behaviour{})
	must(t, err)
	key := nostr.GenerateKey()
	e := nostr.Event{Kind: 10002, CreatedAt: time.Now().Unix() - 5000, Tags: []nostr.Tag{{"r", out.URL().String()}, {"r", out.URL().String() + "/path"}}}
	must(t, key.Sign(&e))
	in.Add(simnet.NewEvent(&e))

	cfg := newConfig(t)
	must(t, os.WriteFile(cfg.Initializer.Seeds, []byte(out.URL().String()+"\n"+in.URL().String()+"\n"), 0o600))
	cfg.Dial.AllowLocal = true
	cfg.Initializer.OptOut = []string{out.URL().Hostname(), out.URL().String()}
	if out.URL().Hostname() == in.URL().Hostname() {
		cfg.Initializer.OptOut = []string{out.URL().String(), out.URL().String() + "/path"}
	}
	often := config.Duration(100 * time.Millisecond)
	cfg.Finder.Interval, cfg.Validator.Interval, cfg.Monitor.Interval, cfg.Synchronizer.Interval = often, often, often, often
	all := []string{"initializer", "finder", "validator", "monitor", "synchronizer"}
	a, stop := start(t, cfg, all...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // should it never come
	defer cancel()
	wait := func(what string, done func() bool) {
		t.Helper()
		for !done() {
			select {
			case <-ctx.Done():
				t.Fatal("no end of waiting: " + what)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	read := func() bool {
		r, err := a.Store().Relay(t.Context(), in.URL())
		page, _, readErr := a.Store().Events(t.Context(), store.EventQuery{Filter: nostr.Filter{IDs: []nostr.ID{e.ID}}, Limit: 1})
		position, posErr := a.Store().Position(t.Context(), "finder")
		return err == nil && r.State == store.StateUp && readErr == nil && len(page) == 1 && posErr == nil && position != ""
	}
	wait("the other relay is checked and read, and what it names is found", read)
	must(t, stop())
	if n := out.Stats().Connections; n != 0 {
		t.Errorf("%d connections to who opted out", n)
	}

	cfg.Initializer.OptOut = nil
	a, stop = start(t, cfg, all...)
	wait("the relay is in the set", func() bool { return out.Stats().Sessions > 0 })
	must(t, stop())
}

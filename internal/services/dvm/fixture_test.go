package dvm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api"
	"bigbrotr/internal/services/dvm"
	"bigbrotr/internal/simnet"
)

const (
	base   int64 = 1_700_000_000 // 2023-11-14
	secret       = "7f7ff03d123792d6ac594bfa67bf6d0c0ab55b6b1fdb6249303fe861f1ccba9a"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fixture is an archive of ten notes, two relays and whoever takes jobs.
type fixture struct {
	t        *testing.T
	db       *sqlite.DB
	rest     http.Handler
	key      nostr.SecretKey // of the service
	customer nostr.SecretKey
	ours     *simnet.Relay // configured
	theirs   *simnet.Relay // that requests may name
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, customer: nostr.GenerateKey()}
	var err error
	f.key, err = nip19.ParseSecret(secret)
	must(t, err)
	f.db, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, f.db.Close()) })
	_, err = f.db.Migrate(t.Context())
	must(t, err)
	var notes []nostr.Event
	for i := range 10 {
		e := nostr.Event{Kind: 1, CreatedAt: base + int64(i), Content: fmt.Sprint("note ", i)}
		must(t, f.customer.Sign(&e))
		notes = append(notes, e)
	}
	_, err = f.db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: notes})
	must(t, err)
	f.rest = api.New(api.DefaultConfig(), f.db, api.Process{Version: "v0-test"}, slog.New(slog.DiscardHandler)).Questions()
	network := simnet.New(61)
	t.Cleanup(network.Close)
	for _, r := range []**simnet.Relay{&f.ours, &f.theirs} {
		*r, err = network.AddRelay(simnet.Behaviour{})
		must(t, err)
	}
	return f
}

// config is what a file with these keys gives.
func (f *fixture) config(keys map[string]any) dvm.Config {
	f.t.Helper()
	file := filepath.Join(f.t.TempDir(), "key")
	must(f.t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	all := map[string]any{"key": "file:" + file, "relays": []string{f.ours.URL().String()}}
	maps.Copy(all, keys)
	text, err := json.Marshal(all)
	must(f.t, err)
	yaml := filepath.Join(f.t.TempDir(), "dvm.yaml")
	must(f.t, os.WriteFile(yaml, text, 0o600))
	cfg := dvm.DefaultConfig()
	_, err = config.Load(&cfg, config.Sources{File: yaml})
	must(f.t, err)
	return cfg
}

// start runs a service and returns what stops it and waits.
func (f *fixture) start(owner string, keys map[string]any) (*dvm.Service, func()) {
	f.t.Helper()
	wire := dial.DefaultConfig()
	wire.AllowLocal = true
	s := dvm.New(f.config(keys), f.db, dial.New(wire), relay.Rules{AllowLocal: true}, f.rest, owner, nil, slog.New(slog.DiscardHandler))
	s.Hurry()
	runner := service.NewRunner(5*time.Second, slog.New(slog.DiscardHandler))
	runner.Add("dvm", s)
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			must(f.t, <-ended)
		}
	}
	f.t.Cleanup(stop)
	return s, stop
}

// request makes a signed request for the service.
func (f *fixture) request(question string, more ...nostr.Tag) nostr.Event {
	f.t.Helper()
	tags := append([]nostr.Tag{{"i", question, "text"}, {"p", f.key.PubKey().String()}}, more...)
	return f.sign(nostr.Event{Kind: 5050, Tags: tags})
}

func (f *fixture) sign(e nostr.Event) nostr.Event {
	f.t.Helper()
	if e.CreatedAt == 0 {
		e.CreatedAt = time.Now().Unix()
	}
	must(f.t, f.customer.Sign(&e))
	return e
}

// ask publishes events on our relay.
func (f *fixture) ask(events ...nostr.Event) {
	for i := range events {
		f.ours.Add(simnet.NewEvent(&events[i]))
	}
}

// about returns what a relay holds of a kind about a request, oldest first.
func about(r *simnet.Relay, kind nostr.Kind, request nostr.ID) []nostr.Event {
	var list []nostr.Event
	for _, held := range r.Visible(nostr.Filter{Kinds: []nostr.Kind{kind}, Tags: map[string][]string{"e": {request.String()}}}) {
		list = append(list, held.Parse())
	}
	slices.Reverse(list)
	return list
}

// await polls until a condition holds.
func (f *fixture) await(what string, holds func() bool) {
	f.t.Helper()
	limit := time.After(time.Minute)
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-limit:
			f.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// feedback waits for the feedback of a status and returns what it says.
func (f *fixture) feedback(r *simnet.Relay, request nostr.ID, status string) nostr.Event {
	f.t.Helper()
	var found nostr.Event
	f.await("feedback "+status, func() bool {
		for _, e := range about(r, 7000, request) {
			if v := values(e, "status"); len(v) > 0 && v[0] == status {
				found = e
				return true
			}
		}
		return false
	})
	if found.CheckID() != nil || found.Verify() != nil || found.PubKey != f.key.PubKey() {
		f.t.Errorf("feedback %+v", found)
	}
	return found
}

// result waits for the one answer to a request.
func (f *fixture) result(r *simnet.Relay, request nostr.ID) nostr.Event {
	f.t.Helper()
	f.await("the answer", func() bool { return len(about(r, 6050, request)) > 0 })
	list := about(r, 6050, request)
	if len(list) != 1 {
		f.t.Fatalf("%d answers", len(list))
	}
	if e := list[0]; e.CheckID() != nil || e.Verify() != nil || e.PubKey != f.key.PubKey() {
		f.t.Errorf("answer %+v", e)
	}
	return list[0]
}

// values returns what stands behind the name of the first such tag.
func values(e nostr.Event, name string) []string {
	for _, t := range e.Tags {
		if len(t) > 0 && t[0] == name {
			return t[1:]
		}
	}
	return nil
}

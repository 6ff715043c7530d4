package monitor_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/nostr/nip66"
	"bigbrotr/internal/core/nostr/nip66/nip66test"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/simnet"
)

// publishing returns the configuration of a monitor with a key that publishes to
// these relays, as it is read from a file.
func publishing(t *testing.T, key string, relays ...relay.URL) monitor.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, u := range relays {
		urls = append(urls, u.String())
	}
	text, err := json.Marshal(map[string]any{"key": "file:" + file, "publish": map[string]any{"relays": urls, "name": "Monitor", "every": "3h"}})
	if err != nil {
		t.Fatal(err)
	}
	yaml := filepath.Join(t.TempDir(), "monitor.yaml")
	if err := os.WriteFile(yaml, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := monitor.DefaultConfig()
	if _, err := config.Load(&cfg, config.Sources{File: yaml}); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// again makes every relay due now.
func again(t *testing.T, db *sqlite.DB, relays []store.Relay) {
	t.Helper()
	var next []store.Next
	for _, r := range relays {
		next = append(next, store.Next{Relay: r.ID, Service: monitor.Name, DueAt: time.Now().Unix() - 1})
	}
	if err := db.SaveNext(t.Context(), next); err != nil {
		t.Fatal(err)
	}
}

// reports are the newest reports that a relay holds, by what they are about.
func reports(r *simnet.Relay, kind nostr.Kind) map[string]nostr.Event {
	byURL := map[string]nostr.Event{}
	for _, held := range slices.Backward(r.Visible(nostr.Filter{Kinds: []nostr.Kind{kind}})) {
		e := held.Parse()
		name := ""
		for _, tag := range e.Tags {
			if tag[0] == "d" {
				name = tag[1]
			}
		}
		byURL[name] = e
	}
	return byURL
}

// adder returns what adds relays to a network.
func adder(t *testing.T, network *simnet.Network) func(simnet.Behaviour) *simnet.Relay {
	return func(b simnet.Behaviour) *simnet.Relay {
		t.Helper()
		r, err := network.AddRelay(b)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// TestPublish checks relays of every kind and reads what is published: relays
// that open, with their document as it came, and no others.
func TestPublish(t *testing.T) {
	network := simnet.New(51)
	t.Cleanup(network.Close)
	add := adder(t, network)
	document := "{ \"name\": \"A relay\",\n  \"supported_nips\": [1, 11, 45], \"limitation\": null," +
		" \"retention\": [{\"kinds\": [4, [40, 42]], \"time\": 0}, {\"kinds\": [1], \"time\": 9}] }"
	good := add(simnet.Behaviour{Info: &simnet.Info{Body: document}})
	closed := add(simnet.Behaviour{Auth: true})
	add(simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Status, When: simnet.Always, N: 503}}})
	add(simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Echo, When: simnet.Always}}})
	if _, err := network.AddDead(); err != nil {
		t.Fatal(err)
	}
	target := add(simnet.Behaviour{Auth: true}) // who publishes must say who it is
	gone := add(simnet.Behaviour{})
	gone.Stop()

	db := newStore(t)
	urls := slices.DeleteFunc(network.URLs(), func(u relay.URL) bool { return u == target.URL() || u == gone.URL() })
	relays, err := db.AddRelays(t.Context(), urls, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	const secret = "7f7ff03d123792d6ac594bfa67bf6d0c0ab55b6b1fdb6249303fe861f1ccba9a"
	key, err := nip19.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	wire := dial.DefaultConfig()
	wire.AllowLocal = true
	cfg := publishing(t, secret, gone.URL(), target.URL())
	cfg.Timeout = config.Duration(6 * time.Second)
	s := monitor.New(cfg, db, dial.New(wire), nil, "test", slog.New(slog.DiscardHandler))
	cycle := func() {
		t.Helper()
		again(t, db, relays)
		if err := s.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	target.SetBehaviour(simnet.Behaviour{}) // so that we can look
	have := reports(target, nip66.KindReport)
	first, ok := have[good.URL().String()+"/"]
	_, other := have[closed.URL().String()+"/"]
	if !ok || !other || len(have) != 2 {
		t.Fatalf("%d reports: %v", len(have), have)
	}
	if first.Content != document || first.PubKey != key.PubKey() || first.CheckID() != nil || first.Verify() != nil {
		t.Errorf("report: %+v", first)
	}
	for _, want := range []nostr.Tag{{"n", "clearnet"}, {"R", "!auth"}, {"R", "!payment"}, {"N", "1"}, {"T", "PublicInbox"}, {"k", "!4"}, {"k", "!42"}, {"k", "1"}} {
		if !slices.ContainsFunc(first.Tags, func(t nostr.Tag) bool { return slices.Equal(t, want) }) {
			t.Errorf("no tag %q in %q", want, first.Tags)
		}
	}
	for _, not := range []nostr.Tag{{"N", "45"}, {"R", "writes"}} { // COUNT is claimed, and not answered
		if slices.ContainsFunc(first.Tags, func(t nostr.Tag) bool { return slices.Equal(t, not) }) {
			t.Errorf("tag %q in %q", not, first.Tags)
		}
	}
	for _, held := range target.Visible(nostr.Filter{}) {
		if e := held.Parse(); !e.Kind.IsEphemeral() {
			nip66test.Validate(t, e)
		}
	}
	for _, kind := range []nostr.Kind{nip66.KindProfile, nip66.KindRelays, nip66.KindAnnouncement} {
		if n := len(target.Visible(nostr.Filter{Kinds: []nostr.Kind{kind}})); n != 1 {
			t.Errorf("%d events of kind %d", n, kind)
		}
	}
	last, err := db.LastChecks(t.Context(), "publish", []store.RelayID{relays[0].ID, relays[2].ID})
	if err != nil {
		t.Fatal(err)
	}
	if c := last[relays[0].ID]; len(last) != 1 || !c.OK || c.Values["accepted"] != 1 || c.Values["refused"] != 1 {
		t.Errorf("what is noted: %+v", last)
	}

	// Nothing has changed: nothing is published. Then one has, and one is gone.
	published := target.Len()
	cycle()
	if n := target.Len() - published; n != 0 {
		t.Errorf("%d reports of what did not change", n)
	}
	good.SetBehaviour(simnet.Behaviour{Info: &simnet.Info{Body: `{"name":"Another name"}`}})
	closed.Stop()
	cycle()
	if n := target.Len() - published; n != 1 {
		t.Errorf("%d reports after one change", n)
	}
}

// TestSelfDoubtPublishesNothing has many relays fail at once: their states stay,
// and nothing is published of those that did not fail either.
func TestSelfDoubtPublishesNothing(t *testing.T) {
	network := simnet.New(52)
	t.Cleanup(network.Close)
	watched := make([]*simnet.Relay, 12)
	for i := range watched {
		r, err := network.AddRelay(simnet.Behaviour{})
		if err != nil {
			t.Fatal(err)
		}
		watched[i] = r
	}
	urls := network.URLs()
	target, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	db := newStore(t)
	relays, err := db.AddRelays(t.Context(), urls, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	wire := dial.DefaultConfig()
	wire.AllowLocal = true
	cfg := publishing(t, "7f7ff03d123792d6ac594bfa67bf6d0c0ab55b6b1fdb6249303fe861f1ccba9a", target.URL())
	s := monitor.New(cfg, db, dial.New(wire), nil, "test", slog.New(slog.DiscardHandler))
	cycle := func() {
		t.Helper()
		again(t, db, relays)
		if err := s.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	if n := len(reports(target, nip66.KindReport)); n != len(watched) {
		t.Fatalf("%d reports of %d relays", n, len(watched))
	}
	published := target.Len()
	for i, r := range watched {
		r.SetBehaviour(simnet.Behaviour{Info: &simnet.Info{Body: `{"name":"Another name"}`}})
		if i < 4 { // a third
			r.Stop()
		}
	}
	cycle()
	if n := target.Len() - published; n != 0 {
		t.Errorf("%d events are published while we suspect ourselves", n)
	}
	for _, u := range urls {
		if r, err := db.Relay(t.Context(), u); err != nil || r.State != store.StateUp {
			t.Errorf("%s is %s, %v", u, r.State, err)
		}
	}
}

// TestOptOut has a relay whose operator does not want us: it is found out on the
// first check, nothing is published of it, and it is left alone from then on.
func TestOptOut(t *testing.T) {
	network := simnet.New(53)
	t.Cleanup(network.Close)
	add := adder(t, network)
	closed, open := add(simnet.Behaviour{Robots: "User-agent: BigBrotr\nDisallow: /"}), add(simnet.Behaviour{Robots: "User-agent: *\nDisallow: /"})
	urls := network.URLs()
	target := add(simnet.Behaviour{})
	db := newStore(t)
	relays, err := db.AddRelays(t.Context(), urls, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	wire := dial.DefaultConfig()
	wire.AllowLocal = true
	s := monitor.New(publishing(t, monitorKey, target.URL()), db, dial.New(wire), nil, "test", slog.New(slog.DiscardHandler))
	cycle := func() {
		t.Helper()
		again(t, db, relays)
		if err := s.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	have := reports(target, nip66.KindReport)
	if _, ok := have[open.URL().String()+"/"]; !ok || len(have) != 1 {
		t.Errorf("reports of %v", have)
	}
	bans := map[string]string{}
	for b, err := range db.ScanBans(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		bans[b.Target] = b.Reason
	}
	if len(bans) != 1 || bans[closed.URL().String()] != store.OptedOutRobots {
		t.Errorf("bans: %v", bans)
	}
	before := closed.Stats().Connections
	cycle()
	if n := closed.Stats().Connections - before; n != 0 {
		t.Errorf("%d connections to who opted out", n)
	}
}

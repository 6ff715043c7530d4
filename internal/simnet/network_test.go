package simnet_test

import (
	"errors"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/simnet"
)

func TestAddresses(t *testing.T) {
	n := network(t)
	hosts := map[string]bool{}
	for range 5 {
		r := add(t, n, simnet.Behaviour{})
		hosts[r.URL().Hostname()] = true
		if r.URL().Network() != relay.Clearnet {
			t.Errorf("%s is on %s", r.URL(), r.URL().Network())
		}
	}
	if len(hosts) != 5 {
		t.Errorf("%d addresses", len(hosts))
	}
	dead, err := n.AddDead()
	if err != nil {
		t.Fatal(err)
	}
	if hosts[dead.Hostname()] {
		t.Errorf("dead relay at a living address %s", dead)
	}
	var failed *dial.Error
	if _, err := session.Dial(t.Context(), dead, patient); !errors.As(err, &failed) || failed.Cause != dial.CauseTCPRefused {
		t.Errorf("dial the dead relay: %v", err)
	}
	if urls := n.URLs(); len(urls) != 6 || urls[5] != dead {
		t.Errorf("URLs: %v", urls)
	}
	// Another network of the same seed finds another block.
	if r := add(t, network(t), simnet.Behaviour{}); hosts[r.URL().Hostname()] {
		t.Errorf("%s is taken twice", r.URL())
	}
}

func TestClose(t *testing.T) {
	n := simnet.New(1)
	r := add(t, n, simnet.Behaviour{}, simnet.Generate(plan(5))...)
	s := open(t, r, patient)
	ask(t, s, nostr.Filter{})
	n.Close()
	n.Close() // twice does no harm
	if _, page := ask(t, s, nostr.Filter{}); page.End.Kind != session.Disconnect {
		t.Errorf("ended by %s", page.End.Kind)
	}
	ln, err := net.Listen("tcp", r.URL().Host())
	if err != nil {
		t.Fatalf("the address is not free: %v", err)
	}
	ln.Close() // only tried
}

func TestSpread(t *testing.T) {
	n := network(t)
	for range 12 {
		add(t, n, simnet.Behaviour{})
	}
	events := simnet.Generate(plan(2000))
	n.Spread(events, 4.7)
	copies := map[nostr.ID]int{}
	total := 0
	var sizes []int
	for _, r := range n.Relays() {
		sizes = append(sizes, r.Len())
		for _, e := range r.Visible(nostr.Filter{}) {
			copies[e.ID]++
			total++
		}
	}
	if len(copies) != len(events) {
		t.Errorf("%d of %d events are somewhere", len(copies), len(events))
	}
	alone := 0
	for _, c := range copies {
		if c == 1 {
			alone++
		}
	}
	mean, single := float64(total)/2000, float64(alone)/2000
	if math.Abs(mean-4.5) > 0.6 || math.Abs(single-0.42) > 0.05 {
		t.Errorf("%.2f copies, %.2f on one relay", mean, single)
	}
	if sizes[0] < 2*sizes[11] {
		t.Errorf("sizes %v are too equal", sizes)
	}
}

func TestDemo(t *testing.T) {
	until := time.Unix(base, 0)
	demo := func() *simnet.Network {
		n, err := simnet.Demo(3, 12, 400, until)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Close)
		return n
	}
	n := demo()
	if got := len(n.URLs()); got != 12 {
		t.Errorf("%d relays", got)
	}
	named := map[relay.URL]bool{}
	dense := map[int64]int{}
	forged := 0
	for _, r := range n.Relays() {
		if r.Len() == 0 {
			t.Errorf("%s is empty", r.URL())
		}
		visible := r.Visible(nostr.Filter{})
		for _, e := range visible {
			dense[e.CreatedAt]++
			full := e.Parse()
			for _, tag := range full.Tags {
				if len(tag) > 1 && tag[0] == "r" {
					if u, err := (relay.Rules{AllowLocal: true}).Parse(tag[1]); err == nil {
						named[u] = true
					}
				}
			}
		}
		for _, e := range visible {
			if e.Kind == 4 && slices.Contains(r.Behaviour().Restricted, 4) {
				t.Fatalf("%s shows private events", r.URL())
			}
		}
		if r.Behaviour().Restricted == nil {
			forged += r.Len() - len(visible)
		}
	}
	if dense[base-30*86_400] < 1500 || forged != 60 {
		t.Errorf("%d events in the dense second, %d forged", dense[base-30*86_400], forged)
	}
	for _, u := range n.URLs() {
		if !named[u] {
			t.Errorf("no list names %s", u)
		}
	}
	// The same again, but for the addresses, which are taken.
	for i, r := range demo().Relays() {
		if r.Len() != n.Relays()[i].Len() {
			t.Errorf("relay %d holds %d events, then %d", i, n.Relays()[i].Len(), r.Len())
		}
	}
}

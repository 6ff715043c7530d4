package simnet_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/simnet"
)

// network returns an empty network that is closed with the test.
func network(t testing.TB) *simnet.Network {
	t.Helper()
	n := simnet.New(7)
	t.Cleanup(n.Close)
	return n
}

func add(t testing.TB, n *simnet.Network, b simnet.Behaviour, events ...*simnet.Event) *simnet.Relay {
	t.Helper()
	r, err := n.AddRelay(b)
	if err != nil {
		t.Fatal(err)
	}
	r.Add(events...)
	return r
}

var dialer = dial.New(func() dial.Config {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	cfg.PerAddress, cfg.PerMinute = 100, 1_000_000
	cfg.ConnectTimeout = config.Duration(5 * time.Second)
	return cfg
}())

var (
	// patient is for relays that answer.
	patient = session.Options{Dialer: dialer}
	// quick is for relays of which silence is expected.
	quick = session.Options{
		Dialer: dialer, Idle: 300 * time.Millisecond, AfterNotice: 100 * time.Millisecond, Handshake: 300 * time.Millisecond,
	}
)

func open(t testing.TB, r *simnet.Relay, o session.Options) *session.Session {
	t.Helper()
	s, err := session.Dial(t.Context(), r.URL(), o)
	if err != nil {
		t.Fatalf("dial %s: %v", r.URL(), err)
	}
	t.Cleanup(func() { s.Close(context.Background()) }) // the relay may have left
	return s
}

// ask returns the ids of the answer in order, and how it ended.
func ask(t testing.TB, s *session.Session, f nostr.Filter) ([]nostr.ID, session.Page) {
	t.Helper()
	var ids []nostr.ID
	page, err := s.Req(t.Context(), f, func(raw []byte) error {
		ref, ok := nostr.ScanEvent(raw)
		if !ok {
			t.Errorf("not an event: %.80s", raw)
		}
		ids = append(ids, ref.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids, page
}

func ids(events []*simnet.Event) []nostr.ID {
	out := make([]nostr.ID, len(events))
	for i, e := range events {
		out[i] = e.ID
	}
	return out
}

// newestFirst sorts a copy as NIP-01 asks for.
func newestFirst(events []*simnet.Event) []*simnet.Event {
	out := slices.Clone(events)
	slices.SortFunc(out, func(a, b *simnet.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	return out
}

const base = 1_760_000_000

func plan(count int) simnet.Plan {
	return simnet.Plan{Seed: 1, Count: count, Since: base, Until: base + 100_000}
}

func TestCorrectRelay(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(300)))
	r := add(t, network(t), simnet.Behaviour{}, events...)
	s := open(t, r, patient)
	all := ids(events)
	mid := events[100]
	for _, test := range []struct {
		name   string
		filter nostr.Filter
		want   []nostr.ID
	}{
		{"everything", nostr.Filter{}, all},
		{"limit", nostr.Filter{Limit: new(10)}, all[:10]},
		{"none", nostr.Filter{Limit: new(0)}, nil},
		{"until is inclusive", nostr.Filter{Until: new(mid.CreatedAt), Limit: new(5)}, all[100:105]},
		{"since is inclusive", nostr.Filter{Since: new(mid.CreatedAt)}, all[:101]},
		{"ids", nostr.Filter{IDs: []nostr.ID{all[7], all[3]}}, []nostr.ID{all[3], all[7]}},
		{"empty window", nostr.Filter{Since: new(int64(5)), Until: new(int64(4))}, nil},
		{
			"author and kind",
			nostr.Filter{Authors: []nostr.PubKey{mid.PubKey}, Kinds: []nostr.Kind{mid.Kind}},
			ids(matching(events, func(e *simnet.Event) bool { return e.PubKey == mid.PubKey && e.Kind == mid.Kind })),
		},
		{
			"tag",
			nostr.Filter{Tags: map[string][]string{"k": {"1"}}},
			ids(matching(events, func(e *simnet.Event) bool {
				full := e.Parse()
				return slices.ContainsFunc(full.Tags, func(t nostr.Tag) bool { return len(t) > 1 && t[0] == "k" && t[1] == "1" })
			})),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, page := ask(t, s, test.filter)
			if page.End.Kind != session.EOSE {
				t.Errorf("ended by %s", page.End.Kind)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %d events, want %d, or their order is wrong", len(got), len(test.want))
			}
			if test.filter.Limit == nil && !slices.Equal(got, ids(r.Visible(test.filter))) {
				t.Error("the truth differs from the answer")
			}
		})
	}
}

func matching(events []*simnet.Event, want func(*simnet.Event) bool) []*simnet.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e *simnet.Event) bool { return !want(e) })
}

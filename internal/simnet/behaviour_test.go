package simnet_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/simnet"
)

// TestPages has a row for everything that Behaviour says about pages.
func TestPages(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(200)))
	all := ids(events)
	private := func(e *simnet.Event) bool { return e.Kind == 4 || e.Kind == 7 }
	public := ids(slices.DeleteFunc(slices.Clone(events), private))
	oldest := slices.Clone(all)
	slices.Reverse(oldest)
	byID := slices.Clone(all)
	slices.SortFunc(byID, func(a, b nostr.ID) int { return bytes.Compare(a[:], b[:]) })
	kinds := []nostr.Kind{4, 7}
	mid := events[50].CreatedAt

	limit := func(n int) nostr.Filter { return nostr.Filter{Limit: new(n)} }
	n := network(t)
	for _, test := range []struct {
		name   string
		be     simnet.Behaviour
		filter nostr.Filter
		want   []nostr.ID
		end    session.Kind // EOSE when zero
		prefix string
	}{
		{"cap below limit", simnet.Behaviour{Cap: 20}, limit(50), all[:20], 0, ""},
		{"cap above limit", simnet.Behaviour{Cap: 60}, limit(50), all[:50], 0, ""},
		{"cap without limit", simnet.Behaviour{Cap: 20}, nostr.Filter{}, all[:20], 0, ""},
		{"default limit", simnet.Behaviour{Cap: 20, DefaultLimit: 5}, nostr.Filter{}, all[:5], 0, ""},
		{"default limit above cap", simnet.Behaviour{Cap: 20, DefaultLimit: 50}, nostr.Filter{}, all[:20], 0, ""},
		{"limit above cap refused", simnet.Behaviour{Cap: 20, RefuseOverCap: true}, limit(50), nil, session.Closed, "invalid"},
		{"limit at cap accepted", simnet.Behaviour{Cap: 20, RefuseOverCap: true}, limit(20), all[:20], 0, ""},
		{"oldest first", simnet.Behaviour{Cap: 20, Order: simnet.OldestFirst}, nostr.Filter{}, oldest[:20], 0, ""},
		{"oldest first in a window", simnet.Behaviour{Cap: 1, Order: simnet.OldestFirst}, nostr.Filter{Until: new(mid), Since: new(mid)}, all[50:51], 0, ""},
		{"by id", simnet.Behaviour{Cap: 20, Order: simnet.ByID}, nostr.Filter{}, byID[:20], 0, ""},
		{"since ignored", simnet.Behaviour{IgnoreSince: true}, nostr.Filter{Since: new(mid)}, all, 0, ""},
		{"until ignored", simnet.Behaviour{IgnoreUntil: true, Cap: 20}, nostr.Filter{Until: new(mid)}, all[:20], 0, ""},
		{"limit ignored", simnet.Behaviour{IgnoreLimit: true, Cap: 20}, limit(5), all[:20], 0, ""},
		{"limit ignored, default known", simnet.Behaviour{IgnoreLimit: true, Cap: 20, DefaultLimit: 7}, limit(5), all[:20], 0, ""},
		{"until exclusive", simnet.Behaviour{ExclusiveUntil: true}, nostr.Filter{Until: new(mid)}, all[51:], 0, ""},
		{"flood", simnet.Behaviour{Cap: 20, Flood: 7}, limit(50), all[:27], 0, ""},
		{"restricted before the limit", simnet.Behaviour{Restricted: kinds, Cap: 100}, limit(30), public[:30], 0, ""},
		{
			"restricted after the limit",
			simnet.Behaviour{Restricted: kinds, PostFilter: true, Cap: 30},
			nostr.Filter{},
			ids(slices.DeleteFunc(slices.Clone(events[:30]), private)), 0, "",
		},
		{"restricted asked for", simnet.Behaviour{Restricted: kinds}, nostr.Filter{Kinds: []nostr.Kind{4}}, nil, session.Closed, "auth-required"},
		{
			"restricted among others",
			simnet.Behaviour{Restricted: kinds},
			nostr.Filter{Kinds: []nostr.Kind{4, 1}, Limit: new(500)},
			ids(matching(events, func(e *simnet.Event) bool { return e.Kind == 1 })), 0, "",
		},
		{"open filter refused", simnet.Behaviour{Broad: simnet.BroadOpen}, limit(10), nil, session.Closed, "blocked"},
		{
			"kinds are not open",
			simnet.Behaviour{Broad: simnet.BroadOpen},
			nostr.Filter{Kinds: []nostr.Kind{1}, Limit: new(1)},
			ids(matching(events, func(e *simnet.Event) bool { return e.Kind == 1 }))[:1], 0, "",
		},
		{"authors wanted", simnet.Behaviour{Broad: simnet.BroadAuthorless}, nostr.Filter{Kinds: []nostr.Kind{1}}, nil, session.Closed, "blocked"},
		{"refused by notice", simnet.Behaviour{Broad: simnet.BroadOpen, RefuseAs: simnet.RefuseNotice}, nostr.Filter{}, nil, session.Notice, "blocked"},
		{"refused by notice and EOSE", simnet.Behaviour{Broad: simnet.BroadOpen, RefuseAs: simnet.RefuseNoticeEOSE}, nostr.Filter{}, nil, 0, ""},
		{"refused without a word", simnet.Behaviour{Broad: simnet.BroadOpen, RefuseAs: simnet.RefuseEmpty}, nostr.Filter{}, nil, 0, ""},
		{"auth wall", simnet.Behaviour{Auth: true}, nostr.Filter{}, nil, session.Closed, "auth-required"},
		{"hint more", simnet.Behaviour{Hints: true, Cap: 199}, nostr.Filter{}, all[:199], session.EOSEMore, ""},
		{"hint finish", simnet.Behaviour{Hints: true, Cap: 200}, nostr.Filter{}, all, session.EOSEFinish, ""},
		{"compressed", simnet.Behaviour{Compress: true}, nostr.Filter{}, all, 0, ""},
		{"slow", simnet.Behaviour{Latency: time.Millisecond}, nostr.Filter{}, all, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.end == 0 {
				test.end = session.EOSE
			}
			o := patient
			if test.end == session.Notice {
				o = quick
			}
			s := open(t, add(t, n, test.be, events...), o)
			got, page := ask(t, s, test.filter)
			if page.End.Kind != test.end || page.End.Prefix != test.prefix {
				t.Errorf("ended by %s %q, want %s %q", page.End.Kind, page.End.Prefix, test.end, test.prefix)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %d events, want %d, or their order is wrong", len(got), len(test.want))
			}
			if noticed := page.Notices > 0; noticed != (test.be.RefuseAs == simnet.RefuseNotice || test.be.RefuseAs == simnet.RefuseNoticeEOSE) {
				t.Errorf("%d notices", page.Notices)
			}
			if s.Opening().Compressed != test.be.Compress {
				t.Errorf("compressed: %v", s.Opening().Compressed)
			}
		})
	}
}

func TestShuffled(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(100)))
	s := open(t, add(t, network(t), simnet.Behaviour{Order: simnet.Shuffled, Cap: 40}, events...), patient)
	got, _ := ask(t, s, nostr.Filter{})
	again, _ := ask(t, s, nostr.Filter{})
	want := ids(events[:40])
	if slices.Equal(got, want) || !slices.Equal(got, again) {
		t.Error("not shuffled, or not the same in every run")
	}
	sorted := func(l []nostr.ID) []nostr.ID {
		return slices.SortedFunc(slices.Values(l), func(a, b nostr.ID) int { return bytes.Compare(a[:], b[:]) })
	}
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Error("not the newest")
	}
}

// An exclusive until leaves out that second and no other.
func TestExclusiveUntil(t *testing.T) {
	var events []*simnet.Event
	for i := range 4 {
		at := int64(base - i)
		events = append(events, simnet.Generate(simnet.Plan{Seed: 1, Count: 1, Since: at, Until: at})...)
	}
	s := open(t, add(t, network(t), simnet.Behaviour{ExclusiveUntil: true}, events...), patient)
	if got, _ := ask(t, s, nostr.Filter{Until: new(int64(base - 1))}); !slices.Equal(got, ids(events[2:])) {
		t.Errorf("got %d events, want 2", len(got))
	}
}

// In strfry ties come by latest arrival, so that a page that ends within a
// second holds what came last.
func TestTiesByArrival(t *testing.T) {
	events := simnet.Generate(simnet.Plan{Seed: 2, Count: 30, Since: base, Until: base})
	r := add(t, network(t), simnet.Behaviour{Order: simnet.NewestLatest, Cap: 10})
	for _, e := range events {
		r.Add(e)
	}
	got, _ := ask(t, open(t, r, patient), nostr.Filter{})
	want := ids(events[20:])
	slices.Reverse(want)
	if !slices.Equal(got, want) {
		t.Error("not the latest arrivals")
	}
}

func TestVisible(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(100)))
	public := matching(events, func(e *simnet.Event) bool { return e.Kind != 7 })
	always := func(f simnet.Fault) simnet.Behaviour {
		f.When = simnet.Always
		return simnet.Behaviour{Faults: []simnet.Fault{f}}
	}
	n := network(t)
	r := add(t, n, simnet.Behaviour{}, events...)
	r.Add(simnet.ForgeSig(simnet.Generate(simnet.Plan{Seed: 9, Count: 1, Since: base, Until: base})[0]))
	r.Add(simnet.ForgeID(events[0]))
	if r.Len() != 102 {
		t.Fatalf("%d events held", r.Len())
	}
	for _, test := range []struct {
		name string
		be   simnet.Behaviour
		want []*simnet.Event
	}{
		{"correct", simnet.Behaviour{}, events},
		{"capped", simnet.Behaviour{Cap: 3, DefaultLimit: 1}, events},
		{"bounds ignored", simnet.Behaviour{IgnoreSince: true, IgnoreUntil: true, ExclusiveUntil: true}, events},
		{"restricted", simnet.Behaviour{Restricted: []nostr.Kind{7}}, public},
		{"filtered after limiting", simnet.Behaviour{Restricted: []nostr.Kind{7}, PostFilter: true}, public},
		{"behind a wall", simnet.Behaviour{Auth: true}, nil},
		{"no EOSE", always(simnet.Fault{What: simnet.NoEOSE}), events},
		{"closed half-way", always(simnet.Fault{What: simnet.Closed, N: 2}), events},
		{"closed at once", always(simnet.Fault{What: simnet.Closed}), nil},
		{"refused", always(simnet.Fault{What: simnet.Refuse}), nil},
		{"silent", always(simnet.Fault{What: simnet.Silent}), nil},
		{"refused now and then", simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Refuse, When: simnet.When{Every: 2, First: 9, Chance: 0.9}}}}, events},
		{"empty", always(simnet.Fault{What: simnet.Empty}), nil},
		{"by notice", always(simnet.Fault{What: simnet.NoticeOnly}), nil},
	} {
		r.SetBehaviour(test.be)
		if got := r.Visible(nostr.Filter{}); !slices.Equal(ids(got), ids(test.want)) {
			t.Errorf("%s: %d events, want %d", test.name, len(got), len(test.want))
		}
	}
	r.SetBehaviour(simnet.Behaviour{})
	if got := r.Visible(nostr.Filter{Since: new(events[9].CreatedAt), Limit: new(2)}); len(got) != 10 {
		t.Errorf("%d events in a window, want 10", len(got))
	}
}

func TestWhen(t *testing.T) {
	for _, test := range []struct {
		when simnet.When
		want []int // of 10 occasions
	}{
		{simnet.When{}, nil},
		{simnet.Always, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{simnet.When{First: 2}, []int{1, 2}},
		{simnet.When{After: 8}, []int{9, 10}},
		{simnet.When{Every: 4}, []int{4, 8}},
		{simnet.When{First: 1, Every: 5}, []int{1, 5, 10}},
	} {
		r := add(t, network(t), simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Closed, When: test.when}}})
		s := open(t, r, patient)
		var got []int
		for i := 1; i <= 10; i++ {
			if _, page := ask(t, s, nostr.Filter{}); page.End.Kind == session.Closed {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v strikes on %v, want %v", test.when, got, test.want)
		}
	}
}

func TestChance(t *testing.T) {
	struck := func() (out []int) {
		r := add(t, network(t), simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Closed, When: simnet.When{Chance: 0.3}}}})
		s := open(t, r, patient)
		for i := range 400 {
			if _, page := ask(t, s, nostr.Filter{}); page.End.Kind == session.Closed {
				out = append(out, i)
			}
		}
		return out
	}
	a, b := struck(), struck()
	if !slices.Equal(a, b) {
		t.Error("chance differs between runs")
	}
	if got := float64(len(a)) / 400; math.Abs(got-0.3) > 0.08 {
		t.Errorf("struck on %.2f of occasions, want 0.3", got)
	}
}

// Hostile never draws what no client could notice, and all it draws lets a
// patient client through.
func TestHostile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	whats := map[simnet.What]bool{}
	for range 2000 {
		for _, f := range simnet.Hostile(rng).Faults {
			whats[f.What] = true
			if f.What == simnet.Empty || f.What == simnet.Short {
				t.Fatalf("drew %+v", f)
			}
			if f.When.Every == 1 || f.When.Chance > 0.5 || f.When.After > 0 {
				t.Fatalf("%+v leaves no way through", f)
			}
		}
	}
	if len(whats) < 15 {
		t.Errorf("only %d different faults", len(whats))
	}
}

package face_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/api/face"
)

const (
	corpusAuthors = 6
	corpusSpan    = 50
)

// corpus generates events of every kind of visibility: versions, deletions,
// expired, private and protected ones.
func corpus(n int) []nostr.Event {
	rnd := rand.New(rand.NewPCG(6, 6))
	kinds := []nostr.Kind{0, 1, 1, 1, 3, 4, 5, 7, 1059, 10002, 30023, 30023, 70000}
	now := time.Now().Unix()
	var events []nostr.Event
	for i := range n {
		by := 1 + rnd.IntN(corpusAuthors)
		kind := kinds[rnd.IntN(len(kinds))]
		tags := []nostr.Tag{{"t", fmt.Sprint(rnd.IntN(5))}}
		if kind.IsAddressable() {
			tags = append(tags, nostr.Tag{"d", fmt.Sprint(rnd.IntN(3))})
		}
		switch rnd.IntN(10) {
		case 0:
			tags = append(tags, nostr.Tag{"-"})
		case 1:
			tags = append(tags, nostr.Tag{"expiration", fmt.Sprint(now - 1000 + 5000*rnd.Int64N(2))})
		case 2, 3:
			tags = append(tags, nostr.Tag{"p", author(1 + rnd.IntN(corpusAuthors)).String()})
		}
		if kind == 5 && len(events) > 0 {
			for range 3 {
				e := events[rnd.IntN(len(events))]
				by = slices.IndexFunc([]int{1, 2, 3, 4, 5, 6}, func(n int) bool { return author(n) == e.PubKey }) + 1
				tags = append(tags, nostr.Tag{"e", e.ID.String()}, nostr.Tag{"a", address(e)})
			}
		}
		events = append(events, event(by, kind, base+rnd.Int64N(corpusSpan), fmt.Sprint(i), tags...))
	}
	return events
}

func drawFilter(t *rapid.T, events []nostr.Event) nostr.Filter {
	var f nostr.Filter
	some := func(name string, odds int) bool { return rapid.IntRange(0, odds).Draw(t, name+"?") == 0 }
	if some("ids", 4) {
		for range rapid.IntRange(1, 20).Draw(t, "number of ids") {
			f.IDs = append(f.IDs, rapid.SampledFrom(events).Draw(t, "event").ID)
		}
	}
	if some("authors", 2) {
		f.Authors = append(f.Authors, author(rapid.IntRange(1, corpusAuthors+1).Draw(t, "author")))
	}
	if some("kinds", 1) {
		f.Kinds = rapid.SliceOfN(rapid.SampledFrom([]nostr.Kind{0, 1, 1, 3, 5, 7, 10002, 30023, 99}), 1, 3).Draw(t, "kinds")
	}
	if some("tag", 3) {
		f.Tags = map[string][]string{"t": {"1", "2"}}
	}
	if some("since", 3) {
		f.Since = new(base + rapid.Int64Range(-1, corpusSpan).Draw(t, "since"))
	}
	if some("until", 3) {
		f.Until = new(base + rapid.Int64Range(-1, corpusSpan).Draw(t, "until"))
	}
	if some("limit", 2) {
		f.Limit = new(rapid.SampledFrom([]int{0, 1, 7, 50, 1000, 1 << 40}).Draw(t, "limit"))
	}
	return f
}

// TestRequests compares answers with those of the naive relay, whatever is asked
// by strangers and by authors.
func TestRequests(t *testing.T) {
	const standard, most = 40, 100
	db := newStore(t, store.Keep{})
	events := corpus(400)
	known := judge(events)
	r := serve(t, db, func(cfg *face.Config) { cfg.DefaultLimit, cfg.MaxLimit = standard, most })
	r.add(events...)
	stranger, reader := r.dial(), r.dial()
	reader.authenticate(r, key(2))
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		filters := make([]nostr.Filter, rapid.IntRange(1, 3).Draw(rt, "filters"))
		for i := range filters {
			filters[i] = drawFilter(rt, events)
		}
		c, readers := stranger, []nostr.PubKey(nil)
		if rapid.Bool().Draw(rt, "authenticated") {
			c, readers = reader, []nostr.PubKey{author(2)}
		}
		n++
		sub := fmt.Sprint(n)
		c.request(sub, filters...)
		have, end := c.answer(sub)
		c.say(string(nostr.AppendCLOSE(nil, sub)))
		want := known.served(filters, readers, standard, most)
		if diff := cmp.Diff(ids(want), ids(have)); diff != "" {
			rt.Fatalf("%s (-want +have):\n%s", nostr.AppendREQ(nil, sub, filters...), diff)
		}
		whole := len(known.served(unlimited(filters), readers, 1<<40, 1<<40)) == len(want)
		if end.Label != nostr.LabelEOSE || whole && !end.Hints.Has(nostr.HintFinish) && !limited(filters) || end.Hints.Has(nostr.HintFinish) && !whole {
			rt.Fatalf("%s: %s with hints %b, but whole is %t", nostr.AppendREQ(nil, sub, filters...), end.Label, end.Hints, whole)
		}
		if end.Hints.Has(nostr.HintFinish) == end.Hints.Has(nostr.HintMore) {
			rt.Fatalf("hints %b", end.Hints)
		}
	})
}

// unlimited returns the filters without their limits.
func unlimited(filters []nostr.Filter) []nostr.Filter {
	filters = slices.Clone(filters)
	for i := range filters {
		filters[i].Limit = nil
	}
	return filters
}

// limited tells whether any filter has a limit: what one leaves out another may
// give, of which no hint speaks.
func limited(filters []nostr.Filter) bool {
	return len(filters) > 1 && slices.ContainsFunc(filters, func(f nostr.Filter) bool { return f.Limit != nil })
}

func ids(events []nostr.Event) []string {
	list := []string{}
	for _, e := range events {
		list = append(list, fmt.Sprintf("%s of %d at %d", e.ID, e.Kind, e.CreatedAt-base))
	}
	return list
}

// authenticate shows a key to the relay.
func (c *client) authenticate(r *relay, k nostr.SecretKey) {
	c.t.Helper()
	c.say(`["REQ","who",{"kinds":[1059]}]`)
	m := c.read()
	if m.Label != nostr.LabelAuth {
		c.t.Fatalf("%s instead of a challenge", m.Label)
	}
	challenge := m.Text
	if m := c.read(); m.Label != nostr.LabelClosed || !strings.HasPrefix(m.Text, "auth-required: ") {
		c.t.Fatalf("%s %q", m.Label, m.Text)
	}
	ok := c.auth(k, time.Now().Unix(), nostr.Tag{"relay", r.url}, nostr.Tag{"challenge", challenge})
	if !ok.Accepted {
		c.t.Fatalf("not accepted: %s", ok.Text)
	}
}

// auth sends an authentication and returns the answer.
func (c *client) auth(k nostr.SecretKey, at int64, tags ...nostr.Tag) nostr.Message {
	c.t.Helper()
	e := nostr.Event{Kind: 22242, CreatedAt: at, Tags: tags}
	must(c.t, k.Sign(&e))
	c.say(string(nostr.AppendAUTH(nil, &e)))
	m := c.read()
	if m.Label != nostr.LabelOK || m.ID != e.ID {
		c.t.Fatalf("%s %q instead of OK", m.Label, m.Text)
	}
	return m
}

// TestLive checks that what is archived while a subscription stands comes to
// it, once, and only if it is served.
func TestLive(t *testing.T) {
	db := newStore(t, store.Keep{})
	r := serve(t, db)
	old := event(1, 1, base, "old")
	profile := event(1, 0, base+100, "newest")
	r.add(old, profile)
	c, other := r.dial(), r.dial()
	c.request("notes", nostr.Filter{Kinds: []nostr.Kind{0, 1, 4}, Authors: []nostr.PubKey{author(1), author(2)}}, nostr.Filter{Tags: map[string][]string{"t": {"x"}}})
	if have, end := c.answer("notes"); !end.Hints.Has(nostr.HintFinish) || len(have) != 2 {
		t.Fatalf("%d stored events, hints %b", len(have), end.Hints)
	}
	other.request("all", nostr.Filter{Limit: new(0)})
	if have, _ := other.answer("all"); len(have) != 0 {
		t.Fatalf("limit 0 gives %d stored events", len(have))
	}
	wanted := []nostr.Event{
		event(2, 1, base-5, "of another author, and old"),
		event(1, 1, base+10, "of both", nostr.Tag{"t", "x"}),
		event(3, 7, base+11, "by its tag", nostr.Tag{"t", "x"}),
		event(2, 0, base+12, "a profile"),
	}
	unwanted := []nostr.Event{
		event(1, 0, base+50, "superseded"),
		event(1, 4, base+51, "private", nostr.Tag{"p", author(2).String()}),
		event(1, 1, base+52, "protected", nostr.Tag{"-"}),
		event(1, 1, base+53, "expired", nostr.Tag{"expiration", "1700000100"}),
	}
	deleted := event(1, 1, base+54, "deleted")
	request := event(1, 5, base+55, "", nostr.Tag{"e", deleted.ID.String()})
	elsewhere := event(3, 1, base+56, "of nobody that was asked for")
	r.add(slices.Concat(unwanted, []nostr.Event{deleted, request, elsewhere}, wanted)...)
	read := func(c *client, sub string, n int) (events []nostr.Event) {
		t.Helper()
		for range n {
			m := c.read()
			if m.Label != nostr.LabelEvent || m.Sub != sub {
				t.Fatalf("%s of %q: %s", m.Label, m.Sub, m.Text)
			}
			events = append(events, c.event(m))
		}
		slices.SortFunc(events, order)
		return events
	}
	want := slices.Clone(wanted)
	slices.SortFunc(want, order)
	if diff := cmp.Diff(ids(want), ids(read(c, "notes", len(want)))); diff != "" {
		t.Errorf("new events (-want +have):\n%s", diff)
	}
	want = append(want, request, elsewhere)
	slices.SortFunc(want, order)
	if diff := cmp.Diff(ids(want), ids(read(other, "all", len(want)))); diff != "" {
		t.Errorf("new events for all (-want +have):\n%s", diff)
	}

	// What is closed is silent, and a name can be used again.
	c.say(`["CLOSE","notes"]`)
	other.request("all", nostr.Filter{Kinds: []nostr.Kind{9999}})
	other.answer("all")
	c.request("late", nostr.Filter{Kinds: []nostr.Kind{1111}})
	c.answer("late")
	r.add(event(1, 1, base+60, "to nobody"), event(1, 1111, base+61, "to one"))
	if m := c.read(); m.Sub != "late" || c.event(m).Kind != 1111 {
		t.Errorf("%s of %q", m.Label, m.Sub)
	}
	r.add(event(1, 9999, base+62, "to the other"))
	if m := other.read(); m.Sub != "all" || other.event(m).Kind != 9999 {
		t.Errorf("%s of %q", m.Label, m.Sub)
	}
}

// TestOnce opens subscriptions while events are being archived: each event comes
// exactly once, as stored or as new.
func TestOnce(t *testing.T) {
	db := newStore(t, store.Keep{})
	r := serve(t, db)
	const rounds, each = 20, 30
	var all []nostr.Event
	for i := range rounds * each {
		all = append(all, event(1+i%3, 1, base+int64(i), fmt.Sprint(i)))
	}
	added := make(chan struct{}, rounds)
	go func() {
		defer close(added)
		for part := range slices.Chunk(all, each) {
			if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: part}); err != nil {
				t.Error(err)
			}
			added <- struct{}{}
		}
	}()
	var clients []*client
	for range added {
		c := r.dial()
		c.request("s", nostr.Filter{Kinds: []nostr.Kind{1}, Limit: new(1000)})
		clients = append(clients, c)
	}
	for i, c := range clients {
		seen := map[nostr.ID]int{}
		for len(seen) < len(all) {
			m := c.read()
			if m.Label == nostr.LabelEvent {
				seen[c.event(m).ID]++
			}
		}
		for id, n := range seen {
			if n > 1 {
				t.Errorf("client %d got %s %d times", i, id, n)
			}
		}
	}
}

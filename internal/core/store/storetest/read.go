package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// pages reads every page of a query.
func (f *fixture) pages(q store.EventQuery) []nostr.Event {
	f.t.Helper()
	var events []nostr.Event
	for n := 0; ; n++ {
		page, next, err := f.Events(f.ctx, q)
		f.must(err)
		if len(page) > q.Limit {
			f.t.Fatalf("a page of %d has %d events", q.Limit, len(page))
		}
		for _, s := range page {
			f.whole(s)
			events = append(events, s.Event)
		}
		if next == "" {
			return events
		}
		if n > 10_000 || next == q.After {
			f.t.Fatalf("the pages never end: cursor %q after %d events", next, len(events))
		}
		q.After = next
	}
}

// newest reads everything that matches, without the rules for strangers.
func (f *fixture) newest(filter nostr.Filter) []nostr.Event {
	f.t.Helper()
	return f.pages(store.EventQuery{Filter: filter, Limit: 1000})
}

func newestFirst(a, b nostr.Event) int {
	return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), bytes.Compare(a.ID[:], b.ID[:]))
}

// answers is the naive reader: what a query finds among events.
func answers(events []nostr.Event, q store.EventQuery, keep store.Keep) []nostr.Event {
	unindexed := false // the filter has a condition that no index answers
	for name, values := range q.Filter.Tags {
		unindexed = unindexed || len(values) > 0 && !store.Indexed(nostr.Tag{name, ""})
	}
	var found []nostr.Event
	for _, e := range events {
		if unindexed && !keep.Full(e.Kind) {
			continue
		}
		if q.Filter.Matches(&e) && (!q.Public || public(events, e, q)) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, newestFirst)
	return found
}

// public tells whether who asks is served an event.
func public(events []nostr.Event, e nostr.Event, q store.EventQuery) bool {
	private, protected := false, false
	concerned := slices.Contains(q.Readers, e.PubKey)
	switch e.Kind {
	case 4, 13, 14, 15, 1059:
		private = true
	}
	for _, t := range e.Tags {
		protected = protected || len(t) > 0 && t[0] == "-"
		for _, reader := range q.Readers {
			concerned = concerned || private && len(t) > 1 && t[0] == "p" && t[1] == reader.String()
		}
	}
	if e.Kind.IsEphemeral() || (private || protected) && !concerned {
		return false
	}
	value := func(name string) string {
		for _, t := range e.Tags {
			if len(t) > 1 && t[0] == name {
				return t[1]
			}
		}
		return ""
	}
	if at, err := strconv.ParseInt(value("expiration"), 10, 64); err == nil && at <= q.Now {
		return false
	}
	d := ""
	if e.Kind.IsAddressable() {
		d = value("d")
	}
	address := fmt.Sprintf("%d:%s:%s", e.Kind, e.PubKey, d)
	for _, request := range events {
		if request.Kind != 5 || request.PubKey != e.PubKey || e.Kind == 5 {
			continue
		}
		for _, t := range request.Tags {
			if len(t) < 2 {
				continue
			}
			if t[0] == "e" && t[1] == e.ID.String() ||
				t[0] == "a" && t[1] == address && (e.Kind.IsAddressable() || e.Kind.IsReplaceable()) && e.CreatedAt <= request.CreatedAt {
				return false
			}
		}
	}
	return true
}

const (
	corpusAuthors = 8
	corpusSpan    = 40 // seconds, so that many events share one
)

var (
	corpusKinds = []nostr.Kind{0, 1, 1, 1, 3, 4, 7, 13, 14, 15, 1059, 10002, 20001, 21059, 30023, 30023, 39999, 70000}
	tagNames    = []string{"e", "p", "t", "E", "d", "a"}
	tagValues   = []string{
		"x", "y", "X", "", "x ", `"x"`, "\u2028", "é", "e\u0301", "\x00", "\xed\xa0\x80", strings.Repeat("long", 1000), "0", "[]", "x:y", "😀",
	}
)

// corpus generates events that share authors, seconds, kinds and tags, with
// requests to delete some.
func corpus(n int) []nostr.Event {
	rnd := rand.New(rand.NewPCG(7, 7))
	var events []nostr.Event
	for i := range n {
		by := rnd.IntN(corpusAuthors)
		at := base + rnd.Int64N(corpusSpan)
		kind := corpusKinds[rnd.IntN(len(corpusKinds))]
		var tags []nostr.Tag
		for range rnd.IntN(4) {
			tag := nostr.Tag{tagNames[rnd.IntN(len(tagNames))], tagValues[rnd.IntN(len(tagValues))]}
			if rnd.IntN(3) == 0 {
				tag = append(tag, tagValues[rnd.IntN(len(tagValues))]) // a second value is not found
			}
			tags = append(tags, tag)
		}
		switch rnd.IntN(12) {
		case 0:
			tags = append(tags, nostr.Tag{"expiration", strconv.FormatInt(base+rnd.Int64N(corpusSpan), 10)})
		case 1:
			tags = append(tags, nostr.Tag{"expiration", "soon"})
		case 2:
			tags = append(tags, nostr.Tag{"expiration"}, nostr.Tag{"t"}, nostr.Tag{}, nostr.Tag{"title", "x"})
		case 3:
			tags = append(tags, nostr.Tag{"-"})
		case 4, 5:
			tags = append(tags, nostr.Tag{"p", author((by + 1) % corpusAuthors).String()})
		}
		if kind.IsAddressable() && rnd.IntN(4) > 0 {
			tags = append([]nostr.Tag{{"d", tagValues[rnd.IntN(4)]}}, tags...)
		}
		events = append(events, event(by, kind, at, fmt.Sprint(i), tags...))
	}
	for i := range n / 8 {
		by := rnd.IntN(corpusAuthors)
		var tags []nostr.Tag
		for range 1 + rnd.IntN(4) {
			target := events[rnd.IntN(len(events))]
			for tries := 0; target.PubKey != author(by) && tries < 20 && rnd.IntN(4) > 0; tries++ {
				target = events[rnd.IntN(len(events))] // mostly one's own
			}
			if (target.Kind.IsAddressable() || target.Kind.IsReplaceable()) && rnd.IntN(4) > 0 {
				d := ""
				for _, t := range slices.Backward(target.Tags) {
					if len(t) > 1 && t[0] == "d" {
						d = t[1]
					}
				}
				tags = append(tags, nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", target.Kind, target.PubKey, d)})
			} else {
				tags = append(tags, nostr.Tag{"e", target.ID.String()})
			}
		}
		events = append(events, event(by, 5, base+rnd.Int64N(corpusSpan), fmt.Sprint("forget ", i), tags...))
	}
	rnd.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	return events
}

// drawFilter draws a filter of any shape that finds something often enough.
func drawFilter(t *rapid.T, events []nostr.Event) nostr.Filter {
	var f nostr.Filter
	some := func(name string, odds int) bool { return rapid.IntRange(0, odds).Draw(t, name+"?") == 0 }
	if some("ids", 4) {
		for range rapid.IntRange(1, 40).Draw(t, "number of ids") {
			f.IDs = append(f.IDs, rapid.SampledFrom(events).Draw(t, "event").ID)
		}
		f.IDs = append(f.IDs, nostr.ID{1})
	}
	if some("authors", 2) {
		f.Authors = append(f.Authors, author(rapid.IntRange(0, corpusAuthors).Draw(t, "author"))) // one is unknown
		if some("another author", 1) {
			f.Authors = append(f.Authors, author(rapid.IntRange(0, corpusAuthors).Draw(t, "author")))
		}
	}
	if some("kinds", 2) {
		f.Kinds = rapid.SliceOfN(rapid.SampledFrom(append([]nostr.Kind{2, 5, 5}, corpusKinds...)), 0, 4).Draw(t, "kinds")
	}
	for range max(0, rapid.IntRange(-2, 2).Draw(t, "number of tags")) {
		if f.Tags == nil {
			f.Tags = make(map[string][]string)
		}
		f.Tags[rapid.SampledFrom(tagNames).Draw(t, "tag")] = rapid.SliceOfN(rapid.SampledFrom(tagValues), 0, 5).Draw(t, "values")
	}
	if some("since", 3) {
		f.Since = new(base + rapid.Int64Range(-1, corpusSpan).Draw(t, "since"))
	}
	if some("until", 3) {
		f.Until = new(base + rapid.Int64Range(-1, corpusSpan).Draw(t, "until"))
	}
	return f
}

// answersAs checks that a query, and a scan with its filter, find among the
// archived events what the naive reader finds.
func (f *fixture) answersAs(events []nostr.Event, q store.EventQuery) {
	f.t.Helper()
	compare := func(how string, want, got []nostr.Event) {
		f.t.Helper()
		if slices.EqualFunc(want, got, func(a, b nostr.Event) bool { return a.ID == b.ID }) {
			return
		}
		describe := func(events []nostr.Event) (list []string) {
			for _, e := range events {
				list = append(list, fmt.Sprintf("+%d kind %d %s", e.CreatedAt-base, e.Kind, e.ID))
			}
			return list
		}
		f.t.Fatalf("%s of filter %.500s, limit %d, public %t, now +%d (-want +got):\n%s", how, q.Filter.AppendJSON(nil), q.Limit, q.Public, q.Now-base,
			difference(describe(want), describe(got), f.keep))
	}
	want := answers(events, q, f.keep)
	compare("pages", want, f.pages(q))
	if q.Public {
		return
	}
	var scanned []nostr.Event
	for _, s := range f.scan("", q.Filter) {
		scanned = append(scanned, s.Event)
	}
	slices.SortFunc(scanned, newestFirst)
	compare("scan", want, scanned)
}

func testReads(t *testing.T, open opener) {
	t.Run("events", func(t *testing.T) { testEvents(t, newFixture(t, open)) })
	cases(t, open, map[string]func(*testing.T, *fixture){
		"deleted by their authors": testDeleted,
		"unknown things": func(t *testing.T, f *fixture) {
			if r, err := f.EventRelays(f.ctx, nostr.ID{1}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("EventRelays = %v, %v, want %v", r, err, store.ErrNotFound)
			}
			f.equal("events", 0, len(f.newest(nostr.Filter{})))
			claims, holes, err := f.RelayCoverage(f.ctx, 77)
			f.must(err)
			f.equal("claims and holes", []int{0, 0}, []int{len(claims), len(holes)})
			summaries, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 10})
			f.must(err)
			f.equal("summaries", 0, len(summaries))
			totals := f.totals()
			totals.Bytes = 0
			f.equal("totals", store.Totals{}, totals)
			kinds, err := f.Kinds(f.ctx, 10)
			f.must(err)
			days, err := f.Days(f.ctx, 0, 1<<40)
			f.must(err)
			f.equal("kinds and days", []int{0, 0}, []int{len(kinds), len(days)})
		},
		"relay summaries": testSummaries,
		"authors":         testAuthors,
		"relay pages": func(t *testing.T, f *fixture) {
			urls := []relay.URL{url(4), onion(), url(2), url(9), url(1), url(7)}
			relays, err := f.AddRelays(f.ctx, urls, base)
			f.must(err)
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(relays[0].ID, base, store.StateUp, ""), outcome(relays[1].ID, base, store.StateUp, ""), outcome(relays[2].ID, base, store.StateDown, dial.CauseTLS)}))
			slices.SortFunc(urls, func(a, b relay.URL) int { return cmp.Compare(a.String(), b.String()) })
			for _, tt := range []struct {
				name  string
				query store.RelayQuery
				want  []relay.URL
			}{
				{"all", store.RelayQuery{Limit: 1000}, urls},
				{"pages of two", store.RelayQuery{Limit: 2}, urls},
				{"network", store.RelayQuery{Limit: 2, Network: relay.Tor}, []relay.URL{onion()}},
				{"state", store.RelayQuery{Limit: 1, State: store.StateUp}, []relay.URL{onion(), url(4)}},
				{"network and state", store.RelayQuery{Limit: 3, Network: relay.Clearnet, State: store.StateNew}, []relay.URL{url(1), url(7), url(9)}},
				{"none", store.RelayQuery{Limit: 3, Network: relay.Loki}, nil},
				{"after a text that is no URL", store.RelayQuery{Limit: 3, After: "wss://relay0005"}, []relay.URL{url(7), url(9)}},
			} {
				var got []relay.URL
				for {
					page, err := f.RelaySummaries(f.ctx, tt.query)
					f.must(err)
					if len(page) > tt.query.Limit || len(got) > len(urls) {
						t.Fatalf("%s: %d more after %d", tt.name, len(page), len(got))
					}
					if len(page) == 0 {
						break
					}
					for _, s := range page {
						got = append(got, s.URL)
					}
					tt.query.After = got[len(got)-1].String()
				}
				f.equal(tt.name, texts(tt.want...), texts(got...))
			}
		},
		"what documents say": testShown,
		"what relays carry":  testCarried,
		"totals":             testTotals,
		"the plausible window": func(t *testing.T, f *fixture) {
			const first = 1_604_188_800 // 2020-11-01
			now := base
			read := func() []int64 {
				f.refresh()
				totals, err := f.Totals(f.ctx, now)
				f.must(err)
				return []int64{totals.Events, totals.Oldest, totals.Newest}
			}
			f.add(event(1, 1, 0, ""), event(1, 1, first-1, ""), event(1, 1, now+86401, ""), event(1, 1, math.MaxInt64, ""))
			f.equal("none inside", []int64{4, 0, 0}, read())
			f.add(event(1, 1, first, ""), event(1, 1, now+86400, ""))
			f.equal("both ends inside", []int64{6, first, now + 86400}, read())
		},
	})
}

func testEvents(t *testing.T, f *fixture) {
	events := corpus(500)
	for part := range slices.Chunk(events, 100) {
		f.save(store.Batch{SeenAt: base, Events: part, Ephemeral: true})
	}
	f.equal("archived", len(events), len(f.archived()))
	for _, tt := range []struct {
		name   string
		filter nostr.Filter
		limits []int
	}{
		{"all", nostr.Filter{}, []int{7, 1000}},
		{"private kinds", nostr.Filter{Kinds: []nostr.Kind{4, 1059}}, []int{1, 1000}},
		{"requests to delete", nostr.Filter{Kinds: []nostr.Kind{5}}, []int{1, 1000}},
		{"ephemeral kinds", nostr.Filter{Kinds: []nostr.Kind{20001, 21059}}, []int{1, 1000}},
		{"an author", nostr.Filter{Authors: []nostr.PubKey{author(1)}}, []int{1, 1000}},
		{"repetitions", nostr.Filter{Authors: []nostr.PubKey{author(1), author(1), author(2)}, Kinds: []nostr.Kind{1, 1, 7}}, []int{1, 1000}},
		{"kinds twice", nostr.Filter{Kinds: []nostr.Kind{1, 5, 1, 5, 3}}, []int{20, 50, 1000}},
		{"authors twice", nostr.Filter{Authors: []nostr.PubKey{author(1), author(2), author(1), author(2)}}, []int{20, 50, 1000}},
		{"all ids", nostr.Filter{IDs: ids(events...)}, []int{100}},
		{"ids twice", nostr.Filter{IDs: append(ids(events[:50]...), ids(events[:50]...)...)}, []int{7}},
		{"a value twice", nostr.Filter{Tags: map[string][]string{"t": {"x", "y", "x"}}}, []int{1, 17, 1000}},
		{"many values of two tags", nostr.Filter{Tags: map[string][]string{"t": tagValues, "p": tagValues}}, []int{2}},
		{"a tag of more than a letter", nostr.Filter{Tags: map[string][]string{"title": {"x"}}}, []int{3}},
		{"the ends of time", nostr.Filter{Since: new(int64(math.MinInt64)), Until: new(int64(math.MaxInt64))}, []int{100}},
		{"one second", nostr.Filter{Since: new(base), Until: new(base)}, []int{1, 1000}},
		{"no second", nostr.Filter{Since: new(base + 1), Until: new(base)}, []int{1}},
	} {
		for _, limit := range tt.limits {
			t.Run(fmt.Sprintf("%s by %d", tt.name, limit), func(t *testing.T) {
				f.in(t).answersAs(events, store.EventQuery{Filter: tt.filter, Limit: limit})
			})
			t.Run(fmt.Sprintf("%s by %d for strangers", tt.name, limit), func(t *testing.T) {
				f.in(t).answersAs(events, store.EventQuery{Filter: tt.filter, Limit: limit, Public: true, Now: base + corpusSpan/2})
			})
			t.Run(fmt.Sprintf("%s by %d for an author", tt.name, limit), func(t *testing.T) {
				f.in(t).answersAs(events, store.EventQuery{
					Filter: tt.filter, Limit: limit, Public: true, Now: base + corpusSpan/2, Readers: []nostr.PubKey{author(3)},
				})
			})
		}
	}
	t.Run("any filter", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			f.in(rt).answersAs(events, store.EventQuery{
				Filter:  drawFilter(rt, events),
				Limit:   rapid.SampledFrom([]int{5, 50, 1000}).Draw(rt, "limit"),
				Public:  rapid.Bool().Draw(rt, "public"),
				Readers: rapid.SliceOfN(rapid.Map(rapid.IntRange(0, corpusAuthors-1), author), 0, 2).Draw(rt, "readers"),
				Now:     base + rapid.Int64Range(0, corpusSpan).Draw(rt, "now"),
			})
		})
	})
	t.Run("stored with number and time", func(t *testing.T) {
		f := f.in(t)
		scanned := make(map[nostr.ID]store.Stored)
		for _, s := range f.scan("", nostr.Filter{}) {
			scanned[s.Event.ID] = s.Stored
		}
		page, _, err := f.Events(f.ctx, store.EventQuery{Limit: 50})
		f.must(err)
		for _, s := range page {
			f.equal("stored", scanned[s.Event.ID], s)
		}
	})
	t.Run("the filter's limit is ignored", func(t *testing.T) {
		page, _, err := f.Events(f.ctx, store.EventQuery{Filter: nostr.Filter{Limit: new(1)}, Limit: 10})
		f.in(t).must(err)
		f.in(t).equal("page", 10, len(page))
	})
	t.Run("not a cursor", func(t *testing.T) {
		for _, c := range []store.Cursor{"x", "12", ".", "1.2", "' OR 1=1"} {
			if _, _, err := f.Events(f.ctx, store.EventQuery{After: c, Limit: 10}); !errors.Is(err, store.ErrCursor) {
				t.Errorf("cursor %q: %v, want %v", c, err, store.ErrCursor)
			}
		}
	})
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		if _, _, err := f.Events(ctx, store.EventQuery{Limit: 10}); !errors.Is(err, context.Canceled) {
			t.Errorf("Events: %v, want %v", err, context.Canceled)
		}
	})
	t.Run("new events while paging", func(t *testing.T) {
		f := f.in(t)
		q := store.EventQuery{Limit: 100}
		page, next, err := f.Events(f.ctx, q)
		f.must(err)
		f.add(event(1, 1, base+corpusSpan+5, "newer than the page"))
		var rest []nostr.Event
		for _, s := range page {
			rest = append(rest, s.Event)
		}
		rest = append(rest, f.pages(store.EventQuery{Limit: 100, After: next})...)
		f.equal("each once", ids(answers(events, q, f.keep)...), ids(rest...))
	})
}

func testDeleted(t *testing.T, f *fixture) {
	note, others := event(1, 1, base, "note"), event(2, 1, base, "of another")
	list := func(by int, at int64, d ...string) nostr.Event {
		var tags []nostr.Tag
		for _, value := range d {
			tags = append(tags, nostr.Tag{"d", value})
		}
		return event(by, 30023, at, fmt.Sprint(by, at, d), tags...)
	}
	address := func(by int, d string) nostr.Tag { return nostr.Tag{"a", fmt.Sprintf("30023:%s:%s", author(by), d)} }
	requests := func(at int64, tags ...nostr.Tag) nostr.Event { return event(1, 5, at, "", tags...) }
	e := func(e nostr.Event) nostr.Tag { return nostr.Tag{"e", e.ID.String()} }
	first := requests(base+100, nostr.Tag{"k", "1"})

	for _, step := range []struct {
		name    string
		event   nostr.Event
		request nostr.Event
		deleted bool
	}{
		{"own", note, requests(base+1, e(note)), true},
		{"of another", others, requests(base+2, e(others)), false},
		{"a request before the event", event(1, 1, base+50, "later"), requests(base+3, e(event(1, 1, base+50, "later"))), true},
		{"one of several tags", event(1, 7, base, "+"), requests(base+4, nostr.Tag{"e", "x"}, nostr.Tag{}, nostr.Tag{"e"}, e(event(1, 7, base, "+"))), true},
		{"not the first value", event(1, 7, base, "-"), requests(base+5, nostr.Tag{"e", note.ID.String(), event(1, 7, base, "-").ID.String()}), false},
		{"another tag", event(1, 7, base, "?"), requests(base+6, nostr.Tag{"q", event(1, 7, base, "?").ID.String()}), false},
		{"another kind", event(1, 7, base, "!"), event(1, 6, base, "", e(event(1, 7, base, "!"))), false},
		{"a request", first, requests(base+101, e(first)), false},
		{"address", list(1, base, "x"), requests(base+10, address(1, "x")), true},
		{"the same second", list(1, base+10, "x"), requests(base+10, address(1, "x")), true},
		{"a later version", list(1, base+11, "x"), requests(base+10, address(1, "x")), false},
		{"address of another", list(2, base, "x"), requests(base+12, address(2, "x")), false},
		{"another d", list(1, base, "y"), requests(base+10, address(1, "x")), false},
		{"no d", list(1, base), requests(base+13, address(1, "")), true},
		{"the first d counts", list(1, base, "one", "two"), requests(base+14, address(1, "two")), false},
		{"d with colons", list(1, base, "a:b:c"), requests(base+15, address(1, "a:b:c")), true},
		{"address with zeroes", list(1, base, "0"), requests(base+16, nostr.Tag{"a", fmt.Sprintf("030023:%s:0", author(1))}), false},
		{"address in capitals", list(1, base, "C"), requests(base+17, nostr.Tag{"a", fmt.Sprintf("30023:%s:C", strings.ToUpper(author(1).String()))}), false},
		{"address without d", list(1, base, "n"), requests(base+18, nostr.Tag{"a", "30023"}, nostr.Tag{"a", fmt.Sprintf("30023:%s", author(1))}), false},
		{"another kind's address", list(1, base, "k"), requests(base+19, nostr.Tag{"a", fmt.Sprintf("30024:%s:k", author(1))}), false},
		{"replaceable", event(1, 10002, base, ""), requests(base+20, nostr.Tag{"a", fmt.Sprintf("10002:%s:", author(1))}), true},
		{"a later replaceable", event(1, 10002, base+21, ""), requests(base+20, nostr.Tag{"a", fmt.Sprintf("10002:%s:", author(1))}), false},
		{"replaceable with d", event(1, 10003, base, "", nostr.Tag{"d", "x"}), requests(base+22, nostr.Tag{"a", fmt.Sprintf("10003:%s:x", author(1))}), false},
		{"d of nothing", event(1, 30023, base, "of nothing", nostr.Tag{"d"}, nostr.Tag{"d", "none"}), requests(base+23, nostr.Tag{"a", fmt.Sprintf("30023:%s:none", author(1))}), true},
		{"address by id", list(1, base, "z"), requests(base-100, e(list(1, base, "z"))), true},
	} {
		t.Run(step.name, func(t *testing.T) {
			f := f.in(t)
			for _, order := range [][]nostr.Event{{step.request, step.event}, {step.event, step.request}} {
				f.add(order...)
			}
			q := store.EventQuery{Filter: nostr.Filter{IDs: ids(step.event)}, Limit: 10, Public: true, Now: base}
			f.equal("deleted for strangers", step.deleted, len(f.pages(q)) == 0)
			q.Filter = nostr.Filter{Authors: []nostr.PubKey{step.event.PubKey}, Kinds: []nostr.Kind{step.event.Kind}}
			f.equal("deleted in a list", step.deleted, !slices.Contains(ids(f.pages(q)...), step.event.ID))
			f.equal("archived", 1, len(f.newest(nostr.Filter{IDs: ids(step.event)})))
		})
	}
}

func testSummaries(t *testing.T, f *fixture) {
	relays, err := f.AddRelays(f.ctx, []relay.URL{url(0), url(1)}, base)
	f.must(err)
	r := relays[0]
	filter := f.filter(nostr.Filter{})
	claim := func(lo, hi int64, level store.Level, asOf int64) store.Coverage {
		return store.Coverage{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, Level: level, AsOf: asOf, Method: "walk"}
	}
	claims := []store.Coverage{claim(100, 199, 1, base), claim(200, 250, 4, base+5), claim(300, 300, 2, base-7), claim(302, 400, 1, base)}
	f.save(store.Batch{
		Relay: r.ID, SeenAt: base, Events: notes(7),
		Claims: claims,
		Holes: []store.Hole{
			{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: 120, Hi: 120}, Kind: 1, Reason: store.HoleOverflow, Count: 3},
			{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: 130, Hi: 140}, Kind: store.AnyKind, Reason: store.HolePolicy, Count: -1},
		},
	})
	other := claim(5, 6, 1, base)
	other.Relay = relays[1].ID
	f.save(store.Batch{Relay: other.Relay, SeenAt: base, Claims: []store.Coverage{other}})
	// A claim of a part counts only where nothing is claimed of the whole.
	part := claim(500, 600, 1, base-100)
	part.Filter = f.filter(nostr.Filter{Kinds: []nostr.Kind{1}})
	f.save(store.Batch{Relay: r.ID, SeenAt: base, Claims: []store.Coverage{part}})
	for _, tt := range []struct {
		ids  []store.RelayID
		want map[store.RelayID][]store.Coverage
	}{
		{nil, map[store.RelayID][]store.Coverage{}},
		{[]store.RelayID{77}, map[store.RelayID][]store.Coverage{}},
		{[]store.RelayID{other.Relay, 77}, map[store.RelayID][]store.Coverage{other.Relay: {other}}},
		{[]store.RelayID{other.Relay, r.ID, r.ID}, map[store.RelayID][]store.Coverage{r.ID: claims, other.Relay: {other}}},
	} {
		have, err := f.Claims(f.ctx, tt.ids)
		f.must(err)
		f.equal("claims", tt.want, have)
	}
	f.must(f.SaveCalibration(f.ctx, store.Calibration{Relay: r.ID, At: base, Limit: 500, LargestPage: 321}))
	f.must(f.SaveNext(f.ctx, []store.Next{{Relay: r.ID, Service: "synchronizer", DueAt: base + 77}}))
	up := outcome(r.ID, base+9, store.StateUp, "",
		store.Check{At: base + 9, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 120.5}},
		store.Check{At: base + 9, Probe: "read", OK: true, Values: map[string]float64{store.ValueRead: 33}},
		store.Check{At: base + 9, Probe: "nip11", OK: true, Document: &store.Document{Type: "nip11", Data: []byte(`{"name":"A relay \u0000","software":"strfry"}`)}})
	f.must(f.SaveOutcomes(f.ctx, []store.Outcome{up}))
	f.refresh()

	read := func() (list []store.RelaySummary) {
		list, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 10})
		f.must(err)
		if len(list) != 2 {
			t.Fatalf("%d summaries", len(list))
		}
		if !strings.HasPrefix(list[0].Name, "A relay ") {
			t.Errorf("name %q", list[0].Name)
		}
		list[0].Name = ""
		return list
	}
	of := func(u relay.URL) store.Relay {
		r, err := f.Relay(f.ctx, u)
		f.must(err)
		return r
	}
	want := []store.RelaySummary{
		{
			Relay: of(url(0)), Introduction: store.Introduction{Software: "strfry"}, OpenMS: 120.5, ReadMS: 33, OpenP95: 120.5, ReadP95: 33, CheckedAt: base + 9, Events: 7, Lo: 100, Hi: 400,
			Level: store.LevelWalked, Gaps: 2, Holes: 2, AsOf: base - 7,
			Proved: [store.LevelFingerprint + 1]int64{0, 199, 1, 0, 51}, MaxLimit: 321, SyncDue: base + 77, CheckDue: base + 69,
		},
		{Relay: of(url(1)), SyncDue: base, CheckDue: base, Lo: 5, Hi: 6, Level: store.LevelWalked, AsOf: base, Proved: [store.LevelFingerprint + 1]int64{store.LevelWalked: 2}},
	}
	f.equal("summaries", want, read())

	// A failed check leaves the figures of the last successful one.
	f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r.ID, base+70, store.StateDown, dial.CauseTCPRefused,
		store.Check{At: base + 70, Probe: "open", Cause: dial.CauseTCPRefused, Values: map[string]float64{store.ValueOpen: 5}})}))
	want[0].Relay, want[0].CheckedAt, want[0].CheckDue = of(url(0)), base+70, base+130
	want[0].Month = store.Share{Up: 1, Watched: 61}
	f.equal("after a failed check", want, read())
}

// testAuthors asks whose events a relay has, and whose there are at all.
func testAuthors(t *testing.T, f *fixture) {
	r := f.relays(2)
	var events []nostr.Event
	for i := range 8 {
		events = append(events, event(i%4, 1, base+int64(i), fmt.Sprint("note ", i)))
	}
	f.save(store.Batch{Relay: r[0].ID, SeenAt: base, Events: events[:6]})
	f.save(store.Batch{Relay: r[1].ID, SeenAt: base, Events: events[6:]})
	f.add(event(9, 1, base, "an import"))
	for _, tt := range []struct {
		name  string
		relay store.RelayID
		limit int
		want  []nostr.PubKey
	}{
		{"of a relay", r[0].ID, 10, []nostr.PubKey{author(0), author(1), author(2), author(3)}},
		{"of another", r[1].ID, 10, []nostr.PubKey{author(2), author(3)}},
		{"of none", 77, 10, nil},
		{"of all", 0, 10, []nostr.PubKey{author(0), author(1), author(2), author(3), author(9)}},
	} {
		got, err := f.Authors(f.ctx, tt.relay, tt.limit)
		f.must(err)
		order := func(a, b nostr.PubKey) int { return bytes.Compare(a[:], b[:]) }
		slices.SortFunc(got, order)
		slices.SortFunc(tt.want, order)
		f.equal(tt.name, tt.want, got)
	}
	some, err := f.Authors(f.ctx, r[0].ID, 3)
	f.must(err)
	f.equal("at most three", 3, len(some))
	// What a relay has no longer says nothing of who writes there.
	f.save(store.Batch{Relay: r[1].ID, SeenAt: base, Gone: []nostr.Ref{{ID: events[6].ID, CreatedAt: events[6].CreatedAt}}})
	left, err := f.Authors(f.ctx, r[1].ID, 10)
	f.must(err)
	f.equal("after one is gone", []nostr.PubKey{author(3)}, left)
}

func testShown(t *testing.T, f *fixture) {
	r := f.relays(1)[0]
	document := func(kind, text string) store.Check {
		return store.Check{At: base, Probe: kind, OK: true, Document: &store.Document{Type: kind, Data: []byte(text)}}
	}
	long := strings.Repeat("ä", 150)
	for i, step := range []struct {
		check store.Check
		in    store.Introduction
		at    store.Location
	}{
		{
			check: document("nip11", `{"name":"A","software":"s","version":"1.0","supported_nips":[1,"11",1,77,"7D","123456789"],"limitation":{"auth_required":true}}`),
			in:    store.Introduction{Name: "A", Software: "s", Version: "1.0", NIPs: []string{"1", "11", "77", "7D"}, Auth: true},
		},
		{
			check: document("geo", `{"addr":"192.0.2.1","anycast":false,"country":"DE","city":"Falkenstein","lat":50.5,"lon":12.25,"asn":24940,"org":"Hetzner","precision":"city"}`),
			in:    store.Introduction{Name: "A", Software: "s", Version: "1.0", NIPs: []string{"1", "11", "77", "7D"}, Auth: true},
			at:    store.Location{Country: "DE", City: "Falkenstein", ASN: 24940, Org: "Hetzner", Lat: 50.5, Lon: 12.25},
		},
		{
			check: document("nip11", `{"name":"`+long+`","limitation":{"payment_required":true,"restricted_writes":1}}`),
			in:    store.Introduction{Name: long[:200], Payment: true, Restricted: true},
			at:    store.Location{Country: "DE", City: "Falkenstein", ASN: 24940, Org: "Hetzner", Lat: 50.5, Lon: 12.25},
		},
		{check: document("geo", `{"lat":91,"lon":0,"country":"DE"}`), in: store.Introduction{Name: long[:200], Payment: true, Restricted: true}},
		{check: document("nip11", `[]`)},
		{check: document("nip11", "no \x00 JSON")},
	} {
		step.check.At += int64(i)
		f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r.ID, step.check.At, store.StateUp, "", step.check)}))
		list, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 1})
		f.must(err)
		f.equal(fmt.Sprint("introduction ", i), step.in, list[0].Introduction)
		f.equal(fmt.Sprint("location ", i), step.at, list[0].Location)
	}
}

func testCarried(t *testing.T, f *fixture) {
	relays := f.relays(3)
	events := []nostr.Event{
		event(1, 1, base, "on all"), event(1, 7, base+1, "on two"), event(1, 7, base+86400, "on two, of the next day"),
		event(1, 3, base+2, "on one"), event(1, 1, base+3, "imported"),
	}
	f.save(store.Batch{Relay: relays[0].ID, SeenAt: base, Events: events[:4]})
	f.save(store.Batch{Relay: relays[1].ID, SeenAt: base, Events: events[:3]})
	f.save(store.Batch{Relay: relays[2].ID, SeenAt: base, Events: events[:1]})
	f.save(store.Batch{SeenAt: base, Events: events})
	f.refresh()
	kinds, err := f.RelayKinds(f.ctx, relays[1].ID, 9)
	f.must(err)
	f.equal("kinds", []store.KindTotal{{Kind: 7, Events: 2}, {Kind: 1, Events: 1}}, kinds)
	kinds, err = f.RelayKinds(f.ctx, relays[0].ID, 1)
	f.must(err)
	f.equal("the most frequent kind", []store.KindTotal{{Kind: 7, Events: 2}}, kinds)
	const day = base / 86400
	days, err := f.RelayDays(f.ctx, relays[0].ID, day, day+9)
	f.must(err)
	f.equal("days", []store.DayTotal{{Day: day, Events: 3}, {Day: day + 1, Events: 1}}, days)
	days, err = f.RelayDays(f.ctx, relays[0].ID, day+1, day+1)
	f.must(err)
	f.equal("one day", []store.DayTotal{{Day: day + 1, Events: 1}}, days)

	// carried counts the events that relays carry, by how many.
	carried := func(relay store.RelayID, n int) map[int]int {
		lists, err := f.Carriers(f.ctx, relay, n)
		f.must(err)
		counts := map[int]int{}
		for _, list := range lists {
			if relay != 0 && !slices.Contains(list, relay) {
				t.Errorf("an event of relay %d is carried by %d", relay, list)
			}
			counts[len(list)]++
		}
		return counts
	}
	f.equal("all", map[int]int{0: 1, 1: 1, 2: 2, 3: 1}, carried(0, 100))
	f.equal("of the first relay", map[int]int{1: 1, 2: 2, 3: 1}, carried(relays[0].ID, 4))
	f.equal("of the last relay", map[int]int{3: 1}, carried(relays[2].ID, 1))
	f.equal("of none", map[int]int{}, carried(77, 10))
	f.equal("none", map[int]int{}, carried(0, 0))
	for _, relay := range []store.RelayID{0, relays[0].ID} {
		n := 0
		for _, events := range carried(relay, 3) {
			n += events
		}
		if n < 1 || n > 3 {
			t.Errorf("%d events are drawn for 3", n)
		}
	}
	f.save(store.Batch{Relay: relays[1].ID, SeenAt: base, Gone: []nostr.Ref{{ID: events[0].ID, CreatedAt: events[0].CreatedAt}}})
	f.equal("after one is gone", map[int]int{0: 1, 1: 1, 2: 3}, carried(0, 100))
}

func testTotals(t *testing.T, f *fixture) {
	relays, err := f.AddRelays(f.ctx, []relay.URL{url(0), url(1), url(2), onion()}, base)
	f.must(err)
	f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(relays[0].ID, base, store.StateUp, ""), outcome(relays[1].ID, base, store.StateDown, dial.CauseTLS)}))
	f.mention(append(by(url(8), hints.List, 1), by(url(9), hints.List, 1)...)...)
	filter := f.filter(nostr.Filter{})
	for i, r := range relays[:3] {
		claim := store.Coverage{Relay: r.ID, Filter: filter, Level: store.LevelWalked, AsOf: base, Method: "walk"}
		claims := []store.Coverage{claim, claim}
		claims[0].Interval = store.Interval{Lo: base - 100, Hi: base - 51}
		claims[1].Interval, claims[1].Level = store.Interval{Lo: base - 50, Hi: base - int64(10*i)}, store.LevelCounted
		f.save(store.Batch{
			Relay: r.ID, SeenAt: base, Events: notes(5)[:i+1], Claims: claims,
			Holes: []store.Hole{
				{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: base, Hi: base}, Kind: 1, Reason: store.HoleOverflow, Count: 10},
				{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: base, Hi: base}, Kind: store.AnyKind, Reason: store.HolePolicy, Count: -1},
			},
			Rejected: []store.Rejected{{Reason: "id", Raw: fmt.Append(nil, i)}},
		})
	}
	f.refresh()
	got, err := f.Totals(f.ctx, base+5)
	f.must(err)
	if got.Bytes <= 0 {
		t.Errorf("%d bytes on disk", got.Bytes)
	}
	got.Bytes = 0
	slices.SortFunc(got.Relays, func(a, b store.RelayTotal) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.State, b.State))
	})
	slices.SortFunc(got.Levels, func(a, b store.LevelTotal) int { return cmp.Compare(a.Level, b.Level) })
	f.equal("totals", store.Totals{
		Relays: []store.RelayTotal{
			{Network: relay.Clearnet, State: store.StateDown, Relays: 1},
			{Network: relay.Clearnet, State: store.StateNew, Relays: 1},
			{Network: relay.Clearnet, State: store.StateUp, Relays: 1},
			{Network: relay.Tor, State: store.StateNew, Relays: 1},
		},
		Candidates: 2, Events: 3, Sightings: 6, Authors: 3, Oldest: base, Newest: base + 2,
		Levels: []store.LevelTotal{{Level: store.LevelWalked, Relays: 3, Seconds: 150}, {Level: store.LevelCounted, Relays: 3, Seconds: 51 + 41 + 31}},
		Holes:  6, HoleEvents: 30, Rejected: 3, LagMedian: 15, LagMax: 25,
	}, got)
}

package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// exotic has events that are allowed and that a database may not like.
func exotic() map[string]nostr.Event {
	text := func(s string) nostr.Event {
		return event(1, 1, base, s, nostr.Tag{"t", s}, nostr.Tag{s, "x", s}, nostr.Tag{s})
	}
	many := make([]nostr.Tag, 24_000)
	for i := range many {
		many[i] = nostr.Tag{"p", fmt.Sprint("value ", i)}
	}
	controls := make([]byte, 0, 33)
	for c := range byte(' ') {
		controls = append(controls, c)
	}
	return map[string]nostr.Event{
		"no text":                  event(1, 1, base, ""),
		"no tags":                  event(1, 1, base, "no tags"),
		"an empty tag":             event(1, 1, base, "", nostr.Tag{}),
		"empty tags":               event(1, 1, base, "", nostr.Tag{}, nostr.Tag{""}, nostr.Tag{"", ""}, nostr.Tag{}),
		"tags of one letter":       event(1, 1, base, "", nostr.Tag{"e"}, nostr.Tag{"e", ""}, nostr.Tag{"e", "", ""}),
		"the same tag twice":       event(1, 1, base, "", nostr.Tag{"t", "x"}, nostr.Tag{"t", "x"}, nostr.Tag{"t", "x", "y"}),
		"NUL":                      text("a\x00b"),
		"only NUL":                 text("\x00"),
		"a lone high surrogate":    text("a\xed\xa0\x80b"),
		"a lone low surrogate":     text("\xed\xbf\xbf"),
		"surrogates the wrong way": text("\xed\xb0\x80\xed\xa0\x80"),
		"NUL and a surrogate":      text("\x00\xed\xa0\x80\x00"),
		"control characters":       text(string(controls[1:]) + "\x7f\u0080\u009f"),
		"all control characters":   text(string(controls)),
		"line separators":          text("a\u2028b\u2029c\u0085d\r\n"),
		"marks of byte order":      text("\ufeffa\ufffe\uffff"),
		"the replacement":          text("\ufffd\ufffd"),
		"the last character":       text("\U0010ffff\U0001f600"),
		"combining":                text("e\u0301\u202e\u200d\u0000\u0301"),
		"quotes and backslashes":   text(`"\"\\"'';--\u0000\x00\`),
		"JSON":                     text(`[["e","x"],{"a":null}]`),
		"a number":                 text("0123.50e10"),
		"another number":           text("9223372036854775808"),
		"NULL":                     text("NULL"),
		"white space":              text("  \t\n "),
		"24,000 tags":              event(1, 3, base, "", many...),
		"1.8 MB of text":           event(1, 1, base, strings.Repeat("0123456789abcdef\n\"\\é", 1_800_000/21)),
		"1.8 MB with NUL":          event(1, 1, base, "\x00"+strings.Repeat("0123456789abcde\x00\n", 1_800_000/17)),
		"1.8 MB in a tag":          event(1, 1, base, "", nostr.Tag{"t", strings.Repeat("x", 1_800_000)}),
		"1970":                     event(1, 1, 0, ""),
		"the last exact double":    event(1, 1, 1<<53, ""),
		"the end of time":          event(1, 1, math.MaxInt64, ""),
		"kind 0":                   event(1, 0, base, "{}"),
		"kind 65536":               event(1, 65536, base, ""),
		"a large kind":             event(1, 1<<40, base, ""),
		"the largest kind":         event(1, math.MaxInt64, base, ""),
		"a deletion of nothing":    event(1, 5, base, "", nostr.Tag{"e"}, nostr.Tag{"a"}, nostr.Tag{"e", "x"}, nostr.Tag{"a", "::"}),
		"expired":                  event(1, 1, base, "", nostr.Tag{"expiration", "1"}),
		"expires at no time":       event(1, 1, base, "", nostr.Tag{"expiration", "99999999999999999999"}, nostr.Tag{"expiration"}),
	}
}

// vanish is a request to vanish that names relays (NIP-62).
func vanish(by int, at int64, relays ...string) nostr.Event {
	var tags []nostr.Tag
	for _, r := range relays {
		tags = append(tags, nostr.Tag{"relay", r})
	}
	return event(by, 62, at, "", tags...)
}

const everyRelay = "ALL_RELAYS"

func testArchive(t *testing.T, open opener) {
	t.Run("reads back exactly", func(t *testing.T) { testExotic(t, newFixture(t, open)) })
	t.Run("vanish", func(t *testing.T) { testVanish(t, open) })
	t.Run("scan", func(t *testing.T) { testScan(t, newFixture(t, open)) })
	t.Run("interrupted", func(t *testing.T) { testInterrupted(t, newFixture(t, open)) })
	t.Run("many at once", func(t *testing.T) { testConcurrent(t, newFixture(t, open)) })
	cases(t, open, map[string]func(*testing.T, *fixture){
		"known in the order asked": func(t *testing.T, f *fixture) {
			f.equal("none", 0, len(f.seqs()))
			events := notes(100)
			f.add(events[:50]...)
			order := []int{70, 3, 49, 3, 0, 50, 99, 17}
			var asked []nostr.Event
			for _, i := range order {
				asked = append(asked, events[i])
			}
			got := f.seqs(asked...)
			if len(got) != len(order) {
				t.Fatalf("%d answers to %d", len(got), len(order))
			}
			for i, n := range order {
				if (got[i] != 0) != (n < 50) {
					t.Errorf("event %d: number %d", n, got[i])
				}
			}
			if got[1] != got[3] {
				t.Errorf("one event has the numbers %d and %d", got[1], got[3])
			}
			f.equal("all", 50, len(slices.DeleteFunc(f.seqs(events...), func(s store.Seq) bool { return s == 0 })))
		},
		"numbered in the order given": func(t *testing.T, f *fixture) {
			events := notes(40)
			slices.Reverse(events)
			f.add(events[:20]...)
			f.add(append(events[10:15:15], events[20:]...)...) // numbers are given to new ones only
			seqs := f.seqs(events...)
			for i, s := range seqs {
				if i > 0 && s <= seqs[i-1] || s <= 0 {
					t.Fatalf("numbers %d", seqs)
				}
			}
			f.equal("archive", events, f.archived())
		},
		"twice equals once": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			filter, err := f.FilterID(f.ctx, nostr.Filter{})
			f.must(err)
			events := notes(10)
			f.add(events[9])
			b := store.Batch{
				Relay: r.ID, SeenAt: base + 5, Events: append(events[:8:8], events[3], event(1, 20001, base, "")),
				Known:    []store.Seen{{Seq: f.seqs(events[9])[0], CreatedAt: events[9].CreatedAt}},
				Rejected: []store.Rejected{{Reason: "id", Raw: []byte("{}")}},
				Claims:   []store.Coverage{{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: 5, Hi: 9}, Level: 1, AsOf: base, Method: "walk", N: 3}},
				Holes:    []store.Hole{{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: 6, Hi: 6}, Kind: 1, Reason: store.HoleOverflow, Count: 2, SeenAt: base, NextTry: base + 9}},
			}
			f.equal("first", store.Saved{New: 8, Known: 1, Refused: []nostr.ID{b.Events[9].ID}}, f.save(b))
			type state struct {
				Scanned  []store.Scanned
				Totals   store.Totals
				Coverage []store.Coverage
				Holes    []store.Hole
				Relays   []store.Carried
			}
			look := func() (s state) {
				s.Scanned, s.Totals = f.scan("", nostr.Filter{}), f.totals()
				s.Totals.Bytes = 0
				var err error
				s.Coverage, s.Holes, err = f.RelayCoverage(f.ctx, r.ID)
				f.must(err)
				s.Relays, err = f.EventRelays(f.ctx, events[9].ID)
				f.must(err)
				return s
			}
			before := look()
			f.equal("relays", []store.Carried{{URL: r.URL, SeenAt: base + 5}}, before.Relays)
			f.equal("totals", []int64{9, 9, 1, 1}, []int64{before.Totals.Events, before.Totals.Sightings, before.Totals.Rejected, before.Totals.Holes})
			f.equal("second", store.Saved{Known: 9, Refused: []nostr.ID{b.Events[9].ID}}, f.save(b))
			f.equal("state", before, look())
		},
		"an empty batch": func(t *testing.T, f *fixture) {
			f.equal("saved", store.Saved{}, f.save(store.Batch{}))
			f.equal("saved of a relay", store.Saved{}, f.save(store.Batch{Relay: f.relays(1)[0].ID, SeenAt: base}))
		},
		"first seen stays": func(t *testing.T, f *fixture) {
			e := notes(1)
			f.save(store.Batch{SeenAt: base + 10, Events: e})
			f.save(store.Batch{SeenAt: base + 99, Events: e, Relay: f.relays(1)[0].ID})
			f.equal("first seen", base+10, f.scan("", nostr.Filter{})[0].FirstSeen)
		},
		"sightings": func(t *testing.T, f *fixture) {
			r := f.relays(4)
			events := notes(3)
			f.add(events[0]) // an import is no sighting
			f.save(store.Batch{Relay: r[2].ID, SeenAt: base + 10, Events: events})
			f.save(store.Batch{Relay: r[0].ID, SeenAt: base + 20, Known: []store.Seen{{Seq: f.seqs(events[0])[0], CreatedAt: events[0].CreatedAt}}})
			f.save(store.Batch{Relay: r[1].ID, SeenAt: base + 30, Events: events[:2]})
			f.save(store.Batch{Relay: r[2].ID, SeenAt: base + 40, Events: events}) // seen before
			f.add(event(9, 1, base, "imported"))
			for _, step := range []struct {
				event nostr.Event
				want  []store.Carried
			}{
				{events[0], []store.Carried{{URL: r[2].URL, SeenAt: base + 10}, {URL: r[0].URL, SeenAt: base + 20}, {URL: r[1].URL, SeenAt: base + 30}}},
				{events[1], []store.Carried{{URL: r[2].URL, SeenAt: base + 10}, {URL: r[1].URL, SeenAt: base + 30}}},
				{events[2], []store.Carried{{URL: r[2].URL, SeenAt: base + 10}}},
				{event(9, 1, base, "imported"), nil},
			} {
				got, err := f.EventRelays(f.ctx, step.event.ID)
				f.must(err)
				f.equal(step.event.Content, step.want, got)
			}
			f.equal("sum", int64(6), f.totals().Sightings)
		},
		"ephemeral kinds": func(t *testing.T, f *fixture) {
			events := []nostr.Event{
				event(1, 19999, base, ""), event(1, 20000, base, ""), event(1, 22242, base, ""), event(1, 29999, base, ""), event(1, 30000, base, ""),
			}
			f.equal("without", store.Saved{New: 2, Refused: ids(events[1:4]...)}, f.add(events...))
			f.equal("archive", []nostr.Event{events[0], events[4]}, f.archived())
			f.equal("with", store.Saved{New: 3, Known: 2}, f.save(store.Batch{SeenAt: base, Events: events, Ephemeral: true}))
			f.equal("archive", []nostr.Event{events[0], events[4], events[1], events[2], events[3]}, f.archived())
		},
		"poison": func(t *testing.T, f *fixture) {
			good := notes(2)
			bad := []nostr.Event{
				event(1, 1, base, "\xff\xfe"), event(1, 1, base, "", nostr.Tag{"t", "\xc3"}), event(1, 1, -1, ""), event(1, -1, base, ""),
				event(1, 1, math.MinInt64, ""), event(1, math.MinInt64, base, "\x00"), event(1, 1, base, "\x00\xff"),
			}
			f.add(append(append([]nostr.Event{good[0]}, bad...), good[1])...)
			f.equal("good ones", []bool{true, true}, []bool{f.seqs(good[0])[0] > 0, f.seqs(good[1])[0] > 0})
			// Whatever became of the bad ones, the archive stays readable, and what is there is exact.
			for _, e := range f.archived() {
				i := slices.IndexFunc(bad, func(b nostr.Event) bool { return b.ID == e.ID })
				if i >= 0 {
					f.equal("read back", bad[i], e)
				}
			}
			f.newest(nostr.Filter{})
			f.totals()
		},
		"quarantine": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			reject := func(id store.RelayID, n int) {
				var list []store.Rejected
				for i := range n {
					list = append(list, store.Rejected{Reason: "json", Raw: fmt.Appendf(nil, "row %d \x00\xff", i)})
				}
				f.save(store.Batch{Relay: id, SeenAt: base, Rejected: list})
			}
			reject(r[0].ID, 10)
			reject(r[0].ID, 10)
			f.equal("twice the same", int64(10), f.totals().Rejected)
			reject(r[1].ID, 10)
			reject(0, 10)
			f.equal("of two relays and a file", int64(30), f.totals().Rejected)
			reject(r[0].ID, store.MaxQuarantine+200)
			f.equal("more than are kept", int64(store.MaxQuarantine+200+20), f.totals().Rejected)
			f.save(store.Batch{Relay: r[1].ID, SeenAt: base, Rejected: []store.Rejected{
				{Reason: "size", Raw: make([]byte, 10*store.MaxRejected)}, {Reason: "size"}, {Reason: "json", Raw: []byte{}},
			}})
			f.equal("archive", 0, len(f.archived()))
		},
	})
}

func testExotic(t *testing.T, f *fixture) {
	events := exotic()
	all := make([]nostr.Event, 0, len(events))
	for _, e := range events {
		all = append(all, e)
	}
	f.equal("saved", store.Saved{New: len(all)}, f.add(all...))
	scanned := make(map[nostr.ID]nostr.Event)
	for _, e := range f.archived() {
		scanned[e.ID] = e
	}
	for name, want := range events {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			f.equal("scanned", want, scanned[want.ID])
			found, _, err := f.Events(f.ctx, store.EventQuery{Filter: nostr.Filter{IDs: []nostr.ID{want.ID}}, Limit: 1})
			f.must(err)
			if len(found) != 1 {
				t.Fatalf("found %d by id", len(found))
			}
			got := found[0].Event
			f.equal("read", want, got)
			if !f.keep.Full(got.Kind) {
				f.whole(found[0])
			} else if sum := sha256.Sum256(got.AppendCanonical(nil)); sum != want.ID {
				t.Errorf("does not hash to its id any more")
			}
			if len(want.Tags) > 0 && store.Indexed(want.Tags[0]) {
				tag := want.Tags[0]
				found, _, err = f.Events(f.ctx, store.EventQuery{Filter: nostr.Filter{Tags: map[string][]string{tag[0]: {tag[1]}}, Kinds: []nostr.Kind{want.Kind}}, Limit: 1000})
				f.must(err)
				if !slices.ContainsFunc(found, func(s store.Stored) bool { return s.Event.ID == want.ID }) {
					t.Errorf("not found by its tag")
				}
			}
		})
	}
}

func testVanish(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"deletes and keeps out": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			before := []nostr.Event{
				event(1, 1, base-5, "old"), event(1, 5, base-4, "", nostr.Tag{"e", author(1).String()}), event(1, 30023, base-1, "", nostr.Tag{"d", "x"}),
				event(1, 1, base, "same second"), event(1, 0, 0, "\x00"),
			}
			after := event(1, 1, base+1, "later")
			other := event(2, 1, base-5, "of another", nostr.Tag{"p", author(1).String()})
			f.save(store.Batch{Relay: r[0].ID, SeenAt: base, Events: append(before[:5:5], after, other)})
			f.save(store.Batch{Relay: r[1].ID, SeenAt: base, Events: before})
			gone := f.seqs(before...)
			f.save(store.Batch{Relay: r[0].ID, SeenAt: base + 2, Events: []nostr.Event{vanish(1, base, everyRelay)}})
			late := event(1, 1, base-100, "new, but older than the request")

			check := func() {
				t.Helper()
				f.equal("numbers", make([]store.Seq, 6), f.seqs(append(before[:5:5], late)...))
				left := f.archived()
				left = slices.DeleteFunc(left, func(e nostr.Event) bool { return e.Kind == 62 })
				f.equal("left", []nostr.Event{after, other}, left)
				read := f.newest(nostr.Filter{Authors: []nostr.PubKey{author(1)}, Kinds: []nostr.Kind{0, 1, 5, 30023}})
				f.equal("read", []nostr.Event{after}, read)
				for _, e := range before {
					if relays, err := f.EventRelays(f.ctx, e.ID); !errors.Is(err, store.ErrNotFound) {
						t.Errorf("EventRelays = %v, %v, want %v", relays, err, store.ErrNotFound)
					}
				}
			}
			check()
			f.equal("again", store.Saved{Known: 1, Refused: ids(before[4], before[3], late, before[0])},
				f.save(store.Batch{Relay: r[1].ID, SeenAt: base + 3, Events: []nostr.Event{before[4], before[3], after, late, before[0]}}))
			// A caller may still hold the numbers.
			var seen []store.Seen
			for i, s := range gone {
				seen = append(seen, store.Seen{Seq: s, CreatedAt: before[i].CreatedAt})
			}
			f.save(store.Batch{Relay: r[1].ID, SeenAt: base + 4, Known: seen})
			check()
			sightings := int64(3) // after twice, other once
			if f.seqs(vanish(1, base, everyRelay))[0] != 0 {
				sightings++
			}
			f.equal("sightings", sightings, f.totals().Sightings)
			if d, err := f.Recount(f.ctx); err != nil || len(d) != 0 {
				t.Errorf("Recount = %v, %v", d, err)
			}
		},
		"in the same batch": func(t *testing.T, f *fixture) {
			request := vanish(1, base, "wss://one.nostr.org", everyRelay)
			f.add(event(1, 1, base-1, "before it"), request, event(1, 1, base-2, "behind it"), event(1, 1, base+1, "later"), event(2, 1, base, "other"))
			left := slices.DeleteFunc(f.archived(), func(e nostr.Event) bool { return e.Kind == 62 })
			f.equal("left", []nostr.Event{event(1, 1, base+1, "later"), event(2, 1, base, "other")}, left)
		},
		"the latest counts": func(t *testing.T, f *fixture) {
			f.add(vanish(1, base, everyRelay))
			f.add(vanish(1, base-50, everyRelay))
			f.equal("an older request does not shorten", store.Saved{Refused: ids(event(1, 1, base, ""))}, f.add(event(1, 1, base, "")))
			f.equal("after the request", store.Saved{New: 1}, f.add(event(1, 1, base+5, "")))
			f.add(vanish(1, base+10, everyRelay))
			f.equal("a newer request", []store.Seq{0}, f.seqs(event(1, 1, base+5, "")))
			f.equal("another author", store.Saved{New: 1}, f.add(event(2, 1, base, "")))
		},
		"of others nothing": func(t *testing.T, f *fixture) {
			e := event(1, 1, base-1, "stays")
			f.add(e)
			for _, request := range []nostr.Event{
				vanish(1, base), vanish(1, base, "wss://one.nostr.org"), vanish(1, base, "all_relays"), vanish(1, base, ""),
				event(1, 62, base, everyRelay), event(1, 62, base, "", nostr.Tag{"relay"}, nostr.Tag{"r", everyRelay}, nostr.Tag{"relay", "x", everyRelay}),
				event(1, 63, base, "", nostr.Tag{"relay", everyRelay}), vanish(2, base, everyRelay),
			} {
				f.add(request)
				if f.seqs(e)[0] == 0 {
					t.Fatalf("deleted by %s", request.AppendJSON(nil))
				}
			}
			f.equal("new ones", store.Saved{New: 1}, f.add(event(1, 1, base-2, "new")))
		},
		"of many events": func(t *testing.T, f *fixture) {
			var events []nostr.Event
			for i := range 1500 {
				events = append(events, event(1, 1, base+int64(i), "", nostr.Tag{"t", fmt.Sprint(i % 7)}))
			}
			f.add(events[:900]...)
			f.refresh()
			f.add(events[900:]...)
			f.add(vanish(1, base+1400, everyRelay))
			f.equal("left", events[1401:], slices.DeleteFunc(f.archived(), func(e nostr.Event) bool { return e.Kind == 62 }))
			f.equal("by tag", 14, len(f.newest(nostr.Filter{Tags: map[string][]string{"t": {"3"}}})))
		},
	})
}

func testScan(t *testing.T, f *fixture) {
	var events []nostr.Event
	for i := range 1300 {
		events = append(events, event(i%7, nostr.Kind(i%3), base+int64((i*7919)%1000), fmt.Sprint(i), nostr.Tag{"t", fmt.Sprint(i % 11)}))
	}
	f.add(events...)
	for _, tt := range []struct {
		name   string
		filter nostr.Filter
	}{
		{"all", nostr.Filter{}},
		{"empty lists", nostr.Filter{Kinds: []nostr.Kind{}, Authors: []nostr.PubKey{}, Tags: map[string][]string{"t": {}}}},
		{"kinds", nostr.Filter{Kinds: []nostr.Kind{0, 2, 77}}},
		{"author and time", nostr.Filter{Authors: []nostr.PubKey{author(3)}, Since: new(base + 100), Until: new(base + 200)}},
		{"tag", nostr.Filter{Tags: map[string][]string{"t": {"3", "5"}}}},
		{"ids", nostr.Filter{IDs: ids(events[1200], events[4], event(1, 1, 1, "not there"))}},
		{"limit", nostr.Filter{Limit: new(700)}},
		{"limit of a rare kind", nostr.Filter{Limit: new(3), Authors: []nostr.PubKey{author(6)}, Kinds: []nostr.Kind{2}}},
		{"limit zero", nostr.Filter{Limit: new(0)}},
		{"nothing", nostr.Filter{Kinds: []nostr.Kind{9}}},
		{"since after until", nostr.Filter{Since: new(base + 5), Until: new(base)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			var want []nostr.Event
			for _, e := range events {
				if tt.filter.Matches(&e) && (tt.filter.Limit == nil || len(want) < *tt.filter.Limit) {
					want = append(want, e)
				}
			}
			var got []nostr.Event
			last := store.Seq(0)
			scanned := f.scan("", tt.filter)
			for _, s := range scanned {
				if s.Seq <= last || s.FirstSeen != base {
					t.Errorf("number %d after %d, first seen %d", s.Seq, last, s.FirstSeen)
				}
				last = s.Seq
				got = append(got, s.Event)
			}
			f.equal("scanned", want, got)
			if tt.filter.Limit != nil {
				return
			}
			for _, at := range []int{0, len(scanned) / 2, len(scanned) - 1} { // what follows each cursor
				if at >= 0 && at < len(scanned) {
					f.equal("resumed", scanned[at+1:], f.scan(scanned[at].Cursor, tt.filter))
				}
			}
		})
	}
	t.Run("left early, written meanwhile", func(t *testing.T) {
		f := f.in(t)
		n := 0
		var cursor store.Cursor
		for s, err := range f.ScanEvents(f.ctx, "", nostr.Filter{}) {
			f.must(err)
			if n++; n == 3 {
				cursor = s.Cursor
				break
			}
			f.save(store.Batch{SeenAt: base, Events: []nostr.Event{event(50, 1, base, fmt.Sprint("meanwhile ", n))}})
		}
		rest := f.scan(cursor, nostr.Filter{})
		f.equal("the rest", append(events[3:len(events):len(events)], event(50, 1, base, "meanwhile 1"), event(50, 1, base, "meanwhile 2")), func() (got []nostr.Event) {
			for _, s := range rest {
				got = append(got, s.Event)
			}
			return got
		}())
		f.equal("behind the last", 0, len(f.scan(rest[len(rest)-1].Cursor, nostr.Filter{})))
	})
	t.Run("not a cursor", func(t *testing.T) {
		for _, c := range []store.Cursor{"x", "1e3", "-1", "1 ", "' OR 1=1", "99999999999999999999"} {
			n := 0
			for _, err := range f.ScanEvents(f.ctx, c, nostr.Filter{}) {
				if n++; !errors.Is(err, store.ErrCursor) {
					t.Errorf("cursor %q: %v, want %v", c, err, store.ErrCursor)
				}
			}
			if n != 1 {
				t.Errorf("cursor %q: %d results", c, n)
			}
		}
	})
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(f.ctx)
		defer cancel()
		n := 0
		var failed error
		for _, err := range f.ScanEvents(ctx, "", nostr.Filter{}) {
			n++
			failed = err
			cancel()
		}
		if !errors.Is(failed, context.Canceled) || n > 1000 {
			t.Errorf("%d results, the last with %v", n, failed)
		}
	})
}

func testInterrupted(t *testing.T, f *fixture) {
	r := f.relays(1)[0]
	filter, err := f.FilterID(f.ctx, nostr.Filter{})
	f.must(err)
	there := event(9, 1, base, "there")
	f.add(there)
	b := store.Batch{
		Relay: r.ID, SeenAt: base, Events: append(notes(600), event(1, 20001, base, "")),
		Known:    []store.Seen{{Seq: f.seqs(there)[0], CreatedAt: base}},
		Rejected: []store.Rejected{{Reason: "id", Raw: []byte("{}")}},
		Claims:   []store.Coverage{{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: 5, Hi: 9}, Level: 1, AsOf: base, Method: "walk"}},
		Holes:    []store.Hole{{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: 6, Hi: 6}, Kind: 1, Reason: store.HoleOverflow}},
	}
	b.Events = append(b.Events, vanish(9, base-1, everyRelay))
	f.interrupted(func(ctx context.Context) error {
		_, err := f.SaveBatch(ctx, b)
		return err
	}, func() {
		f.equal("archive", []nostr.Event{there}, f.archived())
		claims, holes, err := f.RelayCoverage(f.ctx, r.ID)
		f.must(err)
		totals := f.totals()
		f.equal("claims, holes, sightings, rejected", []int64{0, 0, 0, 0}, []int64{int64(len(claims)), int64(len(holes)), totals.Sightings, totals.Rejected})
		if t.Failed() {
			t.FailNow()
		}
	})
	claims, holes, err := f.RelayCoverage(f.ctx, r.ID)
	f.must(err)
	totals := f.totals()
	f.equal("in the end", []int64{602, 1, 1, 602, 1}, []int64{totals.Events, int64(len(claims)), int64(len(holes)), totals.Sightings, totals.Rejected})
	// Numbers of batches that failed are not lost, or the order would have gaps that readers wait for.
	f.equal("saved after all", store.Saved{New: 1}, f.add(event(3, 1, base, "next")))
}

// testConcurrent is worth most under the race detector.
func testConcurrent(t *testing.T, f *fixture) {
	const writers, rounds, size = 4, 6, 40
	relays := f.relays(writers)
	events := notes(rounds * size)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	var writing, reading sync.WaitGroup
	for w, r := range relays {
		writing.Go(func() { // every writer brings every event, each in another order
			for i := range rounds {
				at := (i + w) % rounds * size
				if _, err := f.SaveBatch(ctx, store.Batch{Relay: r.ID, SeenAt: base, Events: events[at : at+size]}); err != nil {
					t.Errorf("save: %v", err)
				}
				if _, err := f.Refresh(ctx, 50); err != nil {
					t.Errorf("refresh: %v", err)
				}
				if err := f.SaveNext(ctx, []store.Next{{Relay: r.ID, Service: "synchronizer", DueAt: base}}); err != nil {
					t.Errorf("reschedule: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	for range 3 {
		reading.Go(func() {
			for {
				seen := make(map[store.Seq]bool)
				for s, err := range f.ScanEvents(ctx, "", nostr.Filter{}) {
					if err != nil || seen[s.Seq] {
						t.Errorf("scan: %d again, or %v", s.Seq, err)
						return
					}
					seen[s.Seq] = true
				}
				if _, err := f.Known(ctx, refs(events...)); err != nil {
					t.Errorf("known: %v", err)
				}
				if _, _, err := f.Events(ctx, store.EventQuery{Filter: nostr.Filter{Authors: []nostr.PubKey{author(2)}}, Limit: 20, Public: true}); err != nil {
					t.Errorf("read: %v", err)
				}
				if _, err := f.Totals(ctx, base); err != nil {
					t.Errorf("totals: %v", err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	totals := f.totals()
	f.equal("events and sightings", []int64{rounds * size, writers * rounds * size}, []int64{totals.Events, totals.Sightings})
	f.equal("archive", rounds*size, len(f.archived()))
	if d, err := f.Recount(f.ctx); err != nil || len(d) != 0 {
		t.Errorf("Recount = %v, %v", d, err)
	}
	// A relay is leased to one of many who ask at once.
	var mu sync.Mutex
	leased := make(map[store.RelayID]int)
	for w := range 8 {
		writing.Go(func() {
			work, err := f.DueRelays(ctx, store.Due{Service: "monitor", Now: base, Limit: 2, Owner: fmt.Sprint(w), Until: base + 100})
			if err != nil {
				t.Errorf("lease: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, one := range work {
				leased[one.Relay.ID]++
			}
		})
	}
	writing.Wait()
	for _, r := range relays {
		if leased[r.ID] != 1 {
			t.Errorf("relay %d was leased %d times", r.ID, leased[r.ID])
		}
	}
}

package storetest

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

func testVersions(t *testing.T, open opener) {
	f := newFixture(t, open)
	none, err := f.Superseded(f.ctx, nil)
	f.must(err)
	f.equal("of nothing", 0, len(none))
	events := corpus(600)
	// Versions of one second, of which the lowest id counts, and of a d tag that
	// is absent, empty and there twice.
	for i := range 4 {
		events = append(events,
			event(1, 10002, base+corpusSpan, string(rune('a'+i))),
			event(2, 30023, base+corpusSpan, string(rune('a'+i)), nostr.Tag{"d"}),
			event(2, 30023, base+corpusSpan+int64(i), string(rune('a'+i)), nostr.Tag{"d", ""}, nostr.Tag{"d", "x"}))
	}
	f.deliver(f.relays(3), events)
	check := func(f *fixture, events []nostr.Event) {
		f.t.Helper()
		list := make([]store.Stored, 0, len(events))
		for _, s := range f.scan("", nostr.Filter{}) {
			list = append(list, s.Stored)
		}
		got, err := f.Superseded(f.ctx, list)
		f.must(err)
		for i, s := range list {
			if want := superseded(events, s.Event.ID); got[i] != want {
				f.t.Errorf("%s of kind %d at +%d: superseded %t, want %t", s.Event.ID, s.Event.Kind, s.Event.CreatedAt-base, got[i], want)
			}
		}
	}
	check(f, events)
	t.Run("any of them", func(t *testing.T) {
		var list []store.Stored
		for _, s := range f.in(t).scan("", nostr.Filter{}) {
			list = append(list, s.Stored)
		}
		rapid.Check(t, func(rt *rapid.T) {
			f := f.in(rt)
			some := rapid.SliceOfN(rapid.SampledFrom(list), 0, 40).Draw(rt, "events")
			got, err := f.Superseded(f.ctx, some)
			f.must(err)
			for i, s := range some {
				if want := superseded(events, s.Event.ID); got[i] != want {
					rt.Fatalf("%s of kind %d at +%d: superseded %t, want %t", s.Event.ID, s.Event.Kind, s.Event.CreatedAt-base, got[i], want)
				}
			}
		})
	})
	t.Run("a newer one comes", func(t *testing.T) {
		f := f.in(t)
		old := event(7, 30023, base, "old", nostr.Tag{"d", "page"})
		other := event(7, 30023, base+9, "other", nostr.Tag{"d", "another page"})
		f.add(old, other)
		read := func() store.Stored {
			page, _, err := f.Events(f.ctx, store.EventQuery{Filter: nostr.Filter{IDs: ids(old)}, Limit: 1})
			f.must(err)
			return page[0]
		}
		stored := read()
		for _, step := range []struct {
			add  []nostr.Event
			want bool
		}{
			{nil, false},
			{[]nostr.Event{event(7, 30023, base-1, "older", nostr.Tag{"d", "page"})}, false},
			{[]nostr.Event{event(8, 30023, base+1, "of another author", nostr.Tag{"d", "page"})}, false},
			{[]nostr.Event{event(7, 30024, base+1, "of another kind", nostr.Tag{"d", "page"})}, false},
			// Whether it may be served makes no difference.
			{[]nostr.Event{event(7, 30023, base+1, "newer", nostr.Tag{"d", "page"}, nostr.Tag{"expiration", "1"})}, true},
		} {
			f.add(step.add...)
			got, err := f.Superseded(f.ctx, []store.Stored{stored})
			f.must(err)
			f.equal("superseded", step.want, got[0])
		}
	})
	t.Run("an author of many lines", func(t *testing.T) {
		f := f.in(t)
		report := func(author int, at int64, ds ...string) nostr.Event {
			var tags []nostr.Tag
			for _, d := range ds {
				tags = append(tags, nostr.Tag{"d", d})
			}
			return event(author, 30166, base+at, "report", tags...)
		}
		var events []nostr.Event
		for i := range 300 {
			events = append(events, report(11, 100+int64(i%100), fmt.Sprint("filler ", i)))
		}
		asked := []nostr.Event{
			report(11, 1, "superseded"), report(11, 1, "newest"), report(11, 1, "by another"), report(11, 1, "second of another"),
			report(11, 1, "crowded"), report(11, 1, "crowded, newest"),
		}
		for i := range 6 {
			asked = append(asked, event(11, 30166, base+1, fmt.Sprint(i), nostr.Tag{"d", "of one second"}))
		}
		events = append(events, asked...)
		events = append(events, report(11, 500, "superseded"), report(11, 0, "newest"), report(12, 500, "by another"),
			report(11, 500, "first", "second of another"), report(11, 400, "crowded"))
		for i := range 220 {
			events = append(events, report(12, 600+int64(i), "crowded"), report(12, 600+int64(i), "crowded, newest"))
		}
		empty := event(11, 30166, base+2, "empty", nostr.Tag{"d", ""})
		f.add(append(events, empty, event(11, 30166, base+3, "none"))...)
		// Whoever vanishes makes SQLite move what is new into its index.
		f.add(event(13, store.KindVanish, base, "", nostr.Tag{"relay", "ALL_RELAYS"}))
		page, _, err := f.Events(f.ctx, store.EventQuery{Filter: nostr.Filter{IDs: ids(asked...)}, Limit: 100})
		f.must(err)
		f.equal("events", len(asked), len(page))
		// All together, and each alone.
		got, err := f.Superseded(f.ctx, page)
		f.must(err)
		for i := range page {
			alone, err := f.Superseded(f.ctx, page[i:i+1])
			f.must(err)
			if want := superseded(events, page[i].Event.ID); got[i] != want || alone[0] != want {
				t.Errorf("%s: superseded %t, alone %t, want %t", page[i].Event.AppendJSON(nil), got[i], alone[0], want)
			}
		}
		page, _, err = f.Events(f.ctx, store.EventQuery{Filter: nostr.Filter{IDs: ids(empty)}, Limit: 1})
		f.must(err)
		got, err = f.Superseded(f.ctx, page)
		f.must(err)
		f.equal("superseded by one without a d tag", true, got[0])
	})
	t.Run("head", func(t *testing.T) {
		f := f.in(t)
		head, err := f.Head(f.ctx)
		f.must(err)
		f.equal("behind the head", 0, len(f.scan(head, nostr.Filter{})))
		late := []nostr.Event{event(1, 1, base, "late"), event(1, 1, base-5, "later")}
		f.add(late[0])
		f.add(late[1])
		var got []nostr.Event
		for _, s := range f.scan(head, nostr.Filter{}) {
			got = append(got, s.Event)
		}
		f.equal("since then", late, got)
	})
}

// superseded is the naive judge.
func superseded(events []nostr.Event, id nostr.ID) bool {
	var e nostr.Event
	for i := range events {
		if events[i].ID == id {
			e = events[i]
		}
	}
	d := func(e *nostr.Event) string {
		for _, t := range e.Tags {
			if e.Kind.IsAddressable() && len(t) > 1 && t[0] == "d" {
				return t[1]
			}
		}
		return ""
	}
	if !e.Kind.IsReplaceable() && !e.Kind.IsAddressable() {
		return false
	}
	for i := range events {
		o := &events[i]
		if o.PubKey == e.PubKey && o.Kind == e.Kind && d(o) == d(&e) &&
			(o.CreatedAt > e.CreatedAt || o.CreatedAt == e.CreatedAt && o.ID.String() < e.ID.String()) {
			return true
		}
	}
	return false
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

func testArchive(t *testing.T, open opener) {
	known := func(t testing.TB, st store.Store, events ...nostr.Event) []store.Seq {
		t.Helper()
		var refs []nostr.Ref
		for _, e := range events {
			refs = append(refs, nostr.Ref{ID: e.ID, CreatedAt: e.CreatedAt})
		}
		seqs, err := st.Known(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		return seqs
	}
	run(t, open, map[string]func(*testing.T, store.Store){
		"numbered in order, saved once": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 2)
			var events []nostr.Event
			for i := range 50 {
				events = append(events, event(t, alice, int64(1000-i%7), 1, fmt.Sprint(i)))
			}
			batch := store.Batch{Relay: relays[0].ID, SeenAt: 77, Events: events}
			equal(t, "first", store.Saved{New: 50}, save(t, st, batch))
			equal(t, "again", store.Saved{Known: 50}, save(t, st, batch))
			equal(t, "order", ids(events), ids(archived(t, st)))
			seqs := known(t, st, events...)
			for i, seq := range seqs {
				if seq == 0 || i > 0 && seq <= seqs[i-1] {
					t.Fatalf("numbers %v", seqs)
				}
			}
			refresh(t, st)
			sum := totals(t, st)
			equal(t, "events and sightings", [2]int64{50, 50}, [2]int64{sum.Events, sum.Sightings})
			for s := range st.ScanEvents(t.Context(), "", nostr.Filter{}) {
				equal(t, "first seen", 77, s.FirstSeen)
				break
			}
		},
		"twice in one batch": func(t *testing.T, st store.Store) {
			a, b := event(t, alice, 1, 1, "a"), event(t, alice, 1, 1, "b")
			equal(t, "saved", store.Saved{New: 2, Known: 1}, save(t, st, store.Batch{Relay: 1, Events: []nostr.Event{a, b, a}}))
			equal(t, "order", ids([]nostr.Event{a, b}), ids(archived(t, st)))
		},
		"known": func(t *testing.T, st store.Store) {
			equal(t, "none asked", 0, len(known(t, st)))
			var events, asked []nostr.Event
			for i := range 300 {
				e := unsigned(author(i%9), int64(i), 1, "")
				if asked = append(asked, e); i%3 == 0 {
					events = append(events, e)
				}
			}
			asked = append(asked, asked[0], asked[1])
			save(t, st, store.Batch{Events: events})
			for i, seq := range known(t, st, asked...) {
				want := store.Seq(0)
				if i%300%3 == 0 {
					want = known(t, st, events[i%300/3])[0]
				}
				if seq != want {
					t.Errorf("event %d: number %d, want %d", i, seq, want)
				}
			}
		},
		"an event is given back exactly": func(t *testing.T, st store.Store) {
			long := strings.Repeat("p", 40000)
			var many []nostr.Tag
			for i := range 24000 {
				many = append(many, nostr.Tag{"p", author(i).String()})
			}
			lone := unsigned(alice.PubKey(), 5, 1, "a lone \xed\xa0\x80 surrogate", nostr.Tag{"t", "\xed\xb0\x80"})
			events := []nostr.Event{
				event(t, alice, 0, 0, ""),
				event(t, alice, 1<<53, 1<<40, "future"),
				event(t, alice, 5, 1, "a \x00 NUL", nostr.Tag{"t", "\x00"}, nostr.Tag{"\x00", "x"}),
				event(t, alice, 5, 1, "\x01\x1f\"\\/\b\f\n\r\t\u007f\u2028é😀", nostr.Tag{"t", "\x01\x1f\"\\/\b\f\n\r\t\u007f\u2028é😀\\", "\\\""}),
				event(t, alice, 5, 1, "odd tags", nostr.Tag{}, nostr.Tag{""}, nostr.Tag{"t"}, nostr.Tag{"t", ""}, nostr.Tag{"e", "x", "y", "z", ""}, nostr.Tag{"t", ""}),
				lone,
				event(t, alice, 5, 3, "", many...),
				event(t, alice, 5, 1, "", nostr.Tag{"r", long}),
				event(t, alice, 5, 1, strings.Repeat("0123456789abcdef", 115000)),
			}
			equal(t, "saved", store.Saved{New: len(events)}, save(t, st, store.Batch{Relay: 1, Events: events}))
			got := archived(t, st)
			if len(got) != len(events) {
				t.Fatalf("%d events, want %d", len(got), len(events))
			}
			for i := range events {
				equal(t, fmt.Sprintf("event %d", i), events[i], got[i])
				if err := got[i].CheckID(); err != nil {
					t.Errorf("event %d: %v", i, err)
				}
				if string(got[i].AppendJSON(nil)) != string(events[i].AppendJSON(nil)) {
					t.Errorf("event %d: another JSON", i)
				}
				page, _, err := st.Events(t.Context(), store.EventQuery{Filter: nostr.Filter{IDs: []nostr.ID{events[i].ID}}, Limit: 1})
				if err != nil || len(page) != 1 {
					t.Fatal(page, err)
				}
				equal(t, fmt.Sprintf("event %d by id", i), events[i], page[0].Event)
			}
			page, _, err := st.Events(t.Context(), store.EventQuery{Filter: nostr.Filter{Tags: map[string][]string{"r": {long}}}, Limit: 5})
			if err != nil || len(page) != 1 {
				t.Errorf("by a long tag: %d events, %v", len(page), err)
			}
		},
		"ephemeral kinds": func(t *testing.T, st store.Store) {
			a, b, c := event(t, alice, 1, 20000, ""), event(t, alice, 1, 29999, ""), event(t, alice, 1, 30000, "")
			equal(t, "saved", store.Saved{New: 1, Refused: []nostr.ID{a.ID, b.ID}}, save(t, st, store.Batch{Events: []nostr.Event{a, c, b}}))
			equal(t, "archived", ids([]nostr.Event{c}), ids(archived(t, st)))
			equal(t, "wanted", store.Saved{New: 1}, save(t, st, store.Batch{Events: []nostr.Event{b}, Ephemeral: true}))
		},
		"vanish": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 2)
			all := nostr.Tag{"relay", "ALL_RELAYS"}
			before := []nostr.Event{event(t, alice, 10, 1, "a"), event(t, bob, 10, 1, "b"), event(t, alice, 30, 1, "later"),
				event(t, alice, 20, 5, "", nostr.Tag{"e", author(1).String()}), event(t, alice, 5, 62, "", nostr.Tag{"relay", "wss://one.relay.com"})}
			save(t, st, store.Batch{Relay: relays[0].ID, SeenAt: 1, Events: before})
			refresh(t, st)
			save(t, st, store.Batch{Relay: relays[1].ID, SeenAt: 1, Events: before})
			in := []nostr.Event{event(t, alice, 15, 1, "same batch"), event(t, alice, 20, 62, "", all), event(t, alice, 20, 7, "same second")}
			batch := store.Batch{Relay: relays[0].ID, SeenAt: 2, Events: in}
			for i := range 2 {
				want := store.Saved{New: 1, Refused: []nostr.ID{in[0].ID, in[2].ID}}
				if i == 1 {
					want.New, want.Known = 0, 1
				}
				equal(t, "the request's batch", want, save(t, st, batch))
			}
			left := []nostr.Event{before[1], before[2], before[4], in[1]}
			equal(t, "archived", ids(left), ids(archived(t, st)))
			equal(t, "back again", store.Saved{Known: 3, Refused: []nostr.ID{before[0].ID, before[3].ID}}, save(t, st, store.Batch{Relay: relays[1].ID, SeenAt: 3, Events: before}))
			equal(t, "after it", store.Saved{New: 1}, save(t, st, store.Batch{Relay: relays[0].ID, SeenAt: 3, Events: []nostr.Event{event(t, alice, 21, 1, "new life")}}))
			// A number learnt before the deletion brings no sighting.
			equal(t, "known", []store.Seq{0}, known(t, st, before[0]))
			save(t, st, store.Batch{Relay: relays[1].ID, SeenAt: 3, Known: []store.Seen{{Seq: 1, CreatedAt: 10}}})
			page, _, err := st.Events(t.Context(), store.EventQuery{Filter: nostr.Filter{Authors: []nostr.PubKey{alice.PubKey()}, Kinds: []nostr.Kind{5}}, Limit: 9})
			if err != nil || len(page) != 0 {
				t.Errorf("by author and kind: %v, %v", page, err)
			}
			if _, err := st.EventRelays(t.Context(), before[0].ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
			refresh(t, st)
			wrong, err := st.Recount(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "sums", []store.Difference(nil), wrong)
			equal(t, "numbers grow", true, slices.IsSorted(known(t, st, left[0], left[3])))
		},
		"sightings": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 3)
			a, b := event(t, alice, 1, 1, "a"), event(t, alice, 2, 1, "b")
			save(t, st, store.Batch{Relay: relays[1].ID, SeenAt: 20, Events: []nostr.Event{a, b}})
			save(t, st, store.Batch{Relay: relays[0].ID, SeenAt: 30, Events: []nostr.Event{a}})
			seen := []store.Seen{{Seq: known(t, st, a)[0], CreatedAt: 1}}
			for at := range int64(3) {
				save(t, st, store.Batch{Relay: relays[2].ID, SeenAt: 10 + at, Known: seen})
			}
			save(t, st, store.Batch{SeenAt: 40, Events: []nostr.Event{a}, Known: seen}) // an import
			carried := func(e nostr.Event) []store.Carried {
				t.Helper()
				list, err := st.EventRelays(t.Context(), e.ID)
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			equal(t, "three", []store.Carried{{URL: relays[2].URL, SeenAt: 10}, {URL: relays[1].URL, SeenAt: 20}, {URL: relays[0].URL, SeenAt: 30}}, carried(a))
			equal(t, "one", []store.Carried{{URL: relays[1].URL, SeenAt: 20}}, carried(b))
			imported := event(t, alice, 3, 1, "c")
			save(t, st, store.Batch{Events: []nostr.Event{imported}})
			equal(t, "none", 0, len(carried(imported)))
			refresh(t, st)
			equal(t, "counted", 4, totals(t, st).Sightings)
		},
		"quarantine": func(t *testing.T, st store.Store) {
			raw := []byte(strings.Repeat("x", store.MaxRejected+5))
			batch := store.Batch{Relay: 1, Rejected: []store.Rejected{{Reason: "sig", Raw: raw}, {Reason: "id", Raw: raw}, {Reason: "id"}}}
			save(t, st, batch)
			save(t, st, batch)
			equal(t, "once each", 3, totals(t, st).Rejected)
			var many []store.Rejected
			for i := range store.MaxQuarantine + 10 {
				many = append(many, store.Rejected{Reason: "sig", Raw: fmt.Append(nil, i)})
			}
			save(t, st, store.Batch{Relay: 1, Rejected: many})
			equal(t, "counted beyond the limit", store.MaxQuarantine+13, totals(t, st).Rejected)
		},
		"scan": func(t *testing.T, st store.Store) {
			var events []nostr.Event
			for i := range 3000 {
				events = append(events, unsigned(author(i%5), int64(i*7919%1000), nostr.Kind(i%4), fmt.Sprint(i)))
			}
			save(t, st, store.Batch{Events: events})
			scan := func(after store.Cursor, f nostr.Filter) (got []nostr.Event, last store.Cursor) {
				t.Helper()
				for s, err := range st.ScanEvents(t.Context(), after, f) {
					if err != nil {
						t.Fatal(err)
					}
					got, last = append(got, s.Event), s.Cursor
				}
				return got, last
			}
			matching := func(f nostr.Filter) (want []nostr.Event) {
				for _, e := range events {
					if f.Matches(&e) {
						want = append(want, e)
					}
				}
				return want
			}
			since, until := int64(100), int64(300)
			for _, f := range []nostr.Filter{
				{}, {Kinds: []nostr.Kind{1, 3}}, {Authors: []nostr.PubKey{author(2)}}, {Since: &since, Until: &until},
				{Kinds: []nostr.Kind{2}, Since: &since}, {IDs: []nostr.ID{events[7].ID}}, {Kinds: []nostr.Kind{99}},
			} {
				got, _ := scan("", f)
				equal(t, string(f.AppendJSON(nil)), ids(matching(f)), ids(got))
			}
			// Page by page.
			limit := 700
			var got []nostr.Event
			for cursor, n := store.Cursor(""), -1; n != 0; {
				var page []nostr.Event
				page, next := scan(cursor, nostr.Filter{Limit: &limit})
				if n = len(page); n > limit {
					t.Fatalf("%d events, limit %d", n, limit)
				}
				if n > 0 {
					cursor = next
				}
				got = append(got, page...)
			}
			equal(t, "pages", ids(events), ids(got))
			limit = 0
			none, _ := scan("", nostr.Filter{Limit: &limit})
			equal(t, "limit zero", 0, len(none))
			for _, err := range st.ScanEvents(t.Context(), "no such place", nostr.Filter{}) {
				if !errors.Is(err, store.ErrCursor) {
					t.Errorf("got %v, want ErrCursor", err)
				}
			}
			for _, err := range st.ScanEvents(cancelled(t), "", nostr.Filter{}) {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want Canceled", err)
				}
			}
		},
		"a scan holds nothing": func(t *testing.T, st store.Store) {
			var events []nostr.Event
			for i := range 1500 {
				events = append(events, unsigned(author(1), int64(i), 1, ""))
			}
			save(t, st, store.Batch{Events: events})
			n := 0
			for _, err := range st.ScanEvents(t.Context(), "", nostr.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				save(t, st, store.Batch{Events: []nostr.Event{unsigned(author(2), int64(n), 1, "")}})
				if n++; n > 5000 {
					t.Fatal("the scan follows what is written during it without end")
				}
			}
		},
		"at once": func(t *testing.T, st store.Store) {
			// Overlapping batches of many relays, readers beside them.
			relays := addRelays(t, st, 4)
			var events []nostr.Event
			for i := range 600 {
				events = append(events, unsigned(author(i%7), int64(i), nostr.Kind(i%3), ""))
			}
			var writers, readers sync.WaitGroup
			stop := make(chan struct{})
			for _, r := range relays {
				writers.Go(func() {
					for i := 0; i < len(events); i += 40 {
						j := (i + int(r.ID)*160) % len(events)
						batch := store.Batch{Relay: r.ID, SeenAt: 5, Events: events[j:min(j+60, len(events))],
							Claims: []store.Coverage{{Relay: r.ID, Filter: 1, Interval: store.Interval{Lo: int64(j), Hi: int64(j + 39)}, Level: 1, AsOf: 9, Method: "walk"}}}
						if _, err := st.SaveBatch(t.Context(), batch); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for range 2 {
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, _, err := st.Events(t.Context(), store.EventQuery{Filter: nostr.Filter{Authors: []nostr.PubKey{author(3)}}, Limit: 50}); err != nil {
							t.Error(err)
						}
						if _, err := st.Refresh(t.Context(), 50); err != nil {
							t.Error(err)
						}
						if _, err := st.Totals(t.Context(), 100); err != nil {
							t.Error(err)
						}
					}
				})
			}
			writers.Wait()
			close(stop)
			readers.Wait()
			refresh(t, st)
			sum := totals(t, st)
			equal(t, "events", int64(len(events)), sum.Events)
			equal(t, "sightings", int64(4*len(events)), sum.Sightings)
			equal(t, "covered", []store.LevelTotal{{Level: 1, Relays: 4, Seconds: 4 * 600}}, sum.Levels)
			wrong, err := st.Recount(t.Context())
			if err != nil || len(wrong) != 0 {
				t.Errorf("recount: %v, %v", wrong, err)
			}
		},
		"one bad batch of many": func(t *testing.T, st store.Store) {
			// A batch that is given up takes none of its neighbours with it.
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					ctx := t.Context()
					if i%4 == 0 {
						ctx = &endsLater{Context: ctx, left: 3}
					}
					_, err := st.SaveBatch(ctx, store.Batch{Relay: 1, SeenAt: 1, Events: []nostr.Event{unsigned(author(i), int64(i), 1, "")}})
					if (err != nil) != (i%4 == 0) {
						t.Errorf("batch %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			events := archived(t, st)
			for _, e := range events {
				if e.CreatedAt%4 == 0 {
					t.Errorf("event of the failed batch %d is there", e.CreatedAt)
				}
			}
			equal(t, "events", 30, len(events))
		},
	})
	t.Run("nothing is left of a batch given up anywhere", func(t *testing.T) {
		st := open(t)
		defer st.Close()
		batch := store.Batch{Relay: 1, SeenAt: 5, Rejected: []store.Rejected{{Reason: "id"}},
			Claims: []store.Coverage{{Relay: 1, Filter: 1, Interval: store.Interval{Lo: 1, Hi: 2}, Level: 1, AsOf: 9, Method: "walk"}}}
		for i := range 600 {
			batch.Events = append(batch.Events, unsigned(author(i), int64(i), 1, "", nostr.Tag{"t", "x"}))
		}
		given := 0
		for left := 0; ; left++ {
			_, err := st.SaveBatch(&endsLater{Context: t.Context(), left: left}, batch)
			if err == nil {
				break
			}
			given++
			if n := len(archived(t, st)); n != 0 {
				t.Fatalf("given up at look %d: %d events", left, n)
			}
			if diff := cmp.Diff(store.Totals{Bytes: totals(t, st).Bytes}, totals(t, st)); diff != "" {
				t.Fatalf("given up at look %d: %s", left, diff)
			}
		}
		if given < 3 {
			t.Errorf("the context was looked at %d times only", given)
		}
		equal(t, "saved at last", 600, len(archived(t, st)))
	})
}

// endsLater is a context that ends after it was asked some times, so that a test
// reaches every place that asks.
type endsLater struct {
	context.Context
	mu   sync.Mutex
	left int
}

func (c *endsLater) Done() <-chan struct{} { return make(chan struct{}) }

func (c *endsLater) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// pages reads every page of a query.
func pages(ctx context.Context, t rapid.TB, st store.EventReader, q store.EventQuery) []nostr.Event {
	t.Helper()
	var events []nostr.Event
	for {
		page, next, err := st.Events(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > q.Limit {
			t.Fatalf("%d events, limit %d", len(page), q.Limit)
		}
		for _, s := range page {
			events = append(events, s.Event)
		}
		if next == "" {
			return events
		}
		if len(page) == 0 {
			t.Fatal("an empty page with a cursor")
		}
		q.After = next
	}
}

// answer is what a query should give, by the words of the contract.
func answer(events []nostr.Event, f nostr.Filter) []nostr.Event {
	var want []nostr.Event
	for _, e := range events {
		if f.Matches(&e) {
			want = append(want, e)
		}
	}
	slices.SortFunc(want, func(a, b nostr.Event) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return want
}

func testReads(t *testing.T, open opener) {
	run(t, open, map[string]func(*testing.T, store.Store){
		"events by any filter": func(t *testing.T, st store.Store) {
			// Few values of everything, so that filters hit, and seconds with
			// many events.
			r := rapid.Custom(func(t *rapid.T) nostr.Event {
				var tags []nostr.Tag
				for range rapid.IntRange(0, 3).Draw(t, "tags") {
					tags = append(tags, nostr.Tag{rapid.SampledFrom([]string{"t", "p", "T", "tt"}).Draw(t, "name"), strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "value"))})
				}
				return unsigned(author(rapid.IntRange(0, 4).Draw(t, "author")), rapid.Int64Range(0, 40).Draw(t, "at"),
					rapid.SampledFrom([]nostr.Kind{0, 1, 7, 5, 30023}).Draw(t, "kind"), strconv.Itoa(rapid.IntRange(0, 1<<30).Draw(t, "content")), tags...)
			})
			var events []nostr.Event
			seen := make(map[nostr.ID]bool)
			rapid.Check(t, func(t *rapid.T) {
				var batch store.Batch
				for range rapid.IntRange(0, 15).Draw(t, "events") {
					if e := r.Draw(t, "event"); !seen[e.ID] {
						seen[e.ID] = true
						events = append(events, e)
						batch.Events = append(batch.Events, e)
					}
				}
				if _, err := st.SaveBatch(t.Context(), batch); err != nil {
					t.Fatal(err)
				}
				var f nostr.Filter
				flip := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 0 }
				if flip("authors") {
					for range rapid.IntRange(1, 3).Draw(t, "n") {
						f.Authors = append(f.Authors, author(rapid.IntRange(0, 5).Draw(t, "author")))
					}
				}
				if flip("kinds") {
					f.Kinds = rapid.SliceOfN(rapid.SampledFrom([]nostr.Kind{0, 1, 7, 5, 30023, 9}), 1, 4).Draw(t, "kinds")
				}
				if flip("tags") {
					f.Tags = map[string][]string{"t": rapid.SliceOfN(rapid.SampledFrom([]string{"0", "1", "2", "9"}), 1, 3).Draw(t, "t")}
					if flip("more tags") {
						f.Tags["p"] = []string{"1"}
					}
				}
				if flip("ids") && len(events) > 0 {
					for range 3 {
						f.IDs = append(f.IDs, events[rapid.IntRange(0, len(events)-1).Draw(t, "id")].ID)
					}
				}
				if flip("since") {
					since := rapid.Int64Range(0, 40).Draw(t, "since")
					f.Since = &since
				}
				if flip("until") {
					until := rapid.Int64Range(0, 40).Draw(t, "until")
					f.Until = &until
				}
				limit := rapid.SampledFrom([]int{1, 2, 7, 50, 1000}).Draw(t, "limit")
				want, got := answer(events, f), pages(t.Context(), t, st, store.EventQuery{Filter: f, Limit: limit})
				if !slices.Equal(ids(want), ids(got)) {
					t.Fatalf("%s: got %v, want %v", f.AppendJSON(nil), ids(got), ids(want))
				}
			})
		},
		"a second with more events than a page": func(t *testing.T, st store.Store) {
			var events []nostr.Event
			for i := range 1300 {
				events = append(events, unsigned(author(i), 1000, 1, ""))
			}
			events = append(events, unsigned(author(1), 999, 1, ""), unsigned(author(1), 1001, 1, ""))
			save(t, st, store.Batch{Events: events})
			equal(t, "pages", ids(answer(events, nostr.Filter{})), ids(pages(t.Context(), t, st, store.EventQuery{Limit: 300})))
		},
		"large events make short pages": func(t *testing.T, st store.Store) {
			var events []nostr.Event
			for i := range 40 {
				events = append(events, unsigned(author(i), int64(1000+i/3), 1, strings.Repeat("x", 1<<20)))
			}
			save(t, st, store.Batch{Events: events})
			equal(t, "pages", ids(answer(events, nostr.Filter{})), ids(pages(t.Context(), t, st, store.EventQuery{Limit: 1000})))
			page, _, err := st.Events(t.Context(), store.EventQuery{Limit: 1000})
			if err != nil || len(page) > 30 {
				t.Errorf("a page of %d MiB, %v", len(page), err)
			}
		},
		"bad questions": func(t *testing.T, st store.Store) {
			for _, c := range []store.Cursor{"x", "1.", "1.zz", ".", "1700000000"} {
				if _, _, err := st.Events(t.Context(), store.EventQuery{Limit: 1, After: c}); !errors.Is(err, store.ErrCursor) {
					t.Errorf("cursor %q: got %v, want ErrCursor", c, err)
				}
			}
			if _, _, err := st.Events(t.Context(), store.EventQuery{Limit: 1, Filter: nostr.Filter{Search: "x"}}); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("search: got %v, want ErrUnsupported", err)
			}
			if _, err := st.EventRelays(t.Context(), nostr.ID{1}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		},
		"what strangers see": func(t *testing.T, st store.Store) {
			address := func(kind nostr.Kind, by nostr.SecretKey, d string) nostr.Tag {
				return nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", kind, by.PubKey(), d)}
			}
			e := func(ev nostr.Event) nostr.Tag { return nostr.Tag{"e", ev.ID.String()} }
			mine, others := event(t, alice, 100, 1, "deleted by its author"), event(t, alice, 100, 1, "deleted by somebody else")
			old, fresh := event(t, alice, 100, 30023, "old", nostr.Tag{"d", "x"}), event(t, alice, 300, 30023, "new", nostr.Tag{"d", "x"})
			other := event(t, alice, 100, 30023, "another address", nostr.Tag{"d", "y"})
			profile := event(t, alice, 100, 0, "{}")
			past, future := event(t, alice, 100, 1, "", nostr.Tag{"expiration", "999"}), event(t, alice, 100, 1, "", nostr.Tag{"expiration", "1001"})
			odd := event(t, alice, 100, 1, "", nostr.Tag{"expiration", "soon"})
			early := event(t, alice, 50, 5, "before what it deletes", e(mine))
			deletions := []nostr.Event{
				early, event(t, alice, 200, 5, "", address(30023, alice, "x"), address(0, alice, "")),
				event(t, bob, 200, 5, "not theirs", e(others), address(30023, alice, "y")),
			}
			undo := event(t, alice, 210, 5, "a deletion cannot be deleted", e(deletions[0]))
			var hidden []nostr.Event
			for _, kind := range []nostr.Kind{4, 13, 14, 15, 1059} {
				hidden = append(hidden, event(t, carol, 100, kind, ""))
			}
			hidden = append(hidden, mine, old, profile, past)
			visible := slices.Concat([]nostr.Event{others, fresh, other, future, odd, undo}, deletions)
			all := slices.Concat(hidden, visible)
			save(t, st, store.Batch{Events: all})
			for _, f := range []nostr.Filter{
				{}, {Authors: []nostr.PubKey{alice.PubKey(), carol.PubKey()}}, {Kinds: []nostr.Kind{1, 4, 1059, 30023}}, {Kinds: []nostr.Kind{4}},
				{IDs: []nostr.ID{mine.ID, others.ID, old.ID, fresh.ID, hidden[0].ID}}, {Tags: map[string][]string{"d": {"x", "y"}}},
			} {
				for _, limit := range []int{1, 3, 1000} {
					equal(t, "strangers "+string(f.AppendJSON(nil)), ids(answer(visible, f)), ids(pages(t.Context(), t, st, store.EventQuery{Filter: f, Limit: limit, Public: true, Now: 1000})))
					equal(t, "we "+string(f.AppendJSON(nil)), ids(answer(all, f)), ids(pages(t.Context(), t, st, store.EventQuery{Filter: f, Limit: limit, Now: 1000})))
				}
			}
		},
		"relays": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 5)
			onion, err := st.AddRelays(t.Context(), []relay.URL{parse(t, "ws://oxtrdevav64z64yb7x6rjg4ntzqjhedm5b5zjqulugknhzr46ny2qbad.onion")}, 100)
			if err != nil {
				t.Fatal(err)
			}
			if err := st.SaveOutcomes(t.Context(), []store.Outcome{{Relay: relays[2].ID, At: 10, State: store.StateDown, Cause: dial.CauseNXDomain,
				Next: store.Next{Relay: relays[2].ID, Service: "monitor", DueAt: 70}}}); err != nil {
				t.Fatal(err)
			}
			if err := st.SaveNext(t.Context(), []store.Next{{Relay: relays[2].ID, Service: "synchronizer", DueAt: 80}}); err != nil {
				t.Fatal(err)
			}
			if err := st.SaveCalibration(t.Context(), store.Calibration{Relay: relays[2].ID, LargestPage: 450}); err != nil {
				t.Fatal(err)
			}
			claim := func(filter store.FilterID, lo, hi int64, level store.Level, asOf int64) store.Coverage {
				return store.Coverage{Relay: relays[2].ID, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, Level: level, AsOf: asOf, Method: "walk"}
			}
			save(t, st, store.Batch{Relay: relays[2].ID, SeenAt: 1, Events: []nostr.Event{event(t, alice, 1, 1, "")},
				Claims: []store.Coverage{claim(1, 10, 20, 3, 500), claim(1, 21, 30, 2, 400), claim(1, 40, 50, 4, 600), claim(2, 5, 15, 2, 700)},
				Holes:  []store.Hole{{Relay: relays[2].ID, Filter: 1, Interval: store.Interval{Lo: 35, Hi: 35}, Reason: store.HoleAuth, Count: -1}}})
			refresh(t, st)
			summaries := func(q store.RelayQuery) []store.RelaySummary {
				t.Helper()
				list, err := st.RelaySummaries(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			urls := func(list []store.RelaySummary) (urls []string) {
				for _, s := range list {
					urls = append(urls, s.URL.String())
				}
				return urls
			}
			down, err := st.Relay(t.Context(), relays[2].URL)
			if err != nil {
				t.Fatal(err)
			}
			want := store.RelaySummary{Relay: down, Events: 1, Lo: 5, Hi: 50, Level: 2, Gaps: 1, Holes: 1, AsOf: 400, MaxLimit: 450, SyncDue: 80, CheckDue: 70}
			equal(t, "a relay", []store.RelaySummary{want}, summaries(store.RelayQuery{State: store.StateDown, Limit: 10}))
			equal(t, "a new one", store.RelaySummary{Relay: relays[0], SyncDue: 100, CheckDue: 100}, summaries(store.RelayQuery{State: store.StateNew, Network: relay.Clearnet, Limit: 1})[0])
			equal(t, "tor", []string{onion[0].URL.String()}, urls(summaries(store.RelayQuery{Network: relay.Tor, Limit: 10})))
			all := urls(summaries(store.RelayQuery{Limit: 10}))
			equal(t, "by url", true, slices.IsSorted(all) && len(all) == 6)
			equal(t, "next page", all[3:5], urls(summaries(store.RelayQuery{After: all[2], Limit: 2})))
			equal(t, "zero limit", 0, len(summaries(store.RelayQuery{})))
			claims, holes, err := st.RelayCoverage(t.Context(), relays[2].ID)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "claims and holes", [2]int{4, 1}, [2]int{len(claims), len(holes)})
		},
		"totals": func(t *testing.T, st store.Store) {
			equal(t, "of nothing", store.Totals{Bytes: totals(t, st).Bytes}, totals(t, st))
			relays := addRelays(t, st, 3)
			for i, r := range relays {
				save(t, st, store.Batch{Relay: r.ID, Claims: []store.Coverage{{Relay: r.ID, Filter: 1, Interval: store.Interval{Lo: 0, Hi: int64(1000 + 100*i)}, Level: 1, AsOf: 5, Method: "walk"}}})
			}
			sum, err := st.Totals(t.Context(), 1150)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "lag, never below zero", [2]int64{50, 150}, [2]int64{sum.LagMedian, sum.LagMax})
			equal(t, "relays", []store.RelayTotal{{Network: relay.Clearnet, State: store.StateNew, Relays: 3}}, sum.Relays)
			equal(t, "size", true, sum.Bytes > 0)
		},
	})
}

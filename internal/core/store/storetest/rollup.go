package storetest

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

func testRollups(t *testing.T, open opener) {
	run(t, open, map[string]func(*testing.T, store.Store){
		"counted up to the position": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 1)
			var events []nostr.Event
			for i := range 10 {
				events = append(events, event(t, alice, 1700000000+int64(i), 1, fmt.Sprint(i)))
			}
			save(t, st, store.Batch{Relay: relays[0].ID, SeenAt: 5, Events: events})
			equal(t, "before", 0, totals(t, st).Events)
			step := func(limit, events int, more bool) {
				t.Helper()
				done, err := st.Refresh(t.Context(), limit)
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "events", events, done.Events)
				equal(t, "more", more, done.More)
			}
			step(0, 0, false)
			step(4, 4, true)
			equal(t, "after four", 4, totals(t, st).Events)
			step(100, 6, false)
			step(100, 0, false)
			sum := totals(t, st)
			equal(t, "all", [3]int64{10, 10, 1}, [3]int64{sum.Events, sum.Sightings, sum.Authors})
			wrong, err := st.Recount(t.Context())
			if err != nil || len(wrong) > 0 {
				t.Errorf("recount: %v, %v", wrong, err)
			}
		},
		"kinds and days": func(t *testing.T, st store.Store) {
			var events []nostr.Event
			const day = 86400
			for i := range 60 {
				kind := nostr.Kind(1)
				if i%3 == 0 {
					kind = 7
				}
				events = append(events, unsigned(author(i%4), 20000*day+int64(i%2)*day+int64(i), kind, ""))
			}
			events = append(events, unsigned(author(9), 1<<52, 1<<45, ""))
			save(t, st, store.Batch{Events: events})
			refresh(t, st)
			kinds, err := st.Kinds(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "kinds", []store.KindTotal{{Kind: 1, Events: 40, Authors: 4}, {Kind: 7, Events: 20, Authors: 4}}, kinds)
			none, err := st.Kinds(t.Context(), 0)
			equal(t, "zero limit", true, err == nil && len(none) == 0)
			days, err := st.Days(t.Context(), 20001, 20001)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "one day", []store.DayTotal{{Day: 20001, Events: 30, Authors: 2}}, days)
			days, err = st.Days(t.Context(), 0, 1<<50)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "days", 3, len(days))
			sum := totals(t, st)
			equal(t, "authors", 5, sum.Authors)
			equal(t, "plausible times only", [2]int64{20000 * day, 20001*day + 59}, [2]int64{sum.Oldest, sum.Newest})
		},
		"equal a recount after anything": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 3)
			next := 0
			rapid.Check(t, func(t *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(t, "steps") {
					switch rapid.IntRange(0, 4).Draw(t, "what") {
					case 0, 1:
						relay := store.RelayID(0)
						if i := rapid.IntRange(0, 3).Draw(t, "relay"); i < 3 {
							relay = relays[i].ID
						}
						batch := store.Batch{Relay: relay, SeenAt: 5}
						for range rapid.IntRange(0, 12).Draw(t, "events") {
							i := max(next-rapid.IntRange(0, 20).Draw(t, "back"), 0)
							next = max(next, i+1)
							batch.Events = append(batch.Events, unsigned(author(i%6), int64(i)*50000, nostr.Kind(i%3), ""))
						}
						if _, err := st.SaveBatch(t.Context(), batch); err != nil {
							t.Fatal(err)
						}
					case 2:
						if _, err := st.Refresh(t.Context(), rapid.IntRange(0, 15).Draw(t, "limit")); err != nil {
							t.Fatal(err)
						}
					case 3:
						i := rapid.IntRange(0, 5).Draw(t, "who")
						until := int64(max(next-rapid.IntRange(0, 20).Draw(t, "until"), 0)) * 50000
						vanish := unsigned(author(i), until, 62, "", nostr.Tag{"relay", "ALL_RELAYS"})
						if _, err := st.SaveBatch(t.Context(), store.Batch{Relay: relays[0].ID, SeenAt: 5, Events: []nostr.Event{vanish}}); err != nil {
							t.Fatal(err)
						}
					case 4:
						wrong, err := st.Recount(t.Context())
						if err != nil || len(wrong) > 0 {
							t.Fatalf("recount: %v, %v", wrong, err)
						}
					}
				}
				for {
					done, err := st.Refresh(t.Context(), 1000)
					if err != nil {
						t.Fatal(err)
					}
					if !done.More {
						break
					}
				}
				wrong, err := st.Recount(t.Context())
				if err != nil || len(wrong) > 0 {
					t.Fatalf("recount: %v, %v", wrong, err)
				}
				sum, err := st.Totals(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for _, err := range st.ScanEvents(t.Context(), "", nostr.Filter{}) {
					if err != nil {
						t.Fatal(err)
					}
					n++
				}
				if sum.Events != int64(n) {
					t.Fatalf("%d events counted, %d there", sum.Events, n)
				}
			})
		},
	})
}

package storetest

import (
	"errors"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

func testRelays(t *testing.T, open opener) {
	run(t, open, map[string]func(*testing.T, store.Store){
		"added, in the order given, once": func(t *testing.T, st store.Store) {
			a, b := urlOf(t, 1), urlOf(t, 2)
			first, err := st.AddRelays(t.Context(), []relay.URL{b, a, b}, 100)
			if err != nil {
				t.Fatal(err)
			}
			if len(first) != 3 || first[0].URL != b || first[1].URL != a || first[2] != first[0] {
				t.Fatalf("got %v", first)
			}
			want := store.Relay{ID: first[1].ID, URL: a, FirstSeen: 100, PromotedAt: 100, State: store.StateNew, StateSince: 100}
			equal(t, "a new relay", want, first[1])
			again, err := st.AddRelays(t.Context(), []relay.URL{a, b}, 200)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "added again", []store.Relay{first[1], first[0]}, again)
			got, err := st.Relay(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "read", want, got)
		},
		"unknown": func(t *testing.T, st store.Store) {
			if _, err := st.Relay(t.Context(), urlOf(t, 1)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		},
		"a candidate is consumed and its first sight kept": func(t *testing.T, st store.Store) {
			u := urlOf(t, 1)
			if _, err := st.AddMentions(t.Context(), []store.Mention{{URL: u, Class: hints.List, At: 50}}); err != nil {
				t.Fatal(err)
			}
			relays, err := st.AddRelays(t.Context(), []relay.URL{u}, 100)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "first seen", 50, relays[0].FirstSeen)
			due, err := st.DueCandidates(t.Context(), store.Due{Now: 1000, Limit: 10, Owner: "a", Until: 2000})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "candidates left", 0, len(due))
		},
		"scanned by id, while the caller writes": func(t *testing.T, st store.Store) {
			const n = 2500 // more than a page of any backend
			relays := addRelays(t, st, n)
			var got []store.Relay
			for r, err := range st.ScanRelays(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if len(got)%500 == 0 { // no transaction may be open here
					if err := st.SaveOutcomes(t.Context(), []store.Outcome{{Relay: r.ID, At: 5, State: store.StateDown, Cause: dial.CauseTCPTimeout,
						Next: store.Next{Relay: r.ID, Service: "monitor", DueAt: 7}}}); err != nil {
						t.Fatal(err)
					}
				}
				got = append(got, r)
			}
			equal(t, "number", n, len(got))
			for i := range got {
				if got[i].ID != relays[i].ID || i > 0 && got[i].ID <= got[i-1].ID {
					t.Fatalf("relay %d out of order", i)
				}
			}
			for range st.ScanRelays(t.Context()) {
				break // an early end must not leave anything behind
			}
		},
		"a context that ended": func(t *testing.T, st store.Store) {
			if _, err := st.AddRelays(cancelled(t), []relay.URL{urlOf(t, 1)}, 100); err == nil {
				t.Error("no error")
			}
			if _, err := st.Relay(t.Context(), urlOf(t, 1)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		},
	})
}

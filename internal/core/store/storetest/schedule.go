package storetest

import (
	"sync"
	"testing"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

func testSchedule(t *testing.T, open opener) {
	due := func(t *testing.T, st store.Store, d store.Due) []store.Work {
		t.Helper()
		work, err := st.DueRelays(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return work
	}
	next := func(t *testing.T, st store.Store, n ...store.Next) {
		t.Helper()
		if err := st.SaveNext(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	order := func(work []store.Work) []store.RelayID {
		var list []store.RelayID
		for _, w := range work {
			list = append(list, w.Relay.ID)
		}
		return list
	}
	run(t, open, map[string]func(*testing.T, store.Store){
		"due from promotion, for every service": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 2)
			equal(t, "before", 0, len(due(t, st, store.Due{Service: "monitor", Now: 99, Limit: 9, Owner: "a", Until: 200})))
			want := []store.Work{{Relay: relays[0], DueAt: 100}, {Relay: relays[1], DueAt: 100}}
			equal(t, "monitor", want, due(t, st, store.Due{Service: "monitor", Now: 100, Limit: 9, Owner: "a", Until: 200}))
			equal(t, "synchronizer", want, due(t, st, store.Due{Service: "synchronizer", Now: 100, Limit: 9, Owner: "a", Until: 200}))
			if _, err := st.AddRelays(t.Context(), []relay.URL{urlOf(t, 7)}, 150); err != nil {
				t.Fatal(err)
			}
			equal(t, "a later one", 1, len(due(t, st, store.Due{Service: "monitor", Now: 150, Limit: 9, Owner: "a", Until: 200})))
		},
		"a service that reschedules before it asks": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 3)
			next(t, st, store.Next{Relay: relays[1].ID, Service: "monitor", DueAt: 500})
			got := order(due(t, st, store.Due{Service: "monitor", Now: 100, Limit: 9, Owner: "a", Until: 200}))
			equal(t, "the others are due", []store.RelayID{relays[0].ID, relays[2].ID}, got)
		},
		"longest due first, leases": func(t *testing.T, st store.Store) {
			r := addRelays(t, st, 3)
			next(t, st, store.Next{Relay: r[0].ID, Service: "s", DueAt: 300, Attempts: 4}, store.Next{Relay: r[1].ID, Service: "s", DueAt: 200}, store.Next{Relay: r[2].ID, Service: "s", DueAt: 250})
			equal(t, "two", []store.RelayID{r[1].ID, r[2].ID}, order(due(t, st, store.Due{Service: "s", Now: 300, Limit: 2, Owner: "a", Until: 400})))
			equal(t, "the third", []store.Work{{Relay: r[0], DueAt: 300, Attempts: 4}}, due(t, st, store.Due{Service: "s", Now: 300, Limit: 2, Owner: "b", Until: 350}))
			equal(t, "none", 0, len(due(t, st, store.Due{Service: "s", Now: 349, Limit: 9, Owner: "c", Until: 400})))
			equal(t, "b's lease ended", []store.RelayID{r[0].ID}, order(due(t, st, store.Due{Service: "s", Now: 350, Limit: 9, Owner: "c", Until: 500})))
			next(t, st, store.Next{Relay: r[1].ID, Service: "s", DueAt: 360})
			equal(t, "rescheduled is free", []store.RelayID{r[1].ID}, order(due(t, st, store.Due{Service: "s", Now: 360, Limit: 9, Owner: "c", Until: 500})))
			if err := st.FreeLeases(t.Context(), "c"); err != nil {
				t.Fatal(err)
			}
			equal(t, "c's are free, a's not", []store.RelayID{r[0].ID, r[1].ID}, order(due(t, st, store.Due{Service: "s", Now: 360, Limit: 9, Owner: "d", Until: 500})))
		},
		"zero limit": func(t *testing.T, st store.Store) {
			addRelays(t, st, 1)
			equal(t, "none", 0, len(due(t, st, store.Due{Service: "s", Now: 300, Owner: "a", Until: 400})))
			equal(t, "not leased", 1, len(due(t, st, store.Due{Service: "s", Now: 300, Limit: 1, Owner: "a", Until: 400})))
		},
		"networks": func(t *testing.T, st store.Store) {
			addRelays(t, st, 2)
			onion, err := st.AddRelays(t.Context(), []relay.URL{parse(t, "ws://oxtrdevav64z64yb7x6rjg4ntzqjhedm5b5zjqulugknhzr46ny2qbad.onion")}, 100)
			if err != nil {
				t.Fatal(err)
			}
			got := due(t, st, store.Due{Service: "s", Now: 300, Limit: 9, Owner: "a", Until: 400, Networks: []relay.Network{relay.Tor, relay.I2P}})
			equal(t, "tor", []store.Work{{Relay: onion[0], DueAt: 100}}, got)
		},
		"nobody gets what another has": func(t *testing.T, st store.Store) {
			addRelays(t, st, 200)
			var mu sync.Mutex
			seen := make(map[store.RelayID]int)
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					for {
						work, err := st.DueRelays(t.Context(), store.Due{Service: "s", Now: 300, Limit: 7, Owner: string(rune('a' + i)), Until: 400})
						if err != nil {
							t.Error(err)
						}
						if len(work) == 0 {
							return
						}
						mu.Lock()
						for _, w := range work {
							seen[w.Relay.ID]++
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			equal(t, "relays", 200, len(seen))
			for id, n := range seen {
				if n != 1 {
					t.Errorf("relay %d leased %d times", id, n)
				}
			}
		},
	})
}

package storetest

import (
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

func testChecks(t *testing.T, open opener) {
	saveOutcome := func(t *testing.T, st store.Store, o store.Outcome) {
		t.Helper()
		o.Next.Relay, o.Next.Service = o.Relay, "monitor"
		if err := st.SaveOutcomes(t.Context(), []store.Outcome{o}); err != nil {
			t.Fatal(err)
		}
	}
	run(t, open, map[string]func(*testing.T, store.Store){
		"nothing yet": func(t *testing.T, st store.Store) {
			checks, err := st.LatestChecks(t.Context(), 77)
			if err != nil || len(checks) != 0 {
				t.Errorf("got %v, %v", checks, err)
			}
			outages, err := st.Outages(t.Context(), 77, 10)
			if err != nil || len(outages) != 0 {
				t.Errorf("got %v, %v", outages, err)
			}
		},
		"the newest of every probe": func(t *testing.T, st store.Store) {
			id := addRelays(t, st, 1)[0].ID
			doc := &store.Document{Type: "nip11", Data: []byte(`{"name":"A \u0000 relay","software":"strfry"}`)}
			old := []store.Check{
				{At: 10, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 12.5, "dns_ms": 1}},
				{At: 10, Probe: "nip11", OK: true, Document: doc},
			}
			saveOutcome(t, st, store.Outcome{Relay: id, At: 10, Checks: old, State: store.StateUp, LastUp: 10, Next: store.Next{DueAt: 50}})
			fresh := []store.Check{
				{At: 20, Probe: "open", Cause: dial.CauseTCPTimeout, Detail: "went \x00 \xff away"},
				{At: 20, Probe: "read", OK: true, Values: map[string]float64{store.ValueRead: 30}},
			}
			for range 2 { // twice equals once
				saveOutcome(t, st, store.Outcome{Relay: id, At: 20, Checks: fresh, State: store.StateDown, Cause: dial.CauseTCPTimeout, LastUp: 10, Failures: 1, Next: store.Next{DueAt: 60, Attempts: 1}})
			}
			checks, err := st.LatestChecks(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			fresh[0].Detail = "went \uFFFD \uFFFD away"
			equal(t, "checks", []store.Check{old[1], fresh[0], fresh[1]}, checks)
			r, err := st.Relay(t.Context(), urlOf(t, 0))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "relay", store.Relay{ID: id, URL: urlOf(t, 0), FirstSeen: 100, PromotedAt: 100, State: store.StateDown, StateSince: 20,
				Cause: dial.CauseTCPTimeout, LastUp: 10, Failures: 1}, r)
			s, err := st.RelaySummaries(t.Context(), store.RelayQuery{Limit: 10})
			if err != nil || len(s) != 1 {
				t.Fatal(s, err)
			}
			if s[0].Name != "A \uFFFD relay" || s[0].Software != "strfry" || s[0].OpenMS != 12.5 || s[0].ReadMS != 30 || s[0].CheckedAt != 20 || s[0].CheckDue != 60 {
				t.Errorf("summary %+v", s[0])
			}
			work, err := st.DueRelays(t.Context(), store.Due{Service: "monitor", Now: 60, Limit: 9, Owner: "a", Until: 100})
			if err != nil || len(work) != 1 || work[0].DueAt != 60 || work[0].Attempts != 1 {
				t.Errorf("work %v, %v", work, err)
			}
		},
		"outages": func(t *testing.T, st store.Store) {
			id := addRelays(t, st, 1)[0].ID
			outages := func(limit int) []store.Outage {
				t.Helper()
				list, err := st.Outages(t.Context(), id, limit)
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			state := func(at int64, s store.State, cause dial.Cause) {
				t.Helper()
				for range 2 {
					saveOutcome(t, st, store.Outcome{Relay: id, At: at, State: s, Cause: cause})
				}
			}
			state(10, store.StateUp, "")
			equal(t, "up", 0, len(outages(9)))
			state(20, store.StateDegraded, dial.CauseReadAuth)
			state(30, store.StateDown, dial.CauseTCPRefused)
			equal(t, "lasting", []store.Outage{{From: 20, Cause: dial.CauseReadAuth}}, outages(9))
			state(40, store.StateUp, "")
			state(50, store.StateDown, dial.CauseNXDomain)
			equal(t, "two", []store.Outage{{From: 50, Cause: dial.CauseNXDomain}, {From: 20, To: 40, Cause: dial.CauseReadAuth}}, outages(9))
			equal(t, "newest", []store.Outage{{From: 50, Cause: dial.CauseNXDomain}}, outages(1))
			equal(t, "zero limit", 0, len(outages(0)))
		},
		"all or nothing": func(t *testing.T, st store.Store) {
			relays := addRelays(t, st, 1)
			if err := st.SaveOutcomes(cancelled(t), []store.Outcome{{Relay: relays[0].ID, At: 10, State: store.StateUp, Next: store.Next{Relay: relays[0].ID, Service: "monitor"}}}); err == nil {
				t.Error("no error of a context that ended")
			}
			r, err := st.Relay(t.Context(), urlOf(t, 0))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "unchanged", relays[0], r)
		},
	})
}

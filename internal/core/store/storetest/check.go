package storetest

import (
	"context"
	"fmt"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

// outcome is what a monitor saves of a relay that answers or does not.
func outcome(relay store.RelayID, at int64, state store.State, cause dial.Cause, checks ...store.Check) store.Outcome {
	o := store.Outcome{
		Relay: relay, At: at, State: state, Cause: cause, Checks: checks,
		Next: store.Next{Relay: relay, Service: "monitor", DueAt: at + 60},
	}
	if cause == "" {
		o.LastUp = at
	} else {
		o.Failures = 1
	}
	return o
}

func (f *fixture) checks(relay store.RelayID) []store.Check {
	f.t.Helper()
	checks, err := f.LatestChecks(f.ctx, relay)
	f.must(err)
	return checks
}

func (f *fixture) outages(relay store.RelayID) []store.Outage {
	f.t.Helper()
	outages, err := f.Outages(f.ctx, relay, 100)
	f.must(err)
	return outages
}

func testChecks(t *testing.T, open opener) {
	document := &store.Document{Type: "nip11", Data: []byte(`{"name":"A relay","software":"git+https://relay.nostr.org"}`)}
	openCheck := store.Check{At: base, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 12.5, "dns_ms": 0, "tls_ms": 1e-9}}
	read := store.Check{At: base, Probe: "read", Cause: dial.CauseReadAuth, Values: map[string]float64{}, Detail: "auth-required: \x00\xff\u2028 <b>"}
	nip11 := store.Check{At: base, Probe: "nip11", OK: true, Document: document}

	cases(t, open, map[string]func(*testing.T, *fixture){
		"nothing is known at first": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			f.equal("checks", 0, len(f.checks(r.ID)))
			f.equal("outages", 0, len(f.outages(r.ID)))
		},
		"latest of every probe": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			plain := read
			plain.Detail = "403 Forbidden"
			first := outcome(r[0].ID, base, store.StateUp, "", openCheck, plain, nip11)
			for range 2 {
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{first}))
				f.equal("by name", []store.Check{nip11, openCheck, plain}, f.checks(r[0].ID))
			}
			later := openCheck
			later.At, later.Values = base+60, map[string]float64{store.ValueOpen: 99}
			changed := nip11
			changed.At, changed.Document = base+60, &store.Document{Type: "nip11", Data: []byte(`{}`)}
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r[0].ID, base+60, store.StateUp, "", later, changed)}))
			f.equal("newer", []store.Check{changed, later, plain}, f.checks(r[0].ID))

			gone := changed
			gone.At, gone.OK, gone.Cause, gone.Document = base+120, false, dial.CauseHTTPStatus, nil
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r[0].ID, base+120, store.StateUp, "", gone)}))
			f.equal("without a document", []store.Check{gone, later, plain}, f.checks(r[0].ID))
			f.equal("of another relay", 0, len(f.checks(r[1].ID)))
		},
		"documents are shared": func(t *testing.T, f *fixture) {
			r := f.relays(3)
			odd := nip11
			odd.Document = &store.Document{Type: "nip11", Data: []byte("not JSON \x00\xff")}
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{
				outcome(r[0].ID, base, store.StateUp, "", nip11), outcome(r[1].ID, base, store.StateUp, "", nip11), outcome(r[2].ID, base, store.StateUp, "", odd),
			}))
			f.equal("first", []store.Check{nip11}, f.checks(r[0].ID))
			f.equal("second", []store.Check{nip11}, f.checks(r[1].ID))
			f.equal("odd", []store.Check{odd}, f.checks(r[2].ID))
		},
		"untrusted text": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r.ID, base, store.StateDegraded, dial.CauseReadAuth, read)}))
			got := f.checks(r.ID)
			if len(got) != 1 || got[0].Cause != dial.CauseReadAuth || got[0].Detail == "" {
				t.Errorf("checks: %+v", got)
			}
		},
		"the relay's state": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			for _, step := range []struct {
				state store.State
				cause dial.Cause
				since int64
			}{
				{store.StateUp, "", 0},
				{store.StateUp, "", 0},
				{store.StateDown, dial.CauseTCPRefused, 2},
				{store.StateDown, dial.CauseTCPTimeout, 2},
				{store.StateDead, dial.CauseTCPTimeout, 4},
				{store.StateDegraded, dial.CauseReadAuth, 5},
				{store.StateUp, "", 6},
			} {
				at := base + step.since*60
				o := outcome(r.ID, at, step.state, step.cause)
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{o}))
				o.At += 30 // the same state later, and twice
				o.LastUp, o.Failures = base+1, 3
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{o}))
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{o}))
				want := r
				want.State, want.StateSince, want.Cause, want.LastUp, want.Failures = step.state, at, step.cause, base+1, 3
				got, err := f.Relay(f.ctx, r.URL)
				f.must(err)
				f.equal(string(step.state), want, got)
			}
		},
		"rescheduled": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			lease := func(now int64) []store.RelayID {
				return f.due(store.Due{Service: "monitor", Now: now, Limit: 9, Owner: "a", Until: base + 9999})
			}
			f.equal("at first", []store.RelayID{r.ID}, lease(base))
			o := outcome(r.ID, base, store.StateUp, "")
			o.Next.Owner = "a"
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{o}))
			f.equal("too early", 0, len(lease(base+59)))
			f.equal("in time", []store.RelayID{r.ID}, lease(base+60))
			f.equal("another service", []store.RelayID{r.ID}, f.due(store.Due{Service: "synchronizer", Now: base, Limit: 9, Owner: "a", Until: base + 9}))
		},
		"a lost lease": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			ids := []store.RelayID{r[0].ID, r[1].ID}
			lease := func(owner string, now int64) {
				t.Helper()
				f.equal("leased by "+owner, ids, f.due(store.Due{Service: "monitor", Now: now, Limit: 9, Owner: owner, Until: now + 50}))
			}
			save := func(owner string, list ...store.Outcome) {
				t.Helper()
				for i := range list {
					list[i].Next.Owner = owner
				}
				f.must(f.SaveOutcomes(f.ctx, list))
			}
			state := func(name string, want ...store.State) {
				t.Helper()
				for i, r := range r {
					got, err := f.Relay(f.ctx, r.URL)
					f.must(err)
					f.equal(fmt.Sprint(name, ": relay ", i), want[i], got.State)
				}
			}
			lease("a", base)
			lease("b", base+50)
			late := openCheck
			late.At = base + 51
			save("a", outcome(ids[0], base+51, store.StateDown, dial.CauseTLS, late), outcome(ids[1], base+51, store.StateDown, dial.CauseTLS))
			state("what a found does not count", store.StateNew, store.StateNew)
			f.equal("but is known", []store.Check{late}, f.checks(ids[0]))
			f.equal("no outage", 0, len(f.outages(ids[0])))

			// The owner's results count one after the other, the last one decides when.
			newer := openCheck
			newer.At, newer.Values = base+60, map[string]float64{store.ValueOpen: 7}
			steps := []store.Outcome{
				outcome(ids[0], base+52, store.StateDown, dial.CauseTCPRefused), outcome(ids[1], base+52, store.StateUp, ""),
				outcome(ids[0], base+60, store.StateUp, "", newer),
			}
			save("b", steps...)
			save("b", steps...) // an answer was lost: the lease is free now
			save("a", outcome(ids[1], base+61, store.StateDown, dial.CauseTLS))
			state("what b found counts", store.StateUp, store.StateUp)
			f.equal("outages", []store.Outage{{From: base + 52, To: base + 60, Cause: dial.CauseTCPRefused}}, f.outages(ids[0]))
			f.equal("due", []store.RelayID{ids[1]}, f.due(store.Due{Service: "monitor", Now: base + 112, Limit: 9, Owner: "look", Until: base}))

			// Late results do not take the place of newer ones.
			save("a", outcome(ids[0], base+51, store.StateDown, dial.CauseTLS, late))
			f.equal("the newest", []store.Check{newer}, f.checks(ids[0]))
			page, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 9})
			f.must(err)
			for _, s := range page {
				if s.Relay.ID == ids[0] && s.OpenMS != 7 {
					t.Errorf("opens in %v ms, want 7", s.OpenMS)
				}
			}
		},
		"outages": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			at := func(n int) int64 { return base + int64(n)*60 }
			past := store.Outage{From: at(1), To: at(3), Cause: dial.CauseTCPRefused}
			for i, step := range []struct {
				state store.State
				cause dial.Cause
				want  []store.Outage
			}{
				0: {store.StateUp, "", nil},
				1: {store.StateDown, dial.CauseTCPRefused, []store.Outage{{From: at(1), Cause: dial.CauseTCPRefused}}},
				2: {store.StateDown, dial.CauseTCPRefused, []store.Outage{{From: at(1), Cause: dial.CauseTCPRefused}}},
				3: {store.StateUp, "", []store.Outage{past}},
				4: {store.StateUp, "", []store.Outage{past}},
				5: {store.StateDegraded, dial.CauseReadAuth, []store.Outage{{From: at(5), Cause: dial.CauseReadAuth}, past}},
				6: {store.StateDead, dial.CauseReadAuth, []store.Outage{{From: at(5), Cause: dial.CauseReadAuth}, past}},
				7: {store.StateUp, "", []store.Outage{{From: at(5), To: at(7), Cause: dial.CauseReadAuth}, past}},
			} {
				for range 2 {
					f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r[0].ID, at(i), step.state, step.cause), outcome(r[1].ID, at(i), store.StateUp, "")}))
					f.equal(fmt.Sprint("step ", i), step.want, f.outages(r[0].ID))
				}
			}
			f.equal("always up", 0, len(f.outages(r[1].ID)))
		},
		"newest outages first, to a limit": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			var want []store.Outage
			for i := range int64(10) {
				at := base + i*100
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r.ID, at, store.StateUp, ""), outcome(r.ID, at+40, store.StateDown, dial.CauseTLS), outcome(r.ID, at+50, store.StateUp, "")}))
				want = append([]store.Outage{{From: at + 40, To: at + 50, Cause: dial.CauseTLS}}, want...)
			}
			for _, limit := range []int{0, 1, 4, 10, 100} {
				got, err := f.Outages(f.ctx, r.ID, limit)
				f.must(err)
				f.equal(fmt.Sprint("limit ", limit), want[:min(limit, len(want))], got)
			}
		},
		"whole or not at all": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{outcome(r[0].ID, base, store.StateUp, ""), outcome(r[1].ID, base, store.StateUp, "")}))
			up, err := f.Relay(f.ctx, r[0].URL)
			f.must(err)
			f.interrupted(func(ctx context.Context) error {
				return f.SaveOutcomes(ctx, []store.Outcome{
					outcome(r[0].ID, base+60, store.StateDown, dial.CauseTLS, openCheck), outcome(r[1].ID, base+60, store.StateDown, dial.CauseTLS, nip11),
				})
			}, func() {
				f.equal("checks and outages", []int{0, 0, 0, 0}, []int{len(f.checks(r[0].ID)), len(f.checks(r[1].ID)), len(f.outages(r[0].ID)), len(f.outages(r[1].ID))})
				got, err := f.Relay(f.ctx, r[0].URL)
				f.must(err)
				f.equal("relay", up, got)
				f.equal("due", 2, len(f.due(store.Due{Service: "monitor", Now: base + 60, Limit: 9, Owner: "look", Until: base})))
			})
		},
	})
}

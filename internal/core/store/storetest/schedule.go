package storetest

import (
	"context"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// due leases work and returns the numbers of its relays.
func (f *fixture) due(d store.Due) []store.RelayID {
	f.t.Helper()
	work, err := f.DueRelays(f.ctx, d)
	f.must(err)
	var list []store.RelayID
	for _, w := range work {
		list = append(list, w.Relay.ID)
	}
	return list
}

func testSchedule(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"due from the promotion on": func(t *testing.T, f *fixture) {
			relays := f.relays(3)
			f.equal("before", 0, len(f.due(store.Due{Service: "monitor", Now: base - 1, Limit: 9, Owner: "a", Until: base + 9})))
			for _, service := range []string{"monitor", "synchronizer", "another"} {
				work, err := f.DueRelays(f.ctx, store.Due{Service: service, Now: base, Limit: 9, Owner: "a", Until: base + 9})
				f.must(err)
				f.equal(service, []store.Work{{Relay: relays[0], DueAt: base}, {Relay: relays[1], DueAt: base}, {Relay: relays[2], DueAt: base}}, work)
			}
			// Promoted after the service asked for the first time.
			later, err := f.AddRelays(f.ctx, []relay.URL{url(7)}, base+3)
			f.must(err)
			f.equal("a later relay", []store.RelayID{later[0].ID}, f.due(store.Due{Service: "monitor", Now: base + 3, Limit: 9, Owner: "a", Until: base + 9}))
		},
		"leases": func(t *testing.T, f *fixture) {
			relays, err := f.AddRelays(f.ctx, []relay.URL{url(0), url(1), url(2), onion()}, base)
			f.must(err)
			a, b, c, tor := relays[0].ID, relays[1].ID, relays[2].ID, relays[3].ID
			f.must(f.SaveNext(f.ctx, []store.Next{
				{Relay: a, Service: "monitor", DueAt: base + 3},
				{Relay: b, Service: "monitor", DueAt: base + 1},
				{Relay: c, Service: "monitor", DueAt: base + 2},
				{Relay: tor, Service: "monitor", DueAt: base + 4},
			}))
			for _, step := range []struct {
				name string
				due  store.Due
				want []store.RelayID
			}{
				{"zero limit", store.Due{Now: base + 9}, nil},
				{"none due", store.Due{Now: base, Limit: 9}, nil},
				{"the longest due first", store.Due{Now: base + 9, Limit: 2, Owner: "a", Until: base + 50}, []store.RelayID{b, c}},
				{"another network", store.Due{Now: base + 9, Limit: 9, Owner: "b", Until: base + 100, Networks: []relay.Network{relay.Tor}}, []store.RelayID{tor}},
				{"the rest", store.Due{Now: base + 9, Limit: 9, Owner: "c", Until: base + 100}, []store.RelayID{a}},
				{"all leased", store.Due{Now: base + 49, Limit: 9, Owner: "d", Until: base + 100}, nil},
				{"also to the owner", store.Due{Now: base + 49, Limit: 9, Owner: "a", Until: base + 100}, nil},
				{"leases of a have ended", store.Due{Now: base + 51, Limit: 9, Owner: "d", Until: base + 100, Networks: []relay.Network{relay.Clearnet, relay.Tor}}, []store.RelayID{b, c}},
				{"every lease has ended", store.Due{Now: base + 101, Limit: 9, Owner: "d", Until: base + 200}, []store.RelayID{b, c, a, tor}},
			} {
				step.due.Service = "monitor"
				f.equal(step.name, step.want, f.due(step.due))
			}
			f.equal("another service", []store.RelayID{a, b, c, tor}, f.due(store.Due{Service: "synchronizer", Now: base, Limit: 9, Owner: "d", Until: base + 9}))
		},
		"of one relay": func(t *testing.T, f *fixture) {
			r := f.relays(3)
			one := store.Due{Service: "monitor", Now: base, Limit: 9, Owner: "a", Until: base + 100, Relay: r[1].ID}
			f.equal("it alone", []store.RelayID{r[1].ID}, f.due(one))
			f.equal("leased", 0, len(f.due(one)))
			one.Relay = 0
			f.equal("the others", []store.RelayID{r[0].ID, r[2].ID}, f.due(one))
		},
		"rescheduled and freed": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			f.due(store.Due{Service: "monitor", Now: base, Limit: 9, Owner: "a", Until: base + 1000})
			f.due(store.Due{Service: "synchronizer", Now: base, Limit: 9, Owner: "a", Until: base + 1000})
			next := []store.Next{
				{Relay: r.ID, Service: "monitor", Owner: "a", DueAt: base + 9, Attempts: 3},
				{Relay: r.ID, Service: "monitor", Owner: "a", DueAt: base + 60, Attempts: 4}, // the last counts
			}
			f.must(f.SaveNext(f.ctx, next))
			f.must(f.SaveNext(f.ctx, next))
			f.equal("too early", 0, len(f.due(store.Due{Service: "monitor", Now: base + 59, Limit: 9, Owner: "b", Until: base + 99})))
			f.equal("another service keeps its lease", 0, len(f.due(store.Due{Service: "synchronizer", Now: base + 60, Limit: 9, Owner: "b", Until: base + 99})))
			work, err := f.DueRelays(f.ctx, store.Due{Service: "monitor", Now: base + 60, Limit: 9, Owner: "b", Until: base + 99})
			f.must(err)
			f.equal("again", []store.Work{{Relay: r, DueAt: base + 60, Attempts: 4}}, work)
		},
		"a lost lease": func(t *testing.T, f *fixture) {
			r := f.relays(4)
			due := func(owner string, now int64, limit int) []store.Work {
				t.Helper()
				work, err := f.DueRelays(f.ctx, store.Due{Service: "monitor", Now: now, Limit: limit, Owner: owner, Until: now + 50})
				f.must(err)
				return work
			}
			next := func(i int, owner string, at int64, attempts int) store.Next {
				return store.Next{Relay: r[i].ID, Service: "monitor", Owner: owner, DueAt: at, Attempts: attempts}
			}
			f.equal("of a", 4, len(due("a", base, 9)))
			f.equal("of b, when the leases of a have ended", []store.Work{{Relay: r[0], DueAt: base}, {Relay: r[1], DueAt: base}}, due("b", base+50, 2))
			f.must(f.SaveNext(f.ctx, []store.Next{next(0, "a", base+51, 7), next(2, "a", base+500, 2)}))
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{
				{Relay: r[1].ID, At: base + 51, State: store.StateNew, Next: next(1, "a", base+51, 7)},
			}))
			f.must(f.SaveNext(f.ctx, []store.Next{next(1, "", base+51, 7), next(3, "b", base+51, 7)}))
			f.equal("free: what nobody took, and a did not save", []store.Work{{Relay: r[3], DueAt: base}}, due("c", base+60, 9))
			f.must(f.SaveNext(f.ctx, []store.Next{next(0, "b", base+200, 1)}))
			f.must(f.SaveNext(f.ctx, []store.Next{next(0, "a", base+300, 7), next(0, "b", base+300, 7)}))
			f.must(f.FreeLeases(f.ctx, "b"))
			f.must(f.SaveNext(f.ctx, []store.Next{next(1, "b", base+400, 7)}))
			f.equal("in the end", []store.Work{
				{Relay: r[1], DueAt: base}, {Relay: r[3], DueAt: base}, {Relay: r[0], DueAt: base + 200, Attempts: 1}, {Relay: r[2], DueAt: base + 500, Attempts: 2},
			}, due("d", base+1000, 9))
		},
		"a lease that was never taken": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			f.must(f.SaveNext(f.ctx, []store.Next{{Relay: r.ID, Service: "monitor", Owner: "a", DueAt: base + 60, Attempts: 7}}))
			work, err := f.DueRelays(f.ctx, store.Due{Service: "monitor", Now: base + 99, Limit: 9, Owner: "b", Until: base + 100})
			f.must(err)
			f.equal("due", []store.Work{{Relay: r, DueAt: base}}, work)
		},
		"rescheduled before the service ever asked": func(t *testing.T, f *fixture) {
			r := f.relays(3)
			f.must(f.SaveNext(f.ctx, []store.Next{{Relay: r[2].ID, Service: "monitor", DueAt: base + 60}}))
			f.equal("the others are due", []store.RelayID{r[0].ID, r[1].ID}, f.due(store.Due{Service: "monitor", Now: base, Limit: 9, Owner: "b", Until: base + 9}))
		},
		"leases are freed by their owner": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			f.mention(by(url(9), hints.Hint, 1)...)
			lease := func(owner string, limit int) []store.RelayID {
				return f.due(store.Due{Service: "monitor", Now: base, Limit: limit, Owner: owner, Until: base + 100})
			}
			f.equal("a", []store.RelayID{r[0].ID}, lease("a", 1))
			f.equal("b", []store.RelayID{r[1].ID}, lease("b", 1))
			_, err := f.DueCandidates(f.ctx, store.Due{Now: base, Limit: 1, Owner: "a", Until: base + 100})
			f.must(err)
			f.must(f.FreeLeases(f.ctx, "a"))
			f.must(f.FreeLeases(f.ctx, "a"))
			f.equal("of a, not of b", []store.RelayID{r[0].ID}, lease("c", 9))
			f.equal("the candidate of a", texts(url(9)), candidateURLs(f.dueCandidates(base)))
		},
		"a clock that was years ahead": func(t *testing.T, f *fixture) {
			const ahead = base + 3000*store.Day
			r := f.relays(3)
			f.mention(by(url(8), hints.Hint, 1)...)
			f.mention(by(url(9), hints.Hint, 1)...)
			f.must(f.AddSources(f.ctx, []store.SourceMention{domain(1, 1), domain(2, 1)}))
			due := func(name string, now int64, want ...store.RelayID) {
				t.Helper()
				f.equal(name, want, f.due(store.Due{Service: "monitor", Now: now, Limit: 9, Owner: "b", Until: now + 60}))
			}
			// Then, one process leased everything, rescheduled some, and died.
			f.due(store.Due{Service: "monitor", Now: ahead, Limit: 9, Owner: "a", Until: ahead + 60})
			candidates, err := f.DueCandidates(f.ctx, store.Due{Now: ahead, Limit: 9, Owner: "a", Until: ahead + 60})
			f.must(err)
			f.equal("candidates", 2, len(candidates))
			sources, err := f.DueSources(f.ctx, hints.NIP05, nil, store.Due{Now: ahead, Limit: 9, Owner: "a", Until: ahead + 60})
			f.must(err)
			f.equal("sources", 2, len(sources))
			_, err = f.SaveSources(f.ctx, []store.SourceResult{{Class: hints.NIP05, Name: "d00001.org", Owner: "a", At: ahead, NextDue: ahead + 3600}}, nil)
			f.must(err)
			f.must(f.SaveNext(f.ctx, []store.Next{{Relay: r[0].ID, Service: "monitor", Owner: "a", DueAt: ahead + 3600}, {Relay: r[1].ID, Service: "monitor", Owner: "a", DueAt: base + 99*store.Day}}))
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(8), Owner: "a", At: ahead, Cause: dial.CauseTCPRefused, NextDue: ahead + 3600}}))
			due("when the clock is right", base+9, r[2].ID, r[0].ID)
			f.equal("candidates again", 2, len(f.dueCandidates(base+9)))
			f.equal("sources again", []string{"d00002.org", "d00001.org"}, sourceNames(f.dueSources(hints.NIP05, base+9)))
			due("what is leased now stays so", base+10)
			due("what is due in its time stays so", base+99*store.Day, r[2].ID, r[0].ID, r[1].ID)
		},
		"dead relays stay": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{{Relay: r.ID, At: base, State: store.StateDead, Next: store.Next{Relay: r.ID, Service: "monitor", DueAt: base + 5}}}))
			f.equal("monitor", []store.RelayID{r.ID}, f.due(store.Due{Service: "monitor", Now: base + 5, Limit: 9, Owner: "a", Until: base + 9}))
			f.equal("synchronizer", []store.RelayID{r.ID}, f.due(store.Due{Service: "synchronizer", Now: base + 5, Limit: 9, Owner: "a", Until: base + 9}))
		},
		"whole or not at all": func(t *testing.T, f *fixture) {
			r := f.relays(2)
			all := []store.RelayID{r[0].ID, r[1].ID}
			free := func() {
				t.Helper()
				f.equal("due and free", all, f.due(store.Due{Service: "monitor", Now: base, Limit: 9, Owner: "look", Until: base + 9}))
				f.must(f.FreeLeases(f.ctx, "look"))
			}
			f.interrupted(func(ctx context.Context) error {
				_, err := f.DueRelays(ctx, store.Due{Service: "monitor", Now: base, Limit: 9, Owner: "a", Until: base + 100})
				return err
			}, free)
			f.must(f.FreeLeases(f.ctx, "a"))
			f.interrupted(func(ctx context.Context) error {
				return f.SaveNext(ctx, []store.Next{{Relay: all[0], Service: "monitor", DueAt: base + 5}, {Relay: all[1], Service: "monitor", DueAt: base + 5}})
			}, free)
		},
	})
}

package storetest

import (
	"context"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// raised is an outcome that raises alerts.
func raised(o store.Outcome, alerts ...store.Alert) store.Outcome {
	o.Alerts = alerts
	return o
}

func (f *fixture) dueAlerts(receiver, owner string, now, until int64) []store.DueAlert {
	f.t.Helper()
	list, err := f.DueAlerts(f.ctx, receiver, store.Due{Now: now, Limit: 9, Owner: owner, Until: until})
	f.must(err)
	return list
}

func testAlerts(t *testing.T, open opener) {
	alert := func(receiver string, kind store.AlertKind, id store.RelayID, about, at int64, cause dial.Cause) store.Alert {
		return store.Alert{AlertKey: store.AlertKey{Receiver: receiver, Kind: kind, Relay: id, About: about}, At: at, Cause: cause}
	}
	due := func(a store.Alert, u relay.URL, attempts int) store.DueAlert {
		return store.DueAlert{Alert: a, URL: u, Attempts: attempts}
	}
	result := func(a store.Alert, owner string, done bool, next int64) store.AlertResult {
		return store.AlertResult{AlertKey: a.AlertKey, Owner: owner, Done: done, NextDue: next}
	}
	refused := dial.CauseTCPRefused

	cases(t, open, map[string]func(*testing.T, *fixture){
		"raised once for an outage": func(t *testing.T, f *fixture) {
			r := f.relays(2)[1]
			at := func(n int64) int64 { return base + n*60 }
			down, up := alert("web", store.AlertDown, r.ID, 0, at(2), refused), alert("web", store.AlertUp, r.ID, 0, at(3), refused)
			for range 2 {
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{
					outcome(r.ID, at(1), store.StateDegraded, refused),
					raised(outcome(r.ID, at(2), store.StateDown, refused), down),
				}))
			}
			down.About = at(1)
			f.equal("down", []store.DueAlert{due(down, r.URL, 0)}, f.dueAlerts("web", "a", at(9), at(9)))
			again := down
			again.At, again.About = at(3)-1, 0
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{
				raised(outcome(r.ID, at(3)-1, store.StateDown, refused), again), // the same outage
				raised(outcome(r.ID, at(3), store.StateUp, ""), up),
			}))
			up.About = at(1)
			f.equal("down and up", []store.DueAlert{due(down, r.URL, 0), due(up, r.URL, 0)}, f.dueAlerts("web", "a", at(9), at(9)))
			f.equal("of others", []store.DueAlert{}, f.dueAlerts("other", "a", at(9), at(9)))

			// The next outage is another one.
			next := alert("web", store.AlertDown, r.ID, 0, at(5), refused)
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{raised(outcome(r.ID, at(5), store.StateDown, refused), next)}))
			next.About = at(5)
			f.equal("the next outage", []store.DueAlert{due(down, r.URL, 0), due(up, r.URL, 0), due(next, r.URL, 0)}, f.dueAlerts("web", "a", at(9), at(9)))
		},
		"of no relay and of no outage": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			ends, doubt := alert("b", store.AlertCertificate, r.ID, base+5*store.Day, base, ""), alert("b", store.AlertDoubt, 0, base-7, base, "")
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{raised(outcome(r.ID, base, store.StateUp, ""), ends, doubt, ends)}))
			f.equal("both", []store.DueAlert{due(ends, r.URL, 0), due(doubt, relay.URL{}, 0)}, f.dueAlerts("b", "a", base, base))
			f.equal("before", []store.DueAlert{}, f.dueAlerts("b", "a", base-1, base))
		},
		"leases and results": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			one, two := alert("w", store.AlertDoubt, 0, base, base, ""), alert("w", store.AlertCertificate, r.ID, base+9, base+1, "")
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{raised(outcome(r.ID, base, store.StateUp, ""), one, two)}))
			none, err := f.DueAlerts(f.ctx, "w", store.Due{Now: base + 9, Owner: "a", Until: base + 99})
			f.must(err)
			f.equal("none asked for", 0, len(none))
			first, err := f.DueAlerts(f.ctx, "w", store.Due{Now: base + 9, Limit: 1, Owner: "a", Until: base + 99})
			f.must(err)
			f.equal("one", []store.DueAlert{due(one, relay.URL{}, 0)}, first)
			f.equal("the rest", []store.DueAlert{due(two, r.URL, 0)}, f.dueAlerts("w", "b", base+9, base+99))
			// One of b's fails, and a has no say in it.
			f.must(f.SaveAlerts(f.ctx, []store.AlertResult{result(one, "a", true, 0), result(two, "a", true, 0)}, base+10))
			f.must(f.SaveAlerts(f.ctx, []store.AlertResult{result(two, "b", false, base+50)}, base+10))
			f.equal("too early", []store.DueAlert{}, f.dueAlerts("w", "c", base+49, base+99))
			f.equal("again", []store.DueAlert{due(two, r.URL, 1)}, f.dueAlerts("w", "c", base+50, base+150))
			f.must(f.FreeLeases(f.ctx, "c"))
			f.equal("freed", []store.DueAlert{due(two, r.URL, 1)}, f.dueAlerts("w", "d", base+50, base+150))
			f.equal("a lease that is over", []store.DueAlert{due(two, r.URL, 1)}, f.dueAlerts("w", "e", base+150, base+250))
			f.must(f.SaveAlerts(f.ctx, []store.AlertResult{result(two, "d", false, base+160), result(two, "e", true, 0)}, base+151))
			f.equal("done", []store.DueAlert{}, f.dueAlerts("w", "f", base+9999, base+9999))

			// What was delivered is not raised again until it is forgotten.
			raise := func() {
				t.Helper()
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{raised(outcome(r.ID, base+200, store.StateUp, ""), two)}))
			}
			raise()
			f.equal("raised again", []store.DueAlert{}, f.dueAlerts("w", "f", base+9999, base+9999))
			f.must(f.SaveAlerts(f.ctx, nil, two.At+store.KeepAlerts+1))
			raise()
			f.equal("forgotten", []store.DueAlert{due(two, r.URL, 0)}, f.dueAlerts("w", "f", base+9999, base+9999))
		},
		"a lost lease raises none": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			for _, owner := range []string{"a", "b"} {
				f.equal("leased", []store.RelayID{r.ID}, f.due(store.Due{Service: "monitor", Now: base, Limit: 9, Owner: owner, Until: base}))
			}
			o := raised(outcome(r.ID, base, store.StateDown, refused), alert("w", store.AlertDown, r.ID, 0, base, refused))
			o.Next.Owner = "a"
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{o}))
			f.equal("of a", []store.DueAlert{}, f.dueAlerts("w", "a", base+9, base+9))
			o.Next.Owner = "b"
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{o}))
			f.equal("of b", 1, len(f.dueAlerts("w", "a", base+9, base+9)))
		},
		"a clock that was years ahead": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			const ahead = base + 3000*store.Day
			a := alert("w", store.AlertDoubt, 0, base, base, "")
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{raised(outcome(r.ID, base, store.StateUp, ""), a)}))
			f.equal("leased", 1, len(f.dueAlerts("w", "a", ahead, ahead+60)))
			f.equal("when the clock is right", 1, len(f.dueAlerts("w", "b", base+9, base+60)))
			f.must(f.SaveAlerts(f.ctx, []store.AlertResult{result(a, "b", false, ahead)}, base+9))
			f.equal("and due", 1, len(f.dueAlerts("w", "b", base+10, base+60)))
		},
		"whole or not at all": func(t *testing.T, f *fixture) {
			r := f.relays(1)[0]
			one, two := alert("w", store.AlertDoubt, 0, base, base, ""), alert("w", store.AlertCertificate, r.ID, base+9, base, "")
			f.interrupted(func(ctx context.Context) error {
				return f.SaveOutcomes(ctx, []store.Outcome{raised(outcome(r.ID, base, store.StateUp, ""), one, two)})
			}, func() { f.equal("none", 0, len(f.dueAlerts("w", "look", base, base))) })
			f.equal("two", 2, len(f.dueAlerts("w", "a", base, base+9)))
			f.interrupted(func(ctx context.Context) error {
				return f.SaveAlerts(ctx, []store.AlertResult{result(one, "a", true, 0), result(two, "a", true, 0)}, base)
			}, func() {
				f.equal("not half", 2, len(f.dueAlerts("w", "a", base+9, base+9)))
			})
			f.equal("delivered", 0, len(f.dueAlerts("w", "a", base+9, base+9)))
		},
	})
}

package monitor

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/monitor/probe"
)

const day = 86400

func checks(open, read dial.Cause) []store.Check {
	list := []store.Check{{Probe: "open", OK: open == "", Cause: open}}
	if open == "" {
		list = append(list, store.Check{Probe: "read", OK: read == "", Cause: read})
	}
	return list
}

func TestJudge(t *testing.T) {
	const now = 100 * day
	up := store.Relay{State: store.StateUp, LastUp: now - 3600, PromotedAt: now - 30*day}
	for _, test := range []struct {
		name   string
		relay  store.Relay
		checks []store.Check
		state  store.State
		cause  dial.Cause
	}{
		{"opens and reads", up, checks("", ""), store.StateUp, ""},
		{"wants authentication", up, checks("", dial.CauseReadAuth), store.StateDegraded, dial.CauseReadAuth},
		{"one failure is no outage", up, checks(dial.CauseTCPTimeout, ""), store.StateDegraded, dial.CauseTCPTimeout},
		{
			"two failures are",
			store.Relay{State: store.StateDegraded, Failures: 1, LastUp: now - 7200},
			checks(dial.CauseTCPTimeout, ""), store.StateDown, dial.CauseTCPTimeout,
		},
		{
			"never seen up",
			store.Relay{State: store.StateNew, PromotedAt: now - 60},
			checks(dial.CauseNXDomain, ""), store.StateDown, dial.CauseNXDomain,
		},
		{
			"a week without success",
			store.Relay{State: store.StateDown, Failures: 9, LastUp: now - 7*day},
			checks(dial.CauseTCPRefused, ""), store.StateDead, dial.CauseTCPRefused,
		},
		{
			"almost a week",
			store.Relay{State: store.StateDown, Failures: 9, LastUp: now - 7*day + 1},
			checks(dial.CauseTCPRefused, ""), store.StateDown, dial.CauseTCPRefused,
		},
		{
			"promoted long ago, never up",
			store.Relay{State: store.StateDown, Failures: 9, PromotedAt: now - 8*day},
			checks(dial.CauseTCPRefused, ""), store.StateDead, dial.CauseTCPRefused,
		},
		{"had no turn", up, checks(dial.CauseBusy, ""), store.StateUp, dial.CauseBusy},
		{
			"our own network is away",
			store.Relay{State: store.StateDown, Failures: 9, LastUp: now - 9*day},
			checks(dial.CauseSelf, ""), store.StateDown, dial.CauseSelf,
		},
		{
			"our proxy is away",
			store.Relay{State: store.StateNew, PromotedAt: now - 9*day},
			checks(dial.CauseProxyDown, ""), store.StateNew, dial.CauseProxyDown,
		},
		{"our own network goes away", up, checks("", dial.CauseSelf), store.StateUp, dial.CauseSelf},
		{
			"back from the dead",
			store.Relay{State: store.StateDead, Failures: 40, LastUp: 1},
			checks("", ""), store.StateUp, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			state, cause := judge(test.relay, test.checks, now)
			if state != test.state || cause != test.cause {
				t.Errorf("judge: %s because of %q, want %s because of %q", state, cause, test.state, test.cause)
			}
		})
	}
}

// reports makes a group of relays that were up, of which some do not open.
func reports(up, failed int) []Report {
	list := make([]Report, up)
	for i := range list {
		list[i] = Report{Relay: store.Relay{State: store.StateUp, LastUp: 1, Failures: 0}, At: 1000, Checks: checks("", "")}
		if i < failed {
			list[i].Checks = checks(dial.CauseTCPTimeout, "")
			list[i].State, list[i].Cause = store.StateDegraded, dial.CauseTCPTimeout
		}
	}
	return list
}

func TestSelfDoubt(t *testing.T) {
	for _, test := range []struct {
		up, failed int
		want       bool
	}{
		{0, 0, false},
		{9, 9, false}, // too few to tell
		{10, 3, false},
		{10, 4, true},
		{100, 30, false},
		{100, 31, true},
	} {
		idle := reports(1, 0)[0]
		idle.Checks, idle.Cause = checks(dial.CauseBusy, ""), dial.CauseBusy
		if have := selfDoubt(append(reports(test.up, test.failed), slices.Repeat([]Report{idle}, 50)...)); have != test.want {
			t.Errorf("%d of %d fail, and 50 have no turn: self-doubt is %t", test.failed, test.up, have)
		}
		if have := selfDoubt(reports(test.up, test.failed)); have != test.want {
			t.Errorf("%d of %d fail: self-doubt is %t", test.failed, test.up, have)
		}
	}
}

// TestOutcomeOfOurFault checks that a relay keeps its state, and gets no failed
// check, while we suspect ourselves.
func TestOutcomeOfOurFault(t *testing.T) {
	s := New(DefaultConfig(), nil, nil, nil, "", slog.New(slog.DiscardHandler))
	r := reports(1, 1)[0]
	o := s.outcome(r, true)
	if o.State != store.StateUp || o.Cause != "" || o.Failures != 0 || o.Checks != nil {
		t.Errorf("outcome of our own fault: %+v", o)
	}
	if o.Next.DueAt <= r.At || o.Next.DueAt > r.At+int64((6*time.Minute).Seconds()) {
		t.Errorf("next check after %d s", o.Next.DueAt-r.At)
	}
	if o = s.outcome(r, false); o.State != store.StateDegraded || o.Failures != 1 || len(o.Checks) != 1 {
		t.Errorf("outcome of its own fault: %+v", o)
	}
}

// TestUndecided checks that a relay which we could not check, through our own
// fault, is as it was, and checked again soon.
func TestUndecided(t *testing.T) {
	s := New(DefaultConfig(), nil, nil, nil, "me", slog.New(slog.DiscardHandler))
	for _, before := range []store.Relay{
		{ID: 1, State: store.StateNew},
		{ID: 1, State: store.StateUp, LastUp: 900},
		{ID: 1, State: store.StateDegraded, Cause: dial.CauseReadAuth, LastUp: 900},
		{ID: 1, State: store.StateDown, Cause: dial.CauseTCPRefused, LastUp: 900, Failures: 4},
		{ID: 1, State: store.StateDead, Cause: dial.CauseNXDomain, Failures: 40},
	} {
		for _, found := range [][]store.Check{
			checks(dial.CauseBusy, ""), checks(dial.CauseSelf, ""), checks(dial.CauseProxyDown, ""), checks("", dial.CauseSelf),
		} {
			r := Report{Relay: before, At: 1000, Checks: found}
			r.State, r.Cause = judge(before, found, r.At)
			o := s.outcome(r, false)
			if o.State != before.State || o.Cause != before.Cause || o.LastUp != before.LastUp || o.Failures != before.Failures || len(o.Checks) > 0 {
				t.Errorf("%+v, of which nothing was learned because of %q, becomes %+v", before, r.Cause, o)
			}
			if wait := o.Next.DueAt - r.At; wait < 4*60 || wait > 6*60 || o.Next.Attempts != before.Failures || o.Next.Owner != "me" {
				t.Errorf("%s: next after %d s: %+v", before.State, wait, o.Next)
			}
		}
	}
}

// TestOursIsNoResult checks that a probe which we could not run leaves the
// result that it had before.
func TestOursIsNoResult(t *testing.T) {
	s := New(DefaultConfig(), nil, nil, nil, "", slog.New(slog.DiscardHandler))
	found := append(checks("", ""), store.Check{Probe: "nip11", Cause: dial.CauseBusy})
	o := s.outcome(Report{Relay: store.Relay{State: store.StateUp}, At: 1000, Checks: found, State: store.StateUp}, false)
	if len(o.Checks) != 2 || o.State != store.StateUp || o.LastUp != 1000 {
		t.Errorf("outcome without a turn for one probe: %+v", o)
	}
}

// TestOutcomeSchedule checks that checks become rarer the longer a relay fails.
func TestOutcomeSchedule(t *testing.T) {
	s := New(DefaultConfig(), nil, nil, nil, "", slog.New(slog.DiscardHandler))
	last := int64(0)
	for failures := range 5 {
		r := Report{
			Relay: store.Relay{State: store.StateDown, Failures: failures}, At: 1000,
			Checks: checks(dial.CauseTCPTimeout, ""), State: store.StateDown,
		}
		o := s.outcome(r, false)
		if wait := o.Next.DueAt - r.At; wait <= last {
			t.Errorf("failure %d: wait of %d s after one of %d s", failures+1, wait, last)
		} else {
			last = wait
		}
		if o.Failures != failures+1 || o.Next.Attempts != failures+1 {
			t.Errorf("failure %d is counted as %d", failures+1, o.Failures)
		}
	}
}

// TestGeohash checks that no more is said of where a relay is than is known.
func TestGeohash(t *testing.T) {
	lat, lon := 52.52, 13.405
	for _, test := range []struct {
		name  string
		place probe.Place
		want  string
	}{
		{"a city", probe.Place{Country: "DE", City: "Berlin", Lat: &lat, Lon: &lon, Precision: probe.PreciseCity}, "u33dc"},
		{"a country", probe.Place{Country: "DE", Precision: probe.PreciseCountry}, ""},
		{"at many places", probe.Place{Anycast: true, Precision: probe.PreciseNone}, ""},
	} {
		data, err := json.Marshal(test.place)
		if err != nil {
			t.Fatal(err)
		}
		u, err := relay.Parse("wss://relay.example.com")
		if err != nil {
			t.Fatal(err)
		}
		r := Report{Relay: store.Relay{URL: u}, Checks: append(checks("", ""), store.Check{Probe: "geo", OK: true, Document: &store.Document{Type: "geo", Data: data}})}
		report, ok := r.report(nil)
		if !ok || report.Geohash != test.want {
			t.Errorf("%s: geohash %q, want %q", test.name, report.Geohash, test.want)
		}
	}
}

package probe_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/simnet"
)

func dialer() *dial.Dialer {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	return dial.New(cfg)
}

// check runs all probes on a relay of the given behaviour and returns the
// results by name.
func check(t *testing.T, b simnet.Behaviour, events int) map[string]probe.Result {
	t.Helper()
	network := simnet.New(1)
	t.Cleanup(network.Close)
	r, err := network.AddRelay(b)
	if err != nil {
		t.Fatal(err)
	}
	if events > 0 {
		r.Add(simnet.Generate(simnet.Plan{Seed: 1, Count: events, Since: 1_600_000_000, Until: 1_700_000_000, Kinds: []nostr.Kind{1}})...)
	}
	return checkURL(t, r.URL())
}

func checkURL(t *testing.T, url relay.URL) map[string]probe.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	results := map[string]probe.Result{}
	for _, r := range (probe.Kit{Dialer: dialer()}).Check(ctx, url, false) {
		if r.OK != (r.Cause == "") {
			t.Errorf("%s is ok: %t, because of %q", r.Probe, r.OK, r.Cause)
		}
		results[r.Probe] = r
	}
	return results
}

func TestCheck(t *testing.T) {
	ok := dial.Cause("")
	fault := func(what simnet.What, n int) []simnet.Fault {
		return []simnet.Fault{{What: what, When: simnet.Always, N: n}}
	}
	for _, test := range []struct {
		name      string
		behaviour simnet.Behaviour
		events    int
		want      map[string]dial.Cause // a probe that is not in it must not have run
	}{
		{"good relay", simnet.Behaviour{}, 3, map[string]dial.Cause{"open": ok, "read": ok, "nip11": ok}},
		{"empty relay is readable", simnet.Behaviour{}, 0, map[string]dial.Cause{"open": ok, "read": ok, "nip11": ok}},
		{
			"asks for authentication",
			simnet.Behaviour{Auth: true},
			3,
			map[string]dial.Cause{"open": ok, "read": dial.CauseReadAuth, "nip11": ok},
		},
		{
			"refuses to read",
			simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Closed, When: simnet.Always, Text: "blocked: no"}}},
			3,
			map[string]dial.Cause{"open": ok, "read": dial.CauseReadRestricted, "nip11": ok},
		},
		{
			"refuses the first filter only",
			simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Closed, When: simnet.When{First: 1}, Text: "error: too broad"}}},
			3,
			map[string]dial.Cause{"open": ok, "read": ok, "nip11": ok},
		},
		{
			"leaves while reading",
			simnet.Behaviour{Faults: fault(simnet.Reset, 0)},
			3,
			map[string]dial.Cause{"open": ok, "read": dial.CauseDisconnected, "nip11": ok},
		},
		{
			"answers with a status",
			simnet.Behaviour{Faults: fault(simnet.Status, 503)},
			0,
			map[string]dial.Cause{"open": dial.CauseHTTPStatus, "nip11": ok},
		},
		{
			"document is a page",
			simnet.Behaviour{Info: &simnet.Info{Body: "<html>", ContentType: "text/html"}},
			0,
			map[string]dial.Cause{"open": ok, "read": ok, "nip11": dial.CauseDocument},
		},
		{
			"no document",
			simnet.Behaviour{Info: &simnet.Info{Status: 404}},
			0,
			map[string]dial.Cause{"open": ok, "read": ok, "nip11": dial.CauseHTTPStatus},
		},
		{
			"document of 10 MB",
			simnet.Behaviour{Info: &simnet.Info{Body: `{"name":"` + strings.Repeat("x", 10<<20) + `"}`}},
			0,
			map[string]dial.Cause{"open": ok, "read": ok, "nip11": dial.CauseDocument},
		},
		{
			"document nested 10,000 deep",
			simnet.Behaviour{Info: &simnet.Info{Body: strings.Repeat(`{"a":`, 10000)}},
			0,
			map[string]dial.Cause{"open": ok, "read": ok, "nip11": dial.CauseDocument},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			have := check(t, test.behaviour, test.events)
			for name, cause := range test.want {
				if r, ran := have[name]; !ran {
					t.Errorf("%s did not run", name)
				} else if r.Cause != cause {
					t.Errorf("%s: cause %q (%s), want %q", name, r.Cause, r.Detail, cause)
				}
			}
			delete(have, "http") // which come along with nip11
			delete(have, "schema")
			if len(have) != len(test.want) {
				t.Errorf("%d probes ran, want %d: %+v", len(have), len(test.want), have)
			}
		})
	}
}

// TestValues checks that the parts of the opening time sum up, and that the
// document is kept.
func TestValues(t *testing.T) {
	have := check(t, simnet.Behaviour{Latency: 20 * time.Millisecond}, 1)
	v := have["open"].Values
	if sum := v["dns_ms"] + v["tcp_ms"] + v["tls_ms"] + v["ws_ms"]; v["open_ms"] <= 0 || sum < v["open_ms"]-0.01 || sum > v["open_ms"]+0.01 {
		t.Errorf("the phases of %v sum up to %v", v, sum)
	}
	if v := have["read"].Values; v["event_ms"] < 20 || v["eose_ms"] < v["event_ms"] || v["events"] != 1 {
		t.Errorf("a relay with 20 ms of latency: %v", v)
	}
	if !strings.HasPrefix(string(have["nip11"].Document), "{") {
		t.Errorf("document is %q", have["nip11"].Document)
	}
}

// TestDead checks that a host that cannot be connected to is not asked for a
// document.
func TestDead(t *testing.T) {
	network := simnet.New(2)
	t.Cleanup(network.Close)
	url, err := network.AddDead()
	if err != nil {
		t.Fatal(err)
	}
	have := checkURL(t, url)
	if len(have) != 1 || have["open"].Cause != dial.CauseTCPRefused {
		t.Errorf("a dead address: %+v", have)
	}
}

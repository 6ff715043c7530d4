package probe_test

import (
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/simnet"
)

// TestRobots has hosts say in their robots.txt who may come. One connection
// serves it and the document.
func TestRobots(t *testing.T) {
	for _, test := range []struct {
		name, robots, path string
		want               dial.Cause
	}{
		{"no file", "", "", ""},
		{"it names us", "User-agent: *\nAllow: /\n\nUser-agent: bigbrotr\nDisallow: /\n", "", dial.CauseOptedOut},
		{"it names us, in the group of others", "User-Agent: Nostrwatch\nUser-Agent: BigBrotr # and friends\nDisallow: /", "", dial.CauseOptedOut},
		{"it names everybody", "User-agent: *\nDisallow: /", "", ""},
		{"it names others", "User-agent: bigbro\nDisallow: /\n\nUser-agent: bigbrotrs\nDisallow: /", "", ""},
		{"it names us and lets us in", "User-agent: BigBrotr\nDisallow:\nAllow: /", "", ""},
		{"it closes another path", "User-agent: BigBrotr\nDisallow: /private", "/public", ""},
		{"it closes this path", "User-agent: BigBrotr\nDisallow: /private", "/private", dial.CauseOptedOut},
		{"it is no such file", "<html>\x00\xff User-agent BigBrotr Disallow /", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			network := simnet.New(41)
			t.Cleanup(network.Close)
			r, err := network.AddRelay(simnet.Behaviour{Robots: test.robots})
			if err != nil {
				t.Fatal(err)
			}
			u, err := relay.Rules{AllowLocal: true}.Parse(r.URL().String() + test.path)
			if err != nil {
				t.Fatal(err)
			}
			have := map[string]probe.Result{}
			for _, result := range (probe.Kit{Dialer: dialer()}).Check(t.Context(), u, true) {
				have[result.Probe] = result
			}
			if result, ran := have["robots"]; !ran || result.Cause != test.want || result.OK != (test.want == "") {
				t.Errorf("robots ran is %t: %+v, want cause %q", ran, result, test.want)
			}
			if _, asked := have["nip11"]; asked != (test.want == "") {
				t.Errorf("it was asked for its document is %t", asked)
			}
			if s := r.Stats(); s.Connections != 2 {
				t.Errorf("%d connections, want one for the WebSocket and one for documents", s.Connections)
			}
		})
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/simnet"
)

// TestCheckCodes checks relays in every state: the exit code tells which, and
// the report says why, to people and to programs.
func TestCheckCodes(t *testing.T) {
	network := simnet.New(91)
	t.Cleanup(network.Close)
	add := func(b simnet.Behaviour) relay.URL {
		r, err := network.AddRelay(b)
		if err != nil {
			t.Fatal(err)
		}
		return r.URL()
	}
	dead, err := network.AddDead()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		url   relay.URL
		code  int
		state string
		lines []string // of the report for people, blanks as one
	}{
		{"up", add(simnet.Behaviour{Info: &simnet.Info{Body: `{"name":"A \u001b[31mrelay"}`}}), 0, "up", []string{
			"open ok", "read ok", "robots ok", "nip11 ok", `name "A \x1b[31mrelay"`, "schema ok", "http ok",
		}},
		{"wants authentication", add(simnet.Behaviour{Auth: true}), 3, "degraded", []string{"open ok", "read read-auth"}},
		{"opted out", add(simnet.Behaviour{Robots: "User-agent: bigbrotr\nDisallow: /"}), 0, "up", []string{"robots opted-out"}},
		{"no WebSocket", add(simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Status, When: simnet.Always, N: 503}}}), 1, "down", []string{
			`open http-status "HTTP status 503"`,
		}},
		{"dead", dead, 1, "down", []string{"open tcp-refused"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := func(flags ...string) string {
				t.Helper()
				var out, errors bytes.Buffer
				args := append([]string{"check", "--allow-local", test.url.String()}, flags...)
				if code := run(t.Context(), args, terminal{out: &out, err: &errors}); code != test.code || errors.Len() > 0 {
					t.Errorf("exit code %d, want %d; %s", code, test.code, errors.String())
				}
				return out.String()
			}
			var lines []string
			for line := range strings.Lines(check()) {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
			for _, want := range test.lines {
				found := false
				for _, line := range lines {
					found = found || strings.HasPrefix(line, want)
				}
				if !found {
					t.Errorf("no line %q in\n%s", want, strings.Join(lines, "\n"))
				}
			}
			var report struct {
				URL, State string
				Checks     []struct{ Probe string }
			}
			if err := json.Unmarshal([]byte(check("--json")), &report); err != nil || report.State != test.state || report.URL != test.url.String() || len(report.Checks) == 0 {
				t.Errorf("report %+v, %v", report, err)
			}
		})
	}
}

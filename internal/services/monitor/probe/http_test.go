package probe_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/simnet"
)

// infoRelay adds a relay with a document to a network of its own.
func infoRelay(t *testing.T, info simnet.Info) *simnet.Relay {
	t.Helper()
	network := simnet.New(31)
	t.Cleanup(network.Close)
	r, err := network.AddRelay(simnet.Behaviour{Info: &info})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWeb reads what web servers say of themselves, and how they serve the
// document.
func TestWeb(t *testing.T) {
	for _, test := range []struct {
		name string
		info simnet.Info
		want probe.Web
	}{
		{
			"as it should be",
			simnet.Info{Body: "{}", Header: map[string]string{
				"Server": "nginx/1.26", "X-Powered-By": "PHP", "Onion-Location": "http://expyuzz4wqqyqhjn.onion",
			}},
			probe.Web{
				Status: 200, Server: "nginx/1.26", PoweredBy: "PHP", OnionLocation: "http://expyuzz4wqqyqhjn.onion",
				ContentType: "application/nostr+json", AllowOrigin: "*", AllowHeaders: "*", AllowMethods: "GET, OPTIONS",
			},
		},
		{
			"without CORS, as a page",
			simnet.Info{Body: "{}", ContentType: "text/html; charset=utf-8", Header: map[string]string{
				"Access-Control-Allow-Origin": "", "Access-Control-Allow-Headers": "", "Access-Control-Allow-Methods": "",
			}},
			probe.Web{
				Status: 200, ContentType: "text/html; charset=utf-8",
				Findings: []probe.WebBug{probe.WebContentType, probe.WebAllowOrigin, probe.WebAllowHeaders, probe.WebAllowMethods},
			},
		},
		{
			"a header that steers terminals",
			simnet.Info{Body: "{}", Header: map[string]string{"Server": strings.Repeat("é", 1000)}},
			probe.Web{
				Status: 200, Server: strings.Repeat("é", 100),
				ContentType: "application/nostr+json", AllowOrigin: "*", AllowHeaders: "*", AllowMethods: "GET, OPTIONS",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			have := run(t, probe.Kit{Dialer: dialer()}, infoRelay(t, test.info))
			if d := cmp.Diff(test.want, readDocument[probe.Web](t, have["http"])); d != "" {
				t.Errorf("(-want +have):\n%s", d)
			}
			if n := have["http"].Values["findings"]; n != float64(len(test.want.Findings)) {
				t.Errorf("%v findings are counted, want %d", n, len(test.want.Findings))
			}
		})
	}
}

// TestRedirects follows a redirect to the document and none to a private
// address, and never makes more than three connections.
func TestRedirects(t *testing.T) {
	there := infoRelay(t, simnet.Info{Body: `{"name":"There"}`})
	to := func(location string) *simnet.Relay {
		return infoRelay(t, simnet.Info{Status: 302, Location: location})
	}
	http := func(r *simnet.Relay) string { return "http" + strings.TrimPrefix(r.URL().String(), "ws") }
	near := to(http(there))
	round := to("")
	round.SetBehaviour(simnet.Behaviour{Info: &simnet.Info{Status: 302, Location: http(round)}})
	for _, test := range []struct {
		name     string
		relay    *simnet.Relay
		cause    dial.Cause
		findings []probe.WebBug
		most     int64
	}{
		{"to another place", near, "", []probe.WebBug{probe.WebRedirects}, 2},
		{"to a private address", to("http://0.0.0.0:80/"), dial.CauseAddress, []probe.WebBug{probe.WebRedirects, probe.WebRedirectRefused}, 2},
		{"to a file", to("file:///etc/passwd"), dial.CauseHTTP, []probe.WebBug{probe.WebRedirects, probe.WebRedirectRefused}, 2},
		{"in a circle", round, dial.CauseHTTP, []probe.WebBug{probe.WebRedirects, probe.WebRedirectRefused}, 2},
		{"from host to host", to(http(to(http(near)))), dial.CauseBusy, []probe.WebBug{probe.WebRedirects}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			have := run(t, probe.Kit{Dialer: dialer()}, test.relay)
			if c := have["nip11"].Cause; c != test.cause {
				t.Errorf("document fails by %q, want %q", c, test.cause)
			}
			if d := cmp.Diff(test.findings, readDocument[probe.Web](t, have["http"]).Findings); d != "" {
				t.Errorf("findings (-want +have):\n%s", d)
			}
			if n := test.relay.Stats().Connections; n > test.most {
				t.Errorf("%d connections in one check, want at most %d", n, test.most)
			}
		})
	}
}

// TestHostileDocument has documents made to harm: each ends in findings or in a
// cause, and reading goes on being possible.
func TestHostileDocument(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 1 << 10 {
		if _, err := z.Write(bytes.Repeat([]byte{' '}, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		info    simnet.Info
		cause   dial.Cause
		finding probe.SchemaFinding // one of them
	}{
		{
			"difficulty 255",
			simnet.Info{Body: `{"limitation":{"min_pow_difficulty":255}}`},
			"",
			probe.SchemaFinding{Field: "limitation.min_pow_difficulty", Problem: "absurd value"},
		},
		{
			"wrong types",
			simnet.Info{Body: `{"name":{},"supported_nips":{"1":1},"limitation":[],"fees":7,"pubkey":12}`},
			"",
			probe.SchemaFinding{Field: "limitation", Problem: "wrong type"},
		},
		{"64 MiB compressed to 64 KiB", simnet.Info{Body: bomb.String(), Header: map[string]string{"Content-Encoding": "gzip"}}, dial.CauseDocument, probe.SchemaFinding{}},
		{"10 MB", simnet.Info{Body: `{"name":"` + strings.Repeat("x", 10<<20) + `"}`}, dial.CauseDocument, probe.SchemaFinding{}},
		{"nested 10,000 deep", simnet.Info{Body: strings.Repeat(`{"a":`, 10_000)}, dial.CauseDocument, probe.SchemaFinding{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			have := run(t, probe.Kit{Dialer: dialer()}, infoRelay(t, test.info))
			if !have["open"].OK || !have["read"].OK || have["nip11"].Cause != test.cause {
				t.Fatalf("open %q, read %q, document %q, want %q of the document alone",
					have["open"].Cause, have["read"].Cause, have["nip11"].Cause, test.cause)
			}
			if test.cause != "" {
				return
			}
			if s := readDocument[probe.Schema](t, have["schema"]); !slices.Contains(s.Findings, test.finding) {
				t.Errorf("%v is not among the findings %v", test.finding, s.Findings)
			}
		})
	}
}

// TestRealDocuments serves documents of real relays, well-formed and broken.
func TestRealDocuments(t *testing.T) {
	files, err := filepath.Glob("../../../core/nostr/nip11/testdata/documents/*")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d documents: %v", len(files), err)
	}
	r := infoRelay(t, simnet.Info{})
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBehaviour(simnet.Behaviour{Info: &simnet.Info{Body: string(body)}})
		have := run(t, probe.Kit{Dialer: dialer()}, r)
		if !have["nip11"].OK || have["schema"].Document == nil {
			t.Errorf("%s: %s: %+v", file, have["nip11"].Cause, have["schema"])
		}
	}
}

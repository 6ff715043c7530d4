package probe_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/simnet"
)

// read decodes the document of a result.
func readDocument[T any](t *testing.T, r probe.Result) (v T) {
	t.Helper()
	if err := json.Unmarshal(r.Document, &v); err != nil {
		t.Fatalf("%s: document %q: %v", r.Probe, r.Document, err)
	}
	return v
}

// run checks with a kit and returns the results by name.
func run(t *testing.T, k probe.Kit, r *simnet.Relay) map[string]probe.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	results := map[string]probe.Result{}
	for _, found := range k.Check(ctx, r.URL(), true) {
		if found.OK != (found.Cause == "") {
			t.Errorf("%s is ok: %t, because of %q", found.Probe, found.OK, found.Cause)
		}
		results[found.Probe] = found
	}
	return results
}

// TestCertificate has relays with certificates of every kind: what is wrong is
// the cause of the failure, and everything that is wrong is named.
func TestCertificate(t *testing.T) {
	names, err := simnet.NewNames()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	ours, err := simnet.NewAuthority("Authority of ours")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := simnet.NewAuthority("Authority of strangers")
	if err != nil {
		t.Fatal(err)
	}
	network := simnet.New(21)
	t.Cleanup(network.Close)
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.NameServer = true, names.Addr().String()
	kit := probe.Kit{Dialer: dial.New(cfg).Trusting(ours.Pool())}

	now := time.Now()
	for _, test := range []struct {
		name     string
		by       *simnet.Authority
		cert     simnet.Certificate
		cause    dial.Cause
		problems []probe.CertificateBug
	}{
		{"good", ours, simnet.Certificate{Names: []string{"relay.example.com", "other.example.com"}}, "", nil},
		{
			"expired", ours,
			simnet.Certificate{Names: []string{"relay.example.com"}, From: now.AddDate(-1, 0, 0), Until: now.AddDate(0, 0, -3)},
			dial.CauseTLSExpired,
			[]probe.CertificateBug{probe.CertExpired},
		},
		{
			"not yet valid", ours,
			simnet.Certificate{Names: []string{"relay.example.com"}, From: now.AddDate(0, 0, 3), Until: now.AddDate(0, 1, 0)},
			dial.CauseTLSExpired,
			[]probe.CertificateBug{probe.CertNotYetValid},
		},
		{
			"wrong name", ours,
			simnet.Certificate{Names: []string{"other.example.com"}},
			dial.CauseTLSName,
			[]probe.CertificateBug{probe.CertWrongName},
		},
		{
			"self-signed", ours,
			simnet.Certificate{Names: []string{"relay.example.com"}, SelfSigned: true},
			dial.CauseTLSUntrusted,
			[]probe.CertificateBug{probe.CertSelfSigned},
		},
		{
			"unknown authority", theirs,
			simnet.Certificate{Names: []string{"relay.example.com"}},
			dial.CauseTLSUntrusted,
			[]probe.CertificateBug{probe.CertUntrusted},
		},
		{
			"everything at once", theirs,
			simnet.Certificate{Names: []string{"other.example.com"}, From: now.AddDate(-1, 0, 0), Until: now.AddDate(0, 0, -3)},
			dial.CauseTLSExpired,
			[]probe.CertificateBug{probe.CertExpired, probe.CertWrongName, probe.CertUntrusted},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert, err := test.by.Issue(test.cert)
			if err != nil {
				t.Fatal(err)
			}
			r, err := network.AddSecure(simnet.Behaviour{}, "relay.example.com", cert)
			if err != nil {
				t.Fatal(err)
			}
			names.Set("relay.example.com", "A", simnet.Answer{Records: []string{"60 A " + r.Addr().Addr().String()}})
			have := run(t, kit, r)
			if have["open"].Cause != test.cause || have["tls"].Cause != test.cause {
				t.Fatalf("open fails by %q, tls by %q, want %q", have["open"].Cause, have["tls"].Cause, test.cause)
			}
			c := readDocument[probe.Certificate](t, have["tls"])
			if d := cmp.Diff(test.problems, c.Problems); d != "" {
				t.Errorf("problems (-want +have):\n%s", d)
			}
			issuer := "CN=Authority of ours"
			if test.by == theirs {
				issuer = "CN=Authority of strangers"
			}
			if test.cert.SelfSigned {
				issuer = "CN=relay.example.com"
			}
			if c.Issuer != issuer || c.Key != "ECDSA P-256" || len(c.Fingerprint) != 64 || c.NotAfter <= c.NotBefore {
				t.Errorf("certificate: %+v", c)
			}
			if d := cmp.Diff(test.cert.Names, c.Names); d != "" {
				t.Errorf("names (-want +have):\n%s", d)
			}
			if (c.Protocol == "TLS 1.3" && c.Cipher != "") != (test.cause == "") {
				t.Errorf("protocol %q, cipher %q", c.Protocol, c.Cipher)
			}
			if days := have["tls"].Values["days_left"]; test.name == "good" && days != 89 || test.name == "expired" && days != -3 {
				t.Errorf("%v days are left", days)
			}
			if n := r.Stats().Connections; n > 3 {
				t.Errorf("%d connections in one check", n)
			}
		})
	}
}

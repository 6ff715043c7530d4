package probe

import (
	"context"
	"net/netip"
	"testing"

	"bigbrotr/internal/core/dial"
	doc "bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/relay"
)

// TestGeoByHeader takes a relay whose web server is Cloudflare's for one that is
// nowhere, and looks no private address up.
func TestGeoByHeader(t *testing.T) {
	p, err := OpenPlaces("", "", false)
	if err != nil {
		t.Fatal(err)
	}
	url, err := relay.Parse("wss://relay.example.com")
	if err != nil {
		t.Fatal(err)
	}
	target := &Target{Kit: Kit{Places: p, Dialer: dial.New(dial.DefaultConfig())}, URL: url, answer: &doc.Answer{Header: map[string][]string{}}}
	for _, test := range []struct{ addr, server, want string }{
		{"46.4.84.1:443", "nginx", `{"addr":"46.4.84.1","anycast":false,"country":"DE","precision":"country","source":"iploc"}`},
		{"46.4.84.1:443", "cloudflare", `{"addr":"46.4.84.1","anycast":true,"precision":"none"}`},
		{"10.0.0.1:443", "nginx", ""},
	} {
		target.trace.Addr = netip.MustParseAddrPort(test.addr)
		target.answer.Header.Set("Server", test.server)
		r, ran := geo(context.Background(), target)
		if string(r.Document) != test.want || ran != (test.want != "") {
			t.Errorf("%s at %s: %s, want %s", test.server, test.addr, r.Document, test.want)
		}
	}
}

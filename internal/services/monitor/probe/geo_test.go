package probe_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/simnet"
)

// writeFile makes a file of an operator.
func writeFile(t *testing.T, kind string, rows map[string]mmdbtype.Map) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, row := range rows {
		_, block, err := net.ParseCIDR(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(block, row); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), kind+".mmdb")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFind looks addresses up in an operator's files, in what is embedded and in
// a zone like Team Cymru's.
func TestFind(t *testing.T) {
	names, err := simnet.NewNames()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	txt := func(name, text string) {
		names.Set(name, "TXT", simnet.Answer{Records: []string{`60 TXT "` + text + `"`}})
	}
	txt("1.84.4.46.origin.asn.cymru.com", "24940 | 46.4.0.0/16 | DE | ripencc | 2010-11-22")
	txt("AS24940.asn.cymru.com", "24940 | DE | ripencc | 2002-06-03 | HETZNER-AS, DE")
	txt("1.1.16.104.origin.asn.cymru.com", "13335 | 104.16.0.0/12 | US | arin | 2014-03-28")
	txt("AS13335.asn.cymru.com", "13335 | US | arin | 2010-07-14 | CLOUDFLARENET, US")
	txt("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.f.4.0.1.0.a.2.origin6.asn.cymru.com", "24940 64500 | 2a01:4f8::/32 | DE | ripencc | 2007-06-01")

	f := func(v float64) *float64 { return &v }
	city := writeFile(t, "GeoLite2-City", map[string]mmdbtype.Map{
		"9.9.9.0/24": {
			"country":  mmdbtype.Map{"iso_code": mmdbtype.String("CH")},
			"city":     mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String("Zurich")}},
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(47.37), "longitude": mmdbtype.Float64(8.54)},
		},
		"1.1.1.0/24": {
			"country": mmdbtype.Map{"iso_code": mmdbtype.String("AU")},
			"traits":  mmdbtype.Map{"is_anycast": mmdbtype.Bool(true)},
		},
	})
	asn := writeFile(t, "GeoLite2-ASN", map[string]mmdbtype.Map{
		"9.9.9.0/24": {"autonomous_system_number": mmdbtype.Uint32(19281), "autonomous_system_organization": mmdbtype.String("QUAD9")},
	})
	for _, test := range []struct {
		name, city, asn string
		cymru           bool
		addr            string
		want            probe.Place
	}{
		{"operator's files", city, asn, true, "9.9.9.9", probe.Place{
			Country: "CH", City: "Zurich", Lat: f(47.37), Lon: f(8.54), Precision: probe.PreciseCity, Source: "mmdb",
			ASN: 19281, Org: "QUAD9", Prefix: "9.9.9.0/24", ASNSource: "mmdb",
		}},
		{"operator's file says anycast", city, asn, false, "1.1.1.1", probe.Place{Anycast: true, Precision: probe.PreciseNone}},
		{"embedded country, network by DNS", "", "", true, "46.4.84.1", probe.Place{
			Country: "DE", Precision: probe.PreciseCountry, Source: "iploc",
			ASN: 24940, Org: "HETZNER-AS, DE", Prefix: "46.4.0.0/16", ASNSource: "cymru",
		}},
		{"a network of two origins", "", "", true, "2a01:4f8::1", probe.Place{
			Country: "DE", Precision: probe.PreciseCountry, Source: "iploc",
			ASN: 24940, Org: "HETZNER-AS, DE", Prefix: "2a01:4f8::/32", ASNSource: "cymru",
		}},
		{"nobody is asked", "", "", false, "46.4.84.1", probe.Place{Country: "DE", Precision: probe.PreciseCountry, Source: "iploc"}},
		{"a CDN is nowhere", "", "", true, "104.16.1.1", probe.Place{
			Anycast: true, Precision: probe.PreciseNone, ASN: 13335, Org: "CLOUDFLARENET, US", Prefix: "104.16.0.0/12", ASNSource: "cymru",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := probe.OpenPlaces(test.city, test.asn, test.cymru)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}()
			test.want.Addr = test.addr
			for range 2 { // the second time by what is remembered
				have := p.Find(t.Context(), netip.MustParseAddr(test.addr), names.Addr().String())
				if d := cmp.Diff(test.want, have); d != "" {
					t.Errorf("(-want +have):\n%s", d)
				}
			}
		})
	}
	if n := names.Asked("1.84.4.46.origin.asn.cymru.com", "TXT"); n != 1 {
		t.Errorf("one network was asked for %d times", n)
	}
	if _, err := probe.OpenPlaces(filepath.Join(t.TempDir(), "none.mmdb"), "", false); err == nil {
		t.Error("a missing file was opened")
	}
}

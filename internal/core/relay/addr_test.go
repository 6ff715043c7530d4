package relay

import (
	"net/netip"
	"testing"
)

func TestPublicAddr(t *testing.T) {
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.88.98.255",
		"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "203.0.112.255", "223.255.255.255",
		"2000::1", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::", "2001:db9::", "2003::1", "2606:4700::1111",
		"2a01:4f8::1", "3ffe::1", "3fff:1000::1",
	} {
		if !publicAddr(netip.MustParseAddr(text)) {
			t.Errorf("%s is not public, want public", text)
		}
	}
	for _, text := range []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.1", "192.31.196.1", "192.52.193.1",
		"192.88.99.1", "192.168.0.0", "192.168.255.255", "192.175.48.1", "198.18.0.0", "198.19.255.255", "198.51.100.1",
		"203.0.113.1", "224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.255",
		"::", "::1", "::8.8.8.8", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::1",
		"100::1", "200::1", "1fff:ffff::", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff:ffff::",
		"2001:db8::1", "2002::1", "2002:808:808::1", "2620:4f:8000::1", "3fff::1", "3fff:fff:ffff::", "4000::1", "5f00::1",
		"fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "2606:4700::1%eth0",
	} {
		if publicAddr(netip.MustParseAddr(text)) {
			t.Errorf("%s is public, want not", text)
		}
	}
	if publicAddr(netip.Addr{}) {
		t.Error("the zero Addr is public")
	}
}

func TestAllowsAddr(t *testing.T) {
	for text, want := range map[string]struct{ strict, local bool }{
		"1.1.1.1":          {true, true},
		"2606:4700::1":     {true, true},
		"127.0.0.1":        {false, true},
		"10.1.2.3":         {false, true},
		"100.100.100.100":  {false, true},
		"169.254.0.1":      {false, true},
		"::1":              {false, true},
		"fd00::1":          {false, true},
		"fe80::1":          {false, true},
		"fe80::1%eth0":     {false, false},
		"::ffff:127.0.0.1": {false, false},
		"0.0.0.0":          {false, false},
		"192.0.2.1":        {false, false},
		"224.0.0.1":        {false, false},
		"::":               {false, false},
		"2002:7f00:1::1":   {false, false},
		"64:ff9b::1":       {false, false},
	} {
		a := netip.MustParseAddr(text)
		if got := (Rules{}).AllowsAddr(a); got != want.strict {
			t.Errorf("%s: allowed %v, want %v", text, got, want.strict)
		}
		if got := (Rules{AllowLocal: true}).AllowsAddr(a); got != want.local {
			t.Errorf("%s: allowed %v with AllowLocal, want %v", text, got, want.local)
		}
	}
}

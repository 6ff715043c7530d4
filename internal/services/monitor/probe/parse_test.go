package probe

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzRobots checks that no robots.txt does harm.
func FuzzRobots(f *testing.F) {
	for _, text := range []string{"", "User-agent: BigBrotr\nDisallow: /*$", "Disallow: /\n\nUser-agent:\nAllow", "\xef\xbb\xbfUser-agent:*\r\nCrawl-delay: 1e999\r\n"} {
		f.Add([]byte(text), "/")
	}
	f.Fuzz(func(_ *testing.T, file []byte, path string) { welcome(file, "BigBrotr (+https://example.com)", path) })
}

// TestFits checks patterns of robots.txt, as RFC 9309 has them.
func TestFits(t *testing.T) {
	for _, test := range []struct {
		pattern, path string
		want          bool
	}{
		{"", "/", false},
		{"/", "/", true},
		{"/", "/any", true},
		{"/a", "/ab", true},
		{"/a", "/b", false},
		{"/a$", "/a", true},
		{"/a$", "/ab", false},
		{"*", "/", true},
		{"/*/b", "/a/b/c", true},
		{"/*/b", "/a/c", false},
		{"/*b$", "/b/a", false},
		{"/*b$", "/ab/b", true},
		{"/a*$", "/abc", true},
		{"/**x", "/abcx", true},
		{"$", "/", false},
	} {
		if have := fits(test.pattern, test.path); have != test.want {
			t.Errorf("%q fits %q is %t", test.pattern, test.path, have)
		}
	}
}

// FuzzCymru checks that no answer of Team Cymru's zone does harm, or says of an
// address what cannot be.
func FuzzCymru(f *testing.F) {
	for _, text := range []string{
		"24940 | 46.4.0.0/16 | DE | ripencc | 2010-11-22", "24940 64500 | 2a01:4f8::/32 | DE | ripencc | 2007-06-01",
		"15169 | US | arin | 2000-03-30 | GOOGLE, US", "", "|", "NA | ", "4294967296 | 1.0.0.0/8", " 1 | 46.4.84.1/99", "1", "0 | 46.0.0.0/8",
	} {
		f.Add(text)
	}
	addrs := []netip.Addr{netip.MustParseAddr("46.4.84.1"), netip.MustParseAddr("2a01:4f8::1")}
	f.Fuzz(func(t *testing.T, text string) {
		for _, addr := range addrs {
			n, ok := parseOrigin(text, addr)
			if ok != (n.asn != 0) || n.prefix.IsValid() && (!n.prefix.Contains(addr) || n.prefix != n.prefix.Masked()) {
				t.Errorf("%q makes %+v of %s", text, n, addr)
			}
		}
		if org := parseHolder(text); strings.Contains(org, "|") || org != strings.TrimSpace(org) {
			t.Errorf("%q makes the holder %q", text, org)
		}
	})
}

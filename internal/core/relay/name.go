package relay

import (
	"crypto/sha3"
	"encoding/base32"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Hyphens and underscores are judged by asciiName alone: names with two
// hyphens in the third place and with underscores do resolve.
var lookup = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.StrictDomainName(false),
	idna.CheckHyphens(false),
	idna.CheckJoiners(true),
	idna.BidiRule(),
)

// asciiName returns a host name in lower-case ASCII, and whether its form is
// one that can be looked up: 1 to 63 letters, digits, hyphens and underscores
// a label, no hyphen at either end, 253 bytes in all.
func asciiName(name string) (string, bool) {
	if len(name) > maxUnicodeName {
		return "", false
	}
	if !isASCII(name) || strings.Contains(strings.ToLower(name), "xn--") {
		var err error
		if name, err = lookup.ToASCII(name); err != nil {
			return "", false
		}
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if len(name) > 253 {
		return "", false
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			if c := name[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return "", false
			}
			continue
		}
		if i == start || i-start > 63 || name[start] == '-' || name[i-1] == '-' {
			return "", false
		}
		start = i + 1
	}
	return name, true
}

// maxUnicodeName bounds what is given to IDNA: a name of 253 bytes in ASCII
// can be longer in UTF-8, but not by much more than this.
const maxUnicodeName = 1024

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}

// specialUse lists names (with all names below them) that mean something only
// on one's own network, or nothing by design: RFC 6761 and its registry, what
// ICANN set aside, and what home routers and Tailscale hand out. The names
// example.com, .net and .org are not here: RFC 6761 asks software to treat
// them as any other.
var specialUse = []string{
	"alt",
	"arpa",
	"corp",
	"domain",
	"example",
	"home",
	"internal",
	"intranet",
	"invalid",
	"lan",
	"local",
	"localdomain",
	"localhost",
	"mail",
	"private",
	"test",
	"ts.net",
}

// name judges a name that asciiName has passed.
func (r Rules) name(name string) (Network, Cause) {
	dot := strings.LastIndexByte(name, '.')
	rest, last := name[:max(dot, 0)], name[dot+1:]
	switch last {
	case "onion":
		if !onion(rest[strings.LastIndexByte(rest, '.')+1:]) {
			return "", CauseOverlay
		}
		return Tor, ""
	case "i2p":
		if !i2p(rest) {
			return "", CauseOverlay
		}
		return I2P, ""
	case "loki":
		// A name of the Oxen name system is an alias of such an address.
		if !spelled(rest, 52, zbase32) {
			return "", CauseOverlay
		}
		return Loki, ""
	}
	if schemeEnd(name) == len(name) { // "wss://https//host"
		return "", CauseManySchemes
	}
	special := isSpecialUse(name)
	switch {
	case r.AllowLocal && (special || dot < 0):
		return Clearnet, ""
	case special, isGateway(rest):
		return "", CauseSpecialUse
	case dot < 0:
		return "", CauseBareName
	case !knownTLD(name, last):
		return "", CauseUnknownTLD
	}
	return Clearnet, ""
}

func isSpecialUse(name string) bool {
	for _, special := range specialUse {
		if below, ok := strings.CutSuffix(name, special); ok && (below == "" || strings.HasSuffix(below, ".")) {
			return true
		}
	}
	return false
}

// knownTLD asks the ICANN part of the public suffix list, which has a rule for
// every delegated top-level domain. A few have wildcard rules only ("*.ck");
// those match a name of two labels.
func knownTLD(name, last string) bool {
	if _, icann := publicsuffix.PublicSuffix(last); icann {
		return true
	}
	two := name[strings.LastIndexByte(name[:len(name)-len(last)-1], '.')+1:]
	_, icann := publicsuffix.PublicSuffix(two)
	return icann
}

// isGateway tells whether the name before a top-level domain has the shape of
// an onion service, as in <address>.onion.ly: the relay is the service, not the
// gateway.
func isGateway(rest string) bool {
	rest, ok := strings.CutSuffix(rest, ".onion")
	label := rest[strings.LastIndexByte(rest, '.')+1:]
	return ok && (spelled(label, 56, base32Lower) || spelled(label, 16, base32Lower))
}

// spelled tells whether text is n characters of an alphabet.
func spelled(text string, n int, alphabet string) bool {
	return len(text) == n && strings.Trim(text, alphabet) == ""
}

const (
	base32Lower = "abcdefghijklmnopqrstuvwxyz234567"
	zbase32     = "ybndrfg8ejkmcpqxot1uwisza345h769"
)

var onionEncoding = base32.NewEncoding(base32Lower).WithPadding(base32.NoPadding)

// onion checks an address of version 3 (Tor rend-spec-v3, 6): 32 bytes of key,
// 2 of checksum, the version. The 16-character addresses of version 2 are dead
// since 2021.
func onion(label string) bool {
	const (
		keyLen  = 32
		version = 3
		prefix  = ".onion checksum"
	)
	var raw [keyLen + 3]byte
	if len(label) != onionEncoding.EncodedLen(len(raw)) {
		return false
	}
	if _, err := onionEncoding.Decode(raw[:], []byte(label)); err != nil || raw[keyLen+2] != version {
		return false
	}
	var text [len(prefix) + keyLen + 1]byte
	n := copy(text[:], prefix)
	n += copy(text[n:], raw[:keyLen])
	text[n] = version
	sum := sha3.Sum256(text[:])
	return sum[0] == raw[keyLen] && sum[1] == raw[keyLen+1]
}

// i2p checks what stands before .i2p: a name of an address book, or the 52
// characters of a destination's hash before .b32, with nothing before them.
func i2p(rest string) bool {
	hash, ok := strings.CutSuffix(rest, "b32")
	if ok && (hash == "" || hash[len(hash)-1] == '.') {
		return spelled(strings.TrimSuffix(hash, "."), 52, base32Lower)
	}
	return rest != ""
}

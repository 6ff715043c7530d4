// Package relay owns the word "relay": its one canonical URL, the network it
// lives on, and why a text is not a relay URL. It also owns the table of
// addresses that are not public, so that address literals in URLs and the
// addresses names resolve to are judged alike. It opens no connection and
// resolves no name; package dial does both and asks this table.
package relay

import "strings"

// Network says how a relay is reached.
type Network string

// The networks, by the words NIP-66 uses in its n tag.
const (
	Clearnet Network = "clearnet"
	Tor      Network = "tor"
	I2P      Network = "i2p"
	Loki     Network = "loki"
)

// URL is the canonical URL of a relay. Only parsing makes one, so two URLs
// name the same endpoint exactly when they are equal. The zero URL names none.
type URL struct {
	text    string
	network Network
}

// String returns the canonical text.
func (u URL) String() string { return u.text }

// Network says how the relay is reached.
func (u URL) Network() Network { return u.network }

// IsZero tells whether u names no relay.
func (u URL) IsZero() bool { return u.text == "" }

// Secure tells whether the relay is reached by TLS (wss).
func (u URL) Secure() bool { return strings.HasPrefix(u.text, schemeWSS) }

// Host returns host:port for dialling, with the default port filled in and an
// IPv6 address in brackets.
func (u URL) Host() string {
	authority, _ := u.split()
	if authority == "" || hasPort(authority) {
		return authority
	}
	return authority + ":" + u.defaultPort()
}

// Hostname returns the host alone: a name, or an IP address without brackets.
func (u URL) Hostname() string {
	authority, _ := u.split()
	if hasPort(authority) {
		authority = authority[:strings.LastIndexByte(authority, ':')]
	}
	return strings.Trim(authority, "[]")
}

// Port returns the port in decimal, the default one of the scheme if the text
// has none.
func (u URL) Port() string {
	authority, _ := u.split()
	switch {
	case authority == "":
		return ""
	case hasPort(authority):
		return authority[strings.LastIndexByte(authority, ':')+1:]
	}
	return u.defaultPort()
}

// Path returns the path with its leading slash, or "" for the root.
func (u URL) Path() string {
	_, path := u.split()
	return path
}

// IsRoot tells whether u is a scheme and a host alone: no path, and the default
// port.
func (u URL) IsRoot() bool {
	authority, path := u.split()
	return authority != "" && path == "" && !hasPort(authority)
}

// MarshalText returns the canonical text, empty for the zero URL.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.text), nil }

// UnmarshalText reads what MarshalText wrote, by the strict rules of Parse.
// Where local relays are allowed, read a string and use Rules.Parse.
func (u *URL) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*u = URL{}
		return nil
	}
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

func (u URL) split() (authority, path string) {
	_, rest, _ := cutScheme(u.text)
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, ""
}

func (u URL) defaultPort() string {
	if u.Secure() {
		return "443"
	}
	return "80"
}

// hasPort works on canonical text, where a colon after the last bracket can
// only begin a port.
func hasPort(authority string) bool {
	return strings.LastIndexByte(authority, ':') > strings.LastIndexByte(authority, ']')
}

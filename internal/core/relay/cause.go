package relay

import (
	"fmt"
	"strings"
)

// Cause says in one word why a text is not the URL of a relay.
type Cause string

// The causes. The list is closed.
const (
	// CauseEmpty: there is no text but white space.
	CauseEmpty Cause = "empty"
	// CauseScheme: the text does not begin with ws:// or wss://.
	CauseScheme Cause = "scheme"
	// CauseManySchemes: a second scheme follows, as in "wss://https://host" or
	// in two URLs run together; plain, percent-encoded or with one slash.
	CauseManySchemes Cause = "many_schemes"
	// CauseTooLong: the canonical form would pass MaxLen bytes.
	CauseTooLong Cause = "too_long"
	// CauseCharacter: white space, a control character or invalid UTF-8 inside.
	CauseCharacter Cause = "character"
	// CauseUserinfo: a user name or password before the host.
	CauseUserinfo Cause = "userinfo"
	// CauseHost: the host is missing, or is no host name: a bad character, an
	// empty or overlong label, a hyphen at the end of one, bad IDNA.
	CauseHost Cause = "host"
	// CauseHostEscape: the host has a percent sign: an escape or an IPv6 zone.
	CauseHostEscape Cause = "host_escape"
	// CausePort: the port is empty, no decimal number, or not in 1 to 65535.
	CausePort Cause = "port"
	// CauseAddress: the host means to be an IP address but is not written the
	// usual way: octal, hexadecimal, shortened, out of range, without brackets.
	CauseAddress Cause = "address"
	// CauseNotPublic: an IP address that publicAddr refuses.
	CauseNotPublic Cause = "not_public"
	// CauseBareName: a host name of one label.
	CauseBareName Cause = "bare_name"
	// CauseSpecialUse: a name that is reserved or means something only on one's
	// own network (.local, .test, .ts.net), or a web gateway to an onion service.
	CauseSpecialUse Cause = "special_use"
	// CauseUnknownTLD: the top-level domain is not delegated.
	CauseUnknownTLD Cause = "unknown_tld"
	// CauseOverlay: a .onion that is no v3 address with the right checksum, or a
	// .b32.i2p, .i2p or .loki name that cannot exist.
	CauseOverlay Cause = "overlay"
	// CausePath: the path has a broken percent escape, a character that RFC 3986
	// does not allow, or hides one that cannot be printed behind an escape.
	CausePath Cause = "path"
)

var explanations = map[Cause]string{
	CauseEmpty:       "no text",
	CauseScheme:      "does not begin with ws:// or wss://",
	CauseManySchemes: "more than one scheme",
	CauseTooLong:     "too long",
	CauseCharacter:   "white space, control character or invalid UTF-8 inside",
	CauseUserinfo:    "user name before the host",
	CauseHost:        "not a host name",
	CauseHostEscape:  "percent sign in the host",
	CausePort:        "port is not a number from 1 to 65535",
	CauseAddress:     "not the usual form of an IP address",
	CauseNotPublic:   "not a public address",
	CauseBareName:    "host name of one label",
	CauseSpecialUse:  "reserved or local name",
	CauseUnknownTLD:  "unknown top-level domain",
	CauseOverlay:     "not an address of its overlay network",
	CausePath:        "path is not valid",
}

// Error is what Parse returns for a text it refuses.
type Error struct {
	Cause Cause
	// Text is the text as given, cut to 100 bytes. It is empty for CauseEmpty
	// and CauseScheme, which most texts that a parser is tried on end with:
	// those cost no allocation.
	Text string
}

func (e *Error) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("relay url: %s (%s)", explanations[e.Cause], e.Cause)
	}
	return fmt.Sprintf("relay url %q: %s (%s)", e.Text, explanations[e.Cause], e.Cause)
}

// Shared because they carry no text; nothing may change them.
var (
	errEmpty  = &Error{Cause: CauseEmpty}
	errScheme = &Error{Cause: CauseScheme}
)

func refuse(cause Cause, text string) (URL, error) {
	const most = 100
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return URL{}, &Error{Cause: cause, Text: strings.Clone(text)}
}

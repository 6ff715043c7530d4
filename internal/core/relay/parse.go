package relay

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLen is the most bytes a canonical URL has.
const MaxLen = 512

// maxInput bounds the work spent on one text. It is wider than MaxLen because
// a query, which is dropped, may be long.
const maxInput = 4096

const (
	schemeWS  = "ws://"
	schemeWSS = "wss://"
)

// Rules are the choices a caller has in what counts as a relay.
type Rules struct {
	// AllowLocal permits loopback and private addresses, bare names such as
	// localhost and special-use names, for tests, demos and relays of one's own.
	// They count as clearnet.
	AllowLocal bool
}

// Parse returns the one canonical form of a relay URL, or an *Error. It
// applies the zero Rules: public relays only.
//
// Scheme and host are put in lower case and the host in the ASCII form of IDNA
// (non-transitional, for lookup); the dot of the root, the default port,
// query, fragment and trailing slash are dropped. A clearnet relay keeps its
// scheme; an overlay network is its own encryption, so there it is always ws,
// and the default port of whichever scheme was given is dropped. The names
// before the address of a .onion are kept: all reach one service, which may
// tell them apart.
//
// A path can be a relay of its own, so it is kept, case included, and cleaned
// by RFC 3986: escapes of unreserved characters are decoded, other escapes are
// in upper case, text beyond ASCII is escaped as UTF-8, dot segments are
// resolved. Empty segments are dropped too: "//" in relay lists is a slip, and
// servers commonly merge slashes.
//
// White space around the text is ignored, none is allowed inside. The result
// shares no memory with the text. Parse(u.String()) is u again.
func Parse(text string) (URL, error) { return Rules{}.Parse(text) }

// Parse is the function Parse under these rules.
func (r Rules) Parse(text string) (URL, error) {
	if text != "" && text[0] > ' ' && text[0]|0x20 != 'w' {
		return URL{}, errScheme // most texts, without a further look
	}
	text = strings.Trim(text, " \t\r\n")
	secure, rest, ok := cutScheme(text)
	switch {
	case text == "":
		return URL{}, errEmpty
	case !ok:
		return URL{}, errScheme
	case len(text) > maxInput:
		return refuse(CauseTooLong, text)
	case !cleanText(text):
		return refuse(CauseCharacter, text)
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	if strings.Contains(rest, "://") {
		return refuse(CauseManySchemes, text)
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}

	host, port, cause := splitAuthority(authority)
	if cause != "" {
		return refuse(cause, text)
	}
	host, network, cause := r.host(host)
	if cause != "" {
		return refuse(cause, text)
	}
	if secure && port == 443 || !secure && port == 80 {
		port = 0
	}
	if secure && network != Clearnet {
		secure = false
		if port == 80 {
			port = 0
		}
	}

	var room [MaxLen]byte
	out := room[:0]
	if secure {
		out = append(out, schemeWSS...)
	} else {
		out = append(out, schemeWS...)
	}
	out = append(out, host...)
	if port != 0 {
		out = append(out, ':')
		out = strconv.AppendInt(out, int64(port), 10)
	}
	if out, cause = appendPath(out, path); cause != "" {
		return refuse(cause, text)
	}
	if len(out) > MaxLen {
		return refuse(CauseTooLong, text)
	}
	return URL{text: string(out), network: network}, nil
}

func cutScheme(text string) (secure bool, rest string, ok bool) {
	if len(text) < len(schemeWS) || text[0]|0x20 != 'w' || text[1]|0x20 != 's' {
		return false, "", false
	}
	rest = text[2:]
	if rest[0]|0x20 == 's' {
		secure, rest = true, rest[1:]
	}
	rest, ok = strings.CutPrefix(rest, "://")
	return secure, rest, ok
}

// cleanText tells whether there is only UTF-8 without white space and control
// characters of ASCII; the host and the path look closer.
func cleanText(text string) bool {
	ascii := true
	for i := range len(text) {
		c := text[i]
		if c <= ' ' || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(text)
}

// splitAuthority cuts host and port; port is 0 where the text has none. The
// host of an IPv6 address keeps its brackets.
func splitAuthority(authority string) (host string, port int, cause Cause) {
	if strings.IndexByte(authority, '@') >= 0 {
		return "", 0, CauseUserinfo
	}
	var digits string
	var found bool
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']') + 1
		if end == 0 {
			return "", 0, CauseAddress
		}
		host = authority[:end]
		if digits = authority[end:]; digits != "" {
			if digits, found = strings.CutPrefix(digits, ":"); !found {
				return "", 0, CauseAddress
			}
		}
	} else {
		host, digits, found = strings.Cut(authority, ":")
	}
	if host == "" {
		return "", 0, CauseHost
	}
	if !found {
		return host, 0, ""
	}
	if strings.IndexByte(digits, ':') >= 0 {
		if _, err := netip.ParseAddr(authority); err == nil {
			return "", 0, CauseAddress // IPv6 without its brackets
		}
	}
	if digits == "" || len(digits) > len("65535") || strings.Trim(digits, "0123456789") != "" {
		return "", 0, CausePort
	}
	port, err := strconv.Atoi(digits)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, CausePort
	}
	return host, port, ""
}

// host returns the canonical host and its network.
func (r Rules) host(host string) (string, Network, Cause) {
	if strings.IndexByte(host, '%') >= 0 {
		return "", "", CauseHostEscape
	}
	if host[0] == '[' {
		a, err := netip.ParseAddr(host[1 : len(host)-1])
		switch {
		case err != nil || !a.Is6():
			return "", "", CauseAddress
		case !r.AllowsAddr(a):
			return "", "", CauseNotPublic
		}
		return "[" + a.String() + "]", Clearnet, ""
	}
	host, ok := asciiName(host)
	if !ok {
		return "", "", CauseHost
	}
	if last := host[strings.LastIndexByte(host, '.')+1:]; numeric(last) {
		a, err := netip.ParseAddr(host)
		switch {
		case err != nil:
			return "", "", CauseAddress
		case !r.AllowsAddr(a):
			return "", "", CauseNotPublic
		}
		return host, Clearnet, ""
	}
	network, cause := r.name(host)
	return host, network, cause
}

// numeric tells whether a last label makes the whole host an IPv4 address in
// the eyes of some resolver, as the URL standard of browsers defines it.
func numeric(label string) bool {
	if strings.Trim(label, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(label, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

// appendPath appends the canonical path: "" or "/a/b".
func appendPath(dst []byte, path string) ([]byte, Cause) {
	if path == "" || path == "/" {
		return dst, ""
	}
	var room [MaxLen]byte
	plain := room[:0] // the path with every escape decoded, to be looked at
	root := len(dst)
	for path != "" {
		path = path[1:] // the slash
		segment := path
		if i := strings.IndexByte(path, '/'); i >= 0 {
			segment = path[:i]
		}
		path = path[len(segment):]

		start := len(dst)
		dst = append(dst, '/')
		plain = append(plain, '/')
		for i := 0; i < len(segment); i++ {
			c, escaped := segment[i], false
			if c == '%' {
				if i+2 >= len(segment) || !isHex(segment[i+1]) || !isHex(segment[i+2]) {
					return nil, CausePath
				}
				c, escaped = unhex(segment[i+1])<<4|unhex(segment[i+2]), true
				i += 2
			}
			plain = append(plain, c)
			switch {
			case unreserved(c) || !escaped && pathReserved(c):
				dst = append(dst, c)
			case escaped || c >= utf8.RuneSelf:
				const digits = "0123456789ABCDEF"
				dst = append(dst, '%', digits[c>>4], digits[c&15])
			default:
				return nil, CausePath
			}
		}
		switch string(dst[start:]) {
		case "/", "/.":
			dst = dst[:start]
		case "/..":
			up := root
			for i := start - 1; i > root; i-- {
				if dst[i] == '/' {
					up = i
					break
				}
			}
			dst = dst[:up]
		}
	}
	if hasScheme(plain) {
		return nil, CauseManySchemes
	}
	if !printable(plain) || spaceAtEdge(plain) {
		return nil, CausePath
	}
	return dst, ""
}

// hasScheme finds a scheme in a path: any with "://", and those of relay lists
// also with one slash, which is what servers that merge slashes make of two.
func hasScheme(path []byte) bool {
	for i := range path {
		if path[i] != ':' || i+1 == len(path) || path[i+1] != '/' {
			continue
		}
		if i+2 < len(path) && path[i+2] == '/' {
			return true
		}
		if schemeEnd(path[:i]) > 0 {
			return true
		}
	}
	return false
}

// schemeEnd returns the length of a scheme of relay lists at the end of text,
// in any case, or 0.
func schemeEnd[T string | []byte](text T) int {
	for _, scheme := range [...]string{"https", "http", "wss", "ws"} {
		if n := len(scheme); len(text) >= n && strings.EqualFold(string(text[len(text)-n:]), scheme) {
			return n
		}
	}
	return 0
}

func printable(text []byte) bool {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
			return false
		}
		text = text[n:]
	}
	return true
}

// spaceAtEdge finds a space at either end of a segment, which is left over from
// a list of URLs; between words it may stand.
func spaceAtEdge(path []byte) bool {
	for i, c := range path {
		if c == ' ' && (path[i-1] == '/' || i+1 == len(path) || path[i+1] == '/') {
			return true
		}
	}
	return false
}

// unreserved characters are the same with and without an escape (RFC 3986, 2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// pathReserved characters may stand in a path and differ from their escapes.
func pathReserved(c byte) bool { return strings.IndexByte("!$&'()*+,;=:@", c) >= 0 }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&0xf + 9
}

package relay

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of ParseList: what lies beyond is not looked at.
const (
	MaxListBytes = 1 << 20
	MaxListURLs  = 10_000
)

// ParseList digs relay URLs out of messy text, by the zero Rules: see
// Rules.ParseList.
func ParseList(text string) []URL { return Rules{}.ParseList(text) }

// ParseList digs relay URLs out of messy text: prose, Markdown, JSON, lists
// with any separator, URLs run together or quoted, with a stray scheme in
// front ("wss://https://host") or with punctuation behind. It finds URLs that
// have a scheme, not bare host names, and drops what Parse refuses. Order is
// kept, duplicates are not.
//
// A text that is one clean URL gives what Parse gives. Given its own output,
// joined by white space or commas, it returns the same.
func (r Rules) ParseList(text string) []URL {
	if len(text) > MaxListBytes {
		text = text[:MaxListBytes]
		// What the cut went through is not what its writer meant.
		text = text[:strings.LastIndexAny(text, " \t\r\n,\"")+1]
	}
	if u, err := r.Parse(text); err == nil && trimTail(u.text) == u.text {
		return []URL{u}
	}
	if strings.Contains(text, `\/`) { // JSON inside a JSON string
		text = strings.ReplaceAll(text, `\/`, `/`)
	}
	var (
		urls []URL
		seen = map[URL]struct{}{}
	)
	for text != "" && len(urls) < MaxListURLs {
		var found string
		if found, text = nextURL(text); found == "" {
			continue
		}
		u, ok := r.dig(found)
		if !ok {
			continue
		}
		if _, known := seen[u]; !known {
			seen[u] = struct{}{}
			urls = append(urls, u)
		}
	}
	return urls
}

// nextURL cuts the first candidate from text, from its scheme to a delimiter or
// the next scheme, and returns what follows. Found is empty where there is none.
func nextURL(text string) (found, rest string) {
	colon := strings.Index(text, "://")
	if colon < 0 {
		return "", ""
	}
	rest = text[colon+len("://"):]
	scheme := text[colon-schemeEnd(text[:colon]) : colon]
	if scheme == "" || scheme[0]|0x20 != 'w' {
		return "", rest
	}
	// "news://" is not ours, "nos.lolws://" is two URLs; a scheme that ends in
	// "wss" and is another does not exist.
	if before := text[:colon-len(scheme)]; len(scheme) == len("ws") && endsInLetter(before) {
		return "", rest
	}
	rest = skipStraySchemes(rest)
	head := rest // the next scheme comes first: looking on to a delimiter would be quadratic
	if next := strings.Index(rest, "://"); next >= 0 {
		head = rest[:next-schemeEnd(rest[:next])]
	}
	head = head[:delimiter(head)]
	return scheme + "://" + head, rest[len(head):]
}

func endsInLetter(text string) bool {
	return text != "" && text[len(text)-1]|0x20 >= 'a' && text[len(text)-1]|0x20 <= 'z'
}

// skipStraySchemes drops http and https, with or without colon, after a scheme
// of ours: "wss://https://host", "wss://http/host". A stray ws or wss without
// colon goes too; with one it is the next URL.
func skipStraySchemes(text string) string {
	for {
		head, _, ok := strings.Cut(text, "/")
		if !ok {
			return text
		}
		name := strings.TrimSuffix(head, ":")
		n := schemeEnd(name)
		if n == 0 || n != len(name) || name != head && name[0]|0x20 == 'w' {
			return text
		}
		text = strings.TrimLeft(text[len(head):], "/")
	}
}

// delimiter returns where a URL in messy text ends at the latest: at white
// space also when percent-encoded, quotes, brackets, separators, anything that
// cannot be printed, and punctuation beyond ASCII other than the dots of IDNA.
func delimiter(text string) int {
	for i, c := range text {
		switch {
		case c == '[' && i == 0: // an IPv6 address
		case c == ']' && text[0] == '[' && strings.IndexByte(text, ']') == i:
		case c <= ' ', strings.ContainsRune("\"'`<>()[]{}|\\^,;", c):
			return i
		case c == '%' && encodedSpace(text[i:]):
			return i
		case c < utf8.RuneSelf, strings.ContainsRune("\u3002\uff0e\uff61\u00b7", c):
		case unicode.IsPunct(c) || !unicode.IsPrint(c) || c == utf8.RuneError:
			return i
		}
	}
	return len(text)
}

func encodedSpace(text string) bool {
	if len(text) < 3 {
		return false
	}
	switch text[1:3] {
	case "00", "09", "0a", "0A", "0d", "0D", "20":
		return true
	}
	return false
}

// dig parses a candidate. Where it fails, text in another script may follow
// without a space, so the part before that is tried.
func (r Rules) dig(found string) (URL, bool) {
	found = trimTail(found)
	u, err := r.Parse(found)
	if err != nil {
		i := strings.IndexFunc(found, func(c rune) bool { return c >= utf8.RuneSelf })
		if i < 0 {
			return URL{}, false
		}
		if u, err = r.Parse(trimTail(found[:i])); err != nil {
			return URL{}, false
		}
	}
	// Decoding an escape can bring a new tail to light.
	for {
		tail := trimTail(u.text)
		if tail == u.text {
			return u, true
		}
		if u, err = r.Parse(tail); err != nil {
			return URL{}, false
		}
	}
}

// trimTail drops punctuation that ends a sentence or an emphasis, not a URL.
func trimTail(text string) string {
	return strings.TrimRight(text, ".,;:!?'*\u3002\uff0e\uff61\u00b7")
}

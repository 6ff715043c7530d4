package pages

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// functions are what templates call.
var functions = template.FuncMap{
	"number":  func(n any) string { return number(integer(n)) },
	"plural":  plural,
	"value":   metric,
	"bytes":   func(n int64) string { return config.Bytes(n).Short() },
	"whole":   func(v float64) int64 { return int64(math.Round(v)) },
	"few":     query.Few,
	"when":    when,
	"date":    date,
	"dates":   datesText,
	"level":   levelName,
	"clock":   clock,
	"span":    spanText,
	"foreign": foreign,
	"long":    func(text string) string { return visible(text, longRunes) },
	"exact":   exact,
	"host":    host,
	"page":    relayPath,
	"ms":      milliseconds,
	"lasted":  func(from, to int64) string { return spanText(to - from) },
	"plus":    func(a, b int64) int64 { return a + b },
	"said":    func(v json.RawMessage) string { return foreign(plainText(v)) },
	"hundred": func(part float64) float64 { return 100 * part },
	"pageOf": func(text string) string {
		u, err := store.ParseURL(text)
		if err != nil {
			return "/relays"
		}
		return relayPath(u)
	},
	"ratio":    func(part, all int64) string { return percent(float64(part) / float64(all)) },
	"country":  func(code string) string { return countries[code].Name },
	"software": software,
	"percent":  percent,
	"share":    shareText,
	"kind":     kindName,
	"cause":    causeText,
	"probe":    func(name string) string { return cmp.Or(probes[name], name) },
	"reason":   func(word string) string { return cmp.Or(reasons[store.HoleReason(word)], word) },
	"short":    func(hex string) string { return hex[:min(len(hex), 12)] + "…" },
	"states":   func() []store.State { return states },
	"networks": func() []relay.Network { return allNetworks },
	"set":      set,
	"nav":      func() []section { return sections },
}

// section is a part of the site.
type section struct{ Path, Name string }

var sections = []section{
	{"/", "Overview"},
	{"/relays", "Relays"},
	{"/compare", "Compare"},
	{"/map", "Map"},
	{"/completeness", "Completeness"},
	{"/system", "System"},
	{"/about", "About"},
}

// states are in the order from good to bad.
var states = []store.State{store.StateUp, store.StateDegraded, store.StateDown, store.StateDead, store.StateNew}

// shownRunes is how much of a relay's text a page repeats, longRunes of one that
// it is about.
const (
	shownRunes = 80
	longRunes  = 600
)

// foreign cuts the text of a relay and takes out what is not to be seen, such
// as marks that turn the direction of the text behind them.
func foreign(text string) string { return visible(text, shownRunes) }

func visible(text string, runes int) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if unicode.In(r, unicode.C) || r == unicode.ReplacementChar {
			continue
		}
		if n == runes {
			return b.String() + "…"
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// maxExact is how many bytes of JSON a page repeats.
const maxExact = 16 << 10

// exact lays out JSON for reading. What is not to be seen is written as escapes,
// which are the same text to a parser.
func exact(text json.RawMessage) string {
	var laid strings.Builder
	var v any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if d.Decode(&v) == nil {
		e := json.NewEncoder(&laid)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		_ = e.Encode(v) // to memory
	} else {
		laid.Write(text)
	}
	var b strings.Builder
	for _, r := range laid.String() {
		switch {
		case b.Len() > maxExact:
			return b.String() + "… (cut; the JSON has all of it)"
		case r == '\n':
			b.WriteRune(r)
		case !unicode.In(r, unicode.C) && r != unicode.ReplacementChar:
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return strings.TrimSpace(b.String())
}

// software is how a relay's software is called, without where its source is.
func software(text string) string {
	text = foreign(strings.TrimSuffix(strings.TrimSuffix(text, "/"), ".git"))
	return text[strings.LastIndexByte(text, '/')+1:]
}

// host is the URL of a relay as people write it.
func host(u relay.URL) string { return strings.TrimPrefix(u.String(), "wss://") }

func integer(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// number writes 1234567 as 1,234,567.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// metric writes a value that mostly is a whole number.
func metric(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return number(int64(v))
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// plural writes a number with its word, of which one or many is taken.
func plural(n any, one, many string) string {
	if i := integer(n); i != 1 {
		return number(i) + " " + many
	}
	return "1 " + one
}

func numeric(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// milliseconds, like all that writes a unit, keeps it on the line of its number.
func milliseconds(v float64) string {
	switch {
	case v <= 0:
		return "–"
	case v < 10:
		return strconv.FormatFloat(v, 'f', 1, 64) + "\u00a0ms"
	case v < 10_000:
		return strconv.FormatFloat(v, 'f', 0, 64) + "\u00a0ms"
	}
	return strconv.FormatFloat(v/1000, 'f', 1, 64) + "\u00a0s"
}

// percent writes a part of 1. Only all is 100 %, and only nothing 0 %.
func percent(part float64) string {
	switch {
	case part <= 0:
		return "0\u00a0%"
	case part >= 1:
		return "100\u00a0%"
	case part < 0.001:
		return "<\u00a00.1\u00a0%"
	case part > 0.999:
		return ">\u00a099.9\u00a0%"
	}
	return strconv.FormatFloat(100*part, 'f', 1, 64) + "\u00a0%"
}

func shareText(s store.Share) string {
	if s.Watched == 0 {
		return "–"
	}
	return percent(s.Up)
}

// ago tells how long ago a time was, or how long it is still to go, as seen at
// now.
func ago(now, at int64) string {
	switch {
	case at == 0:
		return "never"
	case at > now+1:
		return "in " + spanText(at-now)
	case at >= now:
		return "now"
	}
	return spanText(now-at) + " ago"
}

// when is a time, relative and, where the pointer rests, absolute.
func when(now, at int64) template.HTML {
	switch {
	case at == 0:
		return "never"
	case at < 0 || at > lastTime:
		return template.HTML(clock(at))
	}
	t := time.Unix(at, 0).UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `" title="` + clock(at) + `">` + ago(now, at) + `</time>`) // of numbers alone
}

// lastTime is the last second that is written as a date.
const lastTime = 253_402_300_799 // 9999-12-31

func clock(at int64) string {
	if at > lastTime || at < -lastTime {
		return number(at) + "\u00a0s"
	}
	return time.Unix(at, 0).UTC().Format("2006-01-02 15:04:05 UTC")
}

// spanText writes seconds in the largest unit that keeps a whole number.
func spanText(seconds int64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%d\u00a0s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%d\u00a0min", seconds/60)
	case seconds < 2*86400:
		return fmt.Sprintf("%d\u00a0h", seconds/3600)
	}
	const year = 31_556_952 // of the calendar, on average
	if seconds >= 2*year {
		return number(seconds/year) + "\u00a0years"
	}
	return fmt.Sprintf("%d\u00a0days", seconds/86400)
}

// datesText tells a stretch of created_at, which may have no ends. Its dates do
// not break at the end of a line.
func datesText(lo, hi int64) template.HTML {
	const someDay = 253_402_300_800                                                                                // the year 10000
	whole := func(at int64) template.HTML { return template.HTML(`<span class="nowrap">` + date(at) + `</span>`) } // of numbers alone
	from, to := whole(lo), whole(hi)
	switch {
	case lo <= 0 && hi >= someDay:
		return "any time"
	case hi >= someDay:
		return "from " + from + " on"
	case lo <= 0:
		return "up to " + to
	case from == to:
		return from
	}
	return from + " to " + to
}

func date(at int64) string {
	if at == 0 {
		return "–"
	}
	return time.Unix(at, 0).UTC().Format(time.DateOnly)
}

var levelNames = [...]string{"not proved", "walked", "asserted by the relay", "counted", "fingerprint-equal"}

func levelName(l store.Level) string {
	if l < 0 || int(l) >= len(levelNames) {
		return "unknown"
	}
	return levelNames[l]
}

// kindNames are those of the kinds that most events have.
var kindNames = map[nostr.Kind]string{
	0: "profile", 1: "note", 3: "follows", 4: "private message", 5: "deletion", 6: "repost", 7: "reaction", 8: "badge award", 16: "generic repost",
	20: "picture", 21: "video", 22: "short video", 40: "channel", 42: "channel message", 62: "vanish request", 1059: "gift wrap", 1063: "file",
	1068: "poll", 1111: "comment", 1311: "live chat", 1984: "report", 1985: "label", 9041: "zap goal", 9734: "zap request", 9735: "zap",
	9802: "highlight", 7000: "job feedback", 10000: "mute list", 10001: "pins", 10002: "relay list", 10003: "bookmarks", 10050: "relays for messages",
	10063: "media servers", 10166: "monitor", 22242: "authentication", 30000: "follow set", 30003: "bookmark set", 30008: "badges",
	30009: "badge", 30023: "article", 30024: "draft article", 30078: "data of an app", 30166: "relay report", 30311: "live event",
	30315: "status", 30402: "classified", 30818: "wiki article", 31989: "app recommendation", 31990: "app", 34550: "community",
}

// kindName is empty where a kind has none.
func kindName(k nostr.Kind) string {
	switch name, ok := kindNames[k]; {
	case ok:
		return name
	case k >= 5000 && k < 6000:
		return "job request" // NIP-90
	case k >= 6000 && k < 7000:
		return "job result"
	}
	return ""
}

// causes tell what the words of package dial mean.
var causes = map[string]string{
	"no-proxy": "no proxy is set up for this network", "proxy-down": "our proxy does not answer", "proxy-refused": "our proxy refuses",
	"overlay-unreachable": "the overlay network finds no way to it", "busy": "we had no turn to connect", "self": "more likely our fault than the relay's",
	"dns-nxdomain": "its name does not exist", "dns-servfail": "its name servers fail", "dns-timeout": "its name servers do not answer",
	"address-refused": "its name leads to no public address", "tcp-refused": "the host refuses the connection", "tcp-timeout": "the host does not answer",
	"tcp-unreachable": "there is no route to the host", "tls-expired": "its certificate is expired or not yet valid", "tls-name": "its certificate is for another name",
	"tls-untrusted": "its certificate leads to no trusted root", "tls-timeout": "the TLS handshake does not end", "tls-failed": "the TLS handshake fails",
	"http-status": "it answers with an HTTP error", "http-failed": "its answer is not HTTP", "document-invalid": "its document cannot be read",
	"ws-refused": "the WebSocket is refused", "ws-timeout": "the WebSocket does not open", "no-nostr": "it does not speak Nostr",
	"disconnected": "it closes the connection early", "read-timeout": "a request does not end", "read-auth": "reading needs authentication",
	"read-restricted": "reading is closed to us",

	// Why a relay is not reconciled with.
	"notice": "it answers with a notice", "closed": "it closes the request", "idle": "it does not answer", "neg-refused": "it refuses",
	"malformed": "its answers cannot be read", "disconnects": "it closes the connection", "contradicts": "it has what it says it has not",
	"partial": "it names a part of its ids only",
}

// probes tell what the probes of the monitor look at.
var probes = map[string]string{
	"open": "connection", "tls": "certificate", "read": "reading", "robots": "robots.txt", "nip11": "document (NIP-11)", "schema": "form of the document",
	"http": "headers", "dns": "names", "geo": "place", "write": "writing", "retention": "how far back", "nips": "claims",
}

// reasons tell what the words for holes mean.
var reasons = map[store.HoleReason]string{
	store.HoleOverflow: "more events in a second than an answer has", store.HoleAuth: "shown only after authentication",
	store.HolePolicy: "the relay refuses to be asked so", store.HoleInvalid: "events whose id or signature is wrong",
	store.HoleOversize: "events too large to be read", store.HoleUnpaged: "the relay ignores the bounds of a page",
}

func causeText(cause string) string {
	if text := causes[cause]; text != "" {
		return text
	}
	return strings.ReplaceAll(cause, "-", " ")
}

// set returns a query string with parameters changed; empty ones are left out.
// The place in a list is not kept, for the list is another one then.
func set(from url.Values, pairs ...string) template.URL {
	to := url.Values{}
	for key, values := range from {
		if key != "after" && values[0] != "" {
			to.Set(key, values[0])
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		to.Del(pairs[i])
		if pairs[i+1] != "" {
			to.Set(pairs[i], pairs[i+1])
		}
	}
	return template.URL("?" + to.Encode()) // encoded
}

// Package hints finds every relay URL that an event names, each with the class
// of the place it stands in. It judges no URL beyond its form and asks no
// network: what becomes of a URL is decided by the finder, which counts
// mentions and authors, and by the validator, which connects.
package hints

import (
	"net/url"
	"strings"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
)

// The bounds of the work and the result for one event. Events of 24,000 tags
// exist; what lies beyond the bounds is not looked at.
const (
	// MaxFound is the most URLs that Collect returns.
	MaxFound = 2000

	maxParsed   = 256 << 10 // bytes given to URL parsers, counting parseCost
	parseCost   = 64        // what one more text costs, however short
	maxEntities = 500       // nprofile and the like
	maxDepth    = 2         // events inside events
)

// Found is a relay URL that an event names.
type Found struct {
	URL   relay.URL
	Class Class
	// Author is who signed the event that was given to Collect. An event inside
	// it is not verified here, and anybody can put anybody's name into one, so
	// the carrier answers for what it carries: otherwise one spammer would count
	// as a thousand authors.
	Author nostr.PubKey
}

// Collect returns the relay URLs that e names, every one once with its
// strongest class, in the order of their first places. It runs over every
// archived event, so what holds no URL costs next to nothing.
func Collect(e *nostr.Event, rules relay.Rules) []Found {
	c := collector{rules: rules, author: e.PubKey, budget: maxParsed}
	c.event(e, 0)
	return c.found
}

type collector struct {
	rules  relay.Rules
	author nostr.PubKey
	budget int // bytes that may still be parsed

	found []Found
	index map[relay.URL]int // into found, once there are many

	// Follow lists name one relay hundreds of times: texts that were parsed
	// already, with the class they stood in.
	recent [8]parsed
	next   int
}

type parsed struct {
	text  string
	class Class
}

func (c *collector) event(e *nostr.Event, depth int) {
	for _, tag := range e.Tags {
		if c.full() {
			return
		}
		c.tag(e, tag, depth)
	}
	switch {
	case e.Content == "":
	case (e.Kind == 6 || e.Kind == 16) && c.embedded(e.Content, depth):
	case e.Kind == 3:
		// Before NIP-65 the content of a follow list was a JSON object whose
		// keys were its author's relays.
		class := Content
		if strings.HasPrefix(e.Content, "{") {
			class = List
		}
		c.text(e.Content, class, depth)
	case e.Kind == 2:
		c.text(e.Content, Hint, depth) // a relay recommended, and often spam
	default:
		c.text(e.Content, Content, depth)
		c.entities(e.Content)
	}
}

func (c *collector) tag(e *nostr.Event, tag nostr.Tag, depth int) {
	// The first element is the tag's name, which some forget.
	for i, text := range tag {
		switch {
		case len(text) < len("ws://a.bc"):
		case text[0] == '{' && i == 1 && (tag[0] == "description" || tag[0] == "request") && c.embedded(text, depth):
			// A zap receipt carries the request it answers, and so does the
			// result of a job.
		default:
			if relays, git := look(text); relays || git {
				c.text(text, place(e, tag[0], i), depth)
			}
		}
	}
}

// place is the table of where relay URLs stand: the class of the i-th element
// of a tag of that name.
func place(e *nostr.Event, name string, i int) Class {
	switch name {
	case "r":
		if i == 1 && (isMonitoring(e.Kind) || e.Kind == 1985 && reportsRelay(e)) {
			return Monitor
		}
		if i == 1 && isList(e.Kind) {
			return List
		}
	case "d":
		if i == 1 && e.Kind == 30166 {
			return Monitor
		}
	case "relay", "relays":
		// The first is one tag a relay, the second one tag with all of them.
		switch {
		case name == "relay" && i > 1:
		case isList(e.Kind) || name == "relays" && isRouted(e.Kind):
			return List
		default:
			return Hint
		}
	case "group": // NIP-29
		switch {
		case i != 2:
		case isList(e.Kind):
			return List
		default:
			return Hint
		}
	case "e", "p", "a", "q", "E", "A", "P", "zap", "goal", "latest", "next", "app":
		if i == 2 {
			return Hint
		}
	case "client": // NIP-89
		if i == 3 {
			return Hint
		}
	case "i": // NIP-90: the relay of a job's input
		if i == 3 && isJob(e.Kind) {
			return Hint
		}
	case "u": // NIP-34
		if i == 2 && e.Kind == 30617 {
			return Hint
		}
	}
	if i == 2 && e.Kind == 10040 { // NIP-85: ["30382:rank", key, relay]
		return Hint
	}
	return Content
}

// isList tells whether an event of this kind is a list of its author's that
// relay and r tags make: all standard lists are replaceable.
func isList(k nostr.Kind) bool {
	switch k {
	case 30002, // relay sets
		34550, // communities
		1068,  // polls
		62:    // requests to vanish
		return true
	}
	return k >= 10000 && k < 20000
}

// isRouted tells whether events of this kind list in a relays tag where they
// want to be answered.
func isRouted(k nostr.Kind) bool {
	switch k {
	case 9734, 9041, // zap requests and goals
		30311, 30312, 30313, // live events
		30617: // git repositories
		return true
	}
	return isJob(k)
}

func isJob(k nostr.Kind) bool { return k >= 5000 && k < 6000 }

// isMonitoring: reports of changes, as nostr.watch publishes them.
func isMonitoring(k nostr.Kind) bool { return k == 1066 || k == 20166 }

func reportsRelay(e *nostr.Event) bool {
	for _, tag := range e.Tags {
		if len(tag) > 1 && tag[0] == "L" && tag[1] == "relay-report" {
			return true
		}
	}
	return false
}

// embedded collects from an event that stands as JSON in another, and tells
// whether there is one.
func (c *collector) embedded(text string, depth int) bool {
	if depth == maxDepth || c.budget < len(text) || text[0] != '{' {
		return false
	}
	inner, err := nostr.ParseEvent([]byte(text))
	if err != nil {
		return false
	}
	c.budget -= len(text)
	c.event(&inner, depth+1)
	return true
}

// text adds the URLs that stand in a text.
func (c *collector) text(text string, class Class, depth int) {
	relays, git := look(text)
	if git {
		c.git(text)
	}
	if !relays || c.full() {
		return
	}
	// What an unverified event calls its list or its measurement is a hint.
	if depth > 0 && class.Rank() < Hint.Rank() {
		class = Hint
	}
	for _, p := range c.recent {
		if p.text == text && p.class == class {
			return
		}
	}
	c.recent[c.next] = parsed{text, class}
	c.next = (c.next + 1) % len(c.recent)

	if len(text) > c.budget {
		// A URL that is cut through is another URL.
		text = text[:c.budget]
		text = text[:strings.LastIndexAny(text, " \t\r\n,\"")+1]
		c.budget = 0
	}
	c.budget -= len(text) + parseCost
	if u, err := c.rules.Parse(text); err == nil && endsPlainly(u.String()) {
		c.add(u, class)
		return
	}
	for _, u := range c.rules.ParseList(text) {
		c.add(u, class)
	}
}

// endsPlainly tells whether no punctuation of the text around it can have got
// into a URL.
func endsPlainly(u string) bool {
	last := u[len(u)-1]
	return '0' <= last && last <= '9' || 'a' <= last|0x20 && last|0x20 <= 'z'
}

// entities adds the relays inside of nprofile and its like.
func (c *collector) entities(text string) {
	if c.full() {
		return
	}
	text = text[:min(len(text), c.budget)]
	for _, entity := range nip19.Find(text, maxEntities) {
		for _, r := range entity.Relays {
			c.text(r, Hint, 0)
		}
	}
}

// git adds the relays of the URLs of NIP-34: nostr://npub1…/relay/repository,
// where the relay is percent-encoded and may lack its scheme.
func (c *collector) git(text string) {
	for !c.full() {
		_, rest, ok := strings.Cut(text, gitScheme)
		if !ok {
			return
		}
		end := strings.IndexAny(rest, " \t\r\n\"'`<>()[]{}")
		if end < 0 {
			end = len(rest)
		}
		text = rest[end:]
		c.budget -= end + parseCost
		parts := strings.SplitN(rest[:end], "/", 4)
		if len(parts) < 3 {
			continue
		}
		host, err := url.PathUnescape(parts[1])
		if err != nil {
			continue
		}
		if relays, _ := look(host); !relays {
			host = "wss://" + host
		}
		if u, err := c.rules.Parse(host); err == nil {
			c.add(u, Hint)
		}
	}
}

const gitScheme = "nostr://"

// look tells whether "ws:/" or "wss:/" stands in a text, in any case, the slash
// perhaps escaped as in JSON, and whether "nostr://" does. It is the gate that
// nearly every text fails.
func look(text string) (relays, git bool) {
	for at := 0; ; {
		colon := strings.IndexByte(text[at:], ':')
		if colon < 0 {
			return relays, git
		}
		colon += at
		at = colon + 1
		if at == len(text) || text[at] != '/' && text[at] != '\\' {
			continue
		}
		switch before := text[:colon]; {
		case hasSuffixFold(before, "ws"), hasSuffixFold(before, "wss"):
			relays = true
		case strings.HasSuffix(before, "nostr"):
			git = git || strings.HasPrefix(text[at:], "//")
		}
		if relays && git {
			return relays, git
		}
	}
}

// hasSuffixFold compares letters without their case.
func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

func (c *collector) full() bool { return c.budget <= 0 || len(c.found) == MaxFound }

func (c *collector) add(u relay.URL, class Class) {
	i := c.find(u)
	switch {
	case i >= 0:
		if class.Rank() < c.found[i].Class.Rank() {
			c.found[i].Class = class
		}
	case len(c.found) < MaxFound:
		if c.index != nil {
			c.index[u] = len(c.found)
		}
		c.found = append(c.found, Found{URL: u, Class: class, Author: c.author})
	}
}

// find returns where u stands in found, or -1.
func (c *collector) find(u relay.URL) int {
	const few = 16
	if len(c.found) <= few {
		for i := range c.found {
			if c.found[i].URL == u {
				return i
			}
		}
		return -1
	}
	if c.index == nil {
		c.index = make(map[relay.URL]int, 2*len(c.found))
		for i := range c.found {
			c.index[c.found[i].URL] = i
		}
	}
	if i, ok := c.index[u]; ok {
		return i
	}
	return -1
}

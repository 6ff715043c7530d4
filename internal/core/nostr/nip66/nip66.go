// Package nip66 makes and reads the events of relay monitors (NIP-66): reports
// of relays (kind 30166) and announcements of monitors (kind 10166), with the
// profile and the relay list that belong to an announcement. What is measured
// and when it is published is the monitor's business.
package nip66

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// The kinds of a monitor's events.
const (
	KindProfile      nostr.Kind = 0
	KindRelays       nostr.Kind = 10002 // NIP-65
	KindAnnouncement nostr.Kind = 10166
	KindReport       nostr.Kind = 30166
)

// Type is what a relay is for, of the list that NIP-66 refers to.
type Type string

// The types that we can tell.
const (
	PublicOutbox Type = "PublicOutbox"
	PublicInbox  Type = "PublicInbox"
	Search       Type = "Search"
)

// Label is a value of a namespace (NIP-32).
type Label struct{ Namespace, Value string }

// The namespaces of our labels.
const (
	Country  = "ISO-3166-1" // two letters
	Language = "ISO-639-1"
	ASN      = "IANA-asn"
)

// maxContent bounds the document that a report carries.
const maxContent = 64 << 10

// Report is what a monitor says of a relay that it could open.
type Report struct {
	URL relay.URL
	At  int64 // of the check
	// Document is the relay's own (NIP-11), as it came; one that is too large or
	// no text is left out.
	Document []byte
	// Times of the probes; 0: not measured.
	Open, Read, Write time.Duration
	// Requires says of a requirement ("auth", "writes", "pow", "payment") whether
	// it holds; what is not known is absent.
	Requires map[string]bool
	NIPs     []string // supported: "1", "C7"
	Types    []Type
	Topics   []string
	// Kinds says of kinds whether the relay takes them; what is not known is
	// absent.
	Kinds   map[nostr.Kind]bool
	Geohash string // as precise as the place is known
	Labels  []Label
}

// Event makes the report an event, not signed yet. A value of several is
// repeated, never a list; of a geohash each prefix has a tag, as filters match
// whole values.
func (r *Report) Event() nostr.Event {
	tags := []nostr.Tag{{"d", Identifier(r.URL)}, {"n", string(r.URL.Network())}}
	for _, rtt := range []struct {
		name string
		time time.Duration
	}{{"rtt-open", r.Open}, {"rtt-read", r.Read}, {"rtt-write", r.Write}} {
		if rtt.time > 0 {
			tags = append(tags, nostr.Tag{rtt.name, strconv.FormatInt(max(rtt.time.Milliseconds(), 1), 10)})
		}
	}
	for _, name := range []string{"auth", "writes", "pow", "payment"} {
		if holds, known := r.Requires[name]; holds {
			tags = append(tags, nostr.Tag{"R", name})
		} else if known {
			tags = append(tags, nostr.Tag{"R", "!" + name})
		}
	}
	for _, t := range r.Types {
		tags = append(tags, nostr.Tag{"T", string(t)})
	}
	for _, nip := range r.NIPs {
		tags = append(tags, nostr.Tag{"N", nip})
	}
	for _, topic := range r.Topics {
		tags = append(tags, nostr.Tag{"t", topic})
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		value := strconv.FormatInt(int64(kind), 10)
		if !r.Kinds[kind] {
			value = "!" + value
		}
		tags = append(tags, nostr.Tag{"k", value})
	}
	for i := range len(r.Geohash) {
		tags = append(tags, nostr.Tag{"g", r.Geohash[:i+1]})
	}
	named := map[string]bool{}
	for _, l := range r.Labels {
		if !named[l.Namespace] {
			named[l.Namespace] = true
			tags = append(tags, nostr.Tag{"L", l.Namespace})
		}
		tags = append(tags, nostr.Tag{"l", l.Value, l.Namespace})
	}
	for i, tag := range tags {
		for j := range tag {
			tags[i][j] = strings.ToValidUTF8(tag[j], "�") // remote text among them
		}
	}
	e := nostr.Event{CreatedAt: r.At, Kind: KindReport, Tags: tags}
	if len(r.Document) <= maxContent && utf8.Valid(r.Document) {
		e.Content = string(r.Document)
	}
	return e
}

// Identifier is the d tag of a relay: its URL in the normal form of RFC 3986,
// in which an empty path is a slash.
func Identifier(u relay.URL) string {
	if u.Path() == "" {
		return u.String() + "/"
	}
	return u.String()
}

// Announcement is what a monitor says of itself.
type Announcement struct {
	At        int64
	Frequency time.Duration            // between two reports of a relay
	Timeouts  map[string]time.Duration // by check; "" is of all
	Checks    []string                 // "open", "read", "nip11" …
	Networks  []relay.Network
	Geohash   string // of the monitor; empty: not told
}

// Event makes the announcement an event, not signed yet. Timeouts are written
// as in the example of NIP-66, name first, which other monitors do too; its text
// has them the other way round.
func (a *Announcement) Event() nostr.Event {
	tags := []nostr.Tag{{"frequency", strconv.FormatInt(int64(a.Frequency.Seconds()), 10)}}
	for _, check := range slices.Sorted(maps.Keys(a.Timeouts)) {
		ms := strconv.FormatInt(a.Timeouts[check].Milliseconds(), 10)
		if check == "" {
			tags = append(tags, nostr.Tag{"timeout", ms})
			continue
		}
		tags = append(tags, nostr.Tag{"timeout", check, ms})
	}
	for _, check := range a.Checks {
		tags = append(tags, nostr.Tag{"c", strings.ToLower(check)})
	}
	for _, n := range a.Networks {
		tags = append(tags, nostr.Tag{"n", string(n)})
	}
	for i := range len(a.Geohash) {
		tags = append(tags, nostr.Tag{"g", a.Geohash[:i+1]})
	}
	return nostr.Event{CreatedAt: a.At, Kind: KindAnnouncement, Tags: tags}
}

// Profile makes the event that names a monitor (kind 0), not signed yet.
func Profile(at int64, name, about, website string) nostr.Event {
	fields := map[string]string{"name": name}
	for key, value := range map[string]string{"about": about, "website": website} {
		if value != "" {
			fields[key] = value
		}
	}
	content, err := json.Marshal(fields)
	if err != nil {
		panic(fmt.Sprintf("nip66: encode profile: %v", err)) // texts always encode
	}
	return nostr.Event{CreatedAt: at, Kind: KindProfile, Content: string(content)}
}

// RelayList makes the event that says where a monitor publishes (NIP-65), not
// signed yet.
func RelayList(at int64, relays []relay.URL) nostr.Event {
	e := nostr.Event{CreatedAt: at, Kind: KindRelays}
	for _, u := range relays {
		e.Tags = append(e.Tags, nostr.Tag{"r", u.String(), "write"})
	}
	return e
}

// Foreign is what was read of another monitor's report. It is that monitor's
// word, and proves nothing.
type Foreign struct {
	URL               relay.URL
	Monitor           nostr.PubKey
	At                int64
	Open, Read, Write time.Duration // 0: not told
	Network           string
	Types             []string
	NIPs              []string
	Requires          map[string]bool
	Geohash           string // the longest
	Document          json.RawMessage
}

// ErrReport means that an event is no report of a relay with a URL.
var ErrReport = errors.New("not a report of a relay")

// What is read of one report at most.
const (
	maxList  = 256
	maxValue = 64
)

// Parse reads a report tolerantly: monitors differ in slashes, in how they
// write what does not hold, and in what they put into the content. Rules are
// those by which the URL is accepted.
func Parse(e *nostr.Event, rules relay.Rules) (Foreign, error) {
	f := Foreign{Monitor: e.PubKey, At: e.CreatedAt, Requires: map[string]bool{}}
	if e.Kind != KindReport {
		return Foreign{}, ErrReport
	}
	for _, tag := range e.Tags {
		if len(tag) < 2 || tag[0] != "d" && len(tag[1]) > maxValue {
			continue
		}
		switch value := tag[1]; tag[0] {
		case "d":
			if !f.URL.IsZero() {
				continue
			}
			u, err := rules.Parse(value)
			if err != nil {
				return Foreign{}, fmt.Errorf("%w: %w", ErrReport, err)
			}
			f.URL = u
		case "rtt-open":
			f.Open = milliseconds(value)
		case "rtt-read":
			f.Read = milliseconds(value)
		case "rtt-write":
			f.Write = milliseconds(value)
		case "n":
			f.Network = value
		case "T":
			f.Types = add(f.Types, value)
		case "N":
			f.NIPs = add(f.NIPs, value)
		case "R":
			if name, not := strings.CutPrefix(value, "!"); len(f.Requires) < maxList {
				f.Requires[name] = !not
			}
		case "g":
			if len(value) > len(f.Geohash) {
				f.Geohash = value
			}
		}
	}
	if f.URL.IsZero() {
		return Foreign{}, ErrReport
	}
	if content := bytes.TrimSpace([]byte(e.Content)); len(content) > len("{}") && content[0] == '{' && json.Valid(content) {
		f.Document = content
	}
	return f, nil
}

func add(list []string, value string) []string {
	if len(list) == maxList || slices.Contains(list, value) {
		return list
	}
	return append(list, value)
}

// milliseconds reads a time; one that is none, or longer than an hour, is not
// told.
func milliseconds(text string) time.Duration {
	ms, err := strconv.ParseFloat(text, 64)
	if err != nil || !(ms > 0 && ms <= 3_600_000) {
		return 0
	}
	return time.Duration(ms * float64(time.Millisecond))
}

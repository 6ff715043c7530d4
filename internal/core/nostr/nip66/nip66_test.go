package nip66_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip66"
	"bigbrotr/internal/core/nostr/nip66/nip66test"
	"bigbrotr/internal/core/relay"
)

func parse(t *testing.T, text string) relay.URL {
	t.Helper()
	u, err := relay.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestReport(t *testing.T) {
	document := []byte("{ \"name\" : \"A relay\",\n\t\"supported_nips\": [1] }")
	r := nip66.Report{
		URL: parse(t, "wss://relay.example.com"), At: 1_700_000_000, Document: document,
		Open: 234 * time.Millisecond, Read: 500 * time.Microsecond, Write: 1500 * time.Millisecond,
		Requires: map[string]bool{"auth": false, "payment": true},
		NIPs:     []string{"1", "11", "C7"}, Types: []nip66.Type{nip66.PublicOutbox}, Topics: []string{"cats"},
		Kinds:   map[nostr.Kind]bool{30023: true, 4: false, 1: true},
		Geohash: "u0qj",
		Labels:  []nip66.Label{{Namespace: nip66.Country, Value: "CH"}, {Namespace: nip66.Language, Value: "de"}, {Namespace: nip66.Language, Value: "fr"}},
	}
	e := r.Event()
	nip66test.Validate(t, e)
	if e.Content != string(document) || e.CreatedAt != r.At || e.Kind != 30166 {
		t.Errorf("event: %+v", e)
	}
	want := []nostr.Tag{
		{"d", "wss://relay.example.com/"},
		{"n", "clearnet"},
		{"rtt-open", "234"},
		{"rtt-read", "1"},
		{"rtt-write", "1500"},
		{"R", "!auth"},
		{"R", "payment"},
		{"T", "PublicOutbox"},
		{"N", "1"},
		{"N", "11"},
		{"N", "C7"},
		{"t", "cats"},
		{"k", "1"},
		{"k", "!4"},
		{"k", "30023"},
		{"g", "u"},
		{"g", "u0"},
		{"g", "u0q"},
		{"g", "u0qj"},
		{"L", "ISO-3166-1"},
		{"l", "CH", "ISO-3166-1"},
		{"L", "ISO-639-1"},
		{"l", "de", "ISO-639-1"},
		{"l", "fr", "ISO-639-1"},
	}
	if d := cmp.Diff(want, e.Tags); d != "" {
		t.Errorf("tags (-want +have):\n%s", d)
	}
	least := nip66.Report{URL: parse(t, "wss://relay.example.com/path"), At: 1, Document: []byte("{\"a\":\"\xff\"}")}
	if e := least.Event(); len(e.Tags) != 2 || e.Tags[0][1] != "wss://relay.example.com/path" || e.Content != "" {
		t.Errorf("least report: %+v", e)
	}
	least.Topics = []string{"\xff\x00"}
	nip66test.Validate(t, least.Event()) // hostile text can be signed
	least.Document = []byte("{\"a\":\"" + strings.Repeat("x", 1<<20) + "\"}")
	if e := least.Event(); e.Content != "" {
		t.Errorf("a document of %d bytes is published", len(e.Content))
	}
}

func TestAnnouncement(t *testing.T) {
	a := nip66.Announcement{
		At: 1_700_000_000, Frequency: 3 * time.Hour, Timeouts: map[string]time.Duration{"open": 30 * time.Second, "nip11": 10 * time.Second},
		Checks: []string{"open", "nip11"}, Networks: []relay.Network{relay.Clearnet, relay.Tor}, Geohash: "u0",
	}
	e := a.Event()
	nip66test.Validate(t, e)
	want := []nostr.Tag{
		{"frequency", "10800"},
		{"timeout", "nip11", "10000"},
		{"timeout", "open", "30000"},
		{"c", "open"},
		{"c", "nip11"},
		{"n", "clearnet"},
		{"n", "tor"},
		{"g", "u"},
		{"g", "u0"},
	}
	if d := cmp.Diff(want, e.Tags); d != "" {
		t.Errorf("tags (-want +have):\n%s", d)
	}
	list := nip66.RelayList(1, []relay.URL{parse(t, "wss://relay.example.com")})
	nip66test.Validate(t, list)
	if p := nip66.Profile(1, "BigBrotr \"1\"", "", "https://example.com"); p.Content != `{"name":"BigBrotr \"1\"","website":"https://example.com"}` {
		t.Errorf("profile %s", p.Content)
	}
}

// TestParse reads reports as other monitors write them.
func TestParse(t *testing.T) {
	event := func(content string, tags ...nostr.Tag) nostr.Event {
		return nostr.Event{Kind: nip66.KindReport, CreatedAt: 5, Content: content, Tags: tags}
	}
	for _, test := range []struct {
		name  string
		event nostr.Event
		want  *nip66.Foreign
	}{
		{
			"with everything",
			event(
				`{"name":"x"}`, nostr.Tag{"d", "wss://Relay.Example.com/"}, nostr.Tag{"n", "clearnet"}, nostr.Tag{"rtt-open", "12"},
				nostr.Tag{"rtt-read", "0.5"}, nostr.Tag{"N", "1"}, nostr.Tag{"N", "1"}, nostr.Tag{"N", "C7"}, nostr.Tag{"R", "!payment"}, nostr.Tag{"R", "auth"},
				nostr.Tag{"R", "pow", "20"}, nostr.Tag{"T", "Paid"}, nostr.Tag{"g", "u"}, nostr.Tag{"g", "u0qj7"}, nostr.Tag{"g", "u0"}, nostr.Tag{"zzz"}, nostr.Tag{},
			),
			&nip66.Foreign{
				URL: parse(t, "wss://relay.example.com"), At: 5, Network: "clearnet", Open: 12 * time.Millisecond, Read: 500 * time.Microsecond,
				NIPs: []string{"1", "C7"}, Requires: map[string]bool{"payment": false, "auth": true, "pow": true}, Types: []string{"Paid"}, Geohash: "u0qj7",
				Document: []byte(`{"name":"x"}`),
			},
		},
		{"empty object as content", event(`{}`, nostr.Tag{"d", "wss://relay.example.com"}), &nip66.Foreign{URL: parse(t, "wss://relay.example.com"), At: 5, Requires: map[string]bool{}}},
		{"times that are none", event("no", nostr.Tag{"d", "wss://relay.example.com"}, nostr.Tag{"rtt-open", "-1"}, nostr.Tag{"rtt-read", "NaN"}, nostr.Tag{"rtt-write", "1e99"}), &nip66.Foreign{URL: parse(t, "wss://relay.example.com"), At: 5, Requires: map[string]bool{}}},
		{"of a key", event("", nostr.Tag{"d", strings.Repeat("ab", 32)}), nil},
		{"of a private address", event("", nostr.Tag{"d", "ws://10.0.0.1"}), nil},
		{"of nothing", event("", nostr.Tag{"n", "clearnet"}), nil},
		{"of another kind", nostr.Event{Kind: 1, Tags: []nostr.Tag{{"d", "wss://relay.example.com"}}}, nil},
	} {
		have, err := nip66.Parse(&test.event, relay.Rules{})
		if test.want == nil {
			if err == nil {
				t.Errorf("%s: read %+v", test.name, have)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if d := cmp.Diff(*test.want, have, cmp.Comparer(func(a, b relay.URL) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +have):\n%s", test.name, d)
		}
	}
	// What we write, we read.
	ours := nip66.Report{URL: parse(t, "wss://relay.example.com/in"), At: 7, Open: time.Second, Requires: map[string]bool{"auth": true}, Geohash: "u0"}
	e := ours.Event()
	have, err := nip66.Parse(&e, relay.Rules{})
	if err != nil || have.URL != ours.URL || have.Open != ours.Open || !have.Requires["auth"] || have.Geohash != "u0" {
		t.Errorf("our own report reads %+v, %v", have, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("wss://relay.example.com/", "rtt-open", "12", `{"name":"x"}`)
	f.Fuzz(func(t *testing.T, d, name, value, content string) {
		e := nostr.Event{Kind: nip66.KindReport, Content: content, Tags: []nostr.Tag{{"d", d}, {name, value}}}
		have, err := nip66.Parse(&e, relay.Rules{})
		if err != nil {
			return
		}
		if have.URL.IsZero() || have.Open < 0 || have.Open > time.Hour {
			t.Errorf("read %+v", have)
		}
	})
}

package hints_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
)

// author signs, in name, the events of these tests.
var author = nostr.PubKey{1, 2, 3}

// found maps URLs to classes, without the wss:// they all begin with.
func found(t *testing.T, e *nostr.Event) map[string]hints.Class {
	t.Helper()
	var got map[string]hints.Class
	for _, f := range hints.Collect(e, relay.Rules{}) {
		if got == nil {
			got = make(map[string]hints.Class)
		}
		if f.Author != e.PubKey {
			t.Errorf("%s is credited to %s", f.URL, f.Author)
		}
		got[strings.TrimPrefix(f.URL.String(), "wss://")] = f.Class
	}
	return got
}

const (
	id  = "5c83da77af1dec6d7289834998ad7aafbd9e2191396d75ec3cc27f5a77226f36"
	key = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
)

type tags = []nostr.Tag

type want = map[string]hints.Class

// TestPlaces has a row for every row of the table of places in the
// specifications.
func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		place   string
		kind    nostr.Kind
		tags    tags
		content string
		want    want
	}{
		{
			"relay list (NIP-65)", 10002,
			tags{{"r", "wss://a.com"}, {"r", "wss://b.com/", "read"}, {"r", "WSS://C.com:443", "write"}, {"r"}, {"r", "d.com"}},
			"",
			want{"a.com": hints.List, "b.com": hints.List, "c.com": hints.List},
		},
		{"inbox list (NIP-17)", 10050, tags{{"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"blocked relays (NIP-51)", 10006, tags{{"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"search relays (NIP-51)", 10007, tags{{"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"relay feeds (NIP-51)", 10012, tags{{"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"key package relays (Marmot)", 10051, tags{{"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"good wiki relays (NIP-51)", 10102, tags{{"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"nutzap relays (NIP-61)", 10019, tags{{"relay", "wss://a.com"}, {"mint", "https://m.com"}}, "", want{"a.com": hints.List}},
		{"relay set (NIP-51)", 30002, tags{{"d", "x"}, {"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"poll (NIP-88)", 1068, tags{{"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"community (NIP-72)", 34550, tags{{"relay", "wss://a.com", "author"}, {"relay", "wss://b.com"}}, "", want{"a.com": hints.List, "b.com": hints.List}},
		{"vanish (NIP-62)", 62, tags{{"relay", "ALL_RELAYS"}, {"relay", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{
			"groups (NIP-51)", 10009,
			tags{{"group", "x", "wss://a.com", "name"}, {"r", "wss://b.com"}},
			"",
			want{"a.com": hints.List, "b.com": hints.List},
		},
		{"group elsewhere", 1, tags{{"group", "x", "wss://a.com"}}, "", want{"a.com": hints.Hint}},
		{"zap request (NIP-57)", 9734, tags{{"relays", "wss://a.com", "wss://b.com", "wss://c.com"}}, "", want{"a.com": hints.List, "b.com": hints.List, "c.com": hints.List}},
		{"zap goal (NIP-75)", 9041, tags{{"relays", "wss://a.com", "wss://b.com"}}, "", want{"a.com": hints.List, "b.com": hints.List}},
		{"live event (NIP-53)", 30311, tags{{"relays", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"room (NIP-53)", 30312, tags{{"relays", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{"meeting (NIP-53)", 30313, tags{{"relays", "wss://a.com"}}, "", want{"a.com": hints.List}},
		{
			"repository (NIP-34)", 30617,
			tags{{"relays", "wss://a.com", "wss://b.com"}, {"u", key, "wss://c.com"}, {"clone", "nostr://npub1x/d.com/repo"}},
			"",
			want{"a.com": hints.List, "b.com": hints.List, "c.com": hints.Hint, "d.com": hints.Hint},
		},
		{
			"job request (NIP-90)", 5300,
			tags{{"relays", "wss://a.com"}, {"i", id, "event", "wss://b.com", "root"}},
			"",
			want{"a.com": hints.List, "b.com": hints.Hint},
		},
		{
			"job result (NIP-90)", 6300,
			tags{{"request", embedded(5300, `[["relays","wss://a.com"]]`, "")}},
			"",
			want{"a.com": hints.Hint},
		},
		{"relays elsewhere", 1, tags{{"relays", "wss://a.com", "wss://b.com"}, {"relay", "wss://c.com"}}, "", want{"a.com": hints.Hint, "b.com": hints.Hint, "c.com": hints.Hint}},
		{
			"follow list (NIP-02)", 3,
			tags{{"p", key, "wss://a.com", "name"}, {"p", key, ""}},
			`{"wss:\/\/b.com":{"read":true,"write":false},"wss://c.com/":{}, "wss://a.com ":{}}`,
			want{"a.com": hints.List, "b.com": hints.List, "c.com": hints.List},
		},
		{"follow list with text", 3, nil, "I follow wss://a.com", want{"a.com": hints.Content}},
		{"recommended relay", 2, nil, "wss://a.com", want{"a.com": hints.Hint}},
		{
			"references (NIP-01, 10, 18, 22)", 1111,
			tags{
				{"e", id, "wss://a.com", "root"},
				{"p", key, "wss://b.com"},
				{"a", "30023:" + key + ":x", "wss://c.com"},
				{"q", id, "wss://d.com"},
				{"E", id, "wss://e.com"},
				{"P", key, "wss://f.com"},
				{"A", "30023:" + key + ":x", "wss://g.com"},
			},
			"",
			want{
				"a.com": hints.Hint, "b.com": hints.Hint, "c.com": hints.Hint, "d.com": hints.Hint, "e.com": hints.Hint, "f.com": hints.Hint, "g.com": hints.Hint,
			},
		},
		{
			"references in other places", 1,
			tags{{"e", "wss://a.com"}, {"p", key, "name", "wss://b.com"}, {"x", "y", "z", "wss://c.com"}, {"wss://d.com"}},
			"",
			want{"a.com": hints.Content, "b.com": hints.Content, "c.com": hints.Content, "d.com": hints.Content},
		},
		{"zap split (NIP-57)", 1, tags{{"zap", key, "wss://a.com", "1"}}, "", want{"a.com": hints.Hint}},
		{"goal (NIP-75)", 30023, tags{{"goal", id, "wss://a.com"}}, "", want{"a.com": hints.Hint}},
		{"pointers", 1, tags{{"latest", id, "wss://a.com"}, {"next", id, "wss://b.com"}, {"app", id, "wss://c.com"}}, "", want{"a.com": hints.Hint, "b.com": hints.Hint, "c.com": hints.Hint}},
		{"client (NIP-89)", 1, tags{{"client", "name", "31990:" + key + ":x", "wss://a.com"}}, "", want{"a.com": hints.Hint}},
		{"handler recommendation (NIP-89)", 31989, tags{{"a", "31990:" + key + ":x", "wss://a.com", "web"}}, "", want{"a.com": hints.Hint}},
		{"trusted providers (NIP-85)", 10040, tags{{"30382:rank", key, "wss://a.com"}}, "", want{"a.com": hints.Hint}},
		{
			"repost (NIP-18)", 6,
			tags{{"e", id, "wss://a.com"}},
			embedded(1, `[["p","x","wss://b.com"]]`, "see wss://c.com"),
			want{"a.com": hints.Hint, "b.com": hints.Hint, "c.com": hints.Content},
		},
		{"generic repost of a relay list", 16, nil, embedded(10002, `[["r","wss://a.com"]]`, ""), want{"a.com": hints.Hint}},
		{"repost with a comment", 6, nil, "look at wss://a.com", want{"a.com": hints.Content}},
		{"repost with broken JSON", 6, nil, `{"content":"wss://a.com"`, want{"a.com": hints.Content}},
		{
			"zap receipt (NIP-57)", 9735,
			tags{{"description", embedded(9734, `[["relays","wss://a.com","wss://b.com"]]`, "")}},
			"",
			want{"a.com": hints.Hint, "b.com": hints.Hint},
		},
		{"description of words", 30617, tags{{"description", "{see wss://a.com}"}}, "", want{"a.com": hints.Content}},
		{
			"monitor (NIP-66)", 30166,
			tags{{"d", "wss://a.com/"}, {"n", "clearnet"}, {"rtt-open", "12"}},
			`{"name":"x","software":"wss://b.com"}`,
			want{"a.com": hints.Monitor, "b.com": hints.Content},
		},
		{"monitor of a relay without URL", 30166, tags{{"d", key}}, "", nil},
		{"monitor's change", 1066, tags{{"r", "wss://a.com"}, {"O", "up"}}, "", want{"a.com": hints.Monitor}},
		{"relay report (NIP-32)", 1985, tags{{"L", "relay-report"}, {"l", "spam", "relay-report"}, {"r", "wss://a.com"}}, "", want{"a.com": hints.Monitor}},
		{"other label (NIP-32)", 1985, tags{{"L", "x"}, {"r", "wss://a.com"}}, "", want{"a.com": hints.Content}},
		{"web reference (NIP-24)", 1, tags{{"r", "wss://a.com"}, {"r", "https://b.com"}}, "", want{"a.com": hints.Content}},
		{"d elsewhere", 30023, tags{{"d", "wss://a.com"}}, "", want{"a.com": hints.Content}},
		{
			"text", 1, nil, `try wss://a.com, (WSS://b.com/inbox) and "ws://c.com:7000"; not https://d.com or news://e.com. 見てwss://f.com。`,
			want{"a.com": hints.Content, "b.com/inbox": hints.Content, "ws://c.com:7000": hints.Content, "f.com": hints.Content},
		},
		{"several in one value", 10002, tags{{"r", "wss://a.com,wss://b.com wss://https://c.com"}}, "", want{"a.com": hints.List, "b.com": hints.List, "c.com": hints.List}},
		{"names in text (NIP-19, 21)", 1, nil, "by nostr:" + profile("wss://a.com", "wss://b.com") + " here", want{"a.com": hints.Hint, "b.com": hints.Hint}},
		{
			"git URLs (NIP-34)", 1, nil, "git clone nostr://npub1x/wss%3A%2F%2Fa.com/repo and nostr://npub1x/b.com/repo, nostr://npub1x/repo nostr://x/%zz/repo",
			want{"a.com": hints.Hint, "b.com": hints.Hint},
		},
		{
			"the strongest class counts", 10002,
			tags{{"x", "wss://a.com"}, {"p", key, "wss://a.com"}, {"r", "wss://a.com"}, {"e", id, "wss://a.com"}},
			"wss://a.com",
			want{"a.com": hints.List},
		},
		{"nothing", 1, tags{{}, {""}, {"e"}, {"e", ""}, {"e", id, "", "root"}}, "words: none", nil},
		{"local names", 10002, tags{{"r", "ws://localhost:7777"}, {"r", "ws://127.0.0.1"}, {"r", "wss://umbrel.local"}}, "", nil},
	} {
		t.Run(test.place, func(t *testing.T) {
			e := &nostr.Event{PubKey: author, Kind: test.kind, Tags: test.tags, Content: test.content}
			if diff := cmp.Diff(test.want, found(t, e)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// embedded is the JSON of an event by somebody else, whose signature is none.
func embedded(kind nostr.Kind, tagList, content string) string {
	return fmt.Sprintf(`{"id":%q,"pubkey":%q,"created_at":1,"kind":%d,"tags":%s,"content":%q,"sig":%q}`,
		id, key, kind, tagList, content, id+id)
}

func profile(relays ...string) string {
	s, err := nip19.Encode(nip19.Entity{Prefix: nip19.Profile, Relays: relays})
	if err != nil {
		panic(err)
	}
	return s
}

func TestRules(t *testing.T) {
	e := &nostr.Event{Kind: 10002, Tags: tags{{"r", "ws://127.0.0.1:7777"}}}
	got := hints.Collect(e, relay.Rules{AllowLocal: true})
	if len(got) != 1 || got[0].URL.String() != "ws://127.0.0.1:7777" {
		t.Errorf("Collect with local relays allowed = %v", got)
	}
}

// TestEmbeddedDepth: a repost of a repost is looked into, not for ever.
func TestEmbeddedDepth(t *testing.T) {
	text := embedded(1, `[["e","x","wss://deep.com"]]`, "")
	e := &nostr.Event{PubKey: author, Kind: 6, Content: embedded(6, "[]", text)}
	if got := found(t, e); got["deep.com"] != hints.Hint {
		t.Errorf("two levels: %v", got)
	}
	for range 10 {
		text = embedded(6, "[]", text)
	}
	e.Content = text
	// Beyond the bound it is text in which a URL may stand.
	if got := found(t, e); got["deep.com"] == hints.Hint {
		t.Errorf("ten levels: %v", got)
	}
}

func TestOrderAndBounds(t *testing.T) {
	e := &nostr.Event{Kind: 10002}
	for i := range 24_000 {
		e.Tags = append(e.Tags, nostr.Tag{"r", fmt.Sprintf("wss://relay%d.com", i)})
	}
	got := hints.Collect(e, relay.Rules{})
	if len(got) != hints.MaxFound {
		t.Fatalf("%d found", len(got))
	}
	for i, f := range got {
		if f.URL.String() != e.Tags[i][1] {
			t.Fatalf("number %d is %s", i, f.URL)
		}
	}
	// Again, with every URL twice and the second time stronger.
	e.Tags = e.Tags[:100]
	e.Kind = 10040
	for i := range 100 {
		e.Tags = append(e.Tags, nostr.Tag{"r", e.Tags[i][1] + "/"})
		e.Tags[i] = nostr.Tag{"x", "", "wss://RELAY" + e.Tags[i][1][len("wss://relay"):]}
	}
	if got = hints.Collect(e, relay.Rules{}); len(got) != 100 || got[0].Class != hints.List || got[99].Class != hints.List {
		t.Errorf("%d found, first %v", len(got), got[0])
	}
}

// TestHostile bounds the work for events made to waste it.
func TestHostile(t *testing.T) {
	repeat := func(s string) string { return strings.Repeat(s, (2<<20)/len(s)) }
	for name, e := range map[string]*nostr.Event{
		"refused URLs":   {Kind: 1, Content: repeat("wss://a.b ")},
		"one long URL":   {Kind: 1, Content: "wss://a.com/" + repeat("x")},
		"colons":         {Kind: 1, Content: repeat(":")},
		"schemes":        {Kind: 1, Content: repeat("wss://")},
		"git":            {Kind: 1, Content: repeat("nostr://x/y/z ")},
		"git in one":     {Kind: 1, Content: repeat("nostr://")},
		"git and spaces": {Kind: 1, Content: repeat("nostr:// ")},
		"names":          {Kind: 1, Content: repeat(profile("wss://a.com") + " ")},
		"bad names":      {Kind: 1, Content: repeat("nprofile1" + strings.Repeat("q", 4900) + " ")},
		"ones":           {Kind: 1, Content: repeat("1")},
		"nested":         {Kind: 6, Content: repeat(`{"content":`)},
		"tags":           {Kind: 1, Tags: slicesRepeat(nostr.Tag{"e", id, "wss://no-such.tld-at-all"}, 40_000)},
		"different tags": {Kind: 1, Tags: slicesRepeat(nostr.Tag{"e", "wss://a.b", "wss://c.d", "wss://e.f", "wss://g.h", "wss://i.j", "wss://k.l", "wss://m.n", "wss://o.p", "wss://q.r"}, 10_000)},
		"descriptions":   {Kind: 1, Tags: slicesRepeat(nostr.Tag{"description", embedded(1, "[]", "x")}, 10_000)},
	} {
		start := time.Now()
		got := hints.Collect(e, relay.Rules{})
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s takes %s", name, took)
		} else {
			t.Logf("%-15s %8s, %d found", name, took.Round(10*time.Microsecond), len(got))
		}
	}
}

func slicesRepeat(tag nostr.Tag, n int) tags {
	out := make(tags, n)
	for i := range out {
		out[i] = tag
	}
	return out
}

// TestBudget: once an event has cost enough, what follows is not looked at.
func TestBudget(t *testing.T) {
	for name, e := range map[string]*nostr.Event{
		"URLs":     {Kind: 1, Tags: slicesRepeat(nostr.Tag{"e", "wss://a.b", "wss://c.d", "wss://e.f", "wss://g.h", "wss://i.j", "wss://k.l", "wss://m.n", "wss://o.p", "wss://q.r"}, 1000)},
		"git URLs": {Kind: 1, Tags: slicesRepeat(nostr.Tag{"clone", "nostr://x/y/z"}, 10_000)},
	} {
		late := nostr.Tag{"e", id, "wss://late.com"}
		if e.Tags = append(e.Tags, late); found(t, e) != nil {
			t.Errorf("%s: there is no bound", name)
		}
		if e.Tags = append(e.Tags[:100], late); found(t, e) == nil {
			t.Errorf("%s: the bound is too low", name)
		}
	}
	// An event too many inside of another is not parsed.
	e := &nostr.Event{Tags: slicesRepeat(nostr.Tag{"description", embedded(1, "[]", "")}, 1000)}
	e.Tags = append(e.Tags, nostr.Tag{"description", embedded(1, `[["e","x","wss://late.com"]]`, "")})
	if got := found(t, e); got["late.com"] == hints.Hint {
		t.Errorf("events: %v", got)
	}
	var text strings.Builder
	for i := range hints.MaxFound + 100 {
		fmt.Fprintf(&text, "wss://relay%d.com ", i)
	}
	if got := hints.Collect(&nostr.Event{Content: text.String()}, relay.Rules{}); len(got) != hints.MaxFound {
		t.Errorf("%d found in one text", len(got))
	}
}

// TestCutURL: where the budget ends within a URL, its head is not taken for
// one.
func TestCutURL(t *testing.T) {
	for pad := range 40 {
		e := &nostr.Event{Kind: 1, Content: strings.Repeat("x", 256<<10-pad-2) + " wss://relay.com/inbox wss://other.com"}
		for _, f := range hints.Collect(e, relay.Rules{}) {
			if s := f.URL.String(); s != "wss://relay.com/inbox" && s != "wss://other.com" {
				t.Fatalf("pad %d: %s", pad, s)
			}
		}
	}
}

// TestNothingIsMissed looks at real events as plain text: wherever a relay URL
// stands, in a place that the table knows or not, it is found.
func TestNothingIsMissed(t *testing.T) {
	anywhere := regexp.MustCompile(`[wW][sS]{1,2}:\\*/\\*/[^\s"',)\\]+`)
	looked := 0
	for _, e := range realEvents(t) {
		seen := make(map[relay.URL]bool)
		for _, f := range hints.Collect(&e, relay.Rules{}) {
			seen[f.URL] = true
		}
		text := e.AppendJSON(nil)
		if lower := bytes.ToLower(text); !bytes.Contains(lower, []byte("ws:")) && !bytes.Contains(lower, []byte("wss:")) {
			continue // regexp is slow
		}
		for _, text := range anywhere.FindAllString(string(text), -1) {
			for _, u := range relay.ParseList(text) {
				if looked++; !seen[u] {
					t.Errorf("event %s of kind %d: %s", e.ID, e.Kind, u)
				}
			}
		}
	}
	if looked < 10_000 {
		t.Errorf("only %d URLs in the texts", looked)
	}
}

func TestRank(t *testing.T) {
	order := []hints.Class{hints.Seed, hints.Monitor, hints.List, hints.API, hints.NIP05, hints.Hint, hints.Content, hints.NIP11, "no class"}
	for i, class := range order {
		if class.Rank() != i {
			t.Errorf("%s ranks %d, want %d", class, class.Rank(), i)
		}
	}
}

func FuzzCollect(f *testing.F) {
	kinds := make(map[nostr.Kind]int)
	for _, e := range realEvents(f) {
		if kinds[e.Kind]++; kinds[e.Kind] <= 2 && len(e.Content) < 4<<10 && len(e.Tags) < 50 {
			f.Add(e.AppendJSON(nil))
		}
	}
	f.Add([]byte(embedded(6, "[]", embedded(3, "[]", `{\"wss:\\/\\/a.com\":{}}`))))
	f.Add([]byte(embedded(1, "[]", "nostr://npub1x/wss%3A%2F%2Fa.com/repo "+profile("wss://b.com"))))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := nostr.ParseEvent(text)
		if err != nil {
			return
		}
		before := e.AppendJSON(nil)
		got := hints.Collect(&e, relay.Rules{})
		if len(got) > hints.MaxFound {
			t.Fatalf("%d found", len(got))
		}
		seen := make(map[relay.URL]bool)
		for _, f := range got {
			if seen[f.URL] {
				t.Fatalf("%s twice", f.URL)
			}
			seen[f.URL] = true
			if again, err := relay.Parse(f.URL.String()); err != nil || again != f.URL {
				t.Fatalf("%s parses to %s, %v", f.URL, again, err)
			}
			if f.Class.Rank() > hints.Content.Rank() || f.Author != e.PubKey {
				t.Fatalf("%+v", f)
			}
		}
		if !bytes.Equal(before, e.AppendJSON(nil)) {
			t.Fatal("the event was changed")
		}
	})
}

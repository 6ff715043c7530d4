package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// TestWords takes texts apart.
func TestWords(t *testing.T) {
	for _, tt := range []struct {
		e    nostr.Event
		want []string
	}{
		{nostr.Event{Kind: 1, Content: "Hello, HELLO wörld! It's #Bitcoin 21_000 a"}, []string{"000", "21", "bitcoin", "hello", "it", "world"}},
		{nostr.Event{Kind: 1, Content: "日本語 と x"}, []string{"と", "日本", "本語"}},
		{nostr.Event{Kind: 1, Content: "nostr日本relay"}, []string{"nostr", "relay", "日本"}},
		{nostr.Event{Kind: 1, Content: "ﬁne Ⅳ ½ résumé re\u0301sume\u0301"}, []string{"fine", "iv", "resume"}},
		{nostr.Event{Kind: 1, Content: "한국어 हिन्दी العربية"}, nil},
		{nostr.Event{Kind: 1, Content: strings.Repeat("x", 100) + " \x00\xff' \" \\"}, []string{strings.Repeat("x", 48)}},
		{nostr.Event{Kind: 0, Content: `{"name":"Alice","about":"I relay","picture":"https://x/secret.png","nip05":"alice@example.com","lud16":5}`}, []string{"alice", "com", "example", "relay"}},
		{nostr.Event{Kind: 0, Content: `not JSON`}, []string{}},
		{nostr.Event{Kind: 30023, Content: "text", Tags: []nostr.Tag{{"title", "A Title"}, {"t", "tag"}, {"summary"}}}, []string{"text", "title"}},
		{nostr.Event{Kind: 4, Content: "private"}, nil},
		{nostr.Event{Kind: 7, Content: "+"}, nil},
	} {
		have := store.Words(&tt.e)
		if tt.want != nil && !slices.Equal(have, tt.want) {
			t.Errorf("%d %.60q: %q, want %q", tt.e.Kind, tt.e.Content, have, tt.want)
		}
		// What is found by each of its words is found.
		for _, w := range have {
			if !store.Finds(w, &tt.e) {
				t.Errorf("%.60q is not found by %q", tt.e.Content, w)
			}
		}
	}
}

// TestSearchWords reads searches.
func TestSearchWords(t *testing.T) {
	for search, want := range map[string][]string{
		"best Nostr apps":                        {"apps", "best", "nostr"},
		"nostr language:en include:spam":         {"nostr"},
		"https://Example.com":                    {"com", "example", "https"},
		"10:30 Re:zero note:":                    {"10", "30", "note", "re", "zero"},
		"'; DROP TABLE event; -- \" OR NEAR(":    {"drop", "event", "near", "or", "table"},
		"":                                       nil,
		"a b c":                                  nil,
		"domain:example.com":                     nil,
		strings.Repeat("x", 257):                 nil,
		"aa bb cc dd ee ff gg hh ii jj kk ll mm": nil,
	} {
		have, err := store.SearchWords(search)
		if !slices.Equal(have, want) || errors.Is(err, store.ErrSearch) != (want == nil) {
			t.Errorf("%q: %q, %v, want %q", search, have, err, want)
		}
	}
}

// FuzzWords takes any text apart: its words are bounded, and have nothing that
// means anything to an index.
func FuzzWords(f *testing.F) {
	f.Add("Hello, wörld", "hello")
	f.Add("日本語の\x00\xff", "日本")
	f.Add(strings.Repeat("a̴b̵c̶ ", 100), "x:y z")
	f.Fuzz(func(t *testing.T, text, search string) {
		e := nostr.Event{Kind: 1, Content: text}
		have := store.Words(&e)
		if wanted, err := store.SearchWords(search); err == nil {
			have = append(have, wanted...)
		}
		if len(have) > 1000+store.MaxSearchWords {
			t.Errorf("%d words", len(have))
		}
		for _, w := range have {
			if w == "" || len(w) > 48 || strings.ContainsAny(w, " \t\n\x00'\"\\*^():&|!<->") || strings.ToValidUTF8(w, "") != w {
				t.Errorf("word %q", w)
			}
		}
	})
}

package face_test

import (
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/refresher"
)

// TestSearch searches (NIP-50) what is archived and what comes: newest first, by
// all words, of versions the newest. The document says that it can be done when it
// can.
func TestSearch(t *testing.T) {
	db := newStore(t, store.Keep{})
	r := serve(t, db)
	advertised := func() bool {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(r.url, "ws"), http.NoBody)
		must(t, err)
		req.Header.Set("Accept", "application/nostr+json")
		resp, err := (&http.Transport{}).RoundTrip(req)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		d, err := nip11.Parse(body)
		must(t, err)
		return slices.Contains(d.SupportedNIPs, "50")
	}
	index := func() {
		t.Helper()
		cfg := refresher.DefaultConfig()
		cfg.Search = true
		must(t, refresher.New(cfg, db, slog.New(slog.DiscardHandler)).Cycle(t.Context()))
	}
	if advertised() {
		t.Error("NIP-50 is advertised without an index")
	}
	r.add(
		event(1, 1, base, "relays of Nostr"), event(2, 1, base+1, "nostr, and RELAYS"), event(3, 1, base+2, "nostr alone"),
		event(1, 30023, base+3, "nostr relays, old", nostr.Tag{"d", "x"}), event(1, 30023, base+4, "nostr, new", nostr.Tag{"d", "x"}),
		event(2, 4, base+5, "nostr relays"), event(2, 1, base+6, "nostr relays", nostr.Tag{"-"}),
	)
	index()
	if !advertised() {
		t.Error("NIP-50 is not advertised")
	}
	c := r.dial()
	ask := func(sub string, f nostr.Filter) (texts []string, end nostr.Message) {
		t.Helper()
		c.request(sub, f)
		events, end := c.answer(sub)
		for _, e := range events {
			texts = append(texts, e.Content)
		}
		return texts, end
	}
	texts, end := ask("s", nostr.Filter{Search: "relays  Nostr language:en"})
	if !slices.Equal(texts, []string{"nostr, and RELAYS", "relays of Nostr"}) || end.Label != nostr.LabelEOSE || !end.Hints.Has(nostr.HintFinish) {
		t.Errorf("%q, %s %v", texts, end.Label, end.Hints)
	}
	if texts, end = ask("t", nostr.Filter{Search: "nostr", Limit: new(2), Authors: []nostr.PubKey{author(1), author(2)}}); !slices.Equal(texts, []string{"nostr, new", "nostr, and RELAYS"}) || !end.Hints.Has(nostr.HintMore) {
		t.Errorf("%q, %s %v", texts, end.Label, end.Hints)
	}
	for search, want := range map[string]string{"x": "invalid: ", "domain:example.com": "invalid: ", strings.Repeat("word", 100): "invalid: "} {
		if _, end := ask("u", nostr.Filter{Search: search}); end.Label != nostr.LabelClosed || !strings.HasPrefix(end.Text, want) {
			t.Errorf("%.20q: %s %q", search, end.Label, end.Text)
		}
	}
	c.say(`["COUNT","n",{"search":"nostr"}]`)
	if m := c.read(); m.Label != nostr.LabelCount || m.Count.Count != 4 {
		t.Errorf("%s: %+v", m.Label, m.Count)
	}
	c.say(`["NEG-OPEN","n",{"search":"nostr"},"6100000200"]`)
	if m := c.read(); m.Label != nostr.LabelNegErr || !strings.HasPrefix(m.Text, "unsupported: ") {
		t.Errorf("%s: %q", m.Label, m.Text)
	}
	// What comes is told to those whose words it has, before it is indexed.
	c.say(`["CLOSE","t"]`)
	r.add(event(4, 1, base+10, "other words"), event(4, 1, base+11, "more relays for nostr"))
	if m := c.read(); m.Label != nostr.LabelEvent || m.Sub != "s" || c.event(m).Content != "more relays for nostr" {
		t.Errorf("%s of %q: %s", m.Label, m.Sub, m.Event)
	}
}

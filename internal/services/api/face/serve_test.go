package face_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/api/face"
)

// TestDocument reads the document as clients do, and holds it against what is
// enforced.
func TestDocument(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}), func(cfg *face.Config) {
		cfg.Name, cfg.Contact, cfg.PubKey, cfg.Subscriptions, cfg.DefaultLimit, cfg.MaxLimit = "An <archive>", "mailto:x@example.com", author(1).String(), 3, 7, 9
	})
	do := func(method string) (*http.Response, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http"+strings.TrimPrefix(r.url, "ws"), nil)
		must(t, err)
		req.Header.Set("Accept", "application/nostr+json")
		resp, err := (&http.Transport{}).RoundTrip(req)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		for _, h := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods"} {
			if resp.Header.Get(h) == "" {
				t.Errorf("%s: no %s", method, h)
			}
		}
		return resp, body
	}
	if resp, body := do(http.MethodOptions); resp.StatusCode != http.StatusNoContent || len(body) > 0 {
		t.Errorf("OPTIONS: status %d, %q", resp.StatusCode, body)
	}
	resp, body := do(http.MethodGet)
	if have := resp.Header.Get("Content-Type"); have != "application/nostr+json" {
		t.Errorf("content type %q", have)
	}
	d, err := nip11.Parse(body)
	must(t, err)
	if len(d.Findings) > 0 || d.Name != "An <archive>" || d.PubKey == nil || *d.PubKey != author(1) {
		t.Errorf("findings %v in %s", d.Findings, body)
	}
	for i := range 12 {
		r.add(event(1, 1, base+int64(i), fmt.Sprint(i)))
	}
	c := r.dial()
	l := d.Limitation
	for name, ask := range map[string]struct {
		limit *int
		want  int64
	}{"none": {nil, *l.DefaultLimit}, "more": {new(100), *l.MaxLimit}, "less": {new(2), 2}} {
		c.request("s", nostr.Filter{Limit: ask.limit})
		if have, end := c.answer("s"); int64(len(have)) != ask.want || !end.Hints.Has(nostr.HintMore) {
			t.Errorf("limit %s: %d events, want %d; hints %b", name, len(have), ask.want, end.Hints)
		}
	}
	c.say(`["CLOSE","s"]`)
	for i := range *l.MaxSubscriptions + 1 {
		sub := fmt.Sprint(i)
		c.request(sub, nostr.Filter{Limit: new(0)})
		_, end := c.answer(sub)
		if full := i == *l.MaxSubscriptions; full != (end.Label == nostr.LabelClosed) || full && !strings.HasPrefix(end.Text, "restricted: ") {
			t.Errorf("subscription %d: %s %q", i, end.Label, end.Text)
		}
	}
	c.request(strings.Repeat("x", int(*l.MaxSubIDLength)+1), nostr.Filter{})
	if m := c.read(); m.Label != nostr.LabelNotice || !strings.HasPrefix(m.Text, "invalid: ") {
		t.Errorf("a long name: %s %q", m.Label, m.Text)
	}
	const most = 20 // which NIP-11 has no word for
	filters := make([]nostr.Filter, most+1)
	c.request("0", filters...)
	if _, end := c.answer("0"); !strings.HasPrefix(end.Text, "restricted: ") {
		t.Errorf("%d filters: %s %q", len(filters), end.Label, end.Text)
	}
	c.request("0", filters[:most]...)
	if _, end := c.answer("0"); end.Label != nostr.LabelEOSE {
		t.Errorf("%d filters: %s %q", most, end.Label, end.Text)
	}
	c.say(`["REQ","0",{"ids":[]}` + strings.Repeat(" ", int(*l.MaxMessageLength)-len(`["REQ","0",{"ids":[]}]`)) + `]`)
	if _, end := c.answer("0"); end.Label != nostr.LabelEOSE {
		t.Errorf("the longest message: %s %q", end.Label, end.Text)
	}
	c.say(strings.Repeat(" ", int(*l.MaxMessageLength)+1))
	if code := c.ends(); code != int(websocket.StatusMessageTooBig) {
		t.Errorf("a longer message ends with %d", code)
	}
}

// TestAuth checks what is taken for an authentication, and what it opens.
func TestAuth(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}))
	events := []nostr.Event{
		event(3, 1059, base, "for one", nostr.Tag{"p", author(1).String()}),
		event(3, 1059, base+1, "for two", nostr.Tag{"p", author(2).String()}),
		event(1, 4, base+2, "from one", nostr.Tag{"p", author(3).String()}),
		event(3, 13, base+3, "a seal for nobody here"),
	}
	r.add(events...)
	c := r.dial()
	ask := func() ([]nostr.Event, nostr.Message) {
		t.Helper()
		c.request("dm", nostr.Filter{Kinds: []nostr.Kind{4, 1059}})
		return c.answer("dm")
	}
	c.request("dm", nostr.Filter{Kinds: []nostr.Kind{4, 1059}})
	m := c.read()
	if m.Label != nostr.LabelAuth || m.Text == "" {
		t.Fatalf("%s %q instead of a challenge", m.Label, m.Text)
	}
	relayTag, challenge, now := nostr.Tag{"relay", r.url}, nostr.Tag{"challenge", m.Text}, time.Now().Unix()
	if _, end := c.answer("dm"); !strings.HasPrefix(end.Text, "auth-required: ") {
		t.Errorf("CLOSED %q", end.Text)
	}
	// Asked along with others, they are left out.
	c.request("both", nostr.Filter{Kinds: []nostr.Kind{1, 4}})
	if have, end := c.answer("both"); len(have) != 0 || !end.Hints.Has(nostr.HintAuth) {
		t.Errorf("%d events, hints %b", len(have), end.Hints)
	}
	for name, tt := range map[string]struct {
		at   int64
		tags []nostr.Tag
	}{
		"no challenge":      {now, []nostr.Tag{relayTag}},
		"another challenge": {now, []nostr.Tag{relayTag, {"challenge", "x"}}},
		"no relay":          {now, []nostr.Tag{challenge}},
		"another relay":     {now, []nostr.Tag{challenge, {"relay", "wss://relay.example.com"}}},
		"old":               {now - 1000, []nostr.Tag{relayTag, challenge}},
		"from the future":   {now + 1000, []nostr.Tag{relayTag, challenge}},
	} {
		if ok := c.auth(key(1), tt.at, tt.tags...); ok.Accepted || !strings.HasPrefix(ok.Text, "invalid: ") {
			t.Errorf("%s: accepted %t, %q", name, ok.Accepted, ok.Text)
		}
	}
	for name, change := range map[string]func(*nostr.Event){
		"another kind":      func(e *nostr.Event) { e.Kind = 1; must(t, key(1).Sign(e)) },
		"another author":    func(e *nostr.Event) { e.PubKey = author(2) },
		"another signature": func(e *nostr.Event) { e.Sig[5]++ },
	} {
		e := nostr.Event{Kind: 22242, CreatedAt: now, Tags: []nostr.Tag{relayTag, challenge}}
		must(t, key(1).Sign(&e))
		change(&e)
		c.say(string(nostr.AppendAUTH(nil, &e)))
		if m := c.read(); m.Label != nostr.LabelOK || m.Accepted {
			t.Errorf("%s: %s, accepted %t", name, m.Label, m.Accepted)
		}
	}
	if _, end := ask(); end.Label != nostr.LabelClosed {
		t.Fatalf("after failures: %s", end.Label)
	}
	if ok := c.auth(key(1), now, relayTag, challenge); !ok.Accepted {
		t.Fatalf("refused: %s", ok.Text)
	}
	if have, end := ask(); end.Label != nostr.LabelEOSE || !slices.Equal(ids(have), ids([]nostr.Event{events[2], events[0]})) {
		t.Errorf("%s, %q", end.Label, ids(have))
	}
	// A second key adds to the first, and new ones come to it.
	if ok := c.auth(key(2), now, relayTag, challenge); !ok.Accepted {
		t.Fatalf("refused: %s", ok.Text)
	}
	if have, _ := ask(); len(have) != 3 {
		t.Errorf("for both keys %q", ids(have))
	}
	late := event(5, 1059, base+9, "late", nostr.Tag{"p", author(2).String()})
	r.add(event(5, 1059, base+8, "for another", nostr.Tag{"p", author(7).String()}), late)
	if m := c.read(); m.Label != nostr.LabelEvent || c.event(m).ID != late.ID {
		t.Errorf("%s %s", m.Label, m.Text)
	}
}

// TestCount compares counts with those of the naive relay, and the sketch with
// the letter of NIP-45.
func TestCount(t *testing.T) {
	events := corpus(400)
	target := event(1, 1, base, "liked")
	for i := range 300 {
		events = append(events, event(100+i, 7, base+int64(i), "+", nostr.Tag{"e", target.ID.String()}))
	}
	known := judge(events)
	r := serve(t, newStore(t, store.Keep{}))
	r.add(events...)
	c := r.dial()
	count := func(filters ...nostr.Filter) nostr.CountResult {
		t.Helper()
		c.say(string(nostr.AppendCOUNT(nil, "c", filters...)))
		m := c.read()
		if m.Label != nostr.LabelCount || m.Sub != "c" {
			t.Fatalf("%s of %q: %s", m.Label, m.Sub, m.Text)
		}
		return m.Count
	}
	for _, filters := range [][]nostr.Filter{
		{{}},
		{{Kinds: []nostr.Kind{1}}},
		{{Kinds: []nostr.Kind{0, 30023}}},
		{{Authors: []nostr.PubKey{author(1)}}, {Kinds: []nostr.Kind{7}}},
		{{Limit: new(3)}},
		{{IDs: []nostr.ID{events[0].ID, target.ID}}},
	} {
		have := count(filters...)
		if want := len(known.served(unlimited(filters), nil, 1<<40, 1<<40)); have.Count != int64(want) || have.Approximate || have.HLL != nil {
			t.Errorf("%s: %+v, want %d", nostr.AppendCOUNT(nil, "c", filters...), have, want)
		}
	}
	have := count(nostr.Filter{Kinds: []nostr.Kind{7}, Tags: map[string][]string{"e": {target.ID.String()}}})
	digit, err := hex.DecodeString("0" + target.ID.String()[32:33])
	must(t, err)
	offset := 8 + int(digit[0])
	want := make([]byte, 256)
	for i := range 300 {
		k := author(100 + i)
		zeros := 0
		for _, b := range k[offset+1:] {
			zeros += bits.LeadingZeros8(b)
			if b != 0 {
				break
			}
		}
		want[k[offset]] = max(want[k[offset]], byte(zeros+1))
	}
	if have.Count != 300 || !slices.Equal(have.HLL, want) {
		t.Errorf("%d reactions, sketch\n%x, want\n%x", have.Count, have.HLL, want)
	}
}

// TestIndex checks that an archive that is an index serves what it keeps whole,
// counts the rest, and says so.
func TestIndex(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{Mode: store.KeepIndex, FullKinds: []nostr.Kind{0, 5}}))
	profile := event(1, 0, base, "whole", nostr.Tag{"t", "x"})
	note := event(1, 1, base+1, "not whole", nostr.Tag{"t", "x"})
	r.add(profile, note, event(2, 1, base+2, "neither", nostr.Tag{"t", "y"}, nostr.Tag{"-"}))
	c := r.dial()
	c.request("whole", nostr.Filter{Kinds: []nostr.Kind{0}})
	if have, end := c.answer("whole"); !slices.Equal(ids(have), ids([]nostr.Event{profile})) || !end.Hints.Has(nostr.HintFinish) {
		t.Errorf("kinds kept whole: %q, hints %b", ids(have), end.Hints)
	}
	c.request("notes", nostr.Filter{Kinds: []nostr.Kind{1, 7}})
	if have, end := c.answer("notes"); len(have) > 0 || !strings.HasPrefix(end.Text, "unsupported: ") || !strings.Contains(end.Text, "0, 5") {
		t.Errorf("others: %q, %s %q", ids(have), end.Label, end.Text)
	}
	c.request("any", nostr.Filter{Tags: map[string][]string{"t": {"x"}}})
	var told bool
	for m := c.read(); m.Label != nostr.LabelEOSE; m = c.read() {
		told = told || m.Label == nostr.LabelNotice && strings.Contains(m.Text, "0, 5")
		if m.Label == nostr.LabelEvent && c.event(m).ID != profile.ID {
			t.Errorf("it serves %s", m.Event)
		}
	}
	if !told {
		t.Error("nothing says that there is more")
	}
	c.say(string(nostr.AppendCOUNT(nil, "c", nostr.Filter{Tags: map[string][]string{"t": {"x", "y"}}})))
	if m := c.read(); m.Label != nostr.LabelCount || m.Count.Count != 2 || !m.Count.Approximate {
		t.Errorf("%s %+v", m.Label, m.Count)
	}
	var d struct{ Description string }
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(r.url, "ws"), nil)
	must(t, err)
	req.Header.Set("Accept", "application/nostr+json")
	resp, err := (&http.Transport{}).RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	must(t, json.NewDecoder(resp.Body).Decode(&d))
	if !strings.Contains(d.Description, "0, 5") {
		t.Errorf("description %q", d.Description)
	}
}

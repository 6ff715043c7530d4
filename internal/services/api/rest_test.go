package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// indent makes JSON that differences are readable in, with what depends on the
// time of the test taken out.
func indent(t *testing.T, w *httptest.ResponseRecorder) []byte {
	t.Helper()
	var out bytes.Buffer
	must(t, json.Indent(&out, w.Body.Bytes(), "", "  "))
	return volatile.ReplaceAll(out.Bytes(), []byte(`"$1": 1`))
}

var volatile = regexp.MustCompile(`"(store_bytes|at|median_seconds|max_seconds)": \d+`)

// TestAnswers holds what each route answers against a golden file.
func TestAnswers(t *testing.T) {
	db := newStore(t)
	events := fill(t, db)
	private := event(1, 4, base+5, "for one only") // archived by fill
	h := newAPI(db).Handler()
	for _, test := range []struct{ golden, target string }{
		{"stats.json", "/api/v1/stats"},
		{"relays.json", "/api/v1/relays"},
		{"relays_page.json", "/api/v1/relays?limit=1&after=" + url.QueryEscape("wss://a.nostr.org")},
		{"relays_none.json", "/api/v1/relays?network=i2p&state=dead"},
		{"events.json", "/api/v1/events"},
		{"events_page.json", "/api/v1/events?kinds=1,0&limit=2"},
		{"events_none.json", "/api/v1/events?kinds=4"},
		{"event.json", "/api/v1/events/" + events[1].ID.String()},
		{"event_relays.json", "/api/v1/events/" + events[1].ID.String() + "/relays"},
		{"problem_ids.json", "/api/v1/events?ids=" + events[0].ID.String() + ",xyz&authors=" + strings.ToUpper(events[0].PubKey.String())},
		{"problem_limit.json", "/api/v1/relays?limit=1001"},
		{"problem_enum.json", "/api/v1/relays?state=sleepy"},
		{"problem_unknown.json", "/api/v1/events?kind=1"},
		{"problem_twice.json", "/api/v1/events?kinds=1&kinds=2"},
		{"problem_cursor.json", "/api/v1/events?after=here"},
		{"problem_search.json", "/api/v1/events?search=nostr"},
		{"problem_absent.json", "/api/v1/nothing"},
		{"problem_event.json", "/api/v1/events/" + events[1].ID.String()[:63]},
		{"problem_private.json", "/api/v1/events/" + private.ID.String()},
		{"problem_private.json", "/api/v1/events/" + private.ID.String() + "/relays"},
	} {
		w := ask(t, h, http.MethodGet, test.target)
		golden(t, test.golden, indent(t, w))
		want := "application/json"
		if strings.HasPrefix(test.golden, "problem") {
			want = "application/problem+json"
		}
		if have := w.Header().Get("Content-Type"); have != want {
			t.Errorf("%s is %s, want %s", test.target, have, want)
		}
	}
}

// TestEventFilter checks that parameters mean what NIP-01 says of the filter.
func TestEventFilter(t *testing.T) {
	db := newStore(t)
	events := fill(t, db)
	h := newAPI(db).Handler()
	for _, test := range []struct {
		query string
		want  []int // of events, newest first
	}{
		{"", []int{4, 3, 2, 1, 0}},
		{"ids=" + events[0].ID.String() + "," + events[2].ID.String(), []int{2, 0}},
		{"authors=" + events[4].PubKey.String(), []int{4}},
		{"kinds=0,7", []int{3, 2}},
		{"kinds=99999999999", nil},
		{"tag=t:one", []int{0}},
		{"tag=t:one&tag=t:two", []int{1, 0}},
		{"tag=t:two&tag=e:x,y", []int{1}},
		{"tag=t:one&tag=e:x,y", nil},
		{"tag=t:", nil},
		{"since=1700000003", []int{4, 3}},
		{"until=1700000000", []int{0}},
		{"until=0", nil},
		{"since=0", []int{4, 3, 2, 1, 0}},
		{"since=1700000001&until=1700000002", []int{2, 1}},
		{"until=9223372036854775807", []int{4, 3, 2, 1, 0}},
	} {
		w := ask(t, h, http.MethodGet, "/api/v1/events?"+test.query)
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", test.query, w.Code, w.Body)
			continue
		}
		var page struct{ Events []json.RawMessage }
		must(t, json.Unmarshal(w.Body.Bytes(), &page))
		var have, want []nostr.Event
		for _, text := range page.Events {
			e, err := nostr.ParseEvent(text)
			must(t, err)
			have = append(have, e)
		}
		for _, i := range test.want {
			want = append(want, events[i])
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", test.query, diff)
		}
	}
}

// TestEventPages follows next to the end.
func TestEventPages(t *testing.T) {
	db := newStore(t)
	events := fill(t, db)
	h := newAPI(db).Handler()
	var ids []string
	after := ""
	for range len(events) + 1 {
		w := ask(t, h, http.MethodGet, "/api/v1/events?limit=2&after="+url.QueryEscape(after))
		var page struct {
			Events []struct{ ID string }
			Next   string
		}
		must(t, json.Unmarshal(w.Body.Bytes(), &page))
		for _, e := range page.Events {
			ids = append(ids, e.ID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	var want []string
	for _, e := range slices.Backward(events) {
		want = append(want, e.ID.String())
	}
	if !slices.Equal(ids, want) {
		t.Errorf("pages hold %v, want %v", ids, want)
	}
}

// TestRefused checks that what cannot be asked is a problem that says why, and
// never an answer to something else.
func TestRefused(t *testing.T) {
	h := newAPI(newStore(t)).Handler()
	id := strings.Repeat("ab", 32)
	for _, test := range []struct{ target, want string }{
		{"/api/v1/events?ids=zz", "query.ids[0]"},
		{"/api/v1/events?ids=" + id + "," + id[1:], "query.ids[1]"},
		{"/api/v1/events?ids=" + id + ",", "query.ids[1]"},
		{"/api/v1/events?ids=" + strings.Repeat(id+",", 500) + id, "query.ids"},
		{"/api/v1/events?authors=npub1xyz", "query.authors[0]"},
		{"/api/v1/events?kinds=one", "query.kinds"},
		{"/api/v1/events?kinds=1,", "query.kinds"},
		{"/api/v1/events?kinds=" + strings.Repeat("1,", 500) + "1", "query.kinds"},
		{"/api/v1/events?kinds=9223372036854775808", "query.kinds"},
		{"/api/v1/events?tag=one", "query.tag[0]"},
		{"/api/v1/events?tag=ab:c", "query.tag[0]"},
		{"/api/v1/events?tag=1:c", "query.tag[0]"},
		{"/api/v1/events?tag=%23e:c", "query.tag[0]"},
		{"/api/v1/events?" + strings.Repeat("tag=t:x&", 101), "query.tag"},
		{"/api/v1/events?since=-1", "query.since"},
		{"/api/v1/events?since=yesterday", "query.since"},
		{"/api/v1/events?until=1.5", "query.until"},
		{"/api/v1/events?until=1&until=2", "query.until"},
		{"/api/v1/events?after=1700000000", "query.after"},
		{"/api/v1/events?after=" + strings.Repeat("1", 201), "query.after"},
		{"/api/v1/events?limit=0", "query.limit"},
		{"/api/v1/events?limit=1001", "query.limit"},
		{"/api/v1/events?limit=many", "query.limit"},
		{"/api/v1/events?search=x", "query.search"},
		{"/api/v1/events?ids=%zz", "invalid URL escape"},
		{"/api/v1/events?kinds=1;limit=2", "semicolon"},
		{"/api/v1/relays?network=darknet", "query.network"},
		{"/api/v1/relays?state=", ""},
		{"/api/v1/relays?after=nonsense", "query.after"},
		{"/api/v1/relays?after=" + strings.Repeat("w", 513), "query.after"},
		{"/api/v1/relays?limit=-1", "query.limit"},
		{"/api/v1/relays?limit=1&limit=2", "query.limit"},
		{"/api/v1/stats?at=1", "query.at"},
		{"/api/v1/relays?sort=id", "query.sort"},
		{"/api/v1/relays?sort=distance", "query.sort"},
		{"/api/v1/relays?near=91,0", "query.near"},
		{"/api/v1/relays?near=nan,0", "query.near"},
		{"/api/v1/relays?within=5", "query.within"},
		{"/api/v1/relays?country=DEU", "query.country"},
		{"/api/v1/relays?asn=-1", "query.asn"},
		{"/api/v1/relays?asn=99999999999999999999", "query.asn"},
		{"/api/v1/relays?uptime=1.1", "query.uptime"},
		{"/api/v1/relays?uptime=NaN", "query.uptime"},
		{"/api/v1/relays?nips=1,two", "query.nips"},
		{"/api/v1/relays?auth=maybe", "query.auth"},
		{"/api/v1/relays?sort=url,url,url,url,url", "query.sort"},
		{"/api/v1/relays?sort=uptime&after=wss://a.nostr.org", "query.after"},
		{"/api/v1/overlap", "query.urls"},
		{"/api/v1/overlap?urls=a,b,c,d,e", "query.urls"},
		{"/api/v1/pubkeys/" + id + "/relays?at=-1", "query.at"},
		{"/api/v1/pubkeys/" + id[1:] + "/relays", "path.pubkey"},
		{"/api/v1/completeness?limit=0", "query.limit"},
		{"/api/v1/relays/a.nostr.org/coverage?limit=1001", "query.limit"},
		{"/api/v1/relays/a.nostr.org/holes?limit=0", "query.limit"},
		{"/api/v1/completeness?after=x", "query.after"},
		{"/api/v1/stats/daily?until=99999999999999", "query.until"},
		{"/api/v1/stats/kinds?limit=0", "query.limit"},
		{"/api/v1/export?format=xlsx", "query.format"},
		{"/api/v1/export?after=1", "query.after"},
		{"/api/v1/export?limit=-5", "query.limit"},
		{"/api/v1/stream?after=1", "query.after"},
		{"/api/v1/stream?what=nothing", "query.what"},
	} {
		w := ask(t, h, http.MethodGet, test.target)
		short := test.target[:min(len(test.target), 80)]
		if test.want == "" { // an empty parameter is as good as none
			if w.Code != http.StatusOK {
				t.Errorf("%s: status %d", short, w.Code)
			}
			continue
		}
		if have := w.Header().Get("Content-Type"); w.Code != http.StatusUnprocessableEntity || have != "application/problem+json" {
			t.Errorf("%s: status %d, %s", short, w.Code, have)
		}
		var problem struct {
			Title, Detail string
			Status        int
			Errors        []struct{ Location, Message string }
		}
		must(t, json.Unmarshal(w.Body.Bytes(), &problem))
		if problem.Status != w.Code || problem.Title == "" || problem.Detail == "" {
			t.Errorf("%s: %+v lacks something", short, problem)
		}
		if !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: the problem does not name %s: %s", short, test.want, w.Body)
		}
	}
}

// TestTroubles checks what a client learns when the store fails.
func TestTroubles(t *testing.T) {
	db := newStore(t)
	h := newAPI(db).Handler()
	must(t, db.Close())
	for _, target := range []string{"/api/v1/stats", "/api/v1/relays", "/api/v1/events", "/"} {
		w := ask(t, h, http.MethodGet, target)
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "cannot answer now") {
			t.Errorf("%s on a closed store: status %d: %s", target, w.Code, w.Body)
		}
	}
}

// TestOpenAPI checks the document as a whole: every route and parameter says what
// it is. That the document is valid, and the answers are as it says, is tested
// with the routes.
func TestOpenAPI(t *testing.T) {
	h := newAPI(newStore(t)).Handler()
	w := ask(t, h, http.MethodGet, "/api/openapi.json")
	if have := w.Header().Get("Content-Type"); w.Code != http.StatusOK || have != "application/openapi+json" {
		t.Fatalf("status %d, %s", w.Code, have)
	}
	golden(t, "openapi.json", indent(t, w))
	var document map[string]any
	must(t, json.Unmarshal(w.Body.Bytes(), &document))
	if document["openapi"] != "3.1.0" {
		t.Errorf("openapi is %v", document["openapi"])
	}
	for path, operations := range document["paths"].(map[string]any) {
		operation := operations.(map[string]any)["get"].(map[string]any)
		list, _ := operation["parameters"].([]any)
		for _, p := range list {
			p := p.(map[string]any)
			if p["in"] != "header" && (p["description"] == nil || p["schema"].(map[string]any)["type"] == nil) {
				t.Errorf("%s: parameter is not described: %v", path, p)
			}
		}
		if operation["summary"] == nil || operation["description"] == nil || operation["operationId"] == nil || operation["tags"] == nil {
			t.Errorf("%s is not described", path)
		}
	}
}

// TestExampleEvent checks that the event in the document is a good one.
func TestExampleEvent(t *testing.T) {
	var document struct {
		Components struct {
			Schemas struct {
				EventPage struct {
					Properties struct {
						Events struct {
							Items struct{ Examples []json.RawMessage }
						}
					}
				}
			}
		}
	}
	w := ask(t, newAPI(newStore(t)).Handler(), http.MethodGet, "/api/openapi.json")
	must(t, json.Unmarshal(w.Body.Bytes(), &document))
	examples := document.Components.Schemas.EventPage.Properties.Events.Items.Examples
	if len(examples) != 1 {
		t.Fatalf("%d examples", len(examples))
	}
	e, err := nostr.ParseEvent(examples[0])
	must(t, err)
	must(t, e.CheckID())
	must(t, e.Verify())
}

// TestOpenAPITogether asks for the document from many sides at once, for the
// race detector.
func TestOpenAPITogether(t *testing.T) {
	h := newAPI(newStore(t)).Handler()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if w := ask(t, h, http.MethodGet, "/api/openapi.json"); w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	wg.Wait()
}

// TestIndex asks an index for events, of which only kind 0 is whole.
func TestIndex(t *testing.T) {
	db := newStoreOf(t, store.Keep{Mode: store.KeepIndex, FullKinds: []nostr.Kind{0}})
	fill(t, db)
	h := newAPI(db).Handler()
	w := ask(t, h, http.MethodGet, "/api/v1/events")
	golden(t, "events_index.json", indent(t, w))
	for target, want := range map[string]int{"tag=t:one": 1, "tag=t:one&tag=t:two": 2, "tag=t:one&tag=e:x": 0, "kinds=1,7": 4, "tag=title:one": -1} {
		w := ask(t, h, http.MethodGet, "/api/v1/events?"+target)
		if want < 0 {
			if w.Code != http.StatusUnprocessableEntity {
				t.Errorf("%s: status %d", target, w.Code)
			}
			continue
		}
		var page struct{ Events []map[string]any }
		must(t, json.Unmarshal(w.Body.Bytes(), &page))
		if len(page.Events) != want {
			t.Errorf("%s: %d events, want %d", target, len(page.Events), want)
		}
		for _, e := range page.Events {
			if e["index_only"] != true || e["content"] != nil || e["tags"] != nil || e["sig"] != nil || len(e) != 5 {
				t.Errorf("%s: %v", target, e)
			}
		}
	}
}

// TestRelayPages follows next with a filter.
func TestRelayPages(t *testing.T) {
	db := newStore(t)
	var urls []relay.URL
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		urls = append(urls, parse(t, "wss://"+name+".nostr.org"), parse(t, "wss://"+name+".nostr.org/inbox?x=1&y=2"))
	}
	relays, err := db.AddRelays(t.Context(), urls, base)
	must(t, err)
	for _, r := range relays[:8] {
		must(t, db.SaveOutcomes(t.Context(), []store.Outcome{{Relay: r.ID, At: base, State: store.StateUp, LastUp: base}}))
	}
	h := newAPI(db).Handler()
	var have []string
	after := ""
	for range 10 {
		w := ask(t, h, http.MethodGet, "/api/v1/relays?state=up&limit=3&after="+url.QueryEscape(after))
		var page struct {
			Relays []struct{ URL string }
			Next   string
		}
		must(t, json.Unmarshal(w.Body.Bytes(), &page))
		for _, r := range page.Relays {
			have = append(have, r.URL)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	var want []string
	for _, u := range urls[:8] {
		want = append(want, u.String())
	}
	if slices.Sort(want); !slices.Equal(have, want) {
		t.Errorf("pages hold %v, want %v", have, want)
	}
}

// TestCoveragePages follows next through the claims and the holes of a relay.
func TestCoveragePages(t *testing.T) {
	db := newStore(t)
	relays, err := db.AddRelays(t.Context(), []relay.URL{parse(t, "wss://a.nostr.org")}, base)
	must(t, err)
	filter, err := db.FilterID(t.Context(), nostr.Filter{})
	must(t, err)
	b := store.Batch{Relay: relays[0].ID, SeenAt: base, Filter: filter}
	const n = 250
	for i := range int64(n) {
		iv := store.Interval{Lo: i * 100, Hi: i*100 + 9}
		b.Claims = append(b.Claims, store.Coverage{Relay: b.Relay, Filter: filter, Interval: iv, Level: store.LevelWalked, AsOf: base, Method: "walk"})
		b.Holes = append(b.Holes, store.Hole{Relay: b.Relay, Filter: filter, Interval: iv, Kind: -1, Reason: store.HoleOverflow})
	}
	_, err = db.SaveBatch(t.Context(), b)
	must(t, err)
	h := newAPI(db).Handler()
	for route, list := range map[string]string{"coverage": "claims", "holes": "holes"} {
		target := "/api/v1/relays/a.nostr.org/" + route
		var have, pages []int64
		for after := ""; ; {
			w := ask(t, h, http.MethodGet, target+"?after="+url.QueryEscape(after))
			var page map[string]json.RawMessage
			must(t, json.Unmarshal(w.Body.Bytes(), &page))
			var rows []struct{ Lo int64 }
			must(t, json.Unmarshal(page[list], &rows))
			for _, row := range rows {
				have = append(have, row.Lo/100)
			}
			pages = append(pages, int64(len(rows)))
			if page["next"] == nil {
				break
			}
			must(t, json.Unmarshal(page["next"], &after))
		}
		if len(have) != n || !slices.IsSorted(have) || !slices.Equal(pages, []int64{100, 100, 50}) {
			t.Errorf("%s: %d rows in pages of %d", target, len(have), pages)
		}
		if w := ask(t, h, http.MethodGet, target+"?after=here"); w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "query.after") {
			t.Errorf("%s after nonsense: status %d: %s", target, w.Code, w.Body)
		}
	}
	// The page of the relay has some of them, and says of how many.
	if w := ask(t, h, http.MethodGet, "/relay/a.nostr.org"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "230 more are in the API") {
		t.Errorf("the page: status %d", w.Code)
	}
}

package api_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/telemetry"
	"bigbrotr/internal/services/api"
)

// TestRoutes asks every route by several methods.
func TestRoutes(t *testing.T) {
	db := newStore(t)
	events := fill(t, db)
	h := newAPI(db).Handler()
	const page, text = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	for _, test := range []struct {
		target      string
		status      int
		contentType string
	}{
		{"/", 200, page},
		{"/overview.json", 200, "application/json"},
		{"/relays?state=up&network=tor&after=wss://a.nostr.org", 200, page},
		{"/relays?after=nonsense", 422, page},
		{"/relays.json?state=up", 200, "application/json"},
		{"/relays.json?after=nonsense", 422, "application/json"},
		{"/relays.csv?state=up", 200, "text/csv; charset=utf-8"},
		{"/completeness", 200, page},
		{"/completeness.json", 200, "application/json"},
		{"/completeness.csv", 200, "text/csv; charset=utf-8"},
		{"/system", 200, page},
		{"/system.json", 200, "application/json"},
		{"/system.csv", 404, page},
		{"/about", 200, page},
		{"/map", 200, page},
		{"/compare", 200, page},
		{"/compare?r=a.nostr.org&r=b.nostr.org/path", 200, page},
		{"/compare.json?r=a.nostr.org&r=b.nostr.org/path", 200, "application/json"},
		{"/compare?r=a.nostr.org&r=unknown.nostr.org", 404, page},
		{"/compare?r=a&r=b&r=c&r=d&r=e", 422, page},
		{"/author/" + events[0].PubKey.String(), 200, page},
		{"/author/" + events[0].PubKey.String() + ".json?at=2024-02-29", 200, "application/json"},
		{"/author/" + events[0].PubKey.String() + "?at=tomorrow", 422, page},
		{"/author/nonsense", 404, page},
		{"/relay/unknown.nostr.org", 404, page},
		{"/map.json", 200, "application/json"},
		{"/map.csv", 200, "text/csv; charset=utf-8"},
		{"/relays?sort=nonsense", 422, page},
		{"/relays?uptime=nonsense", 422, page},
		{"/relays.json?p95=-1", 422, "application/json"},
		{"/relay/a.nostr.org", 200, page},
		{"/relay/a.nostr.org.json", 200, "application/json"},
		{"/relay/ws:%2F%2Fduckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion", 200, page},
		{"/relay/b.nostr.org%2Fpath", 200, page},
		{"/relay/", 404, page},
		{"/event/" + events[0].ID.String(), 200, page},
		{"/event/" + events[0].ID.String() + ".json", 200, "application/json"},
		{"/event/" + strings.Repeat("0", 64), 404, page},
		{"/event/" + strings.Repeat("0", 64) + ".json", 404, "application/json"},
		{"/event/nonsense", 404, page},
		{"/favicon.ico", 200, "image/svg+xml"},
		{"/assets/script.js", 200, "text/javascript; charset=utf-8"},
		{"/assets/", 404, page},
		{"/assets/style.css", 200, "text/css; charset=utf-8"},
		{"/assets/../api.go", 404, page},
		{"/api", 404, "application/problem+json"},
		{"/api/", 404, "application/problem+json"},
		{"/api/v1/relays/", 404, "application/problem+json"},
		{"/api/docs", 404, "application/problem+json"},
		{"/api/schemas/Stats.json", 404, "application/problem+json"},
		{"/api/openapi.json", 200, "application/openapi+json"},
		{"/api/v1/stats", 200, "application/json"},
		{"/api/v1/relays", 200, "application/json"},
		{"/api/v1/events", 200, "application/json"},
		{"/healthz", 200, text},
		{"/readyz", 200, text},
		{"/metrics", 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"},
	} {
		w := ask(t, h, http.MethodGet, test.target)
		if w.Code == http.StatusTemporaryRedirect || w.Code == http.StatusMovedPermanently { // the address was cleaned
			w = ask(t, h, http.MethodGet, w.Header().Get("Location"))
		}
		if have := w.Header().Get("Content-Type"); w.Code != test.status || have != test.contentType {
			t.Errorf("GET %s: status %d, %q, want %d, %q", test.target, w.Code, have, test.status, test.contentType)
		}
		for header, want := range map[string]string{
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
		} {
			if have := w.Header().Get(header); have != want {
				t.Errorf("GET %s: %s is %q", test.target, header, have)
			}
		}
		if have := w.Header().Get("Cache-Control"); have != "no-store" && have != "no-cache" {
			t.Errorf("GET %s: Cache-Control is %q", test.target, have)
		}
		if test.status != http.StatusOK {
			continue
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			w := ask(t, h, method, test.target)
			if allow := w.Header().Get("Allow"); w.Code != http.StatusMethodNotAllowed || allow != "GET, HEAD" {
				t.Errorf("%s %s: status %d, Allow %q", method, test.target, w.Code, allow)
			}
		}
	}
}

// TestHead asks a real server, which is what leaves the body out.
func TestHead(t *testing.T) {
	db := newStore(t)
	fill(t, db)
	server := httptest.NewServer(newAPI(db).Handler())
	defer server.Close()
	for _, path := range []string{"/", "/api/v1/stats", "/api/v1/relays", "/api/v1/events", "/api/openapi.json", "/assets/style.css", "/healthz"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+path, nil)
		must(t, err)
		resp, err := server.Client().Do(r)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") == "" {
			t.Errorf("HEAD %s: status %d, %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
	}
}

// TestRevalidation checks that what does not change is not sent twice.
func TestRevalidation(t *testing.T) {
	h := newAPI(newStore(t)).Handler()
	for _, target := range []string{"/assets/style.css", "/api/openapi.json"} {
		tag := ask(t, h, http.MethodGet, target).Header().Get("ETag")
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if tag == "" || w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%s again, tag %s: status %d, %d bytes", target, tag, w.Code, w.Body.Len())
		}
	}
}

// TestEmpty looks at the pages of a store in which nothing is: they say so, and
// what comes next.
func TestEmpty(t *testing.T) {
	h := newAPI(newStore(t)).Handler()
	for target, want := range map[string][]string{
		"/":             {"The archive begins", "The seeds are being read.", "Nothing is covered yet", "No relay has answered yet", "No events are counted yet", "v0-test", `<b data-live="candidates">0</b>`, "no relay is covered yet"},
		"/relays":       {"Nothing is known yet"},
		"/completeness": {"Nothing is covered yet", "Nothing is known yet"},
		"/system":       {"<b>Ready.</b>", "No service has ended a cycle in this process yet"},
	} {
		page := ask(t, h, http.MethodGet, target).Body.String()
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("%s does not say %q", target, text)
			}
		}
		wellFormed(t, page)
	}
}

var (
	tags  = regexp.MustCompile(`<(/?)([a-z0-9]+)([^<>]*)>`)
	empty = []string{"meta", "link", "br", "input"}
)

// wellFormed checks that the tags of a page are in pairs.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	var open []string
	for _, m := range tags.FindAllStringSubmatch(page, -1) {
		switch closing, name := m[1] != "", m[2]; {
		case slices.Contains(empty, name) && !closing, strings.HasSuffix(m[3], "/"):
		case closing && slices.Contains(empty, name):
		case !closing:
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			t.Fatalf("</%s> closes %v", name, open)
		default:
			open = open[:len(open)-1]
		}
	}
	// The parts of the page that HTML lets end by themselves are not used.
	if len(open) > 0 {
		t.Errorf("not closed: %v", open)
	}
}

// TestPages looks for the facts of a filled store on the pages.
func TestPages(t *testing.T) {
	db := newStore(t)
	events := fill(t, db)
	h := newAPI(db).Handler()
	for target, want := range map[string][]string{
		"/": {
			`<span data-live="up">1</span> <small>of <span data-live="relays">3</span> relays</small>`, "1 walked",
			`href="/relays?network=tor"`, "<td>note</td>",
		},
		"/relays": {
			`href="/relay/a.nostr.org"`, `href="/relay/b.nostr.org%2Fpath"`, "tcp_refused", "<bdi>Relay A</bdi>", "34\u00a0ms", "<caption>3 relays</caption>", `<a href="?sort=-uptime">Uptime</a>`,
		},
		"/relay/a.nostr.org": {
			"<bdi>Relay A</bdi>", "2023-11-14",
			"1.2 KiB and 2.4 requests per new event; 80.0\u00a0% duplicates skipped; 5.9 KiB in 12 requests since 2023-11-14",
		},
		"/relay/b.nostr.org%2Fpath":     {"<dd>no new events yet; 90 B in 3 requests since 2023-11-14"},
		"/relays?sort=-uptime&state=up": {`aria-sort="descending"`, `<a href="?sort=uptime&amp;state=up">Uptime</a>`, `name="sort" value="-uptime"`},
		"/relays?uptime=99&nip=77":      {"No relay fits these filters", "<details open>"},
		"/map":                          {"No country is known yet"},
		"/relays?network=i2p":           {"No relay fits these filters"},
		"/relays?state=up":              {"<caption>1 relay</caption>", "<option selected>up</option>"},
		"/completeness":                 {`<dd>1 <small>of 3; <a href="?covered=no">2 not yet</a></small></dd>`, "100\u00a0s", `<path class="level1"`, "<dd>1.2 KiB <small>and 3.0 requests per new event, 80.0\u00a0% duplicates skipped</small></dd>"},
		"/event/" + id(events):          {"first seen", "note1", "reaction", "delivered", `href="/relay/a.nostr.org"`, "<bdi>&#43;</bdi>"},
	} {
		page := ask(t, h, http.MethodGet, target).Body.String()
		for _, text := range want {
			if !strings.Contains(strings.ToLower(page), strings.ToLower(text)) {
				t.Errorf("%s lacks %q", target, text)
			}
		}
		if strings.Contains(page, "Nothing is known yet") || strings.Contains(page, "ZgotmplZ") {
			t.Errorf("%s says what is not so", target)
		}
		wellFormed(t, page)
	}
}

// id is that of the reaction among the events of fill.
func id(events []nostr.Event) string { return events[2].ID.String() }

// TestForms checks that the other forms of a page say the same.
func TestForms(t *testing.T) {
	db := newStore(t)
	fill(t, db)
	h := newAPI(db).Handler()
	table, err := csv.NewReader(ask(t, h, http.MethodGet, "/relays.csv?state=up").Body).ReadAll()
	must(t, err)
	if len(table) != 2 || table[0][0] != "url" || table[1][0] != "wss://a.nostr.org" || table[1][slices.Index(table[0], "open_ms")] != "12.5" {
		t.Errorf("CSV: %q", table)
	}
	var list struct {
		Relays []struct{ URL string }
	}
	must(t, json.Unmarshal(ask(t, h, http.MethodGet, "/relays.json?state=up").Body.Bytes(), &list))
	if len(list.Relays) != 1 || list.Relays[0].URL != "wss://a.nostr.org" {
		t.Errorf("JSON: %+v", list)
	}
	page := ask(t, h, http.MethodGet, "/relays?state=up").Body.String()
	for _, link := range []string{"/relays.json?state=up", "/relays.csv?state=up"} {
		if !strings.Contains(page, `href="`+link+`"`) {
			t.Errorf("the page does not link to %s", link)
		}
	}
}

// TestTidy checks that what a visitor did not fill in is not in the address that
// is shared.
func TestTidy(t *testing.T) {
	w := ask(t, newAPI(newStore(t)).Handler(), http.MethodGet, "/relays?text=&state=up&network=&nip=50%2C+77&after=")
	if have := w.Header().Get("Location"); w.Code != http.StatusSeeOther || have != "/relays?nip=50%2C+77&state=up" {
		t.Errorf("status %d, to %q", w.Code, have)
	}
}

// TestRelayLinks follows the links of a relay's page into REST.
func TestRelayLinks(t *testing.T) {
	db := newStore(t)
	fill(t, db)
	h := newAPI(db).Handler()
	page := ask(t, h, http.MethodGet, "/relay/b.nostr.org%2Fpath").Body.String()
	for file, contentType := range map[string]string{"feed.atom": "application/atom+xml", "badge.svg": "image/svg+xml"} {
		link := regexp.MustCompile(`<a href="(/api/v1/relays/[^"]+/` + regexp.QuoteMeta(file) + `)">`).FindStringSubmatch(page)
		if link == nil {
			t.Errorf("the page has no link to its %s", file)
			continue
		}
		w := ask(t, h, http.MethodGet, html.UnescapeString(link[1]))
		if have := w.Header().Get("Content-Type"); w.Code != http.StatusOK || !strings.HasPrefix(have, contentType) {
			t.Errorf("%s: status %d, %q", link[1], w.Code, have)
		}
	}
}

// TestFind looks for things by what people have of them.
func TestFind(t *testing.T) {
	db := newStore(t)
	events := fill(t, db)
	h := newAPI(db).Handler()
	e := events[0]
	for q, want := range map[string]string{
		e.ID.String():                     "/event/" + e.ID.String(),
		e.PubKey.String():                 "/author/" + e.PubKey.String(),
		nip19.EncodeID(e.ID):              "/event/" + e.ID.String(),
		"nostr:" + nip19.EncodeID(e.ID):   "/event/" + e.ID.String(),
		nip19.EncodePubKey(e.PubKey):      "/author/" + e.PubKey.String(),
		" wss://b.nostr.org/path ":        "/relay/b.nostr.org%2Fpath",
		"a.nostr.org":                     "/relay/a.nostr.org",
		"":                                "/relays",
		"some words":                      "/relays?text=some+words",
		"javascript:alert(1)":             "/relays?text=javascript%3Aalert%281%29",
		"//elsewhere.example.com":         "/relays?text=%2F%2Felsewhere.example.com",
		"https://elsewhere.example.com/x": "/relays?text=https%3A%2F%2Felsewhere.example.com%2Fx",
	} {
		w := ask(t, h, http.MethodGet, "/find?"+url.Values{"q": {q}}.Encode())
		if have := w.Header().Get("Location"); w.Code != http.StatusSeeOther || have != want {
			t.Errorf("%q leads to %q (status %d), want %q", q, have, w.Code, want)
		}
	}
}

// post sends a form as a browser does that was led here from a site.
func post(t testing.TB, h http.Handler, target, site string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", site)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestTheme chooses the colours without a script, and checks that nobody is led
// elsewhere by that.
func TestTheme(t *testing.T) {
	h := newAPI(newStore(t)).Handler()
	for to, want := range map[string]string{
		"/relays?state=up": "/relays?state=up", "//evil.example.com": "/", "https://evil.example.com/": "/", `/\evil.example.com`: "/",
		"javascript:alert(1)": "/", "": "/", "/\n": "/", "/" + strings.Repeat("x", 3000): "/",
	} {
		w := post(t, h, "/theme", "same-origin", url.Values{"theme": {"dark"}, "back": {to}})
		if have := w.Header().Get("Location"); w.Code != http.StatusSeeOther || have != want {
			t.Errorf("back to %q: status %d, %q, want %q", to, w.Code, have, want)
		}
		if have := w.Header().Get("Set-Cookie"); !strings.HasPrefix(have, "theme=dark; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax") {
			t.Errorf("cookie %q", have)
		}
	}
	if w := post(t, h, "/theme", "cross-site", url.Values{"theme": {"dark"}}); w.Code != http.StatusForbidden {
		t.Errorf("from another site: status %d", w.Code)
	}
	for value, want := range map[string]string{"dark": `<html lang="en" data-theme="dark">`, "light": `<html lang="en" data-theme="light">`, "blue": `<html lang="en">`} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: "theme", Value: value})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("with the cookie %q the page does not begin with %q", value, want)
		}
	}
}

// TestRecheck asks for checks as a visitor: one is queued, a second has to wait,
// and other sites cannot ask.
func TestRecheck(t *testing.T) {
	db := newStore(t)
	fill(t, db)
	process := api.Process{
		Ready: func(context.Context) error { return nil }, Metrics: http.NotFoundHandler(), Recheck: db.Recheck, Version: "v0-test",
	}
	h := api.New(api.DefaultConfig(), db, process, slog.New(slog.DiscardHandler)).Handler()
	due := func(url string) int64 {
		rows, err := db.RelaySummaries(t.Context(), store.RelayQuery{Limit: 10})
		must(t, err)
		for _, row := range rows {
			if row.URL.String() == url {
				return row.CheckDue
			}
		}
		return 0
	}
	r, err := db.Relay(t.Context(), parse(t, "wss://a.nostr.org"))
	must(t, err)
	later := time.Now().Unix() + 3000
	must(t, db.SaveNext(t.Context(), []store.Next{{Relay: r.ID, Service: "monitor", DueAt: later}}))
	if w := post(t, h, "/relay/a.nostr.org/recheck", "cross-site", nil); w.Code != http.StatusForbidden || due("wss://a.nostr.org") != later {
		t.Errorf("from another site: status %d, due %d", w.Code, due("wss://a.nostr.org"))
	}
	w := post(t, h, "/relay/a.nostr.org/recheck", "same-origin", nil)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/relay/a.nostr.org?queued=1" || due("wss://a.nostr.org") > time.Now().Unix() {
		t.Errorf("status %d, to %q, due %d", w.Code, w.Header().Get("Location"), due("wss://a.nostr.org"))
	}
	for target, want := range map[string]int{
		"/relay/a.nostr.org/recheck":       http.StatusTooManyRequests,
		"/relay/unknown.nostr.org/recheck": http.StatusNotFound,
		"/relay/%20/recheck":               http.StatusNotFound,
	} {
		if w := post(t, h, target, "same-origin", nil); w.Code != want {
			t.Errorf("%s: status %d, want %d", target, w.Code, want)
		}
	}
	most := 0
	for i := range 50 {
		if w := post(t, h, fmt.Sprintf("/relay/r%d.nostr.org/recheck", i), "same-origin", nil); w.Code != http.StatusTooManyRequests {
			most++
		}
	}
	if most > 12 {
		t.Errorf("%d checks at once", most)
	}
	if w := post(t, newAPI(db).Handler(), "/relay/a.nostr.org/recheck", "same-origin", nil); w.Code != http.StatusForbidden {
		t.Errorf("where nothing can be written: status %d", w.Code)
	}
}

// TestLive follows the figures of a page until the api stops, which does not
// wait for it.
func TestLive(t *testing.T) {
	r := run(t, time.Minute)
	close(r.store.give)
	resp, err := http.Get("http://" + r.addr + "/live")
	must(t, err)
	defer resp.Body.Close()
	if have := resp.Header.Get("Content-Type"); have != "text/event-stream" {
		t.Errorf("content type %q", have)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var figures map[string]string
			must(t, json.Unmarshal([]byte(data), &figures))
			if figures["relays"] != "0" || figures["store"] == "" {
				t.Errorf("figures are %v", figures)
			}
			r.stop()
		}
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// TestHostileNames checks that what relays call themselves is shown as text and
// does no harm to the page around it.
func TestHostileNames(t *testing.T) {
	for _, test := range []struct{ name, document, want string }{
		{"script", `{"name":"<script>alert(1)</script>"}`, "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>"},
		{"attribute", `{"name":"\" onload=\"x' y"}`, "<bdi>&#34; onload=&#34;x&#39; y</bdi>"},
		{"template", `{"name":"{{.Stats}}"}`, "<bdi>{{.Stats}}</bdi>"},
		{"long", `{"name":"` + strings.Repeat("x", 10_000) + `"}`, "<bdi>" + strings.Repeat("x", 80) + "…</bdi>"},
		{"turned", `{"name":"safe\u202egnp.exe\u2066\u200f"}`, "<bdi>safegnp.exe</bdi>"},
		{"control", `{"name":"a\u0000b\u0007\u001b[31mc"}`, "c</bdi>"},
		{"Arabic", `{"name":"مرحبا"}`, "<bdi>مرحبا</bdi>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := newStore(t)
			relays, err := db.AddRelays(t.Context(), []relay.URL{parse(t, "wss://a.nostr.org")}, base)
			must(t, err)
			must(t, db.SaveOutcomes(t.Context(), []store.Outcome{{
				Relay: relays[0].ID, At: base, State: store.StateUp, LastUp: base, Checks: []store.Check{document(test.document)},
			}}))
			h := newAPI(db).Handler()
			page := ask(t, h, http.MethodGet, "/relays").Body.String()
			if !strings.Contains(page, test.want) {
				row := page[max(strings.Index(page, `<th scope="row" class="name">`), 0):]
				t.Errorf("the row is %q, want %q in it", row[:min(len(row), 300)], test.want)
			}
			for _, r := range page {
				if r < ' ' && r != '\n' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
					t.Errorf("the page holds %U", r)
				}
			}
			if strings.Count(page, "<script") != 1 {
				t.Error("the page has a script besides ours")
			}
			w := ask(t, h, http.MethodGet, "/api/v1/relays")
			if w.Code != http.StatusOK || w.Body.Len() > 2000 {
				t.Errorf("REST: status %d, %d bytes", w.Code, w.Body.Len())
			}
		})
	}
}

// hostile are texts that want to be more than text.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`, `{{.Data}}`,
	"safe\u202egnp.exe\u2066\u200f", "a\x00b\x07\x1b[31mc", "\xff\xfe broken \xed\xa0\x80", `</title></svg><style>*{display:none}</style>`,
	`data:text/html,<script>alert(1)</script>`, `//evil.example.com`, `<!--`, `]]>`, strings.Repeat("<b>", 300_000),
}

// addresses finds where the tags of a page lead.
var addresses = regexp.MustCompile(`<[a-z]+ [^>]*?\b(?:src|href|action|data|poster|srcset|style|on[a-z]+)="([^"]*)"`)

// TestHostile fills everything that others write with texts that want to be more
// than text, and checks that on every page they are nothing else.
func TestHostile(t *testing.T) {
	db := newStore(t)
	ctx := t.Context()
	now := time.Now().Unix()
	evil := strings.Join(hostile[:len(hostile)-1], " ")
	long := hostile[len(hostile)-1]
	quote := func(v any) string {
		text, err := json.Marshal(v)
		must(t, err)
		return string(text)
	}
	info := func(version string) string {
		return quote(map[string]any{
			"name": evil, "description": evil + long, "software": evil, "version": version, "contact": hostile[3], "payments_url": hostile[3],
			"posting_policy": hostile[9], "icon": hostile[10], "supported_nips": []any{1, hostile[0], 77}, "limitation": map[string]any{hostile[1]: hostile[2], "max_limit": 500},
			"relay_countries": hostile,
		})
	}
	relays, err := db.AddRelays(ctx, []relay.URL{parse(t, "wss://a.nostr.org"), parse(t, "wss://b.nostr.org/"+url.PathEscape(`"><script>`))}, base)
	must(t, err)
	for i, r := range relays {
		for v := range int64(2) {
			at := now - 7200 + v*3600
			check := func(probe, document string) store.Check {
				return store.Check{At: at, Probe: probe, OK: true, Detail: evil, Document: &store.Document{Type: probe, Data: []byte(document)}}
			}
			must(t, db.SaveOutcomes(ctx, []store.Outcome{{
				Relay: r.ID, At: at, State: store.StateDown, Cause: "read_restricted", Failures: 3, LastUp: at - 60, Next: store.Next{Relay: r.ID, Service: "monitor", DueAt: at + 3600},
				Checks: []store.Check{
					{At: at, Probe: "read", Cause: "read_restricted", Detail: evil},
					check("nip11", info(hostile[v])),
					check("tls", quote(map[string]any{"issuer": evil, "names": hostile[:8], "problems": hostile[:3], "not_after": now + int64(i)*90*86400, "protocol": evil, "key": evil})),
					check("geo", quote(map[string]any{"country": hostile[0], "city": evil, "org": evil, "asn": 13335, "addr": hostile[1], "source": evil, "precision": evil})),
					check("nips", quote(map[string]any{"claims": []any{map[string]any{"name": evil, "claimed": evil, "measured": evil, "verdict": evil}}})),
				},
			}}))
		}
	}
	tag := func(values ...string) nostr.Tag { return values }
	note := event(1, 1, now-50, evil+long, tag(evil, evil, long), tag(), tag("r", hostile[3]), tag("t", hostile[0]))
	list := event(1, 10002, now-40, "", tag("r", hostile[3]), tag("r", "wss://a.nostr.org"), tag("r", evil, evil))
	report := event(2, 30166, now-30, evil, tag("d", "wss://a.nostr.org/"), tag("rtt-open", "120"), tag("N", hostile[0]))
	profile := event(2, 0, now-20, quote(map[string]string{"name": hostile[1] + hostile[5]}))
	_, err = db.SaveBatch(ctx, store.Batch{Relay: relays[0].ID, SeenAt: now, Events: []nostr.Event{note, list, report, profile}})
	must(t, err)
	_, err = db.Refresh(ctx, 1000)
	must(t, err)
	h := newAPI(db).Handler()
	second := "/relay/" + url.PathEscape(strings.TrimPrefix(relays[1].URL.String(), "wss://"))
	for _, target := range []string{
		"/", "/relays", "/completeness", "/map", "/system", "/relay/a.nostr.org", second, "/event/" + note.ID.String(), "/event/" + list.ID.String(),
		"/author/" + note.PubKey.String(), "/author/" + report.PubKey.String(), "/compare?r=a.nostr.org&" + url.Values{"r": {relays[1].URL.String()}}.Encode(),
		"/relays?" + url.Values{"text": {evil}, "country": {`">`}, "nip": {hostile[1]}, "software": {hostile[0]}}.Encode(),
		"/relay/" + url.PathEscape(hostile[0]), "/event/" + url.PathEscape(hostile[1]), "/compare?" + url.Values{"r": {hostile[1]}}.Encode(),
		"/" + url.PathEscape(hostile[0]), "/relays?" + url.Values{"uptime": {hostile[0]}, "sort": {hostile[1]}}.Encode(),
	} {
		w := ask(t, h, http.MethodGet, target)
		page := w.Body.String()
		if w.Code >= http.StatusInternalServerError || len(page) > maxPage {
			t.Errorf("%.60s: status %d, %d bytes", target, w.Code, len(page))
		}
		wellFormed(t, page)
		for _, r := range page {
			if r < ' ' && r != '\n' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200f {
				t.Errorf("%.60s holds %U", target, r)
				break
			}
		}
		if !utf8.ValidString(page) {
			t.Errorf("%.60s is not UTF-8", target)
		}
		if strings.Count(page, "<script") != 1 || strings.Count(page, "<style") != 0 || strings.Contains(page, "<img") || strings.Contains(page, "<b><b>") {
			t.Errorf("%.60s has tags that are not ours", target)
		}
		for _, m := range addresses.FindAllStringSubmatch(page, -1) {
			if !strings.HasPrefix(m[1], "/") && !strings.HasPrefix(m[1], "?") && !strings.HasPrefix(m[1], "#") || strings.HasPrefix(m[1], "//") {
				t.Errorf("%.60s leads to %q", target, m[1])
			}
		}
	}
}

var (
	rowURL = regexp.MustCompile(`<th scope="row" class="name"><a href="[^"]+">([^<]+)`)
	next   = regexp.MustCompile(`<a href="([^"]+)" rel="next">`)
)

// TestPaging follows the links from page to page, with and without a
// filter.
func TestPaging(t *testing.T) {
	db := newStore(t)
	many(t, db, 250, 0)
	h := newAPI(db).Handler()
	for _, test := range []struct {
		target string
		want   int
	}{{"/relays", 250}, {"/relays?state=up", 125}, {"/relays?network=clearnet&state=up", 125}, {"/relays?network=tor", 0}, {"/completeness", 250}} {
		seen := map[string]bool{}
		pages := 0
		for target := test.target; target != ""; pages++ {
			page := ask(t, h, http.MethodGet, target).Body.String()
			rows := rowURL.FindAllStringSubmatch(page, -1)
			if len(rows) > 50 || pages > 5 {
				t.Fatalf("page %d of %s has %d rows", pages, test.target, len(rows))
			}
			for _, row := range rows {
				seen[row[1]] = true
			}
			if pages > 0 && !strings.Contains(page, "First relays") {
				t.Errorf("page %d of %s has no way back", pages, test.target)
			}
			target = ""
			if link := next.FindStringSubmatch(page); link != nil {
				path, _, _ := strings.Cut(test.target, "?")
				target = path + html.UnescapeString(link[1])
			}
		}
		if len(seen) != test.want {
			t.Errorf("%s shows %d relays on %d pages, want %d", test.target, len(seen), pages, test.want)
		}
	}
}

// TestCompletenessOrder checks that relays of which nothing is covered do not
// stand before those that people want to see.
func TestCompletenessOrder(t *testing.T) {
	db := newStore(t)
	filter, err := db.FilterID(t.Context(), nostr.Filter{})
	must(t, err)
	urls := []relay.URL{parse(t, "wss://a-never.nostr.org"), parse(t, "wss://b-much.nostr.org"), parse(t, "wss://c-little.nostr.org"), parse(t, "wss://d-never.nostr.org")}
	list, err := db.AddRelays(t.Context(), urls, base)
	must(t, err)
	for i, length := range map[int]int64{1: 90_000_000, 2: 1_000_000} {
		_, err := db.SaveBatch(t.Context(), store.Batch{Relay: list[i].ID, SeenAt: base, Filter: filter, Claims: []store.Coverage{{
			Relay: list[i].ID, Filter: filter, Interval: store.Interval{Lo: base - length, Hi: base}, Level: store.Level(i), AsOf: base, Method: "walk",
		}}})
		must(t, err)
	}
	h := newAPI(db).Handler()
	for _, test := range []struct{ params, want string }{
		{"", "c b a d"},
		{"?sort=-coverage", "b c a d"},
		{"?sort=level", "b c a d"},
		{"?sort=-level", "c b a d"},
		{"?sort=url", "a b c d"},
		{"?covered=yes", "c b"},
		{"?covered=no", "a d"},
	} {
		var have []string
		for _, row := range rowURL.FindAllStringSubmatch(ask(t, h, http.MethodGet, "/completeness"+test.params).Body.String(), -1) {
			have = append(have, row[1][:1])
		}
		if got := strings.Join(have, " "); got != test.want {
			t.Errorf("%q shows %s, want %s", test.params, got, test.want)
		}
	}
}

// many fills a store with relays, every second one up, each with five stretches
// of coverage, and events of the last 90 days. The first relay has the events of
// a hundred others too.
func many(t testing.TB, db store.Store, relays, events int) {
	t.Helper()
	ctx := t.Context()
	now := time.Now().Unix()
	urls := make([]relay.URL, relays)
	for i := range urls {
		urls[i] = parse(t, fmt.Sprintf("wss://relay%05d.nostr.org", i))
	}
	list, err := db.AddRelays(ctx, urls, base)
	must(t, err)
	filter, err := db.FilterID(ctx, nostr.Filter{})
	must(t, err)
	perRelay := events / max(relays, 1)
	outcomes := make([]store.Outcome, len(list))
	eventsOf := func(i int) (of []nostr.Event) {
		for n := i * perRelay; n < (i+1)*perRelay; n++ {
			of = append(of, event(n%5000, nostr.Kind(n%40), now-int64(n)*7_776_000/int64(events), fmt.Sprint("note ", n)))
		}
		return of
	}
	fill := func(i int) error {
		r, state := list[i], store.StateUp
		if i%2 == 1 {
			state = store.StateDown
		}
		outcomes[i] = store.Outcome{Relay: r.ID, At: now, State: state, LastUp: now, Checks: []store.Check{
			document(fmt.Sprintf(`{"name":"Relay %d","software":"git+https://example.com/relay.git"}`, i)),
		}}
		b := store.Batch{Relay: r.ID, SeenAt: now, Filter: filter, Events: eventsOf(i)}
		for c := range int64(5) {
			lo := base - c*10_000_000
			b.Claims = append(b.Claims, store.Coverage{
				Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: lo, Hi: lo + 8_000_000}, Level: store.Level(1 + c%4), AsOf: now, Method: "walk",
			})
		}
		_, err := db.SaveBatch(ctx, b)
		return err
	}
	var next atomic.Int64
	var work errgroup.Group
	for range 4 {
		work.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(list); i = int(next.Add(1)) - 1 {
				if err := fill(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, work.Wait())
	for i := 1; i <= min(100, relays-1); i++ {
		_, err := db.SaveBatch(ctx, store.Batch{Relay: list[0].ID, SeenAt: now, Filter: filter, Events: eventsOf(i)})
		must(t, err)
	}
	for part := range slices.Chunk(outcomes, 1000) {
		must(t, db.SaveOutcomes(ctx, part))
	}
	for more := true; more; {
		done, err := db.Refresh(ctx, 20_000)
		must(t, err)
		more = done.More
	}
}

// BenchmarkPages measures pages of a store of more relays than the network has:
// what is promised is 100 ms to the first byte, which is when a page is complete.
// What is kept in memory is kept fresh, as in a process that runs.
func BenchmarkPages(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchPages(b, newStore(b), sized(1_000_000, 5000)) })
	b.Run("postgres", func(b *testing.B) { benchPages(b, newPostgres(b), sized(5_000_000, 5000)) })
}

func benchPages(b *testing.B, db store.Store, events int) {
	many(b, db, sized(20_000, 200), events)
	h := serve(b, db).Handler()
	first := event(0, 0, 0, "")
	targets := []string{
		"/relay/relay00000.nostr.org", "/relay/relay00007.nostr.org", "/compare?r=relay00000.nostr.org&r=relay00001.nostr.org", "/author/" + first.PubKey.String(), "/event/" + newest(b, h),
		"/api/v1/stats", "/api/v1/relays?limit=1000", "/api/v1/events?limit=100", "/overview.json", "/relays.json", "/relay/relay00000.nostr.org.json", "/completeness.json",
	}
	for _, target := range append(targets, largePages...) {
		b.Run(target, func(b *testing.B) {
			ask(b, h, http.MethodGet, target)
			size := 0
			var took []time.Duration
			for b.Loop() {
				begin := time.Now()
				w := ask(b, h, http.MethodGet, target)
				took = append(took, time.Since(begin))
				if w.Code != http.StatusOK {
					b.Fatalf("status %d: %s", w.Code, w.Body)
				}
				size = w.Body.Len()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1e3, "p95-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "max-ms")
			b.ReportMetric(float64(size), "B/page")
		})
	}
}

// newest is the id of the newest event that the archive serves.
func newest(t testing.TB, h http.Handler) string {
	t.Helper()
	var page struct{ Events []struct{ ID string } }
	must(t, json.Unmarshal(ask(t, h, http.MethodGet, "/api/v1/events?limit=1").Body.Bytes(), &page))
	return page.Events[0].ID
}

// largePages are those that grow with the archive.
var largePages = []string{"/", "/relays", "/relays?state=down&sort=-events&text=relay", "/completeness", "/system", "/map"}

// maxPage is the most bytes of a page.
const maxPage = 150 << 10

// TestLargePages shows pages of 20,000 relays, of which each has a long name and
// as much coverage as a bar shows; the benchmark says how fast.
func TestLargePages(t *testing.T) {
	db := newStore(t)
	count := 20_000
	if testing.Short() {
		count = 1000
	}
	urls := make([]relay.URL, count)
	for i := range urls {
		urls[i] = parse(t, fmt.Sprintf("wss://relay%05d.nostr.org/a/path/that/is/not/short", i))
	}
	list, err := db.AddRelays(t.Context(), urls, base)
	must(t, err)
	filter, err := db.FilterID(t.Context(), nostr.Filter{})
	must(t, err)
	for _, r := range list[:100] {
		b := store.Batch{Relay: r.ID, SeenAt: base, Filter: filter}
		for i := range int64(200) {
			lo := 1_610_000_000 + i*900_000
			b.Claims = append(b.Claims, store.Coverage{
				Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: lo, Hi: lo + 500_000}, Level: store.Level(1 + i%4), AsOf: base, Method: "walk",
			})
		}
		_, err := db.SaveBatch(t.Context(), b)
		must(t, err)
		must(t, db.SaveOutcomes(t.Context(), []store.Outcome{{
			Relay: r.ID, At: base, State: store.StateDown, Cause: "read_restricted", Checks: []store.Check{document(`{"name":"` + strings.Repeat("名", 500) + `"}`)},
		}}))
	}
	h := newAPI(db).Handler()
	for _, target := range largePages {
		w := ask(t, h, http.MethodGet, target)
		page := w.Body.String()
		t.Logf("%s: %d bytes", target, len(page))
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d", target, w.Code)
		}
		if len(page) > maxPage || strings.HasPrefix(target, "/relays") && len(rowURL.FindAllString(page, -1)) != 50 {
			t.Errorf("%s: %d bytes, %d rows", target, len(page), len(rowURL.FindAllString(page, -1)))
		}
	}
}

// TestHealth checks what probes of an orchestrator see.
func TestHealth(t *testing.T) {
	var trouble error
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "bigbrotr_test_value", Help: "For the test."}, func() float64 { return 42 }))
	h := api.New(api.DefaultConfig(), newStore(t), api.Process{
		Ready: func(context.Context) error { return trouble }, Metrics: telemetry.Handler(reg), Version: "v0-test",
	}, slog.New(slog.DiscardHandler)).Handler()
	if w := ask(t, h, http.MethodGet, "/readyz"); w.Code != http.StatusOK || w.Body.String() != "ready\n" {
		t.Errorf("ready: status %d, %q", w.Code, w.Body)
	}
	trouble = errors.New("finder has failed 3 times in a row")
	if w := ask(t, h, http.MethodGet, "/readyz"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "finder has failed 3 times in a row\n" {
		t.Errorf("not ready: status %d, %q", w.Code, w.Body)
	}
	if w := ask(t, h, http.MethodGet, "/healthz"); w.Code != http.StatusOK {
		t.Errorf("alive though not ready: status %d", w.Code)
	}
	if w := ask(t, h, http.MethodGet, "/metrics"); !strings.Contains(w.Body.String(), "bigbrotr_test_value 42") {
		t.Errorf("metrics are %s", w.Body)
	}
}

// TestConfig checks which values are refused.
func TestConfig(t *testing.T) {
	for _, test := range []struct {
		listen  string
		timeout time.Duration
		want    string // in the problem; empty for none
	}{
		{"127.0.0.1:8080", 10 * time.Second, ""},
		{"[::1]:0", time.Second, ""},
		{":8080", time.Second, ""},
		{"8080", time.Second, "listen"},
		{"", time.Second, "listen"},
		{"127.0.0.1:8080", time.Millisecond, "timeout"},
		{"127.0.0.1:8080", time.Hour, "timeout"},
	} {
		cfg := api.DefaultConfig()
		cfg.Listen, cfg.Timeout = test.listen, config.Duration(test.timeout)
		_, err := config.Load(&cfg, config.Sources{})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q, %v: %v", test.listen, test.timeout, err)
		}
	}
}

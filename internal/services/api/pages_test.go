package api_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/core/telemetry"
	"bigbrotr/internal/services/api"
)

// TestRoutes asks every route by several methods.
func TestRoutes(t *testing.T) {
	db := newStore(t)
	fill(t, db)
	h := newAPI(db).Handler()
	const page, text = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	for _, test := range []struct {
		target      string
		status      int
		contentType string
	}{
		{"/", 200, page},
		{"/?state=up&network=tor&after=wss://a.nostr.org", 200, page},
		{"/?after=nonsense", 422, page},
		{"/favicon.ico", 404, page},
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
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
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

// TestEmptyOverview looks at the page of a store in which nothing is.
func TestEmptyOverview(t *testing.T) {
	w := ask(t, newAPI(newStore(t)).Handler(), http.MethodGet, "/")
	for _, want := range []string{"Nothing is known yet", "No relay to show", "Nothing is covered yet", "v0-test"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	wellFormed(t, w.Body.String())
}

var (
	tags  = regexp.MustCompile(`<(/?)([a-z0-9]+)([^<>]*)>`)
	empty = []string{"meta", "link", "rect", "br"}
)

// wellFormed checks that the tags of a page are in pairs.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	var open []string
	for _, m := range tags.FindAllStringSubmatch(page, -1) {
		switch closing, name := m[1] != "", m[2]; {
		case slices.Contains(empty, name) && !closing:
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

// TestOverview looks for the facts of a filled store on the page.
func TestOverview(t *testing.T) {
	db := newStore(t)
	fill(t, db)
	page := ask(t, newAPI(db).Handler(), http.MethodGet, "/").Body.String()
	wellFormed(t, page)
	for _, want := range []string{
		`<dd>1 <small>of 3</small></dd>`, "a.nostr.org", "b.nostr.org/path", "tcp_refused", "Relay A", "12 ms", "34 ms",
		"1 walked", `href="/?state=up#relays"`, `href="/?network=tor#relays"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "Nothing is known yet") {
		t.Error("the page says that nothing is known")
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
			page := ask(t, h, http.MethodGet, "/").Body.String()
			if !strings.Contains(page, test.want) {
				row := page[max(strings.Index(page, `<td class="url">`), 0):]
				t.Errorf("the row is %q, want %q in it", row[:min(len(row), 300)], test.want)
			}
			for _, r := range page {
				if r < ' ' && r != '\n' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
					t.Errorf("the page holds %U", r)
				}
			}
			if strings.Contains(page, "<script") {
				t.Error("the page has a script")
			}
			w := ask(t, h, http.MethodGet, "/api/v1/relays")
			if w.Code != http.StatusOK || w.Body.Len() > 2000 {
				t.Errorf("REST: status %d, %d bytes", w.Code, w.Body.Len())
			}
		})
	}
}

var (
	rowURL = regexp.MustCompile(`<td class="url">([^<]+)`)
	next   = regexp.MustCompile(`<a href="([^"]+)" rel="next">`)
)

// TestOverviewPages follows the links from page to page, with and without a
// filter.
func TestOverviewPages(t *testing.T) {
	db := newStore(t)
	many(t, db, 250, 0)
	h := newAPI(db).Handler()
	for _, test := range []struct {
		target string
		want   int
	}{{"/", 250}, {"/?state=up", 125}, {"/?network=clearnet&state=up", 125}, {"/?network=tor", 0}} {
		seen := map[string]bool{}
		pages := 0
		for target := test.target; target != ""; pages++ {
			page := ask(t, h, http.MethodGet, target).Body.String()
			rows := rowURL.FindAllStringSubmatch(page, -1)
			if len(rows) > 100 || pages > 3 {
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
				target, _, _ = strings.Cut(html.UnescapeString(link[1]), "#")
			}
		}
		if len(seen) != test.want {
			t.Errorf("%s shows %d relays on %d pages, want %d", test.target, len(seen), pages, test.want)
		}
	}
}

// many fills a store with relays, every second one up, each with five stretches
// of coverage, and events of the last 90 days.
func many(t testing.TB, db *sqlite.DB, relays, events int) {
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
	var outcomes []store.Outcome
	perRelay := events / max(relays, 1)
	n := 0
	for i, r := range list {
		state := store.StateUp
		if i%2 == 1 {
			state = store.StateDown
		}
		outcomes = append(outcomes, store.Outcome{Relay: r.ID, At: now, State: state, LastUp: now, Checks: []store.Check{
			document(fmt.Sprintf(`{"name":"Relay %d","software":"git+https://example.com/relay.git"}`, i)),
		}})
		b := store.Batch{Relay: r.ID, SeenAt: now, Filter: filter}
		for range perRelay {
			b.Events = append(b.Events, event(n%5000, nostr.Kind(n%40), now-int64(n)*7_776_000/int64(events), fmt.Sprint("note ", n)))
			n++
		}
		for c := range int64(5) {
			lo := base - c*10_000_000
			b.Claims = append(b.Claims, store.Coverage{
				Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: lo, Hi: lo + 8_000_000}, Level: store.Level(1 + c%4), AsOf: now, Method: "walk",
			})
		}
		_, err := db.SaveBatch(ctx, b)
		must(t, err)
	}
	must(t, db.SaveOutcomes(ctx, outcomes))
	for more := true; more; {
		done, err := db.Refresh(ctx, 5000)
		must(t, err)
		more = done.More
	}
}

// BenchmarkOverview measures the first page on a store of the size of the
// network: what is promised is 100 ms to the first byte, which is when the page
// is complete.
func BenchmarkOverview(b *testing.B) {
	db := newStore(b)
	many(b, db, 10_000, 200_000)
	h := newAPI(db).Handler()
	for _, target := range []string{"/", "/?state=up&after=wss://relay05000.nostr.org", "/api/v1/stats", "/api/v1/relays?limit=1000", "/api/v1/events?limit=100"} {
		b.Run(target, func(b *testing.B) {
			for b.Loop() {
				if w := ask(b, h, http.MethodGet, target); w.Code != http.StatusOK {
					b.Fatalf("status %d: %s", w.Code, w.Body)
				}
			}
		})
	}
}

// TestOverviewLarge shows the first of 10,000 relays; the benchmark says how
// fast.
func TestOverviewLarge(t *testing.T) {
	db := newStore(t)
	urls := make([]relay.URL, 10_000)
	for i := range urls {
		urls[i] = parse(t, fmt.Sprintf("wss://relay%05d.nostr.org", i))
	}
	_, err := db.AddRelays(t.Context(), urls, base)
	must(t, err)
	h := newAPI(db).Handler()
	begin := time.Now()
	page := ask(t, h, http.MethodGet, "/").Body.String()
	t.Logf("first byte after %v, %d bytes", time.Since(begin), len(page))
	if rows := rowURL.FindAllString(page, -1); len(rows) != 100 || !strings.Contains(page, "<dd>0 <small>of 10,000</small></dd>") {
		t.Errorf("%d rows, want the first 100 of 10,000", len(rows))
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

package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"bigbrotr/internal/services/api"
)

// FuzzQuery asks with any query: it is answered or refused, and is never a fault
// of ours.
func FuzzQuery(f *testing.F) {
	db := newStore(f)
	fill(f, db)
	h := apiOf(db, func(c *api.Config) { c.REST.PerSecond = 100_000 })
	paths := []string{"relays", "events", "export", "completeness", "stats/daily", "overlap", "relays/a.nostr.org/checks"}
	for i, query := range []string{
		"state=up&near=1,2&within=3&sort=-distance,uptime&after=eyJ2IjpbXX0", "ids=00&since=-1&tag=t:%ff", "format=csv&limit=1&kinds=1,,2", "after=wss://a",
		"until=9e99", "urls=%00,a.nostr.org", "before=-9223372036854775809&probe='--",
	} {
		f.Add(i, query)
	}
	f.Fuzz(func(t *testing.T, i int, query string) {
		path := paths[uint(i)%uint(len(paths))]
		r := httptest.NewRequest(http.MethodGet, "/api/v1/"+path, nil).WithContext(t.Context())
		r.URL = &url.URL{Path: r.URL.Path, RawQuery: query}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusNotFound {
			t.Errorf("%s?%q: status %d: %s", path, query, w.Code, w.Body)
		}
	})
}

// FuzzRelayURL asks for a relay by any text.
func FuzzRelayURL(f *testing.F) {
	db := newStore(f)
	fill(f, db)
	h := apiOf(db, func(c *api.Config) { c.REST.PerSecond = 100_000 })
	for _, text := range []string{"a.nostr.org", "wss://a.nostr.org", "../../x", "\x00", "b.nostr.org/path", "wss://[::1]:99999/%"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w := ask(t, h, http.MethodGet, "/api/v1/relays/"+url.PathEscape(text)+"/badge.svg")
		switch w.Code {
		case http.StatusOK, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		default:
			t.Errorf("%q: status %d: %s", text, w.Code, w.Body)
		}
	})
}

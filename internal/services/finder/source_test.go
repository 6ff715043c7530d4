package finder_test

import (
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/finder"
)

// TestMain has the process trust the certificate of test servers, and no other.
func TestMain(m *testing.M) { os.Exit(trusting(m)) }

func trusting(m *testing.M) int {
	server := httptest.NewTLSServer(nil)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	server.Close()
	dir, err := os.MkdirTemp("", "finder")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(file, root, 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	os.Setenv("SSL_CERT_DIR", dir)
	return m.Run()
}

// cycle runs one cycle of a finder that may use loopback.
func cycle(t *testing.T, db *sqlite.DB, cfg finder.Config) {
	t.Helper()
	dialled := dial.DefaultConfig()
	dialled.AllowLocal = true
	s := finder.New(cfg, db, dial.New(dialled), relay.Rules{AllowLocal: true}, "test", slog.New(slog.DiscardHandler))
	must(t, s.Cycle(t.Context()))
}

// sourceOf leases a source for a look at it, whenever it is due.
func sourceOf(t *testing.T, db *sqlite.DB, class hints.Class, name string) store.Source {
	t.Helper()
	later := time.Now().Unix() + 365*86400
	list, err := db.DueSources(t.Context(), class, []string{name}, store.Due{Now: later, Limit: 10, Owner: "look", Until: later})
	must(t, err)
	must(t, db.FreeLeases(t.Context(), "look"))
	if len(list) != 1 {
		t.Fatalf("%d sources %s", len(list), name)
	}
	return list[0]
}

// TestNIP05 has profiles name a domain, whose relay map is then read once.
func TestNIP05(t *testing.T) {
	var asked atomic.Int32
	var wrong atomic.Pointer[string]
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/.well-known/nostr.json" || r.URL.Query().Get("name") != "bob" {
			wrong.Store(new(r.URL.String()))
		}
		fmt.Fprint(w, `{"names":{"bob":"00"},"relays":{"00":["wss://one.nostr.org","WSS://Two.nostr.org/"],"01":["wss://one.nostr.org",7,null,"https://x.org"],"02":"wss://three.nostr.org"}}`)
	}))
	t.Cleanup(server.Close)
	domain := server.Listener.Addr().String()
	profile := func(address string) string {
		text, err := json.Marshal(map[string]any{"name": "x", "nip05": address})
		must(t, err)
		return string(text)
	}
	db := newStore(t)
	save(t, db, event(1, 0, profile("alice@"+domain)), event(2, 0, profile("Bob@"+domain)), event(3, 0, profile("not an address")), event(4, 0, `{"nip05":7}`),
		event(5, 1, profile("carol@other.nostr.org")))
	cycle(t, db, finder.DefaultConfig())
	want := map[string]found{"wss://one.nostr.org": {hints.NIP05, 1}, "wss://two.nostr.org": {hints.NIP05, 1}, "wss://three.nostr.org": {hints.NIP05, 1}}
	if diff := cmp.Diff(want, candidates(t, db)); diff != "" {
		t.Errorf("candidates (-want +have):\n%s", diff)
	}
	if text := wrong.Load(); text != nil {
		t.Errorf("asked for %s", *text)
	}
	cycle(t, db, finder.DefaultConfig())
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once in a week", n)
	}
	if s := sourceOf(t, db, hints.NIP05, domain); s.Authors != 2 || s.LastOK == 0 || s.Attempts != 0 {
		t.Errorf("the source is %+v", s)
	}
}

// TestNIP05Off checks that an operator can do without.
func TestNIP05Off(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the domain is asked") }))
	t.Cleanup(server.Close)
	db := newStore(t)
	save(t, db, event(1, 0, `{"nip05":"alice@`+server.Listener.Addr().String()+`"}`))
	cfg := finder.DefaultConfig()
	cfg.NIP05 = false
	cycle(t, db, cfg)
}

// TestBannedDomain checks that a host that wants to be left alone is not asked.
func TestBannedDomain(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the domain is asked") }))
	t.Cleanup(server.Close)
	db := newStore(t)
	save(t, db, event(1, 0, `{"nip05":"alice@`+server.Listener.Addr().String()+`"}`))
	must(t, db.Ban(t.Context(), []store.Ban{{Target: "127.0.0.1", At: base}}))
	cycle(t, db, finder.DefaultConfig())
}

// TestSources reads configured documents of several forms, and bad ones.
func TestSources(t *testing.T) {
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"/list": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `["wss://a.nostr.org","wss://b.nostr.org", 5]`)
		},
		"/nested": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"relays":[{"url":"wss://c.nostr.org"},{"url":"junk"}],"other":"wss://not.nostr.org"}`)
		},
		"/keys": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"wss://d.nostr.org":{"up":true},"wss://e.nostr.org/":null}`)
		},
		"/moved": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/list", http.StatusFound) },
		"/gone":  func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"/slow":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"/page":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>wss://x.nostr.org</html>`) },
		"/deep":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(`[`, 100_000)) },
		"/bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			fmt.Fprint(z, `["wss://bomb.nostr.org",`)
			for range 1000 {
				if _, err := z.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
					return
				}
			}
		},
		"/tagged": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") == `"v1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			w.Header().Set("ETag", `"v1"`)
			fmt.Fprint(w, `["wss://f.nostr.org"]`)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w, r) }))
	t.Cleanup(server.Close)
	cfg := finder.DefaultConfig()
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		path := ""
		if name == "/nested" {
			path = "$.relays[*].url"
		}
		cfg.Sources = append(cfg.Sources, finder.Source{URL: server.URL + name, Path: path, Every: config.Duration(time.Hour)})
	}
	db := newStore(t)
	cycle(t, db, cfg)
	var want []string
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		want = append(want, "wss://"+name+".nostr.org")
	}
	have := candidates(t, db)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(have))); diff != "" {
		t.Errorf("candidates (-want +have):\n%s", diff)
	}
	if have["wss://a.nostr.org"] != (found{hints.API, 0}) {
		t.Errorf("provenance is %+v", have["wss://a.nostr.org"])
	}
	for name, cause := range map[string]dial.Cause{
		"/list": "", "/nested": "", "/keys": "", "/moved": "", "/tagged": "", "/gone": dial.CauseHTTPStatus, "/slow": dial.CauseRateLimited,
		"/page": dial.CauseDocument, "/deep": dial.CauseDocument, "/bomb": dial.CauseDocument,
	} {
		s := sourceOf(t, db, hints.API, server.URL+name)
		if failed := s.Attempts == 1; s.LastCause != cause || failed != (cause != "") || (s.LastOK > 0) != (cause == "") {
			t.Errorf("%s: %+v, want cause %q", name, s, cause)
		}
	}
	tagged := server.URL + "/tagged"
	if s := sourceOf(t, db, hints.API, tagged); s.ETag != `"v1"` {
		t.Errorf("the entity tag is %q", s.ETag)
	}
	// Asked again, it says that nothing has changed: nothing is counted again.
	forget(t, db, hints.API, tagged)
	cycle(t, db, cfg)
	url, err := relay.Parse("wss://f.nostr.org")
	must(t, err)
	provenance, err := db.Mentions(t.Context(), url)
	must(t, err)
	if len(provenance) != 1 || provenance[0].Count != 1 {
		t.Errorf("after an unchanged answer: %+v", provenance)
	}
	if s := sourceOf(t, db, hints.API, tagged); s.ETag != `"v1"` || s.Attempts != 0 {
		t.Errorf("after an unchanged answer: %+v", s)
	}
}

// forget makes a source due now.
func forget(t *testing.T, db *sqlite.DB, class hints.Class, name string) {
	t.Helper()
	later := time.Now().Unix() + 365*86400
	list, err := db.DueSources(t.Context(), class, []string{name}, store.Due{Now: later, Limit: 1, Owner: "test-due", Until: later})
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("no source %s", name)
	}
	_, err = db.SaveSources(t.Context(), []store.SourceResult{{Class: class, Name: name, Owner: "test-due", At: 1, ETag: list[0].ETag, NextDue: 1}}, nil)
	must(t, err)
}

// TestUnreachable checks that an address that must not be dialled is refused,
// whatever names it.
func TestUnreachable(t *testing.T) {
	db := newStore(t)
	cfg := finder.DefaultConfig()
	cfg.Sources = []finder.Source{{URL: "http://127.0.0.1:1/x", Every: config.Duration(time.Hour)}}
	s := finder.New(cfg, db, dial.New(dial.DefaultConfig()), relay.Rules{}, "test", slog.New(slog.DiscardHandler))
	must(t, s.Cycle(t.Context()))
	list, err := db.DueSources(t.Context(), hints.API, nil, store.Due{Now: time.Now().Unix() + 1, Limit: 9, Owner: "look", Until: 1})
	must(t, err)
	if len(list) != 0 {
		t.Errorf("a local source is kept: %+v", list)
	}
}

// TestDocuments looks into information documents, each once.
func TestDocuments(t *testing.T) {
	db := newStore(t)
	url, err := relay.Parse("wss://known.nostr.org")
	must(t, err)
	relays, err := db.AddRelays(t.Context(), []relay.URL{url}, base)
	must(t, err)
	document := func(text string) store.Check {
		return store.Check{At: base, Probe: "nip11", OK: true, Document: &store.Document{Type: "nip11", Data: []byte(text)}}
	}
	outcome := func(at int64, check store.Check) {
		check.At = at
		must(t, db.SaveOutcomes(t.Context(), []store.Outcome{{Relay: relays[0].ID, At: at, Checks: []store.Check{check}, State: store.StateUp, Next: store.Next{Relay: relays[0].ID, Service: "monitor"}}}))
	}
	outcome(base, document(`{"description":"mirror of wss://mirror.nostr.org, see also wss:\/\/other.nostr.org/inbox.","name":"wss://known.nostr.org"}`))
	for range 2 {
		cycle(t, db, finder.DefaultConfig())
		outcome(base+1, document(`{"description":"mirror of wss://mirror.nostr.org, see also wss:\/\/other.nostr.org/inbox.","name":"wss://known.nostr.org"}`))
	}
	want := map[string]found{"wss://mirror.nostr.org": {hints.NIP11, 0}, "wss://other.nostr.org/inbox": {hints.NIP11, 0}}
	if diff := cmp.Diff(want, candidates(t, db)); diff != "" {
		t.Errorf("candidates (-want +have):\n%s", diff)
	}
	mirror, err := relay.Parse("wss://mirror.nostr.org")
	must(t, err)
	provenance, err := db.Mentions(t.Context(), mirror)
	must(t, err)
	if len(provenance) != 1 || provenance[0].Count != 1 {
		t.Errorf("an unchanged document is counted again: %+v", provenance)
	}
}

// TestSourceConfig checks which sources are refused.
func TestSourceConfig(t *testing.T) {
	for _, test := range []struct {
		source finder.Source
		want   string
	}{
		{finder.Source{URL: "https://example.com/relays.json", Path: "$.relays[*].url", Every: config.Duration(time.Hour)}, ""},
		{finder.Source{URL: "file:///etc/passwd", Every: config.Duration(time.Hour)}, "sources[0].url"},
		{finder.Source{URL: "https://", Every: config.Duration(time.Hour)}, "sources[0].url"},
		{finder.Source{URL: "https://example.com", Path: "$.[", Every: config.Duration(time.Hour)}, "sources[0].path"},
		{finder.Source{URL: "https://example.com"}, "sources[0].every"},
	} {
		cfg := finder.DefaultConfig()
		cfg.Sources = []finder.Source{test.source}
		_, err := config.Load(&cfg, config.Sources{})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.source, err)
		}
	}
}

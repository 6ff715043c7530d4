package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/pgtest"
	"bigbrotr/internal/services/api"
	"bigbrotr/internal/services/refresher"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestReader serves everything as a user of PostgreSQL who may read only: every
// route of REST, the pages, the relay, and what the dvm asks.
func TestReader(t *testing.T) {
	cluster := pgtest.Shared(t)
	owner := cluster.Database(t)
	reader := cluster.Login(t, owner, "bigbrotr_reader") + "&options=-c%20default_transaction_read_only%3Don"
	open := func(url string, readOnly bool) *postgres.DB {
		db, err := postgres.Open(t.Context(), url, postgres.Options{ReadOnly: readOnly, Logger: slog.New(slog.DiscardHandler)})
		must(t, err)
		t.Cleanup(func() { must(t, db.Close()) })
		return db
	}
	writer := open(owner, false)
	_, err := writer.Migrate(t.Context())
	must(t, err)
	events := fill(t, writer)
	list := event(7, 10002, base, "", nostr.Tag{"r", "wss://a.nostr.org"})
	_, err = writer.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: []nostr.Event{list}})
	must(t, err)
	indexed := refresher.DefaultConfig()
	indexed.Search = true
	must(t, refresher.New(indexed, writer, slog.New(slog.DiscardHandler)).Cycle(t.Context()))

	// The user cannot write, whatever we ask of it.
	conn, err := pgx.Connect(t.Context(), reader)
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, sql := range []string{"DELETE FROM relay", "SET default_transaction_read_only = off; UPDATE relay SET first_seen = 1", "CREATE TABLE public.mine ()"} {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err == nil {
			t.Errorf("%s: done", sql)
		}
	}

	cfg := api.DefaultConfig()
	cfg.REST.PerSecond = 10_000 // not in the way
	s := api.New(cfg, open(reader, true), api.Process{
		Ready: func(context.Context) error { return nil }, Metrics: http.NotFoundHandler(), Version: "v0-test",
	}, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	var doc struct{ Paths map[string]any }
	must(t, json.Unmarshal(ask(t, s.Handler(), http.MethodGet, "/api/openapi.json").Body.Bytes(), &doc))
	targets := []string{
		"/api/v1/events?search=first", "/api/v1/events?tag=t:one", "/api/v1/events?ids=" + events[0].ID.String(),
		"/", "/overview.json", "/relays", "/relays.csv", "/relay/a.nostr.org", "/relay/a.nostr.org.json", "/completeness", "/completeness.csv",
		"/map", "/compare?r=a.nostr.org&r=b.nostr.org/path", "/system", "/event/" + events[0].ID.String(), "/author/" + list.PubKey.String(), "/about",
	}
	names := strings.NewReplacer("{id}", events[1].ID.String(), "{url}", "a.nostr.org", "{pubkey}", list.PubKey.String())
	absent := []string{"/api/v1/relays/{url}/claims"} // the daily test has not been made
	for path := range doc.Paths {
		if slices.Contains(absent, path) || strings.HasSuffix(path, "/stream") {
			continue
		}
		target := names.Replace(path)
		if strings.HasSuffix(path, "/overlap") {
			target += "?urls=a.nostr.org,b.nostr.org%2Fpath"
		}
		targets = append(targets, target)
		if w := ask(t, s.Questions(), http.MethodGet, target); w.Code != http.StatusOK {
			t.Errorf("%s as a job: status %d: %.300s", target, w.Code, w.Body)
		}
	}
	if len(targets) < 40 {
		t.Errorf("only %d routes", len(targets))
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, target := range append(targets, absent...) {
		resp, err := client.Get(server.URL + names.Replace(target))
		must(t, err)
		_ = resp.Body.Close()
		want := http.StatusOK
		if slices.Contains(absent, target) {
			want = http.StatusNotFound
		}
		if resp.StatusCode != want {
			t.Errorf("%s: status %d", target, resp.StatusCode)
		}
	}

	ws, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), &websocket.DialOptions{HTTPClient: client})
	must(t, err)
	defer func() { _ = ws.CloseNow() }()
	for ask, want := range map[string]string{
		`["REQ","s",{"kinds":[1]}]`:                   `["EOSE","s"`,
		`["REQ","t",{"search":"first"}]`:              `["EOSE","t"`,
		`["COUNT","c",{"#t":["one"]}]`:                `["COUNT","c"`,
		`["NEG-OPEN","n",{"kinds":[1]},"6100000200"]`: `["NEG-MSG","n"`,
	} {
		must(t, ws.Write(t.Context(), websocket.MessageText, []byte(ask)))
		for {
			_, text, err := ws.Read(t.Context())
			must(t, err)
			if strings.HasPrefix(string(text), `["EVENT"`) {
				continue
			}
			if !strings.HasPrefix(string(text), want) {
				t.Errorf("%s: %s", ask, text)
			}
			break
		}
	}
}

package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api"
)

// odd are texts that formats trip over.
var odd = []string{"", "=1+1", "a,b;\"c\"\r\nd", "NUL \x00 and \u2028", "half a pair \xed\xa0\xbd", "\ufeff", strings.Repeat("ä", 10_000)}

// archive saves events of all sorts and returns those that strangers may see,
// newest first.
func archive(t testing.TB, db *sqlite.DB, n int) []nostr.Event {
	t.Helper()
	var events []nostr.Event
	for i := range n {
		events = append(events, event(i%7, 1, base-int64(i), fmt.Sprint(i, odd[i%len(odd)]), nostr.Tag{"t", odd[i%len(odd)]}))
	}
	_, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: append(events[:n:n], event(1, 4, base, "private"))})
	must(t, err)
	return events
}

// exported asks a real server for an export and follows X-Next to the end.
func exported(t *testing.T, server *httptest.Server, query string) [][]byte {
	t.Helper()
	var parts [][]byte
	for after := ""; ; {
		resp, err := server.Client().Get(server.URL + "/api/v1/export?" + query + "&after=" + url.QueryEscape(after))
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
		parts = append(parts, body)
		if after = resp.Trailer.Get("X-Next"); after == "" {
			return parts
		}
	}
}

// TestExport reads each format back, in one piece and in several.
func TestExport(t *testing.T) {
	db := newStore(t)
	want := archive(t, db, 2500)
	server := httptest.NewServer(apiOf(db, func(c *api.Config) { c.REST.ExportRows = 1001 }))
	defer server.Close()
	same := func(name string, have []nostr.Event, parts int) {
		t.Helper()
		if d := cmp.Diff(want, have, cmp.Transformer("id", func(e nostr.Event) string { return e.ID.String() })); d != "" || parts != 3 {
			t.Errorf("%s in %d parts (-want +have):\n%.2000s", name, parts, d)
		}
	}
	var have []nostr.Event
	parts := exported(t, server, "format=jsonl")
	for line := range bytes.SplitSeq(bytes.TrimSpace(bytes.Join(parts, nil)), []byte("\n")) {
		e, err := nostr.ParseEvent(line)
		must(t, err)
		must(t, e.CheckID())
		have = append(have, e)
	}
	same("jsonl", have, len(parts))

	have, parts = nil, exported(t, server, "format=csv")
	for _, part := range parts {
		rows, err := csv.NewReader(bytes.NewReader(part)).ReadAll()
		must(t, err)
		for _, row := range rows[1:] {
			id, err := nostr.ParseID(row[0])
			must(t, err)
			have = append(have, nostr.Event{ID: id})
			if i := len(have) - 1; strings.ReplaceAll(want[i].Content, "\r\n", "\n") != row[5] || row[7] != "false" {
				t.Errorf("row %d has %q, want %q", i, row[5], want[i].Content)
			}
		}
	}
	same("csv", have, len(parts))

	have, parts = nil, exported(t, server, "format=parquet")
	type row struct {
		ID        string `parquet:"id"`
		Content   string `parquet:"content"`
		Tags      string `parquet:"tags"`
		CreatedAt int64  `parquet:"created_at"`
		Raw       []byte `parquet:"raw,optional"`
	}
	for _, part := range parts {
		rows, err := parquet.Read[row](bytes.NewReader(part), int64(len(part)))
		must(t, err)
		for _, r := range rows {
			id, err := nostr.ParseID(r.ID)
			must(t, err)
			e := nostr.Event{ID: id}
			if len(r.Raw) > 0 {
				if e, err = nostr.ParseEvent(r.Raw); err != nil || e.CheckID() != nil {
					t.Errorf("raw is no event: %v", err)
				}
				r.Content = e.Content
			}
			have = append(have, e)
			if i := len(have) - 1; r.Content != want[i].Content || r.CreatedAt != want[i].CreatedAt || !json.Valid([]byte(r.Tags)) {
				t.Errorf("row %d has %.100q, want %.100q", i, r.Content, want[i].Content)
			}
		}
	}
	same("parquet", have, len(parts))

	if parts := exported(t, server, "kinds=4"); len(parts) != 1 || len(parts[0]) != 0 {
		t.Errorf("of a private kind: %q", parts)
	}
	// Who lost the connection goes on behind the last line.
	last := want[9]
	resp, err := server.Client().Get(fmt.Sprintf("%s/api/v1/export?limit=5&after=%d.%s", server.URL, last.CreatedAt, last.ID))
	must(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for i := 10; i < 15; i++ {
		if !lines.Scan() || !bytes.Contains(lines.Bytes(), []byte(want[i].ID.String())) {
			t.Fatalf("line %d is %.200q", i, lines.Text())
		}
	}
	if lines.Scan() {
		t.Error("more than the limit")
	}
}

// TestExportFails checks that an export whose store fails says so, or does not
// look whole.
func TestExportFails(t *testing.T) {
	db := newStore(t)
	archive(t, db, 3000)
	failing := &failing{Store: db, after: 2}
	server := httptest.NewServer(apiOf(failing, func(*api.Config) {}))
	defer server.Close()
	for _, after := range []int64{0, 2} {
		failing.after = after
		resp, err := server.Client().Get(server.URL + "/api/v1/export")
		must(t, err)
		_, err = io.ReadAll(resp.Body)
		must(t, resp.Body.Close())
		if after == 0 && resp.StatusCode != http.StatusInternalServerError || after > 0 && (resp.StatusCode != http.StatusOK || err == nil) {
			t.Errorf("after %d pages: status %d, %v", after, resp.StatusCode, err)
		}
	}
}

// failing is a store that gives some pages of events and no more.
type failing struct {
	api.Store
	after int64
}

func (f *failing) Events(ctx context.Context, q store.EventQuery) ([]store.Stored, store.Cursor, error) {
	if f.after == 0 {
		return nil, "", errors.New("the disk is gone")
	}
	f.after--
	return f.Store.Events(ctx, q)
}

package dial

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHTTPClient(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch to := r.URL.Query().Get("to"); {
		case to != "":
			http.Redirect(w, r, to, http.StatusFound)
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case r.URL.Path == "/header":
			w.Header().Set("X-Fill", strings.Repeat("x", 1<<18))
		default:
			io.WriteString(w, r.Host+" "+r.UserAgent()+" "+r.Header.Get("Accept"))
		}
	}))
	defer server.Close()
	open := 0
	cfg := DefaultConfig()
	cfg.Contact = "https://example.org"
	d := New(cfg).Over(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != "9.9.9.9:80" {
			t.Errorf("dialed %s", addr)
		}
		open++
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	})
	d.lookup = names(map[string][]string{
		"relay.example.com.": {"9.9.9.9"}, "www.example.com.": {"9.9.9.9"}, "evil.example.com.": {"127.0.0.1"},
	})
	client := d.HTTPClient(parse(t, "ws://relay.example.com"))
	tests := []struct {
		name, url string
		body      string
		cause     Cause
	}{
		{"document", "http://relay.example.com/", "relay.example.com BigBrotr (+https://example.org) application/nostr+json", ""},
		{
			"redirect", "http://relay.example.com/?to=http://www.example.com/",
			"www.example.com BigBrotr (+https://example.org) application/nostr+json", "",
		},
		{"redirect to our own network", "http://relay.example.com/?to=http://evil.example.com/", "", CauseAddress},
		{"redirect to a literal", "http://relay.example.com/?to=http://169.254.169.254/latest", "", CauseAddress},
		{"redirect to localhost in decimal", "http://relay.example.com/?to=http://2130706433/", "", CauseNXDomain},
		{"redirect to an overlay", "http://relay.example.com/?to=http://x.onion/", "", CauseNoProxy},
		{"redirect to a file", "http://relay.example.com/?to=file:///etc/passwd", "", CauseHTTP},
		{"redirects without end", "http://relay.example.com/loop", "", CauseHTTP},
		{"endless header", "http://relay.example.com/header", "", CauseHTTP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "application/nostr+json")
			resp, err := client.Do(req)
			if got := CauseOf(err); got != tt.cause {
				t.Fatalf("cause %q, want %q: %v", got, tt.cause, err)
			}
			if err != nil {
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != tt.body {
				t.Errorf("body %q, %v", body, err)
			}
		})
	}
	if open != 1+2+5+1+MaxRedirects+1 {
		t.Errorf("%d connections", open)
	}
	client.CloseIdleConnections()
	if len(d.budget.hosts) != 0 {
		t.Errorf("hosts hold a place: %v", d.budget.hosts)
	}
}

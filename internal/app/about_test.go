package app_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
)

// TestAbout checks that what the pages tell operators of this installation and of
// relays is so: the configuration is one, and the names are ours.
func TestAbout(t *testing.T) {
	cfg := newConfig(t)
	cfg.Dial.UserAgent, cfg.Dial.Contact = "Watcher/2 of relays", "admin@example.com"
	a, stop := start(t, cfg, "initializer", "api")
	status, page := get(t, a, "/about")
	must(t, stop())
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	for _, want := range []string{"User-agent: Watcher\nDisallow: /", `<a href="mailto:admin@example.com">admin@example.com</a>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}

	_, text, _ := strings.Cut(page, `<pre id="alerts"`)
	_, text, _ = strings.Cut(text, ">")
	text, _, _ = strings.Cut(text, "</pre>")
	file := filepath.Join(t.TempDir(), "bigbrotr.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	told := app.DefaultConfig()
	_, err := config.Load(&told, config.Sources{File: file, Env: []string{
		"MONITOR_NSEC=" + strings.Repeat("01", 32), "WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	}})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if n := len(told.Monitor.Alerts); n != 2 || told.Monitor.Alerts[0].Webhook == "" || told.Monitor.Alerts[1].NPub == "" {
		t.Errorf("%d receivers in\n%s", n, text)
	}
}

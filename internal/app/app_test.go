package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
)

func testConfig(t *testing.T) Config {
	cfg := DefaultConfig()
	cfg.Data = t.TempDir()
	return cfg
}

var quiet = slog.New(slog.DiscardHandler)

// TestDebug checks that profiles are served where and when they are asked for.
func TestDebug(t *testing.T) {
	cfg := testConfig(t)
	cfg.Debug.Listen = "127.0.0.1:0"
	a, err := Build(t.Context(), cfg, []string{"refresher"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.RunAndClose(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + a.debug.Addr().String() + "/debug/pprof/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || len(text) == 0 {
		t.Errorf("%s: %q, %v", resp.Status, text, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// A process that was built and never ran gives its ports back too.
	cfg.Debug.Listen = a.debug.Addr().String()
	if a, err = Build(t.Context(), cfg, []string{"refresher"}, quiet); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	busy, err := net.Listen("tcp", cfg.Debug.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, err = Build(t.Context(), cfg, []string{"refresher"}, quiet)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), cfg.Debug.Listen) || !strings.Contains(err.Error(), "debug.listen") {
		t.Errorf("a busy port: %v", err)
	}
}

// lines hands on what is logged, one record at a time.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// TestLogNamesService checks that the log says which service failed, once.
func TestLogNamesService(t *testing.T) {
	logged := make(lines, 100)
	a, err := Build(t.Context(), testConfig(t), []string{"refresher"}, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil { // a store that is away
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for line := ""; !strings.Contains(line, "cycle failed"); {
		if line = <-logged; strings.Count(line, "service=refresher") != 1 {
			t.Error(line)
		}
	}
	stop()
	if err := <-ended; err == nil {
		t.Error("leases were given back to a store that is away")
	}
}

func TestStoreFile(t *testing.T) {
	for _, test := range []struct{ url, at, err string }{
		{"sqlite:archive.db", "archive.db", ""},
		{"sqlite:/var/archive.db", "/var/archive.db", ""},
		{"sqlite:///var/archive.db", "/var/archive.db", ""},
		{"sqlite:a:b.db", "a:b.db", ""},
		{"", "", `"" is not the URL of a store`},
		{"archive.db", "", `"archive.db" is not the URL of a store`},
		{"sqlite:", "", `"sqlite:" is not the URL of a store`},
		{"sqlite://", "", `"sqlite://" is not the URL of a store: it names no file`},
		{"sqlite::memory:", "", `"sqlite::memory:" is not the URL of a store: it names no file`},
		{"sqlite:folder/", "", `"sqlite:folder/" is not the URL of a store: it names no file`},
		{"postgres://user@host:5432/db", "postgres://user@host:5432/db", ""},
		{"postgres://user:secret@host/db", "", "the password must not stand in the URL: give it as store.password"},
		{"postgres://host:port/db", "", "it is not the URL of a PostgreSQL database"},
		{"mysql://host/db", "", `no store has the scheme "mysql"`},
	} {
		at, err := parseStoreURL(test.url)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if at.file+at.postgres != test.at || text != test.err {
			t.Errorf("%s: %+v, %q", test.url, at, text)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct{ path, value, want string }{
		{"debug.listen", "127.0.0.1:6060", ""},
		{"debug.listen", "6060", "debug.listen: is not host:port"},
		{"store.url", "mysql://host/db", `store.url: no store has the scheme "mysql"; write sqlite:FILE or postgres://`},
		{"store.keep", "some", `store.keep: must not be "some"; write full or index`},
		{"store.connections", "0", "store.connections: is 0"},
		{"health.listen", "9100", "health.listen: is not host:port"},
		{"stop.grace", "11m", "stop.grace: is 11m"},
	} {
		cfg := testConfig(t)
		_, err := config.Load(&cfg, config.Sources{Flags: []config.Flag{{Name: "--test", Path: test.path, Value: test.value}}})
		text := ""
		if err != nil {
			text = err.Error()
		}
		if (test.want == "") != (text == "") || !strings.Contains(text, test.want) {
			t.Errorf("%s = %s: %q", test.path, test.value, text)
		}
	}
}

func TestDataDir(t *testing.T) {
	cfg := DefaultConfig()
	t.Setenv("HOME", filepath.FromSlash("/h"))
	for dir, want := range map[string]string{"": "/h/.local/share/bigbrotr", "relative": "/h/.local/share/bigbrotr", "/x": "/x/bigbrotr"} {
		t.Setenv("XDG_DATA_HOME", dir)
		if diff := cmp.Diff(want, cfg.dataDir()); diff != "" {
			t.Errorf("with %q (-want +got):\n%s", dir, diff)
		}
	}
}

package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewLogger(t *testing.T) {
	tests := []struct {
		cfg  LogConfig
		want string // a pattern
	}{
		{DefaultLogConfig(), `^time=\d{4}-\S+ level=INFO msg=hello n=1\ntime=\S+ level=WARN msg=careful\n$`},
		{LogConfig{Level: LevelDebug, Format: FormatText}, `level=DEBUG msg=detail(.|\n)*msg=hello`},
		{LogConfig{Level: LevelWarn, Format: FormatText}, `^time=\S+ level=WARN msg=careful\n$`},
		{LogConfig{Level: LevelError, Format: FormatJSON}, `^$`},
		{LogConfig{Level: LevelInfo, Format: FormatJSON}, `^\{"time":"\S+","level":"INFO","msg":"hello","n":1\}\n\{.*\}\n$`},
	}
	for _, tt := range tests {
		var b bytes.Buffer
		log := NewLogger(&b, tt.cfg)
		log.Debug("detail")
		log.Info("hello", "n", 1)
		log.Warn("careful")
		if !regexp.MustCompile(tt.want).MatchString(b.String()) {
			t.Errorf("%+v: got\n%swant %s", tt.cfg, b.String(), tt.want)
		}
	}
}

func TestTerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !isTerminal(null) || isTerminal(file) || isTerminal(io.Discard) {
		t.Error("a terminal is not told from a file")
	}
	at := time.Date(2026, 7, 1, 13, 14, 15, 16, time.UTC)
	if got := shortTime(nil, slog.Time(slog.TimeKey, at)).String(); got != "time=13:14:15" {
		t.Errorf("time on a terminal = %q", got)
	}
	if got := shortTime([]string{"g"}, slog.Time(slog.TimeKey, at)).String(); strings.HasSuffix(got, "=13:14:15") {
		t.Errorf("an attribute inside a group lost its date: %q", got)
	}
}

func TestChoices(t *testing.T) {
	cfg := DefaultLogConfig()
	if !slices.Contains(cfg.Level.Choices(), string(cfg.Level)) || !slices.Contains(cfg.Format.Choices(), string(cfg.Format)) {
		t.Errorf("the default %+v is no choice", cfg)
	}
	for _, name := range Level("").Choices() {
		if got := strings.ToLower(Level(name).slog().String()); got != name {
			t.Errorf("level %s logs at %s", name, got)
		}
	}
}

func TestBuild(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "3f0c2a9b1d4e5f60718293a4b5c6d7e8f9012345"},
		{Key: "vcs.time", Value: "2026-07-01T00:00:00Z"},
		{Key: "vcs.modified", Value: "true"},
	}}
	want := Build{"v1.2.0", "3f0c2a9b1d4e5f60718293a4b5c6d7e8f9012345", true, "2026-07-01T00:00:00Z", "go1.26.0"}
	got := fromInfo(info)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("build (-want +got):\n%s", diff)
	}
	if s := got.String(); s != "v1.2.0 (3f0c2a9b1d4e, changed) go1.26.0" {
		t.Errorf("String() = %q", s)
	}
	if s := fromInfo(&debug.BuildInfo{GoVersion: "go1.26.0"}).String(); s != "(devel) go1.26.0" {
		t.Errorf("String() without version control = %q", s)
	}
	text, err := json.Marshal(ReadBuild())
	if err != nil || !strings.Contains(string(text), `"go":"go1.`) {
		t.Errorf("build of the test = %s, %v", text, err)
	}
}

func TestHandler(t *testing.T) {
	rec := httptest.NewRecorder()
	Handler(NewRegistry()).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	page := rec.Body.String()
	for _, want := range []string{"bigbrotr_build_info{go=\"go1.", "go_goroutines ", "process_start_time_seconds "} {
		if !strings.Contains(page, want) {
			t.Errorf("the metrics page lacks %s", want)
		}
	}
}

func TestServeDebug(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeDebug(ctx, listener) }()
	resp, err := http.Get("http://" + listener.Addr().String() + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(body), "goroutine profile") {
		t.Errorf("got %.100q, %v", body, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if err := ServeDebug(t.Context(), listener); err == nil {
		t.Error("a closed listener is served without an error")
	}
}

func TestServeHealth(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var trouble error
	ready := func(context.Context) error { return trouble }
	go func() { ended <- ServeHealth(ctx, listener, ready, Handler(NewRegistry())) }()
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get("/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("ready: %d %q", code, body)
	}
	trouble = errors.New("the store is away")
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || body != "the store is away\n" {
		t.Errorf("not ready: %d %q", code, body)
	}
	if code, body := get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("alive: %d %q", code, body)
	}
	if code, body := get("/metrics"); code != http.StatusOK || !strings.Contains(body, "bigbrotr_build_info") {
		t.Errorf("metrics: %d %.100q", code, body)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

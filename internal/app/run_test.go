package app_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to make databases that are not as they should be

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

var quiet = slog.New(slog.DiscardHandler)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newConfig returns a configuration whose store is in a new folder, whose seeds
// are none and whose pages are on a free port.
func newConfig(t *testing.T) app.Config {
	t.Helper()
	cfg := app.DefaultConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.API.Listen = "127.0.0.1:0"
	cfg.Initializer.Seeds = filepath.Join(t.TempDir(), "seeds.txt")
	must(t, os.WriteFile(cfg.Initializer.Seeds, []byte("# none\n"), 0o600))
	return cfg
}

// start builds and runs services, and returns what stops them and gives the
// error of their end.
func start(t *testing.T, cfg app.Config, names ...string) (*app.App, func() error) {
	t.Helper()
	a, err := app.Build(t.Context(), cfg, names, quiet)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.RunAndClose(ctx) }()
	stopped := false
	stop := func() error {
		cancel()
		stopped = true
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			return errors.New("it does not stop")
		}
	}
	t.Cleanup(func() {
		if !stopped {
			must(t, stop())
		}
	})
	return a, stop
}

func get(t *testing.T, a *app.App, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + a.Addr().String() + path)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(body)
}

// TestUp runs everything on an empty folder: it is ready and shows pages, and a
// stop ends it without an error.
func TestUp(t *testing.T) {
	begin := time.Now()
	cfg := newConfig(t)
	cfg.Initializer.Seeds = "" // the built-in ones
	a, stop := start(t, cfg, "initializer", "finder", "refresher", "api")
	if status, body := get(t, a, "/"); status != http.StatusOK || !strings.Contains(body, `<b data-live="candidates">2,998</b>`) {
		t.Errorf("the first page: status %d, %d bytes", status, len(body))
	}
	t.Logf("first page after %v", time.Since(begin))
	for _, path := range []string{"/readyz", "/healthz", "/api/v1/stats"} {
		if status, body := get(t, a, path); status != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, status, body)
		}
	}
	if status, body := get(t, a, "/metrics"); status != http.StatusOK || !strings.Contains(body, "bigbrotr_build_info") {
		t.Errorf("/metrics: status %d", status)
	}
	must(t, stop())
	if _, err := os.Stat(filepath.Join(cfg.Data, "bigbrotr.db")); err != nil {
		t.Error(err)
	}
}

// TestServices checks the names that may be asked for.
func TestServices(t *testing.T) {
	want := []string{"initializer", "finder", "validator", "monitor", "synchronizer", "refresher", "api", "dvm"}
	if have := app.Services(); !slices.Equal(have, want) {
		t.Errorf("services are %v, want %v", have, want)
	}
	cfg := newConfig(t)
	_, err := app.Build(t.Context(), cfg, []string{"api", "finderr"}, quiet)
	unknown, ok := errors.AsType[*app.UnknownServiceError](err)
	if !ok || unknown.Name != "finderr" || !strings.Contains(err.Error(), strings.Join(want, ", ")) {
		t.Errorf("an unknown service: %v", err)
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, os.ErrNotExist) {
		t.Error("the store was opened for a service that does not exist")
	}
}

// TestEachAlone checks that every service can be built and stopped alone.
func TestEachAlone(t *testing.T) {
	for _, name := range app.Services() {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t)
			initialise(t, cfg)
			_, stop := start(t, cfg, name)
			if err := stop(); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// initialise prepares the store of a configuration.
func initialise(t *testing.T, cfg app.Config) {
	t.Helper()
	st, err := app.OpenStore(t.Context(), cfg, quiet)
	must(t, err)
	must(t, app.Init(t.Context(), cfg, st, quiet))
	must(t, st.Close())
}

// TestBesideWriter runs the api alone while another process writes, and checks
// that a second writer is refused.
func TestBesideWriter(t *testing.T) {
	cfg := newConfig(t)
	writer, err := app.OpenStore(t.Context(), cfg, quiet)
	must(t, err)
	defer writer.Close()
	a, stop := start(t, cfg, "api")
	e := nostr.Event{CreatedAt: 1_700_000_000, Kind: 1, Tags: []nostr.Tag{}, Content: "written beside"}
	e.ID[0] = 1
	_, err = writer.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: []nostr.Event{e}})
	must(t, err)
	if status, body := get(t, a, "/api/v1/events"); status != http.StatusOK || !strings.Contains(body, "written beside") {
		t.Errorf("events: status %d: %s", status, body)
	}
	if status, body := get(t, a, "/readyz"); status != http.StatusOK {
		t.Errorf("readiness: status %d: %s", status, body)
	}
	for _, names := range [][]string{{"finder"}, {"api", "finder"}} {
		_, err := app.Build(t.Context(), cfg, names, quiet)
		locked, ok := errors.AsType[*store.LockedError](err)
		if !ok || locked.PID != os.Getpid() || !strings.Contains(err.Error(), "stop it first") {
			t.Errorf("a second writer, %v: %v", names, err)
		}
	}
	must(t, stop())
	must(t, writer.Close())
}

// TestBuildFails checks that what cannot be opened is explained, and that what
// was taken before is given back.
func TestBuildFails(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(file("text.db"), []byte(strings.Repeat("not a database\n", 100)), 0o600))
	execute(t, file("other.db"), `CREATE TABLE somebody (x)`)
	for _, name := range []string{"newer.db", "changed.db"} {
		cfg := newConfig(t)
		cfg.Store.URL = "sqlite:" + file(name)
		initialise(t, cfg)
	}
	execute(t, file("newer.db"), `INSERT INTO schema_version (version_id, is_applied) VALUES (999, 1)`)
	execute(t, file("changed.db"), `DROP TABLE hole`)
	for _, test := range []struct {
		name, file string
		is         error
		want       string
	}{
		{"api", "absent.db", os.ErrNotExist, "`bigbrotr init`"},
		{"api", "text.db", store.ErrCorrupt, "--store"},
		{"finder", "text.db", store.ErrCorrupt, "--store"},
		{"finder", "other.db", store.ErrCorrupt, "--store"},
		{"api", "newer.db", store.ErrNewer, "use the newer bigbrotr"},
		{"finder", "newer.db", store.ErrNewer, "use the newer bigbrotr"},
		{"api", "changed.db", store.ErrSchema, "hole"},
		{"finder", "changed.db", store.ErrSchema, "restore it from a backup"},
		{"finder", "text.db/x.db", nil, "choose another with --store or --data"},
	} {
		cfg := newConfig(t)
		cfg.Store.URL = "sqlite:" + file(test.file)
		_, err := app.Build(t.Context(), cfg, []string{test.name}, quiet)
		if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s on %s: the error is %v, want %q in it", test.name, test.file, err, test.want)
		}
	}
	if _, err := os.Stat(file("absent.db")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a reader made a store")
	}

	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer busy.Close()
	cfg := newConfig(t)
	cfg.API.Listen = busy.Addr().String()
	_, err = app.Build(t.Context(), cfg, app.Services(), quiet)
	if err == nil || !strings.Contains(err.Error(), cfg.API.Listen) {
		t.Errorf("a busy port: %v", err)
	}
	cfg.API.Listen = "127.0.0.1:0" // the store was let go
	a, err := app.Build(t.Context(), cfg, app.Services(), quiet)
	must(t, err)
	must(t, a.Close())
}

func execute(t *testing.T, file, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	must(t, err)
	_, err = db.ExecContext(t.Context(), statement)
	must(t, err)
	must(t, db.Close())
}

// TestReadiness checks that readiness turns red when a service fails, with its
// name, and that the other pages go on.
func TestReadiness(t *testing.T) {
	cfg := newConfig(t)
	cfg.Finder.Interval = config.Duration(time.Second)
	initialise(t, cfg)
	file := filepath.Join(cfg.Data, "bigbrotr.db")
	a, _ := start(t, cfg, "finder", "api")
	if status, body := get(t, a, "/readyz"); status != http.StatusOK {
		t.Fatalf("at first: status %d: %s", status, body)
	}
	execute(t, file+"?_pragma=busy_timeout(10000)", `DROP TABLE position`)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		status, body := get(t, a, "/readyz")
		if status == http.StatusServiceUnavailable && strings.Contains(body, "finder has failed") && strings.Contains(body, "the store: ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("readiness is %d: %s", status, body)
		}
	}
	if status, _ := get(t, a, "/healthz"); status != http.StatusOK {
		t.Errorf("health is %d", status)
	}
}

// TestStopEarly checks that a stop before the first beat is no error.
func TestStopEarly(t *testing.T) {
	cfg := newConfig(t)
	cfg.Initializer.Seeds = ""
	a, err := app.Build(t.Context(), cfg, app.Services(), quiet)
	must(t, err)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.RunAndClose(stopped); err != nil {
		t.Errorf("stopped at once: %v", err)
	}
}

// TestConfigProblems checks that a configuration that cannot work is refused as
// a whole, with the keys.
func TestConfigProblems(t *testing.T) {
	cfg := app.DefaultConfig()
	cfg.Stop.Grace = config.Duration(time.Hour)
	cfg.Store.URL = "mysql:x"
	cfg.API.Listen = "nowhere"
	cfg.Finder.Batch = 0
	_, err := config.Load(&cfg, config.Sources{})
	for _, want := range []string{"stop.grace", "store.url", "api.listen", "finder.batch"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the problems lack %s: %v", want, fmt.Sprint(err))
		}
	}
	cfg = app.DefaultConfig()
	if _, err := config.Load(&cfg, config.Sources{}); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

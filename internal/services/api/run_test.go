package api_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api"
)

// held is a store whose figures and events are given out only when the test lets
// them.
type held struct {
	api.Store
	once  sync.Once
	asked chan struct{} // closed by the first question about events, which nobody asks but clients
	give  chan struct{} // closed by the test
}

func (h *held) wait(ctx context.Context) error {
	select {
	case <-h.give:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *held) Totals(ctx context.Context, now int64) (store.Totals, error) {
	if err := h.wait(ctx); err != nil {
		return store.Totals{}, err
	}
	return h.Store.Totals(ctx, now)
}

func (h *held) Events(ctx context.Context, q store.EventQuery) ([]store.Stored, store.Cursor, error) {
	h.once.Do(func() { close(h.asked) })
	if err := h.wait(ctx); err != nil {
		return nil, "", err
	}
	return h.Store.Events(ctx, q)
}

// running is an api run by a runner, as app does it.
type running struct {
	addr  string
	db    *sqlite.DB
	store *held
	stop  context.CancelFunc
	ended chan error
}

func run(t *testing.T, grace time.Duration) *running {
	t.Helper()
	db := newStore(t)
	r := &running{db: db, store: &held{Store: db, asked: make(chan struct{}), give: make(chan struct{})}, ended: make(chan error, 1)}
	cfg := api.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.Timeout = config.Duration(time.Minute)
	log := slog.New(slog.DiscardHandler)
	s := api.New(cfg, r.store, api.Process{
		Ready: func(context.Context) error { return nil }, Metrics: http.NotFoundHandler(),
	}, log)
	must(t, s.Listen(t.Context()))
	r.addr = s.Addr().String()
	runner := service.NewRunner(grace, log)
	runner.Add("api", s)
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.ended <- runner.Run(ctx) }()
	t.Cleanup(stop)
	return r
}

// answer is what a request came to.
type answer struct {
	status int
	body   string
	err    error
}

// get asks for a path in a goroutine of its own.
func (r *running) get(path string) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		resp, err := client.Get("http://" + r.addr + path)
		if err != nil {
			done <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		done <- answer{resp.StatusCode, string(body), err}
	}()
	return done
}

// within waits for a result, but not for ever.
func within[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

// TestStop checks that a request in hand is answered after a stop was asked
// for, while new ones find the door closed.
func TestStop(t *testing.T) {
	r := run(t, 15*time.Second)
	if a := within(t, "an answer", r.get("/healthz")); a.status != http.StatusOK {
		t.Fatalf("/healthz: %+v", a)
	}
	inHand := r.get("/api/v1/events")
	within(t, "the question", r.store.asked)
	r.stop()
	// The listener is closed soon after.
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", r.addr)
		if err != nil {
			break
		}
		must(t, conn.Close())
		if time.Now().After(deadline) {
			t.Fatal("the port is still open")
		}
	}
	select {
	case err := <-r.ended:
		t.Fatalf("ended with a request in hand: %v", err)
	case a := <-inHand:
		t.Fatalf("the request in hand came to %+v", a)
	case <-time.After(200 * time.Millisecond): // in which it would have
	}
	close(r.store.give)
	if a := within(t, "the answer in hand", inHand); a.status != http.StatusOK || !strings.Contains(a.body, `"events":[]`) {
		t.Errorf("in hand: %+v", a)
	}
	if err := within(t, "the end", r.ended); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestStopCut checks that a question that takes longer than the grace does not
// hold up the end, and that its client is told rather than left hanging.
func TestStopCut(t *testing.T) {
	r := run(t, 50*time.Millisecond)
	inHand := r.get("/api/v1/events")
	within(t, "the question", r.store.asked)
	r.stop()
	if err := within(t, "the end", r.ended); err != nil {
		t.Errorf("ended with %v", err)
	}
	if a := within(t, "the end of the request", inHand); a.status == http.StatusOK {
		t.Errorf("an answer came: %+v", a)
	}
}

// TestTimeout checks that a question ends when its time is over.
func TestTimeout(t *testing.T) {
	st := &held{Store: newStore(t), asked: make(chan struct{}), give: make(chan struct{})}
	cfg := api.DefaultConfig()
	cfg.Timeout = config.Duration(20 * time.Millisecond)
	h := api.New(cfg, st, api.Process{Metrics: http.NotFoundHandler()}, slog.New(slog.DiscardHandler)).Handler()
	for _, target := range []string{"/", "/api/v1/stats"} {
		w := ask(t, h, http.MethodGet, target)
		if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), "narrower") {
			t.Errorf("%s: status %d: %s", target, w.Code, w.Body)
		}
	}
}

// TestBusyPort checks that a port in use is an error that names it and what to
// do, before anything runs.
func TestBusyPort(t *testing.T) {
	busy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer busy.Close()
	cfg := api.DefaultConfig()
	cfg.Listen = busy.Addr().String()
	s := api.New(cfg, newStore(t), api.Process{}, slog.New(slog.DiscardHandler))
	err = s.Listen(t.Context())
	for _, want := range []string{cfg.Listen, "address already in use", "--listen", "api.listen"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q in it", err, want)
		}
	}
	must(t, s.Close())
}

// TestClose checks that a port is given back by an api that never ran, and that
// closing one that ran is no error.
func TestClose(t *testing.T) {
	cfg := api.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	s := api.New(cfg, newStore(t), api.Process{}, slog.New(slog.DiscardHandler))
	must(t, s.Listen(t.Context()))
	cfg.Listen = s.Addr().String()
	must(t, s.Close())
	again := api.New(cfg, newStore(t), api.Process{Metrics: http.NotFoundHandler()}, slog.New(slog.DiscardHandler))
	must(t, again.Listen(t.Context()))
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, again.Run(stopped))
	must(t, again.Close())
}

// TestLargeRequests checks the bounds of what a client may send.
func TestLargeRequests(t *testing.T) {
	r := run(t, time.Second)
	close(r.store.give)
	for _, test := range []struct {
		query string
		want  int
	}{
		{"ids=" + strings.Repeat(strings.Repeat("ab", 32)+",", 499) + strings.Repeat("cd", 32), http.StatusOK},
		{"tag=t:" + strings.Repeat("x", 100_000), http.StatusRequestHeaderFieldsTooLarge},
	} {
		if a := within(t, "an answer", r.get("/api/v1/events?"+test.query)); a.status != test.want {
			t.Errorf("a query of %d bytes: status %d, %v, want %d", len(test.query), a.status, a.err, test.want)
		}
	}
	r.stop()
	if err := within(t, "the end", r.ended); err != nil {
		t.Errorf("ended with %v", err)
	}
}

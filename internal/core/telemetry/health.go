package telemetry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// HealthConfig says whether and where a process tells how it is.
type HealthConfig struct {
	// Listen is the address at which /healthz, /readyz and /metrics are served,
	// such as 127.0.0.1:9100, for processes without the api, which serves them
	// too. Empty means none.
	Listen string `yaml:"listen"`
}

// readyTime is how long the answer of /readyz may take.
const readyTime = 10 * time.Second

// HandleHealth adds /healthz, which answers as long as the process lives,
// /readyz, which answers 503 and the reason while ready returns an error, and
// /metrics.
func HandleHealth(mux *http.ServeMux, ready func(context.Context) error, metrics http.Handler) {
	plain := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = fmt.Fprintln(w, text)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTime)
		defer cancel()
		if err := ready(ctx); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", metrics)
}

// ServeHealth serves what HandleHealth adds on the listener, which it closes,
// until ctx ends.
func ServeHealth(ctx context.Context, listener net.Listener, ready func(context.Context) error, metrics http.Handler) error {
	mux := http.NewServeMux()
	HandleHealth(mux, ready, metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	if err := serve(ctx, listener, server); err != nil {
		return fmt.Errorf("serve health: %w", err)
	}
	return nil
}

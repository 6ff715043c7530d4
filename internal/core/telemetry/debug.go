package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// DebugConfig says whether and where profiles are served.
type DebugConfig struct {
	// Listen is the address of the profiling server, such as 127.0.0.1:6060.
	// Empty means none. Whoever reaches it can read the memory of the process:
	// keep it on a loopback address.
	Listen string `yaml:"listen"`
}

// ServeDebug serves profiles below /debug/pprof/ on the listener, which it
// closes, until ctx ends.
func ServeDebug(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	// No write timeout: a profile takes as long as its reader asked for.
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	if err := serve(ctx, listener, server); err != nil {
		return fmt.Errorf("serve profiles: %w", err)
	}
	return nil
}

// serve runs a server until ctx ends and then closes it: neither a profile nor
// a question after health is worth waiting for.
func serve(ctx context.Context, listener net.Listener, server *http.Server) error {
	unwatch := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer unwatch()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

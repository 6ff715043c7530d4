// Package api owns what the archive shows to people and programs over HTTP: by
// package rest what is below /api, by package pages the pages, and the health of
// the process. It only reads, and asks everything through the catalogue of package
// query. At the address of the pages it lets package face be a relay.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/services/api/answer"
	"bigbrotr/internal/services/api/face"
	"bigbrotr/internal/services/api/pages"
	"bigbrotr/internal/services/api/rest"
)

// Config is what an operator may choose.
type Config struct {
	// Listen is the address of pages and REST.
	Listen string `yaml:"listen"`
	// Timeout bounds the answer to one request.
	Timeout config.Duration `yaml:"timeout"`
	// Relay says how the archive is a relay, at the same address.
	Relay face.Config `yaml:"relay"`
	// REST says how much programs may ask below /api.
	REST rest.Config `yaml:"rest"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:8080", Timeout: config.Duration(10 * time.Second), Relay: face.DefaultConfig(), REST: rest.DefaultConfig()}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "timeout", c.Timeout, config.Duration(100*time.Millisecond), config.Duration(5*time.Minute))
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		check.Add("listen", "is not host:port", "write an address such as 127.0.0.1:8080")
	}
}

// Store is what the api needs of the archive.
type Store interface {
	query.Store
	face.Store
}

// Process is what the api shows of the process it runs in.
type Process struct {
	// Ready returns nil when everything works, else what does not.
	Ready func(context.Context) error
	// Metrics serves /metrics.
	Metrics http.Handler
	// Registry takes the metrics of the relay; nil for none.
	Registry prometheus.Registerer
	// Gatherer reads the metrics for a page; nil for none.
	Gatherer prometheus.Gatherer
	// Recheck queues checks that visitors ask for; nil where the store is only read.
	Recheck pages.Recheck
	// Contact is how operators of relays reach ours when relay.contact is empty.
	Contact string
	// Agent is what we call ourselves to relays.
	Agent string
	// Version is shown at the foot of pages.
	Version string
}

// Service is the api.
type Service struct {
	cfg     Config
	query   *query.Catalogue
	face    *face.Face
	pages   *pages.Pages
	rest    *rest.API
	process Process
	log     *slog.Logger

	listener net.Listener // set by Listen
}

// New returns an api that reads from st.
func New(cfg Config, st Store, process Process, log *slog.Logger) *Service {
	catalogue := query.New(st)
	s := &Service{
		cfg: cfg, query: catalogue, process: process, log: log,
		face: face.New(cfg.Relay, st, cfg.Timeout.Std(), process.Version, process.Registry, log),
		pages: pages.New(catalogue, pages.Process{
			Version: process.Version, Ready: process.Ready, Metrics: process.Gatherer, Recheck: process.Recheck,
			Contact: cmp.Or(cfg.Relay.Contact, process.Contact), Agent: process.Agent,
		}, log),
	}
	s.rest = rest.New(cfg.REST, catalogue, st, rest.Options{
		Timeout: cfg.Timeout.Std(), Client: s.face.Client, Version: process.Version, Log: log,
	})
	return s
}

// Listen takes the port, so that a busy one is an error before anything runs.
func (s *Service) Listen(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; choose another with --listen or the key api.listen", s.cfg.Listen, err)
	}
	s.listener = l
	return nil
}

// Addr is the address that Listen took.
func (s *Service) Addr() net.Addr { return s.listener.Addr() }

// Close gives the port back when Run was never called.
func (s *Service) Close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// The bounds of what one process serves at a time, besides the connections that
// the relay is allowed. Connections are files, which the synchronizer needs too.
const (
	maxConnections = 1024
	maxFromOne     = 128      // of those, from one client address
	maxHeader      = 64 << 10 // a filter is in the address
	maxBody        = 4 << 10  // forms are small
)

// Run serves until a stop is asked for, then lets the requests in hand end.
// Listen comes first.
func (s *Service) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      s.cfg.Timeout.Std() + 5*time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(s.pages.End)
	until, cancel := service.UntilStop(ctx)
	defer cancel()
	var rooms sync.WaitGroup
	rooms.Go(func() { s.face.Run(until) })
	rooms.Go(func() { s.rest.Run(until) })
	rooms.Go(func() { s.query.Run(until) })
	defer rooms.Wait()
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(s.bounded())
	}()
	s.log.InfoContext(ctx, "serving", "address", s.listener.Addr().String())
	select {
	case err := <-served:
		cancel()
		return fmt.Errorf("serve: %w", err)
	case <-until.Done():
	}
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// bounded is the listener with a bound on the connections that it has open, and on
// those of one client address. Behind a reverse proxy all come from its address,
// and whom it lets in is up to it.
func (s *Service) bounded() net.Listener {
	relay := s.cfg.Relay
	most := maxConnections + relay.Connections
	each := most
	if relay.ClientHeader == "" {
		each = maxFromOne + relay.PerClient
	}
	return &doorkeeper{s.listener, answer.NewSeats(most, each)}
}

func (s *Service) handler() http.Handler {
	mux := http.NewServeMux()
	s.pages.Register(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer.Plain(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.process.Ready(r.Context()); err != nil {
			answer.Plain(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		answer.Plain(w, http.StatusOK, "ready\n")
	})
	mux.Handle("GET /metrics", s.process.Metrics)
	guarded := s.guard(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.face.Wants(r): // its connections last
			s.face.ServeHTTP(w, r)
		case s.rest.Wants(r): // so do some of its answers
			protect(w, r)
			s.rest.ServeHTTP(w, r)
		default:
			guarded.ServeHTTP(w, r)
		}
	})
}

// Questions is REST alone, for questions that come otherwise than over HTTP.
func (s *Service) Questions() http.Handler { return s.guard(s.rest.Questions()) }

// guard bounds the time of a request and sets the headers of its answer.
func (s *Service) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout.Std())
		defer cancel()
		protect(w, r)
		w.Header().Set("Cache-Control", "no-store") // what is shown changes by the second
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// protect bounds the body of a request and sets the headers of every answer.
func protect(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", pages.Policy)
}

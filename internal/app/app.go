package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/core/telemetry"
	"bigbrotr/internal/services/api"
	"bigbrotr/internal/services/monitor/probe"
)

// App is a set of services over one store. Build makes it without starting
// anything, Run drives it, Close takes it down.
type App struct {
	cfg      Config
	log      *slog.Logger
	store    store.Store
	owner    string
	init     bool
	readOnly bool // only the api was asked for
	places   *probe.Places
	api      *api.Service // nil when not asked for
	debug    net.Listener // nil when not asked for
	health   net.Listener // nil when not asked for
	runner   *service.Runner
}

// Build opens the store and builds the named services. A store that only the
// api reads is opened for reading, so that it may run beside a writer. The
// error says what to do.
func Build(ctx context.Context, cfg Config, names []string, log *slog.Logger) (_ *App, err error) {
	if err := checkNames(names); err != nil {
		return nil, err
	}
	a := &App{
		cfg: cfg, log: log, owner: newOwner(), init: slices.Contains(names, initializerName),
		readOnly: !slices.ContainsFunc(names, func(name string) bool { return name != apiName }),
		runner:   service.NewRunner(cfg.Stop.Grace.Std(), log),
	}
	if a.readOnly {
		a.store, err = ReadStore(ctx, cfg, log)
	} else {
		a.store, err = OpenStore(ctx, cfg, log)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.places, err = cfg.Monitor.Geo.Places(); err != nil {
		return nil, fmt.Errorf("open monitor.geo: %w", err)
	}
	reg := telemetry.NewRegistry()
	p := parts{
		cfg: cfg, store: a.store, dialer: newDialer(ctx, cfg, a.store, a.owner), places: a.places, owner: a.owner, reg: reg, log: log,
	}
	loops(a.runner, names, p, service.NewMetrics(reg))
	if slices.Contains(names, dvmName) {
		a.runner.Add(dvmName, newDVM(p))
	}
	if slices.Contains(names, apiName) {
		process := api.Process{
			Ready: a.ready, Metrics: telemetry.Handler(reg), Registry: reg, Gatherer: reg, Contact: cfg.Dial.Contact, Agent: cfg.Dial.UserAgent,
			Version: telemetry.ReadBuild().Version,
		}
		if !a.readOnly {
			process.Recheck = a.store.Recheck
		}
		a.api = api.New(cfg.API, a.store, process, log.With("service", apiName))
		if err := a.api.Listen(ctx); err != nil {
			return nil, err
		}
		a.runner.Add(apiName, a.api)
	}
	if cfg.Health.Listen != "" {
		if a.health, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Health.Listen); err != nil {
			return nil, fmt.Errorf("listen on %s: %w; choose another with the key health.listen", cfg.Health.Listen, err)
		}
		metrics := telemetry.Handler(reg)
		a.runner.Add("health", service.Func(func(ctx context.Context) error {
			until, cancel := service.UntilStop(ctx)
			defer cancel()
			return telemetry.ServeHealth(until, a.health, a.ready, metrics)
		}))
	}
	if cfg.Debug.Listen != "" {
		if a.debug, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Debug.Listen); err != nil {
			return nil, fmt.Errorf("listen on %s: %w; choose another with the key debug.listen", cfg.Debug.Listen, err)
		}
		a.runner.Add("debug", service.Func(a.serveDebug))
	}
	return a, nil
}

func (a *App) serveDebug(ctx context.Context) error {
	a.log.WarnContext(ctx, "serving profiles, which show the memory of the process", "address", a.debug.Addr().String())
	until, cancel := service.UntilStop(ctx)
	defer cancel()
	return telemetry.ServeDebug(until, a.debug)
}

// Store is the open store.
func (a *App) Store() store.Store { return a.store }

// Addr is where pages are served; nil without the api.
func (a *App) Addr() net.Addr {
	if a.api == nil {
		return nil
	}
	return a.api.Addr()
}

// Run runs the services until ctx ends, then lets each finish what it has in
// hand within the grace, and gives back its leases.
func (a *App) Run(ctx context.Context) error {
	if a.init {
		err := Init(ctx, a.cfg, a.store, a.log.With("service", initializerName))
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // asked to stop; the next start does it
		}
		if err != nil {
			return fmt.Errorf("run %s: %w", initializerName, err)
		}
	}
	err := a.runner.Run(ctx)
	if errors.Is(err, service.ErrStuck) || a.readOnly { // which leases nothing
		return err
	}
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, a.store.FreeLeases(free, a.owner))
}

// Close gives back the ports and the store. It is not called after
// service.ErrStuck: something may still use them.
func (a *App) Close() error {
	var err error
	if a.api != nil {
		err = a.api.Close()
	}
	for _, l := range []net.Listener{a.debug, a.health} {
		if l != nil {
			_ = l.Close() // done already when Run was called
		}
	}
	if a.places != nil {
		err = errors.Join(err, a.places.Close())
	}
	return errors.Join(err, a.store.Close())
}

// ready returns nil when the store can be read and no service fails.
func (a *App) ready(ctx context.Context) error {
	var failing []string
	if err := a.store.VerifySchema(ctx); err != nil {
		failing = append(failing, "the store: "+err.Error())
	}
	for _, h := range a.runner.Health() {
		if h.Failures > 0 {
			failing = append(failing, fmt.Sprintf("%s has failed %d times in a row", h.Name, h.Failures))
		}
	}
	if len(failing) > 0 {
		return errors.New(strings.Join(failing, "\n"))
	}
	return nil
}

// newDialer returns the dialer of a process. Processes on one database of
// PostgreSQL share its budgets; a file of SQLite has one process only.
func newDialer(ctx context.Context, cfg Config, st store.Store, owner string) *dial.Dialer {
	d := dial.New(cfg.Dial)
	if db, ok := st.(*postgres.DB); ok {
		return d.Share(db.Slots(ctx, owner))
	}
	return d
}

// newOwner returns a name for leases that no other process has.
func newOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:8])
}

// RunAndClose runs and then closes, unless something still uses the store.
func (a *App) RunAndClose(ctx context.Context) error {
	err := a.Run(ctx)
	if errors.Is(err, service.ErrStuck) {
		return err
	}
	return errors.Join(err, a.Close())
}

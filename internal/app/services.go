package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/telemetry"
	"bigbrotr/internal/services/api"
	"bigbrotr/internal/services/dvm"
	"bigbrotr/internal/services/finder"
	"bigbrotr/internal/services/initializer"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/services/refresher"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/services/validator"
)

// parts is what services are built from.
type parts struct {
	cfg    Config
	store  store.Store
	dialer *dial.Dialer
	places *probe.Places
	owner  string // who leases
	reg    prometheus.Registerer
	log    *slog.Logger
}

// row is a service that repeats a cycle.
type row struct {
	name  string
	every func(Config) config.Duration
	build func(parts) service.Cycler
}

// table holds the services in the order of a row's way through them. The
// initializer runs once before all others, api and dvm are asked; those are built
// apart.
var table = []row{
	{
		"finder", func(c Config) config.Duration { return c.Finder.Interval },
		func(p parts) service.Cycler {
			return finder.New(p.cfg.Finder, p.store, p.dialer, p.cfg.Rules(), p.owner, p.log)
		},
	},
	{
		"validator", func(c Config) config.Duration { return c.Validator.Interval },
		func(p parts) service.Cycler {
			return validator.New(p.cfg.Validator, p.store, p.dialer, p.owner, p.log)
		},
	},
	{
		"monitor", func(c Config) config.Duration { return c.Monitor.Interval },
		func(p parts) service.Cycler {
			return monitor.New(p.cfg.Monitor, p.store, p.dialer, p.places, p.owner, p.log)
		},
	},
	{
		"synchronizer", func(c Config) config.Duration { return c.Synchronizer.Interval },
		func(p parts) service.Cycler {
			return synchronizer.New(p.cfg.Synchronizer, p.store, p.dialer, p.owner, p.reg, p.log)
		},
	},
	{
		"refresher", func(c Config) config.Duration { return c.Refresher.Interval },
		func(p parts) service.Cycler { return refresher.New(p.cfg.Refresher, p.store, p.log) },
	},
}

const (
	initializerName = "initializer"
	apiName         = "api"
	dvmName         = "dvm"
)

// Services returns the names of all services.
func Services() []string {
	names := []string{initializerName}
	for _, r := range table {
		names = append(names, r.name)
	}
	return append(names, apiName, dvmName)
}

// UnknownServiceError names a service that does not exist.
type UnknownServiceError struct{ Name string }

func (e *UnknownServiceError) Error() string {
	return fmt.Sprintf("there is no service %q; choose from %s", e.Name, strings.Join(Services(), ", "))
}

func checkNames(names []string) error {
	for _, name := range names {
		if !slices.Contains(Services(), name) {
			return &UnknownServiceError{name}
		}
	}
	return nil
}

// newInitializer is also what `bigbrotr init` runs.
func newInitializer(cfg Config, st store.Store, log *slog.Logger) *initializer.Service {
	return initializer.New(cfg.Initializer, st, cfg.Rules(), log)
}

// Init prepares the store: schema and seeds.
func Init(ctx context.Context, cfg Config, st store.Store, log *slog.Logger) error {
	return newInitializer(cfg, st, log).Cycle(ctx)
}

// Refresh counts what a command has archived, so that what is read next tells.
func Refresh(ctx context.Context, cfg Config, st store.Store, log *slog.Logger) error {
	return refresher.New(cfg.Refresher, st, log).Cycle(ctx)
}

// NewMonitor returns a monitor for checks at once; it uses no store, so its
// connections are not counted with those of other processes.
func NewMonitor(cfg Config, log *slog.Logger) (*monitor.Service, error) {
	places, err := cfg.Monitor.Geo.Places()
	if err != nil {
		return nil, err
	}
	return monitor.New(cfg.Monitor, nil, dial.New(cfg.Dial), places, "", log), nil
}

// NewSynchronizer returns a synchronizer for syncing at once.
func NewSynchronizer(ctx context.Context, cfg Config, st store.Store, log *slog.Logger) *synchronizer.Service {
	owner := newOwner()
	return synchronizer.New(cfg.Synchronizer, st, newDialer(ctx, cfg, st, owner), owner, nil, log)
}

// newDVM returns the service that puts jobs to REST as this process would serve
// it, whether or not it does.
func newDVM(p parts) *dvm.Service {
	log := p.log.With("service", dvmName)
	rest := api.New(p.cfg.API, p.store, api.Process{Version: telemetry.ReadBuild().Version}, log)
	return dvm.New(p.cfg.DVM, p.store, p.dialer, p.cfg.Rules(), rest.Questions(), p.owner, p.reg, log)
}

// loops adds the named cycles to the runner.
func loops(runner *service.Runner, names []string, p parts, metrics *service.Metrics) {
	for _, r := range table {
		if !slices.Contains(names, r.name) {
			continue
		}
		own := p
		own.log = p.log.With("service", r.name)
		cycler := r.build(own)
		runner.Add(r.name, service.NewLoop(r.name, cycler, r.every(p.cfg).Std(), p.log, metrics))
		// Live tails share their connections with the visits of the synchronizer.
		if s, ok := cycler.(*synchronizer.Service); ok && s.Tails() != nil {
			runner.Add(synchronizer.TailName, service.NewLoop(synchronizer.TailName, s.Tails(), r.every(p.cfg).Std(), p.log, metrics))
		}
		// Receivers that are slow to hear keep no check waiting.
		if s, ok := cycler.(*monitor.Service); ok && s.Alerter() != nil {
			runner.Add(monitor.AlertName, service.NewLoop(monitor.AlertName, s.Alerter(), r.every(p.cfg).Std(), p.log, metrics))
		}
	}
}

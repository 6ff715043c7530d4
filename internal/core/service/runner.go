// Package service owns the life of long-running work: how services run side by
// side, how a cycle is repeated, how failures are waited out, and how all of it
// stops. What a service does is its own business.
//
// A stop has two stages. First the process is asked to stop (a signal, or
// another service that failed): Stopping turns true and the contexts of
// UntilStop end, but the context a service was given goes on, so that the page
// or batch in hand can be finished and saved. When the grace is over, that
// context ends as well and cuts whatever is still waiting. A fatal error skips
// the first stage.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// ErrStuck is in the error of Run when services did not return although their
// context had ended. What they use must not be closed below them: exit.
var ErrStuck = errors.New("service does not stop")

// lastWait is how long a service may take to return once its context has ended.
const lastWait = 5 * time.Second

// Service is one long-running piece of work.
type Service interface {
	// Run works until ctx ends or, sooner, until a stop is asked for. A nil
	// return before that means that nothing is left to do.
	Run(ctx context.Context) error
}

// Func makes a Service of a function.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Runner runs services side by side. The first that fails stops them all.
type Runner struct {
	grace    time.Duration
	log      *slog.Logger
	services []named
}

type named struct {
	name    string
	service Service
}

// NewRunner returns a Runner that gives work in hand the grace to end once a
// stop is asked for.
func NewRunner(grace time.Duration, log *slog.Logger) *Runner {
	return &Runner{grace: grace, log: log}
}

// Add adds a service under a name of its own. All are added before Run.
func (r *Runner) Add(name string, s Service) {
	r.services = append(r.services, named{name, s})
}

// Run runs the services until all have returned, and asks them to stop when ctx
// ends or one of them fails. It returns nil after a stop that was asked for from
// outside, whether or not the grace sufficed, and else what failed. A panic is a
// failure with ErrFatal.
func (r *Runner) Run(ctx context.Context) error {
	soft, ask := context.WithCancel(ctx)
	defer ask()
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	type result struct {
		name string
		err  error
	}
	results := make(chan result, len(r.services)) // never blocks, so that a stuck service can end later
	running := map[string]bool{}
	for _, s := range r.services {
		running[s.name] = true
		go func() { results <- result{s.name, r.call(withSoft(hard, soft), s)} }()
	}

	// This goroutine owns the state. The nil channels are stages not reached yet.
	var failed error
	var grace, last <-chan time.Time
	stopping := soft.Done()
	for len(running) > 0 {
		select {
		case res := <-results:
			delete(running, res.name)
			if res.err == nil || (soft.Err() != nil && errors.Is(res.err, context.Canceled)) {
				continue
			}
			failed = errors.Join(failed, fmt.Errorf("run %s: %w", res.name, res.err))
			ask()
			if errors.Is(res.err, ErrFatal) && last == nil {
				cut()
				grace, last = nil, time.After(lastWait)
			}
		case <-stopping:
			stopping = nil
			if last == nil {
				r.log.Info("stopping", "services", names(running), "grace", r.grace)
				grace = time.After(r.grace)
			}
		case <-grace:
			r.log.Warn("grace is over, cutting work short", "services", names(running))
			cut()
			grace, last = nil, time.After(lastWait)
		case <-last:
			return errors.Join(failed, fmt.Errorf("%w: %s", ErrStuck, names(running)))
		}
	}
	return failed
}

// call runs one service and turns a panic into an error. The trace is logged
// here because it is gone once the stack has unwound.
func (r *Runner) call(ctx context.Context, s named) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("service panicked", "service", s.name, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: panic: %v", ErrFatal, p)
		}
	}()
	return s.service.Run(ctx)
}

func names(running map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(running)), ", ")
}

// Health is how a service fares.
type Health struct {
	Name     string
	Failures int // in a row; ready means none
}

// Health lists the services that can tell how they fare, which loops can.
func (r *Runner) Health() []Health {
	var list []Health
	for _, s := range r.services {
		if teller, ok := s.service.(interface{ Health() Health }); ok {
			h := teller.Health()
			h.Name = s.name
			list = append(list, h)
		}
	}
	return list
}

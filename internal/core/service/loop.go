package service

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// retry is the wait after failed cycles. It starts short, because most troubles
// are a moment's, and stays below the patience of a person who watches.
var retry = Backoff{
	Steps: []time.Duration{
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
		30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	},
	Jitter: spread,
}

// spread is the share by which a wait differs at random, so that processes
// started together do not ask the database together for ever.
const spread = 0.1

// Cycler is one turn of a service: it asks what is due, does it and saves it. A
// turn that fails is repeated, so it must leave nothing half done.
type Cycler interface {
	Cycle(ctx context.Context) error
}

// Loop repeats the cycle of a service until a stop is asked for. A cycle that
// fails is logged, counted and tried again after a growing wait; only ErrFatal
// ends the loop.
type Loop struct {
	name    string
	cycler  Cycler
	every   time.Duration
	log     *slog.Logger
	metrics *Metrics

	mu     sync.Mutex
	health Health
}

// NewLoop returns a loop that waits every, give or take a tenth, from the end of
// one cycle to the start of the next. Metrics may be nil.
func NewLoop(name string, c Cycler, every time.Duration, log *slog.Logger, m *Metrics) *Loop {
	return &Loop{name: name, cycler: c, every: every, log: log.With("service", name), metrics: m, health: Health{Name: name}}
}

// Run repeats the cycle, the first time at once. It returns nil when a stop was
// asked for, or an error with ErrFatal.
func (l *Loop) Run(ctx context.Context) error {
	for !Stopping(ctx) {
		start := time.Now()
		err := l.cycler.Cycle(ctx)
		if errors.Is(err, ErrFatal) {
			return err
		}
		if err != nil && Stopping(ctx) && errors.Is(err, context.Canceled) {
			return nil // cut short by the stop, which is no failure
		}
		failures := l.record(err, time.Since(start))
		wait := Jitter(l.every, spread)
		if err != nil {
			wait = retry.After(failures)
			l.log.Error("cycle failed", "failures", failures, "retry_in", wait, "error", err)
		}
		Pause(ctx, wait)
	}
	return nil
}

// Health tells how the loop fares.
func (l *Loop) Health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.health
}

// record notes the end of a cycle and returns the failures in a row.
func (l *Loop) record(err error, took time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.health.Failures++
	} else {
		l.health.Failures = 0
	}
	l.metrics.record(l.name, l.health.Failures, took)
	return l.health.Failures
}

// Pause waits, or returns sooner when ctx ends or a stop is asked for.
func Pause(ctx context.Context, d time.Duration) {
	until, cancel := UntilStop(ctx)
	defer cancel()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-until.Done():
	}
}

// Metrics measures loops.
type Metrics struct {
	cycles   *prometheus.CounterVec
	failures *prometheus.GaugeVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics registers the metrics of loops; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		cycles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bigbrotr_service_cycles_total", Help: "Cycles that ended, by service and result.",
		}, []string{"service", "result"}),
		failures: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bigbrotr_service_failures", Help: "Cycles that failed in a row until now, by service.",
		}, []string{"service"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bigbrotr_service_cycle_seconds", Help: "Length of cycles, by service.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10), // 10 ms to 44 minutes
		}, []string{"service"}),
	}
	if reg != nil {
		reg.MustRegister(m.cycles, m.failures, m.seconds)
	}
	return m
}

func (m *Metrics) record(name string, failures int, took time.Duration) {
	if m == nil {
		return
	}
	result := "ok"
	if failures > 0 {
		result = "failed"
	}
	m.cycles.WithLabelValues(name, result).Inc()
	m.failures.WithLabelValues(name).Set(float64(failures))
	m.seconds.WithLabelValues(name).Observe(took.Seconds())
}

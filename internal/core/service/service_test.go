package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

var quiet = slog.New(slog.DiscardHandler)

type cycle func(ctx context.Context) error

func (c cycle) Cycle(ctx context.Context) error { return c(ctx) }

func TestBackoff(t *testing.T) {
	b := Backoff{Steps: []time.Duration{time.Second, time.Minute}}
	for failures, want := range map[int]time.Duration{-1: 0, 0: 0, 1: time.Second, 2: time.Minute, 3: time.Minute, 1000: time.Minute} {
		if got := b.After(failures); got != want {
			t.Errorf("After(%d) = %v, want %v", failures, got, want)
		}
	}
	if got := (Backoff{}).After(5); got != 0 {
		t.Errorf("a back-off without steps waits %v", got)
	}
	low, high := time.Duration(1<<62), time.Duration(0)
	for range 1000 {
		d := Jitter(time.Minute, 0.2)
		low, high = min(low, d), max(high, d)
	}
	if low < 48*time.Second || low > 52*time.Second || high > 72*time.Second || high < 68*time.Second {
		t.Errorf("a minute with a jitter of a fifth goes from %v to %v", low, high)
	}
}

// TestLoopTimes checks when cycles start: at once, then after the interval, after
// failures by the steps of the back-off, and after a success by the interval again.
func TestLoopTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		outcome := []error{nil, nil, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, nil, nil}
		begin := time.Now()
		var starts []time.Duration
		var health []int
		var l *Loop
		l = NewLoop("test", cycle(func(context.Context) error {
			starts = append(starts, time.Since(begin))
			health = append(health, l.Health().Failures)
			if len(starts) == len(outcome) {
				stop()
			}
			return outcome[len(starts)-1]
		}), time.Minute, quiet, nil)
		if err := l.Run(ctx); err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, time.Minute, time.Minute, time.Second, 2 * time.Second, 5 * time.Second, time.Minute}
		for i, start := range starts {
			gap := start
			if i > 0 {
				gap -= starts[i-1]
			}
			if gap < want[i]*9/10 || gap > want[i]*11/10 {
				t.Errorf("cycle %d starts %v after the one before, want %v give or take a tenth", i, gap, want[i])
			}
		}
		if diff := cmp.Diff([]int{0, 0, 0, 1, 2, 3, 0}, health); diff != "" {
			t.Errorf("failures before each cycle (-want +got):\n%s", diff)
		}
	})
}

func TestRetryIsCapped(t *testing.T) {
	if got := retry.After(1000); got > 5*time.Minute+30*time.Second {
		t.Errorf("after a thousand failures the wait is %v", got)
	}
}

func TestLoopHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		cycles := 0
		reg := prometheus.NewRegistry()
		var log bytes.Buffer
		l := NewLoop("walker", cycle(func(context.Context) error {
			if cycles++; cycles == 1 {
				return errors.New("database away")
			}
			return nil
		}), time.Hour, slog.New(slog.NewTextHandler(&log, nil)), NewMetrics(reg))
		r := NewRunner(time.Second, quiet)
		r.Add("sync", l)
		r.Add("page", Func(func(ctx context.Context) error {
			until, cancel := UntilStop(ctx)
			defer cancel()
			<-until.Done()
			return nil
		}))
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()

		synctest.Wait()
		want := []Health{{Name: "sync", Failures: 1}}
		if diff := cmp.Diff(want, r.Health()); diff != "" {
			t.Errorf("health after a failure (-want +got):\n%s", diff)
		}
		for _, part := range []string{"level=ERROR", `msg="cycle failed"`, "service=walker", "failures=1", "retry_in=", `error="database away"`} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log lacks %s: %s", part, log.String())
			}
		}
		time.Sleep(2 * time.Second) // in the bubble: past the first wait
		synctest.Wait()
		if got := r.Health()[0]; got.Failures != 0 {
			t.Errorf("health after a success = %+v", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				label := ""
				for _, pair := range m.GetLabel() {
					label += " " + pair.GetValue()
				}
				got[f.GetName()+label] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		wantMetrics := map[string]float64{
			"bigbrotr_service_cycles_total failed walker": 1, "bigbrotr_service_cycles_total ok walker": 1,
			"bigbrotr_service_failures walker": 0, "bigbrotr_service_cycle_seconds walker": 2,
		}
		if diff := cmp.Diff(wantMetrics, got); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
}

// TestSoftStop checks the first stage: the unit in hand is finished, the next is
// not begun, and waits end.
func TestSoftStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		begin := time.Now()
		pages := 0
		r := NewRunner(10*time.Second, quiet)
		r.Add("sync", NewLoop("sync", cycle(func(ctx context.Context) error {
			for !Stopping(ctx) {
				select { // one page
				case <-time.After(3 * time.Second):
					pages++
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		}), time.Hour, quiet, nil))
		r.Add("idle", NewLoop("idle", cycle(func(context.Context) error { return nil }), time.Hour, quiet, nil))
		time.AfterFunc(4*time.Second, stop)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); pages != 2 || took != 6*time.Second {
			t.Errorf("stopped after %v with %d pages, want 6s with the second page finished", took, pages)
		}
	})
}

// TestGraceOver checks the second stage: work that would last longer is cut, and
// the stop is no failure.
func TestGraceOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		begin := time.Now()
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		r := NewRunner(10*time.Second, logger)
		r.Add("sync", NewLoop("sync", cycle(func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("read page: %w", ctx.Err())
		}), time.Hour, logger, nil))
		r.Add("plain", Func(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		time.AfterFunc(time.Second, stop)
		if err := r.Run(ctx); err != nil {
			t.Errorf("a stop that needed the cut returned %v", err)
		}
		if took := time.Since(begin); took != 11*time.Second {
			t.Errorf("stopped after %v, want 11s", took)
		}
		if !strings.Contains(log.String(), "grace is over") || !strings.Contains(log.String(), "plain, sync") {
			t.Errorf("the cut is not logged: %s", log.String())
		}
		if strings.Contains(log.String(), "cycle failed") {
			t.Errorf("the cut counts as a failure: %s", log.String())
		}
	})
}

func TestStuckService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		begin := time.Now()
		release := make(chan struct{})
		r := NewRunner(time.Second, quiet)
		r.Add("deaf", Func(func(context.Context) error { <-release; return nil }))
		stop()
		if err := r.Run(ctx); !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "deaf") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took != time.Second+lastWait {
			t.Errorf("gave up after %v", took)
		}
		close(release)
	})
}

// TestOneFails checks that the others are asked to stop, with their grace.
func TestOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finished := false
		r := NewRunner(10*time.Second, quiet)
		r.Add("once", Func(func(context.Context) error { return nil })) // done: no reason to stop
		r.Add("api", Func(func(context.Context) error {
			time.Sleep(time.Minute)
			return errors.New("port is busy")
		}))
		r.Add("sync", Func(func(ctx context.Context) error {
			until, cancel := UntilStop(ctx)
			defer cancel()
			<-until.Done()
			time.Sleep(9 * time.Second)
			finished = ctx.Err() == nil
			return nil
		}))
		err := r.Run(t.Context())
		if err == nil || err.Error() != "run api: port is busy" {
			t.Errorf("got %v", err)
		}
		if !finished {
			t.Error("the failure of one cut the work of another")
		}
	})
}

func TestFatal(t *testing.T) {
	tests := map[string]func(context.Context) error{
		"error": func(context.Context) error { return fmt.Errorf("%w: coverage overlaps", ErrFatal) },
		"panic": func(context.Context) error { panic("coverage overlaps") },
	}
	for name, broken := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var log bytes.Buffer
				r := NewRunner(10*time.Second, slog.New(slog.NewTextHandler(&log, nil)))
				r.Add("broken", NewLoop("broken", cycle(broken), time.Hour, quiet, nil))
				r.Add("sync", Func(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }))
				err := r.Run(t.Context())
				if !errors.Is(err, ErrFatal) || !strings.Contains(err.Error(), "coverage overlaps") || strings.Contains(err.Error(), "sync") {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("a broken invariant stopped the process only after %v", took)
				}
				if name == "panic" && (!strings.Contains(log.String(), "service panicked") || !strings.Contains(log.String(), "service_test.go")) {
					t.Errorf("the trace is not logged: %s", log.String())
				}
			})
		})
	}
}

func TestUntilStopWithoutRunner(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	until, release := UntilStop(ctx)
	defer release()
	if Stopping(ctx) || until.Err() != nil {
		t.Error("stopping before the end")
	}
	cancel()
	<-until.Done()
	if !Stopping(ctx) {
		t.Error("not stopping after the end")
	}

	// A deadline nearer than the stop counts too.
	near, cancelNear := context.WithCancel(withSoft(t.Context(), t.Context()))
	until, release = UntilStop(near)
	defer release()
	cancelNear()
	<-until.Done()
	if !Stopping(near) {
		t.Error("a context that has ended leaves time for more")
	}
}

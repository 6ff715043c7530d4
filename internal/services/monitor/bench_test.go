package monitor_test

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/simnet"
)

// BenchmarkCheck tells what an hourly check of a live relay costs: connections,
// and the part of one core that 2,000 relays an hour take. The processor time
// is that of the simulated relay too, so the true part is lower.
func BenchmarkCheck(b *testing.B) {
	network := simnet.New(61)
	b.Cleanup(network.Close)
	r, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		b.Fatal(err)
	}
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.PerMinute = true, 1_000_000
	s := monitor.New(monitor.DefaultConfig(), nil, dial.New(cfg), nil, "bench", slog.New(slog.DiscardHandler))
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, connections := spent(), r.Stats().Connections
	for b.Loop() {
		if report := s.Check(b.Context(), store.Relay{URL: r.URL(), State: store.StateUp}, false); report.State != store.StateUp {
			b.Fatalf("the relay is %s because of %q", report.State, report.Cause)
		}
	}
	each := float64(spent()-before) / float64(b.N)
	b.ReportMetric(float64(r.Stats().Connections-connections)/float64(b.N), "connections/check")
	b.ReportMetric(100*each*2000/float64(time.Hour), "%core@2000/h")
}

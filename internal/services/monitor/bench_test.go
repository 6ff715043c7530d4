package monitor_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/simnet"
)

// mostConnections is what one check of a relay may make.
const mostConnections = 3

// spent is the processor time of this process so far.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCheck tells what a check of a live relay costs: connections and
// processor time, that of the simulated relay included.
func BenchmarkCheck(b *testing.B) {
	for name, daily := range map[string]bool{"hourly": false, "daily": true} {
		b.Run(name, func(b *testing.B) {
			network := simnet.New(61)
			b.Cleanup(network.Close)
			r, err := network.AddRelay(simnet.Behaviour{})
			if err != nil {
				b.Fatal(err)
			}
			cfg := dial.DefaultConfig()
			cfg.AllowLocal, cfg.PerMinute = true, 1_000_000
			s := monitor.New(monitor.DefaultConfig(), nil, dial.New(cfg), nil, "bench", slog.New(slog.DiscardHandler))
			before, connections := spent(b), r.Stats().Connections
			for b.Loop() {
				if report := s.Check(b.Context(), store.Relay{URL: r.URL(), State: store.StateUp}, daily); report.State != store.StateUp {
					b.Fatalf("the relay is %s because of %q", report.State, report.Cause)
				}
			}
			made := float64(r.Stats().Connections-connections) / float64(b.N)
			if made > mostConnections {
				b.Errorf("%v connections in a check, want at most %d", made, mostConnections)
			}
			b.ReportMetric(made, "connections/check")
			b.ReportMetric(float64(spent(b)-before)/float64(b.N)/float64(time.Millisecond), "cpu-ms/check")
		})
	}
}

// BenchmarkCycle checks 2,000 live relays once, from the lease to the saved
// result, and tells which part of a core that takes when it is done every hour.
// The processor time is that of the simulated relays too, so the true part is
// lower.
func BenchmarkCycle(b *testing.B) {
	n := 200
	if os.Getenv("BENCH_FULL") != "" {
		n = 2000
	}
	var relays []*simnet.Relay
	var urls []relay.URL
	for len(relays) < n {
		network := simnet.New(uint64(62 + len(relays)))
		b.Cleanup(network.Close)
		for range 200 { // as many as a network may have, and some more
			r, err := network.AddRelay(simnet.Behaviour{})
			if err != nil {
				b.Fatal(err)
			}
			relays, urls = append(relays, r), append(urls, r.URL())
		}
	}
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bench.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	stored, err := db.AddRelays(b.Context(), urls, time.Now().Unix())
	if err != nil {
		b.Fatal(err)
	}
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.PerMinute = true, 1_000_000
	s := monitor.New(monitor.DefaultConfig(), db, dial.New(cfg), nil, "bench", slog.New(slog.DiscardHandler))
	cycle := func() {
		var next []store.Next
		for _, r := range stored {
			next = append(next, store.Next{Relay: r.ID, Service: monitor.Name, DueAt: time.Now().Unix() - 1})
		}
		if err := db.SaveNext(b.Context(), next); err != nil {
			b.Fatal(err)
		}
		if err := s.Cycle(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	cycle() // the thorough one of the day
	before := make([]int64, len(relays))
	for i, r := range relays {
		before[i] = r.Stats().Connections
	}
	begin := spent(b)
	for b.Loop() {
		cycle()
	}
	each := float64(spent(b)-begin) / float64(b.N) / float64(n)
	for i, r := range relays {
		if made := r.Stats().Connections - before[i]; made > int64(mostConnections*b.N) {
			b.Errorf("%d connections in %d checks of relay %d", made, b.N, i)
		}
	}
	b.ReportMetric(each/float64(time.Millisecond), "cpu-ms/check")
	b.ReportMetric(100*each*2000/float64(time.Hour), "%core@2000/h")
}

package synchronizer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/simnet"
)

// envRelays makes the test binary a network of relays instead.
const envRelays = "BIGBROTR_BENCH_RELAYS"

func TestMain(m *testing.M) {
	if os.Getenv(envRelays) == "" {
		os.Exit(m.Run())
	}
	n := simnet.New(9)
	for range 50 {
		r, err := n.AddRelay(simnet.Behaviour{Cap: 100, Compress: true})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(r.URL())
	}
	fmt.Println()
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the benchmark ends
	n.Close()
}

// BenchmarkIdleTails follows relays at which nothing happens, in another process,
// and reports what our side takes: memory of the process, and the share of a core.
// At full size they are 1,000 for two minutes.
func BenchmarkIdleTails(b *testing.B) {
	tails, during := 100, 5*time.Second
	if os.Getenv("BENCH_FULL") != "" {
		tails, during = 1000, 2*time.Minute
	}
	relays := exec.CommandContext(b.Context(), os.Args[0])
	relays.Env = append(os.Environ(), envRelays+"=1")
	in, err := relays.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := relays.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := relays.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = relays.Wait()
	}()
	var urls []relay.URL
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != ""; {
		for i := range tails / 50 {
			u, err := relay.Rules{AllowLocal: true}.Parse(fmt.Sprintf("%s/%d", strings.TrimSuffix(lines.Text(), "/"), i))
			if err != nil {
				b.Fatal(err)
			}
			urls = append(urls, u)
		}
	}
	for b.Loop() {
		db := openArchive(b)
		if _, err := db.AddRelays(b.Context(), urls, time.Now().Unix()); err != nil {
			b.Fatal(err)
		}
		cfg := DefaultConfig()
		cfg.Interval = config.Duration(time.Second)
		dialling := dial.DefaultConfig()
		dialling.AllowLocal, dialling.PerMinute = true, 1_000_000
		svc := New(cfg, db, dial.New(dialling), "bench", nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error)
		go func() { ended <- svc.Tails().Cycle(ctx) }()
		for standing := int64(0); standing < int64(tails); {
			<-time.After(100 * time.Millisecond)
			totals, err := db.TailTotals(ctx, time.Now().Unix())
			if err != nil {
				b.Fatal(err)
			}
			standing = totals.Standing
		}
		before := spent(b)
		<-time.After(during)
		used := spent(b) - before
		debug.FreeOSMemory()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		b.ReportMetric(used.Seconds()/during.Seconds(), "cores")
		b.ReportMetric(resident(b), "MB-resident")
		b.ReportMetric(float64(memory.HeapAlloc+memory.StackInuse)/float64(tails)/1000, "kB/tail")
		b.ReportMetric(float64(runtime.NumGoroutine())/float64(tails), "goroutines/tail")
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
	}
}

// spent is the time of all processors that this process has used.
func spent(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is what of this process is in memory, in megabytes.
func resident(tb testing.TB) float64 {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Skip(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		tb.Fatal(err)
	}
	return float64(pages*int64(os.Getpagesize())) / 1e6
}

package synchronizer

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

// envRelays makes the test binary a network of relays instead.
const envRelays = "BIGBROTR_BENCH_RELAYS"

func TestMain(m *testing.M) {
	if os.Getenv(envRelays) == "" {
		os.Exit(m.Run())
	}
	n := simnet.New(9)
	if err := serve(n, os.Getenv(envRelays) == secured); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the benchmark ends
	n.Close()
}

const (
	// secured is the value of envRelays for relays that speak TLS.
	secured = "tls"
	served  = 50 // relays
)

// serve starts relays and prints a line with their certificate, one with the URL of
// each, and an empty one.
func serve(n *simnet.Network, secure bool) error {
	authority, err := simnet.NewAuthority("bench")
	if err != nil {
		return err
	}
	// The first one tells the block of addresses that the others have theirs in.
	first, err := n.AddRelay(simnet.Behaviour{})
	if err != nil {
		return err
	}
	var names []string
	for addr := first.Addr().Addr(); len(names) <= served; addr = addr.Next() {
		names = append(names, addr.String())
	}
	cert, err := authority.Issue(simnet.Certificate{Names: names})
	if err != nil {
		return err
	}
	fmt.Println(base64.StdEncoding.EncodeToString(cert.Certificate[0]))
	add := n.AddRelay
	if secure {
		add = func(be simnet.Behaviour) (*simnet.Relay, error) { return n.AddSecure(be, "", cert) }
	}
	for range served {
		r, err := add(simnet.Behaviour{Cap: 100, Compress: true})
		if err != nil {
			return err
		}
		fmt.Println(r.URL())
	}
	fmt.Println()
	return nil
}

// BenchmarkIdleTails follows relays at which nothing happens, in another process,
// and reports what our side takes: memory of the process, and the share of a core.
// At full size they are 1,000 for two minutes.
func BenchmarkIdleTails(b *testing.B) {
	for name, kind := range map[string]string{"ws": "1", "wss": secured} {
		b.Run(name, func(b *testing.B) { idleTails(b, kind) })
	}
}

func idleTails(b *testing.B, kind string) {
	tails, during := 100, 5*time.Second
	if os.Getenv("BENCH_FULL") != "" {
		tails, during = 1000, 2*time.Minute
	}
	relays := exec.CommandContext(b.Context(), os.Args[0])
	relays.Env = append(os.Environ(), envRelays+"="+kind)
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
	lines := bufio.NewScanner(out)
	lines.Scan()
	der, err := base64.StdEncoding.DecodeString(lines.Text())
	if err != nil {
		b.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(cert)
	for lines.Scan() && lines.Text() != "" {
		for i := range tails / served {
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
		svc := New(cfg, db, dial.New(dialling).Trusting(trusted), "bench", nil, slog.New(slog.DiscardHandler))
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

// BenchmarkArrival has events that are dated long ago come to a relay that is
// followed live, one after the other, and reports after how long each is archived.
func BenchmarkArrival(b *testing.B) {
	count := 10
	if os.Getenv("BENCH_FULL") != "" {
		count = 300
	}
	events := simnet.Generate(simnet.Plan{Seed: 10, Count: count, Since: 1_600_000_000, Until: 1_700_000_000, Kinds: []nostr.Kind{1}})
	for b.Loop() {
		n := simnet.New(10)
		r, err := n.AddRelay(simnet.Behaviour{Cap: 100})
		if err != nil {
			b.Fatal(err)
		}
		db := openArchive(b)
		rows, err := db.AddRelays(b.Context(), []relay.URL{r.URL()}, time.Now().Unix())
		if err != nil {
			b.Fatal(err)
		}
		cfg := DefaultConfig()
		cfg.Interval = config.Duration(time.Second)
		dialling := dial.DefaultConfig()
		dialling.AllowLocal = true
		svc := New(cfg, db, dial.New(dialling), "bench", nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error)
		go func() { ended <- svc.Tails().Cycle(ctx) }()
		await := func(holds func() (bool, error)) {
			for {
				if ok, err := holds(); err != nil {
					b.Fatal(err)
				} else if ok {
					return
				}
				<-time.After(2 * time.Millisecond)
			}
		}
		await(func() (bool, error) {
			tail, err := db.Tail(ctx, rows[0].ID)
			return tail.Since > 0, err
		})
		took := make([]time.Duration, 0, count)
		for _, e := range events {
			begin := time.Now()
			r.Add(e)
			await(func() (bool, error) {
				stand, err := db.Holdings(ctx, rows[0].ID, []nostr.ID{e.ID}, store.Interval{Lo: 0, Hi: maxTime})
				return err == nil && stand[0].Hold == store.HoldDelivered, err
			})
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "most-ms")
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
		n.Close()
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

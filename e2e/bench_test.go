package e2e_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/simnet"
)

// full tells whether benchmarks run at the size of the published numbers, as
// `make bench` does with BENCH_FULL=1. Otherwise they only show that they work.
var full = os.Getenv("BENCH_FULL") != ""

func sized(whole, small int) int {
	if full {
		return whole
	}
	return small
}

// BenchmarkSync archives one relay with a cap of 500.
func BenchmarkSync(b *testing.B) {
	const pageCap = 500
	events := simnet.Generate(simnet.Plan{Seed: 100, Count: sized(100_000, 3000), Since: 1_500_000_000, Until: 1_700_000_000})
	for b.Loop() {
		n := simnet.New(100)
		r := add(b, n, simnet.Behaviour{Cap: pageCap, Count: simnet.CountExact, Compress: true}, events...)
		store := folder(b)
		begin := time.Now()
		reports, code := archive(b, impatient, store, r)
		took := time.Since(begin)
		if one := reports[r.URL().String()]; code != 0 || one.New != int64(r.Len()) {
			b.Fatalf("exit %d, %+v", code, one)
		}
		requests, ratio := cost(r)
		b.ReportMetric(requests, "REQs")
		b.ReportMetric(ratio, "downloaded/events")
		b.ReportMetric(float64(r.Len())/took.Seconds(), "events/s")
		n.Close()
	}
}

// BenchmarkDuplicates archives a relay, then another with the same events.
func BenchmarkDuplicates(b *testing.B) {
	events := simnet.Generate(simnet.Plan{Seed: 101, Count: sized(100_000, 3000), Since: 1_500_000_000, Until: 1_700_000_000})
	for b.Loop() {
		n := simnet.New(101)
		store := folder(b)
		var took [2]time.Duration
		for i := range took {
			r := add(b, n, simnet.Behaviour{Cap: 500, Count: simnet.CountExact}, events...)
			begin := time.Now()
			reports, code := archive(b, impatient, store, r)
			took[i] = time.Since(begin)
			one := reports[r.URL().String()]
			if want := []int64{int64(r.Len()), 0}[i]; code != 0 || one.New != want {
				b.Fatalf("relay %d: exit %d, %+v", i, code, one)
			}
		}
		count := float64(len(events))
		b.ReportMetric(count/took[0].Seconds(), "new/s")
		b.ReportMetric(count/took[1].Seconds(), "known/s")
		b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "known/new")
		n.Close()
	}
}

// BenchmarkNegentropy archives ten relays with the same events that speak NIP-77,
// and the first of them again: unchanged, and with a hundred events more in one
// day.
func BenchmarkNegentropy(b *testing.B) {
	const relays = 10
	events := simnet.Generate(simnet.Plan{Seed: 103, Count: sized(100_000, 3000), Since: 1_600_000_000, Until: 1_700_000_000})
	fresh := simnet.Generate(simnet.Plan{Seed: 104, Count: 100, Since: 1_650_000_000, Until: 1_650_080_000})
	be := simnet.Behaviour{Cap: 500, Negentropy: simnet.Negentropy{As: simnet.NegHonest}}
	for b.Loop() {
		n := simnet.New(103)
		store := folder(b)
		costs := func(r *simnet.Relay, what string) (bytes, requests float64) {
			reports, code := archive(b, impatient, store, r)
			one := reports[r.URL().String()]
			if code != 0 {
				b.Fatalf("%s: exit %d, %+v", what, code, one)
			}
			return float64(one.BytesReceived + one.BytesSent), float64(one.Requests)
		}
		first := add(b, n, be, events...)
		download, _ := costs(first, "first")
		total, second := download, 0.0
		for i := range relays - 1 {
			bytes, _ := costs(add(b, n, be, events...), "others")
			total += bytes
			if i == 0 {
				second = bytes
			}
		}
		unchanged, requests := costs(first, "unchanged")
		first.Add(fresh...)
		late, _ := costs(first, "changed")
		for _, e := range fresh {
			late -= float64(len(e.JSON))
		}
		// One that has nothing in common with them, and one that has half of them
		// besides as many of its own: the difference is what that half costs.
		const half = 2
		own := func(seed uint64) []*simnet.Event {
			return simnet.Generate(simnet.Plan{Seed: seed, Count: len(events) / half, Since: 1_600_000_000, Until: 1_700_000_000})
		}
		besides := func(what string, own, common []*simnet.Event) float64 {
			bytes, _ := costs(add(b, n, be, slices.Concat(own, common)...), what)
			for _, e := range own {
				bytes -= float64(len(e.JSON))
			}
			return bytes
		}
		var common []*simnet.Event
		for i := range len(events) / half {
			common = append(common, events[i*half])
		}
		stranger, partial := besides("stranger", own(108), nil), besides("partial", own(107), common)
		b.ReportMetric(100*stranger/(download/half), "%-of-download-stranger")
		b.ReportMetric(100*partial/(download/half), "%-of-download-partial")
		b.ReportMetric(100*(partial-stranger)/(download/half), "%-of-download-common")
		b.ReportMetric(100*second/download, "%-of-download")
		b.ReportMetric(total/download, "ten/one")
		b.ReportMetric(unchanged, "B-unchanged")
		b.ReportMetric(requests, "requests-unchanged")
		b.ReportMetric(late, "B-for-100-late")
		n.Close()
	}
}

// BenchmarkMillion reconciles a relay that names a million ids, spread over three
// years or all of one day: the first time, unchanged, and with a hundred events
// more. Most ids are of events that do not exist, which makes no difference to
// what is listed and compared.
func BenchmarkMillion(b *testing.B) {
	for _, bench := range []struct {
		name  string
		days  int64
		count int
	}{
		{"1,088_days", 1088, sized(1_000_000, 20_000)},
		{"one_day", 1, sized(300_000, 20_000)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			const since = 1_620_000_000 / 86_400 * 86_400
			until := since + bench.days*86_400 - 1
			events := simnet.Generate(simnet.Plan{Seed: 105, Count: 1000, Since: since, Until: until})
			fresh := simnet.Generate(simnet.Plan{Seed: 106, Count: 100, Since: since, Until: since + 80_000})
			for b.Loop() {
				n := simnet.New(105)
				be := simnet.Behaviour{Cap: 500, Negentropy: simnet.Negentropy{As: simnet.NegHonest}}
				r := add(b, n, be, events...)
				store := folder(b)
				measure(b, store, r) // so that the size of its pages is known
				be.Negentropy.Phantoms = bench.count
				r.SetBehaviour(be)
				visit := func(what string) {
					negs := r.Stats().Negs
					one, peak := measure(b, store, r)
					b.ReportMetric(float64(one.BytesReceived+one.BytesSent)/1000, "kB-"+what)
					b.ReportMetric(float64(r.Stats().Negs-negs), "rounds-"+what)
					b.ReportMetric(float64(peak)/(1<<20), "MB-"+what)
				}
				visit("first")
				visit("second") // the days of ids without an event are not known at first
				visit("unchanged")
				r.Add(fresh...)
				visit("100-late")
				n.Close()
			}
		})
	}
}

// measure syncs a relay and returns the report and the most memory it took.
func measure(b *testing.B, store string, r *simnet.Relay) (one report, peak int64) {
	b.Helper()
	// It takes the simulated relay some seconds to sort a million ids.
	patient := []string{"BIGBROTR_SYNCHRONIZER_IDLE=60s", "BIGBROTR_SYNCHRONIZER_PER_SECOND=1000"}
	p := start(b, patient, "sync", "--json", "--allow-local", "--store", store, r.URL().String())
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for ended := false; !ended; {
		select {
		case <-p.ended:
			ended = true
		case <-look.C:
			_, high := memory(p.cmd.Process.Pid)
			peak = max(peak, high)
		}
	}
	if code := p.wait(); code != 0 {
		b.Fatalf("exit %d\n%s", code, tail(p.stderr.String()))
	}
	decode(b, p.stdout.String(), &one)
	return one, peak
}

// BenchmarkMemory archives 20 relays side by side and samples the memory of the
// process while it does.
func BenchmarkMemory(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("memory is read from /proc")
	}
	const relays = 20
	perRelay := sized(25_000, 300)
	lots := make([][]*simnet.Event, relays)
	for i := range lots {
		lots[i] = simnet.Generate(simnet.Plan{Seed: uint64(200 + i), Count: perRelay, Since: 1_600_000_000, Until: 1_700_000_000})
	}
	for b.Loop() {
		n := simnet.New(200)
		args := []string{"sync", "--json", "--allow-local", "--store", folder(b)}
		for _, lot := range lots {
			args = append(args, add(b, n, simnet.Behaviour{Cap: 500, Compress: true}, lot...).URL().String())
		}
		begin := time.Now()
		p := start(b, impatient, args...)
		var resident []int64
		var peak int64
		look := time.NewTicker(100 * time.Millisecond)
		for ended := false; !ended; {
			select {
			case <-p.ended:
				ended = true
			case <-look.C:
				rss, high := memory(p.cmd.Process.Pid)
				if rss > 0 {
					resident, peak = append(resident, rss), max(peak, high)
				}
			}
		}
		look.Stop()
		took := time.Since(begin)
		if code := p.wait(); code != 0 {
			b.Fatalf("exit %d\n%s", code, tail(p.stderr.String()))
		}
		b.ReportMetric(float64(peak)/(1<<20), "peak-MB")
		b.ReportMetric(float64(relays*perRelay)/took.Seconds(), "events/s")
		if tenth := len(resident) / 10; tenth > 0 {
			// Flat: the last tenth is not above the second.
			early, late := mean(resident[tenth:2*tenth]), mean(resident[len(resident)-tenth:])
			b.ReportMetric(early/(1<<20), "early-MB")
			b.ReportMetric(late/(1<<20), "late-MB")
			var line strings.Builder
			for i := range 10 {
				fmt.Fprintf(&line, " %.0f", mean(resident[i*tenth:(i+1)*tenth])/(1<<20))
			}
			b.Logf("resident MB by tenths of %s:%s", took.Round(time.Second), line.String())
		}
		n.Close()
	}
}

func mean(list []int64) float64 {
	sum := 0.0
	for _, n := range list {
		sum += float64(n)
	}
	return sum / float64(len(list))
}

// memory reads what a process has in memory now, and the most it ever had.
func memory(pid int) (resident, peak int64) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0 // it has ended
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			resident = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	return resident, peak
}

// BenchmarkFirstPage starts everything on a new store until the first page is
// answered.
func BenchmarkFirstPage(b *testing.B) {
	n := network(b, 300)
	r := add(b, n, simnet.Behaviour{Cap: 500})
	for b.Loop() {
		begin := time.Now()
		u := up(b, folder(b), n.URLs())
		if status, _, _ := get(b, u.pages); status != 200 {
			b.Fatalf("status %d of %s", status, r.URL())
		}
		b.ReportMetric(time.Since(begin).Seconds(), "s/page")
		b.StopTimer()
		if code, _ := u.stop(os.Interrupt); code != 0 {
			b.Errorf("exit %d", code)
		}
		b.StartTimer()
	}
}

package probe_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/services/monitor/probe"
	"bigbrotr/internal/simnet"
)

// TestNames asks a name server that answers in every way.
func TestNames(t *testing.T) {
	names, err := simnet.NewNames()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	network := simnet.New(22)
	t.Cleanup(network.Close)
	r, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	addr := r.Addr().Addr().String()
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.NameServer, cfg.DNSTimeout = true, names.Addr().String(), config.Duration(time.Second)
	dialer := dial.New(cfg)

	const a, aaaa = "A", "AAAA"
	for _, test := range []struct {
		name, host string
		answers    map[string]simnet.Answer // by type
		open       dial.Cause
		dns        dial.Cause
		want       probe.Names
		values     map[string]float64
	}{
		{
			name: "address of either family", host: "both.example.com",
			answers: map[string]simnet.Answer{
				a: {Records: []string{"300 A " + addr}}, aaaa: {Records: []string{"60 AAAA ::1"}},
			},
			want: probe.Names{
				A: []string{addr}, AAAA: []string{"::1"}, NS: []string{"ns1.example.com", "ns2.example.com"},
				PTR: map[string][]string{addr: {"host.example.net"}},
			},
			// Nothing listens at ::1 on the relay's port.
			values: map[string]float64{"ttl_s": 60, "ipv4": 1, "ipv6": 0},
		},
		{
			name: "an alias", host: "alias.example.com",
			answers: map[string]simnet.Answer{"CNAME": {Records: []string{"30 CNAME both.example.com."}}},
			want: probe.Names{
				A: []string{addr}, AAAA: []string{"::1"}, NS: []string{"ns1.example.com", "ns2.example.com"},
				CNAME: []string{"both.example.com"}, PTR: map[string][]string{addr: {"host.example.net"}},
			},
			values: map[string]float64{"ttl_s": 60, "ipv4": 1, "ipv6": 0},
		},
		{
			name: "new addresses only", host: "six.example.com",
			answers: map[string]simnet.Answer{aaaa: {Records: []string{"60 AAAA ::1"}}},
			open:    dial.CauseTCPRefused,
			want:    probe.Names{AAAA: []string{"::1"}, NS: []string{"ns1.example.com", "ns2.example.com"}},
			values:  map[string]float64{"ttl_s": 60, "ipv6": 0},
		},
		{name: "no such name", host: "no.example.com", open: dial.CauseNXDomain, dns: dial.CauseNXDomain},
		{
			name: "a name without addresses", host: "empty.example.com",
			answers: map[string]simnet.Answer{a: {}, aaaa: {}}, open: dial.CauseNXDomain, dns: dial.CauseNXDomain,
		},
		{
			name: "a server that fails", host: "fails.example.com",
			answers: map[string]simnet.Answer{a: {ServFail: true}, aaaa: {ServFail: true}},
			open:    dial.CauseServFail, dns: dial.CauseServFail,
		},
		{
			name: "a server that does not answer", host: "slow.example.com",
			answers: map[string]simnet.Answer{a: {Silent: true}, aaaa: {Silent: true}},
			open:    dial.CauseDNSTimeout, dns: dial.CauseDNSTimeout,
		},
	} {
		names.Set("example.com", "NS", simnet.Answer{Records: []string{"3600 NS ns2.example.com.", "3600 NS NS1.example.com."}})
		names.Set(reverse(addr), "PTR", simnet.Answer{Records: []string{"60 PTR host.example.net."}})
		for kind, answer := range test.answers {
			names.Set(test.host, kind, answer)
		}
		t.Run(test.name, func(t *testing.T) {
			url, err := relay.Rules{AllowLocal: true}.Parse("ws://" + test.host + ":7447")
			if err != nil {
				t.Fatal(err)
			}
			if r.Addr().Port() != 7447 {
				t.Skip("the relay has another port")
			}
			have := map[string]probe.Result{}
			for _, found := range (probe.Kit{Dialer: dialer}).Check(t.Context(), url, false) {
				have[found.Probe] = found
			}
			if have["open"].Cause != test.open || have["dns"].Cause != test.dns {
				t.Fatalf("open fails by %q, dns by %q, want %q and %q", have["open"].Cause, have["dns"].Cause, test.open, test.dns)
			}
			if test.dns != "" {
				return
			}
			if d := cmp.Diff(test.want, readDocument[probe.Names](t, have["dns"])); d != "" {
				t.Errorf("records (-want +have):\n%s", d)
			}
			if d := cmp.Diff(test.values, have["dns"].Values); d != "" {
				t.Errorf("values (-want +have):\n%s", d)
			}
		})
	}
}

// reverse is the name at which the name of an IPv4 address is asked for.
func reverse(addr string) string {
	p := strings.Split(addr, ".")
	return p[3] + "." + p[2] + "." + p[1] + "." + p[0] + ".in-addr.arpa"
}

// TestOneResolution has a name that leads elsewhere each time it is asked for:
// a check asks once, and all its connections go to the address of that answer.
func TestOneResolution(t *testing.T) {
	names, err := simnet.NewNames()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	network := simnet.New(23)
	t.Cleanup(network.Close)
	first, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	if first.Addr().Port() != 7447 {
		t.Skip("relays have no addresses of their own here")
	}
	names.Set("moves.example.com", "A",
		simnet.Answer{Records: []string{"0 A " + first.Addr().Addr().String()}},
		simnet.Answer{Records: []string{"0 A " + second.Addr().Addr().String()}},
	)
	names.Set("moves.example.com", "AAAA", simnet.Answer{})
	url, err := relay.Rules{AllowLocal: true}.Parse("ws://moves.example.com:7447")
	if err != nil {
		t.Fatal(err)
	}
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.NameServer = true, names.Addr().String()
	for _, found := range (probe.Kit{Dialer: dial.New(cfg)}).Check(t.Context(), url, false) {
		if (found.Probe == "open" || found.Probe == "nip11") && !found.OK {
			t.Errorf("%s fails by %q", found.Probe, found.Cause)
		}
	}
	if f, s := first.Stats().Connections, second.Stats().Connections; f != 2 || s != 0 {
		t.Errorf("%d connections to the first address and %d to the second, want 2 and none", f, s)
	}
}

// TestOverTheWire has names of the whole world, by a name server that is slow,
// knows new addresses only, or leads to our own network the second time. The
// connections end at a relay of ours, wherever they were to go.
func TestOverTheWire(t *testing.T) {
	names, err := simnet.NewNames()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	network := simnet.New(24)
	t.Cleanup(network.Close)
	r, err := network.AddRelay(simnet.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	const old, six = "93.184.216.34", "2606:4700::1111"
	names.Set("six.example.com", "AAAA", simnet.Answer{Records: []string{"60 AAAA " + six}, Wait: 50 * time.Millisecond})
	names.Set("six.example.com", "A", simnet.Answer{})
	names.Set("rebinds.example.com", "A", simnet.Answer{Records: []string{"0 A " + old}}, simnet.Answer{Records: []string{"0 A 127.0.0.1"}})
	names.Set("rebinds.example.com", "AAAA", simnet.Answer{}, simnet.Answer{Records: []string{"0 AAAA ::ffff:10.0.0.1"}})
	var mu sync.Mutex
	var dialled []string
	cfg := dial.DefaultConfig()
	cfg.NameServer = names.Addr().String() // and no local addresses
	d := dial.New(cfg).Over(func(ctx context.Context, _, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		dialled = append(dialled, addr)
		return new(net.Dialer).DialContext(ctx, "tcp", r.Addr().String())
	})
	check := func(host string) map[string]probe.Result {
		t.Helper()
		u, err := relay.Parse("ws://" + host)
		if err != nil {
			t.Fatal(err)
		}
		dialled = nil
		have := map[string]probe.Result{}
		for _, found := range (probe.Kit{Dialer: d}).Check(t.Context(), u, false) {
			have[found.Probe] = found
		}
		return have
	}
	wants := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(dialled, want) {
			t.Errorf("%s: connections to %v, want %v", what, dialled, want)
		}
	}
	have := check("six.example.com")
	wants("new addresses only", "["+six+"]:80", "["+six+"]:80")
	if !have["open"].OK || !have["nip11"].OK || have["dns"].Values["ipv6"] != 1 {
		t.Errorf("new addresses only: %+v", have)
	}
	have = check("rebinds.example.com")
	wants("before it rebinds", old+":80", old+":80")
	if !have["open"].OK {
		t.Errorf("before it rebinds: %+v", have)
	}
	have = check("rebinds.example.com")
	wants("when it leads to us")
	if have["open"].Cause != dial.CauseAddress {
		t.Errorf("when it leads to us: %+v", have)
	}
}

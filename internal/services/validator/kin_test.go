package validator_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/validator"
	"bigbrotr/internal/simnet"
)

// introduces is the document of a relay with an operator.
func introduces(name string) *simnet.Info {
	return &simnet.Info{Body: fmt.Sprintf(`{"name":%q,"pubkey":%q}`, name, strings.Repeat("ab", 32))}
}

func events(seed uint64, n int) []*simnet.Event {
	return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: 1_600_000_000, Until: 1_700_000_000, Kinds: []nostr.Kind{1}})
}

// at returns a URL of a relay of a simulated network, which answers on any path.
func at(t *testing.T, r *simnet.Relay, path string) relay.URL {
	t.Helper()
	u, err := relay.Rules{AllowLocal: true}.Parse(r.URL().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// aliases says for every relay which one stands for it, empty when it does so
// itself.
func aliases(t *testing.T, db *sqlite.DB) map[relay.URL]relay.URL {
	t.Helper()
	byID := map[store.RelayID]relay.URL{}
	of := map[relay.URL]relay.URL{}
	for range 2 {
		for r, err := range db.ScanRelays(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			byID[r.ID] = r.URL
			of[r.URL] = byID[r.AliasOf]
		}
	}
	return of
}

// TestAliases has one cycle meet URLs that are one relay and URLs that only look
// like it.
func TestAliases(t *testing.T) {
	network := simnet.New(6)
	t.Cleanup(network.Close)
	add := func(info *simnet.Info, list ...*simnet.Event) *simnet.Relay {
		r, err := network.AddRelay(simnet.Behaviour{Info: info})
		if err != nil {
			t.Fatal(err)
		}
		r.Add(list...)
		return r
	}
	shared := events(1, 80)
	spammed := add(introduces("spammed"), shared...) // answers on every path
	empty := add(introduces("empty"))                // does so, too, and holds nothing
	twin := events(2, 80)
	one := add(introduces("twin"), twin...)
	mirror := add(introduces("twin"), twin...)            // copies its document and its events, on a host of its own
	nameless := add(&simnet.Info{Status: 404}, shared...) // holds what another one does
	stranger := add(introduces("stranger"), events(3, 80)...)
	var behind atomic.Pointer[string] // the other port of one's host
	behind.Store(new(one.URL().Host()))
	port := forward(t, one.URL().Hostname(), &behind)

	db := newStore(t)
	var mentions []store.Mention
	urls := []relay.URL{
		at(t, spammed, ""), at(t, spammed, "/a"), at(t, spammed, "/a/b"), at(t, empty, ""), at(t, empty, "/a"), one.URL(), port, mirror.URL(),
		nameless.URL(), at(t, nameless, "/x"), stranger.URL(),
	}
	for i, u := range urls {
		mentions = append(mentions, store.Mention{URL: u, Class: hints.Seed, At: int64(1000 + i)})
	}
	if _, err := db.AddMentions(t.Context(), mentions); err != nil {
		t.Fatal(err)
	}
	dialled := dial.DefaultConfig()
	dialled.AllowLocal, dialled.PerAddress = true, 64
	cfg := validator.DefaultConfig()
	cfg.Timeout = config.Duration(10 * time.Minute) // all of them answer
	s := validator.New(cfg, db, dial.New(dialled), "test", slog.New(slog.DiscardHandler))
	if err := s.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	groups := [][]relay.URL{{urls[0], urls[1], urls[2]}, {urls[3]}, {urls[4]}, {urls[5], urls[6]}, {urls[7]}, {urls[8], urls[9]}, {urls[10]}}
	check := func(when string) {
		t.Helper()
		of := aliases(t, db)
		if len(of) != len(urls) {
			t.Fatalf("%s: %d relays, want %d", when, len(of), len(urls))
		}
		for _, group := range groups {
			var standing []relay.URL
			for _, u := range group {
				if of[u].IsZero() {
					standing = append(standing, u)
				}
			}
			if len(standing) != 1 {
				t.Errorf("%s: of %v these stand for themselves: %v", when, group, standing)
				continue
			}
			for _, u := range group {
				if u != standing[0] && of[u] != standing[0] {
					t.Errorf("%s: %s is an alias of %q, want %s", when, u, of[u], standing[0])
				}
			}
		}
	}
	check("after a cycle")

	// Nobody reads them twice.
	now := time.Now().Unix() + 10
	work, err := db.DueRelays(t.Context(), store.Due{Service: "synchronizer", Now: now, Limit: 100, Owner: "look", Until: now})
	if err != nil {
		t.Fatal(err)
	}
	if len(work) != len(groups) {
		t.Errorf("%d relays are to be read, want %d", len(work), len(groups))
	}

	// When they are no longer one they are told apart, at the latest when asked.
	behind.Store(new(stranger.URL().Host()))
	if _, err := db.Recheck(t.Context(), []relay.URL{one.URL(), port}, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	groups[3] = []relay.URL{urls[5]}
	groups = append(groups, []relay.URL{urls[6]})
	check("after they part")
}

// forward listens on another port of a host and passes connections on.
func forward(t *testing.T, host string, to *atomic.Pointer[string]) relay.URL {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", *to.Load())
				if err != nil {
					return
				}
				defer out.Close()
				var back sync.WaitGroup
				back.Go(func() {
					_, _ = io.Copy(in, out)
					_ = in.Close()
				})
				_, _ = io.Copy(out, in)
				_ = out.Close()
				back.Wait()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		connections.Wait()
	})
	u, err := relay.Rules{AllowLocal: true}.Parse("ws://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestKinOfNobody checks that a relay that shares nothing is not even connected
// to when it is looked at again.
func TestKinOfNobody(t *testing.T) {
	network := simnet.New(7)
	t.Cleanup(network.Close)
	r, err := network.AddRelay(simnet.Behaviour{Info: introduces("alone")})
	if err != nil {
		t.Fatal(err)
	}
	db := newStore(t)
	try(t, db, r.URL())
	before := r.Stats()
	if _, err := db.Recheck(t.Context(), []relay.URL{r.URL()}, 1); err != nil {
		t.Fatal(err)
	}
	try(t, db)
	if diff := cmp.Diff(before, r.Stats()); diff != "" {
		t.Errorf("it was asked again (-before +after):\n%s", diff)
	}
}

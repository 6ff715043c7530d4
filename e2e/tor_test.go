package e2e_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
	"bigbrotr/internal/tortest"
)

// TestTor has the whole program at work on a relay that is an onion service: it is
// validated, checked, followed live and archived to the last event, through a Tor
// network of this machine alone.
func TestTor(t *testing.T) {
	t.Parallel()
	n := network(t, 71)
	now := time.Now().Unix()
	events := simnet.Generate(simnet.Plan{Seed: 71, Count: 300, Since: now - 90*86400, Until: now - 3600})
	r := add(t, n, simnet.Behaviour{Cap: 100, Compress: true, Negentropy: simnet.Negentropy{As: simnet.NegHonest}}, events...)
	tor := tortest.Start(t, r.Addr())
	onion, err := relay.Parse("ws://" + tor.Onions()[0])
	if err != nil {
		t.Fatal(err)
	}
	db := folder(t)
	cfg := configure(t, []relay.URL{onion})
	p := start(t, []string{"BIGBROTR_DIAL_TOR=" + tor.SOCKS(), "BIGBROTR_SYNCHRONIZER_IDLE=30s"}, "up", "--config", cfg, "--store", db, "--listen", "127.0.0.1:0", "--json")
	begin := time.Now()

	var row store.Relay
	var checks []store.Check
	var tail store.Tail
	var truth simnet.Result
	look := func() bool {
		st, err := app.ReadStore(t.Context(), configOf(db), quiet())
		if err != nil {
			return false // not made yet
		}
		defer st.Close()
		if row, err = st.Relay(t.Context(), onion); err != nil {
			return false
		}
		if checks, err = st.LatestChecks(t.Context(), row.ID); err != nil {
			t.Fatal(err)
		}
		if tail, err = st.Tail(t.Context(), row.ID); err != nil {
			t.Fatal(err)
		}
		accounts, err := app.Accounts(t.Context(), st, []relay.URL{onion})
		if err != nil {
			t.Fatal(err)
		}
		accounts[0].Relay = r.URL() // the network knows it by its address
		truth = n.Compare(accounts)
		return true
	}
	p.await("a relay that was validated", look)
	t.Logf("validated after %s", time.Since(begin))
	ok := func(probe string) bool {
		return slices.ContainsFunc(checks, func(c store.Check) bool { return c.Probe == probe && c.OK })
	}
	p.await("its checks", func() bool { return look() && row.State == store.StateUp && ok("open") && ok("read") && ok("nip11") })
	t.Logf("checked after %s", time.Since(begin))
	p.await("its events and a live tail", func() bool { return look() && truth.Archived == truth.Visible && tail.Since > 0 })
	t.Logf("archived after %s", time.Since(begin))
	complete(t, truth)
	if row.URL.Network() != relay.Tor || truth.Visible != len(events) {
		t.Errorf("%s is of network %s, %d events", row.URL, row.URL.Network(), truth.Visible)
	}

	late := simnet.Generate(simnet.Plan{Seed: 72, Count: 5, Since: now - 400*86400, Until: now - 300*86400})
	r.Add(late...)
	p.await("what arrives, whatever its date", func() bool { return look() && truth.Archived == len(events)+len(late) })
	if code, _ := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	shown := run(t, nil, "coverage", "--store", db, onion.String())
	if shown.code != 0 || !strings.Contains(shown.stdout, onion.Hostname()) {
		t.Errorf("exit %d\n%s%s", shown.code, shown.stdout, shown.stderr)
	}
	t.Log("\n" + shown.stdout)
}

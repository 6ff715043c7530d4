package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/simnet"
)

// crashes are moments, as a relay sees them, at which the program is killed.
var crashes = []struct {
	name string
	be   simnet.Behaviour
	when func(simnet.Stats) bool
}{
	{
		"connecting",
		simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Hang, When: simnet.When{First: 1}}}},
		func(s simnet.Stats) bool { return s.Sessions == 1 },
	},
	{
		"within the first page",
		simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Drip, N: 512, Wait: time.Millisecond, When: simnet.When{First: 1}}}},
		func(s simnet.Stats) bool { return s.Events > 20 },
	},
	{
		"after the first page",
		simnet.Behaviour{Cap: 100},
		func(s simnet.Stats) bool { return s.Requests >= 2 },
	},
	{
		"after the fifth page",
		simnet.Behaviour{Cap: 100},
		func(s simnet.Stats) bool { return s.Requests >= 6 },
	},
	{
		"after the tenth page",
		simnet.Behaviour{Cap: 100},
		func(s simnet.Stats) bool { return s.Requests >= 11 },
	},
	{
		"within a dense second",
		simnet.Behaviour{Cap: 20},
		func(s simnet.Stats) bool { return s.Requests >= 35 },
	},
	{
		"while the relay stalls",
		simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Stall, N: 30, When: simnet.When{Every: 5}}}},
		func(s simnet.Stats) bool { return s.Requests == 5 && s.Events >= 330 },
	},
	{
		"after the connection is lost",
		simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Reset, N: 50, When: simnet.When{Every: 4}}}},
		func(s simnet.Stats) bool { return s.Sessions >= 2 },
	},
	{
		"within a reconciliation",
		simnet.Behaviour{Cap: 100, Latency: 5 * time.Millisecond, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Frame: 512}},
		func(s simnet.Stats) bool { return s.Negs >= 4 },
	},
	{
		"while what was listed is fetched",
		simnet.Behaviour{Cap: 20, Latency: 5 * time.Millisecond, Negentropy: simnet.Negentropy{As: simnet.NegHonest}},
		func(s simnet.Stats) bool { return s.Negs >= 1 && s.Requests >= 8 },
	},
	{
		"while kinds are partitioned",
		simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{4, 1059}, PostFilter: true},
		func(s simnet.Stats) bool { return s.Requests >= 40 },
	},
}

// TestCrash kills the program at moments that the relay sees, looks at what the
// archive then says, lets it go on, and compares again.
func TestCrash(t *testing.T) {
	t.Parallel()
	events := fill(20)
	for i, c := range crashes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := network(t, 20+uint64(i)) //nolint:gosec // an index
			r := add(t, n, c.be, events...)
			other := add(t, n, simnet.Behaviour{Cap: 100}, events[:200]...)
			store := folder(t)
			p := start(t, impatient, "sync", "--json", "--allow-local", "--store", store, r.URL().String(), other.URL().String())
			p.await(c.name, func() bool { return c.when(r.Stats()) })
			p.kill()
			before := survive(t, store, n)
			asked := r.Stats().Requests

			_, code := archive(t, impatient, store, r, other)
			if code != 0 {
				t.Errorf("the second run: exit %d", code)
			}
			after := compare(t, store, n)
			complete(t, after)
			t.Logf("killed with %d of %d events archived after %d requests; %d more to the end", before, after.Visible, asked, r.Stats().Requests-asked)
		})
	}
}

// survive opens an archive whose writer was killed and returns how many events
// it holds. It must be whole and claim nothing that is false.
func survive(t *testing.T, store string, n *simnet.Network) int {
	t.Helper()
	if _, err := os.Stat(strings.TrimPrefix(store, "sqlite:")); err != nil {
		t.Logf("killed before there was a file: %v", err)
		return 0
	}
	st, err := app.ReadStore(t.Context(), configOf(store), quiet())
	if err != nil {
		// A kill within the first moments leaves a file without a schema; a
		// person is told to begin, not that something is broken.
		if strings.Contains(err.Error(), "bigbrotr init") {
			return 0
		}
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	truth := compare(t, store, n)
	truthful(t, truth)
	return truth.Archived
}

// TestCrashAgain kills one archiving many times, at a few more requests each.
func TestCrashAgain(t *testing.T) {
	t.Parallel()
	n := network(t, 40)
	events := fill(40)
	r := add(t, n, simnet.Behaviour{Cap: 40}, events...)
	store := folder(t)
	for round := range 12 {
		begin := r.Stats().Requests
		p := start(t, impatient, "sync", "--json", "--allow-local", "--store", store, r.URL().String())
		ended := false
		p.await("more requests", func() bool {
			select {
			case <-p.ended:
				ended = true
			default:
			}
			return ended || r.Stats().Requests-begin >= int64(3+round*2)
		})
		if ended {
			break
		}
		p.kill()
		held := survive(t, store, n)
		t.Logf("round %d: %d archived", round, held)
	}
	if _, code := archive(t, impatient, store, r); code != 0 {
		t.Errorf("exit code %d", code)
	}
	complete(t, compare(t, store, n))
}

// TestCrashImport kills imports after some of their lines are stored.
func TestCrashImport(t *testing.T) {
	t.Parallel()
	events := simnet.Generate(simnet.Plan{Seed: 50, Count: 20_000, Since: 1_600_000_000, Until: 1_700_000_000})
	file := filepath.Join(t.TempDir(), "events.jsonl")
	var text bytes.Buffer
	if err := simnet.WriteEvents(&text, events); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	valid := map[string]bool{}
	for _, e := range events {
		valid[e.ID.String()] = true
	}
	store := folder(t)
	last := 0
	for _, lines := range []int{1, 1000, 5000, 12_000} {
		p := start(t, nil, "import", "--json", "--store", store, file)
		p.await(fmt.Sprintf("%d stored events", lines), func() bool { return stored(t, store) >= lines })
		p.kill()
		held := ids(t, run(t, nil, "export", "--store", store))
		if len(held) < max(lines, last) {
			t.Errorf("%d events after the kill, %d before it", len(held), max(lines, last))
		}
		for id := range held {
			if !valid[id] {
				t.Errorf("event %s is none of the file's", id)
			}
		}
		last = len(held)
		t.Logf("killed with %d events stored", last)
	}
	done := run(t, nil, "import", "--json", "--store", store, file)
	var sum imported
	decode(t, done.stdout, &sum)
	if done.code != 0 || sum.Read != len(valid) || sum.Known != last || sum.Stored != len(valid)-last || sum.Rejected != 0 {
		t.Errorf("the last import: exit %d, %+v with %d known before", done.code, sum, last)
	}
	if held := ids(t, run(t, nil, "export", "--store", store)); len(held) != len(valid) {
		t.Errorf("%d events, want %d", len(held), len(valid))
	}
}

// stored counts the events of an archive that may be written to now, and that
// may not be there yet.
func stored(t *testing.T, store string) int {
	t.Helper()
	st, err := app.ReadStore(t.Context(), configOf(store), quiet())
	if err != nil {
		return 0
	}
	defer st.Close()
	n := 0
	for _, err := range st.ScanEvents(t.Context(), "", nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// imported is what import prints.
type imported struct {
	Read     int `json:"read"`
	Stored   int `json:"stored"`
	Known    int `json:"known"`
	Rejected int `json:"rejected"`
	Rejects  []struct {
		File   string `json:"file"`
		Line   int    `json:"line"`
		Reason string `json:"reason"`
	} `json:"rejects"`
}

// ids reads what export prints and checks that it prints no event twice.
func ids(t testing.TB, done result) map[string]bool {
	t.Helper()
	if done.code != 0 {
		t.Fatalf("export: exit %d\n%s", done.code, tail(done.stderr))
	}
	all := map[string]bool{}
	for line := range strings.Lines(done.stdout) {
		e, err := nostr.ParseEvent([]byte(strings.TrimSpace(line)))
		if err != nil {
			t.Fatalf("exported line %.200q: %v", line, err)
		}
		if all[e.ID.String()] {
			t.Errorf("event %s is exported twice", e.ID)
		}
		all[e.ID.String()] = true
	}
	return all
}

// TestStop asks the program to stop in the middle and lets it go on.
func TestStop(t *testing.T) {
	t.Parallel()
	events := fill(60)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			n := network(t, 60)
			r := add(t, n, simnet.Behaviour{Cap: 50, Latency: 2 * time.Millisecond}, events...)
			store := folder(t)
			p := start(t, impatient, "sync", "--json", "--allow-local", "--store", store, r.URL().String())
			p.await("some pages", func() bool { return r.Stats().Requests >= 6 })
			code, took := p.stop(s)
			if code != 0 || took.Seconds() > 10 {
				t.Errorf("stopped with exit %d after %s", code, took)
			}
			before := compare(t, store, n)
			truthful(t, before)
			if before.Archived == 0 || before.Archived == before.Visible {
				t.Errorf("%d of %d archived when stopped half-way", before.Archived, before.Visible)
			}
			if _, code := archive(t, impatient, store, r); code != 0 {
				t.Errorf("the second run: exit %d", code)
			}
			complete(t, compare(t, store, n))
		})
	}
}

// TestInterrupted visits a relay that cuts every visit short, within a second
// that does not fit into a page as well. What one visit has left must not look
// complete to the next.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	// Not a complaint about rates, after which it would be left alone for long.
	const more = "error: no more of this"
	for _, b := range []simnet.Behaviour{
		{Cap: 5, Rate: simnet.Rate{Requests: 9, Text: more}},
		{Cap: 5, Rate: simnet.Rate{Requests: 13, Text: more}, Count: simnet.CountExact, ExclusiveUntil: true},
		{Cap: 20, Rate: simnet.Rate{Requests: 11, Text: more}},
	} {
		n := network(t, 45)
		var events []*simnet.Event
		for i, e := range fill(2) {
			if i%4 == 2 {
				events = append(events, e)
			}
		}
		r := add(t, n, b, events...)
		store := folder(t)
		for visit := range 20 {
			reports, code := archive(t, impatient, store, r)
			truth := compare(t, store, n)
			truthful(t, truth)
			if t.Failed() {
				t.Fatalf("visit %d of %+v: %+v", visit, b, reports[r.URL().String()])
			}
			if code == 0 {
				break
			}
		}
	}
}

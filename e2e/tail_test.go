package e2e_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/simnet"
)

// TestTail follows a relay live with the whole program: what arrives is archived
// whatever its date, and the time in which nothing runs is a gap that is read again.
func TestTail(t *testing.T) {
	t.Parallel()
	n := network(t, 41)
	now := time.Now().Unix()
	r := add(t, n, simnet.Behaviour{Cap: 100}, simnet.Generate(simnet.Plan{Seed: 41, Count: 300, Since: now - 500*86400, Until: now - 3600, Kinds: []nostr.Kind{1, 7}})...)
	store := folder(t)
	p := up(t, store, []relay.URL{r.URL()})
	held := func(events []*simnet.Event) bool {
		st, err := app.ReadStore(t.Context(), configOf(store), quiet())
		if err != nil {
			return false // not made yet
		}
		defer st.Close()
		for _, e := range events {
			if _, err := st.EventRelays(t.Context(), e.ID); err != nil {
				return false
			}
		}
		return true
	}
	var seen coverage
	stands := func() bool {
		done := run(t, nil, "coverage", "--json", "--allow-local", "--store", store, r.URL().String())
		if done.code != 0 {
			return false
		}
		if err := json.Unmarshal([]byte(done.stdout), &seen); err != nil {
			t.Fatalf("%v in %q", err, done.stdout)
		}
		return seen.Tail.Stands && len(seen.Filters) > 0
	}
	p.await("a tail that stands", stands)
	first := seen.Tail.Since
	late := simnet.Generate(simnet.Plan{Seed: 42, Count: 20, Since: now - 400*86400, Until: now, Kinds: []nostr.Kind{1}})
	begin := time.Now()
	r.Add(late...)
	p.await("the archive of what arrived", func() bool { return held(late) })
	t.Logf("archived after %s", time.Since(begin))

	if code, _ := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	missed := simnet.Generate(simnet.Plan{Seed: 43, Count: 20, Since: now - 86400, Until: now, Kinds: []nostr.Kind{1}})
	r.Add(missed...)
	p = up(t, store, []relay.URL{r.URL()})
	p.await("what came meanwhile", func() bool { return held(missed) })
	p.await("a tail that stands again", func() bool { return stands() && seen.Tail.Since > first })
	if !slices.ContainsFunc(seen.Tail.Gaps, func(g gap) bool { return g.From >= first && g.Until == seen.Tail.Since && g.Cause == "self" }) {
		t.Errorf("no gap for the time between: %+v", seen.Tail)
	}
	if code, _ := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	complete(t, compare(t, store, n))
	shown := run(t, nil, "coverage", "--allow-local", "--store", store, r.URL().String())
	for _, want := range []string{"relay", "time", "level 1", "tail", "arrivals"} {
		if !strings.Contains(shown.stdout, want) {
			t.Errorf("nothing of %q in\n%s", want, shown.stdout)
		}
	}
	t.Log("\n" + shown.stdout + run(t, nil, "status", "--store", store).stdout)
	unknown := url.URL{Scheme: "ws", Host: "127.0.0.9:1"}
	if done := run(t, nil, "coverage", "--allow-local", "--store", store, unknown.String()); done.code != 1 || !strings.Contains(done.stderr, "sync") {
		t.Errorf("of an unknown relay: exit %d, %q", done.code, done.stderr)
	}
}

// TestKilledBesideTail kills the program while a visit has the connection of a
// tail, and while events arrive. What had the relay leased is dead, so the next
// process goes on at once, and nothing is lost whatever its date.
func TestKilledBesideTail(t *testing.T) {
	t.Parallel()
	n := network(t, 44)
	now := time.Now().Unix()
	r := add(t, n, simnet.Behaviour{Cap: 10, Latency: 20 * time.Millisecond}, simnet.Generate(simnet.Plan{Seed: 44, Count: 300, Since: now - 500*86400, Until: now - 3600, Kinds: []nostr.Kind{1, 7}})...)
	late := simnet.Generate(simnet.Plan{Seed: 45, Count: 30, Since: now - 400*86400, Until: now, Kinds: []nostr.Kind{1}})
	store := folder(t)
	for _, requests := range []int64{5, 12} {
		before := r.Stats()
		p := up(t, store, []relay.URL{r.URL()})
		p.await("a visit at work over the connection of a tail", func() bool {
			s := r.Stats()
			return s.Open == 1 && s.Requests >= before.Requests+requests
		})
		r.Add(late[:len(late)/2]...)
		late = late[len(late)/2:]
		p.kill()
		survive(t, store, n)
		r.Add(late[0])
	}
	r.Add(late...)
	p := up(t, store, []relay.URL{r.URL()})
	p.await("all events", func() bool {
		truth := compare(t, store, n) // of an archive that is written to: claims may be newer than events
		return truth.Archived == truth.Visible && truth.Visible == r.Len()
	})
	if code, _ := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	complete(t, compare(t, store, n))
}

// coverage is what is read of `coverage --json`.
type coverage struct {
	Filters []struct {
		Filter string `json:"filter"`
	} `json:"filters"`
	Tail struct {
		Stands bool  `json:"stands"`
		Since  int64 `json:"since"`
		Gaps   []gap `json:"gaps"`
	} `json:"tail"`
}

type gap struct {
	From  int64  `json:"from"`
	Until int64  `json:"until"`
	Cause string `json:"cause"`
}

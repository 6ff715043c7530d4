package e2e_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/simnet"
)

// quick is a configuration in which everything is due soon.
const quick = `dial:
  allow_local: true
initializer:
  seeds: %s
finder:
  interval: 1s
validator:
  interval: 1s
monitor:
  interval: 1s
synchronizer:
  interval: 1s
  retry: 1s
  idle: 2s
refresher:
  interval: 1s
api:
  rest:
    per_second: 1000
`

// running is `up` at work.
type running struct {
	*process
	pages string // ends with a slash
}

// configure writes a quick configuration with seeds and returns its file.
func configure(t testing.TB, seeds []relay.URL) string {
	t.Helper()
	dir := t.TempDir()
	var text strings.Builder
	for _, u := range seeds {
		fmt.Fprintln(&text, u)
	}
	write(t, filepath.Join(dir, "seeds.txt"), text.String())
	cfg := filepath.Join(dir, "bigbrotr.yaml")
	write(t, cfg, fmt.Sprintf(quick, filepath.Join(dir, "seeds.txt")))
	return cfg
}

// up starts everything on a store with these seeds and waits for its address.
func up(t testing.TB, store string, seeds []relay.URL) running {
	t.Helper()
	cfg := configure(t, seeds)
	p := start(t, nil, "up", "--config", cfg, "--store", store, "--listen", "127.0.0.1:0", "--json")
	p.await("the address of the pages", func() bool { return strings.Contains(p.stdout.String(), "\n") })
	var said struct {
		Store string `json:"store"`
		Pages string `json:"pages"`
	}
	decode(t, p.stdout.String(), &said)
	if said.Store != store || !strings.HasPrefix(said.Pages, "http://127.0.0.1:") {
		t.Fatalf("up says %+v", said)
	}
	return running{p, said.Pages}
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// world is a network of which only a part is among the seeds: the other relays
// are named by events.
func world(t testing.TB, seed uint64) (n *simnet.Network, seeds []relay.URL) {
	t.Helper()
	n = network(t, seed)
	for _, b := range []simnet.Behaviour{
		{Cap: 100, Compress: true},
		{Cap: 50, Count: simnet.CountExact},
		{Cap: 500, Hints: true},
		{Cap: 100, Order: simnet.OldestFirst},
		{Cap: 100},
		{Cap: 80, Restricted: []nostr.Kind{4, 1059}},
	} {
		add(t, n, b)
	}
	urls := n.URLs()
	now := time.Now().Unix()
	plan := simnet.Plan{Seed: seed, Count: 900, Since: now - 40*86_400, Until: now - 3600, Relays: urls}
	n.Spread(simnet.Generate(plan), 3)
	return n, urls[:2]
}

// visible counts the events of a network that anybody can see.
func visible(n *simnet.Network) int {
	ids := map[nostr.ID]bool{}
	for _, r := range n.Relays() {
		for _, e := range r.Visible(nostr.Filter{}) {
			ids[e.ID] = true
		}
	}
	return len(ids)
}

// stats is a part of what /api/v1/stats and `status --json` say.
type stats struct {
	Relays struct {
		Total     int            `json:"total"`
		ByState   map[string]int `json:"by_state"`
		ByNetwork map[string]int `json:"by_network"`
	} `json:"relays"`
	Candidates int `json:"candidates"`
	Events     int `json:"events"`
	Sightings  int `json:"sightings"`
	Coverage   []struct {
		Level, Relays, Seconds int64
	} `json:"coverage"`
	Holes struct {
		Count, Events int
	} `json:"holes"`
	Lag struct {
		Median int `json:"median_seconds"`
		Max    int `json:"max_seconds"`
	} `json:"lag"`
	StoreBytes int `json:"store_bytes"`
}

// relayList is what REST lists of relays.
type relayList struct {
	Relays []struct {
		State    string `json:"state"`
		Events   int    `json:"events"`
		Coverage struct {
			Hi int64 `json:"hi"`
		} `json:"coverage"`
	} `json:"relays"`
}

func (r running) json(path string, into any) {
	r.t.Helper()
	status, header, body := get(r.t, r.pages+path)
	if status != http.StatusOK || !strings.Contains(header.Get("Content-Type"), "json") {
		r.t.Fatalf("%s: %d %s\n%s", path, status, header.Get("Content-Type"), tail(body))
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		r.t.Fatalf("%s: %v\n%s", path, err, tail(body))
	}
}

// TestUp runs everything on a simulated network: relays are found, tried,
// checked and archived, and pages, REST and commands tell of it.
func TestUp(t *testing.T) {
	t.Parallel()
	n, seeds := world(t, 80)
	store := folder(t)
	begin := time.Now()
	r := up(t, store, seeds)
	status, _, body := get(t, r.pages)
	if status != http.StatusOK || !strings.Contains(body, "BigBrotr") {
		t.Errorf("the first page: %d\n%s", status, tail(body))
	}
	t.Logf("%s to the first page", time.Since(begin).Round(time.Millisecond))

	r.await("the archive to be complete", func() bool {
		var s stats
		r.json("api/v1/stats", &s)
		if s.Relays.ByState["up"] < len(n.Relays()) || s.Events < visible(n) {
			return false
		}
		truth := compare(t, store, n)
		return truth.Relays == len(n.Relays()) && truth.Archived == truth.Visible && truth.OK()
	})
	complete(t, compare(t, store, n))
	t.Logf("%s to the whole archive", time.Since(begin).Round(time.Millisecond))

	// Lists of relays are some seconds old.
	r.await("the lists to tell of what every relay holds", func() bool {
		var list relayList
		r.json("api/v1/relays?state=up", &list)
		whole := 0
		for _, one := range list.Relays {
			if one.State == "up" && one.Events > 0 && one.Coverage.Hi > 0 {
				whole++
			}
		}
		return whole == len(n.Relays())
	})
	t.Run("pages", func(t *testing.T) {
		for path, want := range map[string]string{"healthz": "ok", "readyz": "ready", "metrics": "go_goroutines"} {
			if status, _, body := get(t, r.pages+path); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("/%s: %d %q", path, status, tail(body))
			}
		}
		if status, _, _ := get(t, r.pages+"nothing/here"); status != http.StatusNotFound {
			t.Errorf("a page that is none: %d", status)
		}
		var body strings.Builder // of all pages of the list
		next := regexp.MustCompile(`href="(\?after=[^"]+)" rel="next"`)
		for query := "?"; query != ""; {
			_, _, page := get(t, r.pages+"relays"+html.UnescapeString(query))
			body.WriteString(page)
			query = ""
			if m := next.FindStringSubmatch(page); m != nil {
				query = m[1]
			}
		}
		for _, relay := range n.Relays() {
			if !strings.Contains(body.String(), relay.URL().Host()) {
				t.Errorf("%s is not in the list", relay.URL())
			}
		}
	})
	t.Run("rest", func(t *testing.T) { r.rest(n) })
	t.Run("beside", func(t *testing.T) {
		done := run(t, nil, "status", "--json", "--store", store)
		var beside, here stats
		if err := json.Unmarshal([]byte(done.stdout), &beside); err != nil || done.code != 0 {
			t.Fatalf("status: exit %d, %v\n%s", done.code, err, done.stderr)
		}
		r.json("api/v1/stats", &here)
		if beside.Events != here.Events || beside.Relays.Total != len(n.Relays()) || beside.StoreBytes == 0 || len(beside.Coverage) == 0 {
			t.Errorf("status says %+v, the page %+v", beside, here)
		}
		for _, args := range [][]string{{"import", "/dev/null"}, {"sync", "--allow-local", seeds[0].String()}, {"up", "--listen", "127.0.0.1:0"}} {
			done := run(t, nil, append(args, "--store", store)...)
			if pid := fmt.Sprint(r.cmd.Process.Pid); done.code != 1 || !strings.Contains(done.stderr, pid) || done.stdout != "" {
				t.Errorf("a second writer, %v: exit %d, %q; it should name process %s", args, done.code, done.stderr, pid)
			}
		}
		busy := strings.TrimSuffix(strings.TrimPrefix(r.pages, "http://"), "/")
		if done := run(t, nil, "up", "--store", folder(t), "--listen", busy); done.code != 1 || !strings.Contains(done.stderr, busy) {
			t.Errorf("a busy port: exit %d, %q", done.code, done.stderr)
		}
	})

	if code, took := r.stop(syscall.SIGTERM); code != 0 || took > 12*time.Second {
		t.Errorf("SIGTERM: exit %d after %s", code, took)
	}
	truthful(t, compare(t, store, n))

	// Again: it goes on where it was.
	plan := simnet.Plan{Seed: 81, Count: 50, Since: time.Now().Unix() - 600, Until: time.Now().Unix() - 60}
	n.Relays()[4].Add(simnet.Generate(plan)...)
	r = up(t, store, seeds)
	var s stats
	r.json("api/v1/stats", &s)
	if s.Events < visible(n)-50 || s.Relays.Total != len(n.Relays()) {
		t.Errorf("after a restart: %+v", s)
	}
	if code, took := r.stop(os.Interrupt); code != 0 || took > 12*time.Second {
		t.Errorf("SIGINT: exit %d after %s", code, took)
	}
	if _, code := archive(t, impatient, store, n.Relays()[4]); code != 0 {
		t.Errorf("sync: exit %d", code)
	}
	complete(t, compare(t, store, n))
}

// rest asks what strangers may ask.
func (r running) rest(n *simnet.Network) {
	t := r.t
	var relays relayList
	r.json("api/v1/relays?state=up", &relays)
	if len(relays.Relays) != len(n.Relays()) {
		t.Errorf("%d relays up, want %d", len(relays.Relays), len(n.Relays()))
	}

	// All public events, page by page, and no private one.
	want := map[string]bool{}
	for _, one := range n.Relays() {
		for _, e := range one.Visible(nostr.Filter{}) {
			if e.Kind != 4 && e.Kind != 1059 {
				want[e.ID.String()] = true
			}
		}
	}
	have := map[string]bool{}
	deleted := map[string]bool{}
	next := ""
	for {
		var page struct {
			Events []event `json:"events"`
			Next   string  `json:"next"`
		}
		r.json("api/v1/events?limit=200&after="+next, &page)
		for _, e := range page.Events {
			if e.Kind == 4 || e.Kind == 1059 {
				t.Errorf("event %s of private kind %d is served", e.ID, e.Kind)
			}
			if have[e.ID] {
				t.Errorf("event %s comes twice", e.ID)
			}
			have[e.ID] = true
			if e.Kind == 5 {
				for _, tag := range e.Tags {
					if len(tag) > 1 && tag[0] == "e" {
						deleted[tag[1]] = true
					}
				}
			}
		}
		if next = page.Next; next == "" {
			break
		}
	}
	for id := range want {
		if !have[id] && !deleted[id] {
			t.Errorf("public event %s is not served", id)
		}
	}
	var notes struct{ Events []event }
	r.json("api/v1/events?kinds=1&limit=3", &notes)
	if len(notes.Events) != 3 || notes.Events[0].Kind != 1 || notes.Events[0].CreatedAt < notes.Events[2].CreatedAt {
		t.Errorf("three notes: %+v", notes)
	}
	var private struct{ Events []event }
	r.json("api/v1/events?kinds=4,1059", &private)
	if len(private.Events) != 0 {
		t.Errorf("%d private events are served when asked for", len(private.Events))
	}
	if status, _, body := get(t, r.pages+"api/v1/events?limit=100000"); status != http.StatusUnprocessableEntity {
		t.Errorf("a limit that is too large: %d %s", status, tail(body))
	}
	var api struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	r.json("api/openapi.json", &api)
	for _, path := range []string{"/api/v1/stats", "/api/v1/relays", "/api/v1/events"} {
		if api.Paths[path] == nil {
			t.Errorf("the description lacks %s", path)
		}
	}
}

// TestSecondSignal asks twice, the second time in the middle of a page that
// takes long.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	n := network(t, 90)
	r := add(t, n, simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{What: simnet.Stall, N: 3, When: simnet.Always}}}, fill(90)...)
	store := folder(t)
	p := start(t, []string{"BIGBROTR_SYNCHRONIZER_IDLE=60s", "BIGBROTR_STOP_GRACE=60s"},
		"sync", "--json", "--allow-local", "--log-level", "info", "--store", store, r.URL().String())
	p.await("a stalled page", func() bool { return r.Stats().Events >= 3 })
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.await("the first signal to be heard", func() bool { return strings.Contains(p.stderr.String(), "stopping") })
	code, took := p.stop(syscall.SIGTERM)
	if code != 1 || took > 5*time.Second {
		t.Errorf("second signal: exit %d after %s", code, took)
	}
	truthful(t, compare(t, store, n))
	r.SetBehaviour(simnet.Behaviour{Cap: 100})
	if _, code := archive(t, impatient, store, r); code != 0 {
		t.Errorf("the next run: exit %d", code)
	}
	complete(t, compare(t, store, n))
}

// demoResult is what `demo --json` ends with.
type demoResult struct {
	Relays      int         `json:"relays"`
	Visible     int         `json:"visible"`
	Archived    int         `json:"archived"`
	Holes       int         `json:"holes"`
	Missing     int         `json:"missing"`
	FalseClaims int         `json:"false_claims"`
	Levels      map[int]int `json:"levels"` // relays
}

func TestDemo(t *testing.T) {
	t.Parallel()
	t.Run("json", func(t *testing.T) {
		begin := time.Now()
		done := run(t, nil, "demo", "--json")
		var r demoResult
		decode(t, done.stdout, &r)
		if done.code != 0 || r.Missing != 0 || r.FalseClaims != 0 || r.Relays < 10 || r.Archived == 0 || r.Archived > r.Visible {
			t.Errorf("exit %d, %+v", done.code, r)
		}
		for level := 1; level <= 4; level++ {
			if n := r.Levels[level]; n < 1 || n > r.Relays {
				t.Errorf("%d of %d relays have a proof of level %d", n, r.Relays, level)
			}
		}
		t.Logf("%+v after %s", r, time.Since(begin).Round(time.Millisecond))
	})
	t.Run("text", func(t *testing.T) {
		p := start(t, nil, "demo", "--listen", "127.0.0.1:0")
		p.await("its address", func() bool { return strings.Contains(p.stdout.String(), "http://127.0.0.1:") })
		if code, took := p.stop(os.Interrupt); code != 0 || took > 12*time.Second {
			t.Errorf("SIGINT: exit %d after %s", code, took)
		}
	})
}

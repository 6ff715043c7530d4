package e2e_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/simnet"
)

// report is what sync prints of one relay, with the fields that scripts rely on.
type report struct {
	URL            string    `json:"url"`
	Requests       int64     `json:"requests"`
	EventsReceived int64     `json:"events_received"`
	BytesReceived  int64     `json:"bytes_received"`
	BytesSent      int64     `json:"bytes_sent"`
	New            int64     `json:"new"`
	Known          int64     `json:"known"`
	Claimed        int64     `json:"claimed"`
	Withheld       int64     `json:"withheld"`
	Gone           int64     `json:"gone"`
	Negentropy     string    `json:"negentropy"`
	Auth           string    `json:"auth"`
	Authors        int64     `json:"authors"`
	Coverage       []covered `json:"coverage"`
	Holes          []hole    `json:"holes"`
	Cause          string    `json:"cause"`

	Tail json.RawMessage `json:"tail"`
	Cost costs           `json:"cost"`
}

// costs is what reading relays has cost.
type costs struct {
	Since          int64   `json:"since"`
	Requests       int64   `json:"requests"`
	Bytes          int64   `json:"bytes_received"`
	Received       int64   `json:"events_received"`
	New            int64   `json:"new"`
	Known          int64   `json:"known"`
	BytesPerNew    float64 `json:"bytes_per_new"`
	RequestsPerNew float64 `json:"requests_per_new"`
	Duplicates     float64 `json:"duplicates"`
}

type covered struct {
	Lo    int64 `json:"lo"`
	Hi    int64 `json:"hi"`
	Level int   `json:"level"`
	AsOf  int64 `json:"as_of"`
}

type hole struct {
	Lo     int64  `json:"lo"`
	Hi     int64  `json:"hi"`
	Kind   int64  `json:"kind"`
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// archive syncs relays and returns the report of each by URL.
func archive(t testing.TB, env []string, store string, relays ...*simnet.Relay) (map[string]report, int) {
	t.Helper()
	args := []string{"sync", "--json", "--allow-local", "--store", store}
	for _, r := range relays {
		args = append(args, r.URL().String())
	}
	done := run(t, env, args...)
	reports := map[string]report{}
	for line := range strings.Lines(done.stdout) {
		var r report
		decode(t, line, &r)
		reports[r.URL] = r
	}
	if len(reports) != len(relays) {
		t.Fatalf("%d reports of %d relays, exit %d\n%s%s", len(reports), len(relays), done.code, done.stdout, tail(done.stderr))
	}
	return reports, done.code
}

// always is a behaviour with faults that strike each time.
func always(faults ...simnet.Fault) simnet.Behaviour { return sometimes(simnet.Always, faults...) }

func sometimes(when simnet.When, faults ...simnet.Fault) simnet.Behaviour {
	b := simnet.Behaviour{Cap: 50}
	for _, f := range faults {
		f.When = when
		b.Faults = append(b.Faults, f)
	}
	return b
}

// The behaviours of single relays. An unfriendly one may be left before its
// end, but what is claimed of it is true all the same.
var behaviours = []struct {
	name       string
	be         simnet.Behaviour
	unfriendly bool
}{
	{name: "no limits", be: simnet.Behaviour{}},
	{name: "cap below the limit", be: simnet.Behaviour{Cap: 50}},
	{name: "cap above the limit", be: simnet.Behaviour{Cap: 5000}},
	{name: "tiny cap", be: simnet.Behaviour{Cap: 5}},
	{name: "refuses limits above its cap", be: simnet.Behaviour{Cap: 50, RefuseOverCap: true}},
	{name: "ignores the limit", be: simnet.Behaviour{Cap: 700, IgnoreLimit: true}},
	{name: "floods beyond the limit", be: simnet.Behaviour{Cap: 50, Flood: 13}},
	{name: "private kinds refused", be: simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{4, 1059}}},
	{name: "filters after limiting", be: simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{1, 4, 1059}, PostFilter: true}},
	{name: "filters after limiting and counts", be: simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{4, 1059}, PostFilter: true, Count: simnet.CountExact}},
	{name: "newest first, ties by arrival", be: simnet.Behaviour{Cap: 50, Order: simnet.NewestLatest}},
	{name: "oldest first", be: simnet.Behaviour{Cap: 50, Order: simnet.OldestFirst}},
	{name: "shuffled", be: simnet.Behaviour{Cap: 50, Order: simnet.Shuffled}},
	{name: "by id", be: simnet.Behaviour{Cap: 50, Order: simnet.ByID}},
	{name: "exclusive until", be: simnet.Behaviour{Cap: 50, ExclusiveUntil: true}},
	{name: "ignores since", be: simnet.Behaviour{Cap: 50, IgnoreSince: true}},
	{name: "ignores until", be: simnet.Behaviour{Cap: 50, IgnoreUntil: true}},
	{name: "hints", be: simnet.Behaviour{Cap: 50, Hints: true}},
	{name: "counts exactly", be: simnet.Behaviour{Cap: 50, Count: simnet.CountExact}},
	{name: "counts wrongly", be: simnet.Behaviour{Cap: 50, Count: simnet.CountWrong}},
	{name: "COUNT closed", be: simnet.Behaviour{Cap: 50, Count: simnet.CountClosed}},
	{name: "COUNT noticed", be: simnet.Behaviour{Cap: 50, Count: simnet.CountNotice}},
	{name: "negentropy", be: simnet.Behaviour{Cap: 50, Negentropy: simnet.Negentropy{As: simnet.NegHonest}}},
	{name: "negentropy of few at once", be: simnet.Behaviour{Cap: 50, Compress: true, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Most: 150, Frame: 2000}}},
	{name: "negentropy of a part", be: simnet.Behaviour{Cap: 50, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Newest: 60}}},
	{name: "negentropy that calls all equal", be: simnet.Behaviour{Cap: 50, Negentropy: simnet.Negentropy{As: simnet.NegNoDiff}}},
	{name: "negentropy with phantoms", be: simnet.Behaviour{Cap: 50, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Phantoms: 30}}},
	{
		name: "negentropy of private kinds, filters after limiting",
		be: simnet.Behaviour{
			Cap: 50, Restricted: []nostr.Kind{4, 1059}, PostFilter: true, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Restricted: true},
		},
	},
	{name: "compresses", be: simnet.Behaviour{Cap: 50, Compress: true}},
	{name: "refuses open filters", be: simnet.Behaviour{Cap: 50, Broad: simnet.BroadOpen}, unfriendly: true},
	{name: "wants authors", be: simnet.Behaviour{Cap: 50, Broad: simnet.BroadAuthorless}, unfriendly: true},
	{name: "wants authentication", be: simnet.Behaviour{Cap: 50, Auth: true}, unfriendly: true},
	{name: "limits requests", be: simnet.Behaviour{Cap: 50, Rate: simnet.Rate{Requests: 10}}, unfriendly: true},
	{name: "refuses by NOTICE", be: simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{4, 1059}, RefuseAs: simnet.RefuseNotice}},
	{name: "refuses by NOTICE and EOSE", be: simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{4, 1059}, RefuseAs: simnet.RefuseNoticeEOSE}},
	{name: "refuses by EOSE", be: simnet.Behaviour{Cap: 50, Restricted: []nostr.Kind{4, 1059}, RefuseAs: simnet.RefuseEmpty}},
	{name: "NOTICE before each page", be: always(simnet.Fault{What: simnet.Notice}), unfriendly: true},
	{name: "NOTICE now and then", be: sometimes(simnet.When{Every: 4}, simnet.Fault{What: simnet.Notice})},
	{name: "NOTICE and EOSE now and then", be: sometimes(simnet.When{Every: 3}, simnet.Fault{What: simnet.NoticeEOSE})},
	{name: "NOTICE and EOSE always", be: always(simnet.Fault{What: simnet.NoticeEOSE}), unfriendly: true},
	{name: "NOTICE only", be: always(simnet.Fault{What: simnet.NoticeOnly}), unfriendly: true},
	{name: "CLOSED now and then", be: sometimes(simnet.When{Every: 3}, simnet.Fault{What: simnet.Closed, N: 7})},
	{name: "CLOSED always", be: always(simnet.Fault{What: simnet.Closed}), unfriendly: true},
	{name: "CLOSED half-way always", be: always(simnet.Fault{What: simnet.Closed, N: 20}), unfriendly: true},
	{name: "no EOSE now and then", be: sometimes(simnet.When{Every: 7}, simnet.Fault{What: simnet.NoEOSE})},
	{name: "no EOSE ever", be: always(simnet.Fault{What: simnet.NoEOSE}), unfriendly: true},
	{name: "stalls now and then", be: sometimes(simnet.When{Every: 7}, simnet.Fault{What: simnet.Stall, N: 4})},
	{name: "stalls always", be: always(simnet.Fault{What: simnet.Stall}), unfriendly: true},
	{name: "resets now and then", be: sometimes(simnet.When{Every: 4}, simnet.Fault{What: simnet.Reset, N: 9})},
	{name: "leaves now and then", be: sometimes(simnet.When{Every: 4}, simnet.Fault{What: simnet.Leave, N: 9})},
	{name: "breaks frames now and then", be: sometimes(simnet.When{Every: 4}, simnet.Fault{What: simnet.BadFrame, N: 2})},
	{name: "refuses connections", be: always(simnet.Fault{What: simnet.Refuse}), unfriendly: true},
	{name: "answers 503", be: always(simnet.Fault{What: simnet.Status, N: 503}), unfriendly: true},
	{name: "silent", be: always(simnet.Fault{What: simnet.Silent}), unfriendly: true},
	{name: "echoes", be: always(simnet.Fault{What: simnet.Echo}), unfriendly: true},
	{name: "events from outside the window", be: sometimes(simnet.When{Every: 3}, simnet.Fault{What: simnet.Outside, N: 3})},
	{name: "duplicates", be: always(simnet.Fault{What: simnet.Duplicates, N: 5})},
	{name: "late events now and then", be: sometimes(simnet.When{Every: 3}, simnet.Fault{What: simnet.Late, N: 2})},
	{name: "late events always", be: always(simnet.Fault{What: simnet.Late, N: 2}), unfriendly: true},
	{name: "stray events", be: always(simnet.Fault{What: simnet.Stray, N: 2})},
	{name: "garbage", be: always(simnet.Fault{What: simnet.Garbage, N: 8})},
	{name: "oversize now and then", be: sometimes(simnet.When{Every: 5}, simnet.Fault{What: simnet.Oversize, N: 6 << 20})},
	{name: "bombs now and then", be: simnet.Behaviour{Cap: 50, Compress: true, Faults: []simnet.Fault{{What: simnet.Bomb, N: 40 << 20, When: simnet.When{Every: 5}}}}},
	{name: "drips", be: sometimes(simnet.When{Every: 5}, simnet.Fault{What: simnet.Drip, N: 20_000, Wait: time.Millisecond})},
}

// fill are the events of the relays of TestBehaviours: two years, a second that
// is larger than a page, one of the first second of time, one far ahead.
func fill(seed uint64) []*simnet.Event {
	const since, until = 1_600_000_000, 1_660_000_000
	events := simnet.Generate(simnet.Plan{Seed: seed, Count: 320, Since: since, Until: until, Authors: 40})
	return append(events, simnet.Generate(simnet.Plan{Seed: seed + 1, Count: 120, Since: 1_630_000_000, Until: 1_630_000_000, Authors: 40})...)
}

// TestBehaviours archives one relay of each behaviour in one run and compares
// the archive with what the relays show.
func TestBehaviours(t *testing.T) {
	t.Parallel()
	n := network(t, 1)
	events := fill(1)
	relays := make([]*simnet.Relay, len(behaviours))
	for i, b := range behaviours {
		relays[i] = add(t, n, b.be, events...)
	}
	store := folder(t)
	reports, code := archive(t, impatient, store, relays...)
	truth := compare(t, store, n)
	truthful(t, truth)
	if truth.Relays != len(relays) {
		t.Errorf("%d relays in the archive, want %d", truth.Relays, len(relays))
	}
	part := false
	for i, b := range behaviours {
		one := truth.PerRelay[slices.IndexFunc(truth.PerRelay, func(r simnet.RelayResult) bool { return r.URL == relays[i].URL() })]
		r := reports[relays[i].URL().String()]
		part = part || r.Cause != ""
		t.Logf("%-34s %3d visible, %3d archived, %3d in holes, %3d missing; %3d requests, cause %q",
			b.name, one.Visible, one.Archived, one.InHoles, len(one.Missing), r.Requests, r.Cause)
		switch {
		case b.unfriendly:
		case len(one.Missing) > 0:
			e := one.Missing[0]
			t.Errorf("%s: %d of %d events are missing, such as %s of %d, kind %d", b.name, len(one.Missing), one.Visible, e.ID, e.CreatedAt, e.Kind)
		case r.Cause != "":
			t.Errorf("%s: the visit ended early: %s", b.name, r.Cause)
		}
		if b.unfriendly && len(one.Missing) > 0 && r.Cause == "" {
			t.Errorf("%s: %d events are missing and no cause says why", b.name, len(one.Missing))
		}
		checkReport(t, b.name, r)
	}
	if want := map[bool]int{true: 3, false: 0}[part]; code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
}

// checkReport checks what holds for every report.
func checkReport(t *testing.T, name string, r report) {
	t.Helper()
	var below int64 = math.MinInt64
	for _, c := range r.Coverage {
		if c.Lo > c.Hi || c.Lo <= below || c.Level < 1 || c.Level > 4 || c.AsOf <= 0 || c.Hi > time.Now().Unix() {
			t.Errorf("%s: coverage %+v", name, c)
		}
		below = c.Hi
	}
	for _, h := range r.Holes {
		if h.Lo > h.Hi || h.Reason == "" || h.Count < -1 || h.Kind < -1 {
			t.Errorf("%s: hole %+v", name, h)
		}
	}
	if r.New+r.Known > r.EventsReceived {
		t.Errorf("%s: %d new and %d known of %d received", name, r.New, r.Known, r.EventsReceived)
	}
}

// TestSyncJSON pins the names and types of what sync prints.
func TestSyncJSON(t *testing.T) {
	t.Parallel()
	n := network(t, 2)
	r := add(t, n, simnet.Behaviour{Cap: 100}, simnet.Generate(simnet.Plan{Seed: 2, Count: 50, Since: 1_600_000_000, Until: 1_600_100_000})...)
	dead, err := n.AddDead()
	if err != nil {
		t.Fatal(err)
	}
	store := folder(t)
	done := run(t, impatient, "sync", "--json", "--allow-local", "--store", store, r.URL().String(), dead.String())
	if done.code != 3 {
		t.Errorf("exit code %d with a dead relay, want 3", done.code)
	}
	want := map[string]string{
		"url": "string", "requests": "float64", "events_received": "float64", "bytes_received": "float64", "bytes_sent": "float64", "new": "float64",
		"known": "float64", "claimed": "float64", "withheld": "float64", "gone": "float64", "negentropy": "string", "auth": "string", "authors": "float64", "coverage": "[]interface {}", "holes": "[]interface {}", "cause": "string", "tail": "map[string]interface {}", "cost": "map[string]interface {}",
	}
	lines := strings.Split(strings.TrimSpace(done.stdout), "\n")
	if len(lines) != 2 {
		t.Fatalf("printed %q", done.stdout)
	}
	for _, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for name, value := range fields {
			have[name] = fmt.Sprintf("%T", value)
		}
		if fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("fields %v, want %v", have, want)
		}
		switch fields["url"] {
		case r.URL().String():
			if fields["cause"] != "" || fields["new"] != 50.0 {
				t.Errorf("of the living relay: %s", line)
			}
		case dead.String():
			if fields["cause"] != "tcp-refused" {
				t.Errorf("of the dead relay: %s", line)
			}
		}
	}

	// Once more, without the dead one: nothing is new, nothing is asked that is
	// proved, and the exit code is 0.
	again, code := archive(t, impatient, store, r)
	if one := again[r.URL().String()]; code != 0 || one.New != 0 {
		t.Errorf("again: exit %d, %+v", code, one)
	}
	if done := run(t, nil, "sync", "--json", "--store", store, r.URL().String()); done.code != 2 || done.stdout != "" {
		t.Errorf("a loopback address without --allow-local: exit %d, %q", done.code, done.stdout)
	}
}

// TestHostile archives random networks of hostile relays, some of which are left
// early and visited again. At no time is anything claimed that is not so, and
// nothing is missing of a relay that was read to its end.
func TestHostile(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			n := network(t, seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			var relays []*simnet.Relay
			for range 8 {
				relays = append(relays, add(t, n, simnet.Hostile(rng)))
			}
			events := fill(seed)
			n.Spread(events, 4)
			for i, e := range events[:30] {
				relays[i%8].Add([]func(*simnet.Event) *simnet.Event{simnet.ForgeID, simnet.ForgeText, simnet.ForgeSig}[i%3](e))
			}
			store := folder(t)
			for visit := range 4 {
				reports, code := archive(t, impatient, store, relays...)
				truth := compare(t, store, n)
				truthful(t, truth)
				part := false
				for _, one := range truth.PerRelay {
					r := reports[one.URL.String()]
					checkReport(t, r.URL, r)
					part = part || r.Cause != ""
					if len(one.Missing) > 0 && r.Cause == "" {
						i := slices.IndexFunc(relays, func(r *simnet.Relay) bool { return r.URL() == one.URL })
						t.Errorf("visit %d: relay %d has been read to its end, but %d of %d events are missing, such as one of %d, kind %d; %+v",
							visit, i, len(one.Missing), one.Visible, one.Missing[0].CreatedAt, one.Missing[0].Kind, relays[i].Behaviour())
					}
				}
				if want := map[bool]int{true: 3, false: 0}[part]; code != want {
					t.Errorf("visit %d: exit code %d, want %d", visit, code, want)
				}
				t.Logf("visit %d: %d of %d archived, %d missing of relays that were left early, %d holes", visit, truth.Archived, truth.Visible, truth.Missing, truth.Holes)
				if truth.OK() || t.Failed() {
					break
				}
			}
		})
	}
}

// TestDenseSeconds archives seconds with more events than a page.
func TestDenseSeconds(t *testing.T) {
	t.Parallel()
	const second = 1_650_000_000
	n := network(t, 4)
	around := simnet.Generate(simnet.Plan{Seed: 4, Count: 600, Since: second - 100_000, Until: second + 100_000})
	many := simnet.Generate(simnet.Plan{Seed: 5, Count: 1500, Since: second, Until: second, Kinds: []nostr.Kind{0, 1, 3, 7, 1111, 9735, 10002, 30023, 60_000}})
	one := simnet.Generate(simnet.Plan{Seed: 6, Count: 1500, Since: second, Until: second, Kinds: []nostr.Kind{7}})
	ofMany := add(t, n, simnet.Behaviour{Cap: 500}, slices.Concat(around, many)...)
	counted := add(t, n, simnet.Behaviour{Cap: 500, Count: simnet.CountExact}, slices.Concat(around, many)...)
	ofOne := add(t, n, simnet.Behaviour{Cap: 500}, slices.Concat(around, one)...)
	store := folder(t)
	reports, code := archive(t, impatient, store, ofMany, counted, ofOne)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	truth := compare(t, store, n)
	complete(t, truth)
	for _, r := range truth.PerRelay {
		holes := reports[r.URL.String()].Holes
		t.Logf("%s: %d visible, %d archived, %d in holes; %+v", r.URL, r.Visible, r.Archived, r.InHoles, holes)
		overflows := func(kind int64) bool {
			return slices.ContainsFunc(holes, func(h hole) bool {
				return h.Reason == "overflow" && h.Kind == kind && h.Lo == second && h.Hi == second
			})
		}
		switch r.URL {
		case ofMany.URL():
			if r.Archived != r.Visible {
				t.Errorf("%d of %d events of many kinds in one second are lost", r.Visible-r.Archived, r.Visible)
			}
		case counted.URL():
			// COUNT proves that no kind was forgotten.
			if r.Archived != r.Visible || len(holes) > 0 {
				t.Errorf("%d of %d events archived of a relay that counts, holes %+v", r.Archived, r.Visible, holes)
			}
		case ofOne.URL():
			if !overflows(7) {
				t.Errorf("no hole says that kind 7 overflows second %d: %+v", second, holes)
			}
		}
	}
}

// TestForged archives relays that put forgeries among their events.
func TestForged(t *testing.T) {
	t.Parallel()
	n := network(t, 7)
	events := simnet.Generate(simnet.Plan{Seed: 7, Count: 700, Since: 1_600_000_000, Until: 1_650_000_000})
	var forged []*simnet.Event
	for i, e := range events[:90] {
		forged = append(forged, []func(*simnet.Event) *simnet.Event{simnet.ForgeID, simnet.ForgeText, simnet.ForgeSig}[i%3](e))
	}
	liar := add(t, n, simnet.Behaviour{Cap: 50}, slices.Concat(events[90:], forged)...)
	honest := add(t, n, simnet.Behaviour{Cap: 50}, events...)
	store := folder(t)
	// The liar first: what it forged must not keep the true events out.
	if _, code := archive(t, impatient, store, liar); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, code := archive(t, impatient, store, honest); code != 0 {
		t.Errorf("exit code %d", code)
	}
	truth := compare(t, store, n)
	complete(t, truth)
	for _, r := range truth.PerRelay {
		want := map[string]int{liar.URL().String(): 610, honest.URL().String(): 700}[r.URL.String()]
		if r.Archived != want || r.Visible != want {
			t.Errorf("%s: %d visible, %d archived, want %d", r.URL, r.Visible, r.Archived, want)
		}
	}
	done := run(t, nil, "export", "--store", store)
	if lines := strings.Count(done.stdout, "\n"); lines != 700 {
		t.Errorf("%d events archived, want 700", lines)
	}
}

// TestCost archives a large relay and counts what it took.
func TestCost(t *testing.T) {
	t.Parallel()
	const events, pageCap = 20_000, 500
	n := network(t, 8)
	be := simnet.Behaviour{Cap: pageCap, Negentropy: simnet.Negentropy{As: simnet.NegClosed}}
	r := add(t, n, be, simnet.Generate(simnet.Plan{Seed: 8, Count: events, Since: 1_600_000_000, Until: 1_700_000_000})...)
	store := folder(t)
	begin := time.Now().Unix()
	reports, code := archive(t, impatient, store, r)
	one := reports[r.URL().String()]
	if code != 0 || one.New != int64(r.Len()) {
		t.Errorf("exit %d, %d of %d events", code, one.New, r.Len())
	}
	complete(t, compare(t, store, n))
	requests, ratio := cost(r)
	if most := 1.1*events/pageCap + 20; requests > most || ratio > 1.05 {
		t.Errorf("%.0f REQs, %.3f of the events downloaded; at most %.0f and 1.05", requests, ratio, most)
	}
	// All of it is kept, to the byte, and shown by every command.
	seen := func() costs {
		s, fresh := r.Stats(), int64(r.Len())
		c := costs{Requests: s.Requests + s.Counts + s.Opens, Bytes: s.Payload, Received: s.Events, New: fresh, Known: s.Events - fresh}
		c.BytesPerNew, c.RequestsPerNew = float64(c.Bytes)/float64(fresh), float64(c.Requests)/float64(fresh)
		c.Duplicates = float64(c.Known) / float64(c.Received)
		return c
	}
	check := func(what string, have costs) {
		t.Helper()
		if want := seen(); have.Since < begin || have.Since > time.Now().Unix() {
			t.Errorf("%s: counted since %d", what, have.Since)
		} else if have.Since = 0; have != want {
			t.Errorf("%s: %+v, the relay saw %+v", what, have, want)
		}
	}
	if one.Requests != one.Cost.Requests || one.BytesReceived != one.Cost.Bytes || one.EventsReceived != one.Cost.Received || one.New != one.Cost.New || one.Known != one.Cost.Known {
		t.Errorf("the first visit is not all: %+v", one)
	}
	check("sync", one.Cost)
	again, _ := archive(t, impatient, store, r)
	two := again[r.URL().String()]
	if two.New != 0 || two.Requests == 0 || two.Cost.Requests != one.Requests+two.Requests {
		t.Errorf("a visit with nothing new: %+v after %+v", two, one)
	}
	check("sync again", two.Cost)
	var relay, all struct {
		Cost costs `json:"cost"`
	}
	for what, into := range map[string]any{"coverage": &relay, "status": &all} {
		args := []string{what, "--json", "--allow-local", "--store", store}
		if what == "coverage" {
			args = append(args, r.URL().String())
		}
		done := run(t, nil, args...)
		if err := json.Unmarshal([]byte(done.stdout), into); err != nil || done.code != 0 {
			t.Fatalf("%s: exit %d, %v in %q", what, done.code, err, done.stdout)
		}
	}
	check("coverage", relay.Cost)
	check("status", all.Cost)
	for _, args := range [][]string{{"coverage", r.URL().String()}, {"status"}} {
		done := run(t, nil, append(args, "--allow-local", "--store", store)...)
		if !strings.Contains(done.stdout, "requests per new event, ") || !strings.Contains(done.stdout, "% duplicates skipped; ") {
			t.Errorf("%s does not tell the cost:\n%s", args[0], done.stdout)
		}
	}
}

// cost is what reading the whole of a relay took: REQs, and events downloaded
// for each that there is.
func cost(r *simnet.Relay) (requests, ratio float64) {
	stats := r.Stats()
	return float64(stats.Requests), float64(stats.Events) / float64(r.Len())
}

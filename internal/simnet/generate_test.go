package simnet_test

import (
	"bytes"
	"slices"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/simnet"
)

func urls(t testing.TB, texts ...string) []relay.URL {
	t.Helper()
	var out []relay.URL
	for _, text := range texts {
		u, err := relay.Rules{AllowLocal: true}.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, u)
	}
	return out
}

func TestGenerateValid(t *testing.T) {
	p := plan(600)
	p.Relays = urls(t, "ws://127.1.1.1:1000", "ws://127.1.1.2:1000")
	seen := map[nostr.ID]bool{}
	quotes := 0
	for _, e := range simnet.Generate(p) {
		full, err := nostr.ParseEvent(e.JSON)
		if err != nil {
			t.Fatalf("%v in %s", err, e.JSON)
		}
		if err := full.CheckID(); err != nil {
			t.Fatalf("kind %d: %v", full.Kind, err)
		}
		if err := full.Verify(); err != nil {
			t.Fatalf("kind %d: %v", full.Kind, err)
		}
		if full.ID != e.ID || full.PubKey != e.PubKey || full.CreatedAt != e.CreatedAt || full.Kind != e.Kind || !e.Valid {
			t.Fatalf("fields differ from the text %s", e.JSON)
		}
		if e.CreatedAt < p.Since || e.CreatedAt > p.Until {
			t.Fatalf("created at %d, outside the plan", e.CreatedAt)
		}
		if seen[e.ID] {
			t.Fatalf("two events %s", e.ID)
		}
		seen[e.ID] = true
		if e.Kind == 6 && full.Content != "" {
			quoted, err := nostr.ParseEvent([]byte(full.Content))
			if err != nil || quoted.Verify() != nil || quoted.ID.String() != full.Tags[0][1] || quoted.PubKey.String() != full.Tags[1][1] {
				t.Fatalf("repost of %v quotes %s", full.Tags, full.Content)
			}
			quotes++
		}
	}
	if quotes == 0 {
		t.Error("no repost quotes its event")
	}
}

func TestGenerateDeterministic(t *testing.T) {
	p := plan(400)
	p.Relays = urls(t, "ws://127.1.1.1:1000")
	a, b := simnet.Generate(p), simnet.Generate(p)
	for i := range a {
		if !bytes.Equal(a[i].JSON, b[i].JSON) {
			t.Fatalf("event %d differs:\n%s\n%s", i, a[i].JSON, b[i].JSON)
		}
	}
	p.Seed++
	if c := simnet.Generate(p); c[0].ID == a[0].ID {
		t.Error("another seed makes the same events")
	}
}

// The mix is that of the published survey, within what chance allows.
func TestGenerateShape(t *testing.T) {
	if testing.Short() {
		t.Skip("signs 10,000 events")
	}
	p := plan(10_000)
	p.Relays = urls(t, "ws://127.1.1.1:1000", "ws://127.1.1.2:1000", "ws://127.1.1.3:1000")
	events := simnet.Generate(p)
	kinds := map[nostr.Kind]int{}
	authors := map[nostr.PubKey]int{}
	var total, largest, tags int
	for _, e := range events {
		kinds[e.Kind]++
		authors[e.PubKey]++
		total += len(e.JSON)
		largest = max(largest, len(e.JSON))
		full := e.Parse()
		tags += len(full.Tags)
	}
	for kind, percent := range map[nostr.Kind]float64{1: 39, 7: 19, 4: 5.6, 0: 4.7, 3: 4.5, 6: 4.4, 5: 3.1, 9735: 2.8, 1059: 2.2, 10002: 1.9} {
		if got := float64(kinds[kind]) / 100; got < percent*0.8-0.2 || got > percent*1.2+0.2 {
			t.Errorf("kind %d: %.1f %%, want about %.1f %%", kind, got, percent)
		}
	}
	mean := total / len(events)
	t.Logf("mean %d bytes, largest %d, %.1f tags, %d authors", mean, largest, float64(tags)/float64(len(events)), len(authors))
	if mean < 800 || mean > 1300 || largest < 10_000 {
		t.Errorf("mean %d bytes, largest %d", mean, largest)
	}
	most := 0
	for _, n := range authors {
		most = max(most, n)
	}
	if most < 200 || len(authors) < 500 {
		t.Errorf("%d authors, the busiest wrote %d", len(authors), most)
	}
}

// The finder learns all relays of a network from the events.
func TestGenerateNamesRelays(t *testing.T) {
	p := plan(2000)
	p.Relays = urls(t, "ws://127.1.1.1:1000", "ws://127.1.1.2:1000", "ws://127.1.1.3:1000", "ws://127.1.1.4:1000")
	named := map[relay.URL]map[hints.Class]bool{}
	for _, e := range simnet.Generate(p) {
		full := e.Parse()
		for _, h := range hints.Collect(&full, relay.Rules{AllowLocal: true}) {
			if named[h.URL] == nil {
				named[h.URL] = map[hints.Class]bool{}
			}
			named[h.URL][h.Class] = true
		}
	}
	for _, u := range p.Relays {
		if !named[u][hints.List] || !named[u][hints.Hint] {
			t.Errorf("%s is named by %v only", u, named[u])
		}
	}
	if len(named) != len(p.Relays) {
		t.Errorf("%d relays are named, want %d", len(named), len(p.Relays))
	}
}

func TestGenerateBurst(t *testing.T) {
	// Without relays to name, the texts of kind 2 are all the same.
	events := simnet.Generate(simnet.Plan{Seed: 3, Count: 1500, Since: base, Until: base, Kinds: []nostr.Kind{2}})
	seen := map[nostr.ID]bool{}
	for _, e := range events {
		seen[e.ID] = true
		if e.Kind != 2 || e.CreatedAt != base {
			t.Fatalf("kind %d at %d", e.Kind, e.CreatedAt)
		}
	}
	if len(seen) != 1500 {
		t.Errorf("%d different events", len(seen))
	}
}

func TestForge(t *testing.T) {
	e := simnet.Generate(plan(1))[0]
	check := func(f *simnet.Event) (id, sig bool) {
		full := f.Parse()
		return full.CheckID() == nil, full.Verify() == nil
	}
	for _, test := range []struct {
		name    string
		forge   func(*simnet.Event) *simnet.Event
		sameID  bool
		id, sig bool
	}{
		{"id", simnet.ForgeID, false, false, false},
		{"text", simnet.ForgeText, true, false, true},
		{"sig", simnet.ForgeSig, true, true, false},
	} {
		f := test.forge(e)
		id, sig := check(f)
		if id != test.id || sig != test.sig || (f.ID == e.ID) != test.sameID || f.Valid {
			t.Errorf("%s: id %v, signature %v, id kept %v, valid %v", test.name, id, sig, f.ID == e.ID, f.Valid)
		}
	}
	if id, sig := check(e); !id || !sig {
		t.Error("the original has changed")
	}
}

func TestWriteReadEvents(t *testing.T) {
	events := simnet.Generate(plan(50))
	var file bytes.Buffer
	if err := simnet.WriteEvents(&file, events); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	back, err := simnet.ReadEvents(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(back, events, func(a, b *simnet.Event) bool {
		return a.ID == b.ID && a.Kind == b.Kind && a.PubKey == b.PubKey && a.CreatedAt == b.CreatedAt && bytes.Equal(a.JSON, b.JSON)
	}) {
		t.Error("read back differently")
	}
	if _, err := simnet.ReadEvents(bytes.NewBufferString(text[:len(text)-20])); err == nil {
		t.Error("a damaged file is read without an error")
	}
}

func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		simnet.Generate(plan(1000))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/event")
}

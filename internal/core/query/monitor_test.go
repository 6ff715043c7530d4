package query_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// TestOpinions reads what other monitors say of a relay, however they spell it.
func TestOpinions(t *testing.T) {
	db := newStore(t)
	ctx := t.Context()
	url := parse(t, "wss://a.nostr.org")
	relays, err := db.AddRelays(ctx, []relay.URL{url}, base)
	must(t, err)
	d := func(value string, more ...nostr.Tag) []nostr.Tag { return append([]nostr.Tag{{"d", value}}, more...) }
	events := []nostr.Event{
		event(1, 30166, base, "", d("wss://a.nostr.org/", nostr.Tag{"rtt-open", "120"}, nostr.Tag{"N", "1"}, nostr.Tag{"R", "!auth"})...),
		event(2, 30166, base+10, "{}", d("wss://a.nostr.org", nostr.Tag{"rtt-read", "7"})...),
		event(3, 30166, base+20, "", d("wss://b.nostr.org/")...),
		event(4, 30166, base+30, "", d("wss://a.nostr.org/", nostr.Tag{"rtt-open", "-5"})...),
		event(1, 0, base, `{"name":"Monitor \u0000 of one"}`),
		event(2, 0, base, `not JSON`),
	}
	_, err = db.SaveBatch(ctx, store.Batch{Relay: relays[0].ID, SeenAt: base, Events: events})
	must(t, err)
	have, err := query.New(db).Opinions(ctx, url)
	must(t, err)
	want := []query.Opinion{
		{Monitor: events[3].PubKey.String(), At: base + 30, Requires: map[string]bool{}},
		{Monitor: events[1].PubKey.String(), At: base + 10, ReadMS: 7, Requires: map[string]bool{}},
		{Monitor: events[0].PubKey.String(), Name: "Monitor \x00 of one", At: base, OpenMS: 120, NIPs: []string{"1"}, Requires: map[string]bool{"auth": false}},
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("(-want +have):\n%s", d)
	}
	have, err = query.New(db).Opinions(ctx, parse(t, "wss://c.nostr.org"))
	if err != nil || len(have) != 0 {
		t.Errorf("of a relay that nobody reports: %+v, %v", have, err)
	}
}

// TestChanges reads what changed in a relay's document, and how the relay fared.
func TestChanges(t *testing.T) {
	db := newStore(t)
	ctx := t.Context()
	now := time.Now().Unix()
	relays, err := db.AddRelays(ctx, []relay.URL{parse(t, "wss://a.nostr.org")}, now-9*3600)
	must(t, err)
	id := relays[0].ID
	for i, document := range []string{`{"name":"A","version":"1"}`, `{"name":"A","version":"1"}`, `{"name":"A","version":"2"}`, `{"version":"2"}`} {
		at := now - int64(4-i)*3600
		open := store.Check{At: at, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 10}}
		if i == 1 {
			open = store.Check{At: at, Probe: "open", Cause: dial.CauseTCPTimeout}
		}
		must(t, db.SaveOutcomes(ctx, []store.Outcome{{
			Relay: id, At: at, State: store.StateUp, LastUp: at, Next: store.Next{Relay: id, Service: "monitor", DueAt: at},
			Checks: []store.Check{
				open,
				{At: at, Probe: "nip11", OK: true, Document: &store.Document{Type: store.DocumentInfo, Data: []byte(document)}},
			},
		}}))
	}
	have, err := query.New(db).Changes(ctx, id, 10)
	must(t, err)
	want := []query.Change{
		{At: now - 3600, Field: "name", Before: json.RawMessage(`"A"`)},
		{At: now - 2*3600, Field: "version", Before: json.RawMessage(`"1"`), After: json.RawMessage(`"2"`)},
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("(-want +have):\n%s", d)
	}
	h, err := query.New(db).Health(ctx, id)
	must(t, err)
	if h.Day.Up < 0.74 || h.Day.Up > 0.76 || h.Open.N != 3 {
		t.Errorf("health: %+v", h)
	}
	if _, err := query.New(db).Changes(ctx, id, 0); err == nil {
		t.Error("no versions were asked for")
	}
}

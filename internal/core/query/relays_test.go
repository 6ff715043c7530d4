package query_test

import (
	stdcmp "cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
)

// land fills a store with relays that differ in everything that lists may ask
// for.
func land(t *testing.T, db *sqlite.DB, n int) []store.Relay {
	t.Helper()
	var urls []relay.URL
	for i := range n {
		urls = append(urls, parse(t, fmt.Sprintf("wss://r%02d.nostr.org", i)))
	}
	relays, err := db.AddRelays(t.Context(), urls, base)
	must(t, err)
	var outcomes []store.Outcome
	for i, r := range relays {
		state, failures := store.StateUp, 0
		if i%4 == 3 {
			state, failures = store.StateDown, 1
		}
		check := func(probe string, text string, args ...any) store.Check {
			return store.Check{At: base + 100, Probe: probe, OK: true, Document: &store.Document{Type: probe, Data: fmt.Appendf(nil, text, args...)}}
		}
		outcomes = append(outcomes, store.Outcome{Relay: r.ID, At: base + 100, State: state, Failures: failures, LastUp: base + 100, Checks: []store.Check{
			{At: base, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: float64(10 * (i % 7))}},
			{At: base + 60, Probe: "open", OK: i%3 > 0, Values: map[string]float64{}},
			{At: base + 100, Probe: "open", OK: true, Values: map[string]float64{store.ValueOpen: 5}},
			check("nip11", `{"name":"Relay %d","software":"soft%d","version":"1.%d","supported_nips":[1,%d],"limitation":{"auth_required":%t,"payment_required":%t}}`,
				i, i%2, i%3, 40+i%5, i%5 == 0, i%6 == 0),
			check("geo", `{"country":%q,"city":"C%d","asn":%d,"org":"Org %d","lat":%d,"lon":%d}`, []string{"DE", "FR", "JP"}[i%3], i%4, 100+i%2, i%2, 10+i%8, 20),
		}})
	}
	must(t, db.SaveOutcomes(t.Context(), outcomes))
	return relays
}

// TestRelayFilters compares what lists hold with what is seen of each relay.
func TestRelayFilters(t *testing.T) {
	db := newStore(t)
	land(t, db, 40)
	c := query.New(db)
	all, err := c.Relays(t.Context(), query.RelayQuery{Limit: 1000})
	must(t, err)
	yes := true
	for name, test := range map[string]struct {
		query query.RelayQuery
		fits  func(r *query.Relay) bool
	}{
		"states":             {query.RelayQuery{States: []store.State{store.StateDown, store.StateDead}}, func(r *query.Relay) bool { return r.State == store.StateDown }},
		"country":            {query.RelayQuery{Country: "de"}, func(r *query.Relay) bool { return r.Country == "DE" }},
		"network":            {query.RelayQuery{ASN: 101}, func(r *query.Relay) bool { return r.ASN == 101 }},
		"software":           {query.RelayQuery{Software: "SOFT1 1.2"}, func(r *query.Relay) bool { return r.Software == "soft1" && r.Version == "1.2" }},
		"several nips":       {query.RelayQuery{NIPs: []string{"42", "1"}}, func(r *query.Relay) bool { return slices.Contains(r.NIPs, "42") }},
		"authentication":     {query.RelayQuery{Auth: &yes}, func(r *query.Relay) bool { return r.Auth }},
		"no payment":         {query.RelayQuery{Payment: new(bool)}, func(r *query.Relay) bool { return !r.Payment }},
		"uptime":             {query.RelayQuery{Uptime: 0.7}, func(r *query.Relay) bool { return r.Uptime >= 0.7 }},
		"latency":            {query.RelayQuery{OpenP95: 20}, func(r *query.Relay) bool { return r.OpenP95 > 0 && r.OpenP95 <= 20 }},
		"words":              {query.RelayQuery{Text: " relay  ORG c2"}, func(r *query.Relay) bool { return r.City == "C2" }},
		"near":               {query.RelayQuery{Near: &query.Point{Lat: 10, Lon: 20}, Within: 230}, func(r *query.Relay) bool { return r.Lat <= 12 }},
		"everything at once": {query.RelayQuery{Country: "FR", NIPs: []string{"1"}, Uptime: 0.1, Text: "nostr.org"}, func(r *query.Relay) bool { return r.Country == "FR" && r.Uptime >= 0.1 }},
		"none":               {query.RelayQuery{Country: "X"}, func(*query.Relay) bool { return false }},
	} {
		test.query.Limit = 1000
		have, err := c.Relays(t.Context(), test.query)
		must(t, err)
		var want []string
		for i := range all.Relays {
			if test.fits(&all.Relays[i]) {
				want = append(want, all.Relays[i].URL.String())
			}
		}
		if d := cmp.Diff(want, names(have.Relays)); d != "" || name != "none" && (len(want) == 0 || len(want) == len(all.Relays)) {
			t.Errorf("%s, %d of %d (-want +have):\n%s", name, len(want), len(all.Relays), d)
		}
	}
}

func names(relays []query.Relay) []string {
	var list []string
	for i := range relays {
		list = append(list, relays[i].URL.String())
	}
	return list
}

// TestRelayOrders follows pages in several orders: each relay comes once, in
// order.
func TestRelayOrders(t *testing.T) {
	db := newStore(t)
	land(t, db, 40)
	c := query.New(db)
	all, err := c.Relays(t.Context(), query.RelayQuery{Limit: 1000})
	must(t, err)
	for _, test := range []struct {
		sort  []query.Order
		order func(a, b query.Relay) int
	}{
		{nil, func(a, b query.Relay) int { return 0 }},
		{[]query.Order{{Column: "url", Falling: true}}, func(a, b query.Relay) int { return stdcmp.Compare(b.URL.String(), a.URL.String()) }},
		{[]query.Order{{Column: "country"}, {Column: "open_p95", Falling: true}}, func(a, b query.Relay) int {
			return stdcmp.Or(stdcmp.Compare(a.Country, b.Country), stdcmp.Compare(b.OpenP95, a.OpenP95))
		}},
		{[]query.Order{{Column: "state"}, {Column: "software", Falling: true}, {Column: "uptime"}}, func(a, b query.Relay) int {
			return stdcmp.Or(strings.Compare(string(b.State), string(a.State)), stdcmp.Compare(b.Software+b.Version, a.Software+a.Version), stdcmp.Compare(a.Uptime, b.Uptime))
		}},
		{[]query.Order{{Column: "distance"}}, func(a, b query.Relay) int { return stdcmp.Compare(a.Lat, b.Lat) }},
	} {
		want := slices.Clone(all.Relays)
		slices.SortStableFunc(want, test.order)
		for _, limit := range []int{1, 7, 40, 100} {
			q := query.RelayQuery{Sort: test.sort, Near: &query.Point{Lat: 9, Lon: 20}, Limit: limit}
			var have []query.Relay
			for range 41 {
				page, err := c.Relays(t.Context(), q)
				must(t, err)
				have = append(have, page.Relays...)
				if q.After = page.Next; q.After == "" {
					break
				}
			}
			if d := cmp.Diff(names(want), names(have)); d != "" {
				t.Errorf("by %v, pages of %d (-want +have):\n%s", test.sort, limit, d)
			}
		}
	}
	first, err := c.Relays(t.Context(), query.RelayQuery{Sort: []query.Order{{Column: "uptime"}}, Limit: 1})
	must(t, err)
	for _, q := range []query.RelayQuery{
		{Sort: []query.Order{{Column: "events"}}, After: first.Next},
		{Sort: []query.Order{{Column: "uptime", Falling: true}}, After: first.Next},
		{Sort: []query.Order{{Column: "uptime"}}, After: "wss://r00.nostr.org"},
		{Sort: []query.Order{{Column: "uptime"}}, After: first.Next[1:]},
		{After: first.Next},
		{Sort: []query.Order{{Column: "id"}}},
		{Sort: []query.Order{{Column: "distance"}}},
		{Sort: slices.Repeat([]query.Order{{Column: "url"}}, 5)},
	} {
		q.Limit = 1
		if page, err := c.Relays(t.Context(), q); err == nil {
			t.Errorf("%+v is answered by %v", q, names(page.Relays))
		}
	}
	for _, column := range query.Columns() {
		q := query.RelayQuery{Sort: []query.Order{{Column: column}}, Near: &query.Point{}, Limit: 1}
		if _, err := c.Relays(t.Context(), q); err != nil {
			t.Errorf("by %s: %v", column, err)
		}
	}
}

// TestAlive checks that the list is never empty because our own network is down.
func TestAlive(t *testing.T) {
	db := newStore(t)
	relays := land(t, db, 8)
	alive := func() *query.Alive {
		a, err := query.New(db).Alive(t.Context())
		must(t, err)
		return a
	}
	if a := alive(); a.Stale || len(a.Relays) != 6 {
		t.Errorf("%d relays, stale is %t", len(a.Relays), a.Stale)
	}
	for i, r := range relays {
		must(t, db.SaveOutcomes(t.Context(), []store.Outcome{{Relay: r.ID, At: base + 9000, State: store.StateDown, LastUp: base + int64(i)*1000, Failures: 1}}))
	}
	if a := alive(); !a.Stale || len(a.Relays) != 4 || a.Relays[0].URL != relays[4].URL {
		t.Errorf("of none that is up: %+v", a)
	}
}

// TestRelay reads one relay in full, by every way to name it.
func TestRelay(t *testing.T) {
	db := newStore(t)
	land(t, db, 4)
	c := query.New(db)
	for _, text := range []string{"wss://r03.nostr.org", "r03.nostr.org", "WSS://R03.nostr.org/", "wss://r03.nostr.org:443"} {
		d, err := c.Relay(t.Context(), text)
		must(t, err)
		if d.Name != "Relay 3" || len(d.Checks) != 3 || len(d.Outages) != 1 || d.Health.Open.N != 2 {
			t.Errorf("%s: %+v", text, d)
		}
	}
	for _, text := range []string{"", "wss://r04.nostr.org", "https://r03.nostr.org", "r03.nostr.org/../x", "\xff", strings.Repeat("a", 5000)} {
		if d, err := c.Relay(t.Context(), text); err == nil {
			t.Errorf("%.30q is %+v", text, d)
		}
	}
	incidents, err := c.Incidents(t.Context(), 10)
	must(t, err)
	if len(incidents) != 1 || incidents[0].URL.String() != "wss://r03.nostr.org" || incidents[0].From != base+100 {
		t.Errorf("incidents: %+v", incidents)
	}
}

// TestGroups counts relays by what they have in common.
func TestGroups(t *testing.T) {
	db := newStore(t)
	land(t, db, 12)
	for by, want := range map[query.Grouping][]query.Group{
		query.ByNetwork:  {{Key: "clearnet", Relays: 12, Up: 9}},
		query.BySoftware: {{Key: "soft0", Relays: 6, Up: 6}, {Key: "soft1", Relays: 6, Up: 3}},
		query.ByCountry:  {{Key: "DE", Relays: 4, Up: 3}, {Key: "FR", Relays: 4, Up: 3}},
		query.ByASN:      {{Key: "100", Name: "Org 0", Relays: 6, Up: 6}, {Key: "101", Name: "Org 1", Relays: 6, Up: 3}},
		query.ByNIP:      {{Key: "1", Relays: 12, Up: 9}, {Key: "40", Relays: 3, Up: 3}},
	} {
		have, err := query.New(db).Groups(t.Context(), by, 2)
		must(t, err)
		if d := cmp.Diff(want, have.Groups); d != "" {
			t.Errorf("%s (-want +have):\n%s", by, d)
		}
	}
}

// TestCarried measures replication and overlap.
func TestCarried(t *testing.T) {
	db := newStore(t)
	relays := land(t, db, 3)
	var events []nostr.Event
	for i := range 6 {
		events = append(events, event(1, 1, base+int64(i), fmt.Sprint(i)))
	}
	for i, part := range [][]nostr.Event{events[:4], events[2:], nil} {
		_, err := db.SaveBatch(t.Context(), store.Batch{Relay: relays[i].ID, SeenAt: base, Events: part})
		must(t, err)
	}
	_, err := db.Refresh(t.Context(), 100)
	must(t, err)
	c := query.New(db)
	r, err := c.Replication(t.Context())
	must(t, err)
	want := []query.ReplicationRow{{Relays: 1, Events: 4, Share: 4. / 6}, {Relays: 2, Events: 2, Share: 2. / 6}}
	if d := cmp.Diff(want, r.Spread); d != "" || r.Sampled != 6 || r.Mean != 8./6 {
		t.Errorf("%+v (-want +have):\n%s", r, d)
	}
	var compared []*query.Relay
	for _, r := range relays {
		found, err := c.Find(t.Context(), r.URL.String())
		must(t, err)
		compared = append(compared, found)
	}
	o, err := c.Overlap(t.Context(), compared)
	must(t, err)
	if d := cmp.Diff([]query.OverlapRow{
		{URL: "wss://r00.nostr.org", Sampled: 4, Shares: []float64{1, 0.5, 0}, Only: 0.5, Mean: 1.5},
		{URL: "wss://r01.nostr.org", Sampled: 4, Shares: []float64{0.5, 1, 0}, Only: 0.5, Mean: 1.5},
		{URL: "wss://r02.nostr.org", Shares: []float64{0, 0, 0}},
	}, o.Relays); d != "" {
		t.Errorf("overlap (-want +have):\n%s", d)
	}
	for _, n := range []int{0, 5} {
		if _, err := c.Overlap(t.Context(), slices.Repeat(compared[:1], n)); err == nil {
			t.Errorf("%d relays are compared", n)
		}
	}
}

// TestAuthorRelays reads where an author wrote at different times.
func TestAuthorRelays(t *testing.T) {
	db := newStore(t)
	land(t, db, 8)
	now := time.Now().Unix()
	r := func(i int, more ...string) nostr.Tag {
		return append(nostr.Tag{"r", fmt.Sprintf("wss://r%02d.nostr.org/", i)}, more...)
	}
	lists := []nostr.Event{
		event(1, 10002, base, "", r(0), r(1, "write"), r(2, "read")),
		event(1, 10002, base+100, "", r(3, "write"), nostr.Tag{"r", "ws://127.0.0.1"}, nostr.Tag{"r"}, nostr.Tag{"p", "x"}),
		event(1, 10002, base+200, ""),
		event(1, 10002, now+1000, "", r(1)),
		event(2, 10002, base, "", r(5)),
	}
	_, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: lists})
	must(t, err)
	ask := func(at int64) query.AuthorRelays {
		a, err := query.New(db).AuthorRelays(t.Context(), lists[0].PubKey, at)
		must(t, err)
		return a
	}
	if a := ask(base - 1); a.List != nil || len(a.All) != 3 {
		t.Errorf("before all: %+v", a)
	}
	first := ask(base + 99)
	if l := first.List; l == nil || l.Grade != "A" || l.From != base || l.Until != base+100 || len(l.Entries) != 3 || len(l.Reasons) != 0 ||
		l.Entries[1].Read || !l.Entries[1].Write || l.Entries[0].State != store.StateUp {
		t.Errorf("the first list: %+v", first.List)
	}
	if l := ask(base + 100).List; l == nil || l.Grade != "F" || len(l.Reasons) != 4 || l.Entries[1].Valid {
		t.Errorf("the second list: %+v", l)
	}
	if l := ask(now).List; l == nil || l.Grade != "F" || l.Until != 0 || len(l.Entries) != 0 {
		t.Errorf("the empty list: %+v", l)
	}
	index := newStoreOf(t, store.Keep{Mode: store.KeepIndex, FullKinds: []nostr.Kind{0}})
	_, err = index.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: lists})
	must(t, err)
	if _, err := query.New(index).AuthorRelays(t.Context(), lists[0].PubKey, now); err == nil {
		t.Error("an index answers")
	}
}

// TestCompleteness adds up what is proved of all relays.
func TestCompleteness(t *testing.T) {
	db := newStore(t)
	relays := land(t, db, 3)
	filter, err := db.FilterID(t.Context(), nostr.Filter{})
	must(t, err)
	for i, r := range relays[:2] {
		claim := store.Coverage{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: 1, Hi: 100}, Level: store.LevelWalked, AsOf: base + int64(i), Method: "walk"}
		claims := []store.Coverage{claim, claim}
		claims[1].Interval, claims[1].Level = store.Interval{Lo: 101 + int64(i), Hi: 200}, store.LevelFingerprint
		_, err = db.SaveBatch(t.Context(), store.Batch{Relay: r.ID, SeenAt: base, Filter: filter, Claims: claims})
		must(t, err)
	}
	must(t, db.AddSample(t.Context(), store.Sample{Relay: relays[0].ID, Kind: store.SampleOld, At: base, Seen: 10, Missed: 1}))
	c, err := query.New(db).Completeness(t.Context(), "", 2)
	must(t, err)
	if c.Relays != 3 || c.Covered != 2 || c.Whole != 1 || c.Proved != (query.Proved{Walked: 200, Fingerprint: 199}) || c.Oldest != base || c.Newest != base+1 ||
		c.Old.Rate != 0.1 || len(c.Each) != 2 || c.Next == "" || c.Each[1].Proved.Fingerprint != 99 || c.Each[1].Coverage.Gaps != 1 {
		t.Errorf("%+v", c)
	}
}

// TestDue counts the relays whose turn has come.
func TestDue(t *testing.T) {
	db := newStore(t)
	relays := land(t, db, 3)
	later := time.Now().Unix() + 3600
	must(t, db.SaveOutcomes(t.Context(), []store.Outcome{{
		Relay: relays[0].ID, At: base + 200, State: store.StateUp, LastUp: base + 200, Next: store.Next{Relay: relays[0].ID, Service: "monitor", DueAt: later},
	}}))
	due, err := query.New(db).Due(t.Context())
	must(t, err)
	if due != (query.Due{Checks: 2, Reads: 3}) {
		t.Errorf("due are %+v", due)
	}
}

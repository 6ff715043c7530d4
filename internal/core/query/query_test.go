package query_test

import (
	stdcmp "cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
)

const base int64 = 1_700_000_000 // 2023-11-14

func newStore(t testing.TB) *sqlite.DB { return newStoreOf(t, store.Keep{}) }

func newStoreOf(t testing.TB, keep store.Keep) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func parse(t testing.TB, text string) relay.URL {
	t.Helper()
	url, err := relay.Rules{AllowLocal: true}.Parse(text)
	must(t, err)
	return url
}

// event returns an event with the right id. Its signature is none: the store
// takes what others have verified.
func event(author int, kind nostr.Kind, at int64, content string, tags ...nostr.Tag) nostr.Event {
	e := nostr.Event{PubKey: sha256.Sum256(fmt.Append(nil, author)), CreatedAt: at, Kind: kind, Content: content, Tags: tags}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	return e
}

const onion = "ws://duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"

// TestStats fills a store with a known number of everything and reads the
// figures back.
func TestStats(t *testing.T) {
	db := newStore(t)
	ctx := t.Context()
	now := time.Now().Unix()
	relays, err := db.AddRelays(ctx, []relay.URL{
		parse(t, "wss://a.nostr.org"), parse(t, "wss://b.nostr.org"), parse(t, "wss://c.nostr.org"), parse(t, onion),
	}, base)
	must(t, err)
	_, err = db.AddMentions(ctx, []store.Mention{
		{URL: parse(t, "wss://d.nostr.org"), Class: hints.Seed, At: base},
		{URL: parse(t, "wss://e.nostr.org"), Class: hints.Seed, At: base},
	})
	must(t, err)
	must(t, db.SaveOutcomes(ctx, []store.Outcome{
		{Relay: relays[0].ID, At: base, State: store.StateUp, LastUp: base},
		{Relay: relays[1].ID, At: base, State: store.StateDown, Cause: dial.CauseTCPRefused},
	}))
	filter, err := db.FilterID(ctx, nostr.Filter{})
	must(t, err)
	events := []nostr.Event{
		event(1, 1, base, "one"), event(1, 1, base+10, "two"), event(2, 7, base+20, "+"),
		event(3, 1, 5, "long before Nostr"), event(3, 1, now+10*86400, "from the future"),
	}
	claim := func(r store.RelayID, lo, hi int64, level store.Level) store.Coverage {
		return store.Coverage{Relay: r, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, Level: level, AsOf: now}
	}
	_, err = db.SaveBatch(ctx, store.Batch{
		Relay: relays[0].ID, SeenAt: base, Events: events, Filter: filter,
		Rejected: []store.Rejected{{Reason: "signature", Raw: []byte("{}")}},
		Claims:   []store.Coverage{claim(relays[0].ID, base, base+99, store.LevelWalked)},
		Holes: []store.Hole{
			{Relay: relays[0].ID, Filter: filter, Interval: store.Interval{Lo: base, Hi: base}, Kind: 1, Reason: store.HoleOverflow, Count: 7},
			{Relay: relays[0].ID, Filter: filter, Interval: store.Interval{Lo: base + 5, Hi: base + 5}, Kind: 1, Reason: store.HoleOversize, Count: -1},
		},
	})
	must(t, err)
	_, err = db.SaveBatch(ctx, store.Batch{
		Relay: relays[1].ID, SeenAt: base, Events: events[:2], Filter: filter,
		Claims: []store.Coverage{claim(relays[1].ID, now-1099, now-100, store.LevelCounted)},
	})
	must(t, err)
	_, err = db.Refresh(ctx, 1000)
	must(t, err)

	have, err := query.New(db).Stats(ctx)
	must(t, err)
	if have.StoreBytes <= 0 || have.At < now || have.At > now+60 {
		t.Errorf("%d bytes at %d", have.StoreBytes, have.At)
	}
	// Lag is measured from the moment of the question.
	if late := have.At - now; have.Lag.Max != have.At-base-99 || have.Lag.Median != have.Lag.Max && have.Lag.Median != 100+late {
		t.Errorf("lag is %+v", have.Lag)
	}
	have.StoreBytes, have.At, have.Lag = 0, 0, query.Lag{}
	want := query.Stats{
		Relays: query.Relays{
			Total:     4,
			ByState:   map[store.State]int64{"new": 2, "up": 1, "down": 1},
			ByNetwork: map[relay.Network]int64{"clearnet": 3, "tor": 1},
			Each:      map[relay.Network]query.PerState{"clearnet": {"new": 1, "up": 1, "down": 1}, "tor": {"new": 1}},
		},
		Candidates: 2, Events: 5, Sightings: 7, Authors: 3, Oldest: base, Newest: base + 20,
		Coverage: []query.LevelCoverage{
			{Level: store.LevelWalked, Relays: 1, Seconds: 100}, {Level: store.LevelCounted, Relays: 1, Seconds: 1000},
		},
		Holes: query.Holes{Count: 2, Events: 7}, Rejected: 1,
	}
	if diff := cmp.Diff(want, have, cmp.Transformer("map", func(p query.PerState) map[store.State]int64 { return p })); diff != "" {
		t.Errorf("stats (-want +have):\n%s", diff)
	}
}

// counting counts how often the figures are read.
type counting struct {
	*sqlite.DB
	reads atomic.Int64
}

func (c *counting) Totals(ctx context.Context, now int64) (store.Totals, error) {
	c.reads.Add(1)
	return c.DB.Totals(ctx, now)
}

// TestStatsShared checks that many who ask at once cost little, and that the
// figures do not stay old.
func TestStatsShared(t *testing.T) {
	db := &counting{DB: newStore(t)}
	c := query.New(db)
	begin := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := c.Stats(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most := int64(2 + time.Since(begin)/time.Second); db.reads.Load() > most {
		t.Errorf("%d reads for 50 questions, want %d at most", db.reads.Load(), most)
	}
	_, err := db.AddRelays(t.Context(), []relay.URL{parse(t, "wss://a.nostr.org")}, base)
	must(t, err)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		stats, err := c.Stats(t.Context())
		must(t, err)
		if stats.Relays.Total == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the figures stay old")
		}
	}
}

// TestStatsEmpty checks that the figures of nothing hold no null, which
// programs trip over.
func TestStatsEmpty(t *testing.T) {
	stats, err := query.New(newStore(t)).Stats(t.Context())
	must(t, err)
	text, err := json.Marshal(stats)
	must(t, err)
	var fields map[string]any
	must(t, json.Unmarshal(text, &fields))
	for key, value := range fields {
		if value == nil {
			t.Errorf("%s is null", key)
		}
	}
	for _, key := range []string{"events", "oldest", "newest"} {
		if fields[key] != 0.0 {
			t.Errorf("%s is %v, want 0", key, fields[key])
		}
	}
}

// TestRelays follows the pages with every filter and page size, and must meet
// each relay that fits once, in order.
func TestRelays(t *testing.T) {
	db := newStore(t)
	var urls []relay.URL
	for i := range 23 {
		urls = append(urls, parse(t, fmt.Sprintf("wss://r%02d.nostr.org", i)))
	}
	urls = append(urls, parse(t, onion), parse(t, "ws://127.0.0.1:7777"))
	relays, err := db.AddRelays(t.Context(), urls, base)
	must(t, err)
	for _, r := range relays[:10] {
		must(t, db.SaveOutcomes(t.Context(), []store.Outcome{{Relay: r.ID, At: base, State: store.StateUp, LastUp: base}}))
	}
	c := query.New(db)
	for _, test := range []struct {
		name    string
		network relay.Network
		state   store.State
		want    []relay.URL
	}{
		{"all", "", "", urls},
		{"of a network", relay.Tor, "", urls[23:24]},
		{"of a state", "", store.StateUp, urls[:10]},
		{"of both", relay.Clearnet, store.StateNew, append(slices.Clone(urls[10:23]), urls[24])},
		{"none", relay.Tor, store.StateDead, nil},
	} {
		want := slices.SortedFunc(slices.Values(test.want), func(a, b relay.URL) int { return stdcmp.Compare(a.String(), b.String()) })
		for _, limit := range []int{1, 2, 5, 10, 1000} {
			q := query.RelayQuery{Network: test.network, Limit: limit}
			if test.state != "" {
				q.States = []store.State{test.state}
			}
			var have []relay.URL
			for pages := 0; ; pages++ {
				page, err := c.Relays(t.Context(), q)
				must(t, err)
				if len(page.Relays) > limit || pages > len(urls)+1 {
					t.Fatalf("%s, pages of %d: page %d has %d relays", test.name, limit, pages, len(page.Relays))
				}
				for _, r := range page.Relays {
					have = append(have, r.URL)
				}
				if page.Next == "" {
					break
				}
				q.After = page.Next
			}
			if !slices.Equal(have, want) {
				t.Errorf("%s, pages of %d: %v, want %v", test.name, limit, have, want)
			}
		}
	}
	page, err := c.Relays(t.Context(), query.RelayQuery{Limit: 1})
	must(t, err)
	if page.Relays[0].ID != relays[24].ID {
		t.Errorf("the first relay has id %d, want %d", page.Relays[0].ID, relays[24].ID)
	}
}

// TestEvents checks that strangers get what they may see and nothing else, page
// after page, and exactly as it was signed.
func TestEvents(t *testing.T) {
	db := newStore(t)
	deleted := event(2, 1, base+1, "regretted")
	odd := event(5, 1, base+500, "NUL \x00, quote \", line separator \u2028, <script>, half a pair \xed\xa0\xbd", nostr.Tag{}, nostr.Tag{"t", ""})
	var public []nostr.Event
	for i := range 30 {
		public = append(public, event(1, 1, base+int64(i/4), fmt.Sprint("note ", i), nostr.Tag{"t", fmt.Sprint(i % 3)}))
	}
	public = append(public, odd, event(2, 5, base+2, "", nostr.Tag{"e", deleted.ID.String()}))
	hidden := []nostr.Event{
		event(1, 4, base+1000, "to one"), event(1, 13, base+1001, "sealed"), event(1, 14, base+1002, "unsealed"), event(1, 1059, base+1003, "wrapped"),
		event(1, 1, base+1004, "gone by itself", nostr.Tag{"expiration", "1600000000"}), deleted,
	}
	_, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: append(slices.Clone(public), hidden...)})
	must(t, err)
	slices.SortFunc(public, func(a, b nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return stdcmp.Compare(b.CreatedAt, a.CreatedAt)
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	c := query.New(db)
	for _, test := range []struct {
		name   string
		filter nostr.Filter
		want   func(e *nostr.Event) bool
	}{
		{"all", nostr.Filter{}, func(*nostr.Event) bool { return true }},
		{"private kinds", nostr.Filter{Kinds: []nostr.Kind{4, 13, 14, 1059}}, func(*nostr.Event) bool { return false }},
		{"private and other kinds", nostr.Filter{Kinds: []nostr.Kind{4, 5}}, func(e *nostr.Event) bool { return e.Kind == 5 }},
		{"a private id", nostr.Filter{IDs: []nostr.ID{hidden[0].ID}}, func(*nostr.Event) bool { return false }},
		{"a tag", nostr.Filter{Tags: map[string][]string{"t": {"1"}}}, func(e *nostr.Event) bool {
			return len(e.Tags) > 0 && slices.Equal(e.Tags[0], nostr.Tag{"t", "1"})
		}},
	} {
		for _, limit := range []int{1, 3, 1000} {
			var have []nostr.Event
			var after store.Cursor
			for range 100 {
				page, err := c.Events(t.Context(), test.filter, after, limit)
				must(t, err)
				for _, text := range page.Events {
					e, err := nostr.ParseEvent(text)
					must(t, err)
					have = append(have, e)
				}
				if after = store.Cursor(page.Next); after == "" {
					break
				}
			}
			var want []nostr.Event
			for i := range public {
				if test.want(&public[i]) {
					want = append(want, public[i])
				}
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("%s, pages of %d (-want +have):\n%s", test.name, limit, diff)
			}
		}
	}
}

// TestIndexEvents checks that nothing of an index looks like a whole event.
func TestIndexEvents(t *testing.T) {
	db := newStoreOf(t, store.Keep{Mode: store.KeepIndex, FullKinds: []nostr.Kind{0}})
	profile, note := event(1, 0, base, "{}"), event(2, 1, base+1, "text", nostr.Tag{"t", "x"})
	_, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: []nostr.Event{profile, note}})
	must(t, err)
	page, err := query.New(db).Events(t.Context(), nostr.Filter{}, "", 10)
	must(t, err)
	want := []string{
		fmt.Sprintf(`{"id":"%s","pubkey":"%s","created_at":%d,"kind":1,"index_only":true}`, note.ID, note.PubKey, note.CreatedAt),
		string(profile.AppendJSON(nil)),
	}
	var have []string
	for _, e := range page.Events {
		have = append(have, string(e))
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("events (-want +have):\n%s", diff)
	}
}

// TestRefused checks the errors of questions that cannot be answered.
func TestRefused(t *testing.T) {
	c := query.New(newStore(t))
	ctx := t.Context()
	for _, limit := range []int{-1, 0, query.MaxPage + 1} {
		if _, err := c.Relays(ctx, query.RelayQuery{Limit: limit}); !errors.Is(err, query.ErrLimit) {
			t.Errorf("relays, limit %d: %v", limit, err)
		}
		if _, err := c.Events(ctx, nostr.Filter{}, "", limit); !errors.Is(err, query.ErrLimit) {
			t.Errorf("events, limit %d: %v", limit, err)
		}
		if _, err := c.Kinds(ctx, limit); !errors.Is(err, query.ErrLimit) {
			t.Errorf("kinds, limit %d: %v", limit, err)
		}
	}
	for _, after := range []store.Cursor{"x", "1", "1.", ".", "1.zz", "99999999999999999999.00", "wss://a.nostr.org"} {
		if _, err := c.Events(ctx, nostr.Filter{}, after, 1); !errors.Is(err, store.ErrCursor) {
			t.Errorf("events after %q: %v", after, err)
		}
	}
	for _, after := range []string{"x", "a.nostr.org", "wss://A.nostr.org", "wss://a.nostr.org/../", "\x00"} {
		if _, err := c.Relays(ctx, query.RelayQuery{After: after, Limit: 1}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("relays after %q: %v", after, err)
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Stats(over); !errors.Is(err, context.Canceled) {
		t.Errorf("stats when nobody waits: %v", err)
	}
}

// TestSums checks the questions that pages ask besides.
func TestSums(t *testing.T) {
	db := newStore(t)
	ctx := t.Context()
	const day = base / 86400
	_, err := db.SaveBatch(ctx, store.Batch{SeenAt: base, Events: []nostr.Event{
		event(1, 1, day*86400, "a"), event(2, 1, day*86400+1, "b"), event(1, 7, (day+2)*86400, "+"),
	}})
	must(t, err)
	_, err = db.Refresh(ctx, 1000)
	must(t, err)
	c := query.New(db)
	kinds, err := c.Kinds(ctx, 10)
	must(t, err)
	if diff := cmp.Diff([]store.KindTotal{{Kind: 1, Events: 2, Authors: 2}, {Kind: 7, Events: 1, Authors: 1}}, kinds); diff != "" {
		t.Errorf("kinds (-want +have):\n%s", diff)
	}
	days, err := c.Days(ctx, day, day+1)
	must(t, err)
	if diff := cmp.Diff([]store.DayTotal{{Day: day, Events: 2, Authors: 2}}, days); diff != "" {
		t.Errorf("days (-want +have):\n%s", diff)
	}
	relays, err := db.AddRelays(ctx, []relay.URL{parse(t, "wss://a.nostr.org")}, base)
	must(t, err)
	filter, err := db.FilterID(ctx, nostr.Filter{})
	must(t, err)
	claim := store.Coverage{Relay: relays[0].ID, Filter: filter, Interval: store.Interval{Lo: 1, Hi: 2}, Level: store.LevelWalked, AsOf: base, Method: "walk"}
	_, err = db.SaveBatch(ctx, store.Batch{Relay: relays[0].ID, SeenAt: base, Filter: filter, Claims: []store.Coverage{claim}})
	must(t, err)
	claims, next, err := c.RelayClaims(ctx, relays[0].ID, "", 1)
	must(t, err)
	holes, _, err := c.RelayHoles(ctx, relays[0].ID, "", 1)
	must(t, err)
	want := []query.Claim{{Filter: "{}", Lo: 1, Hi: 2, Level: store.LevelWalked, AsOf: base, Method: "walk"}}
	if diff := cmp.Diff(want, claims); diff != "" || next != "" || len(holes) > 0 {
		t.Errorf("coverage (-want +have):\n%s", diff)
	}
	each, err := c.Claims(ctx, []store.RelayID{relays[0].ID, 77})
	must(t, err)
	if diff := cmp.Diff(map[store.RelayID][]store.Coverage{relays[0].ID: {claim}}, each); diff != "" {
		t.Errorf("claims (-want +have):\n%s", diff)
	}
	if _, err := c.Claims(ctx, make([]store.RelayID, query.MaxPage+1)); !errors.Is(err, query.ErrLimit) {
		t.Errorf("claims of too many: %v", err)
	}
}

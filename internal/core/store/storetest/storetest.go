// Package storetest is the conformance suite of the store: every promise that
// package store makes, as tests over any backend. It owns no database and knows
// none; a backend's own test is one call of Run and one of RunIndex. What only
// one backend promises is left to its own tests.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// Run tests every role of a store that keeps events whole. Open returns an
// empty store whose schema is migrated; it is called once for each test that
// needs one, and Run closes what it gets.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, role := range []struct {
		name string
		test func(*testing.T, opener)
	}{
		{"schema", testSchema},
		{"relay", testRelays},
		{"candidate", testCandidates},
		{"curation", testCuration},
		{"source", testSources},
		{"alias", testAliases},
		{"schedule", testSchedule},
		{"job", testJobs},
		{"archive", testArchive},
		{"coverage", testCoverages},
		{"pace", testPaces},
		{"tail", testTails},
		{"cost", testCosts},
		{"holding", testHoldings},
		{"check", testChecks},
		{"alert", testAlerts},
		{"history", testHistories},
		{"rollup", testRollups},
		{"read", testReads},
		{"version", testVersions},
		{"texts", testTexts},
		{"keep", testFull},
	} {
		t.Run(role.name, func(t *testing.T) { role.test(t, open) })
	}
}

type opener func(t *testing.T) store.Store

// cases runs tests that each want a store of their own.
func cases(t *testing.T, open opener, tests map[string]func(*testing.T, *fixture)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, newFixture(t, open)) })
	}
}

func testSchema(t *testing.T, open opener) {
	f := newFixture(t, open)
	ran, err := f.Migrate(f.ctx)
	if err != nil || len(ran) != 0 {
		t.Errorf("a second Migrate ran %q, %v", ran, err)
	}
	if err := f.VerifySchema(f.ctx); err != nil {
		t.Errorf("VerifySchema: %v", err)
	}
}

// fixture is a store whose errors fail the test.
type fixture struct {
	store.Store
	t    rapid.TB
	ctx  context.Context
	keep store.Keep
}

func newFixture(t *testing.T, open opener) *fixture {
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	keep, err := s.Keep(t.Context())
	if err != nil {
		t.Fatalf("read the policy: %v", err)
	}
	return &fixture{Store: s, t: t, ctx: t.Context(), keep: keep}
}

// in returns the same store for a part of the test.
func (f *fixture) in(t rapid.TB) *fixture { return &fixture{f.Store, t, f.ctx, f.keep} }

// must ends the test for an error.
func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("%v", err)
	}
}

// equal compares; nil and empty lists are the same, and of events only what the
// store is to keep counts.
func (f *fixture) equal(what string, want, got any) {
	f.t.Helper()
	if d := difference(want, got, f.keep); d != "" {
		f.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// difference is empty for equal values, and bounded: some values are megabytes.
func difference(want, got any, keep store.Keep) string {
	const most = 4000
	d := cmp.Diff(want, got, cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b relay.URL) bool { return a == b }),
		cmp.Transformer("kept", func(e nostr.Event) kept { return kept(keptOf(e, keep)) }),
		// For speed, or every byte would be compared by reflection.
		cmp.Comparer(func(a, b negentropy.Accumulator) bool { return a == b }),
		cmp.Comparer(func(a, b nostr.ID) bool { return a == b }),
		cmp.Comparer(func(a, b nostr.PubKey) bool { return a == b }),
		cmp.Comparer(func(a, b nostr.Sig) bool { return a == b }),
		cmp.FilterValues(func(a, b []nostr.Tag) bool { return len(a)+len(b) > 0 }, cmp.Comparer(equalTags)))
	if len(d) > most {
		d = d[:most] + "…"
	}
	return d
}

// kept is an event as it is compared.
type kept nostr.Event

// keptOf returns what a store keeps of an event.
func keptOf(e nostr.Event, keep store.Keep) nostr.Event {
	if !keep.Full(e.Kind) {
		e.Tags, e.Content, e.Sig = nil, "", nostr.Sig{}
	}
	return e
}

// whole checks that an event was read as it is to be kept.
func (f *fixture) whole(s store.Stored) {
	f.t.Helper()
	e := &s.Event
	if s.IndexOnly == f.keep.Full(e.Kind) {
		f.t.Errorf("an event of kind %d under the policy %q %d: index only is %t", e.Kind, f.keep.Mode, f.keep.FullKinds, s.IndexOnly)
	}
	if s.IndexOnly && (len(e.Tags) > 0 || e.Content != "" || e.Sig != nostr.Sig{}) {
		f.t.Errorf("of an event that is not kept whole there are %d tags, content %.20q and signature %s", len(e.Tags), e.Content, e.Sig)
	}
}

func equalTags(a, b []nostr.Tag) bool {
	return slices.EqualFunc(a, b, func(a, b nostr.Tag) bool { return slices.Equal(a, b) })
}

// base is a plausible time that the tests count from: 2023-11-14.
const base int64 = 1_700_000_000

// url returns one of any number of clearnet relays, ascending with n.
func url(n int) relay.URL { return parse(fmt.Sprintf("wss://relay%04d.nostr.org", n)) }

// onion is a relay of another network.
func onion() relay.URL {
	return parse("ws://duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion")
}

func parse(text string) relay.URL {
	u, err := relay.Parse(text)
	if err != nil {
		panic(err) // a fault of the suite
	}
	return u
}

// urls returns those of n clearnet relays.
func (f *fixture) urls(n int) []relay.URL {
	urls := make([]relay.URL, n)
	for i := range urls {
		urls[i] = url(i)
	}
	return urls
}

// relays promotes n clearnet relays at base.
func (f *fixture) relays(n int) []store.Relay {
	f.t.Helper()
	relays, err := f.AddRelays(f.ctx, f.urls(n), base)
	f.must(err)
	return relays
}

// author returns one of any number of public keys.
func author(n int) nostr.PubKey { return sha256.Sum256(fmt.Appendf(nil, "author %d", n)) }

// event returns an event with the right id. The signature is none: the store
// takes what its callers have verified.
func event(by int, kind nostr.Kind, at int64, content string, tags ...nostr.Tag) nostr.Event {
	e := nostr.Event{PubKey: author(by), CreatedAt: at, Kind: kind, Tags: tags, Content: content}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	copy(e.Sig[:32], e.ID[:])
	copy(e.Sig[32:], e.PubKey[:])
	return e
}

// notes returns n events of kind 1, one a second from base on.
func notes(n int) []nostr.Event {
	events := make([]nostr.Event, n)
	for i := range events {
		events[i] = event(i%5, 1, base+int64(i), fmt.Sprint("note ", i))
	}
	return events
}

func ids(events ...nostr.Event) []nostr.ID {
	list := make([]nostr.ID, len(events))
	for i := range events {
		list[i] = events[i].ID
	}
	return list
}

func refs(events ...nostr.Event) []nostr.Ref {
	list := make([]nostr.Ref, len(events))
	for i := range events {
		list[i] = events[i].Ref()
	}
	return list
}

// save saves a batch.
func (f *fixture) save(b store.Batch) store.Saved {
	f.t.Helper()
	saved, err := f.SaveBatch(f.ctx, b)
	f.must(err)
	return saved
}

// add imports events.
func (f *fixture) add(events ...nostr.Event) store.Saved {
	f.t.Helper()
	return f.save(store.Batch{SeenAt: base, Events: events})
}

// seqs returns the numbers of events.
func (f *fixture) seqs(events ...nostr.Event) []store.Seq {
	f.t.Helper()
	seqs, err := f.Known(f.ctx, refs(events...))
	f.must(err)
	return seqs
}

// scan reads what ScanEvents yields.
func (f *fixture) scan(after store.Cursor, filter nostr.Filter) []store.Scanned {
	f.t.Helper()
	var list []store.Scanned
	for s, err := range f.ScanEvents(f.ctx, after, filter) {
		f.must(err)
		f.whole(s.Stored)
		list = append(list, s)
	}
	return list
}

// archived returns every event in the archive's order.
func (f *fixture) archived() []nostr.Event {
	f.t.Helper()
	var events []nostr.Event
	for _, s := range f.scan("", nostr.Filter{}) {
		events = append(events, s.Event)
	}
	return events
}

// refresh brings the sums up to date.
func (f *fixture) refresh() {
	f.t.Helper()
	for more := true; more; {
		r, err := f.Refresh(f.ctx, 1000)
		f.must(err)
		more = r.More
	}
}

func (f *fixture) totals() store.Totals {
	f.t.Helper()
	f.refresh()
	totals, err := f.Totals(f.ctx, base+86400)
	f.must(err)
	return totals
}

// interruptions is how many times interrupted tries: more than any call asks
// its context.
const interruptions = 200

// interrupted calls work with a context that has ended, and then with contexts
// that end when they are asked for the first time, the second and so on, until
// work succeeds. After every failure, check must find nothing done.
func (f *fixture) interrupted(work func(context.Context) error, check func()) {
	f.t.Helper()
	over, cancel := context.WithCancel(f.ctx)
	cancel()
	if err := work(over); !errors.Is(err, context.Canceled) {
		f.t.Errorf("with an ended context: %v, want %v", err, context.Canceled)
	}
	check()
	for n := range interruptions {
		ctx, cancel := context.WithCancel(f.ctx)
		err := work(&ending{Context: ctx, left: n, cancel: cancel})
		cancel()
		if err == nil {
			return
		}
		if !errors.Is(err, context.Canceled) {
			f.t.Fatalf("with a context that ends: %v, want %v", err, context.Canceled)
		}
		check()
	}
	f.t.Fatalf("the work never succeeds")
}

// ending is a context that ends when Err is called once too often.
type ending struct {
	context.Context
	mu     sync.Mutex
	left   int
	cancel context.CancelFunc
}

// Err implements context.Context.
func (c *ending) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left < 0 {
		c.cancel()
	}
	return c.Context.Err()
}

// Package storetest is the conformance suite of the store: every promise that
// package store makes, as tests over any backend. It owns no database and knows
// none; a backend's own test is one call of Run.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// Run tests every role. Open returns an empty store whose schema is migrated;
// it is called once for each test that needs one, and Run closes what it gets.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, role := range []struct {
		name string
		test func(*testing.T, opener)
	}{
		{"relay", testRelays},
		{"candidate", testCandidates},
		{"schedule", testSchedule},
		{"archive", testArchive},
		{"coverage", testCoverages},
		{"check", testChecks},
		{"rollup", testRollups},
		{"read", testReads},
	} {
		t.Run(role.name, func(t *testing.T) { role.test(t, open) })
	}
}

type opener func(t *testing.T) store.Store

// run gives each named test a store of its own.
func run(t *testing.T, open opener, tests map[string]func(*testing.T, store.Store)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			st := open(t)
			defer func() {
				if err := st.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			test(t, st)
		})
	}
}

var (
	alice = key(1)
	bob   = key(2)
	carol = key(3)
)

// key returns the same key for the same number, so that failures repeat.
func key(n byte) nostr.SecretKey {
	k, err := nostr.SecretKeyFromBytes(append(make([]byte, 31), n))
	if err != nil {
		panic(err)
	}
	return k
}

func event(t testing.TB, by nostr.SecretKey, at int64, kind nostr.Kind, content string, tags ...nostr.Tag) nostr.Event {
	t.Helper()
	if tags == nil {
		tags = []nostr.Tag{}
	}
	e := nostr.Event{CreatedAt: at, Kind: kind, Tags: tags, Content: content}
	if err := by.Sign(&e); err != nil {
		t.Fatal(err)
	}
	return e
}

// unsigned makes an event whose id is right and whose signature is not: many of
// them cost little, and the store does not look at signatures.
func unsigned(by nostr.PubKey, at int64, kind nostr.Kind, content string, tags ...nostr.Tag) nostr.Event {
	if tags == nil {
		tags = []nostr.Tag{}
	}
	e := nostr.Event{PubKey: by, CreatedAt: at, Kind: kind, Tags: tags, Content: content}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	copy(e.Sig[:], e.ID[:])
	return e
}

// author returns a public key that nobody has the secret of.
func author(n int) nostr.PubKey {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func urlOf(t testing.TB, n int) relay.URL {
	t.Helper()
	return parse(t, fmt.Sprintf("wss://relay%03d.nostr.net", n))
}

func parse(t testing.TB, text string) relay.URL {
	t.Helper()
	u, err := relay.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// addRelays promotes the first n test relays.
func addRelays(t testing.TB, st store.Store, n int) []store.Relay {
	t.Helper()
	urls := make([]relay.URL, n)
	for i := range urls {
		urls[i] = urlOf(t, i)
	}
	relays, err := st.AddRelays(t.Context(), urls, 100)
	if err != nil {
		t.Fatal(err)
	}
	return relays
}

func save(t testing.TB, st store.Store, batch store.Batch) store.Saved {
	t.Helper()
	saved, err := st.SaveBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// archived returns every event in the archive's order.
func archived(t testing.TB, st store.Store) []nostr.Event {
	t.Helper()
	var events []nostr.Event
	for s, err := range st.ScanEvents(t.Context(), "", nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, s.Event)
	}
	return events
}

// refresh counts everything.
func refresh(t testing.TB, st store.Store) {
	t.Helper()
	for {
		done, err := st.Refresh(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if !done.More {
			return
		}
	}
}

func totals(t testing.TB, st store.Store) store.Totals {
	t.Helper()
	totals, err := st.Totals(t.Context(), 2_000_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return totals
}

// equal compares; nil and empty lists are the same.
func equal[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b relay.URL) bool { return a == b })); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", what, diff)
	}
}

func ids(events []nostr.Event) []string {
	list := make([]string, len(events))
	for i, e := range events {
		list[i] = e.ID.String()[:8]
	}
	return list
}

func cancelled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

func testRelays(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"added in the order given": func(t *testing.T, f *fixture) {
			urls := []relay.URL{url(3), onion(), url(1), url(2)}
			first, err := f.AddRelays(f.ctx, urls, base)
			f.must(err)
			if len(first) != len(urls) {
				t.Fatalf("got %d relays, want %d", len(first), len(urls))
			}
			for i, r := range first {
				f.equal("new relay", store.Relay{
					ID: r.ID, URL: urls[i], FirstSeen: base, PromotedAt: base, State: store.StateNew, StateSince: base,
				}, r)
				if r.ID <= 0 {
					t.Errorf("relay %s has the number %d", r.URL, r.ID)
				}
			}
			// Later, others, one of them twice: known ones come as they are.
			second, err := f.AddRelays(f.ctx, []relay.URL{url(2), url(9), url(3), url(9)}, base+50)
			f.must(err)
			if len(second) != 4 || second[1].PromotedAt != base+50 {
				t.Fatalf("AddRelays = %+v", second)
			}
			f.equal("known again", []store.Relay{first[3], second[1], first[0], second[1]}, second)
		},
		"none": func(t *testing.T, f *fixture) {
			relays, err := f.AddRelays(f.ctx, nil, base)
			if len(relays) != 0 || err != nil {
				t.Errorf("AddRelays of none = %v, %v", relays, err)
			}
			for r, err := range f.ScanRelays(f.ctx) {
				t.Errorf("an empty store has the relay %v, %v", r, err)
			}
			if _, err := f.Relay(f.ctx, url(1)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Relay of an unknown URL: %v, want %v", err, store.ErrNotFound)
			}
		},
		"read by URL": func(t *testing.T, f *fixture) {
			for _, want := range f.relays(3) {
				got, err := f.Relay(f.ctx, want.URL)
				f.must(err)
				f.equal("Relay", want, got)
			}
			if _, err := f.Relay(f.ctx, url(3)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Relay of an unknown URL: %v, want %v", err, store.ErrNotFound)
			}
		},
		"consume a candidate": func(t *testing.T, f *fixture) {
			f.mention(store.Mention{URL: url(1), Class: "hint", At: base - 100})
			relays, err := f.AddRelays(f.ctx, []relay.URL{url(1)}, base)
			f.must(err)
			if r := relays[0]; r.FirstSeen != base-100 || r.PromotedAt != base {
				t.Errorf("first seen %d, promoted %d, want %d and %d", r.FirstSeen, r.PromotedAt, base-100, base)
			}
			if left := f.dueCandidates(base + 1); len(left) != 0 {
				t.Errorf("still a candidate: %v", left)
			}
		},
		"scanned by ascending id, also while written": func(t *testing.T, f *fixture) {
			relays := f.relays(2500)
			want := slices.Clone(relays)
			slices.SortFunc(want, func(a, b store.Relay) int { return int(a.ID) - int(b.ID) })
			var got []store.Relay
			for r, err := range f.ScanRelays(f.ctx) {
				f.must(err)
				if len(got)%1000 == 0 { // no transaction is held: a write goes through
					f.must(f.SaveNext(f.ctx, []store.Next{{Relay: r.ID, Service: "monitor", DueAt: base}}))
				}
				got = append(got, r)
			}
			f.equal("ScanRelays", want, got)
			n := 0
			for range f.ScanRelays(f.ctx) {
				if n++; n == 3 {
					break
				}
			}
			if n != 3 {
				t.Errorf("a scan that is left after 3 went to %d", n)
			}
		},
		"whole or not at all": func(t *testing.T, f *fixture) {
			urls := []relay.URL{url(1), url(2), url(3)}
			f.interrupted(func(ctx context.Context) error {
				_, err := f.AddRelays(ctx, urls, base)
				return err
			}, func() {
				for r, err := range f.ScanRelays(f.ctx) {
					f.must(err)
					t.Errorf("an interrupted AddRelays left %s", r.URL)
				}
			})
		},
	})
}

package storetest

import (
	"context"
	"testing"

	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// kin reads kin as URLs with what they share.
func (f *fixture) kin(u relay.URL, traits []store.Trait, limit int) (list []string, shares [][]store.TraitKind) {
	f.t.Helper()
	kin, err := f.Kin(f.ctx, u, traits, limit)
	f.must(err)
	for _, k := range kin {
		list, shares = append(list, k.URL.String()), append(shares, k.Shares)
	}
	return list, shares
}

// examined leases a relay for the validator and saves what was found of it.
func (f *fixture) examined(r store.Relay, of store.RelayID, traits ...store.Trait) {
	f.t.Helper()
	f.dueRelays("validator", base) // makes the row
	f.must(f.SaveKinship(f.ctx, []store.Kinship{{At: base, Traits: traits, AliasOf: of, Next: store.Next{Relay: r.ID, Service: "validator", DueAt: base + 1}}}))
}

func testAliases(t *testing.T, open opener) {
	self := func(b byte) store.Trait { return store.Trait{Kind: store.TraitSelf, Value: []byte{b, 0, 0xff}} }
	certificate := func(b byte) store.Trait { return store.Trait{Kind: store.TraitCertificate, Value: []byte{b}} }
	at := func(f *fixture, texts ...string) []store.Relay {
		var urls []relay.URL
		for _, text := range texts {
			urls = append(urls, parse(text))
		}
		relays, err := f.AddRelays(f.ctx, urls, base)
		f.must(err)
		return relays
	}
	cases(t, open, map[string]func(*testing.T, *fixture){
		"kin share a host or a trait": func(t *testing.T, f *fixture) {
			relays := at(f, "wss://a.nostr.org", "wss://a.nostr.org/inbox", "wss://b.nostr.org", "wss://c.nostr.org", "wss://d.nostr.org")
			f.examined(relays[0], 0, self(1))
			f.examined(relays[1], 0, self(1))
			f.examined(relays[2], 0, self(1), certificate(2))
			f.examined(relays[3], 0, certificate(2))
			host, selfKind, cert := store.TraitHost, store.TraitSelf, store.TraitCertificate
			list, shares := f.kin(parse("wss://a.nostr.org/new"), nil, 9)
			f.equal("by host", []string{"wss://a.nostr.org", "wss://a.nostr.org/inbox"}, list)
			f.equal("what they share", [][]store.TraitKind{{host}, {host}}, shares)
			list, shares = f.kin(parse("wss://a.nostr.org/new"), []store.Trait{self(1), certificate(2), self(1)}, 9)
			f.equal("by traits", []string{"wss://a.nostr.org", "wss://a.nostr.org/inbox", "wss://b.nostr.org", "wss://c.nostr.org"}, list)
			f.equal("what they share", [][]store.TraitKind{{host, selfKind}, {host, selfKind}, {cert, selfKind}, {cert}}, shares)
			list, _ = f.kin(parse("wss://a.nostr.org/new"), []store.Trait{self(1), certificate(2)}, 3)
			f.equal("at most", 3, len(list))
			list, _ = f.kin(relays[3].URL, nil, 9)
			f.equal("by traits that are kept", []string{"wss://b.nostr.org"}, list)
			list, _ = f.kin(parse("wss://z.nostr.org"), nil, 9)
			f.equal("none", []string{}, list)

			// Kept anew, removed or linked, they are no kin any more.
			f.examined(relays[1], relays[0].ID, certificate(9))
			f.ban("wss://b.nostr.org")
			list, _ = f.kin(parse("wss://z.nostr.org"), []store.Trait{self(1), certificate(9), certificate(2)}, 9)
			f.equal("in the end", []string{"wss://a.nostr.org", "wss://c.nostr.org"}, list)
			// Without new ones the old traits stay.
			f.must(f.SaveKinship(f.ctx, []store.Kinship{{At: base, Next: store.Next{Relay: relays[0].ID, Service: "validator"}}}))
			list, _ = f.kin(parse("wss://z.nostr.org"), []store.Trait{self(1)}, 9)
			f.equal("traits stay", []string{"wss://a.nostr.org"}, list)
		},
		"an alias is not worked on while its relay lives": func(t *testing.T, f *fixture) {
			relays := f.relays(3)
			f.examined(relays[2], relays[0].ID)
			for _, service := range []string{"monitor", "synchronizer"} {
				f.equal(service, texts(url(0), url(1)), f.dueRelays(service, base+9))
			}
			work, err := f.DueRelays(f.ctx, store.Due{Service: "monitor", Now: base + 9, Limit: 9, Owner: "look", Until: base + 9, Aliases: true})
			f.must(err)
			f.equal("with aliases", 3, len(work))
			f.must(f.FreeLeases(f.ctx, "look"))
			got, err := f.Relay(f.ctx, url(2))
			f.must(err)
			f.equal("AliasOf", relays[0].ID, got.AliasOf)
			f.must(f.SaveOutcomes(f.ctx, []store.Outcome{{Relay: relays[0].ID, At: base, State: store.StateDead, Next: store.Next{Relay: relays[0].ID, Service: "monitor", DueAt: base + 9000}}}))
			f.equal("when its relay is dead", texts(url(0), url(1), url(2)), f.dueRelays("synchronizer", base+9))
			f.examined(relays[2], 0)
			got, err = f.Relay(f.ctx, url(2))
			f.must(err)
			f.equal("unlinked", store.RelayID(0), got.AliasOf)
		},
		"there are no chains of aliases": func(t *testing.T, f *fixture) {
			relays := f.relays(4)
			f.examined(relays[2], relays[1].ID)
			f.examined(relays[3], relays[2].ID) // which is an alias: no
			f.examined(relays[1], relays[1].ID) // itself: no
			aliases := func() (list []store.RelayID) {
				for r, err := range f.ScanRelays(f.ctx) {
					f.must(err)
					list = append(list, r.AliasOf)
				}
				return list
			}
			f.equal("aliases", []store.RelayID{0, 0, relays[1].ID, 0}, aliases())
			f.examined(relays[1], relays[0].ID)
			f.equal("aliases are linked along", []store.RelayID{0, relays[0].ID, relays[0].ID, 0}, aliases())
			found, err := f.Recheck(f.ctx, []relay.URL{url(1)}, base)
			f.must(err)
			f.equal("rechecked", 1, len(found))
			f.equal("stands for itself", []store.RelayID{0, 0, relays[0].ID, 0}, aliases())
		},
		"a candidate can be found to be an alias": func(t *testing.T, f *fixture) {
			relays := f.relays(1)
			f.mention(by(url(1), hints.List, 1)...)
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(1), At: base, Valid: true, Traits: []store.Trait{self(1)}, AliasOf: relays[0].ID}}))
			got, err := f.Relay(f.ctx, url(1))
			f.must(err)
			f.equal("AliasOf", relays[0].ID, got.AliasOf)
			f.equal("due", texts(url(0)), f.dueRelays("synchronizer", base+9))
			f.mention(by(url(2), hints.List, 1)...)
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(2), At: base, Valid: true, Traits: []store.Trait{self(1)}}}))
			list, _ := f.kin(url(9), []store.Trait{self(1)}, 9)
			f.equal("kin by its trait; an alias is none", texts(url(2)), list)
		},
		"saved by whoever leased": func(t *testing.T, f *fixture) {
			relays := f.relays(2)
			work, err := f.DueRelays(f.ctx, store.Due{Service: "validator", Now: base, Limit: 9, Owner: "a", Until: base + 100})
			f.must(err)
			f.equal("leased", 2, len(work))
			found := func(owner string) store.Kinship {
				return store.Kinship{At: base, Traits: []store.Trait{self(1)}, AliasOf: relays[0].ID, Next: store.Next{Relay: relays[1].ID, Service: "validator", Owner: owner, DueAt: base + 5000}}
			}
			f.must(f.SaveKinship(f.ctx, []store.Kinship{found("b")}))
			got, err := f.Relay(f.ctx, url(1))
			f.must(err)
			f.equal("by another", store.RelayID(0), got.AliasOf)
			f.interrupted(func(ctx context.Context) error { return f.SaveKinship(ctx, []store.Kinship{found("a")}) }, func() {
				got, err := f.Relay(f.ctx, url(1))
				f.must(err)
				f.equal("by half", store.RelayID(0), got.AliasOf)
			})
			got, err = f.Relay(f.ctx, url(1))
			f.must(err)
			f.equal("by its owner", relays[0].ID, got.AliasOf)
			f.must(f.FreeLeases(f.ctx, "a"))
			work, err = f.DueRelays(f.ctx, store.Due{Service: "validator", Now: base + 4999, Limit: 9, Owner: "c", Until: base + 5000, Aliases: true})
			f.must(err)
			f.equal("rescheduled", 1, len(work))
		},
	})
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// all collects what a scan yields.
func all[T any](f *fixture, scan iter.Seq2[T, error]) []T {
	f.t.Helper()
	var list []T
	for one, err := range scan {
		f.must(err)
		list = append(list, one)
	}
	return list
}

// ban bans targets at base.
func (f *fixture) ban(targets ...string) {
	f.t.Helper()
	var bans []store.Ban
	for _, target := range targets {
		bans = append(bans, store.Ban{Target: target, At: base})
	}
	f.must(f.Ban(f.ctx, bans))
}

// dueRelays leases for a moment only.
func (f *fixture) dueRelays(service string, now int64) []string {
	f.t.Helper()
	work, err := f.DueRelays(f.ctx, store.Due{Service: service, Now: now, Limit: 1000, Owner: "look", Until: now})
	f.must(err)
	f.must(f.FreeLeases(f.ctx, "look"))
	var urls []string
	for _, w := range work {
		urls = append(urls, w.Relay.URL.String())
	}
	return urls
}

func testCuration(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"a banned URL is left alone until the ban is lifted": func(t *testing.T, f *fixture) {
			f.relays(2) // url(0) and url(1)
			f.mention(append(by(url(2), hints.Seed, 1), by(url(3), hints.Seed, 1)...)...)
			f.ban(url(0).String(), url(2).String(), url(4).String())

			f.equal("due relays", texts(url(1)), f.dueRelays("monitor", base))
			f.equal("due candidates", texts(url(3)), candidateURLs(f.dueCandidates(base)))
			if n := f.mention(append(by(url(0), hints.Seed, 2), append(by(url(2), hints.Seed, 2), by(url(4), hints.Seed, 2)...)...)...); n != 0 {
				t.Errorf("mentions of banned URLs make %d candidates", n)
			}
			provenance, err := f.Mentions(f.ctx, url(4))
			f.must(err)
			f.equal("mentions of a banned URL", []store.Provenance{}, provenance)
			_, err = f.AddRelays(f.ctx, []relay.URL{url(5), url(4)}, base)
			if !errors.Is(err, store.ErrBanned) {
				t.Errorf("AddRelays of a banned URL: %v, want %v", err, store.ErrBanned)
			}
			if _, err := f.Relay(f.ctx, url(5)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("AddRelays added a part: %v", err)
			}
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(2), At: base, Valid: true}, {URL: url(3), At: base, Valid: true}}))
			if _, err := f.Relay(f.ctx, url(2)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a verdict promotes a banned candidate: %v", err)
			}
			kept, err := f.Relay(f.ctx, url(0))
			f.must(err)
			f.equal("a banned relay", store.Banned, kept.KeptOut)
			var summaries []string
			list, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 100})
			f.must(err)
			for _, s := range list {
				summaries = append(summaries, s.URL.String())
			}
			f.equal("summaries", texts(url(1), url(3)), summaries)
			f.equal("counted candidates", int64(0), f.totals().Candidates)

			lifted, err := f.LiftBans(f.ctx, []string{url(2).String(), url(9).String(), url(0).String(), url(2).String()})
			f.must(err)
			f.equal("lifted", texts(url(2), url(0)), lifted)
			f.equal("due relays afterwards", texts(url(0), url(1), url(3)), f.dueRelays("monitor", base))
			f.equal("due candidates afterwards", texts(url(2)), candidateURLs(f.dueCandidates(base)))
			f.equal("still banned", []store.Ban{{Target: url(4).String(), At: base}}, all(f, f.ScanBans(f.ctx)))
		},
		"a banned host is all of its URLs": func(t *testing.T, f *fixture) {
			root, path, port, plain := parse("wss://h.nostr.org"), parse("wss://h.nostr.org/inbox"), parse("wss://h.nostr.org:7777"), parse("ws://h.nostr.org")
			below := parse("wss://sub.h.nostr.org")
			_, err := f.AddRelays(f.ctx, []relay.URL{root, below}, base)
			f.must(err)
			f.mention(append(by(path, hints.Seed, 1), by(port, hints.Seed, 1)...)...)
			f.ban("h.nostr.org")
			f.ban(path.String())
			if n := f.mention(by(plain, hints.Seed, 1)...); n != 0 {
				t.Error("another URL of a banned host becomes a candidate")
			}
			f.equal("due relays", texts(below), f.dueRelays("monitor", base))
			f.equal("due candidates", []string{}, candidateURLs(f.dueCandidates(base)))
			_, err = f.LiftBans(f.ctx, []string{"h.nostr.org"})
			f.must(err)
			f.equal("due relays afterwards", texts(root, below), f.dueRelays("monitor", base))
			f.equal("due candidates afterwards: one is banned by itself", texts(port), candidateURLs(f.dueCandidates(base)))
		},
		"a ban again has the new reason": func(t *testing.T, f *fixture) {
			f.must(f.Ban(f.ctx, []store.Ban{{Target: "b.org", At: base, Reason: "first"}, {Target: "a.org", At: base}, {Target: "b.org", At: base + 1, Reason: "second\x00"}}))
			f.must(f.Ban(f.ctx, []store.Ban{{Target: "a.org", At: base + 2, Reason: "asked"}}))
			f.equal("bans", []store.Ban{{Target: "a.org", At: base + 2, Reason: "asked"}, {Target: "b.org", At: base + 1, Reason: "second\ufffd"}}, all(f, f.ScanBans(f.ctx)))
		},
		"bans are scanned in pages": func(t *testing.T, f *fixture) {
			var targets []string
			for i := range 2100 {
				targets = append(targets, fmt.Sprintf("h%04d.org", i))
			}
			f.ban(targets...)
			var got []string
			for _, b := range all(f, f.ScanBans(f.ctx)) {
				got = append(got, b.Target)
			}
			f.equal("bans", targets, got)
		},
		"what is removed comes back by a mention": func(t *testing.T, f *fixture) {
			relays := f.relays(2)
			f.mention(append(by(url(2), hints.List, 1), by(url(3), hints.List, 1)...)...)
			removed, err := f.RemoveURLs(f.ctx, []relay.URL{url(0), url(2), url(9), url(0)})
			f.must(err)
			f.equal("removed", texts(url(0), url(2)), texts(removed...))
			again, err := f.RemoveURLs(f.ctx, []relay.URL{url(0), url(2)})
			f.must(err)
			f.equal("removed again", []relay.URL{}, again)
			f.equal("due relays", texts(url(1)), f.dueRelays("monitor", base))
			f.equal("due candidates", texts(url(3)), candidateURLs(f.dueCandidates(base)))

			if n := f.mention(append(by(url(0), hints.Seed, 1), by(url(2), hints.Hint, 1)...)...); n != 2 {
				t.Errorf("%d new candidates, want 2", n)
			}
			f.equal("due candidates after mentions", texts(url(0), url(3), url(2)), candidateURLs(f.dueCandidates(base)))
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(0), At: base + 9, Valid: true}}))
			f.equal("due relays in the end", texts(url(0), url(1)), f.dueRelays("monitor", base))
			got, err := f.Relay(f.ctx, url(0))
			f.must(err)
			f.equal("the relay that came back has its number", relays[0], got)
			_, err = f.RemoveURLs(f.ctx, []relay.URL{url(1)})
			f.must(err)
			_, err = f.AddRelays(f.ctx, []relay.URL{url(1)}, base+9)
			f.must(err)
			f.equal("the operator adds another", texts(url(0), url(1)), f.dueRelays("monitor", base))
		},
		"a removed relay can be banned": func(t *testing.T, f *fixture) {
			f.relays(1)
			_, err := f.RemoveURLs(f.ctx, []relay.URL{url(0)})
			f.must(err)
			f.ban(url(0).String())
			if n := f.mention(by(url(0), hints.Seed, 1)...); n != 0 {
				t.Error("a banned relay comes back")
			}
		},
		"what is rechecked is due": func(t *testing.T, f *fixture) {
			relays := f.relays(2)
			f.mention(append(by(url(2), hints.List, 1), by(url(3), hints.List, 1)...)...)
			for _, service := range []string{"monitor", "synchronizer"} {
				f.dueRelays(service, base)
				f.must(f.SaveNext(f.ctx, []store.Next{{Relay: relays[0].ID, Service: service, DueAt: base + 9000}, {Relay: relays[1].ID, Service: service, DueAt: base + 9000}}))
			}
			for _, u := range []relay.URL{url(2), url(3)} {
				_, err := f.DueCandidates(f.ctx, store.Due{Now: base, Limit: 1, Owner: "v", Until: base + 1})
				f.must(err)
				f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: u, Owner: "v", At: base, Cause: dial.CauseNXDomain, NextDue: base + 9000}}))
			}
			found, err := f.Recheck(f.ctx, []relay.URL{url(0), url(2), url(9)}, base+10)
			f.must(err)
			f.equal("found", texts(url(0), url(2)), texts(found...))
			for _, service := range []string{"monitor", "synchronizer"} {
				f.equal(service+" before", []string{}, f.dueRelays(service, base+9))
				f.equal(service, texts(url(0)), f.dueRelays(service, base+10))
			}
			got := f.dueCandidates(base + 10)
			f.equal("candidates", texts(url(2)), candidateURLs(got))
			if got[0].Attempts != 1 || got[0].LastCause != dial.CauseNXDomain {
				t.Errorf("what was known of it is lost: %+v", got[0])
			}
			f.ban(url(0).String(), url(2).String())
			found, err = f.Recheck(f.ctx, []relay.URL{url(0), url(2)}, base+10)
			f.must(err)
			f.equal("banned ones", []relay.URL{}, found)
		},
		"new URLs of a crowded host are left out": func(t *testing.T, f *fixture) {
			path := func(i int) relay.URL { return parse(fmt.Sprintf("wss://crowd.nostr.org/%04d", i)) }
			var mentions []store.Mention
			for i := range 3 * store.MaxPerHost {
				mentions = append(mentions, by(path(i), hints.List, 1)...)
			}
			if n := f.mention(mentions...); n != store.MaxPerHost {
				t.Errorf("%d candidates of one batch, want %d", n, store.MaxPerHost)
			}
			if n := f.mention(mentions...); n != 0 {
				t.Errorf("%d more of a second batch", n)
			}
			provenance, err := f.Mentions(f.ctx, path(3*store.MaxPerHost-1))
			f.must(err)
			f.equal("mentions of one left out", []store.Provenance{}, provenance)
			for _, step := range []struct {
				name  string
				url   relay.URL
				class hints.Class
				want  int
			}{
				{"the root", parse("wss://crowd.nostr.org"), hints.Content, 1},
				{"a seed", path(9999), hints.Seed, 1},
				{"another host", parse("wss://below.crowd.nostr.org/x"), hints.Content, 1},
				{"a port", parse("wss://crowd.nostr.org:7777"), hints.Monitor, 0},
			} {
				if n := f.mention(by(step.url, step.class, 1)...); n != step.want {
					t.Errorf("%s: %d candidates, want %d", step.name, n, step.want)
				}
			}
			// One that is there already goes on to be counted.
			f.mention(by(path(0), hints.List, 2)...)
			provenance, err = f.Mentions(f.ctx, path(0))
			f.must(err)
			f.equal("mentions of one that is there", []store.Provenance{{Class: hints.List, First: base, Last: base, Count: 3, Authors: 2}}, provenance)
		},
		"mentions by class": func(t *testing.T, f *fixture) {
			f.mention(append(by(url(1), hints.Content, 1, 2, 2), by(url(1), hints.List, 1)...)...)
			f.mention(store.Mention{URL: url(1), Class: hints.Content, At: base + 50}, store.Mention{URL: url(1), Class: hints.Content, At: base - 50})
			f.mention(by(url(2), hints.Content, 1)...)
			got, err := f.Mentions(f.ctx, url(1))
			f.must(err)
			f.equal("mentions", []store.Provenance{
				{Class: hints.List, First: base, Last: base, Count: 1, Authors: 1},
				{Class: hints.Content, First: base - 50, Last: base + 50, Count: 5, Authors: 2},
			}, got)
			totals, err := f.ClassTotals(f.ctx)
			f.must(err)
			f.equal("totals", []store.ClassTotal{{Class: hints.List, URLs: 1, Strongest: 1}, {Class: hints.Content, URLs: 2, Strongest: 1}}, totals)
		},
		"candidates are scanned by URL": func(t *testing.T, f *fixture) {
			var want []string
			var mentions []store.Mention
			for i := range 2100 {
				mentions, want = append(mentions, store.Mention{URL: url(i), Class: hints.Hint, At: base}), append(want, url(i).String())
			}
			f.mention(mentions...)
			f.ban(url(1).String())
			got := all(f, f.ScanCandidates(f.ctx))
			f.equal("candidates", want, candidateURLs(got))
			f.equal("a candidate", store.Candidate{URL: url(0), FirstSeen: base, NextDue: base, Class: hints.Hint}, got[0])
			f.equal("a banned one", store.Banned, got[1].KeptOut)
		},
		"whole or not at all": func(t *testing.T, f *fixture) {
			f.relays(2)
			f.mention(by(url(2), hints.List, 1)...)
			urls := []relay.URL{url(0), url(1), url(2)}
			none := func() {
				f.equal("bans", []store.Ban{}, all(f, f.ScanBans(f.ctx)))
				f.equal("due relays", texts(url(0), url(1)), f.dueRelays("monitor", base))
				f.equal("due candidates", texts(url(2)), candidateURLs(f.dueCandidates(base)))
			}
			f.interrupted(func(ctx context.Context) error {
				return f.Ban(ctx, []store.Ban{{Target: url(0).String(), At: base}, {Target: url(2).String(), At: base}})
			}, none)
			_, err := f.LiftBans(f.ctx, []string{url(0).String(), url(2).String()})
			f.must(err)
			f.interrupted(func(ctx context.Context) error {
				_, err := f.RemoveURLs(ctx, urls)
				return err
			}, none)
		},
	})
}

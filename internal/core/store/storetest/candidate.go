package storetest

import (
	"context"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// mention adds mentions and returns how many candidates are new.
func (f *fixture) mention(mentions ...store.Mention) int {
	f.t.Helper()
	n, err := f.AddMentions(f.ctx, mentions)
	f.must(err)
	return n
}

// dueCandidates leases for a moment only, so that every call sees them all.
func (f *fixture) dueCandidates(now int64) []store.Candidate {
	f.t.Helper()
	list, err := f.DueCandidates(f.ctx, store.Due{Now: now, Limit: 1000, Owner: "look", Until: now})
	f.must(err)
	f.must(f.FreeLeases(f.ctx, "look"))
	return list
}

func candidateURLs(list []store.Candidate) []string {
	var urls []string
	for _, c := range list {
		urls = append(urls, c.URL.String())
	}
	return urls
}

func texts(urls ...relay.URL) []string {
	var list []string
	for _, u := range urls {
		list = append(list, u.String())
	}
	return list
}

// by returns mentions of one URL in one class by several authors.
func by(u relay.URL, class hints.Class, authors ...int) []store.Mention {
	var list []store.Mention
	for _, n := range authors {
		list = append(list, store.Mention{URL: u, Class: class, Author: author(n), At: base})
	}
	return list
}

func testCandidates(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"a new candidate is due at once": func(t *testing.T, f *fixture) {
			if n := f.mention(store.Mention{URL: url(1), Class: hints.List, Author: author(1), At: base}); n != 1 {
				t.Errorf("AddMentions = %d, want 1", n)
			}
			f.equal("due", []store.Candidate{{URL: url(1), FirstSeen: base, NextDue: base, Class: hints.List, DistinctAuthors: 1}}, f.dueCandidates(base))
		},
		"counted once": func(t *testing.T, f *fixture) {
			f.relays(1) // url(0)
			for _, step := range []struct {
				name     string
				mentions []store.Mention
				want     int
			}{
				{"none", nil, 0},
				{"two, one of them twice", append(by(url(1), hints.Hint, 1, 2), by(url(2), hints.Hint, 1)...), 2},
				{"the same again", append(by(url(1), hints.Hint, 1, 2), by(url(2), hints.Hint, 1)...), 0},
				{"another class of a known one", by(url(2), hints.List, 3), 0},
				{"a relay", by(url(0), hints.List, 1), 0},
				{"one of two is known", append(by(url(1), hints.Hint, 1), by(url(3), hints.Hint, 1)...), 1},
			} {
				if got := f.mention(step.mentions...); got != step.want {
					t.Errorf("%s: AddMentions = %d, want %d", step.name, got, step.want)
				}
			}
			f.equal("candidates", texts(url(2), url(1), url(3)), candidateURLs(f.dueCandidates(base)))
			f.equal("Totals.Candidates", int64(3), f.totals().Candidates)
		},
		"adding again changes nothing but the count": func(t *testing.T, f *fixture) {
			f.mention(by(url(1), hints.Hint, 1, 2, 3)...)
			before := f.dueCandidates(base)
			f.mention(by(url(1), hints.Hint, 1, 2, 3)...)
			f.equal("candidate", before, f.dueCandidates(base))
		},
		"strongest class, then most authors, then longest due": func(t *testing.T, f *fixture) {
			var mentions []store.Mention
			classes := []hints.Class{hints.Content, hints.Hint, hints.NIP05, hints.API, hints.List, hints.Monitor, hints.Seed}
			var want []relay.URL
			for i, class := range classes {
				mentions = append(mentions, by(url(10+i), class, 1)...)
				want = append([]relay.URL{url(10 + i)}, want...)
			}
			f.mention(mentions...)
			f.equal("by class", texts(want...), candidateURLs(f.dueCandidates(base)))

			// A weaker class does not weaken, a stronger one strengthens.
			f.mention(by(url(16), hints.Content, 2)...)
			f.mention(by(url(10), hints.Seed, 1, 2, 3)...)
			want = append([]relay.URL{url(10)}, want[:6]...)
			f.equal("after more mentions", texts(want...), candidateURLs(f.dueCandidates(base)))

			// More authors first, over all classes of a URL; no author counts none.
			f.mention(by(url(20), hints.Seed, 1, 2, 3, 4)...)
			f.mention(append(by(url(21), hints.Seed, 1, 2, 3), by(url(21), hints.Content, 3, 4, 5)...)...) // five
			f.mention(store.Mention{URL: url(22), Class: hints.Seed, At: base})
			want = append([]relay.URL{url(21), url(20)}, want...)
			want = append(append(want[:4:4], url(22)), want[4:]...)
			f.equal("by authors", texts(want...), candidateURLs(f.dueCandidates(base)))

			// Of equals the longest due.
			f.mention(store.Mention{URL: url(5), Class: hints.Seed, Author: author(1), At: base - 1}, store.Mention{URL: url(4), Class: hints.Seed, Author: author(1), At: base + 1},
				store.Mention{URL: url(6), Class: hints.Seed, Author: author(1), At: base - 2})
			f.equal("by time", texts(url(21), url(20), url(10), url(16), url(6), url(5), url(4)), candidateURLs(f.dueCandidates(base + 1))[:7])
		},
		"authors are estimated": func(t *testing.T, f *fixture) {
			const n = 2000
			many := make([]int, n)
			for i := range many {
				many[i] = i
			}
			for range 2 {
				f.mention(by(url(1), hints.List, many...)...)
				if got := f.dueCandidates(base)[0].DistinctAuthors; got < n*9/10 || got > n*11/10 {
					t.Errorf("%d distinct authors, want about %d", got, n)
				}
			}
		},
		"leases": func(t *testing.T, f *fixture) {
			f.mention(by(url(1), hints.Seed, 1)...)
			f.mention(by(url(2), hints.List, 1)...)
			f.mention(by(url(3), hints.Hint, 1)...)
			f.mention(store.Mention{URL: onion(), Class: hints.Content, At: base})
			f.mention(store.Mention{URL: url(4), Class: hints.Seed, At: base + 1000})
			for _, step := range []struct {
				name string
				due  store.Due
				want []string
			}{
				{"zero limit", store.Due{Now: base, Owner: "a", Until: base + 100}, nil},
				{"before any is due", store.Due{Now: base - 1, Limit: 9, Owner: "a", Until: base + 100}, nil},
				{"limit", store.Due{Now: base, Limit: 1, Owner: "a", Until: base + 100}, texts(url(1))},
				{"the rest of one network", store.Due{Now: base, Limit: 1, Owner: "b", Until: base + 50, Networks: []relay.Network{relay.Clearnet}}, texts(url(2))},
				{"another network", store.Due{Now: base, Limit: 9, Owner: "b", Until: base + 50, Networks: []relay.Network{relay.Tor, relay.I2P}}, texts(onion())},
				{"what is left", store.Due{Now: base, Limit: 9, Owner: "c", Until: base + 100}, texts(url(3))},
				{"all leased", store.Due{Now: base + 49, Limit: 9, Owner: "c", Until: base + 100}, nil},
				{"the lease of b has ended", store.Due{Now: base + 51, Limit: 9, Owner: "c", Until: base + 100}, texts(url(2), onion())},
				{"every lease has ended", store.Due{Now: base + 101, Limit: 9, Owner: "d", Until: base + 300}, texts(url(1), url(2), url(3), onion())},
				{"a later one", store.Due{Now: base + 1000, Limit: 1, Owner: "d", Until: base + 2000}, texts(url(1))},
			} {
				got, err := f.DueCandidates(f.ctx, step.due)
				f.must(err)
				f.equal(step.name, step.want, candidateURLs(got))
			}
		},
		"leases are freed by their owner": func(t *testing.T, f *fixture) {
			f.mention(by(url(1), hints.Seed, 1)...)
			f.mention(by(url(2), hints.List, 1)...)
			lease := func(owner string, limit int) []string {
				got, err := f.DueCandidates(f.ctx, store.Due{Now: base, Limit: limit, Owner: owner, Until: base + 100})
				f.must(err)
				return candidateURLs(got)
			}
			f.equal("a", texts(url(1)), lease("a", 1))
			f.equal("b", texts(url(2)), lease("b", 1))
			f.must(f.FreeLeases(f.ctx, "nobody"))
			f.equal("freed by nobody", 0, len(lease("c", 9)))
			f.must(f.FreeLeases(f.ctx, "a"))
			f.equal("freed by a", texts(url(1)), lease("c", 9))
		},
		"a failure is counted and tried again": func(t *testing.T, f *fixture) {
			f.mention(by(url(1), hints.List, 1)...)
			for i := 1; i <= 3; i++ {
				now := base + int64(i)*100
				got, err := f.DueCandidates(f.ctx, store.Due{Now: now, Limit: 1, Owner: "v", Until: now + 1000})
				f.must(err)
				if len(got) != 1 || got[0].Attempts != i-1 {
					t.Fatalf("try %d: %+v", i, got)
				}
				f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(1), Owner: "v", At: now, Cause: dial.CauseTCPRefused, NextDue: now + 100}}))
				f.equal("not yet due", 0, len(f.dueCandidates(now+99)))
				f.equal("due again", []store.Candidate{{
					URL: url(1), FirstSeen: base, Attempts: i, NextDue: now + 100, LastCause: dial.CauseTCPRefused, Class: hints.List, DistinctAuthors: 1,
				}}, f.dueCandidates(now+100)) // although the lease would have lasted longer
			}
			if n := f.mention(by(url(1), hints.List, 2)...); n != 0 {
				t.Errorf("a failed candidate is new again")
			}
			f.equal("a mention does not bring it forward", 0, len(f.dueCandidates(base+399)))
		},
		"a trouble of ours is not counted": func(t *testing.T, f *fixture) {
			f.mention(by(url(1), hints.List, 1)...)
			due := func(now int64) []store.Candidate {
				t.Helper()
				list, err := f.DueCandidates(f.ctx, store.Due{Now: now, Limit: 9, Owner: "v", Until: now + 1000})
				f.must(err)
				return list
			}
			due(base)
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(1), Owner: "v", At: base, Cause: dial.CauseNXDomain, NextDue: base + 10}}))
			f.equal("not leased yet", 1, len(due(base+10)))
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(1), Owner: "v", At: base + 10, Cause: dial.CauseBusy, Ours: true, NextDue: base + 20}}))
			f.equal("too early", 0, len(due(base+19)))
			f.equal("due again", []store.Candidate{{
				URL: url(1), FirstSeen: base, Attempts: 1, NextDue: base + 20, LastCause: dial.CauseNXDomain, Class: hints.List, DistinctAuthors: 1,
			}}, due(base+20))
		},
		"a lost lease": func(t *testing.T, f *fixture) {
			for i, class := range []hints.Class{hints.Seed, hints.List, hints.Hint, hints.Content} {
				f.mention(by(url(i+1), class, 1)...)
			}
			due := func(owner string, now int64, limit int) []store.Candidate {
				t.Helper()
				list, err := f.DueCandidates(f.ctx, store.Due{Now: now, Limit: limit, Owner: owner, Until: now + 50})
				f.must(err)
				return list
			}
			failed := func(i int, owner string, at int64) store.Verdict {
				return store.Verdict{URL: url(i), Owner: owner, At: base, Cause: dial.CauseTCPRefused, NextDue: at}
			}
			f.equal("of a", 4, len(due("a", base, 9)))
			f.equal("of b, when the leases of a have ended", texts(url(1), url(2)), candidateURLs(due("b", base+50, 2)))
			ours := failed(2, "a", base+51)
			ours.Ours = true
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{failed(1, "a", base+51), ours, failed(3, "a", base+500), failed(1, "", base+51)}))
			f.equal("free: what nobody took, and a did not save", texts(url(4)), candidateURLs(due("c", base+60, 9)))
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{failed(1, "b", base+70), failed(1, "b", base+200)})) // counted once, as the last says
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{failed(1, "a", base+300), failed(1, "b", base+300)}))
			// What is found valid is so, whoever found it.
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(4), Owner: "a", At: base + 60, Valid: true}}))
			got := due("d", base+1000, 9)
			f.equal("in the end", texts(url(1), url(2), url(3)), candidateURLs(got))
			for i, want := range []struct {
				attempts int
				due      int64
			}{{1, base + 200}, {0, base}, {1, base + 500}} {
				if c := got[i]; c.Attempts != want.attempts || c.NextDue != want.due {
					t.Errorf("%s: %d attempts, due at %d, want %d and %d", c.URL, c.Attempts, c.NextDue, want.attempts, want.due)
				}
			}
			if _, err := f.Relay(f.ctx, url(4)); err != nil {
				t.Errorf("the valid one: %v", err)
			}
		},
		"a valid one becomes a relay": func(t *testing.T, f *fixture) {
			f.mention(append(by(url(1), hints.List, 1), by(url(2), hints.List, 1)...)...)
			verdicts := []store.Verdict{{URL: url(1), At: base + 10, Valid: true}, {URL: url(2), At: base + 10, Cause: dial.CauseNXDomain, NextDue: base + 500}}
			f.must(f.SaveVerdicts(f.ctx, verdicts))
			f.must(f.SaveVerdicts(f.ctx, verdicts[:1]))
			var all []store.Relay
			for r, err := range f.ScanRelays(f.ctx) {
				f.must(err)
				all = append(all, r)
			}
			if len(all) != 1 {
				t.Fatalf("relays: %+v", all)
			}
			want := store.Relay{ID: all[0].ID, URL: url(1), FirstSeen: base, PromotedAt: base + 10, State: store.StateNew, StateSince: base + 10}
			f.equal("relay", want, all[0])
			f.equal("candidates", texts(url(2)), candidateURLs(f.dueCandidates(base+1000)))
			if n := f.mention(by(url(1), hints.Seed, 7)...); n != 0 {
				t.Error("a relay becomes a candidate")
			}
			for _, service := range []string{"monitor", "synchronizer", "a service of tomorrow"} {
				work, err := f.DueRelays(f.ctx, store.Due{Service: service, Now: base + 10, Limit: 9, Owner: "o", Until: base + 100})
				f.must(err)
				f.equal(service, []store.Work{{Relay: want, DueAt: base + 10}}, work)
			}
			// A second verdict changes nothing of the relay.
			f.must(f.SaveVerdicts(f.ctx, []store.Verdict{{URL: url(1), At: base + 99, Valid: true}}))
			got, err := f.Relay(f.ctx, url(1))
			f.must(err)
			f.equal("relay after a second verdict", want, got)
		},
		"positions": func(t *testing.T, f *fixture) {
			position := func(reader string) store.Cursor {
				p, err := f.Position(f.ctx, reader)
				f.must(err)
				return p
			}
			f.add(notes(3)...)
			scanned := f.scan("", nostr.Filter{})
			f.equal("at first", store.Cursor(""), position("finder"))
			for i, want := range []int{1, 0} { // back, too: where it stands is the reader's matter
				n, err := f.SaveFindings(f.ctx, "finder", scanned[1-i].Cursor, store.Found{Mentions: by(url(1), hints.Hint, 1)})
				f.must(err)
				f.equal("new candidates", want, n)
				f.equal("position", scanned[1-i].Cursor, position("finder"))
			}
			_, err := f.SaveFindings(f.ctx, "finder", scanned[2].Cursor, store.Found{})
			f.must(err)
			f.equal("position without mentions", scanned[2].Cursor, position("finder"))
			f.equal("another reader", store.Cursor(""), position("other"))
		},
		"findings are whole or not at all": func(t *testing.T, f *fixture) {
			f.add(notes(1)...)
			cursor := f.scan("", nostr.Filter{})[0].Cursor
			mentions := append(by(url(1), hints.Hint, 1), by(url(2), hints.Hint, 1)...)
			f.interrupted(func(ctx context.Context) error {
				_, err := f.SaveFindings(ctx, "finder", cursor, store.Found{Mentions: mentions})
				return err
			}, func() {
				p, err := f.Position(f.ctx, "finder")
				f.must(err)
				f.equal("position", store.Cursor(""), p)
				f.equal("candidates", 0, len(f.dueCandidates(base)))
			})
			f.equal("candidates in the end", 2, len(f.dueCandidates(base)))
		},
		"verdicts are whole or not at all": func(t *testing.T, f *fixture) {
			f.mention(append(by(url(1), hints.Hint, 1), by(url(2), hints.Hint, 1)...)...)
			before := f.dueCandidates(base)
			f.interrupted(func(ctx context.Context) error {
				return f.SaveVerdicts(ctx, []store.Verdict{{URL: url(1), At: base, Valid: true}, {URL: url(2), At: base, NextDue: base + 9}})
			}, func() { f.equal("candidates", before, f.dueCandidates(base)) })
		},
		"leasing is whole or not at all": func(t *testing.T, f *fixture) {
			f.mention(append(by(url(1), hints.Hint, 1), by(url(2), hints.Hint, 1)...)...)
			f.interrupted(func(ctx context.Context) error {
				_, err := f.DueCandidates(ctx, store.Due{Now: base, Limit: 9, Owner: "a", Until: base + 100})
				return err
			}, func() { f.equal("free", 2, len(f.dueCandidates(base))) })
		},
	})
}

package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/store"
)

// domain is a mention of a source of NIP-05.
func domain(n, by int) store.SourceMention {
	name := fmt.Sprintf("d%05d.org", n)
	return store.SourceMention{Class: hints.NIP05, Name: name, Host: name, Detail: fmt.Sprint("user", by), Author: author(by), At: base}
}

// dueSources leases for a moment only.
func (f *fixture) dueSources(class hints.Class, now int64, names ...string) []store.Source {
	f.t.Helper()
	list, err := f.DueSources(f.ctx, class, names, store.Due{Now: now, Limit: 100, Owner: "look", Until: now})
	f.must(err)
	f.must(f.FreeLeases(f.ctx, "look"))
	return list
}

func sourceNames(list []store.Source) []string {
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return names
}

func testSources(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"named again it counts its authors": func(t *testing.T, f *fixture) {
			f.must(f.AddSources(f.ctx, []store.SourceMention{domain(2, 1), domain(1, 1), domain(1, 2)}))
			f.must(f.AddSources(f.ctx, []store.SourceMention{domain(1, 2), domain(1, 3), {Class: hints.API, Name: "https://d00001.org", Host: "d00001.org", At: base}}))
			f.equal("due", []store.Source{
				{Class: hints.NIP05, Name: "d00001.org", Detail: "user3", Authors: 3}, {Class: hints.NIP05, Name: "d00002.org", Detail: "user1", Authors: 1},
			}, f.dueSources(hints.NIP05, base))
			f.equal("before", []store.Source{}, f.dueSources(hints.NIP05, base-1))
			f.equal("of another class", []store.Source{{Class: hints.API, Name: "https://d00001.org"}}, f.dueSources(hints.API, base))
			f.equal("by name", []string{"d00002.org"}, sourceNames(f.dueSources(hints.NIP05, base, "d00002.org", "d00009.org")))
			f.ban("d00001.org")
			f.equal("on a host that is not banned", []string{"d00002.org"}, sourceNames(f.dueSources(hints.NIP05, base)))
		},
		"no more than there is room for": func(t *testing.T, f *fixture) {
			var many []store.SourceMention
			for i := range store.MaxSources + 10 {
				many = append(many, domain(i, 1))
			}
			f.must(f.AddSources(f.ctx, many))
			f.must(f.AddSources(f.ctx, []store.SourceMention{domain(store.MaxSources+20, 1), domain(0, 2)}))
			last := fmt.Sprintf("d%05d.org", store.MaxSources+20)
			f.equal("a known and a new one", []store.Source{{Class: hints.NIP05, Name: "d00000.org", Detail: "user2", Authors: 2}},
				f.dueSources(hints.NIP05, base, "d00000.org", last, fmt.Sprintf("d%05d.org", store.MaxSources+9)))
		},
		"leases and results": func(t *testing.T, f *fixture) {
			f.must(f.AddSources(f.ctx, []store.SourceMention{domain(1, 1), domain(2, 1)}))
			due := func(owner string, now int64, limit int) []store.Source {
				t.Helper()
				list, err := f.DueSources(f.ctx, hints.NIP05, nil, store.Due{Now: now, Limit: limit, Owner: owner, Until: now + 100})
				f.must(err)
				return list
			}
			f.equal("none asked for", 0, len(due("a", base, 0)))
			f.equal("of a", []string{"d00001.org"}, sourceNames(due("a", base, 1)))
			f.equal("of b", []string{"d00002.org"}, sourceNames(due("b", base, 9)))
			result := func(n int, owner string, cause dial.Cause) store.SourceResult {
				return store.SourceResult{Class: hints.NIP05, Name: fmt.Sprintf("d%05d.org", n), Owner: owner, At: base + 1, Cause: cause, ETag: "tag" + owner, NextDue: base + 50}
			}
			added, err := f.SaveSources(f.ctx, []store.SourceResult{result(1, "a", ""), result(2, "a", "")}, by(url(1), hints.NIP05, 1))
			f.must(err)
			f.equal("new candidates", 1, added)
			f.equal("candidates", texts(url(1)), candidateURLs(f.dueCandidates(base)))
			f.equal("free", []store.Source{{Class: hints.NIP05, Name: "d00001.org", Detail: "user1", Authors: 1, LastOK: base + 1, ETag: "taga"}}, due("c", base+50, 9))
			_, err = f.SaveSources(f.ctx, []store.SourceResult{result(1, "c", dial.CauseHTTPStatus), result(2, "b", dial.CauseNXDomain)}, nil)
			f.must(err)
			f.equal("after failures", []store.Source{
				{Class: hints.NIP05, Name: "d00001.org", Detail: "user1", Authors: 1, Attempts: 1, LastCause: dial.CauseHTTPStatus, LastOK: base + 1, ETag: "taga"},
				{Class: hints.NIP05, Name: "d00002.org", Detail: "user1", Authors: 1, Attempts: 1, LastCause: dial.CauseNXDomain},
			}, due("d", base+60, 9))
			ours := result(1, "d", dial.CauseBusy)
			ours.Ours = true
			long := result(2, "d", "")
			long.ETag = strings.Repeat("x", 10_000)
			_, err = f.SaveSources(f.ctx, []store.SourceResult{ours, long}, nil)
			f.must(err)
			f.equal("a trouble of ours is not held against it", []store.Source{
				{Class: hints.NIP05, Name: "d00001.org", Detail: "user1", Authors: 1, Attempts: 1, LastCause: dial.CauseHTTPStatus, LastOK: base + 1, ETag: "taga"},
				{Class: hints.NIP05, Name: "d00002.org", Detail: "user1", Authors: 1, LastOK: base + 1},
			}, due("e", base+60, 9))
			f.must(f.FreeLeases(f.ctx, "e"))
			f.equal("freed", 2, len(due("f", base+60, 9)))
		},
		"saved with a position": func(t *testing.T, f *fixture) {
			f.add(notes(1)...)
			cursor := f.scan("", nostr.Filter{})[0].Cursor
			f.interrupted(func(ctx context.Context) error {
				_, err := f.SaveFindings(ctx, "finder", cursor, store.Found{Mentions: by(url(1), hints.Hint, 1), Sources: []store.SourceMention{domain(1, 1)}})
				return err
			}, func() {
				p, err := f.Position(f.ctx, "finder")
				f.must(err)
				f.equal("position", store.Cursor(""), p)
				f.equal("sources", []store.Source{}, f.dueSources(hints.NIP05, base))
			})
			f.equal("sources in the end", []string{"d00001.org"}, sourceNames(f.dueSources(hints.NIP05, base)))
		},
		"results are whole or not at all": func(t *testing.T, f *fixture) {
			f.must(f.AddSources(f.ctx, []store.SourceMention{domain(1, 1)}))
			_, err := f.DueSources(f.ctx, hints.NIP05, nil, store.Due{Now: base, Limit: 1, Owner: "a", Until: base})
			f.must(err)
			f.interrupted(func(ctx context.Context) error {
				_, err := f.SaveSources(ctx, []store.SourceResult{{Class: hints.NIP05, Name: "d00001.org", Owner: "a", At: base, NextDue: base + 50}}, by(url(1), hints.NIP05, 1))
				return err
			}, func() { f.equal("candidates", 0, len(f.dueCandidates(base))) })
			f.equal("due afterwards", []store.Source{}, f.dueSources(hints.NIP05, base))
		},
		"documents are looked into once": func(t *testing.T, f *fixture) {
			relays := f.relays(1)
			document := func(at int64, text string) {
				f.must(f.SaveOutcomes(f.ctx, []store.Outcome{{
					Relay: relays[0].ID, At: at, State: store.StateUp, Next: store.Next{Relay: relays[0].ID, Service: "monitor"},
					Checks: []store.Check{{At: at, Probe: "nip11", OK: true, Document: &store.Document{Type: "nip11", Data: []byte(text)}}},
				}}))
			}
			document(base, `{"name":"a"}`)
			document(base+1, `{"name":"b"}`)
			fresh := func(limit int) (ids []store.DocumentID, list []string) {
				t.Helper()
				documents, err := f.NewDocuments(f.ctx, limit)
				f.must(err)
				for _, d := range documents {
					ids, list = append(ids, d.ID), append(list, string(d.Data))
					if d.ID != d.Document.ID() || d.Type != "nip11" {
						t.Errorf("document %x is %+v", d.ID, d)
					}
				}
				return ids, list
			}
			ids, _ := fresh(9)
			f.equal("new ones", 2, len(ids))
			_, first := fresh(1)
			f.equal("at most one", 1, len(first))
			f.equal("at most none", 0, func() int { n, _ := fresh(0); return len(n) }())
			added, err := f.SaveSearched(f.ctx, ids[:1], by(url(7), hints.NIP11, 1))
			f.must(err)
			f.equal("new candidates", 1, added)
			left, _ := fresh(9)
			f.equal("left", ids[1:], left)
			document(base+2, first[0]) // the same text again
			left, _ = fresh(9)
			f.equal("left after the first is seen again", ids[1:], left)
		},
	})
}

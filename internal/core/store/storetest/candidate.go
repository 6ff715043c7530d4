package storetest

import (
	"errors"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

func testCandidates(t *testing.T, open opener) {
	mention := func(t *testing.T, st store.Store, mentions ...store.Mention) int {
		t.Helper()
		n, err := st.AddMentions(t.Context(), mentions)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	due := func(t *testing.T, st store.Store, d store.Due) []store.Candidate {
		t.Helper()
		candidates, err := st.DueCandidates(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return candidates
	}
	urls := func(candidates []store.Candidate) []string {
		var list []string
		for _, c := range candidates {
			list = append(list, c.URL.String())
		}
		return list
	}
	run(t, open, map[string]func(*testing.T, store.Store){
		"a mention makes a candidate once": func(t *testing.T, st store.Store) {
			u := urlOf(t, 1)
			equal(t, "new", 1, mention(t, st, store.Mention{URL: u, Class: hints.Hint, Author: author(1), At: 60}, store.Mention{URL: u, Class: hints.Hint, Author: author(2), At: 50}))
			equal(t, "again", 0, mention(t, st, store.Mention{URL: u, Class: hints.Hint, Author: author(1), At: 70}))
			equal(t, "stronger", 0, mention(t, st, store.Mention{URL: u, Class: hints.List, Author: author(3), At: 80}))
			want := store.Candidate{URL: u, FirstSeen: 50, NextDue: 50, Class: hints.List, DistinctAuthors: 3}
			equal(t, "candidate", []store.Candidate{want}, due(t, st, store.Due{Now: 50, Limit: 9, Owner: "a", Until: 90}))
		},
		"many authors are estimated": func(t *testing.T, st store.Store) {
			var mentions []store.Mention
			for i := range 2000 {
				mentions = append(mentions, store.Mention{URL: urlOf(t, 1), Class: hints.List, Author: author(i), At: 50})
			}
			mention(t, st, mentions...)
			mention(t, st, mentions...)
			c := due(t, st, store.Due{Now: 50, Limit: 9, Owner: "a", Until: 90})
			if len(c) != 1 || c[0].DistinctAuthors < 1850 || c[0].DistinctAuthors > 2150 {
				t.Errorf("got %v, want about 2000 authors", c)
			}
		},
		"a mention of a relay makes none": func(t *testing.T, st store.Store) {
			addRelays(t, st, 1)
			equal(t, "new", 0, mention(t, st, store.Mention{URL: urlOf(t, 0), Class: hints.List, At: 50}))
			equal(t, "candidates", 0, totals(t, st).Candidates)
		},
		"due by class, authors, age": func(t *testing.T, st store.Store) {
			mention(t, st,
				store.Mention{URL: urlOf(t, 1), Class: hints.Content, Author: author(1), At: 10},
				store.Mention{URL: urlOf(t, 1), Class: hints.Content, Author: author(2), At: 10},
				store.Mention{URL: urlOf(t, 2), Class: hints.List, Author: author(1), At: 40},
				store.Mention{URL: urlOf(t, 3), Class: hints.List, Author: author(1), At: 30},
				store.Mention{URL: urlOf(t, 4), Class: hints.List, Author: author(1), At: 50},
				store.Mention{URL: urlOf(t, 4), Class: hints.List, Author: author(2), At: 50},
				store.Mention{URL: urlOf(t, 5), Class: hints.Seed, At: 60},
				store.Mention{URL: urlOf(t, 6), Class: hints.Seed, At: 1000})
			want := []string{urlOf(t, 5).String(), urlOf(t, 4).String(), urlOf(t, 3).String(), urlOf(t, 2).String(), urlOf(t, 1).String()}
			equal(t, "first two", want[:2], urls(due(t, st, store.Due{Now: 100, Limit: 2, Owner: "a", Until: 200})))
			equal(t, "the others", want[2:], urls(due(t, st, store.Due{Now: 100, Limit: 9, Owner: "b", Until: 200})))
			equal(t, "all leased", 0, len(due(t, st, store.Due{Now: 199, Limit: 9, Owner: "c", Until: 300})))
			equal(t, "leases over", 5, len(due(t, st, store.Due{Now: 200, Limit: 9, Owner: "c", Until: 300})))
			if err := st.FreeLeases(t.Context(), "c"); err != nil {
				t.Fatal(err)
			}
			equal(t, "leases freed", 5, len(due(t, st, store.Due{Now: 200, Limit: 9, Owner: "d", Until: 300})))
		},
		"zero limit": func(t *testing.T, st store.Store) {
			mention(t, st, store.Mention{URL: urlOf(t, 1), Class: hints.List, At: 10})
			equal(t, "none", 0, len(due(t, st, store.Due{Now: 100, Owner: "a", Until: 200})))
			equal(t, "and none leased", 1, len(due(t, st, store.Due{Now: 100, Limit: 1, Owner: "a", Until: 200})))
		},
		"networks": func(t *testing.T, st store.Store) {
			onion := parse(t, "ws://oxtrdevav64z64yb7x6rjg4ntzqjhedm5b5zjqulugknhzr46ny2qbad.onion")
			mention(t, st, store.Mention{URL: urlOf(t, 1), Class: hints.List, At: 10}, store.Mention{URL: onion, Class: hints.List, At: 10})
			got := due(t, st, store.Due{Now: 100, Limit: 9, Owner: "a", Until: 200, Networks: []relay.Network{relay.Tor}})
			equal(t, "tor", []string{onion.String()}, urls(got))
		},
		"verdicts": func(t *testing.T, st store.Store) {
			good, bad := urlOf(t, 1), urlOf(t, 2)
			mention(t, st, store.Mention{URL: good, Class: hints.List, At: 10}, store.Mention{URL: bad, Class: hints.Content, At: 10})
			due(t, st, store.Due{Now: 100, Limit: 9, Owner: "a", Until: 200})
			verdicts := []store.Verdict{{URL: good, At: 110, Valid: true}, {URL: bad, At: 110, Cause: dial.CauseNXDomain, NextDue: 150}}
			if err := st.SaveVerdicts(t.Context(), verdicts); err != nil {
				t.Fatal(err)
			}
			r, err := st.Relay(t.Context(), good)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "promoted", store.Relay{ID: r.ID, URL: good, FirstSeen: 10, PromotedAt: 110, State: store.StateNew, StateSince: 110}, r)
			if _, err := st.Relay(t.Context(), bad); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
			// The lease is free although its time is not over.
			want := store.Candidate{URL: bad, FirstSeen: 10, Attempts: 1, NextDue: 150, LastCause: dial.CauseNXDomain, Class: hints.Content}
			equal(t, "the other", []store.Candidate{want}, due(t, st, store.Due{Now: 150, Limit: 9, Owner: "b", Until: 300}))
			if err := st.SaveVerdicts(t.Context(), verdicts[:1]); err != nil {
				t.Fatal(err)
			}
			again, err := st.Relay(t.Context(), good)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "promoted again", r, again)
		},
		"findings and position together": func(t *testing.T, st store.Store) {
			position := func() store.Cursor {
				t.Helper()
				c, err := st.Position(t.Context(), "finder")
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			equal(t, "at first", "", position())
			n, err := st.SaveFindings(t.Context(), "finder", "77", []store.Mention{{URL: urlOf(t, 1), Class: hints.List, Author: nostr.PubKey(author(1)), At: 10}})
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "new", 1, n)
			equal(t, "position", "77", position())
			if _, err := st.SaveFindings(cancelled(t), "finder", "99", []store.Mention{{URL: urlOf(t, 2), Class: hints.List, At: 10}}); err == nil {
				t.Error("no error of a context that ended")
			}
			equal(t, "position kept", "77", position())
			equal(t, "candidates", 1, totals(t, st).Candidates)
			if _, err := st.SaveFindings(t.Context(), "finder", "78", nil); err != nil {
				t.Fatal(err)
			}
			equal(t, "moved without findings", "78", position())
		},
	})
}

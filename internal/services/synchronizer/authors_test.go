package synchronizer_test

import (
	"slices"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

// account holds the archive against the truth for all filters.
func (w *world) account() simnet.RelayResult {
	w.t.Helper()
	return w.accountOf(nostr.Filter{})
}

// TestAuthors sweeps relays that take no filter without authors by lists of
// those that are known from another relay.
func TestAuthors(t *testing.T) {
	t.Parallel()
	known := simnet.Generate(simnet.Plan{Seed: 4, Count: 800, Since: past - 90*86400, Until: past, Authors: 60})
	others := simnet.Generate(simnet.Plan{Seed: 5, Count: 100, Since: past - 90*86400, Until: past, Authors: 10})
	writers := map[nostr.PubKey]bool{}
	for _, e := range known[:400] {
		writers[e.PubKey] = true
	}
	for _, tt := range []struct {
		name string
		be   simnet.Behaviour
		list int
	}{
		{"any number of authors", simnet.Behaviour{Cap: 100}, len(writers)},
		{"few authors", simnet.Behaviour{Cap: 100, MostAuthors: 20}, len(writers) / 4},
		{"only the first count", simnet.Behaviour{Cap: 100, FirstAuthors: 20}, len(writers) / 4},
		{"one author", simnet.Behaviour{Cap: 100, MostAuthors: 1}, 1},
		{"oldest first", simnet.Behaviour{Cap: 100, Order: simnet.OldestFirst}, len(writers)},
		{"restricted kinds dropped late", simnet.Behaviour{Cap: 100, Restricted: []nostr.Kind{4, 1059}, PostFilter: true}, len(writers)},
	} {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			open := newWorld(t, simnet.Behaviour{}, known[:400])
			open.sync()
			tt.be.Broad = simnet.BroadAuthorless
			w := open.beside(tt.be, known[400:], others)
			r := w.sync()
			got := w.account()
			if len(got.FalseClaims) > 0 || len(got.Missing) > 0 {
				t.Errorf("%d false claims, %d missing", len(got.FalseClaims), len(got.Missing))
			}
			// Of those that nobody knows nothing is claimed, and nothing of the whole.
			shown, visible := 0, w.relay.Visible(nostr.Filter{})
			for _, e := range visible {
				if writers[e.PubKey] {
					shown++
				}
			}
			if got.Archived != shown || got.InHoles != len(visible)-shown {
				t.Errorf("%d archived, want %d; %d in holes, want %d", got.Archived, shown, got.InHoles, len(visible)-shown)
			}
			if len(r.Coverage) > 0 || r.Authors != len(writers) || r.Cause != "" {
				t.Errorf("ended by %q, %d authors of %d asked for, of the whole %+v", r.Cause, r.Authors, len(writers), r.Coverage)
			}
			if c := w.calibration(); c.AuthorList != tt.list || !c.OpenRefused {
				t.Errorf("lists of %d authors, want %d; open filter refused: %t", c.AuthorList, tt.list, c.OpenRefused)
			}

			// The lists stay what they are, and who is new gets one of their own.
			before, _, err := w.db.RelayCoverage(t.Context(), w.row.ID)
			if err != nil {
				t.Fatal(err)
			}
			news := open.beside(simnet.Behaviour{}, others[:50])
			news.sync()
			again := w.sync()
			if got := w.account(); len(got.FalseClaims) > 0 || got.Archived <= shown {
				t.Errorf("again: %d false claims, %d archived, want more than %d", len(got.FalseClaims), got.Archived, shown)
			}
			after, _, err := w.db.RelayCoverage(t.Context(), w.row.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range before {
				if !slices.ContainsFunc(after, func(a store.Coverage) bool { return a.Filter == c.Filter }) {
					t.Errorf("list %d is gone", c.Filter)
				}
			}
			t.Logf("%d requests, then %d", r.Requests, again.Requests)
		}))
	}
}

// TestAuthorsUnknown leaves a relay alone of which no author is known.
func TestAuthorsUnknown(t *testing.T) { synchronizer.Bubble(testAuthorsUnknown)(t) }

func testAuthorsUnknown(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Broad: simnet.BroadAuthorless}, many(1, 50))
	r := w.sync()
	if got := w.account(); r.Cause != dial.CauseReadRestricted || got.InHoles != 50 || len(got.FalseClaims) > 0 {
		t.Errorf("ended by %q, %d in holes, %d false claims", r.Cause, got.InHoles, len(got.FalseClaims))
	}
}

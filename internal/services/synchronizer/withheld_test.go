package synchronizer_test

import (
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

// idRequests is how many REQs a relay has got that name ids, and how many ids they
// name.
func idRequests(r *simnet.Relay) (requests, ids int) {
	for _, f := range r.Asked() {
		if len(f.IDs) > 0 {
			requests, ids = requests+1, ids+len(f.IDs)
		}
	}
	return requests, ids
}

// TestWithheldTogether asks relays for thousands of events that they name and do not
// send, twice for each, in about as few requests as have room for them: those of
// which nothing is known, and those that are like another. What is sent is had, also
// where a relay gives less of a list of ids than of other filters.
func TestWithheldTogether(t *testing.T) {
	t.Parallel()
	const public, more, hidden = 5000, 100, 2000
	tests := []struct {
		name       string
		be         simnet.Behaviour
		most, like int // requests by id, of the first relay and of the one like it
	}{
		{"cap 500, counted first", simnet.Behaviour{Cap: 500, PostFilter: true}, 50, 70},
		{"cap 300, counted first", simnet.Behaviour{Cap: 300, PostFilter: true}, 75, 85},
		{"cap 100, counted first", simnet.Behaviour{Cap: 100, PostFilter: true}, 250, 85},
		{"100 ids", simnet.Behaviour{Cap: 500, FirstIDs: 100}, 285, 85},
	}
	for _, tt := range tests {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			tt.be.Restricted = []nostr.Kind{1059}
			tt.be.Negentropy = simnet.Negentropy{As: simnet.NegHonest, Restricted: true}
			events := steady(5, public+more)
			private := simnet.Generate(simnet.Plan{Seed: 6, Count: hidden, Since: past - 200*86400, Until: past - 2*86400, Kinds: []nostr.Kind{1059}})
			w := newWorld(t, tt.be, events[:public], private)
			for i, most := range []int{tt.most, tt.like} {
				fresh := int64(public)
				if i > 0 {
					w, fresh = w.beside(tt.be, events, private), more
				}
				r := w.sync()
				w.truthful()
				if r.Cause != "" || r.New != fresh || r.Withheld != hidden || level(r) != store.LevelFingerprint {
					t.Errorf("relay %d: ended by %q, %d new of %d, %d withheld, level %d", i, r.Cause, r.New, fresh, r.Withheld, level(r))
				}
				requests, ids := idRequests(w.relay)
				if requests > most {
					t.Errorf("relay %d: %d requests by id, want %d at most", i, requests, most)
				}
				t.Logf("relay %d: %d requests by id of %d ids, %d in all, %d events", i, requests, ids, r.Requests, r.EventsReceived)
				if again := w.sync(); again.Withheld != 0 || again.EventsReceived > 5 || level(again) != store.LevelFingerprint {
					t.Errorf("relay %d again: %d withheld, %d events, level %d", i, again.Withheld, again.EventsReceived, level(again))
				}
			}
		}))
	}
}

// TestWithheldByFewIDs has what stands in the middle of a list of ids of which a relay
// looks at the first only, although it gives large pages otherwise.
func TestWithheldByFewIDs(t *testing.T) { synchronizer.Bubble(testWithheldByFewIDs)(t) }

func testWithheldByFewIDs(t *testing.T) {
	const hidden = 300
	between := func(seed uint64, n int, from, until int64, kind nostr.Kind) []*simnet.Event {
		return simnet.Generate(simnet.Plan{Seed: seed, Count: n, Since: past - from*86400, Until: past - until*86400, Kinds: []nostr.Kind{kind}})
	}
	shown := between(8, 5, 101, 100, 1)
	w := newWorld(
		t, simnet.Behaviour{Cap: 500, FirstIDs: 60, Restricted: []nostr.Kind{1059}, Negentropy: simnet.Negentropy{As: simnet.NegHonest, Restricted: true}},
		between(6, hidden/2, 200, 102, 1059), shown, between(7, hidden/2, 99, 2, 1059),
	)
	if err := w.db.SaveCalibration(t.Context(), store.Calibration{Relay: w.row.ID, At: past - 86400, LargestPage: 500}); err != nil {
		t.Fatal(err)
	}
	r := w.sync()
	w.truthful()
	if r.New != int64(len(shown)) || r.Withheld != hidden {
		t.Errorf("%d new, %d withheld, want %d and %d", r.New, r.Withheld, len(shown), hidden)
	}
}

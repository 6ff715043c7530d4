package synchronizer_test

import (
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

// TestSmallAllowance visits relays that take fewer requests than a second that does
// not fit into pages costs, or a look for kinds that no list names: what a visit has
// come to is not done again in the next.
func TestSmallAllowance(t *testing.T) {
	t.Parallel()
	band := past - 30*86400
	wraps := simnet.Generate(simnet.Plan{Seed: 8, Count: 300, Since: band, Until: band + 600, Kinds: []nostr.Kind{1059}})
	// Of a kind that no list names, below what is hidden: the open filter skips it.
	odd := simnet.Generate(simnet.Plan{Seed: 8, Count: 5, Since: band - 900, Until: band - 600, Kinds: []nostr.Kind{54321}})
	burst := simnet.Generate(simnet.Plan{Seed: 8, Count: 90, Since: past - 20*86400, Until: past - 20*86400, Kinds: []nostr.Kind{0, 1, 3, 7, 1111, 30023, 20777, 777}})
	for _, tt := range []struct {
		name   string
		be     simnet.Behaviour
		events []*simnet.Event
	}{
		{"a crowded second", simnet.Behaviour{Cap: 20}, burst},
		{"private kinds hidden", simnet.Behaviour{Cap: 100, Restricted: []nostr.Kind{4, 1059}, PostFilter: true}, slices.Concat(wraps, odd)},
	} {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			tt.be.Rate = simnet.Rate{Requests: 50, Per: time.Minute}
			w := newWorld(t, tt.be, tt.events, steady(9, 60))
			visits, requests, ended := 0, int64(0), false
			for ; visits < 30 && !ended; visits++ {
				r := w.sync()
				requests, ended = requests+r.Requests, r.Cause == ""
				time.Sleep(2 * time.Hour) // longer than it wants to be left alone
			}
			t.Logf("%d visits, %d requests", visits, requests)
			if !ended || requests > 500 {
				t.Errorf("%d visits of %d requests, ended well: %v", visits, requests, ended)
			}
			if got := w.compare(); got.Archived != got.Visible {
				t.Errorf("%d of %d archived", got.Archived, got.Visible)
			}
			w.truthful()
		}))
	}
}

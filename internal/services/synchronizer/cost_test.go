package synchronizer_test

import (
	"errors"
	"log/slog"
	"testing"

	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

// cost is what the archive says that the relay has cost.
func (w *world) cost() store.Cost {
	w.t.Helper()
	sums, err := w.db.Costs(w.t.Context(), []store.RelayID{w.row.ID})
	if err != nil {
		w.t.Fatal(err)
	}
	return sums[w.row.ID].Cost
}

// closed says that there is no negentropy by an answer that counts, which a NOTICE
// does not.
var closed = simnet.Negentropy{As: simnet.NegClosed}

// TestCost holds what is kept of the cost of visits against what the relay has
// seen of them.
func TestCost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		be    simnet.Behaviour
		aside bool // the relay says more than it is asked
	}{
		{"walked", simnet.Behaviour{Cap: 100, Negentropy: closed}, false},
		{"counted", simnet.Behaviour{Cap: 100, Count: simnet.CountExact, Negentropy: closed}, false},
		{"compressed", simnet.Behaviour{Cap: 100, Compress: true, Negentropy: closed}, false},
		{"asked for authors", simnet.Behaviour{Cap: 100, Broad: simnet.BroadAuthorless, Negentropy: closed}, false},
		{"by ids", simnet.Behaviour{Cap: 100, Negentropy: honest}, false},
		{"behind a wall", simnet.Behaviour{Cap: 100, Auth: true}, true},
		{"by ids behind a wall", simnet.Behaviour{Cap: 100, Auth: true, Negentropy: honest}, true},
	} {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			w := newWorld(t, tt.be, many(1, 700), burst(2, 150, past-86400))
			var visits store.Cost
			for n := range 3 {
				if n == 2 {
					w.relay.Add(many(3, 50)...)
				}
				r := w.sync()
				visits = visits.Plus(r.Cost())
				got, saw := w.cost(), w.relay.Stats()
				if got != visits {
					t.Errorf("visit %d: kept %+v, reported %+v", n, got, visits)
				}
				want := got
				want.Requests, want.Received = saw.Requests+saw.Counts+saw.Opens, saw.Events
				if !tt.aside {
					want.Bytes = saw.Payload
				}
				if n < 2 {
					want.New = int64(w.account().Archived)
				}
				want.Known = want.Received - want.New
				if got != want {
					t.Errorf("visit %d: kept %+v, the relay saw %+v", n, got, want)
				}
			}
		}))
	}
}

// TestCostOfTheDead shows that of a process that dies the visit in hand is not
// counted, and nothing is counted twice.
func TestCostOfTheDead(t *testing.T) { synchronizer.Bubble(testCostOfTheDead)(t) }

func testCostOfTheDead(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 100, Negentropy: closed}, many(1, 700))
	w.restart(3)
	if _, err := w.svc.Sync(t.Context(), w.row, nil); !errors.Is(err, errCrash) {
		t.Fatalf("the visit ended with %v", err)
	}
	if got := w.cost(); got != (store.Cost{}) {
		t.Errorf("of a visit that has died: %+v", got)
	}
	lost := w.relay.Stats()
	w.restart(-1)
	r := w.sync()
	if got := w.cost(); got != r.Cost() || got.Bytes != w.relay.Stats().Payload-lost.Payload {
		t.Errorf("kept %+v, reported %+v", got, r.Cost())
	}
	if r.Known == 0 || r.New == 0 {
		t.Errorf("%d known, %d new: the dead visit has saved nothing, or all", r.Known, r.New)
	}
}

// TestNoCost shows that what was never asked costs nothing.
func TestNoCost(t *testing.T) { synchronizer.Bubble(testNoCost)(t) }

func testNoCost(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 100})
	w.relay.Stop()
	w.svc = synchronizer.New(testConfig(), w.db, w.dialer(), "test", nil, slog.New(slog.DiscardHandler))
	if r := w.sync(); r.Cause == "" || r.Cost() != (store.Cost{}) {
		t.Errorf("ended by %q: %+v", r.Cause, r.Cost())
	}
	sum, err := w.db.CostTotal(t.Context())
	if err != nil || sum != (store.CostSum{}) {
		t.Errorf("%+v, %v", sum, err)
	}
}

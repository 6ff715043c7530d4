package simnet_test

import (
	"errors"
	"slices"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/simnet"
)

// list has a relay list all ids of a filter to a client that holds held.
func list(t testing.TB, s *session.Session, f nostr.Filter, held ...nostr.Ref) (need []nostr.ID, have []nostr.Ref, got session.Reconciliation) {
	t.Helper()
	in, first, err := negentropy.Open(t.Context(), negentropy.NewVector(held), nil, negentropy.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got, err = s.Reconcile(t.Context(), f, first, func(payload []byte) ([]byte, error) {
		results, next, err := in.Answer(t.Context(), payload)
		if _, theirs := errors.AsType[*negentropy.Error](err); theirs {
			return nil, session.ErrStop
		}
		for _, r := range results {
			need = append(need, r.Need...)
			have = append(have, r.Have...)
		}
		return next, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return need, have, got
}

func TestNegentropy(t *testing.T) {
	events := newestFirst(simnet.Generate(simnet.Plan{Seed: 1, Count: 300, Since: base, Until: base + 100_000, Kinds: []nostr.Kind{1, 7}}))
	wraps := simnet.Generate(simnet.Plan{Seed: 2, Count: 10, Since: base, Until: base + 100, Kinds: []nostr.Kind{1059}})
	tests := []struct {
		name string
		neg  simnet.Negentropy
		f    nostr.Filter
		// want
		end   session.Kind
		limit int64
		need  []nostr.ID // sorted by the test
		extra int        // ids that no event has
	}{
		{name: "unknown", end: session.Notice},
		{name: "closed", neg: simnet.Negentropy{As: simnet.NegClosed}, end: session.Closed},
		{name: "silent", neg: simnet.Negentropy{As: simnet.NegSilent}, end: session.Idle},
		{name: "disabled", neg: simnet.Negentropy{As: simnet.NegDisabled}, end: session.NegRefused},
		{name: "honest", neg: simnet.Negentropy{As: simnet.NegHonest}, end: session.Reconciled, need: ids(events)},
		{name: "small frames", neg: simnet.Negentropy{As: simnet.NegHonest, Frame: 600}, end: session.Reconciled, need: ids(events)},
		{
			name: "a window", neg: simnet.Negentropy{As: simnet.NegHonest}, end: session.Reconciled,
			f: nostr.Filter{Since: &events[99].CreatedAt, Until: &events[50].CreatedAt}, need: ids(events[50:100]),
		},
		{name: "no difference", neg: simnet.Negentropy{As: simnet.NegNoDiff}, end: session.Stopped},
		{name: "nothing", neg: simnet.Negentropy{As: simnet.NegNothing}, end: session.Reconciled},
		{name: "echo", neg: simnet.Negentropy{As: simnet.NegEcho}, end: session.Reconciled},
		{name: "garbage", neg: simnet.Negentropy{As: simnet.NegGarbage}, end: session.Stopped},
		{name: "endless", neg: simnet.Negentropy{As: simnet.NegEndless}, end: session.Stopped},
		{name: "version", neg: simnet.Negentropy{As: simnet.NegVersion}, end: session.Stopped},
		{name: "newest only", neg: simnet.Negentropy{As: simnet.NegHonest, Newest: 120}, end: session.Reconciled, need: ids(events[:120])},
		{name: "too many, stated", neg: simnet.Negentropy{As: simnet.NegHonest, Most: 299}, end: session.NegRefused, limit: 299},
		{name: "too many, in words", neg: simnet.Negentropy{As: simnet.NegHonest, Most: 299, TooMany: simnet.TooManyWords}, end: session.NegRefused},
		{name: "too many, as of old", neg: simnet.Negentropy{As: simnet.NegHonest, Most: 299, TooMany: simnet.TooManyOld}, end: session.NegRefused, limit: 299},
		{name: "too many, closed", neg: simnet.Negentropy{As: simnet.NegHonest, Most: 299, TooMany: simnet.TooManyClosed}, end: session.Closed},
		{name: "names restricted ones", neg: simnet.Negentropy{As: simnet.NegHonest, Restricted: true}, end: session.Reconciled, need: slices.Concat(ids(events), ids(wraps))},
		{name: "phantoms", neg: simnet.Negentropy{As: simnet.NegHonest, Phantoms: 7}, end: session.Reconciled, need: ids(events), extra: 7},
		{name: "stalls", neg: simnet.Negentropy{As: simnet.NegHonest, Faults: []simnet.Fault{{What: simnet.Stall, When: simnet.Always}}}, end: session.Idle},
		{name: "resets", neg: simnet.Negentropy{As: simnet.NegHonest, Faults: []simnet.Fault{{What: simnet.Reset, When: simnet.Always}}}, end: session.Disconnect},
		{
			name: "forgets", neg: simnet.Negentropy{As: simnet.NegHonest, Frame: 4096, Faults: []simnet.Fault{{What: simnet.Forget, When: simnet.When{After: 1}}}},
			end: session.NegRefused, need: nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			be := simnet.Behaviour{Restricted: []nostr.Kind{1059}, Negentropy: tt.neg}
			r := add(t, network(t), be, slices.Concat(events, wraps)...)
			need, have, got := list(t, open(t, r, quick), tt.f)
			if got.End.Kind != tt.end || got.End.Limit != tt.limit || len(have) > 0 {
				t.Fatalf("ended by %+v, %d ids too many", got.End, len(have))
			}
			if got.End.Kind != session.Reconciled {
				return
			}
			known := map[nostr.ID]bool{}
			for _, id := range tt.need {
				known[id] = true
			}
			extra := 0
			for _, id := range need {
				if !known[id] {
					extra++
				}
				delete(known, id)
			}
			if len(known) > 0 || extra != tt.extra {
				t.Errorf("%d ids missing, %d too many, want %d", len(known), extra, tt.extra)
			}
		})
	}
}

// TestNegentropyWalls keeps to the walls that stand before REQ.
func TestNegentropyWalls(t *testing.T) {
	honest := simnet.Negentropy{As: simnet.NegHonest}
	for prefix, be := range map[string]simnet.Behaviour{
		"auth-required": {Auth: true, Negentropy: honest},
		"blocked":       {Broad: simnet.BroadOpen, Negentropy: honest},
		"rate-limited":  {Rate: simnet.Rate{Requests: 1}, Negentropy: honest},
	} {
		s := open(t, add(t, network(t), be, simnet.Generate(plan(5))...), patient)
		for {
			_, _, got := list(t, s, nostr.Filter{})
			if got.End.Kind == session.Reconciled && prefix == "rate-limited" {
				continue
			}
			if got.End.Kind != session.NegRefused || got.End.Prefix != prefix || got.End.TooMany() {
				t.Errorf("%s: ended by %+v", prefix, got.End)
			}
			break
		}
	}
}

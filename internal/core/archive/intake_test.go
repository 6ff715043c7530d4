package archive_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// memory knows some events; the rest of a store is not asked for here.
type memory map[nostr.ID]store.Seq

func (m memory) Known(_ context.Context, refs []nostr.Ref) ([]store.Seq, error) {
	seqs := make([]store.Seq, len(refs))
	for i, r := range refs {
		seqs[i] = m[r.ID]
	}
	return seqs, nil
}

type broken struct{ error }

func (b broken) Known(context.Context, []nostr.Ref) ([]store.Seq, error) { return nil, b.error }

func signed(t testing.TB, n int) []nostr.Event {
	t.Helper()
	key := nostr.GenerateKey()
	events := make([]nostr.Event, n)
	for i := range events {
		events[i] = nostr.Event{
			CreatedAt: int64(1_700_000_000 + i), Kind: nostr.Kind(i % 3),
			Tags: []nostr.Tag{{"t", "test"}, {"p", key.PubKey().String()}}, Content: "event " + strconv.Itoa(i),
		}
		if err := key.Sign(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

func raws(events ...nostr.Event) [][]byte {
	out := make([][]byte, len(events))
	for i := range events {
		out[i] = events[i].AppendJSON(nil)
	}
	return out
}

func verdicts(s archive.Sorted) []archive.Verdict {
	out := make([]archive.Verdict, len(s.Findings))
	for i, f := range s.Findings {
		out[i] = f.Verdict
	}
	return out
}

func reasons(s archive.Sorted) []string {
	var out []string
	for _, r := range s.Rejected {
		out = append(out, r.Reason)
	}
	return out
}

func TestSort(t *testing.T) {
	e := signed(t, 4)
	forgedText, forgedSig, staleSig := e[0], e[0], e[3]
	forgedText.Content = "another"
	forgedSig.Sig[10] ^= 1
	staleSig.Sig[10] ^= 1
	known := memory{e[3].ID: 7}
	tests := []struct {
		name     string
		in       [][]byte
		keep     func(*nostr.Event) bool
		verdicts []archive.Verdict
		created  []nostr.Event
		known    []store.Seen
		reasons  []string
	}{
		{name: "nothing"},
		{
			name: "new ones keep their order", in: raws(e[2], e[0], e[1]),
			verdicts: []archive.Verdict{archive.New, archive.New, archive.New}, created: []nostr.Event{e[2], e[0], e[1]},
		},
		{
			name: "known", in: raws(e[3], e[0]),
			verdicts: []archive.Verdict{archive.Known, archive.New}, created: []nostr.Event{e[0]}, known: []store.Seen{{Seq: 7, CreatedAt: e[3].CreatedAt}},
		},
		{
			name: "a known one is not verified", in: raws(staleSig),
			verdicts: []archive.Verdict{archive.Known}, known: []store.Seen{{Seq: 7, CreatedAt: e[3].CreatedAt}},
		},
		{
			name: "a known id with other content", in: [][]byte{bytes.Replace(raws(e[3])[0], []byte("event 3"), []byte("event 4"), 1)},
			verdicts: []archive.Verdict{archive.Refused}, reasons: []string{archive.ReasonHash},
		},
		{
			name: "twice", in: raws(e[0], e[0], e[3], e[3]),
			verdicts: []archive.Verdict{archive.New, archive.Duplicate, archive.Known, archive.Duplicate},
			created:  []nostr.Event{e[0]}, known: []store.Seen{{Seq: 7, CreatedAt: e[3].CreatedAt}},
		},
		{
			name: "a forgery does not stand in the event's way", in: raws(forgedText, forgedSig, e[0], e[0]),
			verdicts: []archive.Verdict{archive.Refused, archive.Refused, archive.New, archive.Duplicate},
			created:  []nostr.Event{e[0]}, reasons: []string{archive.ReasonHash, archive.ReasonSignature},
		},
		{
			name: "no event", in: [][]byte{[]byte(`{}`), []byte(`{"id":`), raws(e[0])[0]},
			verdicts: []archive.Verdict{archive.Unread, archive.Unread, archive.New}, created: []nostr.Event{e[0]},
			reasons: []string{string(nostr.ReasonMissingKey), string(nostr.ReasonTruncated)},
		},
		{
			name: "not asked for", in: raws(e[0], e[1]), keep: func(e *nostr.Event) bool { return e.Kind == 1 },
			verdicts: []archive.Verdict{archive.Stray, archive.New}, created: []nostr.Event{e[1]},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := archive.NewIntake(known, nil).Sort(t.Context(), test.in, test.keep)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.verdicts, verdicts(got), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("verdicts: %s", d)
			}
			if d := cmp.Diff(test.created, got.New, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("new: %s", d)
			}
			if d := cmp.Diff(test.known, got.Known, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("known: %s", d)
			}
			if d := cmp.Diff(test.reasons, reasons(got), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("reasons: %s", d)
			}
		})
	}
}

func TestSortMany(t *testing.T) {
	events := signed(t, 300)
	known := memory{}
	for i := range events {
		if i%3 == 0 {
			known[events[i].ID] = store.Seq(i + 1)
		}
	}
	reg := prometheus.NewRegistry()
	got, err := archive.NewIntake(known, reg).Sort(t.Context(), raws(events...), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.New) != 200 || len(got.Known) != 100 || len(got.Rejected) != 0 {
		t.Errorf("%d new, %d known, %d rejected", len(got.New), len(got.Known), len(got.Rejected))
	}
	for i := 1; i < len(got.New); i++ {
		if got.New[i].CreatedAt <= got.New[i-1].CreatedAt {
			t.Fatal("new events are not in the order of the input")
		}
	}
	for i, f := range got.Findings {
		if f.ID != events[i].ID || f.Kind != events[i].Kind || f.PubKey != events[i].PubKey {
			t.Fatalf("finding %d is about another event", i)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 1 || len(families[0].GetMetric()) != 2 {
		t.Errorf("metrics %v, want the counts of new and known", families)
	}
}

func TestSortRejectedIsCut(t *testing.T) {
	got, err := archive.NewIntake(memory{}, nil).Sort(t.Context(), [][]byte{bytes.Repeat([]byte("x"), 2*store.MaxRejected)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Rejected) != 1 || len(got.Rejected[0].Raw) != store.MaxRejected {
		t.Errorf("rejected %d, %d bytes", len(got.Rejected), len(got.Rejected[0].Raw))
	}
}

func TestSortErrors(t *testing.T) {
	in := raws(signed(t, 20)...)
	want := errors.New("disk gone")
	if _, err := archive.NewIntake(broken{want}, nil).Sort(t.Context(), in, nil); !errors.Is(err, want) {
		t.Errorf("got %v, want the store's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := archive.NewIntake(memory{}, nil).Sort(ctx, in, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// BenchmarkSort shows what a duplicate costs beside a new event.
func BenchmarkSort(b *testing.B) {
	events := signed(b, 500)
	in := raws(events...)
	known := memory{}
	for i := range events {
		known[events[i].ID] = store.Seq(i + 1)
	}
	for name, st := range map[string]memory{"new": {}, "known": known} {
		b.Run(name, func(b *testing.B) {
			intake := archive.NewIntake(st, nil)
			for b.Loop() {
				if _, err := intake.Sort(b.Context(), in, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(in)*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

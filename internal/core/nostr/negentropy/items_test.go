package negentropy

import (
	"context"
	"encoding/binary"
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
)

// drawItem draws few seconds and ids that share long prefixes, all zeros and all
// ones among them, or spread ones.
var drawItem = rapid.Custom(func(t *rapid.T) nostr.Ref {
	r := nostr.Ref{CreatedAt: rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 1000), rapid.Int64Min(0)).Draw(t, "created_at")}
	fill := rapid.SampledFrom([]byte{0, 0, 0x7f, 0xff}).Draw(t, "fill")
	for i := range r.ID {
		r.ID[i] = fill
	}
	at := rapid.IntRange(0, 23).Draw(t, "at")
	copy(r.ID[at:], rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes"))
	// An id is of one second only: it is a hash of that, too.
	binary.BigEndian.PutUint64(r.ID[24:], uint64(r.CreatedAt))
	return r
})

// spread makes n items of a few seconds up to many days.
func spread(seed uint64, n int) []nostr.Ref {
	rng := rand.New(rand.NewPCG(seed, 1))
	days := int64(1) << rng.IntN(12)
	items := make([]nostr.Ref, n)
	for i := range items {
		items[i].CreatedAt = 1_600_000_000 + rng.Int64N(days*3600)
		for j := range items[i].ID {
			items[i].ID[j] = byte(rng.Uint32())
		}
	}
	return items
}

var drawItems = rapid.Custom(func(t *rapid.T) []nostr.Ref {
	items := rapid.SliceOfN(drawItem, 0, 80).Draw(t, "items")
	if rapid.Bool().Draw(t, "many") {
		items = append(items, spread(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 3000).Draw(t, "n"))...)
	}
	return items
})

// daysOf cuts items into days at some of their seconds.
func daysOf(t *rapid.T, items []nostr.Ref) *Days {
	starts := []int64{0}
	for range rapid.IntRange(0, 40).Draw(t, "days") {
		if len(items) > 0 {
			starts = append(starts, items[rapid.IntRange(0, len(items)-1).Draw(t, "start")].CreatedAt)
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	set := NewVector(slices.Clone(items))
	read := func(from, until int64) []nostr.Ref {
		i, j := set.span(At(from), Bound{Time: uint64(until) + 1})
		return slices.Clone(set.items[i:j])
	}
	days := make([]Day, len(starts))
	for i, start := range starts {
		until := int64(1<<63 - 1)
		if i+1 < len(starts) {
			until = starts[i+1] - 1
		}
		days[i].Start = start
		for _, item := range read(start, until) {
			days[i].Add(item.ID)
		}
	}
	return NewDays(days, func(_ context.Context, from, until int64) ([]nostr.Ref, error) {
		items := read(from, until)
		rand.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		return items, nil
	})
}

func drawBound(t *rapid.T, items []nostr.Ref, label string) Bound {
	b := Infinity
	if rapid.IntRange(0, 9).Draw(t, label+" finite") > 0 && len(items) > 0 {
		b = before(items[rapid.IntRange(0, len(items)-1).Draw(t, label)])
		for i := rapid.IntRange(0, 32).Draw(t, label+" prefix"); i < 32; i++ {
			b.ID[i] = 0
		}
	}
	return b
}

// TestItems compares both kinds of set with plain filtering.
func TestItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := drawItems.Draw(t, "items")
		sorted := NewVector(slices.Clone(items)).items
		lo, hi := drawBound(t, items, "lo"), drawBound(t, items, "hi")
		within := func(lo, hi Bound) []nostr.Ref {
			var in []nostr.Ref
			for _, item := range sorted {
				if before(item).Compare(lo) >= 0 && before(item).Compare(hi) < 0 {
					in = append(in, item)
				}
			}
			return in
		}
		sum := func(in []nostr.Ref) Accumulator {
			var a Accumulator
			for _, item := range in {
				a.Add(item.ID)
			}
			return a
		}
		want := within(lo, hi)
		for name, set := range map[string]Items{"vector": NewVector(slices.Clone(items)), "days": daysOf(t, items)} {
			a, err := set.Sum(t.Context(), lo, hi)
			if diff := cmp.Diff(sum(want), a); err != nil || diff != "" {
				t.Fatal(name, err, diff)
			}
			var scanned []nostr.Ref
			for item, err := range set.Scan(t.Context(), lo, hi) {
				if err != nil {
					t.Fatal(name, err)
				}
				scanned = append(scanned, item)
			}
			if diff := cmp.Diff(want, scanned); diff != "" {
				t.Fatal(name, diff)
			}
			cuts, err := set.Cut(t.Context(), lo, hi, fanout)
			if err != nil {
				t.Fatal(name, err)
			}
			if len(want) > 1 && len(cuts) == 0 || len(cuts) >= fanout {
				t.Fatalf("%s: %d cuts of %d items", name, len(cuts), len(want))
			}
			from := lo
			for _, cut := range append(cuts, hi) {
				part := len(within(from, cut))
				if part == 0 && len(cuts) > 0 {
					t.Fatalf("%s: an empty part of %d items", name, len(want))
				}
				if name == "vector" && part > len(want)/fanout+1 && len(want) >= fanout {
					t.Fatalf("%s: a part of %d of %d items", name, part, len(want))
				}
				from = cut
			}
		}
	})
}

func TestAccumulator(t *testing.T) {
	modulus := new(big.Int).Lsh(big.NewInt(1), 256)
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOf(drawItem).Draw(t, "items")
		want := new(big.Int)
		var all, left, right Accumulator
		cut := rapid.IntRange(0, len(items)).Draw(t, "cut")
		for i, item := range items {
			be := item.ID
			slices.Reverse(be[:])
			want.Add(want, new(big.Int).SetBytes(be[:]))
			all.Add(item.ID)
			if i < cut {
				left.Add(item.ID)
			} else {
				right.Add(item.ID)
			}
		}
		le := want.Mod(want, modulus).FillBytes(make([]byte, 32))
		slices.Reverse(le)
		if diff := cmp.Diff(Accumulator{Count: int64(len(items)), Sum: [32]byte(le)}, all); diff != "" {
			t.Fatal(diff)
		}
		merged := left
		merged.Merge(right)
		if merged != all || all.without(right) != left {
			t.Fatal("merge or without")
		}
		for _, item := range items {
			all.Sub(item.ID)
		}
		if all != (Accumulator{}) {
			t.Fatalf("%+v is left", all)
		}
	})
}

// TestDaysRead: only days that a range cuts are read, and each once.
func TestDaysRead(t *testing.T) {
	const day = 86400
	var days []Day
	var all []nostr.Ref
	for i := range int64(100) {
		d := Day{Start: i * day}
		for j := range int64(10) {
			item := nostr.Ref{CreatedAt: i*day + j*1000, ID: nostr.ID{byte(i), byte(j), 1}}
			d.Add(item.ID)
			all = append(all, item)
		}
		days = append(days, d)
	}
	var read []int64
	set := NewDays(days, func(_ context.Context, from, until int64) ([]nostr.Ref, error) {
		if until != from+day-1 && from != 99*day {
			t.Errorf("read from %d to %d", from, until)
		}
		read = append(read, from/day)
		return slices.Clone(all[from/day*10:][:10]), nil
	})
	plan := set.Plan(25)
	if len(plan) != 50 {
		t.Errorf("%d ranges of 20 items expected, got %d", 50, len(plan))
	}
	if _, _, err := Open(t.Context(), set, plan, Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := set.Cut(t.Context(), At(0), Infinity, fanout); err != nil {
		t.Fatal(err)
	}
	if len(read) > 0 {
		t.Errorf("days %v read for whole days", read)
	}
	for range 2 {
		a, err := set.Sum(t.Context(), At(3*day+1500), At(40*day+3500))
		if err != nil || a.Count != 8+360+4 {
			t.Error(a.Count, err)
		}
	}
	if diff := cmp.Diff([]int64{3, 40}, read); diff != "" {
		t.Error(diff)
	}
}

func TestPlan(t *testing.T) {
	counts := func(n ...int64) []Day {
		days := make([]Day, len(n))
		for i := range n {
			days[i].Start = int64(i+1) * 10
			days[i].Count = n[i]
		}
		return days
	}
	ask := func(lo, hi Bound) Ask { return Ask{Lo: lo, Hi: hi} }
	for _, tt := range []struct {
		days []Day
		most int64
		want []Ask
	}{
		{nil, 5, []Ask{ask(At(0), Infinity)}},
		{counts(0, 0), 5, []Ask{ask(At(0), Infinity)}},
		{counts(1, 2, 2, 1), 5, []Ask{ask(At(0), At(40)), ask(At(40), Infinity)}},
		{counts(9, 1, 9), 5, []Ask{ask(At(0), At(20)), ask(At(20), At(30)), ask(At(30), Infinity)}},
		{counts(0, 9, 0, 1), 5, []Ask{ask(At(0), At(30)), ask(At(30), Infinity)}},
		{counts(1, 1), 0, []Ask{ask(At(0), At(20)), ask(At(20), Infinity)}},
	} {
		if diff := cmp.Diff(tt.want, NewDays(tt.days, nil).Plan(tt.most), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%+v: %s", tt.days, diff)
		}
	}
}

// TestDaysTrouble: what the loader says comes through, and items that do not fit
// the sums are noticed.
func TestDaysTrouble(t *testing.T) {
	broken := errors.New("broken")
	day := Day{Start: 0}
	day.Add(nostr.ID{1})
	day.Add(nostr.ID{2})
	for _, tt := range []struct {
		items []nostr.Ref
		err   error
		want  error
	}{
		{nil, broken, broken},
		{nil, nil, ErrStale},
		{[]nostr.Ref{{ID: nostr.ID{1}}, {ID: nostr.ID{3}}}, nil, ErrStale},
		{[]nostr.Ref{{ID: nostr.ID{2}}, {ID: nostr.ID{1}}}, nil, nil},
	} {
		set := NewDays([]Day{day}, func(context.Context, int64, int64) ([]nostr.Ref, error) { return tt.items, tt.err })
		ctx := t.Context()
		_, err := set.Sum(ctx, Bound{ID: nostr.ID{2}}, Infinity)
		if !errors.Is(err, tt.want) {
			t.Errorf("Sum: %v, want %v", err, tt.want)
		}
		if _, err = set.Cut(ctx, At(0), Infinity, 2); !errors.Is(err, tt.want) {
			t.Errorf("Cut: %v, want %v", err, tt.want)
		}
		err = nil
		for _, err = range set.Scan(ctx, At(0), Infinity) {
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("Scan: %v, want %v", err, tt.want)
		}
		r, err := NewResponder(set, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Reply(ctx, []byte{version, 0, 0, modeList, 0}); !errors.Is(err, tt.want) {
			t.Errorf("Reply: %v, want %v", err, tt.want)
		}
		in, _, err := Open(ctx, set, []Ask{{Hi: Infinity}}, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.Answer(ctx, []byte{version, 0, 0, modeList, 0}); !errors.Is(err, tt.want) {
			t.Errorf("Answer: %v, want %v", err, tt.want)
		}
	}
}

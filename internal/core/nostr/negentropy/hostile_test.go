package negentropy

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"bigbrotr/internal/core/nostr"
)

// message writes ranges that begin where the one before ends.
func message(blocks ...block) []byte {
	e := newEncoder()
	for _, b := range blocks {
		switch b.mode {
		case modeSkip:
			e.skipTo(b.hi)
		case modeFingerprint:
			e.fingerprint(e.at, b.hi, b.fingerprint)
		case modeList:
			e.list(e.at, b.hi, b.ids)
		}
	}
	return e.buf
}

func named(n int) []byte {
	ids := make([]byte, 32*n)
	for i := range n {
		ids[32*i], ids[32*i+1], ids[32*i+2] = byte(i), byte(i>>8), 1
	}
	return ids
}

// TestHostileAnswers: what no honest peer answers is refused with its cause.
func TestHostileAnswers(t *testing.T) {
	items := make([]nostr.Ref, 100)
	for i := range items {
		items[i] = nostr.Ref{CreatedAt: int64(i), ID: nostr.ID{byte(i), 2}}
	}
	ours := NewVector(items)
	skip := func(hi Bound) block { return block{hi: hi, mode: modeSkip} }
	list := func(hi Bound, n int) block { return block{hi: hi, mode: modeList, ids: named(n)} }
	fingerprint := func(hi Bound) block { return block{hi: hi, mode: modeFingerprint, fingerprint: Fingerprint{1}} }
	compare := []Ask{{Lo: At(10), Hi: At(50)}, {Lo: At(50), Hi: At(60), List: true}}
	limits := Limits{IDs: 50}
	for name, tt := range map[string]struct {
		plan   []Ask
		answer []byte
		cause  Cause
	}{
		"skip of a list":              {compare, message(), CauseUnlisted},
		"skip of the rest of a list":  {compare, message(skip(At(50)), list(At(55), 1)), CauseUnlisted},
		"list before what is asked":   {compare, message(list(At(10), 0)), CauseUnasked},
		"list behind what is asked":   {compare, message(skip(At(50)), list(At(60), 1), list(Infinity, 1)), CauseUnasked},
		"list of more than is asked":  {compare, message(skip(At(50)), list(At(61), 1)), CauseUnasked},
		"list of two asks":            {compare, message(skip(At(10)), list(At(60), 1)), CauseUnasked},
		"ids of nothing":              {compare, message(skip(At(10)), list(At(10), 1)), CauseUnasked},
		"too many ids":                {compare, message(skip(At(50)), list(At(60), 51)), CauseIDs},
		"too few ids":                 {[]Ask{{Hi: At(90), List: true}}, message(list(At(90), 0)), CauseIDs},
		"nothing of the first":        {compare, message(fingerprint(Infinity)), CauseStalled},
		"fingerprint in place of ids": {compare[1:], message(skip(At(50)), fingerprint(At(60))), CauseStalled},
		"no answer":                   {nil, nil, CauseTruncated},
		"another version":             {nil, []byte{0x60}, CauseVersion},
		"no version":                  {nil, []byte("NOTICE"), CauseVersion},
		"too long":                    {nil, make([]byte, 1<<20+1), CauseSize},
		"too many ranges":             {nil, append([]byte{version}, bytes.Repeat([]byte{1, 0, modeSkip}, maxRanges+1)...), CauseRanges},
	} {
		in, _, err := Open(t.Context(), ours, tt.plan, limits)
		if err != nil {
			t.Fatal(err)
		}
		results, next, err := in.Answer(t.Context(), tt.answer)
		if causeOf(err) != tt.cause || results != nil || next != nil {
			t.Errorf("%s: %v, want %s; results %v, next message %x", name, err, tt.cause, results, next)
		}
	}

	in, _, err := Open(t.Context(), ours, compare, limits)
	if err != nil {
		t.Fatal(err)
	}
	in.pending = make([]ask, maxPending)
	if _, _, err := in.Answer(t.Context(), message(skip(At(10)), fingerprint(At(50)), list(At(60), 0))); causeOf(err) != CauseRanges {
		t.Errorf("more to ask than fits: %v", err)
	}
}

// TestTrickle: a peer that names one id an answer, for ever, is left after
// Limits.Rounds, and so is a client that asks for ever.
func TestTrickle(t *testing.T) {
	ctx := t.Context()
	const rounds = 10
	in, _, err := Open(ctx, NewVector(nil), nil, Limits{Rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rounds {
		answer := message(block{hi: At(int64(i)), mode: modeSkip}, block{hi: At(int64(i + 1)), mode: modeList, ids: named(1)},
			block{hi: Infinity, mode: modeFingerprint})
		if _, next, err := in.Answer(ctx, answer); err != nil || next == nil {
			t.Fatal(i, next, err)
		}
	}
	if _, _, err := in.Answer(ctx, message()); causeOf(err) != CauseRounds {
		t.Error(err)
	}
	r, err := NewResponder(NewVector(nil), Limits{Rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	for range rounds {
		if _, err := r.Reply(ctx, message(block{hi: Infinity, mode: modeFingerprint})); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Reply(ctx, message()); causeOf(err) != CauseRounds {
		t.Error(err)
	}
}

// TestNamedTwice: an id named twice is needed once.
func TestNamedTwice(t *testing.T) {
	in, _, err := Open(t.Context(), NewVector([]nostr.Ref{{ID: nostr.ID{2}}}), nil, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ids := slices.Concat(named(2), named(2), make([]byte, 32))
	ids[128] = 2
	results, next, err := in.Answer(t.Context(), message(block{hi: Infinity, mode: modeList, ids: ids}))
	if err != nil || next != nil || len(results) != 1 || results[0].Named != 3 || len(results[0].Need) != 2 || len(results[0].Have) != 0 {
		t.Errorf("%+v, next message %x, %v", results, next, err)
	}
}

func TestBadUse(t *testing.T) {
	none := NewVector(nil)
	for _, plan := range [][]Ask{
		{{Lo: At(1), Hi: At(1)}},
		{{Lo: At(2), Hi: At(1)}},
		{{Hi: At(2)}, {Lo: At(1), Hi: At(3)}},
		{{Lo: At(5), Hi: Infinity}, {Hi: At(3)}},
	} {
		if _, _, err := Open(t.Context(), none, plan, Limits{}); !errors.Is(err, errPlan) {
			t.Errorf("%v: %v", plan, err)
		}
	}
	if _, _, err := Open(t.Context(), none, nil, Limits{Frame: MinFrame - 1}); err == nil {
		t.Error("an Initiator without room")
	}
	if _, err := NewResponder(none, Limits{Frame: MinFrame - 1}); err == nil {
		t.Error("a Responder without room")
	}
}

// tamper changes a message by the next bytes of script, which it returns the rest
// of: mostly a little, so that what follows is still read.
func tamper(msg, script []byte) (_, rest []byte) {
	if len(script) < 4 {
		return msg, nil
	}
	op, at, value := script[0], (int(script[1])<<8|int(script[2]))%len(msg), script[3]
	msg, rest = slices.Clone(msg), script[4:]
	switch op % 8 {
	case 0:
		msg[at] = value
	case 1:
		msg[at] ^= 1 << (value % 8)
	case 2:
		msg = msg[:at]
	case 3:
		msg = slices.Insert(msg, at, value)
	case 4:
		msg = slices.Delete(msg, at, min(len(msg), at+int(value)))
	case 5: // raw
		n := min(len(rest), int(value))
		msg, rest = append([]byte{version}, rest[:n]...), rest[n:]
	case 6: // a piece again
		msg = append(msg, msg[at:min(len(msg), at+int(value))]...)
	}
	return msg, rest
}

// FuzzPeer runs whole reconciliations in which the other side is honest but for
// what the script changes. Whatever comes, limits hold, nothing is settled twice
// or without being asked, and errors are typed; and the true differences come out
// if nothing was changed.
func FuzzPeer(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, uint16(100), uint16(0), uint16(0), []byte{})
		f.Add(seed, uint16(3000), uint16(500), uint16(40), []byte{7, 0, 0, 0, 1, 0, 9, 3})
		f.Add(seed, uint16(3000), uint16(9000), uint16(2), []byte{0, 0, 3, 1, 3, 0, 60, 200, 6, 0, 0, 80, 4, 0, 2, 20})
		f.Add(seed, uint16(500), uint16(1), uint16(100), []byte{5, 0, 0, 9, 0, 0, 2, 3, 0, 0, 1, 0, 7, 2, 0, 0})
	}
	f.Fuzz(func(t *testing.T, seed uint64, n, frame, lack uint16, script []byte) {
		ctx := t.Context()
		all := NewVector(spread(seed, int(n%4000))).items
		cut := min(int(lack), len(all))
		ours, theirs := NewVector(slices.Clone(all[cut:])), NewVector(slices.Clone(all[:len(all)-cut]))
		limits := Limits{Frame: MinFrame + int(frame%20_000), Message: 100_000, Rounds: 200, IDs: 5000}
		if len(script) < 4 {
			limits.Rounds = 1 << 20
		}

		// The client's side.
		plan := []Ask{{Hi: At(1_600_000_500)}, {Lo: At(1_600_001_000), Hi: Infinity, List: seed%2 == 0}}
		r, err := NewResponder(theirs, limits)
		if err != nil {
			t.Fatal(err)
		}
		in, msg, err := Open(ctx, ours, plan, limits)
		if err != nil {
			t.Fatal(err)
		}
		var o outcome
		for rest := script; msg != nil; {
			if len(msg) > limits.Frame {
				t.Fatalf("message of %d bytes", len(msg))
			}
			answer, err := r.Reply(ctx, msg)
			if err != nil && causeOf(err) != CauseRounds {
				t.Fatalf("our own message is refused: %v", err)
			}
			if err != nil {
				break
			}
			answer, rest = tamper(answer, rest)
			results, next, err := in.Answer(ctx, answer)
			if err != nil {
				if causeOf(err) == "" {
					t.Fatal(err)
				}
				break
			}
			o.results = append(o.results, results...)
			msg = next
		}
		if len(in.pending) > maxPending || len(o.have()) > limits.IDs || len(o.need()) > limits.IDs {
			t.Fatalf("%d to ask, %d ids to give, %d to get", len(in.pending), len(o.have()), len(o.need()))
		}
		if len(script) < 4 {
			o.check(t, ours, theirs, plan)
		}
		slices.SortFunc(o.results, func(a, b Result) int { return a.Lo.Compare(b.Lo) })
		for i, r := range o.results {
			if r.Lo.Compare(r.Hi) >= 0 || i > 0 && o.results[i-1].Hi.Compare(r.Lo) > 0 {
				t.Fatalf("%v is settled twice", r)
			}
			if !slices.ContainsFunc(plan, func(a Ask) bool { return a.Lo.Compare(r.Lo) <= 0 && r.Hi.Compare(a.Hi) <= 0 }) {
				t.Fatalf("%v was not asked for", r)
			}
		}

		// The server's side.
		if in, msg, err = Open(ctx, ours, nil, limits); err != nil {
			t.Fatal(err)
		}
		if r, err = NewResponder(theirs, limits); err != nil {
			t.Fatal(err)
		}
		for rest := script; msg != nil && len(rest) > 0; {
			msg, rest = tamper(msg, rest)
			answer, err := r.Reply(ctx, msg)
			if err != nil {
				if causeOf(err) == "" {
					t.Fatal(err)
				}
				break
			}
			if len(answer) > limits.Frame {
				t.Fatalf("answer of %d bytes", len(answer))
			}
			if _, msg, err = in.Answer(ctx, answer); err != nil {
				break // to what was not asked
			}
		}
	})
}

// TestCancelled: the context reaches what reads the items.
func TestCancelled(t *testing.T) {
	day := Day{}
	day.Add(nostr.ID{1})
	set := NewDays([]Day{day}, func(ctx context.Context, _, _ int64) ([]nostr.Ref, error) { return nil, ctx.Err() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := set.Sum(ctx, At(1), Bound{Time: 2}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

package negentropy

import (
	"context"
	"errors"
	"slices"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
)

func causeOf(err error) Cause {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cause
	}
	return ""
}

// outcome is what a whole reconciliation comes to.
type outcome struct {
	results  []Result
	rounds   int
	up, down int // bytes before hex
}

func (o *outcome) have() []nostr.Ref {
	var all []nostr.Ref
	for _, r := range o.results {
		all = append(all, r.Have...)
	}
	return all
}

func (o *outcome) need() []nostr.ID {
	var all []nostr.ID
	for _, r := range o.results {
		all = append(all, r.Need...)
	}
	return all
}

// fataler is what testing.T and rapid.T have in common.
type fataler interface {
	Helper()
	Context() context.Context
	Fatal(...any)
	Fatalf(string, ...any)
}

// reconcile runs a reconciliation with an honest peer to its end.
func reconcile(t fataler, ours, theirs Items, plan []Ask, client, server Limits) outcome {
	t.Helper()
	ctx := t.Context()
	r, err := NewResponder(theirs, server)
	if err != nil {
		t.Fatal(err)
	}
	client, _ = client.orDefault()
	server, _ = server.orDefault()
	in, msg, err := Open(ctx, ours, plan, client)
	if err != nil {
		t.Fatal(err)
	}
	var o outcome
	for msg != nil {
		o.rounds++
		o.up += len(msg)
		answer, err := r.Reply(ctx, msg)
		if err != nil {
			t.Fatalf("reply to %x: %v", msg, err)
		}
		o.down += len(answer)
		if len(msg) > client.Frame || len(answer) > server.Frame {
			t.Fatalf("messages of %d and %d bytes", len(msg), len(answer))
		}
		results, next, err := in.Answer(ctx, answer)
		if err != nil {
			t.Fatalf("answer %x to %x: %v", answer, msg, err)
		}
		o.results = append(o.results, results...)
		msg = next
	}
	return o
}

// check compares an outcome with the truth: what is asked for is settled, once,
// and rightly.
func (o *outcome) check(t fataler, ours, theirs *Vector, plan []Ask) {
	t.Helper()
	ctx := t.Context()
	if len(plan) == 0 {
		plan = []Ask{{Hi: Infinity}}
	}
	settled := slices.Clone(o.results)
	slices.SortFunc(settled, func(a, b Result) int { return a.Lo.Compare(b.Lo) })
	for _, a := range plan {
		for at := a.Lo; at != a.Hi; settled = settled[1:] {
			if len(settled) == 0 || settled[0].Lo != at || settled[0].Hi.Compare(a.Hi) > 0 {
				t.Fatalf("of %v nothing is settled from %v on, next is %+v", a, at, settled[:min(1, len(settled))])
			}
			at = settled[0].Hi
		}
	}
	if len(settled) > 0 {
		t.Fatalf("%+v was not asked for", settled[0])
	}
	for _, r := range o.results {
		mine, yours := refs(ctx, ours, r), refs(ctx, theirs, r)
		var want Result
		if want.Equal = r.Equal; r.Equal {
			if !slices.Equal(mine, yours) {
				t.Fatalf("%+v: %d items and %d", r, len(mine), len(yours))
			}
		} else {
			want.Named = len(yours)
			for _, item := range mine {
				if _, found := slices.BinarySearchFunc(yours, item, compareRefs); !found {
					want.Have = append(want.Have, item)
				}
			}
			last := int64(Unplaced)
			for _, item := range yours {
				if _, found := slices.BinarySearchFunc(mine, item, compareRefs); !found {
					want.Need = append(want.Need, item.ID)
					want.Places = append(want.Places, Place{last, Unplaced})
					continue
				}
				last = item.CreatedAt
				for i := len(want.Places) - 1; i >= 0 && want.Places[i].Before == Unplaced; i-- {
					want.Places[i].Before = last
				}
			}
		}
		want.Lo, want.Hi = r.Lo, r.Hi
		if diff := cmp.Diff(want, r); diff != "" {
			t.Fatal(diff)
		}
	}
}

func compareRefs(a, b nostr.Ref) int { return before(a).Compare(before(b)) }

func refs(ctx context.Context, v *Vector, r Result) []nostr.Ref {
	var all []nostr.Ref
	for item := range v.Scan(ctx, r.Lo, r.Hi) {
		all = append(all, item)
	}
	return all
}

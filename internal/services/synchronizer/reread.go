package synchronizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"bigbrotr/internal/core/store"
)

const (
	// rereadShare is the part of a visit's bytes that may be added to read old claims
	// again, rereadBytes how many there may be however few it took, and rereadMost
	// how many requests: those that find nothing are small, and to find the end, or
	// the first stretch that is small enough where pages are in no order, takes many.
	rereadShare = 4
	rereadBytes = 2 << 20
	rereadMost  = 100
)

// reread reads again what was claimed before the tail stood that stands now: of
// what arrived in between nothing is known, whatever its date. What is read is
// claimed as of now and kept by the tail, so that in the end the arrival gaps
// close. Where relays can be reconciled nothing is left to do. A visit without
// bounds reads all of it, others a little each, the newest first.
func (v *visit) reread(ctx context.Context) error {
	if !v.tail.Stands(v.now().Unix()) {
		return nil
	}
	claims, _, err := v.store.RelayCoverage(ctx, v.relay.ID)
	if err != nil {
		return v.local(ctx, fmt.Errorf("read coverage: %w", err))
	}
	claims = slices.DeleteFunc(claims, func(c store.Coverage) bool {
		return c.Level == store.LevelUnknown || c.AsOf >= v.tail.Since
	})
	slices.SortFunc(claims, func(a, b store.Coverage) int { return cmp.Compare(b.Hi, a.Hi) })
	bounds := v.budget
	if bounds != (budget{}) {
		v.budget.requests = least(bounds.requests, v.report.Requests+rereadMost)
		v.budget.bytes = least(bounds.bytes, v.report.BytesReceived+max(rereadBytes, v.report.BytesReceived/rereadShare))
	}
	err = v.again(ctx, claims)
	v.budget = bounds
	if err == nil && len(v.waiting) > 0 {
		// Any answer settles what waits for one.
		_, err = v.ask(ctx, question{filter: v.filter, win: v.target, limit: 1})
	}
	if err != nil {
		return err
	}
	return v.save(ctx, nil, nil)
}

// again walks claims.
func (v *visit) again(ctx context.Context, claims []store.Coverage) error {
	for _, c := range claims {
		f, err := v.store.Filter(ctx, c.Filter)
		if err != nil {
			return v.local(ctx, fmt.Errorf("read filter: %w", err))
		}
		w := v.walk(f, c.Filter)
		w.listed = len(f.Kinds) > 0
		err = w.gap(ctx, c.Interval)
		h, halted := errors.AsType[*halt](err)
		switch {
		case halted && h.why == yielded:
			return nil // the rest another time
		case halted && h.why == unwanted: // it took this filter once
		case err != nil:
			return err
		}
	}
	return nil
}

// least is the narrower of two bounds, of which the first may be 0 for none.
func least(bound, other int64) int64 {
	if bound == 0 {
		return other
	}
	return min(bound, other)
}

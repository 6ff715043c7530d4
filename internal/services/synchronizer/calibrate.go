package synchronizer

import (
	"context"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/store"
)

// calibrationAge is how long what was learned about a relay holds.
const calibrationAge = 30 * 24 * time.Hour

// hidesEvents notes that short and empty pages of this relay prove nothing.
func (v *visit) hidesEvents() {
	if !v.cal.PostFiltering {
		v.cal.PostFiltering, v.learned = true, true
	}
}

// calibrateUntil learns whether until is inclusive, from an event that the
// relay has just shown: it must come when it is asked for by id and until its
// own second.
func (v *visit) calibrateUntil(ctx context.Context, ref nostr.Ref) error {
	f := v.filter
	f.IDs = []nostr.ID{ref.ID}
	misses := 0
	// That it does not come may be an accident, so it must be missed twice, and
	// be seen in between.
	for _, until := range []int64{ref.CreatedAt, ref.CreatedAt + 1, ref.CreatedAt} {
		win := store.Interval{Lo: 0, Hi: until}
		p, err := v.ask(ctx, question{filter: f, win: win, limit: 1})
		if err != nil {
			return err
		}
		if err := v.save(ctx, p, nil); err != nil {
			return err
		}
		comes := p.repeats(f.IDs)
		switch {
		case until == ref.CreatedAt && comes:
			v.bounded, v.learned = true, true
			return nil
		case until == ref.CreatedAt && p.clean():
			misses++
		case until > ref.CreatedAt && !comes:
			return nil
		}
	}
	if misses == 2 {
		v.cal.ExclusiveUntil, v.bounded, v.learned = true, true, true
	}
	return nil
}

// doubtUntil forgets what is known of until, once in a visit. What is learned in
// its place counts from the next visit on.
func (v *visit) doubtUntil() {
	v.doubted = true
	v.cal.ExclusiveUntil, v.bounded = false, false
	v.cal.At, v.calibrating, v.learned = 0, true, true
}

// calibratePrivate learns whether the relay keeps private kinds to itself: it
// refuses a filter of nothing else while it serves the open one. Then it may
// drop them from other pages after the limit has been counted.
func (v *visit) calibratePrivate(ctx context.Context) error {
	// Who refuses every filter without authors refuses that of a kind for this.
	if v.cal.PostFiltering || v.private || !v.calibrating || v.cal.AuthorList > 0 {
		return nil
	}
	v.private = true
	if v.authenticated() {
		// It may serve what concerns our key only, and call that all.
		if v.party || v.kinds[privateKinds[0]]+v.kinds[privateKinds[1]] == 0 {
			v.hidesEvents()
		}
		return nil
	}
	for _, k := range privateKinds {
		says, err := v.refuses(ctx, k)
		if err != nil {
			return err
		}
		if says {
			v.hidesEvents()
			return nil
		}
	}
	return nil
}

// refuses reports whether the relay refuses a filter of one kind, three times
// in a row, since a refusal may be an accident.
func (v *visit) refuses(ctx context.Context, k nostr.Kind) (bool, error) {
	f := v.filter
	f.Kinds = []nostr.Kind{k}
	for range 3 {
		p, err := v.ask(ctx, question{filter: f, win: v.target, limit: 1})
		if err != nil {
			return false, err
		}
		if err := v.save(ctx, p, nil); err != nil {
			return false, err
		}
		if p.end.Cause() == dial.CauseRateLimited {
			return false, &halt{why: refused, cause: p.end.Cause()}
		}
		if p.clean() && p.end.Kind != session.EOSEAuth {
			return false, nil
		}
	}
	return true, nil
}

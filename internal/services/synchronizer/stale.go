package synchronizer

import (
	"context"
	"errors"
	"fmt"

	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
)

// recount counts the day anew whose sum does not fit what it is the sum of, twice
// in a row, so that nothing can have changed meanwhile. The next visit goes on.
func (v *visit) recount(ctx context.Context, stale error, whole store.Interval) error {
	if e, ok := errors.AsType[*negentropy.StaleError](stale); ok {
		whole = store.Interval{Lo: max(whole.Lo, e.Lo), Hi: min(whole.Hi, e.Hi)}
	}
	diff, err := v.store.RecountHeld(ctx, v.relay.ID, whole)
	if err != nil {
		return v.local(ctx, fmt.Errorf("recount days: %w", err))
	}
	v.log.WarnContext(ctx, "sums of ids were counted anew", "relay", v.relay.URL.String(), "from", whole.Lo, "until", whole.Hi, "differed", len(diff))
	return errSetback
}

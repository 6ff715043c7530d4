package probe

import (
	"context"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

// groups are the kinds whose oldest event is looked for: relays keep what
// people read longer or shorter than what clients need.
var groups = []struct {
	value string
	kinds []nostr.Kind
}{
	{"oldest_profiles", []nostr.Kind{0}},
	{"oldest_notes", []nostr.Kind{1}},
	{"oldest_lists", []nostr.Kind{3, 10002}},
	{"oldest_reactions", []nostr.Kind{7}},
}

const (
	// genesis is when Nostr began; what claims to be older is misdated.
	genesis = 1_604_707_200 // 2020-11-07
	// horizon is how near the oldest event is come to.
	horizon = 30 * 24 * time.Hour
)

// retention finds the oldest event that is served of each group of kinds, to
// within a month, by halving the time in which it must be. A group that the
// relay holds nothing of, or that was not finished, is absent.
func retention(ctx context.Context, t *Target) (Result, bool) {
	if !t.readable {
		return Result{}, false
	}
	values := map[string]float64{}
	for _, g := range groups {
		if oldest, ok := t.oldest(ctx, g.kinds); ok {
			values[g.value] = float64(oldest)
		}
	}
	if len(values) == 0 {
		return Result{}, false
	}
	return Result{OK: true, Values: values}, true
}

func (t *Target) oldest(ctx context.Context, kinds []nostr.Kind) (int64, bool) {
	before := int64(genesis)
	oldest, found, ok := t.newestUntil(ctx, kinds, time.Now().Unix())
	if !ok || !found {
		return 0, false
	}
	for oldest-before > int64(horizon.Seconds()) {
		middle := before + (oldest-before)/2
		at, found, ok := t.newestUntil(ctx, kinds, middle)
		switch {
		case !ok || found && (at > middle || at < genesis):
			return 0, false // refused, or the bounds do not hold
		case found:
			oldest = at
		default:
			before = middle
		}
	}
	return oldest, true
}

// newestUntil returns the time of the newest event up to a time. It reports
// false when no answer came that proves anything.
func (t *Target) newestUntil(ctx context.Context, kinds []nostr.Kind, until int64) (at int64, found, ok bool) {
	since := int64(genesis)
	f := nostr.Filter{Kinds: kinds, Since: &since, Until: &until, Limit: new(1)}
	page, err := t.session.Req(ctx, f, func(raw []byte) error {
		e, err := nostr.ParseEvent(raw)
		if err == nil {
			at, found = e.CreatedAt, true
			return session.ErrStop
		}
		return nil // not an event; the rest may be
	})
	return at, found, err == nil && (found || page.End.EOSE())
}

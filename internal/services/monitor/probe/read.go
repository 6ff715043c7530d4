package probe

import (
	"context"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
)

// read succeeds when a small request ends with EOSE; an empty relay is readable.
// Policy relays refuse filters that they take for too broad, so a refusal is
// asked again with kinds that every client needs.
func read(ctx context.Context, t *Target) (Result, bool) {
	if t.session == nil {
		return Result{}, false
	}
	var r Result
	for _, kinds := range [][]nostr.Kind{{1}, {0, 10002}} {
		page, err := t.session.Req(ctx, nostr.Filter{Kinds: kinds, Limit: new(1)}, func([]byte) error { return nil })
		if err != nil {
			return Result{Cause: dial.CauseReadTimeout}, true
		}
		r = Result{OK: page.End.EOSE(), Cause: page.End.Cause(), Detail: page.End.Message, Values: map[string]float64{
			"events":  float64(page.Events),
			"eose_ms": milliseconds(page.Duration),
		}}
		if page.Events > 0 {
			r.Values["event_ms"] = milliseconds(page.FirstEvent)
		}
		if r.OK || r.Cause != dial.CauseReadRestricted {
			break
		}
	}
	t.readable = r.OK
	if !r.OK {
		delete(r.Values, "eose_ms")
	}
	return r, true
}

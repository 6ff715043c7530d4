package probe

import (
	"context"
	"errors"
	"strconv"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/session"
)

// maxFrame bounds a message of a check, which asks for little.
const maxFrame = 1 << 20

// open succeeds when the WebSocket opens. It tells the phases apart, so that a
// slow name server is not taken for a slow relay.
func open(ctx context.Context, t *Target) (Result, bool) {
	s, err := session.Dial(ctx, t.URL, session.Options{Dialer: t.Dialer, MaxFrame: maxFrame, Idle: patience(ctx)})
	if err != nil {
		t.broken = err
		r := Result{Cause: dial.CauseOf(err)}
		if r.Cause == "" {
			r.Cause = dial.CauseReadTimeout
		}
		if failed, ok := errors.AsType[*dial.Error](err); ok {
			t.failed, t.trace = failed.Phase, failed.Trace
			if failed.Status != 0 {
				r.Detail = "HTTP status " + strconv.Itoa(failed.Status)
			}
		}
		return r, true
	}
	t.session = s
	o := s.Opening()
	t.trace = o.Trace
	return Result{OK: true, Values: map[string]float64{
		"dns_ms":  milliseconds(o.DNS),
		"tcp_ms":  milliseconds(o.TCP),
		"tls_ms":  milliseconds(o.TLS),
		"ws_ms":   milliseconds(o.WebSocket),
		"open_ms": milliseconds(o.Total()),
	}}, true
}

// patience is how long one request may be silent, so that a relay which does
// not answer leaves time for the other probes.
func patience(ctx context.Context) time.Duration {
	const most = 10 * time.Second
	if until, ok := ctx.Deadline(); ok {
		return max(min(most, time.Until(until)/3), time.Millisecond)
	}
	return most
}

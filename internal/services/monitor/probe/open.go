package probe

import (
	"context"
	"errors"
	"strconv"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/session"
)

// open succeeds when the WebSocket opens. It tells the phases apart, so that a
// slow name server is not taken for a slow relay.
func open(ctx context.Context, t *Target) (Result, bool) {
	s, err := session.Dial(ctx, t.URL, session.Options{Dialer: t.Dialer})
	if err != nil {
		r := Result{Cause: dial.CauseOf(err)}
		if r.Cause == "" {
			r.Cause = dial.CauseReadTimeout
		}
		if failed, ok := errors.AsType[*dial.Error](err); ok {
			t.failed = failed.Phase
			if failed.Status != 0 {
				r.Detail = "HTTP status " + strconv.Itoa(failed.Status)
			}
		}
		return r, true
	}
	t.session = s
	o := s.Opening()
	return Result{OK: true, Values: map[string]float64{
		"dns_ms":  milliseconds(o.DNS),
		"tcp_ms":  milliseconds(o.TCP),
		"tls_ms":  milliseconds(o.TLS),
		"ws_ms":   milliseconds(o.WebSocket),
		"open_ms": milliseconds(o.Total()),
	}}, true
}

package simnet_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/simnet"
)

// TestAnswerFaults has a row for every fault of an answer: what the first REQ
// gets, and that the second, where no fault strikes, gets the whole page.
func TestAnswerFaults(t *testing.T) {
	events := newestFirst(simnet.Generate(plan(60)))
	all := ids(events)
	window := nostr.Filter{Since: new(events[39].CreatedAt), Until: new(events[20].CreatedAt)}
	inside := all[20:40]
	n := network(t)
	for _, test := range []struct {
		fault  simnet.Fault
		events int
		end    session.Kind
		prefix string
		check  func(t *testing.T, got []nostr.ID, page session.Page, s *session.Session)
	}{
		{fault: simnet.Fault{What: simnet.Empty}, end: session.EOSE},
		{fault: simnet.Fault{What: simnet.Short, N: 4}, events: 4, end: session.EOSE},
		{fault: simnet.Fault{What: simnet.Notice}, events: 20, end: session.EOSE, check: noticed},
		{fault: simnet.Fault{What: simnet.NoticeEOSE, Text: "failed"}, end: session.EOSE, check: noticed},
		{fault: simnet.Fault{What: simnet.NoticeOnly}, end: session.Notice, prefix: "error", check: noticed},
		{fault: simnet.Fault{What: simnet.Closed}, end: session.Closed, prefix: "error"},
		{fault: simnet.Fault{What: simnet.Closed, N: 7, Text: "rate-limited: wait"}, events: 7, end: session.Closed, prefix: "rate-limited"},
		{fault: simnet.Fault{What: simnet.Closed, N: 100}, events: 20, end: session.Closed, prefix: "error"},
		{fault: simnet.Fault{What: simnet.NoEOSE}, events: 20, end: session.Idle},
		{fault: simnet.Fault{What: simnet.Stall, N: 5}, events: 5, end: session.Idle},
		{fault: simnet.Fault{What: simnet.Reset, N: 5}, end: session.Disconnect},
		{fault: simnet.Fault{What: simnet.Leave, N: 5}, events: 5, end: session.Disconnect},
		{fault: simnet.Fault{What: simnet.BadFrame, N: 5}, events: 5, end: session.Disconnect},
		{
			fault: simnet.Fault{What: simnet.Outside, N: 3}, events: 23, end: session.EOSE,
			check: func(t *testing.T, got []nostr.ID, _ session.Page, _ *session.Session) {
				out := slices.DeleteFunc(slices.Clone(got), func(id nostr.ID) bool { return slices.Contains(inside, id) })
				if len(out) != 3 {
					t.Errorf("%d events from outside", len(out))
				}
			},
		},
		{
			fault: simnet.Fault{What: simnet.Duplicates, N: 6}, events: 26, end: session.EOSE,
			check: func(t *testing.T, got []nostr.ID, _ session.Page, _ *session.Session) {
				if !slices.Equal(got[20:], got[:6]) {
					t.Error("no duplicates")
				}
			},
		},
		{
			fault: simnet.Fault{What: simnet.Late, N: 6}, events: 14, end: session.EOSE,
			check: func(t *testing.T, _ []nostr.ID, page session.Page, s *session.Session) {
				ask(t, s, nostr.Filter{Limit: new(1)}) // the late ones came before its answer
				if late := s.Late(page.Sub); late.Events != 6 {
					t.Errorf("%d late events", late.Events)
				}
			},
		},
		{fault: simnet.Fault{What: simnet.Stray, N: 6}, events: 20, end: session.EOSE},
		{
			fault: simnet.Fault{What: simnet.Garbage, N: 8}, end: session.EOSE, events: 20,
			check: func(t *testing.T, _ []nostr.ID, page session.Page, _ *session.Session) {
				if page.Malformed == 0 {
					t.Error("nothing malformed")
				}
			},
		},
		{
			fault: simnet.Fault{What: simnet.Oversize, N: 6 << 20}, events: 20, end: session.EOSE,
			check: func(t *testing.T, _ []nostr.ID, page session.Page, _ *session.Session) {
				if page.Oversize != 1 {
					t.Errorf("%d oversized messages", page.Oversize)
				}
			},
		},
		{
			fault: simnet.Fault{What: simnet.Bomb, N: 20 << 20}, end: session.Oversize,
			check: func(t *testing.T, _ []nostr.ID, _ session.Page, s *session.Session) {
				if in := s.Stats().WireIn; in > 1<<20 {
					t.Errorf("%d bytes on the wire: not compressed", in)
				}
			},
		},
		{
			fault: simnet.Fault{What: simnet.Drip, N: 2048, Wait: time.Millisecond}, events: 20, end: session.EOSE,
			check: func(t *testing.T, _ []nostr.ID, page session.Page, _ *session.Session) {
				if page.Duration < 8*time.Millisecond {
					t.Errorf("took %s", page.Duration)
				}
			},
		},
	} {
		t.Run(string(test.fault.What), func(t *testing.T) {
			test.fault.When = simnet.When{First: 1}
			be := simnet.Behaviour{Faults: []simnet.Fault{test.fault}, Compress: test.fault.What == simnet.Bomb}
			r := add(t, n, be, events...)
			o := patient
			if test.end == session.Idle || test.end == session.Notice {
				o = quick
			}
			s := open(t, r, o)
			got, page := ask(t, s, window)
			if page.End.Kind != test.end || page.End.Prefix != test.prefix {
				t.Errorf("ended by %s %q (%s), want %s %q", page.End.Kind, page.End.Prefix, page.End.Message, test.end, test.prefix)
			}
			// A reset may overtake what was sent before it.
			if len(got) != test.events && test.fault.What != simnet.Reset {
				t.Errorf("got %d events, want %d", len(got), test.events)
			}
			if test.check != nil {
				test.check(t, got, page, s)
			}
			if page.End.Lost() {
				s = open(t, r, o)
			}
			if got, page := ask(t, s, window); !slices.Equal(got, inside) || page.End.Kind != session.EOSE {
				t.Errorf("afterwards: %d events, ended by %s", len(got), page.End.Kind)
			}
		})
	}
}

func noticed(t *testing.T, _ []nostr.ID, page session.Page, _ *session.Session) {
	if page.Notices != 1 {
		t.Errorf("%d notices", page.Notices)
	}
}

func TestConnectionFaults(t *testing.T) {
	n := network(t)
	for _, test := range []struct {
		fault  simnet.Fault
		causes []dial.Cause // of the dial
		status int
		end    session.Kind // of a REQ, when the dial succeeds
	}{
		// A reset right after the handshake of TCP is noticed by the one or
		// the other.
		{fault: simnet.Fault{What: simnet.Refuse}, causes: []dial.Cause{dial.CauseTCPRefused, dial.CauseWSRefused}},
		{fault: simnet.Fault{What: simnet.Status, N: 503}, causes: []dial.Cause{dial.CauseHTTPStatus}, status: http.StatusServiceUnavailable},
		{fault: simnet.Fault{What: simnet.Hang}, causes: []dial.Cause{dial.CauseWSTimeout}},
		{fault: simnet.Fault{What: simnet.Silent}, end: session.Idle},
		{fault: simnet.Fault{What: simnet.Echo}, end: session.Idle},
	} {
		t.Run(string(test.fault.What), func(t *testing.T) {
			test.fault.When = simnet.When{First: 1}
			r := add(t, n, simnet.Behaviour{Faults: []simnet.Fault{test.fault}})
			s, err := session.Dial(t.Context(), r.URL(), quick)
			switch {
			case test.causes == nil && err != nil:
				t.Fatal(err)
			case test.causes == nil:
				if _, page := ask(t, s, nostr.Filter{}); page.End.Kind != test.end {
					t.Errorf("ended by %s, want %s", page.End.Kind, test.end)
				}
				s.Close(t.Context()) // a silent relay does not answer
			default:
				var failed *dial.Error
				if !errors.As(err, &failed) || !slices.Contains(test.causes, failed.Cause) || failed.Status != test.status {
					t.Errorf("dial: %v, want a cause of %v", err, test.causes)
				}
			}
			if _, page := ask(t, open(t, r, patient), nostr.Filter{}); page.End.Kind != session.EOSE {
				t.Errorf("afterwards: ended by %s", page.End.Kind)
			}
		})
	}
}

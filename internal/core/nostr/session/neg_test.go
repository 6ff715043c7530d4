package session_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

// steps answers the relay's messages with these, and then has nothing to say.
func steps(ours ...string) (step func([]byte) ([]byte, error), theirs *[]string) {
	theirs = &[]string{}
	return func(payload []byte) ([]byte, error) {
		*theirs = append(*theirs, string(payload))
		if len(ours) == 0 {
			return nil, nil
		}
		next := ours[0]
		ours = ours[1:]
		return []byte(next), nil
	}, theirs
}

// hear reads the client's next message of a reconciliation.
func hear(t testing.TB, c *session.Conn, label, payload string) {
	t.Helper()
	m, err := read(context.Background(), c)
	if err != nil {
		t.Error(err)
		return
	}
	if m.Label != label || string(m.Payload) != payload {
		t.Errorf("the client says %s %q, want %s %q", m.Label, m.Payload, label, payload)
	}
}

func negMsg(sub, payload string) string { return string(nostr.AppendNegMsg(nil, sub, []byte(payload))) }

func TestReconcile(t *testing.T) {
	tests := []struct {
		name string
		play script // after NEG-OPEN
		ours []string
		// want
		end    session.Terminal
		theirs []string
		took   time.Duration
		check  func(session.Terminal) bool
	}{
		{
			name: "two rounds", ours: []string{"b"}, theirs: []string{"x", "y"},
			play: func(c *session.Conn, sub string) {
				say(c, sub, negMsg(sub, "x"))
				hear(t, c, nostr.LabelNegMsg, "b")
				say(c, sub, negMsg(sub, "y"))
				hear(t, c, nostr.LabelNegClose, "")
			},
			end: session.Terminal{Kind: session.Reconciled},
		},
		{
			name: "too many, with a cap",
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NEG-ERR","%s","blocked: too many query results",1000]`)
			},
			end:   session.Terminal{Kind: session.NegRefused, Prefix: "blocked", Message: "blocked: too many query results", Limit: 1000},
			check: session.Terminal.TooMany,
		},
		{
			name:  "too many, as older ones say",
			play:  func(c *session.Conn, sub string) { say(c, sub, `["NEG-ERR","%s","RESULTS_TOO_BIG",500]`) },
			end:   session.Terminal{Kind: session.NegRefused, Message: "RESULTS_TOO_BIG", Limit: 500},
			check: session.Terminal.TooMany,
		},
		{
			name: "disabled is not too many",
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NEG-ERROR","%s","blocked: Negentropy sync is disabled"]`)
			},
			end:   session.Terminal{Kind: session.NegRefused, Prefix: "blocked", Message: "blocked: Negentropy sync is disabled"},
			check: func(t session.Terminal) bool { return !t.TooMany() && !t.Forgotten() },
		},
		{
			name: "too many requests is about us",
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NEG-ERR","%s","rate-limited: too many requests"]`)
			},
			end:   session.Terminal{Kind: session.NegRefused, Prefix: "rate-limited", Message: "rate-limited: too many requests"},
			check: func(t session.Terminal) bool { return !t.TooMany() },
		},
		{
			name: "forgotten at once", ours: []string{"b"}, theirs: []string{"x", "y"}, took: 15 * time.Millisecond,
			play: func(c *session.Conn, sub string) {
				say(c, sub, negMsg(sub, "x"))
				hear(t, c, nostr.LabelNegMsg, "b")
				say(c, sub, `["NEG-ERROR","%s","CLOSED"]`)
				hear(t, c, nostr.LabelNegMsg, "b")
				say(c, sub, `["NEG-ERROR","%s","CLOSED"]`)
				hear(t, c, nostr.LabelNegMsg, "b")
				say(c, sub, negMsg(sub, "y"))
				hear(t, c, nostr.LabelNegClose, "")
			},
			end: session.Terminal{Kind: session.Reconciled},
		},
		{
			name: "forgotten for good", ours: []string{"b"}, theirs: []string{"x"}, took: 315 * time.Millisecond,
			play: func(c *session.Conn, sub string) {
				say(c, sub, negMsg(sub, "x"))
				for range 7 {
					hear(t, c, nostr.LabelNegMsg, "b")
					say(c, sub, `["NEG-ERR","%s","closed: unknown subscription handle"]`)
				}
			},
			end:   session.Terminal{Kind: session.NegRefused, Prefix: "closed", Message: "closed: unknown subscription handle"},
			check: session.Terminal.Forgotten,
		},
		{
			name: "closed",
			play: func(c *session.Conn, sub string) { say(c, sub, `["CLOSED","%s","unsupported: no"]`) },
			end:  session.Terminal{Kind: session.Closed, Prefix: "unsupported", Message: "unsupported: no"},
		},
		{
			name: "a NOTICE is all", took: 1200 * time.Millisecond,
			play: func(c *session.Conn, sub string) { after(time.Second); say(c, sub, `["NOTICE","unknown command"]`) },
			end:  session.Terminal{Kind: session.Notice, Message: "unknown command"},
		},
		{
			name: "a NOTICE and then an answer", theirs: []string{"x"}, took: 100 * time.Millisecond,
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NOTICE","welcome"]`)
				after(100 * time.Millisecond)
				say(c, sub, negMsg(sub, "x"))
				hear(t, c, nostr.LabelNegClose, "")
			},
			end: session.Terminal{Kind: session.Reconciled},
		},
		{
			name: "silence", took: 30 * time.Second,
			play: func(c *session.Conn, _ string) { hear(t, c, nostr.LabelNegClose, "") },
			end:  session.Terminal{Kind: session.Idle},
		},
		{
			name: "silence in the middle", ours: []string{"b"}, theirs: []string{"x"}, took: 50 * time.Second,
			play: func(c *session.Conn, sub string) {
				after(20 * time.Second)
				say(c, sub, negMsg(sub, "x"))
				hear(t, c, nostr.LabelNegMsg, "b")
				hear(t, c, nostr.LabelNegClose, "")
			},
			end: session.Terminal{Kind: session.Idle},
		},
		{
			name: "slow drip", ours: slices.Repeat([]string{"b"}, 20), theirs: slices.Repeat([]string{"x"}, 10), took: 5 * time.Minute,
			play: func(c *session.Conn, sub string) {
				for range 20 {
					after(29 * time.Second)
					say(c, sub, negMsg(sub, "x"))
					m, err := read(context.Background(), c)
					if err != nil || m.Label == nostr.LabelNegClose {
						return
					}
				}
			},
			end: session.Terminal{Kind: session.Slow},
		},
		{
			name: "a second turn without ours is nobody's", ours: []string{"b"}, theirs: []string{"x", "z"},
			play: func(c *session.Conn, sub string) {
				say(c, sub, negMsg(sub, "x")+" ", negMsg("other", "y"))
				hear(t, c, nostr.LabelNegMsg, "b")
				say(c, sub, negMsg(sub, "z"), negMsg(sub, "w"))
				hear(t, c, nostr.LabelNegClose, "")
			},
			end: session.Terminal{Kind: session.Reconciled},
		},
		{
			name: "EOSE ends nothing", theirs: []string{"x"},
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["EOSE","%s"]`, `["COUNT","%s",{"count":1}]`, eventMessage(1), negMsg(sub, "x"))
				hear(t, c, nostr.LabelNegClose, "")
			},
			end: session.Terminal{Kind: session.Reconciled},
		},
		{
			name: "the last word, then goodbye", theirs: []string{"x"},
			play: func(c *session.Conn, sub string) {
				say(c, sub, negMsg(sub, "x"))
				c.Abort()
			},
			end: session.Terminal{Kind: session.Reconciled},
		},
		{
			name: "lost in the middle", ours: []string{"b"}, theirs: []string{"x"},
			play: func(c *session.Conn, sub string) {
				say(c, sub, negMsg(sub, "x"))
				hear(t, c, nostr.LabelNegMsg, "b")
				c.Abort()
			},
			end: session.Terminal{Kind: session.Disconnect},
		},
		{
			name: "not hex", took: 30 * time.Second,
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NEG-MSG","%s","6"]`)
				hear(t, c, nostr.LabelNegClose, "")
			},
			end: session.Terminal{Kind: session.Idle},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, session.Options{}, tt.play, func(t *testing.T, s *session.Session) {
				step, theirs := steps(tt.ours...)
				got, err := s.Reconcile(t.Context(), nostr.Filter{}, []byte("a"), step)
				if err != nil {
					t.Fatal(err)
				}
				if got.End != tt.end || got.Duration != tt.took || tt.check != nil && !tt.check(got.End) {
					t.Errorf("ends by %+v after %s, want %+v after %s", got.End, got.Duration, tt.end, tt.took)
				}
				if !slices.Equal(*theirs, tt.theirs) || got.Rounds != len(tt.theirs) {
					t.Errorf("%d rounds with %q, want %q", got.Rounds, *theirs, tt.theirs)
				}
			})
		})
	}
}

// TestReconcileOurs ends reconciliations by ourselves.
func TestReconcileOurs(t *testing.T) {
	talk := func(c *session.Conn, sub string) {
		for {
			say(c, sub, negMsg(sub, "x"))
			if m, err := read(context.Background(), c); err != nil || m.Label == nostr.LabelNegClose {
				return
			}
		}
	}
	ours := errors.New("ours")
	for _, tt := range []struct {
		name string
		step error
		err  error
	}{{"stop", session.ErrStop, nil}, {"a trouble of ours", ours, ours}} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, session.Options{}, talk, func(t *testing.T, s *session.Session) {
				n := 0
				got, err := s.Reconcile(t.Context(), nostr.Filter{}, []byte("a"), func([]byte) ([]byte, error) {
					if n++; n == 3 {
						return nil, tt.step
					}
					after(time.Hour) // ours is not the relay's
					return []byte("b"), nil
				})
				if !errors.Is(err, tt.err) || got.End.Kind != session.Stopped || got.Rounds != 3 {
					t.Errorf("%+v, %v", got, err)
				}
				if open, more := int64(len(nostr.AppendNegOpen(nil, "1", &nostr.Filter{}, []byte("a")))), int64(len(negMsg("1", "b"))); got.Sent != open+2*more || got.Bytes != 3*more {
					t.Errorf("%d bytes sent, %d read", got.Sent, got.Bytes)
				}
			})
		})
	}
	t.Run("context", func(t *testing.T) {
		inBubble(t, session.Options{}, func(*session.Conn, string) {}, func(t *testing.T, s *session.Session) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			got, err := s.Reconcile(ctx, nostr.Filter{}, nil, func([]byte) ([]byte, error) { return nil, nil })
			if !errors.Is(err, context.DeadlineExceeded) || got.End.Kind != session.Unended {
				t.Errorf("%+v, %v", got, err)
			}
		})
	})
}

// TestReconcileIsBounded lets a relay go on for ever.
func TestReconcileIsBounded(t *testing.T) {
	u := play(t, func(c *session.Conn, sub string) {
		for {
			say(c, sub, negMsg(sub, "x"))
			if m, err := read(context.Background(), c); err != nil || m.Label == nostr.LabelNegClose {
				return
			}
		}
	})
	s := dialRelay(t, u, session.Options{})
	got, err := s.Reconcile(t.Context(), nostr.Filter{}, []byte("a"), func([]byte) ([]byte, error) { return bytes.Repeat([]byte("b"), 100), nil })
	if err != nil || got.End.Kind != session.Endless || got.Rounds != 2049 {
		t.Errorf("%d rounds, ended by %s, %v", got.Rounds, got.End.Kind, err)
	}
}

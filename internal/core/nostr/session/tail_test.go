package session_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

// listening is a relay that also reads while it plays, so that it answers pings.
func listening(play script) script {
	return func(c *session.Conn, sub string) {
		over := make(chan struct{})
		go func() {
			defer close(over)
			for {
				if _, err := c.ReadMessage(context.Background()); err != nil {
					return
				}
			}
		}()
		play(c, sub)
		<-over
	}
}

// TestTail plays what happens to a subscription that stays open.
func TestTail(t *testing.T) {
	failed := errors.New("failed")
	for _, test := range []struct {
		name     string
		play     script
		visit    error
		patience time.Duration // the context's; 0: it goes on
		stood    time.Duration // 0: never
		events   int
		end      session.Kind
		took     time.Duration
		err      error
	}{
		{
			name: "a day of silence between two arrivals",
			play: func(c *session.Conn, sub string) {
				after(time.Second)
				say(c, sub, eventMessage(1), `["EOSE","%s"]`, eventMessage(2))
				after(24 * time.Hour)
				say(c, sub, eventMessage(3), `["EOSE","%s"]`, eventMessage(4), `["CLOSED","%s","error: shutting down"]`)
			},
			stood: time.Second, events: 4, end: session.Closed, took: 24*time.Hour + time.Second,
		},
		{
			name: "a notice does not end it",
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NOTICE","welcome"]`)
				after(time.Second)
				say(c, sub, `["EOSE","%s"]`, `["NOTICE","goodbye"]`)
				after(time.Hour)
				say(c, sub, eventMessage(1), `["CLOSED","%s",""]`)
			},
			stood: time.Second, events: 1, end: session.Closed, took: time.Hour + time.Second,
		},
		{
			name: "refused in words only",
			play: func(c *session.Conn, sub string) { say(c, sub, `["NOTICE","no subscriptions"]`) },
			end:  session.Notice, took: 5 * time.Second,
		},
		{
			name: "no EOSE",
			play: func(c *session.Conn, sub string) { say(c, sub, eventMessage(1)) },
			end:  session.Idle, events: 1, took: 30 * time.Second,
		},
		{
			name: "a lost connection",
			play: func(c *session.Conn, sub string) {
				after(time.Second)
				say(c, sub, `["EOSE","%s"]`)
				after(time.Hour)
				c.Abort()
			},
			stood: time.Second, end: session.Disconnect, took: time.Hour + time.Second,
		},
		{
			name: "a visit that stops",
			play: func(c *session.Conn, sub string) {
				after(time.Second)
				say(c, sub, `["EOSE","%s"]`, eventMessage(1), eventMessage(2))
			},
			visit: session.ErrStop, stood: time.Second, events: 1, end: session.Stopped, took: time.Second,
		},
		{
			name: "a visit that fails",
			play: func(c *session.Conn, sub string) {
				after(time.Second)
				say(c, sub, `["EOSE","%s"]`, eventMessage(1), eventMessage(2))
			},
			visit: failed, err: failed, stood: time.Second, events: 1, end: session.Stopped, took: time.Second,
		},
		{
			name:     "a context that ends",
			play:     func(c *session.Conn, sub string) { after(time.Second); say(c, sub, `["EOSE","%s"]`) },
			patience: 50 * time.Hour, err: context.DeadlineExceeded, stood: time.Second, end: session.Unended, took: 50 * time.Hour,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, session.Options{}, listening(test.play), func(t *testing.T, s *session.Session) {
				ctx, cancel := t.Context(), func() {}
				if test.patience > 0 {
					ctx, cancel = context.WithTimeout(ctx, test.patience)
				}
				defer cancel()
				begin, events := time.Now(), 0
				var stood time.Duration
				page, err := s.Tail(ctx, []nostr.Filter{{}}, func([]byte) error { events++; return test.visit }, func() { stood = time.Since(begin) })
				if page.End.Kind != test.end || !errors.Is(err, test.err) {
					t.Errorf("ended by %s, %v; want %s, %v", page.End.Kind, err, test.end, test.err)
				}
				if took := time.Since(begin).Round(time.Millisecond); took != test.took || stood != test.stood || events != test.events || page.Events != events {
					t.Errorf("stood after %s, ended after %s with %d events, counted %d; want %s, %s, %d", stood, took, events, page.Events, test.stood, test.took, test.events)
				}
			})
		})
	}
}

// TestTailAnswersNothing has a tail bring events while a request beside it is not
// answered, and then thousands that nobody asked for between them.
func TestTailAnswersNothing(t *testing.T) {
	inBubble(t, session.Options{}, listening(func(c *session.Conn, sub string) {
		say(c, sub, `["EOSE","%s"]`)
		for i := range 300 {
			after(10 * time.Second)
			say(c, sub, eventMessage(i))
			for range 50 {
				say(c, "other", fmt.Sprintf(`["EVENT","%%s",`+event+`]`, i))
			}
		}
		say(c, sub, `["CLOSED","%s",""]`)
	}), func(t *testing.T, s *session.Session) {
		stood, ended := make(chan struct{}), make(chan session.Page)
		go func() {
			page, err := s.Tail(t.Context(), []nostr.Filter{{}}, ignore, func() { close(stood) })
			if err != nil {
				t.Error(err)
			}
			ended <- page
		}()
		<-stood
		begin := time.Now()
		page, err := s.Req(t.Context(), nostr.Filter{}, ignore)
		if took := time.Since(begin); err != nil || page.End.Kind != session.Idle || took != 30*time.Second {
			t.Errorf("the request ended by %s after %s, %v; want idle after 30 s", page.End.Kind, took, err)
		}
		if page := <-ended; page.End.Kind != session.Closed || page.Events != 300 {
			t.Errorf("the tail ended by %s with %d events, want closed with 300", page.End.Kind, page.Events)
		}
	})
}

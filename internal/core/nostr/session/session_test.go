package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
)

func TestMain(m *testing.M) {
	http.DefaultTransport = poison{}
	goleak.VerifyTestMain(m)
}

// poison is a transport that must not be used.
type poison struct{}

func (poison) RoundTrip(r *http.Request) (*http.Response, error) {
	panic("a test dials " + r.URL.String())
}

// script plays a relay on one connection. sub is the id of the first REQ.
type script func(c *session.Conn, sub string)

// local dials loopback relays.
func local() *dial.Dialer {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	cfg.PerMinute = 1_000_000
	cfg.PerAddress = 1000
	cfg.ConnectTimeout = config.Duration(5 * time.Second)
	return dial.New(cfg)
}

func parse(t testing.TB, text string) relay.URL {
	t.Helper()
	u, err := relay.Rules{AllowLocal: true}.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// start serves h and returns its relay URL.
func start(t testing.TB, h http.HandlerFunc) relay.URL {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return parse(t, "ws"+strings.TrimPrefix(server.URL, "http"))
}

// play serves a relay that accepts, waits for the first message, plays and
// then reads until the client has gone.
func play(t testing.TB, play script) relay.URL {
	t.Helper()
	return start(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{Compress: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Abort()
		if m, err := read(r.Context(), c); err == nil {
			play(c, m.Sub)
		}
		for {
			if _, err := c.ReadMessage(r.Context()); err != nil {
				return
			}
		}
	})
}

func read(ctx context.Context, c *session.Conn) (nostr.ClientMessage, error) {
	b, err := c.ReadMessage(ctx)
	if err != nil {
		return nostr.ClientMessage{}, err
	}
	return nostr.ParseClientMessage(b)
}

// say sends messages; %s stands for sub.
func say(c *session.Conn, sub string, messages ...string) {
	for _, m := range messages {
		if c.WriteMessage(context.Background(), []byte(strings.ReplaceAll(m, "%s", sub))) != nil {
			return
		}
	}
}

func dialRelay(t testing.TB, u relay.URL, o session.Options) *session.Session {
	t.Helper()
	if o.Dialer == nil {
		o.Dialer = local()
	}
	s, err := session.Dial(t.Context(), u, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func ignore([]byte) error { return nil }

const event = `{"id":"0000000000000000000000000000000000000000000000000000000000000001","created_at":%d}`

func eventMessage(createdAt int) string {
	return `["EVENT","%s",` + fmt.Sprintf(event, createdAt) + `]`
}

func TestTerminals(t *testing.T) {
	quick := session.Options{Idle: time.Second, AfterNotice: 200 * time.Millisecond, MaxFrame: 1 << 10}
	patient := quick
	patient.Idle = time.Minute
	tests := []struct {
		name   string
		script script
		o      *session.Options // quick when nil
		end    session.Terminal
		events int
		page   session.Page // Notices, Malformed, Oversize, Challenged
		cause  dial.Cause
		lost   bool
	}{
		{
			name:   "eose",
			script: func(c *session.Conn, sub string) { say(c, sub, eventMessage(2), eventMessage(1), `["EOSE","%s"]`) },
			end:    session.Terminal{Kind: session.EOSE}, events: 2,
		},
		{
			name:   "empty eose",
			script: func(c *session.Conn, sub string) { say(c, sub, `["EOSE","%s"]`) },
			end:    session.Terminal{Kind: session.EOSE},
		},
		{
			name:   "finish",
			script: func(c *session.Conn, sub string) { say(c, sub, `["EOSE","%s",["finish"]]`) },
			end:    session.Terminal{Kind: session.EOSEFinish},
		},
		{
			name:   "more",
			script: func(c *session.Conn, sub string) { say(c, sub, `["EOSE","%s",["more"]]`) },
			end:    session.Terminal{Kind: session.EOSEMore},
		},
		{
			name:   "auth weighs more than finish",
			script: func(c *session.Conn, sub string) { say(c, sub, `["EOSE","%s",["finish","auth"]]`) },
			end:    session.Terminal{Kind: session.EOSEAuth},
		},
		{
			name: "closed",
			script: func(c *session.Conn, sub string) {
				say(c, sub, eventMessage(1), `["CLOSED","%s","auth-required: who\u001b[2J are you?\n"]`)
			},
			end:    session.Terminal{Kind: session.Closed, Prefix: "auth-required", Message: "auth-required: who [2J are you?"},
			events: 1, cause: dial.CauseReadAuth,
		},
		{
			name:   "closed without a reason",
			script: func(c *session.Conn, sub string) { say(c, sub, `["CLOSED","%s"]`) },
			end:    session.Terminal{Kind: session.Closed}, cause: dial.CauseReadRestricted,
		},
		{
			name: "notice and nothing else",
			script: func(c *session.Conn, sub string) {
				say(c, sub, eventMessage(1), `["NOTICE","Subscription rejected: too many"]`)
			},
			end:    session.Terminal{Kind: session.Notice, Message: "Subscription rejected: too many"},
			events: 1, page: session.Page{Notices: 1}, cause: dial.CauseReadRestricted,
		},
		{
			name:   "notice, then eose",
			script: func(c *session.Conn, sub string) { say(c, sub, `["NOTICE","error: backend"]`, `["EOSE","%s"]`) },
			end:    session.Terminal{Kind: session.EOSE}, page: session.Page{Notices: 1},
		},
		{
			name:   "rate limit by notice",
			script: func(c *session.Conn, sub string) { say(c, sub, `["NOTICE","rate-limited: slow down"]`) },
			end:    session.Terminal{Kind: session.Notice, Prefix: "rate-limited", Message: "rate-limited: slow down"},
			page:   session.Page{Notices: 1}, cause: dial.CauseRateLimited,
		},
		{
			name:   "silence",
			script: func(*session.Conn, string) {},
			end:    session.Terminal{Kind: session.Idle}, cause: dial.CauseReadTimeout,
		},
		{
			name:   "answers to another subscription are silence",
			script: func(c *session.Conn, _ string) { say(c, "other", eventMessage(1), `["EOSE","%s"]`) },
			end:    session.Terminal{Kind: session.Idle}, cause: dial.CauseReadTimeout,
		},
		{
			name:   "close frame",
			script: func(c *session.Conn, sub string) { say(c, sub, eventMessage(1)); c.Close(1012, "restarting") },
			end:    session.Terminal{Kind: session.Disconnect, Code: 1012, Message: "restarting"}, events: 1, lost: true,
			cause: dial.CauseDisconnected,
		},
		{
			name:   "reset",
			script: func(c *session.Conn, _ string) { c.Abort() },
			end:    session.Terminal{Kind: session.Disconnect}, lost: true, cause: dial.CauseDisconnected,
		},
		{
			name:   "bytes that are no frame",
			script: func(c *session.Conn, _ string) { c.WriteRaw([]byte("HTTP/1.1 500 Oops\r\n\r\n")) },
			end:    session.Terminal{Kind: session.Disconnect}, lost: true, cause: dial.CauseDisconnected,
		},
		{
			name: "some garbage is skipped",
			script: func(c *session.Conn, sub string) {
				say(c, sub, `{"a":1}`, `["EVENT","%s",null]`, ``, `[`, "\x00\xff", `["BEEP","%s",1]`)
				c.WriteBinary(context.Background(), []byte(`["EOSE","`+sub+`"]`))
				say(c, sub, eventMessage(1), `["EOSE","%s"]`)
			},
			end: session.Terminal{Kind: session.EOSE}, events: 1, page: session.Page{Malformed: 6},
		},
		{
			name: "garbage without end",
			script: func(c *session.Conn, sub string) {
				for range 70 {
					say(c, sub, `nostr?`)
				}
			},
			end: session.Terminal{Kind: session.Malformed}, page: session.Page{Malformed: 64}, lost: true,
			cause: dial.CauseNoNostr,
		},
		{
			name: "a large message is skipped",
			script: func(c *session.Conn, sub string) {
				say(c, sub, eventMessage(2), `["EVENT","%s",{"content":"`+strings.Repeat("x", 2000)+`"}]`, eventMessage(1), `["EOSE","%s"]`)
			},
			end: session.Terminal{Kind: session.EOSE}, events: 2, page: session.Page{Oversize: 1},
		},
		{
			name: "the largest message is read",
			script: func(c *session.Conn, sub string) {
				m := `["EVENT","` + sub + `",{"content":"`
				say(c, sub, m+strings.Repeat("x", 1<<10-len(m)-3)+`"}]`, `["EOSE","%s"]`)
			},
			end: session.Terminal{Kind: session.EOSE}, events: 1,
		},
		{
			name:   "a huge message is not",
			script: func(c *session.Conn, sub string) { say(c, sub, strings.Repeat("x", 1<<16), `["EOSE","%s"]`) },
			end:    session.Terminal{Kind: session.Oversize}, lost: true, cause: dial.CauseNoNostr,
		},
		{
			name: "a flood that nobody asked for",
			script: func(c *session.Conn, sub string) {
				for range 11_000 {
					say(c, "other", eventMessage(1))
				}
			},
			o:   &patient,
			end: session.Terminal{Kind: session.Malformed}, lost: true, cause: dial.CauseNoNostr,
		},
		{
			name:   "challenge",
			script: func(c *session.Conn, sub string) { say(c, sub, `["AUTH","abc"]`, `["CLOSED","%s","restricted: x"]`) },
			end:    session.Terminal{Kind: session.Closed, Prefix: "restricted", Message: "restricted: x"},
			page:   session.Page{Challenged: true}, cause: dial.CauseReadRestricted,
		},
	}
	for _, tt := range tests {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/plain=%v", tt.name, plain), func(t *testing.T) {
				t.Parallel()
				o := quick
				if tt.o != nil {
					o = *tt.o
				}
				o.Uncompressed = plain
				s := dialRelay(t, play(t, tt.script), o)
				if s.Opening().Compressed == plain {
					t.Errorf("compressed: %v", !plain)
				}
				events := 0
				page, err := s.Req(t.Context(), nostr.Filter{}, func(raw []byte) error {
					if !strings.HasPrefix(string(raw), "{") || !strings.HasSuffix(string(raw), "}") {
						t.Errorf("event %q", raw)
					}
					events++
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.end, page.End); d != "" {
					t.Errorf("end (-want +got):\n%s", d)
				}
				if events != tt.events || page.Events != tt.events {
					t.Errorf("visited %d, counted %d, want %d", events, page.Events, tt.events)
				}
				got := session.Page{Notices: page.Notices, Malformed: page.Malformed, Oversize: page.Oversize, Challenged: page.Challenged}
				if d := cmp.Diff(tt.page, got); d != "" {
					t.Errorf("page (-want +got):\n%s", d)
				}
				if c := page.End.Cause(); c != tt.cause {
					t.Errorf("cause %q, want %q", c, tt.cause)
				}
				if page.End.Lost() != tt.lost {
					t.Errorf("lost: %v", page.End.Lost())
				}
				if (page.FirstEvent > 0) != (tt.events > 0) || page.Duration < page.FirstEvent {
					t.Errorf("first event after %s of %s", page.FirstEvent, page.Duration)
				}
				if !tt.lost {
					return
				}
				// A lost session answers every further request alike.
				again, err := s.Req(t.Context(), nostr.Filter{}, ignore)
				if err != nil || again.End != page.End {
					t.Errorf("second request: %+v, %v", again.End, err)
				}
				if _, counted, err := s.Count(t.Context(), nostr.Filter{}); err != nil || counted.End != page.End {
					t.Errorf("count: %+v, %v", counted.End, err)
				}
			})
		}
	}
}

func TestStop(t *testing.T) {
	closed := make(chan string, 1)
	u := start(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Abort()
		for {
			m, err := read(r.Context(), c)
			if err != nil {
				return
			}
			switch m.Label {
			case nostr.LabelReq:
				say(c, m.Sub, eventMessage(3), eventMessage(2), eventMessage(1), `["EOSE","%s"]`)
			case nostr.LabelClose:
				closed <- m.Sub
			}
		}
	})
	s := dialRelay(t, u, session.Options{})
	broken := errors.New("broken")
	for _, tt := range []struct{ give, want error }{{session.ErrStop, nil}, {broken, broken}} {
		page, err := s.Req(t.Context(), nostr.Filter{}, func([]byte) error { return tt.give })
		if !errors.Is(err, tt.want) || page.End.Kind != session.Stopped || page.Events != 1 {
			t.Errorf("%v: page %+v, error %v", tt.give, page, err)
		}
		if got := <-closed; got != page.Sub {
			t.Errorf("CLOSE for %q, want %q", got, page.Sub)
		}
		// The answer to a second request comes after all of the first.
		if _, err := s.Req(t.Context(), nostr.Filter{}, ignore); err != nil {
			t.Fatal(err)
		}
		<-closed
		want := session.Late{Sub: page.Sub, Events: 2, Oldest: 1, Newest: 2}
		if d := cmp.Diff(want, s.Late(page.Sub)); d != "" {
			t.Errorf("late (-want +got):\n%s", d)
		}
	}
}

func TestLate(t *testing.T) {
	u := start(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Abort()
		for {
			m, err := read(r.Context(), c)
			if err != nil {
				return
			}
			if m.Label == nostr.LabelReq {
				say(c, m.Sub, eventMessage(9), `["EOSE","%s"]`, eventMessage(8), `["EVENT","%s",{"id":7}]`, eventMessage(6), `["EOSE","%s"]`)
			}
		}
	})
	s := dialRelay(t, u, session.Options{})
	var subs []string
	for range 3 {
		page, err := s.Req(t.Context(), nostr.Filter{}, ignore)
		if err != nil || page.End.Kind != session.EOSE || page.Events != 1 {
			t.Fatalf("page %+v, error %v", page, err)
		}
		subs = append(subs, page.Sub)
	}
	for _, sub := range subs[:2] {
		want := session.Late{Sub: sub, Events: 3, Unread: 1, Oldest: 6, Newest: 8}
		if d := cmp.Diff(want, s.Late(sub)); d != "" {
			t.Errorf("late (-want +got):\n%s", d)
		}
	}
	if got := s.Late("never"); got.Events != 0 {
		t.Errorf("unknown sub: %+v", got)
	}
	if subs[0] == subs[1] || subs[1] == subs[2] {
		t.Errorf("subscription ids repeat: %q", subs)
	}
}

func TestConcurrentRequests(t *testing.T) {
	const n = 8
	u := start(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{Compress: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Abort()
		// Answer when all have asked, message by message in turn.
		var subs []string
		for len(subs) < n {
			m, err := read(r.Context(), c)
			if err != nil {
				return
			}
			subs = append(subs, m.Sub)
		}
		for i := range 20 {
			for j, sub := range subs {
				if i < 10+j {
					say(c, sub, eventMessage(i))
				}
			}
		}
		for _, sub := range subs {
			say(c, sub, `["EOSE","%s"]`)
		}
		for {
			if _, err := c.ReadMessage(r.Context()); err != nil {
				return
			}
		}
	})
	s := dialRelay(t, u, session.Options{})
	pages := make(chan session.Page, n)
	for range n {
		go func() {
			events := 0
			page, err := s.Req(context.Background(), nostr.Filter{}, func([]byte) error { events++; return nil })
			if err != nil || page.Events != events || page.End.Kind != session.EOSE {
				t.Errorf("page %+v, visited %d, error %v", page, events, err)
			}
			pages <- page
		}()
	}
	seen := map[int]int{}
	for range n {
		seen[(<-pages).Events]++
	}
	for j := range n {
		if seen[10+j] != 1 {
			t.Errorf("%d pages of %d events", seen[10+j], 10+j)
		}
	}
}

func TestCount(t *testing.T) {
	tests := []struct {
		name, answer string
		want         nostr.CountResult
		end          session.Terminal
	}{
		{"exact", `["COUNT","%s",{"count":42}]`, nostr.CountResult{Count: 42}, session.Terminal{Kind: session.Counted}},
		{
			"approximate", `["COUNT","%s",{"count":7,"approximate":true}]`,
			nostr.CountResult{Count: 7, Approximate: true},
			session.Terminal{Kind: session.Counted},
		},
		{
			"unsupported", `["CLOSED","%s","unsupported: count"]`,
			nostr.CountResult{},
			session.Terminal{Kind: session.Closed, Prefix: "unsupported", Message: "unsupported: count"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := dialRelay(t, play(t, func(c *session.Conn, sub string) { say(c, sub, tt.answer) }), session.Options{})
			got, page, err := s.Count(t.Context(), nostr.Filter{})
			if err != nil || page.End != tt.end {
				t.Errorf("end %+v, error %v, want %+v", page.End, err, tt.end)
			}
			if want := len(fmt.Sprintf(tt.answer, page.Sub)); page.Bytes != int64(want) {
				t.Errorf("%d bytes, want %d", page.Bytes, want)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("count (-want +got):\n%s", d)
			}
		})
	}
}

func TestPublishAndAuth(t *testing.T) {
	var u relay.URL
	u = start(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Abort()
		authenticated := false
		for {
			m, err := read(r.Context(), c)
			if err != nil {
				return
			}
			e, err := nostr.ParseEvent(m.Event)
			if err != nil || e.CheckID() != nil || e.Verify() != nil {
				t.Errorf("event %s: %v", m.Event, err)
				return
			}
			ok := nostr.AppendOK(nil, e.ID, authenticated, "auth-required: first")
			if m.Label == nostr.LabelAuth {
				authenticated = true
				want := []nostr.Tag{{"relay", u.String()}, {"challenge", "xyzzy"}}
				if d := cmp.Diff(want, e.Tags); d != "" || e.Kind != 22242 {
					t.Errorf("authentication of kind %d (-want +got):\n%s", e.Kind, d)
				}
				ok = nostr.AppendOK(nil, e.ID, true, "")
			} else if !authenticated {
				say(c, "", `["AUTH","xyzzy"]`)
			}
			if err := c.WriteMessage(r.Context(), ok); err != nil {
				return
			}
		}
	})
	s := dialRelay(t, u, session.Options{})
	key := nostr.GenerateKey()
	if _, err := s.Auth(t.Context(), key); !errors.Is(err, session.ErrNoChallenge) {
		t.Errorf("authentication without a challenge: %v", err)
	}
	e := nostr.Event{Kind: 1, CreatedAt: 1, Content: "hello"}
	if err := key.Sign(&e); err != nil {
		t.Fatal(err)
	}
	refused := session.OK{Prefix: "auth-required", Message: "auth-required: first"}
	if ok, err := s.Publish(t.Context(), &e); err != nil || ok != refused {
		t.Errorf("publish: %+v, %v", ok, err)
	}
	if s.Challenge() != "xyzzy" {
		t.Errorf("challenge %q", s.Challenge())
	}
	if ok, err := s.Auth(t.Context(), key); err != nil || !ok.Accepted {
		t.Errorf("authentication: %+v, %v", ok, err)
	}
	if ok, err := s.Publish(t.Context(), &e); err != nil || !ok.Accepted {
		t.Errorf("publish: %+v, %v", ok, err)
	}
}

func TestPublishWithoutAnswer(t *testing.T) {
	e := nostr.Event{ID: nostr.ID{1}}
	silent := dialRelay(t, play(t, func(*session.Conn, string) {}), session.Options{Idle: 50 * time.Millisecond})
	if ok, err := silent.Publish(t.Context(), &e); err != nil || ok.End.Kind != session.Idle {
		t.Errorf("silence: %+v, %v", ok, err)
	}
	gone := dialRelay(t, play(t, func(c *session.Conn, _ string) { c.Abort() }), session.Options{})
	if ok, err := gone.Publish(t.Context(), &e); err != nil || ok.End.Kind != session.Disconnect {
		t.Errorf("reset: %+v, %v", ok, err)
	}
}

func TestCancel(t *testing.T) {
	s := dialRelay(t, play(t, func(c *session.Conn, sub string) { say(c, sub, eventMessage(1)) }), session.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	page, err := s.Req(ctx, nostr.Filter{}, func([]byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) || page.End.Kind != session.Unended || page.Events != 1 {
		t.Errorf("page %+v, error %v", page, err)
	}
	if _, ended := s.Ended(); ended {
		t.Error("the connection is gone")
	}
	if _, err := s.Req(ctx, nostr.Filter{}, ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("request of a dead context: %v", err)
	}
	if _, err := s.Req(t.Context(), nostr.Filter{}, nil); err == nil {
		t.Error("request without a visit")
	}
}

func TestClose(t *testing.T) {
	code, asked := make(chan error, 1), make(chan struct{})
	u := start(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Abort()
		if _, err := c.ReadMessage(r.Context()); err != nil {
			t.Error(err)
		}
		close(asked)
		for {
			if _, err := c.ReadMessage(r.Context()); err != nil {
				code <- err
				return
			}
		}
	})
	s := dialRelay(t, u, session.Options{})
	ended := make(chan session.Terminal)
	go func() {
		page, _ := s.Req(context.Background(), nostr.Filter{}, ignore)
		ended <- page.End
	}()
	<-asked
	s.Close(t.Context())
	if end := <-ended; end.Kind != session.Disconnect {
		t.Errorf("request ended with %+v", end)
	}
	if err := <-code; !strings.Contains(err.Error(), "StatusNormalClosure") {
		t.Errorf("the relay saw %v", err)
	}
	s.Close(t.Context()) // again
	if _, err := s.Req(t.Context(), nostr.Filter{}, ignore); !errors.Is(err, session.ErrClosed) {
		t.Errorf("request after close: %v", err)
	}
	if _, err := s.Publish(t.Context(), &nostr.Event{}); !errors.Is(err, session.ErrClosed) {
		t.Errorf("publication after close: %v", err)
	}
}

func TestStats(t *testing.T) {
	u := play(t, func(c *session.Conn, sub string) {
		say(c, sub, eventMessage(1), `["EVENT","%s",{"content":"`+strings.Repeat("again and ", 500)+`"}]`, `["EOSE","%s"]`)
	})
	s := dialRelay(t, u, session.Options{})
	page, err := s.Req(t.Context(), nostr.Filter{}, ignore)
	if err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.Requests != 1 || st.Messages != 3 || st.Events != 2 || st.PayloadIn != page.Bytes || st.PayloadOut == 0 {
		t.Errorf("stats %+v", st)
	}
	if page.Bytes < 5000 || page.Wire == 0 || page.Wire > 1000 {
		t.Errorf("page of %d bytes, %d on the wire", page.Bytes, page.Wire)
	}
	if o := s.Opening(); !o.Compressed || o.TCP == 0 || o.WebSocket == 0 || o.Total() < o.WebSocket || !o.Addr.IsValid() {
		t.Errorf("opening %+v", o)
	}
	if time.Since(st.LastHeard) > time.Minute || st.LastHeard.After(time.Now()) {
		t.Errorf("last heard %s", st.LastHeard)
	}
}

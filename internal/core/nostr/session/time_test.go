package session_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

// pipes is a network of in-memory pipes to one relay, whose time is the
// bubble's.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// inBubble runs test in a bubble of fake time with a session to a relay that
// plays script after the first message.
func inBubble(t *testing.T, o session.Options, play script, test func(t *testing.T, s *session.Session)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := pipes{make(chan net.Conn), make(chan struct{})}
		var relays sync.WaitGroup
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			relays.Add(1)
			defer relays.Done()
			c, err := session.Accept(w, r, session.AcceptOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Abort()
			if m, err := read(context.Background(), c); err == nil {
				play(c, m.Sub)
			}
			for {
				if _, err := c.ReadMessage(context.Background()); err != nil {
					return
				}
			}
		})}
		go server.Serve(p)
		o.Dialer = local().Over(func(ctx context.Context, _, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			select {
			case p.conns <- theirs:
				return ours, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		s, err := session.Dial(t.Context(), parse(t, "ws://127.0.0.1:7777"), o)
		if err != nil {
			t.Fatal(err)
		}
		test(t, s)
		s.Close(context.Background())
		close(p.done)
		server.Close()
		relays.Wait()
	})
}

// after is what a scripted relay does between two messages.
func after(d time.Duration) { <-time.After(d) }

func TestDeadlines(t *testing.T) {
	tests := []struct {
		name  string
		play  script
		visit time.Duration // taken by each visit
		end   session.Kind
		took  time.Duration
	}{
		{
			name: "silence",
			play: func(*session.Conn, string) {},
			end:  session.Idle, took: 30 * time.Second,
		},
		{
			name: "silence after an event",
			play: func(c *session.Conn, sub string) { after(20 * time.Second); say(c, sub, eventMessage(1)) },
			end:  session.Idle, took: 50 * time.Second,
		},
		{
			name: "slow answers are answers",
			play: func(c *session.Conn, sub string) {
				for range 5 {
					after(25 * time.Second)
					say(c, sub, eventMessage(1))
				}
				say(c, sub, `["EOSE","%s"]`)
			},
			end: session.EOSE, took: 125 * time.Second,
		},
		{
			name: "drip",
			play: func(c *session.Conn, sub string) {
				for range 100 {
					after(25 * time.Second)
					say(c, sub, eventMessage(1))
				}
			},
			end: session.Slow, took: 5 * time.Minute,
		},
		{
			name: "our own slowness is not the relay's",
			play: func(c *session.Conn, sub string) {
				say(c, sub, eventMessage(1), eventMessage(1), eventMessage(1), eventMessage(1), `["EOSE","%s"]`)
			},
			visit: 10 * time.Minute, end: session.EOSE, took: 40 * time.Minute,
		},
		{
			name:  "drip with slow visits",
			visit: 3 * time.Minute,
			play: func(c *session.Conn, sub string) {
				for range 100 {
					say(c, sub, eventMessage(1))
					after(29 * time.Second)
				}
			},
			// The relay goes on dripping while we are slow, so only its time
			// counts: two of its pauses hide behind each visit.
			end: session.Idle, took: 300*time.Minute + 30*time.Second,
		},
		{
			name: "notice",
			play: func(c *session.Conn, sub string) { after(time.Second); say(c, sub, `["NOTICE","no"]`) },
			end:  session.Notice, took: 6 * time.Second,
		},
		{
			name: "notice, then an event and silence",
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NOTICE","welcome"]`)
				after(4 * time.Second)
				say(c, sub, eventMessage(1))
			},
			end: session.Idle, took: 34 * time.Second,
		},
		{
			name: "notice, then eose in time",
			play: func(c *session.Conn, sub string) {
				say(c, sub, `["NOTICE","welcome"]`)
				after(4 * time.Second)
				say(c, sub, `["EOSE","%s"]`)
			},
			end: session.EOSE, took: 4 * time.Second,
		},
		{
			name: "chatter about something else is silence",
			play: func(c *session.Conn, _ string) {
				for range 100 {
					after(time.Second)
					say(c, "other", eventMessage(1))
				}
			},
			end: session.Idle, took: 30 * time.Second,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, session.Options{}, tt.play, func(t *testing.T, s *session.Session) {
				page, err := s.Req(t.Context(), nostr.Filter{}, func([]byte) error {
					if tt.visit > 0 {
						after(tt.visit)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if page.End.Kind != tt.end || page.Duration != tt.took {
					t.Errorf("%s after %s, want %s after %s", page.End.Kind, page.Duration, tt.end, tt.took)
				}
			})
		})
	}
}

// A relay that serves requests one after another keeps the later ones waiting.
func TestOneAtATime(t *testing.T) {
	serial := func(c *session.Conn, first string) {
		m, err := read(context.Background(), c)
		if err != nil {
			return
		}
		for _, sub := range []string{first, m.Sub} {
			after(20 * time.Second)
			say(c, sub, `["EOSE","%s"]`)
			read(context.Background(), c) // a pipe holds no CLOSE back
		}
	}
	inBubble(t, session.Options{}, serial, func(t *testing.T, s *session.Session) {
		var both sync.WaitGroup
		var took [2]time.Duration
		for i := range took {
			both.Go(func() {
				page, err := s.Req(t.Context(), nostr.Filter{}, ignore)
				if err != nil || page.End.Kind != session.EOSE {
					t.Errorf("page %+v, error %v", page, err)
				}
				took[i] = page.Duration
			})
		}
		both.Wait()
		if max(took[0], took[1]) != 40*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	t.Run("a silent relay that answers pings stays", func(t *testing.T) {
		inBubble(t, session.Options{}, func(*session.Conn, string) {}, func(t *testing.T, s *session.Session) {
			after(time.Hour)
			if end, ended := s.Ended(); ended {
				t.Errorf("ended: %+v", end)
			}
			if d := time.Since(s.Stats().LastHeard); d > 31*time.Second {
				t.Errorf("last heard %s ago", d)
			}
		})
	})
	t.Run("a dead one does not", func(t *testing.T) {
		dead := func(*session.Conn, string) { after(time.Hour) }
		inBubble(t, session.Options{}, dead, func(t *testing.T, s *session.Session) {
			begin := time.Now()
			page, err := s.Req(t.Context(), nostr.Filter{}, ignore)
			if err != nil || page.End.Kind != session.Idle {
				t.Fatalf("page %+v, error %v", page, err)
			}
			heard := s.Stats().LastHeard
			after(2 * time.Minute)
			if end, ended := s.Ended(); !ended || end.Kind != session.Disconnect {
				t.Errorf("ended %v: %+v", ended, end)
			}
			if !s.Stats().LastHeard.Equal(heard) || heard.After(begin) {
				t.Errorf("last heard %s, then %s", heard, s.Stats().LastHeard)
			}
		})
	})
}

func TestBackPressure(t *testing.T) {
	var sent atomic.Int64
	flood := func(c *session.Conn, sub string) {
		m := `["EVENT","%s",{"content":"` + strings.Repeat("x", 64<<10) + `"}]`
		for range 20 {
			say(c, sub, m)
			sent.Add(1)
		}
		say(c, sub, `["EOSE","%s"]`)
	}
	inBubble(t, session.Options{}, flood, func(t *testing.T, s *session.Session) {
		visited := int64(0)
		page, err := s.Req(t.Context(), nostr.Filter{}, func([]byte) error {
			visited++
			after(time.Minute)
			if ahead := sent.Load() - visited; ahead > 1 {
				t.Errorf("%d messages were read ahead of a slow visit", ahead)
			}
			return nil
		})
		if err != nil || page.End.Kind != session.EOSE || visited != 20 {
			t.Errorf("page %+v, error %v", page, err)
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	// The relay takes nothing and says nothing any more.
	dead := func(*session.Conn, string) { after(time.Hour) }
	for _, tt := range []struct {
		name string
		ctx  time.Duration
		took time.Duration
	}{{"patient", time.Hour, 2 * time.Second}, {"hasty", time.Second, time.Second}} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, session.Options{}, dead, func(t *testing.T, s *session.Session) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.ctx)
				defer cancel()
				begin := time.Now()
				s.Close(ctx)
				if took := time.Since(begin); took > tt.took {
					t.Errorf("close took %s", took)
				}
				if end, ended := s.Ended(); !ended || end.Kind != session.Disconnect {
					t.Errorf("ended %v: %+v", ended, end)
				}
			})
		})
	}
}

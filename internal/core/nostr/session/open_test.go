package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
)

// speak serves connections by h, one after another, without HTTP in between.
func speak(t *testing.T, h func(net.Conn)) relay.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return parse(t, "ws://"+l.Addr().String())
}

// raw answers the handshake with the given bytes.
func raw(answer string) func(net.Conn) {
	return func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, answer)
	}
}

func TestHandshakeFailures(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			io.WriteString(w, "<html>no relay here</html>")
		}
	}
	flood := func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n")
		for range 1 << 12 {
			if _, err := io.WriteString(c, "X-Fill: 0123456789012345678901234567890123456789\r\n"); err != nil {
				return
			}
		}
	}
	interim := func(c net.Conn) {
		c.Read(make([]byte, 4096))
		for range 100 {
			if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
				return
			}
		}
	}
	tests := []struct {
		name   string
		url    func(t *testing.T) relay.URL
		cause  dial.Cause
		status int
	}{
		{"200", func(t *testing.T) relay.URL { return start(t, status(200)) }, dial.CauseHTTPStatus, 200},
		{"403", func(t *testing.T) relay.URL { return start(t, status(403)) }, dial.CauseHTTPStatus, 403},
		{"302 is not followed", func(t *testing.T) relay.URL { return start(t, status(302)) }, dial.CauseHTTPStatus, 302},
		{"wrong accept key", func(t *testing.T) relay.URL {
			return speak(t, raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"))
		}, dial.CauseWSRefused, 0},
		{"no http", func(t *testing.T) relay.URL { return speak(t, raw("SSH-2.0-OpenSSH_9.2\r\n")) }, dial.CauseWSRefused, 0},
		{"cut off", func(t *testing.T) relay.URL { return speak(t, raw("")) }, dial.CauseWSRefused, 0},
		{"endless header", func(t *testing.T) relay.URL { return speak(t, flood) }, dial.CauseWSRefused, 0},
		{"endless interim answers", func(t *testing.T) relay.URL { return speak(t, interim) }, dial.CauseWSRefused, 0},
		{"silence", func(t *testing.T) relay.URL {
			return speak(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		}, dial.CauseWSTimeout, 0},
		{"nobody there", func(t *testing.T) relay.URL {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			return parse(t, "ws://"+l.Addr().String())
		}, dial.CauseTCPRefused, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := session.Dial(t.Context(), tt.url(t), session.Options{Dialer: local(), Handshake: 300 * time.Millisecond})
			e, ok := errors.AsType[*dial.Error](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			if e.Cause != tt.cause || e.Status != tt.status || dial.CauseOf(err) != tt.cause {
				t.Errorf("cause %q, status %d, want %q, %d: %v", e.Cause, e.Status, tt.cause, tt.status, err)
			}
		})
	}
}

func TestDialCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := speak(t, func(c net.Conn) { cancel(); io.Copy(io.Discard, c) })
	_, err := session.Dial(ctx, u, session.Options{Dialer: local()})
	if !errors.Is(err, context.Canceled) || dial.CauseOf(err) != "" {
		t.Errorf("error %v, cause %q", err, dial.CauseOf(err))
	}
}

// answered is a writer that changes the header of the handshake's answer.
type answered struct {
	http.ResponseWriter
	extensions func(offered bool, h http.Header)
	offered    bool
}

func (a *answered) WriteHeader(code int) {
	a.extensions(a.offered, a.Header())
	a.ResponseWriter.WriteHeader(code)
}

func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func TestCompressionNegotiation(t *testing.T) {
	const name = "Sec-WebSocket-Extensions"
	tests := []struct {
		name   string
		answer string
		dials  int
		used   bool
	}{
		{"none", "", 1, false},
		{"plain", "permessage-deflate", 1, true},
		{"our window", "permessage-deflate; client_max_window_bits=12", 1, true},
		{"our window without a value", "permessage-deflate;client_max_window_bits; server_max_window_bits=12", 1, true},
		{"no takeover", "permessage-deflate; server_no_context_takeover", 1, true},
		{"unknown parameter", "permessage-deflate; level=9", 2, false},
		{"unknown extension", "x-snappy", 2, false},
		{"two extensions", "permessage-deflate, x-snappy; a=1", 2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dials := 0
			u := start(t, func(w http.ResponseWriter, r *http.Request) {
				dials++
				offered := r.Header.Get(name) != ""
				answer := func(offered bool, h http.Header) {
					h.Del(name)
					if offered && tt.answer != "" {
						h.Set(name, tt.answer)
					}
				}
				c, err := session.Accept(&answered{w, answer, offered}, r, session.AcceptOptions{Compress: tt.used && tt.answer != ""})
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
					say(c, m.Sub, eventMessage(1), `["EOSE","%s"]`)
				}
			})
			s := dialRelay(t, u, session.Options{})
			if dials != tt.dials || s.Opening().Compressed != tt.used {
				t.Errorf("%d dials, compressed %v; want %d, %v", dials, s.Opening().Compressed, tt.dials, tt.used)
			}
			for range 3 {
				page, err := s.Req(t.Context(), nostr.Filter{Search: fmt.Sprint(tt)}, ignore)
				if err != nil || page.End.Kind != session.EOSE || page.Events != 1 {
					t.Errorf("page %+v, error %v", page, err)
				}
			}
		})
	}
}

func TestUserAgent(t *testing.T) {
	agent := make(chan string, 1)
	u := start(t, func(w http.ResponseWriter, r *http.Request) {
		agent <- r.UserAgent()
		w.WriteHeader(http.StatusTeapot)
	})
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.Contact = true, "mailto:ops@example.org"
	_, err := session.Dial(t.Context(), u, session.Options{Dialer: dial.New(cfg)})
	if dial.CauseOf(err) != dial.CauseHTTPStatus {
		t.Error(err)
	}
	if got, want := <-agent, "BigBrotr (+mailto:ops@example.org)"; got != want {
		t.Errorf("user agent %q, want %q", got, want)
	}
}

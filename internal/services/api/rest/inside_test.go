package rest

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// once is a listener with one connection.
type once struct {
	conn chan net.Conn
	done chan struct{}
}

func (l *once) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *once) Close() error   { close(l.done); return nil }
func (l *once) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowReader: a client that reads slowly gets all, one that stops is let go.
func TestSlowReader(t *testing.T) {
	for _, test := range []struct {
		name  string
		pause time.Duration // between the pieces that the client reads
		want  error
	}{{"slow", chunkWithin / 2, nil}, {"stopped", chunkWithin * 2, errClient}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 1)
				server := &http.Server{WriteTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					out := &patient{w, http.NewResponseController(w)}
					var err error
					for range 6 {
						if _, err = out.Write(make([]byte, exportBuffer)); err != nil {
							break
						}
					}
					ended <- err
				})}
				l := &once{make(chan net.Conn, 1), make(chan struct{})}
				client, conn := net.Pipe()
				l.conn <- conn
				served := make(chan struct{})
				go func() { defer close(served); _ = server.Serve(l) }()
				_, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				if err != nil {
					t.Fatal(err)
				}
				var reader sync.WaitGroup
				reader.Go(func() {
					buf := make([]byte, exportBuffer)
					for {
						if _, err := io.ReadFull(client, buf); err != nil {
							return
						}
						time.Sleep(test.pause)
					}
				})
				if err := <-ended; !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
					t.Errorf("the answer ended with %v", err)
				}
				_ = client.Close()
				_ = server.Close()
				<-served
				reader.Wait()
			})
		})
	}
}

// TestAccounts checks that clients are counted in bounded memory.
func TestAccounts(t *testing.T) {
	cfg := DefaultConfig()
	cfg.PerSecond = 1
	c := newClients(cfg)
	for range burst {
		if err := c.admit("busy", ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * maxAccounts {
		if err := c.admit(fmt.Sprint("client ", i), ""); err != nil {
			t.Fatal(err)
		}
		if len(c.accounts) > maxAccounts {
			t.Fatalf("%d accounts", len(c.accounts))
		}
	}
}

// FuzzMark reads any text as the id of an event of the stream.
func FuzzMark(f *testing.F) {
	f.Add(mark{Events: "1.2", Relays: 3}.String())
	f.Add("")
	f.Add("e30")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMark(text)
		if err != nil || m == nil {
			return
		}
		if again, err := parseMark(m.String()); err != nil || *again != *m {
			t.Errorf("%q is %+v, and %v, %v", text, m, again, err)
		}
	})
}

// FuzzPoint reads any text as a place.
func FuzzPoint(f *testing.F) {
	for _, text := range []string{"52.5,13.4", "nan,inf", "1e400,0", " -90 , 180 ", ","} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := parsePoint(text); ok && (!(math.Abs(p.Lat) <= 90) || !(math.Abs(p.Lon) <= 180)) {
			t.Errorf("%q is %+v", text, p)
		}
	})
}

// TestBadgeAndFeed checks that what relays say stays text.
func TestBadgeAndFeed(t *testing.T) {
	url, err := relay.Parse("wss://a.nostr.org/x?a=1&b=2")
	if err != nil {
		t.Fatal(err)
	}
	r := &query.Relay{URL: url, State: store.StateUp, Uptime: 0.9991, Watched: 60}
	image, err := newBadge(r)
	if err != nil || !strings.Contains(string(image), "up 99.9 %") || xml.Unmarshal(image, new(struct{})) != nil {
		t.Errorf("badge: %s, %v", image, err)
	}
	f := newFeed(r, []query.Outage{{From: 100, To: 190, Cause: "tls"}, {From: 300, Cause: "<b>"}},
		[]query.Change{{At: 200, Field: "name", Before: []byte(`"</content><script>"`), After: []byte("\"\x00\xff\"")}})
	text, err := xml.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Entries []struct {
			Title   string `xml:"title"`
			Updated string `xml:"updated"`
			Content string `xml:"content"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(text, &back); err != nil || len(back.Entries) != 4 {
		t.Fatalf("%v: %s", err, text)
	}
	for i, want := range []string{"Down: <b>", "Changed: name", "Up again", "Down: tls"} {
		if e := back.Entries[i]; e.Title != want || e.Updated == "" {
			t.Errorf("entry %d is %+v, want %s", i, e, want)
		}
	}
	if !strings.Contains(back.Entries[1].Content, "</content><script>") {
		t.Errorf("content is %q", back.Entries[1].Content)
	}
}

package face_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/api/face"
)

// TestBadMessages checks that whatever is wrong has a clear answer, and that the
// connection goes on.
func TestBadMessages(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}))
	one := event(1, 1, base, "one")
	r.add(one)
	c := r.dial()
	text := string(nostr.AppendEVENT(nil, &one))
	id := one.ID.String()
	for _, tt := range []struct{ say, label, sub, text string }{
		{``, "NOTICE", "", "invalid: "},
		{`hello`, "NOTICE", "", "invalid: "},
		{`{}`, "NOTICE", "", "invalid: "},
		{`[]`, "NOTICE", "", "invalid: "},
		{`[1]`, "NOTICE", "", "invalid: "},
		{`["HELLO"]`, "NOTICE", "", "unsupported: "},
		{`["OK","` + id + `",true,""]`, "NOTICE", "", "unsupported: "},
		{`["REQ"]`, "NOTICE", "", "invalid: "},
		{`["REQ",1,{}]`, "NOTICE", "", "invalid: "},
		{`["REQ","",{}]`, "NOTICE", "", "invalid: "},
		{`["REQ","s"]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{}`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",[]]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"ids":["xyz"]}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"ids":"` + id + `"}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"authors":["` + id[:63] + `"]}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"kinds":["1"]}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"kinds":[-1]}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"since":-5}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"until":1e300}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"since":99999999999999999999}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"limit":"all"}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"#tt":["x"]}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"' OR 1=1 --":["x"]}]`, "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"search":"x"}]`, "CLOSED", "s", "unsupported: "},
		{`["REQ","s",{"kinds":[` + strings.Repeat("1,", 5000) + `1]}]`, "CLOSED", "s", "restricted: "},
		{`["REQ","s",` + strings.Repeat(`{"x":`, 10_000), "CLOSED", "s", "invalid: "},
		{`["REQ","s",{"#t":["` + "\xff" + `"]}]`, "CLOSED", "s", "invalid: "},
		{`["COUNT","s",{"ids":[1]}]`, "CLOSED", "s", "invalid: "},
		{text, "OK", "", "blocked: "},
		{`["EVENT",{"id":"x"}]`, "NOTICE", "", "blocked: "},
		{`["EVENT"]`, "NOTICE", "", "invalid: "},
		{`["AUTH",` + strings.TrimPrefix(text, `["EVENT",`), "OK", "", "invalid: "},
		{`["AUTH","challenge"]`, "NOTICE", "", "invalid: "},
	} {
		c.say(tt.say)
		m := c.read()
		if m.Label != tt.label || m.Sub != tt.sub || !strings.HasPrefix(m.Text, tt.text) || m.Accepted {
			t.Errorf("%.100q: %s %q %q, want %s %q %q", tt.say, m.Label, m.Sub, m.Text, tt.label, tt.sub, tt.text)
		}
		// What is asked properly is answered all the same.
		c.request("good", nostr.Filter{IDs: []nostr.ID{one.ID}, Since: new(int64), Until: new(int64(1<<63 - 1))})
		if have, end := c.answer("good"); len(have) != 1 || end.Label != nostr.LabelEOSE {
			t.Fatalf("after %.100q: %d events, %s", tt.say, len(have), end.Label)
		}
	}
	// Who says nothing else is shown the door.
	for range 101 {
		if c.ws.Write(t.Context(), websocket.MessageText, []byte("x")) != nil {
			break
		}
	}
	if code := c.ends(); code != int(websocket.StatusPolicyViolation) {
		t.Errorf("a hundred times nonsense ends with %d", code)
	}
}

// TestRate checks that a client that asks too often is told so, whatever number
// of connections it has, and that others do not notice.
func TestRate(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}), func(cfg *face.Config) { cfg.PerSecond, cfg.PerClient, cfg.ClientHeader = 1, 2, "X-Real-IP" })
	dial := func(from string) (*client, *http.Response, error) {
		ws, resp, err := websocket.Dial(t.Context(), r.url, &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: &http.Transport{}}, HTTPHeader: http.Header{"X-Real-Ip": {"6.6.6.6, " + from}},
		})
		if err != nil {
			return nil, resp, err
		}
		t.Cleanup(func() { _ = ws.CloseNow() })
		return &client{t, ws}, resp, nil
	}
	var mine []*client
	for range 2 {
		c, resp, err := dial("2001:db8::1")
		must(t, err)
		_ = resp.Body
		mine = append(mine, c)
	}
	// The same network of a customer.
	if _, resp, err := dial("2001:db8::ffff:1"); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a third connection: %v, %v", resp, err)
	}
	limited := 0
	for i := range 20 {
		c := mine[i%2]
		c.request("s", nostr.Filter{})
		if _, end := c.answer("s"); end.Label == nostr.LabelClosed {
			if !strings.HasPrefix(end.Text, "rate-limited: ") {
				t.Errorf("CLOSED %q", end.Text)
			}
			limited++
		}
	}
	if limited < 10 {
		t.Errorf("%d of 20 requests refused", limited)
	}
	other, _, err := dial("10.0.0.1")
	must(t, err)
	other.request("s", nostr.Filter{})
	if _, end := other.answer("s"); end.Label != nostr.LabelEOSE {
		t.Errorf("another client: %s %q", end.Label, end.Text)
	}
}

// TestConnections checks the bound for all.
func TestConnections(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}), func(cfg *face.Config) { cfg.Connections = 1 })
	first := r.dial()
	try := func() error {
		ws, _, err := websocket.Dial(t.Context(), r.url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{}}})
		if err == nil {
			_ = ws.CloseNow()
		}
		return err
	}
	if try() == nil {
		t.Error("a second connection is taken")
	}
	must(t, first.ws.Close(websocket.StatusNormalClosure, ""))
	for deadline := time.Now().Add(time.Minute); try() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the place of a connection that ended is not free")
		}
	}
}

// TestSlowReader checks that a client that reads nothing is cut once what waits
// for it is too much, and that others get everything.
func TestSlowReader(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}))
	slow, good := r.dial(), r.dial()
	for _, c := range []*client{slow, good} {
		c.request("s", nostr.Filter{Kinds: []nostr.Kind{1}})
	}
	good.answer("s")
	// More than the buffers of both ends and ours take.
	const n = 300
	large := strings.Repeat("x", 64_000)
	var wg sync.WaitGroup
	wg.Go(func() {
		for part := range n / 20 {
			var events []nostr.Event
			for i := range 20 {
				events = append(events, event(1, 1, base+int64(part*20+i), large))
			}
			if _, err := r.db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: events}); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range n {
		if m := good.read(); m.Label != nostr.LabelEvent {
			t.Fatalf("after %d events: %s %q", i, m.Label, m.Text)
		}
	}
	wg.Wait()
	got := 0
	for {
		m, err := slow.next()
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("the slow one is not cut")
			}
			break
		}
		if m.Label == nostr.LabelEvent {
			got++
		}
	}
	if got >= n {
		t.Errorf("the slow one got all %d", got)
	}
}

// failing is a store of which reads fail as the test wants.
type failing struct {
	face.Store
	events func(context.Context) error
	scan   func() error
}

func (f *failing) Events(ctx context.Context, q store.EventQuery) ([]store.Stored, store.Cursor, error) {
	if err := f.events(ctx); err != nil {
		return nil, "", err
	}
	return f.Store.Events(ctx, q)
}

func (f *failing) ScanEvents(ctx context.Context, after store.Cursor, filter nostr.Filter) iter.Seq2[store.Scanned, error] {
	if err := f.scan(); err != nil {
		return func(yield func(store.Scanned, error) bool) { yield(store.Scanned{}, err) }
	}
	return f.Store.ScanEvents(ctx, after, filter)
}

// TestTrouble checks what a client learns while the store is away, and that
// nothing new is lost by that.
func TestTrouble(t *testing.T) {
	db := newStore(t, store.Keep{})
	var mu sync.Mutex
	away := false
	state := func() error {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return errors.New("secret: the database is away")
		}
		return nil
	}
	r := serveStore(t, db, &failing{db, func(context.Context) error { return state() }, state})
	c := r.dial()
	c.request("s", nostr.Filter{Kinds: []nostr.Kind{1}})
	c.answer("s")
	mu.Lock()
	away = true
	mu.Unlock()
	r.add(event(1, 1, base, "while it was away"))
	for _, ask := range []string{`["REQ","t",{}]`, `["COUNT","t",{}]`} {
		c.say(ask)
		if m := c.read(); m.Label != nostr.LabelClosed || !strings.HasPrefix(m.Text, "error: ") || strings.Contains(m.Text, "secret") {
			t.Errorf("%s: %s %q", ask, m.Label, m.Text)
		}
	}
	c.say(`["NEG-OPEN","n",{},"6100000200"]`)
	if m := c.read(); m.Label != nostr.LabelNegErr || !strings.HasPrefix(m.Text, "error: ") || strings.Contains(m.Text, "secret") {
		t.Errorf("%s %q", m.Label, m.Text)
	}
	mu.Lock()
	away = false
	mu.Unlock()
	if m := c.read(); m.Label != nostr.LabelEvent || m.Sub != "s" {
		t.Errorf("%s of %q", m.Label, m.Sub)
	}
}

// TestStop checks that a stop tells clients and waits for their ends, also when
// a question is being answered.
func TestStop(t *testing.T) {
	db := newStore(t, store.Keep{})
	asked := make(chan struct{})
	var once sync.Once
	st := &failing{db, func(ctx context.Context) error {
		once.Do(func() { close(asked) })
		<-ctx.Done()
		return ctx.Err()
	}, func() error { return nil }}
	r := serveStore(t, db, st)
	idle, asking := r.dial(), r.dial()
	asking.request("s", nostr.Filter{})
	<-asked
	codes := make(chan int, 2)
	for _, c := range []*client{idle, asking} {
		go func() { codes <- c.ends() }()
	}
	r.stop()
	for range 2 {
		if code := <-codes; code != int(websocket.StatusGoingAway) {
			t.Errorf("one ends with %d", code)
		}
	}
	if ws, _, err := websocket.Dial(t.Context(), r.url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{}}}); err == nil {
		c := &client{t, ws}
		if code := c.ends(); code != int(websocket.StatusGoingAway) {
			t.Errorf("a new one ends with %d", code)
		}
	}
}

// FuzzMessages sends what comes to mind, and then asks properly.
func FuzzMessages(f *testing.F) {
	one := event(1, 1, base, "one")
	for _, seed := range []string{
		`["REQ","s",{"kinds":[1],"#t":["x"],"limit":5},{}]`, `["COUNT","s",{}]`, `["CLOSE","s"]`, `["NEG-OPEN","n",{},"6100000200"]`,
		`["NEG-MSG","n","61000001` + strings.Repeat("00", 16) + `"]`, `["NEG-CLOSE","n"]`, `["AUTH",{}]`, string(nostr.AppendEVENT(nil, &one)), `[`, ``,
	} {
		f.Add([]byte(seed))
	}
	db := newStore(f, store.Keep{})
	r := serve(f, db, func(cfg *face.Config) { cfg.PerSecond = 100_000 })
	r.add(one)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := (&relay{t: t, url: r.url}).dial()
		if len(b) > 1<<17 {
			return
		}
		must(t, c.ws.Write(t.Context(), websocket.MessageText, b))
		c.request("proper", nostr.Filter{IDs: []nostr.ID{one.ID}})
		for {
			m := c.read()
			if m.Label == nostr.LabelEOSE && m.Sub == "proper" {
				return
			}
		}
	})
}

// TestManySubscriptions opens ten thousand on one connection: as many as are
// allowed stand, the others are refused, and the connection goes on.
func TestManySubscriptions(t *testing.T) {
	const asked, allowed = 10_000, 50
	r := serve(t, newStore(t, store.Keep{}), func(cfg *face.Config) { cfg.PerSecond, cfg.Subscriptions = 100_000, allowed })
	c, other := r.dial(), r.dial()
	stand, refused := 0, 0
	for i := range asked {
		// A refusal in between that was answered for keeps the connection open.
		if i%50 == 0 {
			c.request("s0", nostr.Filter{Kinds: []nostr.Kind{1}})
			if _, end := c.answer("s0"); end.Label != nostr.LabelEOSE {
				t.Fatalf("the first one again: %s %q", end.Label, end.Text)
			}
		}
		sub := "s" + strconv.Itoa(i)
		c.request(sub, nostr.Filter{Kinds: []nostr.Kind{1}})
		switch _, end := c.answer(sub); {
		case end.Label == nostr.LabelEOSE:
			stand++
		case strings.HasPrefix(end.Text, "restricted: "):
			refused++
		default:
			t.Fatalf("%s: %s %q", sub, end.Label, end.Text)
		}
	}
	if stand != allowed || refused != asked-allowed {
		t.Errorf("%d stand, %d are refused", stand, refused)
	}
	other.request("t", nostr.Filter{Kinds: []nostr.Kind{1}})
	other.answer("t")
	r.add(event(1, 1, base, "new"))
	if m := other.read(); m.Label != nostr.LabelEvent {
		t.Errorf("another client: %s", m.Label)
	}
	for range allowed {
		if m := c.read(); m.Label != nostr.LabelEvent {
			t.Fatalf("of those that stand: %s", m.Label)
		}
	}
}

// TestOversize sends a message that is larger than one may be.
func TestOversize(t *testing.T) {
	r := serve(t, newStore(t, store.Keep{}))
	c, other := r.dial(), r.dial()
	_ = c.ws.Write(t.Context(), websocket.MessageText, []byte(`["REQ","s",{"#t":["`+strings.Repeat("x", 300<<10)+`"]}]`))
	if code := c.ends(); code != int(websocket.StatusMessageTooBig) {
		t.Errorf("the connection ends with %d", code)
	}
	other.request("s", nostr.Filter{})
	if _, end := other.answer("s"); end.Label != nostr.LabelEOSE {
		t.Errorf("another client: %s", end.Label)
	}
}

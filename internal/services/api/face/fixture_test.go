package face_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/api/face"
)

const base int64 = 1_700_000_000 // 2023-11-14

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB, keep store.Keep) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{Keep: keep})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	_, err = db.Migrate(t.Context())
	must(t, err)
	return db
}

// relay is the face of an archive on a port of its own.
type relay struct {
	t    testing.TB
	db   *sqlite.DB
	url  string // ws://…
	stop func() // and waits
}

// serve runs a face over a store. The configuration is the default one unless
// it is changed.
func serve(t testing.TB, db *sqlite.DB, change ...func(*face.Config)) *relay {
	t.Helper()
	return serveStore(t, db, db, change...)
}

func serveStore(t testing.TB, db *sqlite.DB, st face.Store, change ...func(*face.Config)) *relay {
	t.Helper()
	cfg := face.DefaultConfig()
	cfg.PerSecond = 10_000 // tests are in a hurry
	for _, f := range change {
		f(&cfg)
	}
	f := face.New(cfg, st, 10*time.Second, "v0-test", nil, slog.New(slog.DiscardHandler))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f.Wants(r) {
			http.NotFound(w, r)
			return
		}
		f.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(ctx) }()
	r := &relay{t: t, db: db, url: "ws" + strings.TrimPrefix(server.URL, "http"), stop: func() { cancel(); <-ended }}
	t.Cleanup(func() { r.stop(); server.Close() })
	return r
}

// add archives events.
func (r *relay) add(events ...nostr.Event) {
	r.t.Helper()
	for part := range slices.Chunk(events, 1000) {
		_, err := r.db.SaveBatch(r.t.Context(), store.Batch{SeenAt: base, Events: part})
		must(r.t, err)
	}
}

// client is a connection to the relay that says and reads what a test wants.
type client struct {
	t  testing.TB
	ws *websocket.Conn
}

func (r *relay) dial() *client {
	r.t.Helper()
	ws, resp, err := websocket.Dial(r.t.Context(), r.url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{}}})
	must(r.t, err)
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	ws.SetReadLimit(-1)
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{r.t, ws}
}

func (c *client) say(text string) {
	c.t.Helper()
	must(c.t, c.ws.Write(c.t.Context(), websocket.MessageText, []byte(text)))
}

func (c *client) request(sub string, filters ...nostr.Filter) {
	c.t.Helper()
	c.say(string(nostr.AppendREQ(nil, sub, filters...)))
}

// read returns the next message.
func (c *client) read() nostr.Message {
	c.t.Helper()
	m, err := c.next()
	must(c.t, err)
	return m
}

func (c *client) next() (nostr.Message, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	_, b, err := c.ws.Read(ctx)
	if err != nil {
		return nostr.Message{}, err
	}
	m, err := nostr.ParseMessage(b)
	if err != nil {
		return m, fmt.Errorf("read %.200q: %w", b, err)
	}
	m.Event = bytes.Clone(m.Event)
	return m, nil
}

// answer reads the stored events of a subscription and what ends them.
func (c *client) answer(sub string) ([]nostr.Event, nostr.Message) {
	c.t.Helper()
	var events []nostr.Event
	for {
		m := c.read()
		if m.Sub != sub && m.Label != nostr.LabelNotice && m.Label != nostr.LabelAuth {
			c.t.Fatalf("%s of %q while %q is awaited", m.Label, m.Sub, sub)
		}
		switch m.Label {
		case nostr.LabelEvent:
			events = append(events, c.event(m))
		case nostr.LabelEOSE, nostr.LabelClosed:
			return events, m
		}
	}
}

func (c *client) event(m nostr.Message) nostr.Event {
	c.t.Helper()
	e, err := nostr.ParseEvent(m.Event)
	must(c.t, err)
	return e
}

// ends reads to the end of the connection and returns its close code, -1
// without one.
func (c *client) ends() int {
	c.t.Helper()
	for {
		if _, err := c.next(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				c.t.Fatal("the connection does not end")
			}
			return int(websocket.CloseStatus(err))
		}
	}
}

// key returns one of any number of keys.
func key(n int) nostr.SecretKey {
	k, err := nostr.SecretKeyFromBytes(append(bytes.Repeat([]byte{1}, 28), byte(n>>24), byte(n>>16), byte(n>>8), byte(n)))
	if err != nil {
		panic(err) // 1 to 2^32 are keys
	}
	return k
}

func author(n int) nostr.PubKey { return key(n).PubKey() }

// event returns a signed event.
func event(by int, kind nostr.Kind, at int64, content string, tags ...nostr.Tag) nostr.Event {
	e := nostr.Event{CreatedAt: at, Kind: kind, Content: content, Tags: append([]nostr.Tag{}, tags...)}
	if err := key(by).Sign(&e); err != nil {
		panic(err) // it is valid
	}
	return e
}

// truth is what is known of events that are archived together.
type truth struct {
	events     []nostr.Event
	superseded map[nostr.ID]bool
	deleted    map[nostr.ID]bool
}

func judge(events []nostr.Event) *truth {
	w := &truth{events, map[nostr.ID]bool{}, map[nostr.ID]bool{}}
	newest := map[string]nostr.Event{}
	addresses := map[nostr.ID]string{}
	versioned := func(e nostr.Event) bool { return e.Kind.IsAddressable() || e.Kind.IsReplaceable() }
	for _, e := range events {
		addresses[e.ID] = address(e)
		if held, found := newest[addresses[e.ID]]; versioned(e) && (!found || order(e, held) < 0) {
			newest[addresses[e.ID]] = e
		}
	}
	for _, e := range events {
		w.superseded[e.ID] = versioned(e) && newest[addresses[e.ID]].ID != e.ID
		w.deleted[e.ID] = e.Kind != 5 && slices.ContainsFunc(events, func(o nostr.Event) bool {
			return o.Kind == 5 && o.PubKey == e.PubKey && slices.ContainsFunc(o.Tags, func(t nostr.Tag) bool {
				return len(t) > 1 && (t[0] == "e" && t[1] == e.ID.String() ||
					t[0] == "a" && t[1] == addresses[e.ID] && e.CreatedAt <= o.CreatedAt && versioned(e))
			})
		})
	}
	return w
}

// served is the naive relay: what it answers to filters, where standard and most
// are the limits of its document.
func (w *truth) served(filters []nostr.Filter, readers []nostr.PubKey, standard, most int) []nostr.Event {
	now := time.Now().Unix()
	var found []nostr.Event
	for _, f := range filters {
		var list []nostr.Event
		for _, e := range w.events {
			if f.Matches(&e) && visible(e, readers, now) && !w.deleted[e.ID] && (len(f.IDs) > 0 || !w.superseded[e.ID]) {
				list = append(list, e)
			}
		}
		slices.SortFunc(list, order)
		limit := standard
		if f.Limit != nil {
			limit = min(*f.Limit, most)
		}
		if len(list) > limit {
			n := limit
			for f.Limit == nil && n < min(len(list), most) && list[n].CreatedAt == list[limit-1].CreatedAt {
				n++
			}
			list = list[:n]
		}
		found = append(found, list...)
	}
	slices.SortFunc(found, order)
	return slices.CompactFunc(found, func(a, b nostr.Event) bool { return a.ID == b.ID })
}

func order(a, b nostr.Event) int {
	return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), bytes.Compare(a.ID[:], b.ID[:]))
}

func value(e nostr.Event, name string) string {
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == name {
			return t[1]
		}
	}
	return ""
}

func address(e nostr.Event) string {
	d := ""
	if e.Kind.IsAddressable() {
		d = value(e, "d")
	}
	return fmt.Sprintf("%d:%s:%s", e.Kind, e.PubKey, d)
}

func visible(e nostr.Event, readers []nostr.PubKey, now int64) bool {
	concerned := slices.Contains(readers, e.PubKey)
	switch e.Kind {
	case 4, 13, 14, 15, 1059:
		for _, r := range readers {
			concerned = concerned || slices.ContainsFunc(e.Tags, func(t nostr.Tag) bool { return len(t) > 1 && t[0] == "p" && t[1] == r.String() })
		}
		if !concerned {
			return false
		}
	}
	if slices.ContainsFunc(e.Tags, func(t nostr.Tag) bool { return len(t) > 0 && t[0] == "-" }) && !concerned {
		return false
	}
	at, err := strconv.ParseInt(value(e, "expiration"), 10, 64)
	return err != nil || at > now
}

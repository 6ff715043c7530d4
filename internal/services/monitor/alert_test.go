package monitor_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/nostr/nip59"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/simnet"
)

const monitorKey = "7f7ff03d123792d6ac594bfa67bf6d0c0ab55b6b1fdb6249303fe861f1ccba9a"

// alerting returns the configuration of a monitor with receivers, as it is read
// from a file.
func alerting(t *testing.T, receivers ...map[string]any) monitor.Config {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	text, err := json.Marshal(map[string]any{"key": "file:" + key, "alerts": receivers, "publish": map[string]any{"name": "Monitor"}})
	if err := errors.Join(err, os.WriteFile(key, []byte(monitorKey), 0o600)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "monitor.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := monitor.DefaultConfig()
	if _, err := config.Load(&cfg, config.Sources{File: file}); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// raise saves alerts of a relay's.
func raise(t *testing.T, db *sqlite.DB, r store.Relay, alerts ...store.Alert) {
	t.Helper()
	o := store.Outcome{
		Relay: r.ID, At: alerts[0].At, State: store.StateDown, Cause: dial.CauseTCPRefused, Failures: 2, Alerts: alerts,
		Next: store.Next{Relay: r.ID, Service: monitor.Name},
	}
	if err := db.SaveOutcomes(t.Context(), []store.Outcome{o}); err != nil {
		t.Fatal(err)
	}
}

func alert(receiver string, kind store.AlertKind, r store.RelayID, about int64, cause dial.Cause) store.Alert {
	return store.Alert{AlertKey: store.AlertKey{Receiver: receiver, Kind: kind, Relay: r, About: about}, At: time.Now().Unix(), Cause: cause}
}

func addRelay(t *testing.T, db *sqlite.DB, url string) store.Relay {
	t.Helper()
	u, err := relay.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	relays, err := db.AddRelays(t.Context(), []relay.URL{u}, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	return relays[0]
}

// hook is a webhook in a bubble of fake time.
type hook struct {
	answer func(w http.ResponseWriter)
	posts  []post
	conns  chan net.Conn
}

// post is what a webhook got, and when.
type post struct {
	at     time.Time
	path   string
	header http.Header
	body   string
}

func (h *hook) Accept() (net.Conn, error) {
	c, open := <-h.conns
	if !open {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (h *hook) Close() error   { return nil }
func (h *hook) Addr() net.Addr { return &net.TCPAddr{} }

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.posts = append(h.posts, post{time.Now(), r.Method + " " + r.URL.String(), r.Header, string(body)})
	h.answer(w)
}

// dialer leads to the hook, whatever is dialled.
func (h *hook) dialer(t *testing.T) *dial.Dialer {
	h.conns = make(chan net.Conn)
	server := &http.Server{Handler: h}
	go server.Serve(h)
	t.Cleanup(func() { close(h.conns) })
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.Contact = true, "https://example.com/contact"
	return dial.New(cfg).Over(func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case h.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
}

// forgetful is a store that loses what came of alerts, as a crash does.
type forgetful struct {
	*sqlite.DB
	lose bool
}

func (f *forgetful) SaveAlerts(ctx context.Context, results []store.AlertResult, at int64) error {
	if f.lose {
		return io.ErrUnexpectedEOF
	}
	return f.DB.SaveAlerts(ctx, results, at)
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

// TestWebhook checks what a webhook gets, when it is tried again, and when no
// longer.
func TestWebhook(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	// The example of Standard Webhooks: a secret and what it is in base64.
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := alerting(t, map[string]any{"name": "hook", "webhook": "http://127.0.0.1:9/alerts?x=1", "secret": "file:" + secret})
	synctest.Test(t, func(t *testing.T) {
		h := &hook{answer: status(http.StatusNoContent)}
		db := &forgetful{DB: newStore(t)}
		r := addRelay(t, db.DB, "wss://relay.nostr.org")
		alerter := monitor.New(cfg, db, h.dialer(t), nil, "test", slog.New(slog.DiscardHandler)).Alerter()
		begin := time.Now()
		cycle := func() error { return alerter.Cycle(t.Context()) }
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(cycle())
		if len(h.posts) != 0 {
			t.Errorf("told of nothing: %+v", h.posts)
		}
		ends := begin.Add(13 * 24 * time.Hour).Unix()
		raise(t, db.DB, r,
			alert("hook", store.AlertDown, r.ID, 0, dial.CauseTCPRefused), alert("hook", store.AlertCertificate, r.ID, ends, ""),
			alert("hook", store.AlertDoubt, 0, begin.Unix(), dial.CauseSelf), alert("other", store.AlertUp, r.ID, 0, ""))
		db.lose = true
		if err := cycle(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a cycle whose results are lost: %v", err)
		}
		must(db.FreeLeases(t.Context(), "test"))
		db.lose = false
		must(cycle())
		must(cycle())
		if len(h.posts) != 2 || h.posts[0].body != h.posts[1].body {
			t.Fatalf("posts: %+v, want the same two times and not a third time", h.posts)
		}
		want := fmt.Sprintf(`{"monitor":"Monitor","alerts":[`+
			`{"id":"certificate:1:%[2]d","kind":"certificate","at":%[1]d,"relay":"wss://relay.nostr.org","ends":%[2]d},`+
			`{"id":"doubt:0:%[1]d","kind":"doubt","at":%[1]d,"cause":"self"},`+
			`{"id":"down:1:%[1]d","kind":"down","at":%[1]d,"relay":"wss://relay.nostr.org","cause":"tcp-refused","since":%[1]d}]}`, begin.Unix(), ends)
		p := h.posts[1]
		if d := cmp.Diff(want, p.body); d != "" || p.path != "POST /alerts?x=1" {
			t.Errorf("%s (-want +got):\n%s", p.path, d)
		}
		if agent := p.header.Get("User-Agent"); agent != "BigBrotr (+https://example.com/contact)" {
			t.Errorf("user agent %q", agent)
		}
		key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
		must(err)
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", p.header.Get("Webhook-Id"), p.header.Get("Webhook-Timestamp"), p.body)
		if have := p.header.Get("Webhook-Signature"); have != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			t.Errorf("signature %q", have)
		}
		if h.posts[0].header.Get("Webhook-Id") != p.header.Get("Webhook-Id") || p.header.Get("Webhook-Timestamp") != fmt.Sprint(begin.Unix()) {
			t.Errorf("headers %v and %v", h.posts[0].header, p.header)
		}

		// A hook that fails, or sends us elsewhere, is tried ever more rarely, and
		// at last no longer.
		h.posts = nil
		h.answer = func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:9/elsewhere")
			w.WriteHeader([]int{http.StatusFound, http.StatusInternalServerError}[len(h.posts)%2])
		}
		raise(t, db.DB, r, alert("hook", store.AlertUp, r.ID, 7, ""))
		for end := time.Now().Add(10 * 24 * time.Hour); time.Now().Before(end); {
			must(cycle())
			step := time.Minute
			if len(h.posts) > 4 { // the waits that follow are long
				step *= 20
			}
			time.Sleep(step)
		}
		var waits []time.Duration
		for i, p := range h.posts[1:] {
			waits = append(waits, p.at.Sub(h.posts[i].at))
		}
		var last time.Duration
		const day = 24 * time.Hour
		for i, wait := range []time.Duration{time.Minute, 5 * time.Minute, 20 * time.Minute, time.Hour, 6 * time.Hour, day, day, day} {
			low, high := wait*85/100, wait*115/100+21*time.Minute
			if i >= len(waits) || waits[i] < low || waits[i] > high {
				t.Fatalf("waits %v: number %d is not %s to %s", waits, i, low, high)
			}
			last += waits[i]
		}
		if len(waits) != 8 {
			t.Errorf("%d attempts in ten days, want 9", len(h.posts))
		}
	})
}

// TestMessage has alerts sent to a key that reads messages at a relay which
// wants to know who writes, and at one that is gone.
func TestMessage(t *testing.T) {
	network := simnet.New(71)
	t.Cleanup(network.Close)
	add := adder(t, network)
	inbox, old, gone, publishes := add(simnet.Behaviour{Auth: true}), add(simnet.Behaviour{}), add(simnet.Behaviour{}), add(simnet.Behaviour{})
	gone.Stop()
	to := nostr.GenerateKey()
	list := func(by nostr.SecretKey, at int64, urls ...relay.URL) nostr.Event {
		e := nostr.Event{Kind: 10050, CreatedAt: at, Tags: []nostr.Tag{{"relay"}, {"relay", "not a URL"}}}
		for _, u := range urls {
			e.Tags = append(e.Tags, nostr.Tag{"relay", u.String()})
		}
		if err := by.Sign(&e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	db := newStore(t)
	if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: []nostr.Event{list(to, 1000, old.URL())}}); err != nil {
		t.Fatal(err)
	}
	cfg := alerting(t, map[string]any{"name": "me", "npub": nip19.EncodePubKey(to.PubKey()), "kinds": []string{"down"}})
	cfg.Publish.Relays = []string{gone.URL().String(), publishes.URL().String()}
	wire := dial.DefaultConfig()
	wire.AllowLocal = true
	var log strings.Builder
	alerter := monitor.New(cfg, db, dial.New(wire), nil, "test", slog.New(slog.NewTextHandler(&log, nil))).Alerter()
	r := addRelay(t, db, "wss://relay.nostr.org")
	tell := func(about int64) {
		t.Helper()
		raise(t, db, r, alert("me", store.AlertDown, r.ID, about, dial.CauseTLSExpired))
		if err := alerter.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := func(from *simnet.Relay) (letters []nostr.Event) {
		t.Helper()
		for _, held := range from.Visible(nostr.Filter{Kinds: []nostr.Kind{nip59.KindWrap}}) {
			wrap := held.Parse()
			if err := errors.Join(wrap.CheckID(), wrap.Verify()); err != nil {
				t.Error(err)
			}
			letter, err := nip59.Open(to, wrap)
			if err != nil {
				t.Fatal(err)
			}
			letters = append(letters, letter)
		}
		return letters
	}
	// By the list that is archived.
	tell(86_400)
	letters := got(old)
	key, err := nip19.ParseSecret(monitorKey)
	if err != nil {
		t.Fatal(err)
	}
	if len(letters) != 1 || letters[0].Kind != 14 || letters[0].PubKey != key.PubKey() ||
		letters[0].Content != "wss://relay.nostr.org is down since 1970-01-02 00:00 UTC: tls-expired" ||
		!slices.EqualFunc(letters[0].Tags, []nostr.Tag{{"p", to.PubKey().String()}}, slices.Equal[nostr.Tag]) {
		t.Fatalf("letters: %+v", letters)
	}
	// By a newer one, that one of our own relays holds. One relay of it is gone.
	newer := list(to, 2000, gone.URL(), inbox.URL())
	forged := list(nostr.GenerateKey(), 3000, old.URL())
	forged.PubKey = to.PubKey()
	for _, e := range []nostr.Event{newer, forged} {
		publishes.Add(simnet.NewEvent(&e))
	}
	tell(2 * 86_400)
	inbox.SetBehaviour(simnet.Behaviour{}) // so that we can look
	if letters := got(inbox); len(letters) != 1 || len(got(old)) != 1 {
		t.Errorf("letters: %+v and %+v", letters, got(old))
	}
	if text := log.String(); !strings.Contains(text, "relay="+gone.URL().String()) || !strings.Contains(text, "tcp-refused") || strings.Contains(text, monitorKey) {
		t.Errorf("the log says:\n%s", text)
	}
	left, err := db.DueAlerts(t.Context(), "me", store.Due{Now: time.Now().Unix() + 999, Limit: 9, Owner: "look", Until: 1})
	if err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// TestAlerted takes a relay down and up again: its receivers hear of the outage
// once each, and of nothing else.
func TestAlerted(t *testing.T) {
	network := simnet.New(72)
	t.Cleanup(network.Close)
	var watched []*simnet.Relay
	for range 2 {
		r, err := network.AddRelay(simnet.Behaviour{})
		if err != nil {
			t.Fatal(err)
		}
		watched = append(watched, r)
	}
	db := newStore(t)
	relays, err := db.AddRelays(t.Context(), network.URLs(), time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	own := func(name string, more map[string]any) map[string]any {
		more["name"], more["webhook"] = name, "http://127.0.0.1:9"
		return more
	}
	cfg := alerting(t, own("all", map[string]any{}), own("up", map[string]any{"kinds": []string{"up"}}),
		own("host", map[string]any{"relays": []string{relays[0].URL.Hostname()}}), own("other", map[string]any{"relays": []string{relays[1].URL.String()}}))
	wire := dial.DefaultConfig()
	wire.AllowLocal = true
	s := monitor.New(cfg, db, dial.New(wire), nil, "test", slog.New(slog.DiscardHandler))
	cycle := func() {
		t.Helper()
		again(t, db, relays)
		if err := s.Cycle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	raised := func() map[string][]string {
		t.Helper()
		list := map[string][]string{}
		for _, name := range []string{"all", "up", "host", "other"} {
			now := time.Now().Unix() + 9
			due, err := db.DueAlerts(t.Context(), name, store.Due{Now: now, Limit: 9, Owner: "look", Until: now})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range due {
				list[name] = append(list[name], fmt.Sprintf("%s %d %s", d.Kind, d.Relay, d.Cause))
			}
			slices.Sort(list[name])
		}
		return list
	}
	want := map[string][]string{}
	check := func(when string) {
		t.Helper()
		if d := cmp.Diff(want, raised()); d != "" {
			t.Errorf("%s (-want +got):\n%s", when, d)
		}
	}
	cycle()
	check("both up")
	watched[0].Stop()
	cycle()
	check("after one failure")
	cycle()
	cycle() // still down
	down, up := "down 1 tcp-refused", "up 1 tcp-refused"
	want = map[string][]string{"all": {down}, "host": {down}}
	check("down")
	if err := watched[0].Start(); err != nil {
		t.Fatal(err)
	}
	cycle()
	cycle()
	want = map[string][]string{"all": {down, up}, "host": {down, up}, "up": {up}}
	check("up again")
}

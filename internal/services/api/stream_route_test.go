package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// follower reads server-sent events.
type follower struct {
	t      *testing.T
	lines  *bufio.Scanner
	cancel context.CancelFunc
	last   string // the newest id
}

func (r *running) follow(t *testing.T, query, last string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr+"/api/v1/stream?"+query, nil)
	must(t, err)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	client := &http.Client{Transport: &http.Transport{}}
	resp, err := client.Do(req)
	must(t, err)
	t.Cleanup(func() { _ = resp.Body.Close(); client.CloseIdleConnections() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("status %d, %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	f := &follower{t: t, lines: bufio.NewScanner(resp.Body), cancel: cancel}
	f.lines.Buffer(nil, 1<<20)
	return f
}

// next returns the next event's name and data; false at the end.
func (f *follower) next() (name, data string, ok bool) {
	for f.lines.Scan() {
		key, value, _ := strings.Cut(f.lines.Text(), ": ")
		switch key {
		case "event":
			name = value
		case "id":
			f.last = value
		case "data":
			return name, value, true
		}
	}
	return "", "", false
}

// contents returns the content of the next n events.
func (f *follower) contents(n int) []string {
	f.t.Helper()
	var list []string
	for range n {
		name, data, ok := f.next()
		var e nostr.Event
		if !ok || name != "event" {
			f.t.Fatalf("after %q: %s %q: %v", list, name, data, f.lines.Err())
		}
		e, err := nostr.ParseEvent([]byte(data))
		must(f.t, err)
		list = append(list, e.Content)
	}
	return list
}

// TestStream follows what is archived, leaves, and comes back without missing
// anything.
func TestStream(t *testing.T) {
	r := run(t, time.Minute)
	close(r.store.give)
	db := r.db
	save := func(from, to int) (texts []string) {
		var events []nostr.Event
		for i := from; i < to; i++ {
			text := fmt.Sprint("note ", i)
			events = append(events, event(i%3, 1, base-int64(i), text, nostr.Tag{"t", fmt.Sprint(i % 2)}), event(9, 4, base-int64(i), "private"))
			texts = append(texts, text)
		}
		_, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: events})
		must(t, err)
		return texts
	}
	save(0, 5)
	all := r.follow(t, "what=events", "")
	some := r.follow(t, "what=events&tag=t:1", "")
	want := save(5, 25)
	if have := all.contents(20); !slices.Equal(have, want) {
		t.Errorf("followed %q, want %q", have, want)
	}
	if have := some.contents(10); have[0] != "note 5" || have[9] != "note 23" {
		t.Errorf("with a filter %q", have)
	}
	all.cancel()
	want = save(25, 700)
	back := r.follow(t, "what=events", all.last)
	if have := back.contents(len(want)); !slices.Equal(have, want) {
		t.Errorf("who comes back gets %d, want %d", len(have), len(want))
	}
	again := r.follow(t, "what=events&after="+url.QueryEscape(all.last), "")
	if have := again.contents(len(want)); !slices.Equal(have, want) {
		t.Errorf("who comes back by a parameter gets %d, want %d", len(have), len(want))
	}
	want = save(700, 710)
	for _, f := range []*follower{back, again} {
		if have := f.contents(10); !slices.Equal(have, want) {
			t.Errorf("and then %q, want %q", have, want)
		}
	}
	r.stop()
	if _, _, ok := back.next(); ok {
		t.Error("the stream goes on behind the end of the process")
	}
	must(t, <-r.ended)
}

// TestStreamRelays tells of relays whose state changes.
func TestStreamRelays(t *testing.T) {
	r := run(t, time.Minute)
	close(r.store.give)
	relays, err := r.db.AddRelays(t.Context(), []relay.URL{parse(t, "wss://a.nostr.org"), parse(t, "wss://b.nostr.org")}, base)
	must(t, err)
	f := r.follow(t, "what=relays", "")
	now := time.Now().Unix()
	must(t, r.db.SaveOutcomes(t.Context(), []store.Outcome{{Relay: relays[1].ID, At: now, State: store.StateDown, Cause: "tls", Failures: 1}}))
	name, data, ok := f.next()
	var have struct {
		URL, State, Cause string
		Since             int64
	}
	if !ok || name != "relay" || json.Unmarshal([]byte(data), &have) != nil || have.URL != "wss://b.nostr.org" || have.State != "down" || have.Cause != "tls" || have.Since != now {
		t.Errorf("%s %q", name, data)
	}
	back := r.follow(t, "what=relays", f.last)
	if _, data, ok := back.next(); !ok || !strings.Contains(data, "b.nostr.org") {
		t.Errorf("who comes back gets %q", data)
	}
	r.stop()
	must(t, <-r.ended)
}

package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fiatjaf/eventstore"
	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"
	"github.com/nbd-wtf/go-nostr/nip45"
	"github.com/nbd-wtf/go-nostr/nip45/hyperloglog"
	"github.com/nbd-wtf/go-nostr/nip77"
)

// face imports events and serves them as a relay. It returns the relay's address
// and the store.
func face(t *testing.T, file string) (url, store string) {
	t.Helper()
	store = "sqlite:" + filepath.Join(t.TempDir(), "archive.db")
	if out, code := bigbrotr(t, "import", "--store", store, file); code != 0 {
		t.Fatalf("import exits with %d: %s", code, out)
	}
	cmd := exec.CommandContext(t.Context(), binary, "run", "api", "--store", store, "--listen", "127.0.0.1:0", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var said struct{ Pages string }
	if err := json.Unmarshal(line, &said); err != nil {
		t.Fatalf("run prints %s: %v", line, err)
	}
	return "ws" + strings.TrimSuffix(strings.TrimPrefix(said.Pages, "http"), "/"), store
}

// TestFace asks the real binary's relay as clients do that nobody here wrote:
// document, stored and new events, counts with their sketch, reconciliation.
func TestFace(t *testing.T) {
	events := realEvents(t)
	file, err := filepath.Abs(filepath.Join(root, "internal/core/nostr/testdata/events_real.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	url, store := face(t, file)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	info, err := nip11.Fetch(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != "BigBrotr" || !slices.Contains(info.SupportedNIPs, any(float64(77))) && !slices.Contains(info.SupportedNIPs, any(77)) {
		t.Errorf("document %+v", info)
	}
	relay, err := nostr.RelayConnect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()

	deleted := map[string]bool{}
	for _, e := range events {
		for _, tag := range e.Tags {
			if e.Kind == 5 && len(tag) > 1 && tag[0] == "e" {
				deleted[e.PubKey+tag[1]] = true
			}
		}
	}
	wanted := func(f nostr.Filter) (ids []string) {
		f.Limit = 0
		for _, e := range events {
			if f.Matches(e) && !deleted[e.PubKey+e.ID] && !protected(e) && !expired(e) {
				ids = append(ids, e.ID)
			}
		}
		slices.Sort(ids)
		return ids
	}
	busiest := map[string]int{}
	for _, e := range events {
		if e.Kind == 1 {
			busiest[e.PubKey]++
		}
	}
	var author string
	for key, n := range busiest {
		if n > busiest[author] || n == busiest[author] && key < author {
			author = key
		}
	}
	for _, f := range []nostr.Filter{
		{Kinds: []int{1}, Authors: []string{author}}, {Kinds: []int{7}}, {Kinds: []int{1, 6}, Tags: nostr.TagMap{"t": {"nostr", "bitcoin"}}}, {Kinds: []int{9735}},
	} {
		f.Limit = 1000
		want := wanted(f)
		got, err := relay.QuerySync(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, e := range got {
			if ok, err := e.CheckSignature(); !ok || !e.CheckID() {
				t.Errorf("go-nostr does not accept %s: %v", e.ID, err)
			}
			have = append(have, e.ID)
		}
		slices.Sort(have) // go-nostr verifies side by side, and hands them on in any order
		if len(want) <= f.Limit {
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("%s (-want +have):\n%.2000s", f, diff)
			}
		} else if len(have) != f.Limit {
			t.Errorf("%s: %d events", f, len(have))
		}
		n, _, err := relay.Count(ctx, nostr.Filters{f})
		if err != nil || n != int64(len(want)) {
			t.Errorf("%s: count %d, %v, want %d", f, n, err, len(want))
		}
		t.Logf("%s: %d events, %d counted", f, len(have), n)
	}

	// The sketch of the most liked event is the one that go-nostr makes.
	liked := map[string]int{}
	for _, e := range events {
		if tag := e.Tags.Find("e"); e.Kind == 7 && tag != nil {
			liked[tag[1]]++
		}
	}
	var target string
	for id, n := range liked {
		if n > liked[target] || n == liked[target] && id < target {
			target = id
		}
	}
	f := nostr.Filter{Kinds: []int{7}, Tags: nostr.TagMap{"e": {target}}}
	offset := nip45.HyperLogLogEventPubkeyOffsetForFilter(f)
	sketch := hyperloglog.New(offset)
	for _, e := range events {
		if f.Matches(e) && slices.Contains(wanted(f), e.ID) {
			sketch.Add(e.PubKey)
		}
	}
	n, registers, err := relay.Count(ctx, nostr.Filters{f})
	if err != nil || n != int64(len(wanted(f))) || n == 0 || !slices.Equal(registers, sketch.GetRegisters()) {
		t.Errorf("%d of %d reactions to %s, %v; sketch %x, want %x", n, len(wanted(f)), target, err, registers, sketch.GetRegisters())
	}

	// Reconciliation brings what a store lacks.
	f = nostr.Filter{Kinds: []int{1}}
	want := wanted(f)
	db := &slicestore.SliceStore{MaxLimit: 100_000}
	if err := db.Init(); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i, e := range events {
		if i%3 > 0 && slices.Contains(want, e.ID) {
			if err := db.SaveEvent(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, err := db.CountEvents(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := nip77.NegentropySync(ctx, eventstore.RelayWrapper{Store: db}, url, f, nip77.Down); err != nil {
		t.Fatal(err)
	}
	after, err := db.CountEvents(ctx, f)
	if err != nil || after != int64(len(want)) {
		t.Errorf("%d events before and %d after the reconciliation, %v, want %d", before, after, err, len(want))
	}
	t.Logf("reconciled: %d events before, %d after", before, after)

	// What another process archives comes to a subscription.
	key := nostr.GeneratePrivateKey()
	late := nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Content: "late", Tags: nostr.Tags{{"t", "late"}}}
	if err := late.Sign(key); err != nil {
		t.Fatal(err)
	}
	sub, err := relay.Subscribe(ctx, nostr.Filters{{Tags: nostr.TagMap{"t": {"late"}}, Authors: []string{late.PubKey}}})
	if err != nil {
		t.Fatal(err)
	}
	<-sub.EndOfStoredEvents
	name := filepath.Join(t.TempDir(), "late.jsonl")
	write(t, name, late.String()+"\n")
	if out, code := bigbrotr(t, "import", "--store", store, name); code != 0 {
		t.Fatalf("import exits with %d: %s", code, out)
	}
	select {
	case e := <-sub.Events:
		if e == nil || e.ID != late.ID {
			t.Errorf("the subscription gives %v", e)
		}
	case <-ctx.Done():
		t.Error("what was archived does not come")
	}

	if err := relay.Publish(ctx, late); err == nil || !strings.Contains(err.Error(), "blocked") {
		t.Errorf("an event is taken: %v", err)
	}
}

// protected tells whether only its author may pass an event on (NIP-70).
func protected(e *nostr.Event) bool {
	return slices.ContainsFunc(e.Tags, func(tag nostr.Tag) bool { return len(tag) > 0 && tag[0] == "-" })
}

// expired tells whether an event's time is over (NIP-40).
func expired(e *nostr.Event) bool {
	tag := e.Tags.Find("expiration")
	if tag == nil {
		return false
	}
	at, err := strconv.ParseInt(tag[1], 10, 64)
	return err == nil && at <= time.Now().Unix()
}

// TestFaceAuthenticates asks for what is private: strangers are told to
// authenticate, and get nothing afterwards; both who it is between get it.
func TestFaceAuthenticates(t *testing.T) {
	alice, bob, eve := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	toBob, err := nostr.GetPublicKey(bob)
	if err != nil {
		t.Fatal(err)
	}
	private := nostr.Event{Kind: 4, CreatedAt: nostr.Now() - 60, Content: "for you", Tags: nostr.Tags{{"p", toBob}}}
	if err := private.Sign(alice); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "private.jsonl")
	write(t, name, private.String()+"\n")
	url, _ := face(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// ask returns the events, or why there are none.
	ask := func(relay *nostr.Relay) (events []*nostr.Event, closed string) {
		sub, err := relay.Subscribe(ctx, nostr.Filters{{Kinds: []int{4}}})
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsub()
		for {
			select {
			case e, more := <-sub.Events:
				if more {
					events = append(events, e)
				}
			case <-sub.EndOfStoredEvents:
				return events, ""
			case reason := <-sub.ClosedReason:
				return nil, reason
			case <-ctx.Done():
				t.Fatal("no answer")
			}
		}
	}
	for who, want := range map[string]int{alice: 1, bob: 1, eve: 0} {
		relay, err := nostr.RelayConnect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		if events, closed := ask(relay); len(events) > 0 || !strings.HasPrefix(closed, "auth-required: ") {
			t.Errorf("before authentication: %d events, closed with %q", len(events), closed)
		}
		if err := relay.Auth(ctx, func(e *nostr.Event) error { return e.Sign(who) }); err != nil {
			t.Fatalf("authentication: %v", err)
		}
		if events, closed := ask(relay); len(events) != want || closed != "" {
			t.Errorf("after authentication: %d events, want %d, closed with %q", len(events), want, closed)
		}
		relay.Close()
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// face imports the real events and serves them as a relay. It returns the
// relay's address and the store.
func face(t *testing.T) (url, store string) {
	t.Helper()
	store = "sqlite:" + filepath.Join(t.TempDir(), "archive.db")
	file, err := filepath.Abs(filepath.Join(root, "internal/core/nostr/testdata/events_real.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
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
	url, store := face(t)
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
			if at := e.Tags.Find("expiration"); f.Matches(e) && !deleted[e.PubKey+e.ID] && e.Tags.Find("-") == nil && at == nil {
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
		if !slices.IsSortedFunc(got, func(a, b *nostr.Event) int { return int(b.CreatedAt - a.CreatedAt) }) {
			t.Errorf("%s: not newest first", f)
		}
		slices.Sort(have)
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
	db := &slicestore.SliceStore{MaxLimit: 100_000}
	if err := db.Init(); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f = nostr.Filter{Kinds: []int{1}}
	want := wanted(f)
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

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

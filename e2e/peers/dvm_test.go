package peers

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip04"
	"github.com/nbd-wtf/go-nostr/nip44"
)

// TestDVM asks the real binary by way of a khatru relay, with keys, signatures
// and encryption of go-nostr.
func TestDVM(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := taking(t)
	key, customer := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	us, err := nostr.GetPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	them, err := nostr.GetPublicKey(customer)
	if err != nil {
		t.Fatal(err)
	}
	relay, err := nostr.RelayConnect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	sub, err := relay.Subscribe(ctx, nostr.Filters{{Kinds: []int{6050, 7000}, Tags: nostr.TagMap{"p": {them}}}, {Kinds: []int{31990}}})
	if err != nil {
		t.Fatal(err)
	}
	serveJobs(t, url, key)
	// The service tells that it takes jobs when it does.
	select {
	case got := <-sub.Events:
		if ok, err := got.CheckSignature(); !ok || got.PubKey != us || got.Kind != 31990 {
			t.Fatalf("%v: %v", got, err)
		}
	case <-ctx.Done():
		t.Fatal("nothing is announced")
	}
	// ask publishes a request and returns its answer, when everything has come that
	// belongs to it: go-nostr hands events on in no order.
	ask := func(e nostr.Event) *nostr.Event {
		e.Kind, e.CreatedAt = 5050, nostr.Now()
		e.Tags = append(e.Tags, nostr.Tag{"p", us})
		if err := e.Sign(customer); err != nil {
			t.Fatal(err)
		}
		if err := relay.Publish(ctx, e); err != nil {
			t.Fatal(err)
		}
		var result *nostr.Event
		told := map[string]bool{} // by feedback
		for result == nil || !told["processing"] || !told["success"] && !told["partial"] {
			select {
			case got := <-sub.Events:
				if ok, err := got.CheckSignature(); !ok || !got.CheckID() || got.PubKey != us {
					t.Fatalf("%v: %v", got, err)
				}
				switch of := got.Tags.Find("e"); {
				case of[1] != e.ID:
				case got.Kind == 6050 && result != nil:
					t.Fatal("a second answer")
				case got.Kind == 6050:
					result = got
					var whole nostr.Event
					if err := json.Unmarshal([]byte(got.Tags.Find("request")[1]), &whole); err != nil || whole.ID != e.ID || !whole.CheckID() {
						t.Errorf("request tag: %v, %v", whole, err)
					}
				default:
					status := got.Tags.Find("status")[1]
					if status != "processing" && status != "success" && status != "partial" || told[status] {
						t.Fatalf("status %q", status)
					}
					told[status] = true
				}
			case <-ctx.Done():
				t.Fatalf("feedback %v, answer %v", told, result)
			}
		}
		return result
	}
	question := nostr.Tag{"i", "events?kinds=1", "text"}
	if result := ask(nostr.Event{Tags: nostr.Tags{question, {"param", "limit", "1"}}}); !strings.Contains(result.Content, "hello from the archive") {
		t.Errorf("answer %s", result.Content)
	}
	inner := `[["i","events?kinds=1","text"]]`
	shared, err := nip04.ComputeSharedSecret(us, customer)
	if err != nil {
		t.Fatal(err)
	}
	content, err := nip04.Encrypt(inner, shared)
	if err != nil {
		t.Fatal(err)
	}
	result := ask(nostr.Event{Content: content, Tags: nostr.Tags{{"encrypted"}}})
	if text, err := nip04.Decrypt(result.Content, shared); err != nil || !strings.Contains(text, "hello from the archive") {
		t.Errorf("by NIP-04: %q, %v", text, err)
	}
	conversation, err := nip44.GenerateConversationKey(us, customer)
	if err != nil {
		t.Fatal(err)
	}
	if content, err = nip44.Encrypt(inner, conversation); err != nil {
		t.Fatal(err)
	}
	result = ask(nostr.Event{Content: content, Tags: nostr.Tags{{"encrypted"}}})
	if text, err := nip44.Decrypt(result.Content, conversation); err != nil || !strings.Contains(text, "hello from the archive") {
		t.Errorf("by NIP-44: %q, %v", text, err)
	}
}

// taking starts a khatru relay that takes events.
func taking(t *testing.T) string {
	t.Helper()
	db := &slicestore.SliceStore{MaxLimit: 1000}
	if err := db.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	rl := khatru.NewRelay()
	rl.Log = log.New(io.Discard, "", 0)
	rl.QueryEvents = append(rl.QueryEvents, db.QueryEvents)
	rl.StoreEvent = append(rl.StoreEvent, db.SaveEvent)
	rl.ReplaceEvent = append(rl.ReplaceEvent, db.ReplaceEvent)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: rl, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "ws://" + l.Addr().String()
}

// serveJobs runs the service over an archive of one note.
func serveJobs(t *testing.T, url, key string) {
	t.Helper()
	dir := t.TempDir()
	note := nostr.Event{Kind: 1, CreatedAt: nostr.Now() - 60, Content: "hello from the archive"}
	if err := note.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "note.jsonl"), note.String()+"\n")
	write(t, filepath.Join(dir, "key"), key+"\n")
	config, store := filepath.Join(dir, "bigbrotr.yaml"), "sqlite:"+filepath.Join(dir, "archive.db")
	write(t, config, "dial: {allow_local: true}\ndvm: {key: 'file:"+filepath.Join(dir, "key")+"', relays: ['"+url+"']}\n")
	if out, code := bigbrotr(t, "import", "--store", store, filepath.Join(dir, "note.jsonl")); code != 0 {
		t.Fatalf("import exits with %d: %s", code, out)
	}
	cmd := exec.CommandContext(t.Context(), binary, "run", "dvm", "--config", config, "--store", store)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

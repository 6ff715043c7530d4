package peers

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/fiatjaf/khatru"
	"github.com/google/go-cmp/cmp"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip11"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	words "bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip66/nip66test"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/monitor"
	"bigbrotr/internal/services/monitor/probe"
)

// khatruRelay starts a relay that keeps what it gets, and returns its URL.
func khatruRelay(t *testing.T, limit int, change func(*khatru.Relay)) relay.URL {
	t.Helper()
	db := &slicestore.SliceStore{MaxLimit: limit}
	if err := db.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	rl := khatru.NewRelay()
	rl.Log = log.New(io.Discard, "", 0)
	rl.StoreEvent = append(rl.StoreEvent, db.SaveEvent)
	rl.QueryEvents = append(rl.QueryEvents, db.QueryEvents)
	rl.CountEvents = append(rl.CountEvents, db.CountEvents)
	rl.DeleteEvent = append(rl.DeleteEvent, db.DeleteEvent)
	rl.ReplaceEvent = append(rl.ReplaceEvent, db.ReplaceEvent)
	rl.Negentropy = true
	change(rl)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: rl, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	u, err := relay.Rules{AllowLocal: true}.Parse("ws://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func localDialer() *dial.Dialer {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	return dial.New(cfg)
}

// TestMonitorOfKhatru checks relays that nobody here wrote.
func TestMonitorOfKhatru(t *testing.T) {
	notes := realEvents(t)
	notes = slices.DeleteFunc(notes, func(e *nostr.Event) bool { return e.Kind != 1 })[:300]
	fill := func(rl *khatru.Relay) {
		for _, e := range notes {
			for _, save := range rl.StoreEvent {
				if err := save(context.Background(), e); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	open := khatruRelay(t, 50, func(rl *khatru.Relay) {
		fill(rl)
		rl.Info.SupportedNIPs = []any{1, 9, 11, 42, 45, 70, 77}
		rl.Info.Limitation = &nip11.RelayLimitationDocument{MaxLimit: 50}
	})
	closed := khatruRelay(t, 500, func(rl *khatru.Relay) {
		rl.RejectFilter = append(rl.RejectFilter, func(ctx context.Context, _ nostr.Filter) (bool, string) {
			return khatru.GetAuthed(ctx) == "", "auth-required: who are you?"
		})
		rl.RejectEvent = append(rl.RejectEvent, func(ctx context.Context, _ *nostr.Event) (bool, string) {
			return khatru.GetAuthed(ctx) == "", "auth-required: who are you?"
		})
	})
	key := words.GenerateKey()
	kit := probe.Kit{Dialer: localDialer(), Key: &key, Work: probe.NewWork()}
	check := func(u relay.URL) map[string]probe.Result {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		found := map[string]probe.Result{}
		for _, r := range kit.Check(ctx, u, true) {
			found[r.Probe] = r
		}
		return found
	}
	have := check(open)
	for _, name := range []string{"open", "read", "nip11", "write", "retention", "nips"} {
		if r := have[name]; !r.OK {
			t.Errorf("%s: %q (%s)", name, r.Cause, r.Detail)
		}
	}
	var claims probe.Claims
	if err := json.Unmarshal(have["nips"].Document, &claims); err != nil {
		t.Fatal(err)
	}
	verdicts := map[string]probe.Verdict{}
	for _, c := range claims.Claims {
		verdicts[c.Name] = c.Verdict
	}
	want := map[string]probe.Verdict{
		"max_limit": probe.Kept, "NIP-9": probe.Kept, "NIP-11": probe.Kept, "NIP-45": probe.Kept, "NIP-77": probe.Kept,
		// It sends a challenge along with the refusal of a protected event.
		"NIP-42": probe.Kept, "NIP-70": probe.Kept,
		// Which go-nostr writes as 0 when there are none.
		"created_at_lower_limit": probe.Untested, "created_at_upper_limit": probe.Untested,
	}
	if d := cmp.Diff(want, verdicts); d != "" {
		t.Errorf("claims (-want +have):\n%s\n%+v", d, claims)
	}
	have = check(closed)
	if r := have["read"]; r.Cause != dial.CauseReadAuth {
		t.Errorf("reading from a closed relay: %q (%s)", r.Cause, r.Detail)
	}
	if r := have["write"]; !r.OK || r.Values["authenticated"] != 1 {
		t.Errorf("writing to a closed relay: %q (%s), %v", r.Cause, r.Detail, r.Values)
	}
}

// TestReportsByAnotherLibrary publishes to a relay that checks what it gets, and
// reads the reports with go-nostr.
func TestReportsByAnotherLibrary(t *testing.T) {
	var mu sync.Mutex
	var got []*nostr.Event
	target := khatruRelay(t, 500, func(rl *khatru.Relay) {
		rl.OnEventSaved = append(rl.OnEventSaved, func(_ context.Context, e *nostr.Event) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, e)
		})
	})
	watched := khatruRelay(t, 500, func(rl *khatru.Relay) { rl.Info.Name = "Relay \"<é>\"\u2028" })
	ctx := t.Context()
	db, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := db.AddRelays(ctx, []relay.URL{watched}, time.Now().Unix()); err != nil {
		t.Fatal(err)
	}
	secret := nostr.GeneratePrivateKey()
	public, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "monitor.yaml")
	text := "key: env:MONITOR_KEY\npublish: {relays: ['" + target.String() + "']}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := monitor.DefaultConfig()
	if _, err := config.Load(&cfg, config.Sources{File: file, Env: []string{"MONITOR_KEY=" + secret}}); err != nil {
		t.Fatal(err)
	}
	if err := monitor.New(cfg, db, localDialer(), nil, "test", slog.New(slog.DiscardHandler)).Cycle(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := db.Relay(ctx, watched)
	if err != nil || r.State != store.StateUp {
		t.Fatalf("the relay is %s, %v", r.State, err)
	}
	mu.Lock()
	defer mu.Unlock()
	kinds := map[int]*nostr.Event{}
	for _, e := range got {
		kinds[e.Kind] = e
		own, err := words.ParseChecked([]byte(e.String()))
		if err != nil {
			t.Fatal(err)
		}
		nip66test.Validate(t, own)
		if ok, err := e.CheckSignature(); !ok || err != nil || !e.CheckID() || e.PubKey != public {
			t.Errorf("event %s: signature %t, %v; id %t; by %s", e, ok, err, e.CheckID(), e.PubKey)
		}
	}
	for _, kind := range []int{0, 10002, 10166, 30166} {
		if kinds[kind] == nil {
			t.Errorf("no event of kind %d", kind)
		}
	}
	report := kinds[30166]
	if report == nil {
		return
	}
	if d := report.Tags.GetD(); d != watched.String()+"/" {
		t.Errorf("report about %q", d)
	}
	var document nip11.RelayInformationDocument
	if err := json.Unmarshal([]byte(report.Content), &document); err != nil || !strings.HasPrefix(document.Name, "Relay \"<é>\"") {
		t.Errorf("content %q: %v", report.Content, err)
	}
}

package peers

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"

	"bigbrotr/internal/core/config"
	words "bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/synchronizer"
)

// TestLive reconciles a khatru relay whole, proves it unchanged, and follows it
// live: what another library publishes there is archived, whatever its date.
func TestLive(t *testing.T) {
	now := time.Now().Unix()
	events := slices.DeleteFunc(realEvents(t), func(e *nostr.Event) bool {
		return nostr.IsEphemeralKind(e.Kind) || int64(e.CreatedAt) > now-2*store.Day
	})[:4000]
	u := khatruRelay(t, len(events)+100, func(rl *khatru.Relay) {
		for _, e := range events {
			for _, save := range rl.StoreEvent {
				if err := save(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := db.AddRelays(t.Context(), []relay.URL{u}, now-10)
	if err != nil {
		t.Fatal(err)
	}
	cfg := synchronizer.DefaultConfig()
	cfg.PerSecond, cfg.Interval = 1000, config.Duration(100*time.Millisecond)
	svc := synchronizer.New(cfg, db, localDialer(), "peers", nil, slog.New(slog.DiscardHandler))
	visit := func() synchronizer.Report {
		report, err := svc.Sync(t.Context(), rows[0], nil)
		if err != nil || report.Cause != "" {
			t.Fatalf("%q, %v", report.Cause, err)
		}
		return report
	}
	proved := func(r synchronizer.Report) bool {
		return len(r.Coverage) > 0 && r.Coverage[0].Lo == 0 && r.Coverage[0].Hi >= now-2*store.Day && r.Coverage[0].Level == store.LevelFingerprint
	}

	first := visit()
	if first.New != int64(len(events)) || !proved(first) {
		t.Errorf("%d of %d events, %q, %+v", first.New, len(events), first.Negentropy, first.Coverage)
	}
	again := visit()
	cost := again.BytesReceived + again.BytesSent
	t.Logf("first: %d requests, %d bytes; unchanged: %d requests, %d bytes, %d events", first.Requests, first.BytesReceived, again.Requests, cost, again.EventsReceived)
	if again.New != 0 || !proved(again) || cost > 50_000 || again.EventsReceived > 10 {
		t.Errorf("unchanged: %+v", again)
	}

	following, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := svc.Tails().Cycle(following); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("tails: %v", err)
		}
	})
	defer running.Wait()
	defer stop()
	until := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !holds(); {
			if time.Now().After(end) {
				t.Fatalf("waited in vain: %s", what)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	until("a tail", func() bool {
		tail, err := db.Tail(t.Context(), rows[0].ID)
		return err == nil && tail.Since > 0
	})
	client, err := nostr.RelayConnect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	key := nostr.GeneratePrivateKey()
	for _, ago := range []int64{0, store.Day, 900 * store.Day} {
		e := nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(now - ago), Content: "live"}
		if err := e.Sign(key); err != nil {
			t.Fatal(err)
		}
		if err := client.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		id, err := words.ParseID(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		until("the event in the archive", func() bool {
			carried, err := db.EventRelays(t.Context(), id)
			return err == nil && len(carried) == 1
		})
	}
	// What came by the tail is in the relay's set: the days are equal still.
	if last := visit(); last.New != 0 || !proved(last) {
		t.Errorf("after arrivals: %d new, %+v", last.New, last.Coverage)
	}
}

package refresher_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/refresher"
)

// TestTexts indexes what was archived long ago in several turns and what comes
// later, leaves out what is not for everybody or not for ever, follows
// deletions, and drops everything when it is turned off.
func TestTexts(t *testing.T) {
	db, _ := newStore(t)
	ctx := t.Context()
	author := nostr.PubKey{1}
	made := 0
	event := func(kind nostr.Kind, text string, tags ...nostr.Tag) nostr.Event {
		made++
		e := nostr.Event{PubKey: author, Kind: kind, CreatedAt: base + int64(made), Content: text, Tags: tags}
		e.ID[0], e.ID[1], e.ID[2] = byte(made>>16), byte(made>>8), byte(made)
		return e
	}
	add := func(events ...nostr.Event) {
		t.Helper()
		for part := range slices.Chunk(events, 1000) {
			_, err := db.SaveBatch(ctx, store.Batch{SeenAt: base, Events: part})
			must(t, err)
		}
	}
	cfg := refresher.DefaultConfig()
	cfg.Search = true
	cycle := func() {
		t.Helper()
		must(t, refresher.New(cfg, db, slog.New(slog.DiscardHandler)).Cycle(ctx))
	}
	found := func(search string) (texts []string) {
		t.Helper()
		page, _, err := db.Events(ctx, store.EventQuery{Filter: nostr.Filter{Search: search}, Limit: 1000}) // what strangers are not served, too
		must(t, err)
		for _, s := range page {
			texts = append(texts, s.Event.Content)
		}
		return texts
	}
	var many []nostr.Event
	for i := range 2500 {
		many = append(many, event(1, fmt.Sprintf("many number%d", i)))
	}
	add(many...)
	kept, gone := event(1, "word kept"), event(1, "word gone")
	request := event(5, "", nostr.Tag{"e", gone.ID.String()}, nostr.Tag{"e", "nonsense"}, nostr.Tag{"e"})
	expiry := fmt.Sprint(time.Now().Unix() + 3600)
	add(kept, gone, request, event(1, "word protected", nostr.Tag{"-"}), event(1, "word expiring", nostr.Tag{"expiration", expiry}),
		event(4, "word private"), event(7, "word reaction"))
	cycle()
	if have := found("many"); len(have) != 1000 {
		t.Errorf("%d of a page", len(have))
	}
	if have := found("number1234"); !slices.Equal(have, []string{"many number1234"}) {
		t.Errorf("one of many: %q", have)
	}
	if have := found("word"); !slices.Equal(have, []string{"word kept"}) {
		t.Errorf("at first: %q", have)
	}
	later := event(1, "word later")
	add(later, event(5, "", nostr.Tag{"e", kept.ID.String()}))
	cycle()
	if have := found("word"); !slices.Equal(have, []string{"word later"}) {
		t.Errorf("later: %q", have)
	}
	at, _, err := db.TextsAt(ctx)
	must(t, err)
	cycle()
	if again, _, err := db.TextsAt(ctx); err != nil || again != at {
		t.Errorf("position %q, %v, want %q", again, err, at)
	}
	cfg.Search = false
	cycle()
	if _, _, err := db.Events(ctx, store.EventQuery{Filter: nostr.Filter{Search: "word"}, Limit: 1}); !errors.Is(err, store.ErrNoSearch) {
		t.Errorf("turned off: %v", err)
	}
	cfg.Search = true
	cycle()
	if have := found("word"); !slices.Equal(have, []string{"word later"}) {
		t.Errorf("turned on again: %q", have)
	}
}

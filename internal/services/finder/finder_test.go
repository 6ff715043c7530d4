package finder_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/services/finder"
)

const base int64 = 1_700_000_000 // 2023-11-14

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T) *sqlite.DB { return newStoreOf(t, store.Keep{}) }

func newStoreOf(t *testing.T, keep store.Keep) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{Keep: keep})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	_, err = db.Migrate(t.Context())
	must(t, err)
	return db
}

// event returns an event with the right id. Its signature is none: the store
// takes what others have verified.
func event(author int, kind nostr.Kind, content string, tags ...nostr.Tag) nostr.Event {
	e := nostr.Event{PubKey: sha256.Sum256(fmt.Append(nil, author)), CreatedAt: base, Kind: kind, Content: content, Tags: tags}
	e.ID = sha256.Sum256(e.AppendCanonical(nil))
	return e
}

func save(t *testing.T, db *sqlite.DB, events ...nostr.Event) {
	t.Helper()
	_, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: base, Events: events})
	must(t, err)
}

// recorder is a store that notes what the finder reads and saves.
type recorder struct {
	*sqlite.DB
	scanned map[nostr.ID]int
	saves   []int // mentions of each save
	onSave  func()
}

func record(db *sqlite.DB) *recorder {
	return &recorder{DB: db, scanned: map[nostr.ID]int{}, onSave: func() {}}
}

func (r *recorder) ScanEvents(ctx context.Context, after store.Cursor, filter nostr.Filter) iter.Seq2[store.Scanned, error] {
	return func(yield func(store.Scanned, error) bool) {
		for s, err := range r.DB.ScanEvents(ctx, after, filter) {
			r.scanned[s.Event.ID]++
			if !yield(s, err) {
				return
			}
		}
	}
}

func (r *recorder) SaveFindings(ctx context.Context, reader string, position store.Cursor, found store.Found) (int, error) {
	r.saves = append(r.saves, len(found.Mentions))
	defer r.onSave()
	return r.DB.SaveFindings(ctx, reader, position, found)
}

func newFinder(st finder.Store, batch int) *finder.Service {
	cfg := finder.DefaultConfig()
	cfg.Batch = batch
	return finder.New(cfg, st, dial.New(dial.DefaultConfig()), relay.Rules{}, "test", slog.New(slog.DiscardHandler))
}

// found is what is known of a candidate.
type found struct {
	Class   hints.Class
	Authors int
}

func candidates(t *testing.T, db *sqlite.DB) map[string]found {
	t.Helper()
	now := time.Now().Unix()
	due, err := db.DueCandidates(t.Context(), store.Due{Service: "test", Now: now, Limit: 10_000, Owner: "test", Until: now})
	must(t, err)
	list := map[string]found{}
	for _, c := range due {
		list[c.URL.String()] = found{c.Class, c.DistinctAuthors}
	}
	return list
}

// TestCycle checks what comes of events of several kinds.
func TestCycle(t *testing.T) {
	db := newStore(t)
	known, err := relay.Parse("wss://known.nostr.org")
	must(t, err)
	_, err = db.AddRelays(t.Context(), []relay.URL{known}, base)
	must(t, err)
	save(t, db,
		event(1, 10002, "", nostr.Tag{"r", "wss://list.nostr.org"}, nostr.Tag{"r", "wss://both.nostr.org", "read"}, nostr.Tag{"r", "wss://known.nostr.org"}),
		event(2, 10002, "", nostr.Tag{"r", "wss://list.nostr.org"}),
		event(1, 3, `{"wss://follow.nostr.org":{"read":true,"write":true}}`),
		event(3, 2, "wss://recommended.nostr.org"),
		event(1, 1, "look at wss://text.nostr.org", nostr.Tag{"e", strings.Repeat("ab", 32), "wss://hint.nostr.org"}, nostr.Tag{"p", strings.Repeat("cd", 32), "wss://both.nostr.org"}),
		event(1, 1, "nothing here"),
		event(1, 1, "nor here: ws://127.0.0.1:7777 wss:// https://a.nostr.org"),
	)
	must(t, newFinder(db, 1000).Cycle(t.Context()))
	have := candidates(t, db)
	for url, want := range map[string]found{
		"wss://list.nostr.org":        {hints.List, 2},
		"wss://both.nostr.org":        {hints.List, 1},
		"wss://follow.nostr.org":      {have["wss://follow.nostr.org"].Class, 1},
		"wss://recommended.nostr.org": {have["wss://recommended.nostr.org"].Class, 1},
		"wss://hint.nostr.org":        {hints.Hint, 1},
		"wss://text.nostr.org":        {hints.Content, 1},
	} {
		if have[url] != want {
			t.Errorf("%s is %+v, want %+v", url, have[url], want)
		}
		delete(have, url)
	}
	if len(have) > 0 {
		t.Errorf("more candidates: %v", have)
	}
}

// TestIndex reads an archive that is an index: relay lists are whole, and of
// other events nothing is taken for a hint.
func TestIndex(t *testing.T) {
	db := newStoreOf(t, store.Keep{Mode: store.KeepIndex, FullKinds: store.DefaultFullKinds()})
	list := event(1, 10002, "", nostr.Tag{"r", "wss://list.nostr.org"}, nostr.Tag{"r", "wss://read.nostr.org", "read"})
	save(t, db,
		event(2, 1, "see wss://content.nostr.org", nostr.Tag{"e", strings.Repeat("0", 64), "wss://hint.nostr.org"}),
		event(2, 3, `{"wss://follows.nostr.org":{}}`), list,
		event(2, 6, string(list.AppendJSON(nil))), event(3, 2, "wss://recommended.nostr.org"),
		event(4, 30166, "", nostr.Tag{"d", "wss://monitored.nostr.org"}))
	r := record(db)
	must(t, newFinder(r, 4).Cycle(t.Context()))
	if len(r.scanned) != 6 {
		t.Errorf("%d events read, want 6", len(r.scanned))
	}
	have := slices.Sorted(maps.Keys(candidates(t, db)))
	want := []string{"wss://list.nostr.org", "wss://monitored.nostr.org", "wss://read.nostr.org", "wss://recommended.nostr.org"}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("candidates (-want +have):\n%s", diff)
	}
}

// TestPosition checks that every event is read once, however the cycles fall,
// and that new ones are read later.
func TestPosition(t *testing.T) {
	db := newStore(t)
	r := record(db)
	notes := func(from, to int) (list []nostr.Event) {
		for i := from; i < to; i++ {
			list = append(list, event(i, 1, fmt.Sprintf("wss://r%03d.nostr.org", i)))
		}
		return list
	}
	for _, step := range []struct{ events, batch, saves int }{
		{0, 10, 0}, {25, 10, 3}, {25, 10, 3}, {45, 10, 5}, {46, 1, 6}, {50, 1000, 7},
	} {
		save(t, db, notes(0, step.events)...)
		must(t, newFinder(r, step.batch).Cycle(t.Context())) // a new one, as after a restart
		if len(r.scanned) != step.events || len(candidates(t, db)) != step.events {
			t.Errorf("%d events: %d were read, %d candidates", step.events, len(r.scanned), len(candidates(t, db)))
		}
		if len(r.saves) != step.saves {
			t.Errorf("%d events: saved %d times, want %d", step.events, len(r.saves), step.saves)
		}
	}
	for id, n := range r.scanned {
		if n != 1 {
			t.Errorf("%s was read %d times", id, n)
		}
	}
}

// TestStop checks that a stop ends a cycle between two batches, with the batch
// in hand saved.
func TestStop(t *testing.T) {
	db := newStore(t)
	for i := range 30 {
		save(t, db, event(i, 1, fmt.Sprintf("wss://r%03d.nostr.org", i)))
	}
	r := record(db)
	asked, stop := context.WithCancel(t.Context())
	r.onSave = func() {
		if len(r.saves) == 2 {
			stop()
			// The runner hears of it on its own time; the next batch must not
			// begin before.
			<-asked.Done()
		}
	}
	runner := service.NewRunner(time.Minute, slog.New(slog.DiscardHandler))
	runner.Add("finder", service.Func(newFinder(r, 5).Cycle))
	must(t, runner.Run(asked))
	if have := len(candidates(t, db)); len(r.saves) != 2 || have != 10 {
		t.Errorf("stopped after %d batches with %d candidates, want 2 and 10", len(r.saves), have)
	}
	must(t, newFinder(r, 5).Cycle(t.Context()))
	if have := len(candidates(t, db)); have != 30 || len(r.scanned) != 30 {
		t.Errorf("then %d candidates of %d events, want 30", have, len(r.scanned))
	}
}

// TestManyMentions checks that events full of relays are saved in pieces.
func TestManyMentions(t *testing.T) {
	db := newStore(t)
	var events []nostr.Event
	for i := range 30 {
		var list []nostr.Tag
		for j := range hints.MaxFound {
			list = append(list, nostr.Tag{"r", fmt.Sprintf("wss://r%d.nostr.org", j)})
		}
		events = append(events, event(i, 10002, "", list...))
	}
	save(t, db, events...)
	r := record(db)
	must(t, newFinder(r, 1000).Cycle(t.Context()))
	if diff := cmp.Diff([]int{25 * hints.MaxFound, 5 * hints.MaxFound}, r.saves); diff != "" {
		t.Errorf("mentions of each save (-want +have):\n%s", diff)
	}
	if len(r.scanned) != 30 {
		t.Errorf("%d events were read, want 30", len(r.scanned))
	}
}

// TestConfig checks which values are refused.
func TestConfig(t *testing.T) {
	for _, test := range []struct {
		interval time.Duration
		batch    int
		want     string // in the problem; empty for none
	}{
		{time.Minute, 2000, ""}, {time.Millisecond, 2000, "interval"}, {time.Minute, 0, "batch"}, {time.Minute, 100_001, "batch"},
	} {
		cfg := finder.Config{Interval: config.Duration(test.interval), Batch: test.batch}
		_, err := config.Load(&cfg, config.Sources{})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, %d: %v", test.interval, test.batch, err)
		}
	}
	if list := finder.DefaultConfig().Sources; len(list) != 0 {
		t.Errorf("sources that nobody configured: %+v", list)
	}
}

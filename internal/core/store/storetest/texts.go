package storetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// note is one of any number of texts.
func note(n int, kind nostr.Kind, at int64, text string) nostr.Event {
	return nostr.Event{ID: nostr.ID(author(5000 + n)), PubKey: author(n % 3), Kind: kind, CreatedAt: at, Content: text, Tags: []nostr.Tag{{"t", fmt.Sprint(n % 2)}}}
}

// indexWords reads everything that is archived into the index of words.
func (f *fixture) indexWords() {
	f.t.Helper()
	at, _, err := f.TextsAt(f.ctx)
	f.must(err)
	batch := store.TextBatch{From: at, Complete: true}
	batch.To, err = f.Head(f.ctx)
	f.must(err)
	for one, err := range f.ScanEvents(f.ctx, at, nostr.Filter{}) {
		f.must(err)
		batch.Add = append(batch.Add, store.EventWords{Seq: one.Seq, CreatedAt: one.Event.CreatedAt, Words: store.Words(&one.Event)})
	}
	f.must(f.SaveTexts(f.ctx, batch))
}

// search pages through what a filter finds.
func (f *fixture) search(q store.EventQuery) []nostr.Event {
	f.t.Helper()
	var found []nostr.Event
	for more := true; more; more = q.After != "" {
		page, next, err := f.Events(f.ctx, q)
		f.must(err)
		for _, s := range page {
			found = append(found, s.Event)
		}
		q.After = next
	}
	return found
}

// testNoTexts tests an archive that is an index.
func testNoTexts(t *testing.T, open opener) {
	f := newFixture(t, open)
	f.save(store.Batch{SeenAt: base, Events: []nostr.Event{note(1, 0, base, `{"name":"hello"}`)}})
	if err := f.SaveTexts(f.ctx, store.TextBatch{}); !errors.Is(err, store.ErrNoSearch) {
		t.Errorf("texts are taken: %v", err)
	}
	if _, _, err := f.Events(f.ctx, store.EventQuery{Filter: nostr.Filter{Search: "hello"}, Limit: 1}); !errors.Is(err, store.ErrNoSearch) {
		t.Errorf("a search: %v", err)
	}
	f.must(f.DropTexts(f.ctx))
}

func testTexts(t *testing.T, open opener) {
	cases(t, open, map[string]func(*testing.T, *fixture){
		"on and off": func(_ *testing.T, f *fixture) {
			q := store.EventQuery{Filter: nostr.Filter{Search: "hello"}, Limit: 10}
			refused := func(when string, want error) {
				f.t.Helper()
				if _, _, err := f.Events(f.ctx, q); !errors.Is(err, want) {
					f.t.Errorf("%s: %v, want %v", when, err, want)
				}
			}
			one := note(1, 1, base, "Hello, world")
			f.save(store.Batch{SeenAt: base, Events: []nostr.Event{one}})
			refused("before", store.ErrNoSearch)
			f.must(f.SaveTexts(f.ctx, store.TextBatch{}))
			refused("not complete", store.ErrNoSearch)
			f.indexWords()
			f.equal("found", []nostr.Event{one}, f.search(q))
			at, complete, err := f.TextsAt(f.ctx)
			f.must(err)
			head, err := f.Head(f.ctx)
			f.must(err)
			f.equal("position", head, at)
			f.equal("complete", true, complete)
			// Who was somewhere else meanwhile does nothing.
			f.must(f.SaveTexts(f.ctx, store.TextBatch{From: "", To: "x", Remove: []store.EventWords{{Seq: 1, CreatedAt: base}}}))
			f.equal("still found", []nostr.Event{one}, f.search(q))
			q.Filter.Search = "a, language:en"
			refused("without words", store.ErrSearch)
			q.Filter.Search = "hello"
			f.must(f.DropTexts(f.ctx))
			refused("after", store.ErrNoSearch)
			f.indexWords()
			f.equal("found again", []nostr.Event{one}, f.search(q))
		},
		"taken off": func(_ *testing.T, f *fixture) {
			events := []nostr.Event{note(0, 1, base, "common first"), note(1, 1, base+1, "common second"), note(2, 30023, base+2, "common third")}
			f.save(store.Batch{SeenAt: base, Events: events})
			f.indexWords()
			f.indexWords() // what is there already
			q := store.EventQuery{Filter: nostr.Filter{Search: "common"}, Limit: 10}
			f.equal("all", []nostr.Event{events[2], events[1], events[0]}, f.search(q))
			var second store.EventWords
			for one, err := range f.ScanEvents(f.ctx, "", nostr.Filter{IDs: []nostr.ID{events[1].ID}}) {
				f.must(err)
				second = store.EventWords{Seq: one.Seq, CreatedAt: one.Event.CreatedAt}
			}
			at, _, err := f.TextsAt(f.ctx)
			f.must(err)
			f.must(f.SaveTexts(f.ctx, store.TextBatch{From: at, To: at, Remove: []store.EventWords{second, {Seq: 999, CreatedAt: base}, {Seq: 1, CreatedAt: math.MaxInt64}}}))
			f.equal("without one", []nostr.Event{events[2], events[0]}, f.search(q))
			// An author who vanishes leaves no words behind, nor comes back.
			f.save(store.Batch{SeenAt: base, Events: []nostr.Event{{
				ID: nostr.ID(author(9999)), PubKey: author(0), Kind: store.KindVanish, CreatedAt: base + 9, Tags: []nostr.Tag{{"relay", "ALL_RELAYS"}},
			}}})
			f.equal("without an author", []nostr.Event{events[2]}, f.search(q))
			at, _, err = f.TextsAt(f.ctx)
			f.must(err)
			f.must(f.SaveTexts(f.ctx, store.TextBatch{From: at, To: at, Add: []store.EventWords{{Seq: 1, CreatedAt: base, Words: []string{"common"}}}}))
			f.equal("without an author, still", []nostr.Event{events[2]}, f.search(q))
		},
		"like reading everything": func(t *testing.T, f *fixture) {
			texts := []string{
				"nostr relays carry notes", "Nostr! relays", "the café is open", "CAFÉ: open", "日本語のノート", "日本", "x' OR 1=1 --", "a & b | c ! d", `quoted "notes" (here)`,
				"straße", "\u0000nostr", "", "notes notes notes", "https://relay.example.com/notes",
			}
			var events []nostr.Event
			for i := range 300 {
				kind := []nostr.Kind{1, 1, 1, 1111, 30023, 7, 4}[i%7]
				events = append(events, note(i, kind, base+int64(i/7), texts[i%len(texts)]+" "+texts[(i/3)%len(texts)]))
			}
			for part := range slices.Chunk(events, 60) {
				f.save(store.Batch{SeenAt: base, Events: part})
				f.indexWords()
			}
			words := []string{"nostr", "relays", "notes", "Café", "日本", "日本語", "OR", "quoted", "strasse", "straße", "relay.example", "-notes", "'", `"notes"`, "open", "include:spam", "here)"}
			rapid.Check(t, func(t *rapid.T) {
				f := f.in(t)
				q := store.EventQuery{Limit: rapid.IntRange(1, 50).Draw(t, "limit"), Public: rapid.Bool().Draw(t, "public"), Now: base}
				for i, w := range rapid.SliceOfN(rapid.SampledFrom(words), 1, 3).Draw(t, "words") {
					if i > 0 {
						q.Filter.Search += " "
					}
					q.Filter.Search += w
				}
				if rapid.Bool().Draw(t, "by author") {
					q.Filter.Authors = []nostr.PubKey{author(rapid.IntRange(0, 3).Draw(t, "author"))}
				}
				if rapid.Bool().Draw(t, "by kind") {
					q.Filter.Kinds = []nostr.Kind{1, 30023, 4}
				}
				if rapid.Bool().Draw(t, "by tag") {
					q.Filter.Tags = map[string][]string{"t": {"1"}}
				}
				if rapid.Bool().Draw(t, "since") {
					q.Filter.Since = new(base + 20)
				}
				if rapid.Bool().Draw(t, "until") {
					q.Filter.Until = new(base + 30)
				}
				if _, err := store.SearchWords(q.Filter.Search); err != nil {
					if _, _, have := f.Events(f.ctx, q); !errors.Is(have, store.ErrSearch) {
						t.Errorf("%q: %v", q.Filter.Search, have)
					}
					return
				}
				var want []nostr.Event
				for _, e := range events {
					if q.Filter.Matches(&e) && store.Finds(q.Filter.Search, &e) && !(q.Public && e.Kind == 4) {
						want = append(want, e)
					}
				}
				slices.SortFunc(want, newestFirst)
				f.equal(fmt.Sprintf("%+v", q), want, f.search(q))
			})
		},
	})
}

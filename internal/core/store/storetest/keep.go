package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// RunIndex tests every role that reads or writes events against a store that
// keeps of most events an index. Open returns an empty store of the given
// policy whose schema is migrated.
func RunIndex(t *testing.T, open func(*testing.T, store.Keep) store.Store) {
	full := func(t *testing.T) store.Store { return open(t, store.Keep{Mode: store.KeepFull}) }
	policy := func(kinds ...nostr.Kind) (store.Keep, opener) {
		keep := store.Keep{Mode: store.KeepIndex, FullKinds: kinds}
		return keep, func(t *testing.T) store.Store { return open(t, keep) }
	}
	keep, index := policy(store.DefaultFullKinds()...)
	t.Run("archive", func(t *testing.T) { testArchive(t, index) })
	t.Run("rollup", func(t *testing.T) { testRollups(t, index) })
	t.Run("read", func(t *testing.T) { testReads(t, index) })
	t.Run("version", func(t *testing.T) { testVersions(t, index) })
	t.Run("texts", func(t *testing.T) { testNoTexts(t, index) })
	t.Run("keep", func(t *testing.T) { testIndex(t, full, index, keep) })

	// Nothing depends on what is kept whole.
	keep, index = policy()
	t.Run("no kind whole", func(t *testing.T) {
		t.Run("vanish", func(t *testing.T) { testVanish(t, index) })
		t.Run("deleted by their authors", func(t *testing.T) { testDeleted(t, newFixture(t, index)) })
		t.Run("keep", func(t *testing.T) { testIndex(t, full, index, keep) })
	})
}

func testIndex(t *testing.T, full, index opener, keep store.Keep) {
	t.Run("policy", func(t *testing.T) {
		f := newFixture(t, index)
		f.equal("policy", keep, f.keep)
	})
	t.Run("as a full one", func(t *testing.T) { testAlike(t, newFixture(t, full), newFixture(t, index)) })
	t.Run("made of a full one", func(t *testing.T) { testThin(t, newFixture(t, full), keep) })
}

func testFull(t *testing.T, open opener) {
	f := newFixture(t, open)
	f.equal("mode", store.KeepFull, f.keep.Mode)
}

// deliver saves events as relays bring them: in parts, some from several.
func (f *fixture) deliver(relays []store.Relay, events []nostr.Event) (saved []store.Saved) {
	f.t.Helper()
	n := 0
	for part := range slices.Chunk(events, 60) {
		saved = append(saved, f.save(store.Batch{Relay: relays[n%len(relays)].ID, SeenAt: base + int64(n), Events: part, Ephemeral: true}))
		if n%3 == 0 {
			saved = append(saved, f.save(store.Batch{Relay: relays[(n+1)%len(relays)].ID, SeenAt: base + int64(n), Events: part[:len(part)/2]}))
		}
		n++
	}
	return saved
}

// history is a corpus in which one author vanishes on the way.
func history() []nostr.Event {
	events := corpus(400)
	return slices.Insert(events, len(events)/2, vanish(3, base+corpusSpan/2, everyRelay))
}

// left returns what a history leaves.
func left(events []nostr.Event) []nostr.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e nostr.Event) bool {
		return e.Kind != 62 && e.PubKey == author(3) && e.CreatedAt <= base+corpusSpan/2
	})
}

// testAlike gives two stores the same events: what they tell is the same.
func testAlike(t *testing.T, full, index *fixture) {
	events := history()
	index.equal("saved", full.deliver(full.relays(3), events), index.deliver(index.relays(3), events))
	// What the one cannot hold the other does not take either.
	bad := []nostr.Event{event(5, 1, base, "\xff\xfe"), event(5, 7, base, "", nostr.Tag{"t", "\xc3"}), event(5, 1, base, "\x00\xff"), event(5, 0, base, "\xff")}
	index.equal("saved of bad ones", full.add(bad...), index.add(bad...))
	state := func(f *fixture) any {
		totals := f.totals()
		totals.Bytes = 0
		kinds, err := f.Kinds(f.ctx, 1000)
		f.must(err)
		days, err := f.Days(f.ctx, 0, 1<<40)
		f.must(err)
		summaries, err := f.RelaySummaries(f.ctx, store.RelayQuery{Limit: 10})
		f.must(err)
		found, err := f.Recount(f.ctx)
		f.must(err)
		relays := make(map[nostr.ID][]store.Carried)
		for _, e := range left(events) {
			relays[e.ID], err = f.EventRelays(f.ctx, e.ID)
			f.must(err)
		}
		return []any{totals, kinds, days, summaries, found, relays, f.seqs(append(slices.Clip(events), bad...)...)}
	}
	index.equal("sums, relays and numbers", state(full), state(index))
	rapid.Check(t, func(rt *rapid.T) {
		q := store.EventQuery{
			Filter: drawFilter(rt, events),
			Limit:  rapid.SampledFrom([]int{3, 40, 1000}).Draw(rt, "limit"),
			Public: rapid.Bool().Draw(rt, "public"),
			Now:    base + rapid.Int64Range(0, corpusSpan).Draw(rt, "now"),
		}
		full, index := full.in(rt), index.in(rt)
		index.equal("pages", ids(full.pages(q)...), ids(index.pages(q)...))
		scanned := func(f *fixture) (seqs []store.Seq) {
			for _, s := range f.scan("", q.Filter) {
				seqs = append(seqs, s.Seq)
			}
			return seqs
		}
		index.equal("scan", scanned(full), scanned(index))
	})
}

// testThin makes an index of a full store and looks whether it is one.
func testThin(t *testing.T, f *fixture, keep store.Keep) {
	thinner, ok := f.Store.(store.Thinner)
	if !ok {
		t.Fatal("it cannot make an index")
	}
	none := func(int64, int64) {}
	if refused, ok := errors.AsType[*store.KeepError](thinner.Thin(f.ctx, store.Keep{Mode: store.KeepFull}, none)); !ok {
		t.Errorf("Thin to full: %v, want a %T", refused, refused)
	}
	f.equal("policy", store.KeepFull, f.keep.Mode)

	events := history()
	relays := f.relays(3)
	f.deliver(relays, events)
	events = left(events)
	_, err := f.Refresh(f.ctx, 100) // the rest is summed up afterwards
	f.must(err)
	var steps [][2]int64
	f.must(thinner.Thin(f.ctx, keep, func(done, all int64) { steps = append(steps, [2]int64{done, all}) }))
	if !slices.IsSortedFunc(steps, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) }) || len(steps) == 0 || steps[len(steps)-1][0] != steps[len(steps)-1][1] {
		t.Errorf("progress %d", steps)
	}

	f.keep, err = f.Keep(f.ctx)
	f.must(err)
	f.equal("policy", keep, f.keep)
	look := func() {
		t.Helper()
		f.must(f.VerifySchema(f.ctx))
		for _, filter := range []nostr.Filter{
			{},
			{Kinds: []nostr.Kind{5}},
			{Kinds: []nostr.Kind{30023}},
			{Authors: []nostr.PubKey{author(1)}},
			{IDs: ids(events[:50]...)},
			{Tags: map[string][]string{"t": {"x"}}},
			{Tags: map[string][]string{"t": {"x", "y", "é"}, "p": {"x", "", "\x00"}}},
		} {
			for _, public := range []bool{true, false} {
				f.answersAs(events, store.EventQuery{Filter: filter, Limit: 70, Public: public, Now: base + corpusSpan/2})
			}
		}
		totals := f.totals()
		f.equal("events", int64(len(events)), totals.Events)
		found, err := f.Recount(f.ctx)
		f.must(err)
		f.equal("differences", 0, len(found))
	}
	look()
	fresh := []nostr.Event{
		event(2, 1, base+5, "new", nostr.Tag{"t", "x"}), event(2, 30023, base+5, "", nostr.Tag{"d", "x"}),
		event(1, 5, base+corpusSpan, "", nostr.Tag{"a", fmt.Sprintf("30023:%s:x", author(1))}), event(1, 30023, base+corpusSpan, "", nostr.Tag{"d", "x"}),
	}
	f.deliver(relays, fresh)
	events = append(events, fresh...)
	look()
	f.must(thinner.Thin(f.ctx, keep, none))
	look()

	// Events that are thin already can vanish.
	f.add(vanish(1, base+corpusSpan, everyRelay))
	events = slices.DeleteFunc(events, func(e nostr.Event) bool { return e.PubKey == author(1) && e.Kind != 62 })
	events = append(events, vanish(1, base+corpusSpan, everyRelay))
	look()
	if refused, ok := errors.AsType[*store.KeepError](thinner.Thin(f.ctx, store.Keep{Mode: store.KeepFull}, none)); !ok || refused.Have != store.KeepIndex {
		t.Errorf("Thin back to full: %v, want a %T", refused, refused)
	}
}

package archive_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
)

// TestIndex imports into an archive that is an index and exports what it keeps
// whole, which is not all.
func TestIndex(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	with := func(kinds []nostr.Kind, use func(*sqlite.DB)) {
		t.Helper()
		db, err := sqlite.Open(t.Context(), path, sqlite.Options{Keep: store.Keep{Mode: store.KeepIndex, FullKinds: kinds}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		use(db)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	events := signed(t, 30) // of the kinds 0, 1 and 2
	load := func(db *sqlite.DB, events []nostr.Event, want archive.Imported) {
		t.Helper()
		got, err := archive.Import(t.Context(), bytes.NewReader(bytes.Join(raws(events...), []byte("\n"))), archive.NewIntake(db, nil), db,
			func(archive.Reject) {}, func(int64) {})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("imported (-want +got): %s", d)
		}
	}
	// of exports, and wants events of a kind or the refusal for one.
	of := func(db *sqlite.DB, filter nostr.Filter, want []nostr.Event, refused nostr.Kind) {
		t.Helper()
		var out bytes.Buffer
		n, err := archive.Export(t.Context(), &out, db, filter, func(int) {})
		if want == nil {
			why, ok := errors.AsType[*archive.IndexOnlyError](err)
			if !ok || why.Kind != refused || n != 0 || out.Len() != 0 {
				t.Errorf("%s: %d exported, %d bytes, %v; want a refusal for kind %d", filter.AppendJSON(nil), n, out.Len(), err, refused)
			}
			return
		}
		if lines := append(bytes.Join(raws(want...), []byte("\n")), '\n'); err != nil || n != len(want) || !bytes.Equal(lines, out.Bytes()) {
			t.Errorf("%s: %d exported, want %d, %v", filter.AppendJSON(nil), n, len(want), err)
		}
	}
	kind := func(events []nostr.Event, kinds ...nostr.Kind) []nostr.Event {
		return slices.DeleteFunc(slices.Clone(events), func(e nostr.Event) bool { return !slices.Contains(kinds, e.Kind) })
	}
	with([]nostr.Kind{0, 2}, func(db *sqlite.DB) {
		load(db, events[:15], archive.Imported{Read: 15, Stored: 15})
		load(db, events[:15], archive.Imported{Read: 15, Known: 15})
		of(db, nostr.Filter{}, nil, 1)
		of(db, nostr.Filter{Kinds: []nostr.Kind{2, 1}}, nil, 1)
		of(db, nostr.Filter{Kinds: []nostr.Kind{2, 0}}, kind(events[:15], 0, 2), 0)
		of(db, nostr.Filter{IDs: []nostr.ID{events[3].ID, events[5].ID}}, []nostr.Event{events[3], events[5]}, 0)
		of(db, nostr.Filter{Limit: new(1)}, events[:1], 0)
	})
	// What is kept whole from now on was not before.
	with([]nostr.Kind{0, 1}, func(db *sqlite.DB) {
		load(db, events, archive.Imported{Read: 30, Stored: 15, Known: 15})
		of(db, nostr.Filter{Kinds: []nostr.Kind{1}}, nil, 1)
		of(db, nostr.Filter{Kinds: []nostr.Kind{1}, Since: &events[15].CreatedAt}, kind(events[15:], 1), 0)
		of(db, nostr.Filter{Kinds: []nostr.Kind{2}}, nil, 2)
		of(db, nostr.Filter{Kinds: []nostr.Kind{0}}, kind(events, 0), 0)
	})
	why := archive.IndexOnlyError{Kind: 7, Whole: []nostr.Kind{0, 10002}}
	if text := why.Error(); !strings.Contains(text, "kind 7") || !strings.Contains(text, `{"kinds":[0,10002]}`) {
		t.Errorf("the error is %q", text)
	}
}

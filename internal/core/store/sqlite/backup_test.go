package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

func untold(int64, int64) {}

// TestBackupBesideWriting takes a backup while batches are saved: it is of one
// moment, a beginning of the order in which they were.
func TestBackupBesideWriting(t *testing.T) {
	db := openNew(t)
	save := func(i int) {
		if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: numbered(2*i, 2)}); err != nil {
			t.Error(err)
		}
	}
	for i := 1; i <= 200; i++ {
		save(i)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 201; ; i++ {
			select {
			case <-stop:
				return
			default:
				save(i)
			}
		}
	}()
	to := filepath.Join(t.TempDir(), "saved.db")
	err := db.Backup(t.Context(), to, untold)
	close(stop)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	saved := openSaved(t, to)
	want, n := scanned(t, db), 0
	for i, id := range scanned(t, saved) {
		if n++; id != want[i] {
			t.Fatalf("event %d is another one", i)
		}
	}
	if n < 400 || n%2 != 0 {
		t.Errorf("%d events, want all 400 that were there before and no half of a batch", n)
	}
}

// TestRestore takes an archive back to a backup. A cursor of events that came
// later would silently skip those that get their numbers: it is refused.
// Positions of readers go on where they were.
func TestRestore(t *testing.T) {
	db := openNew(t)
	folder := t.TempDir()
	saved, path := filepath.Join(folder, "saved.db"), filepath.Join(folder, "restored.db")
	save := func(db *DB, i int) {
		t.Helper()
		if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: numbered(i, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	save(db, 1)
	first, err := db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.SaveFindings(t.Context(), "finder", first, store.Found{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Backup(t.Context(), saved, untold); err != nil {
		t.Fatal(err)
	}
	save(db, 2)
	later, err := db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), saved, path, untold); err != nil {
		t.Fatal(err)
	}
	restored := openSaved(t, path)
	save(restored, 3)
	for _, c := range []store.Cursor{first, later} {
		for _, err := range restored.ScanEvents(t.Context(), c, nostr.Filter{}) {
			if !errors.Is(err, store.ErrCursor) {
				t.Errorf("a cursor of before: %v, want %v", err, store.ErrCursor)
			}
		}
	}
	at, err := restored.Position(t.Context(), "finder")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for s, err := range restored.ScanEvents(t.Context(), at, nostr.Filter{}) {
		if n++; err != nil || s.Event.ID != numbered(3, 1)[0].ID {
			t.Errorf("after the reader's position: %v, %v", s.Event.ID, err)
		}
	}
	if n != 1 {
		t.Errorf("%d events after the reader's position, want 1", n)
	}
}

// TestRestoreRefuses leaves alone what is there, and leaves nothing behind.
func TestRestoreRefuses(t *testing.T) {
	db := openNew(t)
	folder := t.TempDir()
	saved := filepath.Join(folder, "saved.db")
	if err := db.Backup(t.Context(), saved, untold); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(folder, "stray.db")
	if err := os.WriteFile(stray+"-wal", []byte("the log of another"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(folder, "torn.db")
	if err := os.WriteFile(torn, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	var locked *store.LockedError
	if err := Restore(t.Context(), saved, db.path, untold); !errors.As(err, &locked) {
		t.Errorf("over one in use: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name       string
		ctx        context.Context
		from, path string
		want       error
	}{
		{"there is one", t.Context(), saved, saved, fs.ErrExist},
		{"a log without its database", t.Context(), saved, stray, fs.ErrExist},
		{"half of a file", t.Context(), torn, filepath.Join(folder, "a.db"), store.ErrCorrupt},
		{"stopped", canceled, saved, filepath.Join(folder, "b.db"), context.Canceled},
	} {
		if err := Restore(tt.ctx, tt.from, tt.path, untold); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		for _, left := range []string{tt.path + partSuffix, tt.path} {
			if _, err := os.Stat(left); err == nil && tt.path != saved {
				t.Errorf("%s: %s is left", tt.name, left)
			}
		}
	}
}

func openSaved(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.VerifySchema(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

func scanned(t *testing.T, db *DB) (ids []nostr.ID) {
	t.Helper()
	for s, err := range db.ScanEvents(t.Context(), "", nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.Event.ID)
	}
	return ids
}

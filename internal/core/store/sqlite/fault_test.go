package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// numbered makes events whose ids and texts say which they are.
func numbered(from, n int) []nostr.Event {
	events := make([]nostr.Event, n)
	for i := range events {
		e := &events[i]
		copy(e.ID[:], fmt.Sprintf("%032d", from+i))
		copy(e.PubKey[:], fmt.Sprintf("author %025d", i%7))
		e.CreatedAt, e.Kind = int64(from+i), nostr.Kind(i%3)
		e.Tags = []nostr.Tag{{"t", strconv.Itoa(i % 5)}}
		e.Content = strings.Repeat("x", 300)
	}
	return events
}

// numberedBatch is a batch whose claim says exactly which events it has.
func numberedBatch(from, n int) store.Batch {
	return store.Batch{Relay: 1, SeenAt: 5, Events: numbered(from, n), Claims: []store.Coverage{{
		Relay: 1, Filter: 1, Interval: store.Interval{Lo: int64(from), Hi: int64(from + n - 1)}, Level: store.LevelWalked, AsOf: 9, Method: "walk", N: int64(n),
	}}}
}

// checkWhole fails unless every claimed second has its event with its sighting,
// and nothing else is there.
func checkWhole(t *testing.T, db *DB) (events int) {
	t.Helper()
	claims, err := db.Coverage(t.Context(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	claimed := 0
	for _, c := range claims {
		claimed += int(c.Hi - c.Lo + 1)
	}
	for s, err := range db.ScanEvents(t.Context(), "", nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		events++
		covered := false
		for _, c := range claims {
			covered = covered || c.Lo <= s.Event.CreatedAt && s.Event.CreatedAt <= c.Hi
		}
		if !covered {
			t.Errorf("event of second %d is there and not claimed", s.Event.CreatedAt)
		}
	}
	for {
		done, err := db.Refresh(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if !done.More {
			break
		}
	}
	totals, err := db.Totals(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	if claimed != events || totals.Events != int64(events) || totals.Sightings != int64(events) {
		t.Errorf("%d seconds claimed, %d events, %d counted, %d sightings", claimed, events, totals.Events, totals.Sightings)
	}
	found := 0
	for cursor := store.Cursor(""); ; {
		page, next, err := db.Events(t.Context(), store.EventQuery{Filter: nostr.Filter{Tags: map[string][]string{"t": {"0", "1", "2", "3", "4"}}}, After: cursor, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		found += len(page)
		if cursor = next; next == "" {
			break
		}
	}
	if found != events {
		t.Errorf("%d events found by their tags, %d there", found, events)
	}
	var problem string
	if err := db.read(t.Context(), func(c *conn) error {
		_, err := c.one(t.Context(), func(r row) { problem = r.text(0) }, "PRAGMA integrity_check")
		return err
	}); err != nil || problem != "ok" {
		t.Errorf("integrity check: %s, %v", problem, err)
	}
	return events
}

func tidyAll(w *writer) error {
	for w.tidy() {
	}
	return nil
}

func TestSecondWriter(t *testing.T) {
	db := openNew(t)
	_, err := Open(t.Context(), db.path, Options{})
	locked, ok := errors.AsType[*store.LockedError](err)
	if !ok || locked.PID != os.Getpid() || locked.Path != db.path {
		t.Fatalf("got %v, want a LockedError with our process id", err)
	}
	reader, err := Open(t.Context(), db.path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), db.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadBesideWriter(t *testing.T) {
	db := openNew(t)
	reader, err := Open(t.Context(), db.path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.VerifySchema(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := db.SaveBatch(t.Context(), numberedBatch(1+100*i, 100)); err != nil {
			t.Fatal(err)
		}
		page, _, err := reader.Events(t.Context(), store.EventQuery{Filter: nostr.Filter{Tags: map[string][]string{"t": {"3"}}}, Limit: 1000})
		if err != nil || len(page) != 20*(i+1) {
			t.Fatalf("after %d batches: %d events, %v", i+1, len(page), err)
		}
		if i == 2 { // moved to its place under the reader
			if err := db.writer.alone(t.Context(), tidyAll); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := reader.SaveBatch(t.Context(), numberedBatch(1, 1)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("save: got %v, want ErrPermission", err)
	}
	if _, err := reader.Migrate(t.Context()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("migrate: got %v, want ErrPermission", err)
	}
	if _, err := reader.AddRelays(t.Context(), nil, 1); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("add relays: got %v, want ErrPermission", err)
	}
	if err := reader.read(t.Context(), func(c *conn) error {
		_, err := c.exec("DELETE FROM event")
		return err
	}); err == nil {
		t.Error("a reader's connection can write")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	changed := func(name string, statements ...string) string {
		db, err := Open(t.Context(), filepath.Join(dir, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, sql := range statements {
			if err := db.write(t.Context(), func(w *writer) error {
				_, err := w.c.exec(sql)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return db.path
	}
	cut := changed("cut.db")
	if err := os.Truncate(cut, 5000); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		writer     error // nil: opens
		reader     error
	}{
		{"missing", filepath.Join(dir, "missing.db"), nil, fs.ErrNotExist},
		{"missing folder", filepath.Join(dir, "no", "x.db"), fs.ErrNotExist, fs.ErrNotExist},
		{"empty", file("empty.db", nil), nil, store.ErrUninitialised},
		{"text", file("text.db", []byte("hello")), store.ErrCorrupt, store.ErrCorrupt},
		{"only a header", file("head.db", append([]byte("SQLite format 3\x00"), make([]byte, 200)...)), store.ErrCorrupt, store.ErrCorrupt},
		{"a folder", dir, store.ErrCorrupt, store.ErrCorrupt},
		{"another program's", changed("other.db", "PRAGMA application_id=77"), store.ErrCorrupt, store.ErrCorrupt},
		{"another program's without a mark", changed("plain.db", "PRAGMA application_id=0"), store.ErrCorrupt, store.ErrCorrupt},
		{"cut short", cut, store.ErrCorrupt, store.ErrCorrupt},
		{"newer", changed("newer.db", "INSERT INTO schema_version (version_id, is_applied) VALUES (99999, 1)"), store.ErrNewer, store.ErrNewer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The reader first: the writer makes what is missing.
			for _, readOnly := range []bool{true, false} {
				want := tt.writer
				if readOnly {
					want = tt.reader
				}
				before, _ := os.ReadFile(tt.path)
				db, err := Open(t.Context(), tt.path, Options{ReadOnly: readOnly})
				if !errors.Is(err, want) || (err == nil) != (want == nil) {
					t.Errorf("read-only %v: got %v, want %v", readOnly, err, want)
				}
				if db != nil {
					db.Close()
				} else if after, _ := os.ReadFile(tt.path); string(before) != string(after) {
					t.Errorf("read-only %v: the refused file was changed", readOnly)
				}
			}
		})
	}
	t.Run("changed schema", func(t *testing.T) {
		path := changed("schema.db", "DROP INDEX event_kind", "CREATE INDEX mine ON event (sig)")
		db, err := Open(t.Context(), path, Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.VerifySchema(t.Context()); !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "CREATE INDEX event_kind") {
			t.Errorf("got %v, want ErrSchema that names event_kind", err)
		}
	})
	t.Run("no schema yet", func(t *testing.T) {
		db, err := Open(t.Context(), filepath.Join(dir, "fresh.db"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.VerifySchema(t.Context()); !errors.Is(err, store.ErrUninitialised) {
			t.Errorf("got %v, want ErrUninitialised", err)
		}
		steps, err := migrations.ReadDir("migrations")
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{len(steps), 0} {
			ran, err := db.Migrate(t.Context())
			if err != nil || len(ran) != want {
				t.Errorf("migrate %d: ran %v, %v", i, ran, err)
			}
		}
	})
}

// smallDisk mounts a file system of a size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") != "" && os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("needs to mount a small file system: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFull(t *testing.T) {
	// fill saves until it fails.
	fill := func(t *testing.T, db *DB) (saved int) {
		t.Helper()
		for i := range 500 {
			_, err := db.SaveBatch(t.Context(), numberedBatch(1+100*i, 100))
			if err != nil {
				if !errors.Is(err, store.ErrFull) {
					t.Fatalf("got %v, want ErrFull", err)
				}
				return 100 * i
			}
		}
		t.Fatal("it never became full")
		return 0
	}
	t.Run("database", func(t *testing.T) {
		db := openNew(t)
		limit := func(pages int) {
			if err := db.writer.alone(t.Context(), func(w *writer) error {
				_, err := w.c.exec(fmt.Sprintf("PRAGMA max_page_count=%d", pages))
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		limit(500)
		saved := fill(t, db)
		if n := checkWhole(t, db); n != saved {
			t.Errorf("%d events are there, %d were saved", n, saved)
		}
		limit(1 << 30)
		if _, err := db.SaveBatch(t.Context(), numberedBatch(saved+1, 100)); err != nil {
			t.Fatalf("with room again: %v", err)
		}
		if n := checkWhole(t, db); n != saved+100 {
			t.Errorf("%d events are there, %d were saved", n, saved+100)
		}
	})
	t.Run("disk", func(t *testing.T) {
		dir := smallDisk(t, "6m")
		db, err := Open(t.Context(), filepath.Join(dir, "t.db"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		saved := fill(t, db)
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=60m"); err != nil {
			t.Fatal(err)
		}
		if n := checkWhole(t, db); n != saved {
			t.Errorf("%d events are there, %d were saved", n, saved)
		}
		if _, err := db.SaveBatch(t.Context(), numberedBatch(saved+1, 100)); err != nil {
			t.Fatalf("with room again: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestKilled kills a process that writes, again and again on the same file, and
// looks whether all it had been told was saved is there, and nothing half.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	acknowledged := 0
	for round := range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), "KILLED_WRITER="+path, "KILLED_FROM="+strconv.Itoa(acknowledged))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 8+round*5 && lines.Scan(); {
			if last, ok := strings.CutPrefix(lines.Text(), "saved "); ok {
				acknowledged, _ = strconv.Atoi(last)
				n++
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it died
			if last, ok := strings.CutPrefix(lines.Text(), "saved "); ok {
				acknowledged, _ = strconv.Atoi(last)
			}
		}
		cmd.Wait()
		db, err := Open(t.Context(), path, Options{}) // its lock died with it
		if err != nil {
			t.Fatal(err)
		}
		have := checkWhole(t, db)
		if have < acknowledged || acknowledged == 0 {
			t.Errorf("round %d: %d events, %d acknowledged", round, have, acknowledged)
		}
		acknowledged = have
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestKilledWriter is the process that TestKilled kills.
func TestKilledWriter(t *testing.T) {
	path := os.Getenv("KILLED_WRITER")
	if path == "" {
		t.Skip("runs inside TestKilled")
	}
	ctx := context.Background()
	from, _ := strconv.Atoi(os.Getenv("KILLED_FROM"))
	db, err := Open(ctx, path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := db.SaveBatch(ctx, numberedBatch(1+from, 200)); err != nil {
			t.Fatal(err)
		}
		from += 200
		fmt.Printf("saved %d\n", from)
		if from%600 == 0 {
			if _, err := db.Refresh(ctx, 150); err != nil {
				t.Fatal(err)
			}
			if err := db.writer.alone(ctx, tidyAll); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPoison(t *testing.T) {
	db := openNew(t)
	if err := db.write(t.Context(), func(w *writer) error {
		_, err := w.c.exec(`CREATE TRIGGER poison BEFORE INSERT ON event WHEN new.created_at = 3 BEGIN SELECT RAISE(ABORT, 'no'); END`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		saved, err := db.SaveBatch(t.Context(), numberedBatch(1, 5))
		if err != nil || saved.New+saved.Known != 4 {
			t.Fatalf("saved %+v, %v", saved, err)
		}
	}
	totals, err := db.Totals(t.Context(), 5)
	if err != nil || totals.Rejected != 1 {
		t.Errorf("%d rejected, %v", totals.Rejected, err)
	}
}

// TestMerged looks by tag and author while the index is being moved, and after
// a move that was cut short.
func TestMerged(t *testing.T) {
	db := openNew(t)
	for i := range 5 {
		if _, err := db.SaveBatch(t.Context(), numberedBatch(1+400*i, 400)); err != nil {
			t.Fatal(err)
		}
		switch i {
		case 1: // half of it is in both places
			if err := db.write(t.Context(), func(w *writer) error {
				_, err := w.c.exec(`INSERT INTO term SELECT h, created_at, seq, kind FROM term_new WHERE seq % 2 = 0`)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		case 2, 4:
			if err := db.writer.alone(t.Context(), func(w *writer) error {
				return w.mergeAll()
			}); err != nil {
				t.Fatal(err)
			}
		}
		checkWhole(t, db)
	}
	// The author, the tag, and the author with the kind of 134 in each 400.
	const want = 5 * (400 + 400 + 134)
	var left, moved int64
	if err := db.read(t.Context(), func(c *conn) error {
		_, err := c.one(t.Context(), func(r row) { left, moved = r.int(0), r.int(1) }, `SELECT (SELECT count(*) FROM term_new), (SELECT count(*) FROM term)`)
		return err
	}); err != nil || left != 0 || moved != want {
		t.Errorf("%d terms left, %d moved, want 0 and %d, %v", left, moved, want, err)
	}
}

// TestPurgeResumed opens a store whose last process died between a vanish
// request and the deletion.
func TestPurgeResumed(t *testing.T) {
	db := openNew(t)
	if _, err := db.SaveBatch(t.Context(), numberedBatch(1, 70)); err != nil {
		t.Fatal(err)
	}
	author := numbered(0, 4)[3].PubKey
	if err := db.write(t.Context(), func(w *writer) error {
		_, err := w.c.exec(sqlAddTombstone, author[:], int64(40))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), db.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	page, _, err := again.Events(t.Context(), store.EventQuery{Filter: nostr.Filter{Authors: []nostr.PubKey{author}}, Limit: 100})
	if err != nil || len(page) != 4 || page[len(page)-1].Event.CreatedAt <= 40 {
		t.Errorf("%d events of who vanished, %v", len(page), err)
	}
	saved, err := again.SaveBatch(t.Context(), numberedBatch(1, 70))
	if err != nil || len(saved.Refused) != 6 || saved.Known != 64 {
		t.Errorf("saved again: %+v, %v", saved, err)
	}
}

func TestCheckpoint(t *testing.T) {
	db := openNew(t)
	for i := range 20 {
		if _, err := db.SaveBatch(t.Context(), numberedBatch(1+200*i, 200)); err != nil {
			t.Fatal(err)
		}
	}
	if db.walSize() == 0 {
		t.Fatal("no log")
	}
	if err := db.writeBack(); err != nil {
		t.Fatal(err)
	}
	if err := db.writer.alone(t.Context(), tidyAll); err != nil {
		t.Fatal(err)
	}
	if n := db.walSize(); n != 0 {
		t.Errorf("the log has %d bytes", n)
	}
	checkWhole(t, db)
}

func TestClosed(t *testing.T) {
	db := openNew(t)
	begin := time.Now()
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.SaveBatch(t.Context(), numberedBatch(1, 1)); !errors.Is(err, errClosed) {
		t.Errorf("save: %v", err)
	}
	if _, err := db.Known(t.Context(), []nostr.Ref{{}}); !errors.Is(err, errClosed) {
		t.Errorf("known: %v", err)
	}
	if _, err := db.Migrate(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("migrate: %v", err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

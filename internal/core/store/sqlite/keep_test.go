package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// reopen opens a database with a policy and migrates it.
func reopen(path string, opts Options, use func(*DB) error) error {
	db, err := Open(context.Background(), path, opts)
	if err != nil {
		return err
	}
	if !opts.ReadOnly {
		_, err = db.Migrate(context.Background())
	}
	if err == nil && use != nil {
		err = use(db)
	}
	return errors.Join(err, db.Close())
}

func index(kinds ...nostr.Kind) store.Keep {
	return store.Keep{Mode: store.KeepIndex, FullKinds: kinds}
}

var fullKeep = store.Keep{Mode: store.KeepFull}

func TestKeepOpen(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first store.Keep
		then  store.Keep
		want  store.Keep // zero: refused
	}{
		{"nothing said", store.Keep{}, store.Keep{}, fullKeep},
		{"full of nothing said", store.Keep{}, fullKeep, fullKeep},
		{"what is there", index(1), store.Keep{}, index(1)},
		{"what is there, whatever the kinds", index(1), store.Keep{FullKinds: []nostr.Kind{7}}, index(1)},
		{"the same", index(1), index(1), index(1)},
		{"other kinds", index(1), index(0, 5), index(0, 5)},
		{"no kinds", index(1), index(), index()},
		{"full for an index", index(1), fullKeep, store.Keep{}},
		{"an index for full", fullKeep, index(1), store.Keep{}},
		{"an unknown word", fullKeep, store.Keep{Mode: "half"}, store.Keep{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "t.db")
			if err := reopen(path, Options{Keep: tt.first}, nil); err != nil {
				t.Fatal(err)
			}
			// A reader changes nothing, and is refused all the same.
			for _, opts := range []Options{{Keep: tt.then, ReadOnly: true}, {Keep: tt.then}, {ReadOnly: true}} {
				var have store.Keep
				err := reopen(path, opts, func(db *DB) (err error) {
					have, err = db.Keep(context.Background())
					return err
				})
				if tt.want.Mode == "" && opts.Keep.Mode != "" {
					if refused, ok := errors.AsType[*store.KeepError](err); !ok || refused.Have != tt.first.Mode || refused.Want != tt.then.Mode {
						t.Errorf("opened with %+v: %v, want a %T", opts.Keep, err, refused)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				want := tt.want
				switch {
				case want.Mode == "":
					want = tt.first
				case opts.ReadOnly && opts.Keep.Mode != "":
					want.FullKinds = have.FullKinds
				}
				if !equalKeep(have, want) {
					t.Errorf("opened with %+v: %+v, want %+v", opts.Keep, have, want)
				}
			}
		})
	}
	t.Run("an unknown word for a new one", func(t *testing.T) {
		if err := reopen(filepath.Join(t.TempDir(), "t.db"), Options{Keep: store.Keep{Mode: "half"}}, nil); err == nil {
			t.Error("taken")
		}
	})
}

func equalKeep(a, b store.Keep) bool {
	return a.Mode == b.Mode && slices.Equal(a.FullKinds, b.FullKinds)
}

// wholeKinds returns of every event whether it is kept whole.
func wholeSeqs(t *testing.T, db *DB) map[store.Seq]bool {
	t.Helper()
	whole := make(map[store.Seq]bool)
	for s, err := range db.ScanEvents(t.Context(), "", nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		whole[s.Seq] = !s.IndexOnly
	}
	return whole
}

// TestKeepKinds changes which kinds are kept whole: of what is there nothing
// changes, until Thin drops what is not to be kept any more.
func TestKeepKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	g := newGenerator()
	n := 0
	with := func(keep store.Keep, thin bool, want ...bool) {
		t.Helper()
		if err := reopen(path, Options{Keep: keep}, func(db *DB) error {
			if thin {
				if err := db.Thin(t.Context(), keep, func(int64, int64) {}); err != nil {
					return err
				}
			}
			e := g.events(1)
			e[0].Kind, e[0].CreatedAt = 7, int64(n)
			n++
			if _, err := db.SaveBatch(t.Context(), store.Batch{Events: e}); err != nil {
				return err
			}
			have := wholeSeqs(t, db)
			for i, w := range want {
				if have[store.Seq(i+1)] != w {
					t.Errorf("with %d: event %d is kept whole: %t", keep.FullKinds, i+1, !w)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	with(index(1), false, false)
	with(index(1, 7), false, false, true)
	with(index(1), false, false, true, false)
	with(index(1, 7), true, false, true, false, true)
	with(index(), true, false, false, false, false, false)
}

// deleting makes events with addresses, and requests to delete them.
func deleting(by nostr.PubKey, n int) []nostr.Event {
	var events []nostr.Event
	for i := range n {
		e := nostr.Event{PubKey: by, Kind: 30023, CreatedAt: int64(2 * i), Tags: []nostr.Tag{{"d", fmt.Sprint(i)}, {"t", "x"}}, Content: "text"}
		request := nostr.Event{PubKey: by, Kind: 5, CreatedAt: int64(2*i + 1), Tags: []nostr.Tag{{"a", fmt.Sprintf("30023:%s:%d", by, i)}}}
		e.ID[0], e.ID[1], request.ID[0], request.ID[1] = 1, byte(i), 2, byte(i)
		events = append(events, e, request)
	}
	return events
}

// writeFirst makes the file that version 1 would have written instead of a
// database: its schema, with those columns of ours that it has.
func writeFirst(t *testing.T, db *DB, path string) {
	t.Helper()
	const first = "migrations/00001_initial.sql"
	text, err := migrations.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate(t.Context(), path, fstest.MapFS{first: {Data: text}}); err != nil {
		t.Fatal(err)
	}
	c, err := connect(path, false, fmt.Sprintf("application_id=%d", applicationID))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := c.exec(`ATTACH ? AS ours`, db.path); err != nil {
		t.Fatal(err)
	}
	var copies []string
	if err := c.each(func(r row) bool {
		copies = append(copies, fmt.Sprintf("INSERT OR REPLACE INTO main.%[1]s (%[2]s) SELECT %[2]s FROM ours.%[1]s", r.text(0), r.text(1)))
		return true
	}, `SELECT t.name, group_concat(i.name)
		FROM sqlite_schema AS t, pragma_table_info(t.name) AS i
		JOIN pragma_table_info(t.name, 'ours') AS o ON o.name = i.name
		WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name <> 'schema_version' GROUP BY t.name`); err != nil {
		t.Fatal(err)
	}
	for _, sql := range copies {
		if _, err := c.exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestKeepUpgrade brings a database of version 1, which kept events whole, to
// this version, and makes an index of it.
func TestKeepUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	author := nostr.PubKey{7}
	events := deleting(author, 5)
	db := openNew(t)
	if _, err := db.SaveBatch(t.Context(), store.Batch{Events: events}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // which it did not note
		h := store.AddressHash(30023, store.TagHash("d", fmt.Sprint(i)))
		if err := db.write(t.Context(), func(w *writer) error {
			if n, err := w.c.exec(`DELETE FROM deletion WHERE h = ?`, h); err != nil || n == 0 {
				return fmt.Errorf("%d rows with hash %d: %w", n, h, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.write(t.Context(), func(w *writer) error {
		_, err := w.c.exec(`INSERT INTO position (reader, cursor) VALUES ('finder', '3')`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	writeFirst(t, db, path)
	// It had events: it is full, and stays so, whatever is wanted.
	if refused, ok := errors.AsType[*store.KeepError](reopen(path, Options{Keep: index()}, nil)); !ok {
		t.Errorf("an index of a full one: %v", refused)
	}
	public := store.EventQuery{Filter: nostr.Filter{Kinds: []nostr.Kind{30023}}, Limit: 100, Public: true}
	if err := reopen(path, Options{}, func(db *DB) error {
		if have, err := db.Keep(t.Context()); err != nil || !equalKeep(have, fullKeep) {
			t.Errorf("policy %+v, %v", have, err)
		}
		if err := db.VerifySchema(t.Context()); err != nil {
			t.Error(err)
		}
		at, err := db.Position(t.Context(), "finder")
		if err != nil {
			return err
		}
		left := 0
		for _, err := range db.ScanEvents(t.Context(), at, nostr.Filter{}) {
			if left++; err != nil {
				return err
			}
		}
		if left != len(events)-3 {
			t.Errorf("a reader that had 3 of %d events goes on with %d", len(events), left)
		}
		look := func(when string) {
			t.Helper()
			if found, _, err := db.Events(t.Context(), public); err != nil || len(found) != 0 {
				t.Errorf("%s: %d deleted events are shown, %v", when, len(found), err)
			}
		}
		look("full")
		if err := db.Thin(t.Context(), index(5), func(int64, int64) {}); err != nil {
			return err
		}
		look("index")
		if err := db.Thin(t.Context(), index(), func(int64, int64) {}); err != nil {
			return err
		}
		look("index without deletions")
		// Nothing is left behind of an author who vanishes.
		e := nostr.Event{PubKey: author, Kind: 62, CreatedAt: 100, Tags: []nostr.Tag{{"relay", "ALL_RELAYS"}}}
		if _, err := db.SaveBatch(t.Context(), store.Batch{Events: []nostr.Event{e}}); err != nil {
			return err
		}
		return db.read(t.Context(), func(c *conn) error {
			for sql, want := range map[string]int64{
				`SELECT count(*) FROM deletion`: 0, `SELECT count(*) FROM event`: 1,
				// Its author and its relay tag's are not indexed, nor is kind 62 paired.
				`SELECT (SELECT count(*) FROM term) + (SELECT count(*) FROM term_new)`: 1,
			} {
				if _, err := c.one(t.Context(), func(r row) {
					if r.int(0) != want {
						t.Errorf("%s: %d, want %d", sql, r.int(0), want)
					}
				}, sql); err != nil {
					return err
				}
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// TestThinKilled kills a process that makes an index, at many moments, and lets
// the next go on. In the end nothing is whole, nothing is lost, and the file is
// small.
func TestThinKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	const n = 12_000
	var before map[string]int64
	g := newGenerator()
	if err := reopen(path, Options{}, func(db *DB) error {
		for range n / 2000 {
			if _, err := db.SaveBatch(t.Context(), store.Batch{Events: g.events(2000)}); err != nil {
				return err
			}
		}
		before = found(t, db)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	full := size()
	rounds, ended := 0, false
	for ; !ended && rounds < 40; rounds++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestThinKilledWorker$")
		cmd.Env = append(os.Environ(), "KILLED_THIN="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 1 + rounds%3 { // one step, two, or in the middle of what follows
			if !lines.Scan() {
				break
			}
			ended = ended || lines.Text() == "thin"
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		for lines.Scan() {
			ended = ended || lines.Text() == "thin"
		}
		cmd.Wait()
		if rounds == 0 {
			if err := reopen(path, Options{ReadOnly: true}, func(db *DB) error {
				if have, err := db.Keep(t.Context()); err != nil || have.Mode != store.KeepIndex {
					t.Errorf("after the first step the policy is %+v, %v", have, err)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rounds < 3 || !ended {
		t.Errorf("%d rounds, ended %t", rounds, ended)
	}
	if err := reopen(path, Options{}, func(db *DB) error {
		whole := wholeSeqs(t, db)
		if len(whole) != n {
			t.Errorf("%d events, want %d", len(whole), n)
		}
		for seq, w := range whole {
			if w {
				t.Fatalf("event %d is whole", seq)
			}
		}
		if diff := cmp.Diff(before, found(t, db)); diff != "" {
			t.Error(diff)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if thin := size(); thin > full*6/10 {
		t.Errorf("%d bytes are left of %d", thin, full)
	}
}

// TestThinSpace gives the space back, and begins again for other kinds.
func TestThinSpace(t *testing.T) {
	db := openNew(t)
	g := newGenerator()
	for range 3 {
		if _, err := db.SaveBatch(t.Context(), store.Batch{Events: g.events(2000)}); err != nil {
			t.Fatal(err)
		}
	}
	state := func() (free, size, pending int64) {
		t.Helper()
		if err := db.read(t.Context(), func(c *conn) error {
			for sql, n := range map[string]*int64{
				`PRAGMA freelist_count`: &free, `PRAGMA page_count`: &size, `SELECT count(*) FROM setting WHERE name = 'thin'`: &pending,
			} {
				if _, err := c.one(t.Context(), func(r row) { *n = r.int(0) }, sql); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return free, size, pending
	}
	_, before, _ := state()
	ctx, cancel := context.WithCancel(t.Context())
	if err := db.Thin(ctx, index(1), func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut short: %v", err)
	}
	if _, _, pending := state(); pending != 1 {
		t.Error("nothing is noted of what is left")
	}
	some := 0
	for _, w := range wholeSeqs(t, db) {
		if w {
			some++
		}
	}
	if err := db.Thin(t.Context(), index(), func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	for seq, w := range wholeSeqs(t, db) {
		if w {
			t.Fatalf("event %d is whole", seq)
		}
	}
	if free, size, pending := state(); free > 0 || size > before*6/10 || pending > 0 || some == 0 {
		t.Errorf("%d pages free, %d of %d left, %d settings pending, %d were whole after the first", free, size, before, pending, some)
	}
}

// TestThinFull has no room to give space back: the events are thin, the archive
// goes on, and the next Thin has done what is left.
func TestThinFull(t *testing.T) {
	dir := smallDisk(t, "40m")
	path := filepath.Join(dir, "t.db")
	g := newGenerator()
	const n = 20_000
	// Closed, so that the log is empty: it would leave no room for anything.
	if err := reopen(path, Options{}, func(db *DB) error {
		for range n / 2000 {
			if _, err := db.SaveBatch(t.Context(), store.Batch{Events: g.events(2000)}); err != nil {
				return err
			}
			if err := db.writer.alone(t.Context(), func(w *writer) error { w.cut(); return nil }); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := reopen(path, Options{}, func(db *DB) error {
		blocked := false
		err := db.Thin(t.Context(), index(), func(done, all int64) {
			if done == all && !blocked { // what comes now is giving back the space
				blocked = true
				fillDisk(t, filepath.Join(dir, "filler"))
			} else if err := db.writer.alone(t.Context(), func(w *writer) error { w.cut(); return nil }); err != nil {
				t.Error(err)
			}
		})
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("without room: %v, want ErrFull", err)
		}
		if whole := wholeSeqs(t, db); len(whole) != n || whole[1] || whole[n] {
			t.Errorf("%d events, the first whole %t, the last %t", len(whole), whole[1], whole[n])
		}
		if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
			return err
		}
		if _, err := db.SaveBatch(t.Context(), store.Batch{Events: g.events(10)}); err != nil {
			return err
		}
		return db.Thin(t.Context(), index(), func(int64, int64) {})
	}); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Size() > 12<<20 {
		t.Errorf("%d bytes are left, %v", st.Size(), err)
	}
}

// fillDisk writes a file until nothing more fits.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(block)
	}
}

// found counts what some filters find.
func found(t *testing.T, db *DB) map[string]int64 {
	t.Helper()
	counts := make(map[string]int64)
	for _, filter := range []nostr.Filter{
		{Kinds: []nostr.Kind{7}},
		{Tags: map[string][]string{"t": {"topic7", "topic8"}}},
		{Tags: map[string][]string{"t": {"topic7", "topic9", "topic11"}}, Kinds: []nostr.Kind{1}},
	} {
		for s, err := range db.ScanEvents(t.Context(), "", filter) {
			if err != nil {
				t.Fatal(err)
			}
			counts[string(filter.AppendJSON(nil))] += int64(s.Seq)
		}
	}
	return counts
}

// TestThinKilledWorker is the process that TestThinKilled kills.
func TestThinKilledWorker(t *testing.T) {
	path := os.Getenv("KILLED_THIN")
	if path == "" {
		t.Skip("runs inside TestThinKilled")
	}
	if err := reopen(path, Options{}, func(db *DB) error {
		return db.Thin(context.Background(), index(), func(done, all int64) { fmt.Println(done, "of", all) })
	}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("thin")
}

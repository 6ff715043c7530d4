package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/simnet"
)

const realFile = "../internal/core/nostr/testdata/events_real.jsonl.zst"

// realEvents are events of the real network, one JSON text a line.
func realEvents(t testing.TB) []byte {
	t.Helper()
	packed, err := os.ReadFile(realFile)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	text, err := z.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// event is an event as a reader sees it who knows JSON only.
type event struct {
	ID        string     `json:"id"`
	PubKey    string     `json:"pubkey"`
	CreatedAt int64      `json:"created_at"`
	Kind      int64      `json:"kind"`
	Tags      [][]string `json:"tags"`
	Content   string     `json:"content"`
	Sig       string     `json:"sig"`
}

func eventsByID(t testing.TB, text []byte) map[string]event {
	t.Helper()
	events := map[string]event{}
	for line := range bytes.Lines(text) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line %.200q: %v", line, err)
		}
		events[e.ID] = e
	}
	return events
}

// TestRealEvents sends real events through the archive and back.
func TestRealEvents(t *testing.T) {
	t.Parallel()
	text := realEvents(t)
	want := eventsByID(t, text)
	if len(want) != 8462 {
		t.Fatalf("%d real events, want 8462", len(want))
	}
	file, err := filepath.Abs(realFile)
	if err != nil {
		t.Fatal(err)
	}
	first, second := folder(t), folder(t)
	var sum imported
	done := run(t, nil, "import", "--json", "--store", first, file)
	decode(t, done.stdout, &sum)
	if done.code != 0 || sum.Read != len(want) || sum.Stored != len(want) || sum.Rejected != 0 {
		t.Errorf("import: exit %d, %+v", done.code, sum)
	}
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.jsonl")
	for _, step := range [][]string{
		{"export", "--store", first, a},
		{"import", "--store", second, a},
		{"export", "--store", second, b},
		{"export", "--store", second, b + ".zst"},
	} {
		if done := run(t, nil, step...); done.code != 0 {
			t.Fatalf("%v: exit %d\n%s", step, done.code, tail(done.stderr))
		}
	}
	exported := read(t, a)
	if have := eventsByID(t, exported); !cmp.Equal(want, have) {
		wrong := 0
		for id, e := range want {
			if diff := cmp.Diff(e, have[id]); diff != "" {
				if wrong++; wrong <= 5 {
					t.Errorf("event %s (-file +archive):\n%s", id, diff)
				}
			}
		}
		t.Errorf("%d events differ; %d exported, %d imported", wrong, len(have), len(want))
	}
	if !bytes.Equal(exported, read(t, b)) {
		t.Error("an export of an import of an export is another file")
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if unpacked, err := z.DecodeAll(read(t, b+".zst"), nil); err != nil || !bytes.Equal(exported, unpacked) {
		t.Errorf("the compressed export differs: %v", err)
	}
	// One event a line, keys in the order of NIP-01.
	for line := range bytes.Lines(exported) {
		at := -1
		for _, key := range []string{`{"id":`, `,"pubkey":`, `,"created_at":`, `,"kind":`, `,"tags":`, `,"content":`, `,"sig":`} {
			i := bytes.Index(line, []byte(key))
			if i <= at {
				t.Fatalf("keys out of order in %.300s", line)
			}
			at = i
		}
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// smallDisk mounts a file system of a few bytes, or skips.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)) && os.Getenv("CI") == "" {
			t.Skipf("only root can mount a small disk: %v", err)
		}
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// TestFullDisk imports into a disk that is too small, and goes on when there is
// space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "8m")
	store := "sqlite:" + filepath.Join(dir, "archive.db")
	events := simnet.Generate(simnet.Plan{Seed: 70, Count: 12_000, Since: 1_600_000_000, Until: 1_700_000_000})
	var text bytes.Buffer
	if err := simnet.WriteEvents(&text, events); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}

	done := run(t, nil, "import", "--json", "--store", store, file)
	if done.code != 1 || done.stdout != "" {
		t.Errorf("exit %d, stdout %q", done.code, done.stdout)
	}
	if lines := strings.Count(done.stderr, "\n"); lines != 1 || !strings.Contains(done.stderr, "no space left") || !strings.Contains(done.stderr, "free some space") {
		t.Errorf("it should say in one line that space is to be freed; it says %q", done.stderr)
	}
	// What had been stored before is whole, also to a reader on the full disk.
	held := ids(t, run(t, nil, "export", "--store", store))
	if len(held) == 0 || len(held) >= len(events) {
		t.Errorf("%d of %d events stored on the full disk", len(held), len(events))
	}
	if done := run(t, nil, "status", "--json", "--store", store); done.code != 0 {
		t.Errorf("status on a full disk: exit %d\n%s", done.code, done.stderr)
	}
	t.Logf("%d of %d events stored, then %q", len(held), len(events), done.stderr)

	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	done = run(t, nil, "import", "--json", "--store", store, file)
	var sum imported
	decode(t, done.stdout, &sum)
	if done.code != 0 || sum.Known != len(held) || sum.Stored != len(events)-len(held) {
		t.Errorf("with space again: exit %d, %+v after %d", done.code, sum, len(held))
	}
	if held := ids(t, run(t, nil, "export", "--store", store)); len(held) != len(events) {
		t.Errorf("%d of %d events in the end", len(held), len(events))
	}
}

// TestFullDiskExport writes an export to a disk that is too small.
func TestFullDiskExport(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "1m")
	file, err := filepath.Abs(realFile)
	if err != nil {
		t.Fatal(err)
	}
	store := folder(t)
	if done := run(t, nil, "import", "--store", store, file); done.code != 0 {
		t.Fatalf("import: exit %d\n%s", done.code, done.stderr)
	}
	name := filepath.Join(dir, "out.jsonl")
	done := run(t, nil, "export", "--store", store, name)
	if done.code != 1 || !strings.Contains(done.stderr, name) || !strings.Contains(done.stderr, "no space left") {
		t.Errorf("exit %d, %q", done.code, done.stderr)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("it left %v behind", left)
	}
}

package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// thinned is what thin prints.
type thinned struct {
	Whole, Index, Before, After int64
}

// TestThin makes an index of an archive of real events, on both backends: a
// rehearsal changes nothing, what was kept whole stays, and there is no way back.
func TestThin(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs(realFile)
	if err != nil {
		t.Fatal(err)
	}
	want := eventsByID(t, realEvents(t))
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		thin(t, []string{"BIGBROTR_STORE_URL=" + folder(t)}, file, want)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		thin(t, newDatabase(t).env(), file, want)
	})
}

func thin(t *testing.T, env []string, file string, want map[string]event) {
	index := append([]string{"BIGBROTR_STORE_KEEP=index", "BIGBROTR_STORE_KEEP_FULL_KINDS=0,3"}, env...)
	if done := run(t, env, "import", file); done.code != 0 {
		t.Fatalf("import: exit %d\n%s", done.code, tail(done.stderr))
	}
	before := run(t, env, "export")
	for _, refused := range []struct {
		env  []string
		args []string
		says string
	}{
		{env, []string{"thin"}, "set store.keep to index"},
		{index, []string{"import", file}, "bigbrotr thin"},
	} {
		if done := run(t, refused.env, refused.args...); done.code != 1 || !strings.Contains(done.stderr, refused.says) {
			t.Errorf("%v of a full archive: exit %d, %q", refused.args, done.code, done.stderr)
		}
	}
	var rehearsed, did thinned
	done := run(t, index, "thin", "--dry-run", "--json")
	decode(t, done.stdout, &rehearsed)
	whole := map[string]bool{}
	for id, e := range want {
		if e.Kind == 0 || e.Kind == 3 {
			whole[id] = true
		}
	}
	if done.code != 0 || rehearsed.Whole != int64(len(whole)) || rehearsed.Index != int64(len(want)-len(whole)) || rehearsed.After != 0 {
		t.Errorf("a rehearsal: exit %d, %+v, want %d of %d whole", done.code, rehearsed, len(whole), len(want))
	}
	if again := run(t, env, "export"); again.stdout != before.stdout {
		t.Error("a rehearsal changes the archive")
	}
	for range 2 { // the second finds nothing to do
		done = run(t, index, "thin", "--json")
		decode(t, done.stdout, &did)
		if done.code != 0 || did.Whole != rehearsed.Whole || did.Index != rehearsed.Index || did.After == 0 {
			t.Errorf("exit %d, %+v\n%s", done.code, did, tail(done.stderr))
		}
		if did.After >= rehearsed.Before {
			t.Errorf("%d bytes are left of %d", did.After, rehearsed.Before)
		}
	}
	if done := run(t, index, "export"); done.code != 1 || !strings.Contains(done.stderr, "is an index") {
		t.Errorf("export of everything: exit %d, %q", done.code, done.stderr)
	}
	held := eventsByID(t, []byte(run(t, index, "export", "--filter", `{"kinds":[0,3]}`).stdout))
	if len(held) != len(whole) {
		t.Errorf("%d events are kept whole, want %d", len(held), len(whole))
	}
	for id, e := range held {
		if d := cmp.Diff(want[id], e); d != "" {
			t.Fatalf("event %s (-file +archive):\n%s", id, d)
		}
	}
	var sum imported
	done = run(t, index, "import", "--json", file)
	decode(t, done.stdout, &sum)
	if done.code != 0 || sum.Known != len(want) {
		t.Errorf("import into the index: exit %d, %+v", done.code, sum)
	}
	for _, args := range [][]string{{"thin"}, {"thin", "--dry-run"}, {"import", file}} {
		if done := run(t, env, args...); done.code != 1 || !strings.Contains(done.stderr, "cannot come back") {
			t.Errorf("%v with store.keep: full: exit %d, %q", args, done.code, done.stderr)
		}
	}
}

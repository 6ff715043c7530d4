package e2e_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bigbrotr/internal/simnet"
)

// online are the commands that a test cannot run to their end: they need the
// internet, or never end.
var online = []string{"up", "run", "check", "sync"}

// TestReadme runs what the README tells people to run, in its order and in one
// home. Of commands that need the internet only the arguments are tried.
func TestReadme(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	var events bytes.Buffer
	if err := simnet.WriteEvents(&events, simnet.Generate(simnet.Plan{Seed: 3, Count: 60, Since: 1_600_000_000, Until: 1_700_000_000})); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, "events.jsonl"), events.String())

	ran := 0
	for _, line := range consoleLines(string(read(t, "../README.md"))) {
		args := words(line)
		if len(args) < 2 || args[0] != "bigbrotr" {
			t.Errorf("%q is no call of bigbrotr", line)
			continue
		}
		args = args[1:]
		if slices.Contains(online, args[0]) {
			args = append(args, "--help")
		}
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "TMPDIR=" + home}
		if done := finish(t, cmd); done.code != 0 {
			t.Errorf("%s: exit %d\n%s", line, done.code, tail(done.stderr))
		}
		ran++
	}
	if ran < 8 {
		t.Errorf("only %d commands found in the README", ran)
	}
	if notes := read(t, filepath.Join(home, "notes.jsonl.zst")); len(notes) == 0 {
		t.Error("the export of the README is empty")
	}
}

// consoleLines are the commands of blocks marked as console.
func consoleLines(text string) []string {
	var lines []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case inside && strings.HasPrefix(line, "$ "):
			lines = append(lines, line[2:])
		}
	}
	return lines
}

// words splits a command as a shell does, as far as the README needs it: single
// quotes, and # for comments.
func words(line string) []string {
	var out []string
	var word strings.Builder
	quoted, some := false, false
	for _, c := range line + " " {
		switch {
		case c == '\'':
			quoted, some = !quoted, true
		case c == ' ' && !quoted:
			if some {
				out = append(out, word.String())
			}
			word.Reset()
			some = false
		case c == '#' && !quoted && !some:
			return out
		default:
			word.WriteRune(c)
			some = true
		}
	}
	return out
}

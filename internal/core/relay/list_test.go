package relay

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

var update = flag.Bool("update", false, "write the golden files anew")

func texts(urls []URL) []string {
	out := []string{}
	for _, u := range urls {
		out = append(out, u.String())
	}
	return out
}

// TestParseList reads pairs of a messy text and what is found in it, joined by
// spaces.
func TestParseList(t *testing.T) {
	for _, row := range rows(t, "lists.txt", 2) {
		want := strings.Fields(row[1])
		if diff := cmp.Diff(want, texts(ParseList(row[0]))); diff != "" {
			t.Errorf("ParseList(%q) (-want +got):\n%s", row[0], diff)
		}
	}
}

func TestParseListLocal(t *testing.T) {
	const text = "relays: ws://127.0.0.1:7777, ws://localhost:8080; ws://[::1]:9; wss://nos.lol"
	want := []string{"ws://127.0.0.1:7777", "ws://localhost:8080", "ws://[::1]:9", "wss://nos.lol"}
	if diff := cmp.Diff(want, texts(Rules{AllowLocal: true}.ParseList(text))); diff != "" {
		t.Errorf("with AllowLocal (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[3:], texts(ParseList(text))); diff != "" {
		t.Errorf("strict (-want +got):\n%s", diff)
	}
}

func TestParseListBounds(t *testing.T) {
	var many strings.Builder
	for i := range MaxListURLs + 10 {
		fmt.Fprintf(&many, "wss://nos.lol/%d ", i)
	}
	urls := ParseList(many.String())
	if len(urls) != MaxListURLs || urls[MaxListURLs-1].Path() != fmt.Sprintf("/%d", MaxListURLs-1) {
		t.Errorf("%d URLs of many, last %v", len(urls), urls[len(urls)-1])
	}

	const first, last = "wss://nos.lol ", "wss://relay.damus.io"
	fill := strings.Repeat("x", MaxListBytes-len(first)-len(last)) // the last URL ends at the bound
	fill = fill[:len(fill)-1] + " "
	if got := texts(ParseList(first + fill + last)); len(got) != 2 {
		t.Errorf("to the bound: %v", got)
	}
	if got := texts(ParseList(first + fill + last + ".evil.com")); len(got) != 1 {
		t.Errorf("across the bound: %v", got)
	}
	if got := ParseList(strings.Repeat("x", 2*MaxListBytes)); got != nil {
		t.Errorf("without any: %v", got)
	}

	// Texts that would take minutes if the work grew faster than they do.
	for _, unit := range []string{"wss://a.b", "wss://a.b/", "wss://", "wss://https/", "wss://[", "wss://x@é", "wss://a.com%2E", "wss:\\/\\/"} {
		ParseList(strings.Repeat(unit, MaxListBytes/len(unit)))
		ParseList("wss://" + strings.Repeat(unit[len("wss"):], MaxListBytes/len(unit)))
	}
}

// TestRealLists runs what relay lists and real events hold through both parsers
// and compares the sums with golden files, so that a change of a rule shows how
// many relays it moves.
func TestRealLists(t *testing.T) {
	for _, name := range []string{"seed_relays_messy", "raw_relay_urls"} {
		t.Run(name, func(t *testing.T) {
			lines := strings.Split(strings.TrimSpace(unpack(t, name+".txt.zst")), "\n")
			if name == "raw_relay_urls" {
				lines = quotedColumn(t, lines)
			}
			got := tally(lines)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
			}
		})
	}
}

func unpack(t *testing.T, name string) string {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := r.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// quotedColumn takes the JSON strings in the second column.
func quotedColumn(t *testing.T, lines []string) []string {
	t.Helper()
	var out []string
	for _, line := range lines {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var text string
		if err := json.Unmarshal([]byte(strings.Split(line, "\t")[1]), &text); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, text)
	}
	return out
}

// tally prints sums, and one by one what Parse refuses and ParseList makes of it
// where that is anything.
func tally(lines []string) []byte {
	var (
		verdicts = map[string]int{}
		parsed   = map[URL]bool{}
		listed   = map[URL]bool{}
		repaired bytes.Buffer
	)
	for _, line := range lines {
		u, err := Parse(line)
		urls := ParseList(line)
		for _, u := range urls {
			listed[u] = true
		}
		if err == nil {
			verdicts["accepted "+string(u.Network())]++
			parsed[u] = true
			if diff := cmp.Diff([]string{u.String()}, texts(urls)); diff != "" {
				fmt.Fprintf(&repaired, "%q -> %q\n", line, texts(urls))
			}
			continue
		}
		verdicts["refused "+string(err.(*Error).Cause)]++
		if len(urls) > 0 {
			fmt.Fprintf(&repaired, "%q -> %q\n", line, texts(urls))
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "texts %d\n", len(lines))
	for _, verdict := range slices.Sorted(maps.Keys(verdicts)) {
		fmt.Fprintf(&out, "%s %d\n", verdict, verdicts[verdict])
	}
	fmt.Fprintf(&out, "distinct by Parse %d\ndistinct by ParseList %d\n", len(parsed), len(listed))
	fmt.Fprintf(&out, "\nwhere ParseList finds something else than Parse:\n%s", repaired.Bytes())
	return out.Bytes()
}

func FuzzParseList(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "lists.txt"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text), false)
	for line := range strings.Lines(string(text)) {
		f.Add(line, true)
	}
	f.Fuzz(func(t *testing.T, text string, local bool) {
		r := Rules{AllowLocal: local}
		urls := r.ParseList(text)
		seen := map[URL]bool{}
		for _, u := range urls {
			if again, err := r.Parse(u.String()); err != nil || again != u || seen[u] {
				t.Fatalf("ParseList(%q) holds %q: parsed again %q, %v; twice %v", text, u, again, err, seen[u])
			}
			seen[u] = true
		}
		for _, sep := range []string{" ", "\n", ", ", ","} {
			again := r.ParseList(strings.Join(texts(urls), sep))
			if !slices.Equal(again, urls) {
				t.Fatalf("ParseList(%q) = %q, again joined by %q: %q", text, urls, sep, again)
			}
		}
	})
}

func BenchmarkParseList(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"one", "wss://relay.damus.io"},
		{"none", strings.Repeat("The quick brown fox jumps over the lazy dog. ", 20)},
		{"three_in_text", "Mine are wss://relay.damus.io, (wss://nos.lol/) and <wss://https://nostr.wine>. " + strings.Repeat("Words. ", 100)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				ParseList(c.text)
			}
		})
	}
}

package hints_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
)

// realEvents reads the real events that package nostr is tested with; see
// SOURCES.md there.
func realEvents(tb testing.TB) []nostr.Event {
	tb.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", "events_real.jsonl.zst"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	defer z.Close()
	text, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	var events []nostr.Event
	for line := range bytes.Lines(text) {
		e, err := nostr.ParseEvent(bytes.TrimSpace(line))
		if err != nil {
			tb.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// TestRealEvents counts what is found in real events against what the
// original's finder sees: the first value of every tag with a name of one
// letter.
func TestRealEvents(t *testing.T) {
	baseline := make(map[relay.URL]string)
	strongest := make(map[relay.URL]hints.Class)
	perClass := make(map[hints.Class]map[relay.URL]bool)
	mentions := 0
	for _, e := range realEvents(t) {
		for _, tag := range e.Tags {
			if len(tag) > 1 && len(tag[0]) == 1 {
				if u, err := relay.Parse(tag[1]); err == nil {
					baseline[u] = tag[1]
				}
			}
		}
		seen := make(map[relay.URL]bool)
		for _, f := range hints.Collect(&e, relay.Rules{}) {
			mentions++
			if seen[f.URL] {
				t.Errorf("event %s: %s twice", e.ID, f.URL)
			}
			seen[f.URL] = true
			if f.Author != e.PubKey {
				t.Errorf("event %s: %s credited to %s", e.ID, f.URL, f.Author)
			}
			if perClass[f.Class] == nil {
				perClass[f.Class] = make(map[relay.URL]bool)
			}
			perClass[f.Class][f.URL] = true
			if old, ok := strongest[f.URL]; !ok || f.Class.Rank() < old.Rank() {
				strongest[f.URL] = f.Class
			}
		}
	}
	missed := 0
	for _, text := range baseline {
		// "wss://host/," passes for a URL with a path and means none.
		for _, u := range relay.ParseList(text) {
			if _, ok := strongest[u]; !ok {
				missed++
				t.Errorf("%s is the first value of a one-letter tag and is not found", u)
			}
		}
	}
	ratio := float64(len(strongest)) / float64(len(baseline))
	t.Logf("%d URLs in %d mentions; first values of one-letter tags: %d (%d missed); ratio %.2f",
		len(strongest), mentions, len(baseline), missed, ratio)
	report := make([]string, 0, len(perClass))
	for class, urls := range perClass {
		alone := 0
		for u := range urls {
			if strongest[u] == class {
				alone++
			}
		}
		report = append(report, fmt.Sprintf("%d %-8s %5d URLs, %5d with no stronger class", class.Rank(), class, len(urls), alone))
	}
	slices.Sort(report)
	for _, line := range report {
		t.Log(line)
	}
	if ratio < 3 {
		t.Errorf("only %.2f times what first values give, want 3", ratio)
	}
}

func BenchmarkCollect(b *testing.B) {
	events := realEvents(b)
	bytes := 0
	for i := range events {
		bytes += len(events[i].AppendJSON(nil))
	}
	b.SetBytes(int64(bytes / len(events)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		hints.Collect(&events[i%len(events)], relay.Rules{})
	}
}

// BenchmarkParse is what Collect's cost is to be seen against.
func BenchmarkParse(b *testing.B) {
	events := realEvents(b)
	texts := make([][]byte, len(events))
	bytes := 0
	for i := range events {
		texts[i] = events[i].AppendJSON(nil)
		bytes += len(texts[i])
	}
	b.SetBytes(int64(bytes / len(events)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := nostr.ParseEvent(texts[i%len(texts)]); err != nil {
			b.Fatal(err)
		}
	}
}

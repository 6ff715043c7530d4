package archive_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/nostr"
)

// TestExplain checks that every reason that events found in the wild are
// refused for has an explanation.
func TestExplain(t *testing.T) {
	f, err := os.Open("../nostr/testdata/events_invalid.jsonl.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	seen := map[string]bool{archive.ReasonHash: true, archive.ReasonSignature: true, archive.ReasonOversize: true, archive.ReasonRefused: true}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var row struct{ Raw string }
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		_, err := nostr.ParseEvent([]byte(row.Raw))
		if refused, ok := errors.AsType[*nostr.ParseError](err); ok {
			seen[string(refused.Reason)] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(seen) < 10 {
		t.Errorf("only %d reasons: %v", len(seen), seen)
	}
	for reason := range seen {
		if archive.Explain(reason) == reason {
			t.Errorf("%q has no explanation", reason)
		}
	}
}

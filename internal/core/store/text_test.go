package store

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"bigbrotr/internal/core/nostr"
)

// TestTags compares the stored form with another reader of JSON.
func TestTags(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Map(rapid.String(), Substitute)
		tags := rapid.SliceOf(rapid.Map(rapid.SliceOf(text), func(s []string) nostr.Tag { return s })).Draw(t, "tags")
		b := AppendTags(nil, tags)
		var theirs []nostr.Tag
		if err := json.Unmarshal(b, &theirs); err != nil {
			t.Fatal(err)
		}
		ours, ok := ParseTags(string(b))
		if !ok {
			t.Fatalf("%s is not read", b)
		}
		for _, got := range [][]nostr.Tag{ours, theirs} {
			if diff := cmp.Diff(tags, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func FuzzParseTags(f *testing.F) {
	for _, s := range []string{`[]`, `[[]]`, `[["a","b"],["c"]]`, `[["\"\\\n\u0001é"]]`, ``, `[`, `[[`, `[["`, `[["\`, `[["\u`, `[["\u00`, `[["\u0000"]]`, `[["a"}`, `[["a"]]x`, `[["a",]]`, `[,]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tags, ok := ParseTags(s)
		if !ok {
			return
		}
		again, ok := ParseTags(string(AppendTags(nil, tags)))
		if diff := cmp.Diff(tags, again); !ok || diff != "" {
			t.Errorf("%q: read again %v %s", s, ok, diff)
		}
	})
}

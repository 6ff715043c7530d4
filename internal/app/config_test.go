package app

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/config"
)

var update = flag.Bool("update", false, "write the generated files")

// TestGenerated checks that the manual and the schema say what the source says.
func TestGenerated(t *testing.T) {
	cfg := DefaultConfig()
	want, err := config.Generate(&cfg, os.DirFS("../.."), "bigbrotr")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"../../docs/config.md": want.Manual,
		"config.schema.json":   want.Schema,
	} {
		if *update {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(have)); diff != "" {
			t.Errorf("%s is not what the source says; run make generate (-want +have):\n%s", name, diff)
		}
	}
}

package nip11_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/nostr/nip11"
)

var update = flag.Bool("update", false, "rewrite golden files")

func read(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("no files match %s (%v)", pattern, err)
	}
	files := make(map[string][]byte)
	for _, name := range names {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = body
	}
	return files
}

// TestSummary pins what is read of every document: the golden file is meant to
// be looked at when it changes.
func TestSummary(t *testing.T) {
	for _, dir := range []string{"documents", "broken"} {
		t.Run(dir, func(t *testing.T) {
			files := read(t, filepath.Join("testdata", dir, "*"))
			var got strings.Builder
			for _, name := range sortedKeys(files) {
				summarize(&got, name, files[name])
			}
			golden := filepath.Join("testdata", dir+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("summary (-want +got):\n%s", diff)
			}
		})
	}
}

func summarize(w *strings.Builder, name string, body []byte) {
	fmt.Fprintf(w, "== %s\n", name)
	doc, err := nip11.Parse(body)
	if err != nil {
		fmt.Fprintf(w, "error: %v\n", err)
		return
	}
	findings := doc.Findings
	doc.Findings = nil
	// JSON keeps the golden file readable: pointers by their value.
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		panic(err)
	}
	prune(fields)
	if doc.PubKey != nil {
		fields["PubKey"] = doc.PubKey.String()
	}
	if doc.Self != nil {
		fields["Self"] = doc.Self.String()
	}
	for _, key := range sortedKeys(fields) {
		text, _ := json.Marshal(fields[key])
		fmt.Fprintf(w, "%s: %s\n", key, text)
	}
	for _, f := range findings {
		fmt.Fprintf(w, "! %s: %s\n", f.Field, f.Problem)
	}
	hash, err := nip11.Hash(body)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(w, "hash %x\n", hash[:8])
}

// prune takes out everything that is absent.
func prune(fields map[string]any) {
	for key, v := range fields {
		switch v := v.(type) {
		case nil:
			delete(fields, key)
		case string:
			if v == "" {
				delete(fields, key)
			}
		case map[string]any:
			if prune(v); len(v) == 0 {
				delete(fields, key)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	nested := func(n int) string {
		return `{"limitation":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	var syntax *nip11.SyntaxError
	for name, test := range map[string]struct {
		body string
		want func(error) bool
	}{
		"10 MB":           {`{"name":"` + strings.Repeat("x", 10<<20) + `"}`, is(nip11.ErrTooLarge)},
		"100,000 values":  {`{"tags":[` + strings.Repeat("1,", 100_000) + `1]}`, is(nip11.ErrTooLarge)},
		"10,000 deep":     {nested(10_000), is(nip11.ErrTooDeep)},
		"one too deep":    {nested(nip11.MaxDepth + 1), is(nip11.ErrTooDeep)},
		"only brackets":   {strings.Repeat("[", 200_000), is(nip11.ErrTooDeep)},
		"array":           {`[1]`, is(nip11.ErrNotObject)},
		"scalar":          {`"a relay"`, is(nip11.ErrNotObject)},
		"page":            {`<html>`, as(&syntax)},
		"nothing":         {``, as(&syntax)},
		"two values":      {`{}{}`, as(&syntax)},
		"two commas":      {`{"tags":[1,,2]}`, as(&syntax)},
		"lone comma":      {`{,}`, as(&syntax)},
		"bad escape":      {`{"name":"\x"}`, as(&syntax)},
		"cut escape":      {`{"name":"\u00`, as(&syntax)},
		"signed escape":   {`{"name":"\u+123"}`, as(&syntax)},
		"number as key":   {`{1:2}`, as(&syntax)},
		"word":            {`{"name":nul}`, as(&syntax)},
		"plus":            {`{"name":+1}`, as(&syntax)},
		"point":           {`{"name":1.}`, as(&syntax)},
		"exponent":        {`{"name":1e}`, as(&syntax)},
		"never closed":    {`{"name":{"a":[1,2`, as(&syntax)},
		"value forgotten": {`{"name":}`, as(&syntax)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := nip11.Parse([]byte(test.body))
			if !test.want(err) {
				t.Errorf("Parse = %v (%T)", err, err)
			}
		})
	}
	if _, err := nip11.Parse([]byte(nested(nip11.MaxDepth - 1))); err != nil {
		t.Errorf("depth within bounds: %v", err)
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func as[T error](target *T) func(error) bool {
	return func(err error) bool { return errors.As(err, target) }
}

func TestFindingsAreBounded(t *testing.T) {
	body := []byte(`{"supported_nips":[` + strings.Repeat(`true,`, 300) + `1],"name":"` + strings.Repeat("ä", 8<<10) + `"}`)
	doc, err := nip11.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Findings) != 64 {
		t.Errorf("%d findings", len(doc.Findings))
	}
	if len(doc.Name) != 8<<10 {
		t.Errorf("name of %d bytes", len(doc.Name))
	}
}

// TestFindingsHoldNoRemoteText is what lets findings be logged and shown.
func TestFindingsHoldNoRemoteText(t *testing.T) {
	doc, err := nip11.Parse([]byte(`{"<script>":1,"<script>":2,"limitation":{"<script>":[],"<script>":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range doc.Findings {
		if strings.Contains(f.Field, "<") {
			t.Errorf("finding names %q", f.Field)
		}
	}
}

func TestCanonical(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{` { "b" : 1.50 , "a" : [ true , false , null ] } `, `{"a":[true,false,null],"b":1.50}`},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		{`{"a":"\/\u00e9\ud83d\ude00\"\\\n"}`, `{"a":"/é😀\"\\\u000a"}`},
		{`{"n":12345678901234567890123, "e":1E+2}`, `{"e":1E+2,"n":12345678901234567890123}`},
		{"\ufeff[1,]", `[1]`},
		{`{"x":NaN}`, `{"x":null}`},
		{`"x"`, `"x"`},
	} {
		got, err := nip11.Canonical([]byte(test.in))
		if err != nil || string(got) != test.want {
			t.Errorf("Canonical(%s) = %s, %v; want %s", test.in, got, err, test.want)
		}
	}
}

// TestRepeatedNames reaches the point where look-up changes from a search to a
// map.
func TestRepeatedNames(t *testing.T) {
	var in, want strings.Builder
	for round := range 2 {
		for i := range 100 {
			fmt.Fprintf(&in, `"k%03d":%d,`, i, i+round)
		}
	}
	for i := range 100 {
		fmt.Fprintf(&want, `"k%03d":%d,`, i, i+1)
	}
	got, err := nip11.Canonical([]byte("{" + in.String() + "}"))
	if err != nil || string(got) != "{"+strings.TrimSuffix(want.String(), ",")+"}" {
		t.Errorf("Canonical = %s, %v", got, err)
	}
}

// TestHash: the address of a document does not depend on how it is written.
func TestHash(t *testing.T) {
	for name, body := range read(t, "testdata/documents/*") {
		want, err := nip11.Hash(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, body, "", "\t"); err != nil {
			t.Fatal(err)
		}
		if got, err := nip11.Hash(pretty.Bytes()); err != nil || got != want {
			t.Errorf("%s: indented hashes to %x, %v; want %x", name, got, err, want)
		}
		changed := bytes.Replace(body, []byte(`"name"`), []byte(`"nome"`), 1)
		if got, _ := nip11.Hash(changed); got == want {
			t.Errorf("%s: another document has the same hash", name)
		}
	}
	if _, err := nip11.Hash([]byte("<html>")); err == nil {
		t.Error("a web page has a hash")
	}
}

func FuzzParse(f *testing.F) {
	for _, body := range read(f, "testdata/documents/*") {
		f.Add(body)
	}
	for _, body := range read(f, "testdata/broken/*") {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		doc, err := nip11.Parse(body)
		canonical, cerr := nip11.Canonical(body)
		if err == nil && cerr != nil {
			t.Fatalf("Parse accepts what Canonical refuses: %v", cerr)
		}
		if len(doc.Findings) > 64 {
			t.Fatalf("%d findings", len(doc.Findings))
		}
		if cerr != nil {
			// What encoding/json accepts must be readable, within the bounds.
			if json.Valid(body) && !errors.Is(cerr, nip11.ErrTooDeep) && !errors.Is(cerr, nip11.ErrTooLarge) {
				t.Fatalf("valid JSON refused: %v", cerr)
			}
			return
		}
		if !json.Valid(canonical) {
			t.Fatalf("canonical form is not JSON: %q", canonical)
		}
		again, err := nip11.Canonical(canonical)
		if errors.Is(err, nip11.ErrTooLarge) && len(canonical) > nip11.MaxSize {
			return // escapes made it longer than a body may be
		}
		if err != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("canonical form of %q is %q, %v", canonical, again, err)
		}
		if json.Valid(body) {
			// The same content for a reader of encoding/json.
			var a, b any
			if json.Unmarshal(body, &a) == nil && json.Unmarshal(canonical, &b) == nil && !cmp.Equal(a, b) {
				t.Fatalf("content changed: %s\n%s", cmp.Diff(a, b), canonical)
			}
		}
	})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

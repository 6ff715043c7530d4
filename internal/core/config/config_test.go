package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is a root as package app would write it: every form of a key.
type sample struct {
	// Directory of the data.
	Data string `yaml:"data"`
	Log  logs   `yaml:"log"` // How the process logs.
	// Reading from relays.
	Sync walk `yaml:"sync"`
	// Places to read relay lists from.
	//
	// They are read in order | one at a time.
	Sources []source `yaml:"sources"`
	Skipped int      `yaml:"-"`
}

type logs struct {
	// Least level that is logged.
	Level level `yaml:"level"`
	// Whether lines are JSON objects.
	JSON bool `yaml:"json"`
}

type level string

func (level) Choices() []string { return []string{"debug", "info", "error"} }

type walk struct {
	// Events asked for in one request.
	PageSize int `yaml:"page_size"`
	// Relays read at the same time.
	Workers uint8 `yaml:"workers"`
	// Share of the interval by which a start may move.
	Jitter float64 `yaml:"jitter"`
	// Time allowed for one page.
	Timeout Duration `yaml:"timeout"`
	// Most memory for frames.
	Buffer Bytes `yaml:"buffer"`
	// Kinds that are read; empty means all.
	Kinds []uint16 `yaml:"kinds"`
	// Names used for tests.
	Names []string `yaml:"names"`
	// Key that answers AUTH challenges.
	Key Secret `yaml:"key"`
}

func (w walk) Validate(c *Check) {
	InRange(c, "page_size", w.PageSize, 1, 5000)
	InRange(c, "timeout", w.Timeout, Duration(time.Second), Duration(2*time.Hour))
	if w.Workers == 7 {
		c.Add("", "cannot have seven workers", "choose another number")
	}
}

type source struct {
	// Where the list is.
	URL string `yaml:"url"`
	// Time between two reads.
	Every Duration `yaml:"every"`
}

func (s *source) Validate(c *Check) {
	if s.URL == "" {
		c.Add("url", "is empty", "give the address of a list")
	}
}

func defaults() sample {
	return sample{
		Log: logs{Level: "info"},
		Sync: walk{
			PageSize: 500, Workers: 4, Jitter: 0.2, Timeout: Duration(10 * time.Second), Buffer: 16 << 20,
			Kinds: []uint16{0, 3}, Names: []string{"a", "true"},
		},
	}
}

// write puts a configuration into a file that problems call sample.yaml.
func write(t *testing.T, text string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("sample.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadFile(t *testing.T) {
	write(t, `# everything that a file can say
data: 2024-01-01
log: {level: debug, json: true}
sync:
  page_size: 100
  workers: 255
  jitter: 1e-1
  timeout: 1h30m
  buffer: "2GiB"
  kinds: []
  names: ["x: y", 10, null text]
  key: file:key.txt
sources:
- url: wss://one.example
  every: 7d
- {url: wss://two.example}
`)
	if err := os.WriteFile("key.txt", []byte("p4ss word\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := defaults()
	origins, err := Load(&cfg, Sources{File: "sample.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Sync.Key.Reveal(); got != "p4ss word" {
		t.Errorf("key = %q", got)
	}
	cfg.Sync.Key = Secret{}
	want := sample{
		Data: "2024-01-01",
		Log:  logs{Level: "debug", JSON: true},
		Sync: walk{
			PageSize: 100, Workers: 255, Jitter: 0.1, Timeout: Duration(90 * time.Minute), Buffer: 2 << 30,
			Kinds: []uint16{}, Names: []string{"x: y", "10", "null text"},
		},
		Sources: []source{{"wss://one.example", Duration(7 * 24 * time.Hour)}, {URL: "wss://two.example"}},
	}
	if diff := cmp.Diff(want, cfg, cmp.Comparer(func(a, b Secret) bool { return a.Reveal() == b.Reveal() })); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if got := origins["sync.timeout"]; got != "sample.yaml:8" {
		t.Errorf("origin of sync.timeout = %q", got)
	}
}

func TestLoadNothing(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "sync:\nlog:\n", "---\n", "{}\n...\n"} {
		write(t, text)
		cfg := defaults()
		if _, err := Load(&cfg, Sources{File: "sample.yaml"}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if !reflect.DeepEqual(cfg, defaults()) {
			t.Errorf("%q: defaults changed: %+v", text, cfg)
		}
	}
}

func TestPrecedence(t *testing.T) {
	write(t, "sync:\n  page_size: 1\n  workers: 1\n  jitter: 1\n  names: [file]\n")
	cfg := defaults()
	origins, err := Load(&cfg, Sources{
		File: "sample.yaml",
		Env: []string{
			"BIGBROTR_SYNC_WORKERS=2", "BIGBROTR_SYNC_JITTER=2", "BIGBROTR_SYNC_NAMES=b,c", "BIGBROTR_SYNC_KINDS=",
			"BIGBROTR_CONFIG=sample.yaml", "HOME=/root", "BIGBROTR_PASSWORD=hunter2", "BIGBROTR_SYNC_KEY=env:BIGBROTR_PASSWORD",
		},
		Reserved: []string{"BIGBROTR_CONFIG"},
		Flags:    []Flag{{"--jitter", "sync.jitter", "0.75"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := cfg.Sync; s.PageSize != 1 || s.Workers != 2 || s.Jitter != 0.75 || s.Timeout != Duration(10*time.Second) {
		t.Errorf("got %+v", s)
	}
	if s := cfg.Sync; !cmp.Equal(s.Names, []string{"b", "c"}) || len(s.Kinds) != 0 || s.Key.Reveal() != "hunter2" {
		t.Errorf("got names %q, kinds %v", s.Names, s.Kinds)
	}
	got := map[string]string{}
	for _, key := range []string{"sync.page_size", "sync.workers", "sync.jitter", "sync.timeout"} {
		got[key] = origins[key]
	}
	want := map[string]string{
		"sync.page_size": "sample.yaml:2", "sync.workers": "BIGBROTR_SYNC_WORKERS", "sync.jitter": "--jitter", "sync.timeout": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

// TestProblems pins the words a user reads, one mistake a row.
func TestProblems(t *testing.T) {
	tests := []struct {
		name, file string
		env        []string
		flags      []Flag
		want       []string
	}{
		{name: "unknown key, near a known one", file: "sync:\n  page_siez: 1\n", want: []string{
			"sample.yaml:2: sync.page_siez: is not a known key; did you mean page_size?",
		}},
		{name: "unknown key", file: "log:\n  zzzzzzz: 1\n", want: []string{
			"sample.yaml:2: log.zzzzzzz: is not a known key; known here: level, json",
		}},
		{name: "duplicate key", file: "log: {}\ndata: x\nlog: {}\n", want: []string{
			"sample.yaml:3: log: is given again, first on line 1; keep one of the two",
		}},
		{name: "all together", file: "data:\nlog: {level: loud, json: yes}\nsync: {workers: 256, jitter: .nan, timeout: 10, buffer: 5MB}\n", want: []string{
			"sample.yaml:1: data: has no value; give a value, or remove the key to keep the default",
			`sample.yaml:2: log.level: is "loud"; choose one of debug, info, error`,
			`sample.yaml:2: log.json: is "yes"; write true or false`,
			`sample.yaml:3: sync.workers: is "256"; write a whole number from 0 to 255`,
			`sample.yaml:3: sync.jitter: is ".nan"; write a number such as 0.5`,
			`sample.yaml:3: sync.timeout: is "10", not a duration: a whole number needs a unit behind it; write one such as 10s, 1h30m or 7d`,
			`sample.yaml:3: sync.buffer: is "5MB", not a size: "MB" is not a unit; write one such as 64KiB, 16MiB or 2GiB`,
		}},
		{name: "number in quotes", file: "sync: {page_size: '5'}\n", want: []string{
			"sample.yaml:1: sync.page_size: is text; write the value without quotes",
		}},
		{name: "not whole", file: "sync: {page_size: 1_000}\n", want: []string{
			`sample.yaml:1: sync.page_size: is "1_000"; write a whole number from -9223372036854775808 to 9223372036854775807`,
		}},
		{name: "section for a value", file: "data: {x: 1}\n", want: []string{"sample.yaml:1: data: must be one value; write data: value"}},
		{name: "value for a section", file: "sync: 5\n", want: []string{
			"sample.yaml:1: sync: must be a section; write its keys below it, indented, as key: value",
		}},
		{name: "list at the top", file: "- a\n", want: []string{
			"sample.yaml:1: must be a section; write its keys below it, indented, as key: value",
		}},
		{name: "value for a list", file: "sync: {kinds: 1}\n", want: []string{
			"sample.yaml:1: sync.kinds: must be a list; write [a, b], or one item a line after a dash",
		}},
		{name: "null list", file: "sources:\n", want: []string{
			"sample.yaml:1: sources: has no value; write [] for an empty list, or remove the key to keep the default",
		}},
		{name: "in a list", file: "sync:\n  kinds:\n  - 1\n  - x\nsources:\n- every: 1s\n- {url: a, evry: 1s}\n", want: []string{
			`sample.yaml:4: sync.kinds[1]: is "x"; write a whole number from 0 to 65535`,
			"sample.yaml:7: sources[1].evry: is not a known key; did you mean every?",
			"sample.yaml:6: sources[0].url: is empty; give the address of a list",
		}},
		{name: "said once", file: "sources: [{url: [a]}]\n", want: []string{
			"sample.yaml:1: sources[0].url: must be one value; write url: value",
		}},
		{name: "one key wrong in two sources", file: "sync: {page_size: x}\n", env: []string{"BIGBROTR_SYNC_PAGE_SIZE=0"}, want: []string{
			`sample.yaml:1: sync.page_size: is "x"; write a whole number from -9223372036854775808 to 9223372036854775807`,
			"BIGBROTR_SYNC_PAGE_SIZE: sync.page_size: is 0; choose from 1 to 5000",
		}},
		{name: "anchor and alias", file: "data: &x a\nlog: *x\n", want: []string{
			"sample.yaml:1: data: uses an anchor or an alias; write the value out",
			"sample.yaml:2: log: uses an anchor or an alias; write the value out",
		}},
		{name: "merge", file: "<<: {data: x}\n", want: []string{"sample.yaml:1: has a key that is not a plain word; write key: value"}},
		{name: "tag", file: "data: !!str 1\n", want: []string{"sample.yaml:1: data: has a YAML tag; write the value without !!str"}},
		{name: "second document", file: "data: x\n---\ndata: y\n", want: []string{
			"sample.yaml:2: a second document begins here; keep one document in the file",
		}},
		{name: "damage after the document", file: "data: x\n---\n[\n", want: []string{
			"sample.yaml:4: is not YAML: did not find expected node content while parsing a flow node; correct the syntax near this line",
		}},
		{name: "syntax", file: "data: x\nlog: [1\nsync: 2\n", want: []string{
			"sample.yaml:3: is not YAML: did not find expected ',' or ']' while parsing a flow sequence; correct the syntax near this line",
		}},
		{name: "out of range", file: "log: {}\nsync:\n  page_size: 5001\n", env: []string{"BIGBROTR_SYNC_TIMEOUT=3h", "BIGBROTR_SYNC_WORKERS=7"}, want: []string{
			"sample.yaml:3: sync.page_size: is 5001; choose from 1 to 5000",
			"BIGBROTR_SYNC_TIMEOUT: sync.timeout: is 3h; choose from 1s to 2h",
			"sample.yaml:2: sync: cannot have seven workers; choose another number",
		}},
		{name: "environment", env: []string{"BIGBROTR_SYNC_KINDS=1,-1", "BIGBROTR_SYNC_PAGESIZE=1", "BIGBROTR_OTHER=1"}, want: []string{
			`BIGBROTR_SYNC_KINDS: sync.kinds: is "-1"; write a whole number from 0 to 65535`,
			"BIGBROTR_OTHER: sets no key; unset it",
			"BIGBROTR_SYNC_PAGESIZE: sets no key; did you mean BIGBROTR_SYNC_PAGE_SIZE?",
		}},
		{name: "flag", flags: []Flag{{"--page", "sync.page_size", "ten"}, {"--log-level", "log.level", "x"}}, want: []string{
			`--page: sync.page_size: is "ten"; write a whole number from -9223372036854775808 to 9223372036854775807`,
			`--log-level: log.level: is "x"; choose one of debug, info, error`,
		}},
		{name: "secret in plain text", file: "sync: {key: hunter2}\n", want: []string{
			"sample.yaml:1: sync.key: must not stand here in plain text; put it in a variable or a file and write env:NAME or file:PATH",
		}},
		{name: "secret refers to nothing", file: "sync: {key: env:NOPE}\n", want: []string{
			"sample.yaml:1: sync.key: refers to the variable NOPE, which is not set; set it",
		}},
		{name: "secret file", file: "sync: {key: file:nope}\n", want: []string{
			"sample.yaml:1: sync.key: refers to the file nope, which cannot be read: no such file or directory; check the path and the permissions",
		}},
		{name: "empty secret", file: "sync: {key: env:E}\n", env: []string{"E="}, want: []string{
			"sample.yaml:1: sync.key: refers to an empty variable; put the secret in it",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.file)
			cfg := defaults()
			_, err := Load(&cfg, Sources{File: "sample.yaml", Env: tt.env, Flags: tt.flags})
			problems, ok := errors.AsType[Problems](err)
			if !ok {
				t.Fatalf("error %v is not of type Problems", err)
			}
			if diff := cmp.Diff(tt.want, strings.Split(problems.Error(), "\n")); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnreadableFile(t *testing.T) {
	write(t, strings.Repeat("# log line\n", maxFile/11+1))
	cfg := defaults()
	_, err := Load(&cfg, Sources{File: "sample.yaml"})
	if want := "sample.yaml: is too large: over 1048576 bytes; check that this is the configuration file"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Load(&cfg, Sources{File: "absent.yaml"})
	if want := "absent.yaml: cannot be read: no such file or directory; check the path and the permissions"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Load(&cfg, Sources{File: "."})
	if want := ".: cannot be read: is a directory; check the path and the permissions"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestImpossibleStructs(t *testing.T) {
	type inner struct {
		B int `yaml:"b"`
	}
	tests := []struct {
		name string
		load func()
		want string
	}{
		{"no tag", func() { _, _ = Load(&struct{ A int }{}, Sources{}) }, "yaml tag"},
		{"bad tag", func() {
			_, _ = Load(&struct {
				A int `yaml:"pageSize"`
			}{}, Sources{})
		}, "yaml tag"},
		{"type", func() {
			_, _ = Load(&struct {
				A map[string]int `yaml:"a"`
			}{}, Sources{})
		}, "cannot be of type map[string]int"},
		{"nanoseconds", func() {
			_, _ = Load(&struct {
				A time.Duration `yaml:"a"`
			}{}, Sources{})
		}, "cannot be of type time.Duration"},
		{"no keys", func() {
			_, _ = Load(&struct {
				A struct{ b int } `yaml:"a"`
			}{}, Sources{})
		}, "has no keys"},
		{"one variable for two keys", func() {
			_, _ = Load(&struct {
				A  inner `yaml:"a"`
				AB int   `yaml:"a_b"`
			}{}, Sources{})
		}, "both set by BIGBROTR_A_B"},
		{"flag", func() { cfg := defaults(); _, _ = Load(&cfg, Sources{Flags: []Flag{{"--x", "nope", "1"}}}) }, "which is no key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, tt.want) {
					t.Errorf("panic %q, want one with %q", got, tt.want)
				}
			}()
			tt.load()
		})
	}
}

func TestShow(t *testing.T) {
	write(t, "data: no\nsync: {key: env:K, workers: 2}\nsources: [{url: a, every: 36h}]\n")
	cfg := defaults()
	origins, err := Load(&cfg, Sources{File: "sample.yaml", Env: []string{"K=hunter2"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `data: no # sample.yaml:1
log:
  level: info
  json: false
sync:
  page_size: 500
  workers: 2 # sample.yaml:2
  jitter: 0.2
  timeout: 10s
  buffer: 16MiB
  kinds: [0, 3]
  names: [a, 'true']
  key: •••••• # sample.yaml:2
sources: # sample.yaml:3
- url: a
  every: 1d12h
`
	if diff := cmp.Diff(want, string(Show(cfg, origins))); diff != "" {
		t.Errorf("show (-want +got):\n%s", diff)
	}
	got, err := json.Marshal(Values(&cfg))
	if err != nil {
		t.Fatal(err)
	}
	wantJSON := `{"data":"no","log":{"json":false,"level":"info"},"sources":[{"every":"1d12h","url":"a"}],` +
		`"sync":{"buffer":"16MiB","jitter":0.2,"key":"••••••","kinds":[0,3],"names":["a","true"],"page_size":500,"timeout":"10s","workers":2}}`
	if string(got) != wantJSON {
		t.Errorf("values = %s\nwant     %s", got, wantJSON)
	}

	// What is shown can be loaded again, except for the secret.
	cfg.Sync.Key = Secret{}
	if err := os.WriteFile("shown.yaml", Show(cfg, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	var again sample
	if _, err := Load(&again, Sources{File: "shown.yaml"}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, again) {
		t.Errorf("shown and loaded again: %+v, want %+v", again, cfg)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	value := "hunter2"
	secret := Secret{value: &value}
	type inside struct{ hidden Secret }
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "a", secret, "b", &secret, "c", inside{secret})
	asJSON, err := json.Marshal(struct{ S Secret }{secret})
	if err != nil {
		t.Fatal(err)
	}
	printed := log.String() + string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		printed += fmt.Sprintf(verb, secret) + fmt.Sprintf(verb, &secret) + fmt.Sprintf(verb, inside{secret}) + fmt.Sprintf(verb, []Secret{secret})
	}
	for _, leak := range []string{value, fmt.Sprintf("%x", value), fmt.Sprint([]byte(value))} {
		if strings.Contains(printed, leak) {
			t.Errorf("the secret came out as %q in %s", leak, printed)
		}
	}
	if got := (Secret{}).String() + (Secret{}).Reveal(); got != "" || !(Secret{}).IsZero() || secret.IsZero() {
		t.Errorf("an absent secret prints %q", got)
	}
}

func TestDurationText(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "10s": 10 * time.Second, "7d": 168 * time.Hour, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"1d2h3m4s5ms6us7ns": 26*time.Hour + 3*time.Minute + 4*time.Second + 5006007,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want || d.String() != text {
			t.Errorf("%q: got %v (%d), %v", text, d, d, err)
		}
	}
	for _, text := range []string{"", "0", "10", "s", "-1s", "+1s", "1.5h", "1s1h", "1s1s", "1w", "1 s", "106752d", "99999999999999999999s", "106751d24h", "1h30"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %v", text, d)
		}
	}
}

func TestBytesText(t *testing.T) {
	for text, want := range map[string]Bytes{"0B": 0, "1B": 1, "64KiB": 64 << 10, "1536MiB": 1536 << 20, "1TiB": 1 << 40, "1025B": 1025} {
		var s Bytes
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%q: got %v (%d), %v", text, s, int64(s), err)
		}
	}
	for _, text := range []string{"", "0", "1", "1MB", "1.5GiB", "-1B", "1 KiB", "1GiB512MiB x", "8388608TiB", "KiB"} {
		var s Bytes
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %v", text, s)
		}
	}
}

func TestBytesShort(t *testing.T) {
	for size, want := range map[Bytes]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 3 << 30: "3.0 GiB", 1 << 50: "1024.0 TiB",
	} {
		if have := size.Short(); have != want {
			t.Errorf("%d is %q, want %q", int64(size), have, want)
		}
	}
}

func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Min(0).Draw(t, "n")
		var d Duration
		if err := d.UnmarshalText([]byte(Duration(n).String())); err != nil || int64(d) != n {
			t.Fatalf("%s reads back as %d: %v", Duration(n), d, err)
		}
		var s Bytes
		if err := s.UnmarshalText([]byte(Bytes(n).String())); err != nil || int64(s) != n {
			t.Fatalf("%s reads back as %d: %v", Bytes(n), s, err)
		}
	})
}

func TestGenerate(t *testing.T) {
	module := os.DirFS("../../..")
	got, err := Generate(defaults(), module, "bigbrotr")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/manual.md", got.Manual)
	golden(t, "testdata/schema.json", got.Schema)

	_, err = Generate(struct {
		Log  logs        `yaml:"log"`
		Bare uncommented `yaml:"bare"`
	}{}, module, "bigbrotr")
	if err == nil || !strings.Contains(err.Error(), "no comment on config.uncommented.A") {
		t.Errorf("a field without a comment: %v", err)
	}
}

type uncommented struct {
	A int `yaml:"a"`
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is out of date, run go test -update (-want +got):\n%s", name, diff)
	}
}

// FuzzLoad checks that no text of a file makes Load panic or forget to say
// where a problem is.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"", "data: x\n", "sync: {key: env:K, kinds: [1, x]}\n", "a: &a [*a]\n", "? {}\n: 1\n", "sources: [{}, 1]\n", "- - -", "\x00", "{", "!!map {}"} {
		f.Add([]byte(seed))
	}
	name := filepath.Join(f.TempDir(), "f.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := defaults()
		_, err := Load(&cfg, Sources{File: name})
		if problems, ok := errors.AsType[Problems](err); err != nil && (!ok || len(problems) == 0 || problems[0].Where == "") {
			t.Errorf("%q: %v", text, err)
		}
	})
}

package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "bigbrotr/"

// layers gives every package a number; a package imports only lower ones. The
// first pattern that fits counts. A new package needs a line here.
var layers = []struct {
	pattern string // of path.Match
	layer   int
}{
	// Words.
	{"internal/core/relay", 0},
	{"internal/core/config", 0},
	{"internal/core/telemetry", 0},
	{"internal/core/service", 0},
	// Servers for tests, also for those of the inside of a backend.
	{"internal/pgtest", 0},
	{"internal/tortest", 0},
	// The wire.
	{"internal/core/nostr", 1},
	{"internal/core/dial", 1},
	// Parts of the protocol.
	{"internal/core/nostr/nip59", 3}, // on nip44
	{"internal/core/nostr/nip[0-9][0-9]", 2},
	{"internal/core/nostr/nip66/nip66test", 3},
	{"internal/core/nostr/negentropy", 2},
	// On those parts: hints reads bech32 names. One connection.
	{"internal/core/nostr/hints", 3},
	{"internal/core/nostr/session", 3},
	// Contracts.
	{"internal/core/store", 4},
	{"internal/services/monitor/probe", 4},
	// On the contracts.
	{"internal/core/store/postgres", 5},
	{"internal/core/store/sqlite", 5},
	{"internal/core/store/storetest", 5},
	{"internal/core/query", 5},
	{"internal/core/archive", 5},
	{"internal/simnet", 5},
	{"internal/services/api/face", 5},
	// Rooms of the api, which ask the catalogue, and what they have in common.
	{"internal/services/api/answer", 6},
	{"internal/services/api/pages", 7},
	{"internal/services/api/rest", 7},
	// Services.
	{"internal/services/*", 8},
	// The root.
	{"internal/app", 9},
	// Outside.
	{"internal/archtest", 10},
	{"cmd/bigbrotr", 10},
	{"e2e", 10},
}

// owners names the only packages that may import a library.
var owners = []struct {
	library string // an import path or the beginning of one
	owners  []string
}{
	{"github.com/coder/websocket", []string{"internal/core/nostr/session", "internal/core/dial"}},
	{"github.com/jackc/", []string{"internal/core/store/postgres", "internal/pgtest"}},
	{"modernc.org/sqlite", []string{"internal/core/store/sqlite"}},
	{"github.com/pressly/goose", []string{"internal/core/store/sqlite", "internal/core/store/postgres"}},
	{"go.yaml.in/yaml", []string{"internal/core/config"}},
}

// source is one Go file.
type source struct {
	dir  string
	name string
	file *ast.File
}

// test tells whether only tests can see what is in the file: go test compiles
// it, or its package is for tests.
func (s source) test() bool {
	return strings.HasSuffix(s.name, "_test.go") || strings.HasSuffix(s.dir, "test")
}

// external tells whether the file is of a package of its own for tests, which
// may import anything.
func (s source) external() bool { return strings.HasSuffix(s.file.Name.Name, "_test") }

func (s source) imports() []string {
	var list []string
	for _, spec := range s.file.Imports {
		list = append(list, strings.Trim(spec.Path.Value, `"`))
	}
	return list
}

func TestArchitecture(t *testing.T) {
	sources, err := read(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 20 {
		t.Fatalf("only %d Go files found: is this the root of the module?", len(sources))
	}
	for _, violation := range check(sources) {
		t.Error(violation)
	}
}

// read parses the Go files of the module. It looks at the tree itself, not at
// what go list prints: the cache of test results cannot see what another process
// read, and would repeat a pass that is no longer true.
func read(fsys fs.FS) ([]source, error) {
	var sources []source
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if skipped(fsys, name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		sources = append(sources, source{path.Dir(name), name, file})
		return nil
	})
	return sources, err
}

// skipped tells whether a folder is none of the module's source.
func skipped(fsys fs.FS, dir string) bool {
	base := path.Base(dir)
	if dir == "." {
		return false
	}
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod")) // a module of its own
	return err == nil
}

// check returns one line for each violation.
func check(sources []source) []string {
	var found []string
	report := func(s source, format string, args ...any) {
		found = append(found, s.name+": "+fmt.Sprintf(format, args...))
	}
	commented := map[string]bool{}
	for _, s := range sources {
		if !s.external() && comment(s.file) {
			commented[s.dir] = true
		}
		checkImports(s, report)
		if !s.test() {
			checkShapes(s, report)
		}
	}
	for _, s := range sources {
		if !s.external() && !commented[s.dir] {
			commented[s.dir] = true // one line is enough
			report(s, "package %s has no package comment that says what it owns", s.file.Name.Name)
		}
	}
	return found
}

// comment tells whether a file has the comment of its package.
func comment(f *ast.File) bool {
	text := f.Doc.Text()
	if f.Name.Name == "main" {
		return text != ""
	}
	return strings.HasPrefix(text, "Package "+f.Name.Name+" ")
}

type reporter = func(s source, format string, args ...any)

func checkImports(s source, report reporter) {
	own, ok := layerOf(s.dir)
	if !ok {
		report(s, "package %s has no line in the table of layers", s.dir)
		return
	}
	for _, imported := range s.imports() {
		if !s.test() && strings.HasSuffix(imported, "test") {
			report(s, "imports %s, which is for tests", imported)
		}
		if s.external() {
			continue
		}
		for _, rule := range owners {
			if strings.HasPrefix(imported, rule.library) && !slices.Contains(rule.owners, s.dir) {
				report(s, "imports %s, which only %s may", imported, strings.Join(rule.owners, " and "))
			}
		}
		target, ok := strings.CutPrefix(imported, module)
		if !ok {
			continue
		}
		layer, ok := layerOf(target)
		switch {
		case !ok:
			report(s, "imports %s, which has no line in the table of layers", target)
		case layer >= own:
			report(s, "layer %d imports %s of layer %d", own, target, layer)
		}
		// The layers hold for all files; what a test of the inside of a service
		// needs besides (a real store, a simulated relay) is in no binary.
		if reason := unwelcome(s.dir, target); reason != "" && !s.test() {
			report(s, "imports %s: %s", target, reason)
		}
	}
}

func layerOf(dir string) (int, bool) {
	for _, row := range layers {
		if ok, _ := path.Match(row.pattern, dir); ok {
			return row.layer, true
		}
	}
	return 0, false
}

// unwelcome returns why dir may not import target although the layers allow it.
func unwelcome(dir, target string) string {
	const services = "internal/services/"
	service, isService := strings.CutPrefix(dir, services)
	other, ofService := strings.CutPrefix(target, services)
	backend := strings.HasPrefix(target, "internal/core/store/")
	switch {
	case strings.HasPrefix(dir, "internal/core/") && !strings.HasPrefix(target, "internal/core/"):
		return "core knows only core"
	case isService && backend:
		return "a service knows no backend"
	case isService && target == "internal/simnet":
		return "a service knows no simulation"
	case isService && ofService && first(service) != first(other):
		return "a service knows no other service"
	}
	return ""
}

func first(dir string) string {
	name, _, _ := strings.Cut(dir, "/")
	return name
}

// checkShapes looks for stored contexts and for channels in what is exported.
func checkShapes(s source, report reporter) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StructType:
			for _, field := range n.Fields.List {
				if isContext(field.Type) {
					report(s, "stores a context in a struct")
				}
			}
		case *ast.FuncDecl:
			if n.Name.IsExported() && hasChannel(n.Type) {
				report(s, "exported %s has a channel in its signature", n.Name.Name)
			}
		case *ast.InterfaceType:
			for _, method := range n.Methods.List {
				if hasChannel(method.Type) {
					report(s, "an interface has a channel in a method")
				}
			}
		}
		return true
	})
}

func isContext(e ast.Expr) bool {
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := selector.X.(*ast.Ident)
	return ok && pkg.Name == "context" && selector.Sel.Name == "Context"
}

func hasChannel(n ast.Node) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		_, ok := n.(*ast.ChanType)
		found = found || ok
		return !found
	})
	return found
}

// TestRules breaks each rule once and looks for the complaint.
func TestRules(t *testing.T) {
	const doc = "// Package x owns.\n"
	tests := []struct {
		name, file, text, want string
	}{
		{"lower layer", "internal/core/nostr/a.go", doc + `package x; import _ "bigbrotr/internal/core/relay"`, ""},
		{"same layer", "internal/core/config/a.go", doc + `package x; import _ "bigbrotr/internal/core/relay"`, "layer 0 imports internal/core/relay of layer 0"},
		{"higher layer", "internal/core/relay/a.go", doc + `package x; import _ "bigbrotr/internal/core/nostr"`, "layer 0 imports internal/core/nostr of layer 1"},
		{"higher layer in a test", "internal/core/relay/a_test.go", doc + `package x; import _ "bigbrotr/internal/core/nostr"`, "layer 0 imports"},
		{"external test", "internal/core/relay/a_test.go", `package x_test; import _ "bigbrotr/internal/core/nostr"`, ""},
		{"nip", "internal/core/nostr/nip19/a.go", doc + `package x; import _ "bigbrotr/internal/core/nostr"`, ""},
		{"not in the table", "internal/core/other/a.go", doc + `package x`, "internal/core/other has no line in the table"},
		{"import not in the table", "internal/app/a.go", doc + `package x; import _ "bigbrotr/internal/utils"`, "internal/utils, which has no line"},
		{"core imports a service's part", "internal/core/query/a.go", doc + `package x; import _ "bigbrotr/internal/services/monitor/probe"`, "core knows only core"},
		{"service imports a backend", "internal/services/finder/a.go", doc + `package x; import _ "bigbrotr/internal/core/store/sqlite"`, "knows no backend"},
		{"test of a service imports a backend", "internal/services/finder/a_test.go", doc + `package x; import _ "bigbrotr/internal/core/store/sqlite"`, ""},
		{"service imports simnet", "internal/services/finder/a.go", doc + `package x; import _ "bigbrotr/internal/simnet"`, "knows no simulation"},
		{"service tested on simnet", "internal/services/finder/a_test.go", `package x_test; import _ "bigbrotr/internal/simnet"`, ""},
		{"service imports a service", "internal/services/finder/a.go", doc + `package x; import _ "bigbrotr/internal/services/monitor"`, "layer 8 imports"},
		{"service imports another's part", "internal/services/finder/a.go", doc + `package x; import _ "bigbrotr/internal/services/monitor/probe"`, "knows no other service"},
		{"service imports its own part", "internal/services/monitor/a.go", doc + `package x; import _ "bigbrotr/internal/services/monitor/probe"`, ""},
		{"websocket", "internal/services/api/a.go", doc + `package x; import _ "github.com/coder/websocket"`, "which only internal/core/nostr/session and internal/core/dial may"},
		{"websocket at home", "internal/core/dial/a.go", doc + `package x; import _ "github.com/coder/websocket"`, ""},
		{"pgx", "internal/core/query/a.go", doc + `package x; import _ "github.com/jackc/pgx/v5/pgxpool"`, "which only internal/core/store/postgres and internal/pgtest may"},
		{"sqlite", "internal/app/a.go", doc + `package x; import _ "modernc.org/sqlite"`, "which only internal/core/store/sqlite may"},
		{"yaml", "internal/app/a.go", doc + `package x; import _ "go.yaml.in/yaml/v4"`, "which only internal/core/config may"},
		{"test package", "internal/app/a.go", doc + `package x; import _ "bigbrotr/internal/core/store/storetest"`, "storetest, which is for tests"},
		{"test package of the library", "internal/app/a.go", doc + `package x; import _ "net/http/httptest"`, "httptest, which is for tests"},
		{"test package in a suite", "internal/core/store/storetest/a.go", doc + `package x; import _ "net/http/httptest"`, ""},
		{"habits in a suite", "internal/core/store/storetest/a.go", doc + `package x; func F() <-chan int { return nil }`, ""},
		{"no comment", "internal/core/relay/a.go", `package x`, "package x has no package comment"},
		{"another comment", "internal/core/relay/a.go", "// For relays.\npackage x", "package x has no package comment"},
		{"stored context", "internal/core/relay/a.go", doc + `package x; import "context"; type t struct { ctx context.Context }`, "stores a context"},
		{"channel", "internal/core/relay/a.go", doc + `package x; func F() <-chan int { return nil }`, "exported F has a channel"},
		{"channel inside", "internal/core/relay/a.go", doc + `package x; func f(c chan int) {}`, ""},
		{"channel in an interface", "internal/core/relay/a.go", doc + `package x; type I interface { M(c []chan int) }`, "an interface has a channel"},
		{"nested module", "e2e/peers/a.go", `package x; import _ "github.com/coder/websocket"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sources, err := read(fstest.MapFS{tt.file: {Data: []byte(tt.text)}, "e2e/peers/go.mod": {}})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(check(sources), "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// machine finds paths that exist on one person's computer only. A match begins
// the path, so that addresses on the web do not count.
var machine = regexp.MustCompile("(^|[\\s\"'`(=:,])/(" + strings.Join([]string{"work", "root", "home", "Users"}, "|") + ")/[A-Za-z0-9]")

// written names the files that people write and read.
var written = []string{"*.go", "*.md", "*.yaml", "*.yml", "*.sql", "*.html", "*.css", "*.js", "*.json", "*.toml", "*.mod", "SOURCES*", "Makefile", "Dockerfile", "run"}

// TestNoMachinePaths checks that a stranger's clone needs no path of ours.
func TestNoMachinePaths(t *testing.T) {
	if !machine.MatchString("see "+"/root"+"/notes.txt") || machine.MatchString("https://example.com"+"/home"+"/page") {
		t.Fatal("the pattern does not tell paths from addresses")
	}
	fsys := os.DirFS("../..")
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := path.Base(name); base == "testdata" || base == "bin" || strings.HasPrefix(base, ".") && name != "." && base != ".ci" {
				return fs.SkipDir
			}
			return nil
		}
		fits := func(pattern string) bool { ok, _ := path.Match(pattern, path.Base(name)); return ok }
		if !slices.ContainsFunc(written, fits) {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if found := machine.FindString(line); found != "" {
				t.Errorf("%s: a path of one machine: %s", name+":"+strconv.Itoa(i+1), strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

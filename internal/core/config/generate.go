package config

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
)

// Generated is what is made from a configuration struct and the comments on
// its fields, to be committed beside the code.
type Generated struct {
	Manual []byte // Markdown, for people
	Schema []byte // JSON Schema 2020-12, for editors and programs
}

// Generate describes every key below cfg, which holds the defaults. The
// comments are read from the Go source in fsys, the root of the named module: a
// build keeps no comments, so this runs at development time and its results are
// committed. A field without a comment is an error.
func Generate(cfg any, fsys fs.FS, module string) (Generated, error) {
	g := &generator{fsys: fsys, module: module, packages: map[string]map[string]string{}}
	v := root(cfg)
	schema := g.schema(v, kindSection)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "BigBrotr configuration"
	if len(g.missing) > 0 {
		slices.Sort(g.missing)
		return Generated{}, fmt.Errorf("describe the configuration: no comment on %s", strings.Join(slices.Compact(g.missing), ", "))
	}
	if g.err != nil {
		return Generated{}, g.err
	}
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return Generated{}, fmt.Errorf("render the schema: %w", err)
	}
	var manual strings.Builder
	manual.WriteString(manualHead)
	g.manual(&manual, v, "")
	fmt.Fprintf(&manual, "\n## All defaults\n\n```yaml\n%s```\n", Show(cfg, nil))
	return Generated{Manual: []byte(manual.String()), Schema: append(text, '\n')}, nil
}

type generator struct {
	fsys     fs.FS
	module   string
	packages map[string]map[string]string // import path → Type.Field → comment
	missing  []string
	err      error
}

// comment returns the words above or behind a field, one line for each
// paragraph.
func (g *generator) comment(f field) string {
	pkg := f.owner.PkgPath()
	if _, ok := g.packages[pkg]; !ok {
		comments, err := fieldComments(g.fsys, path.Join(".", strings.TrimPrefix(pkg, g.module)))
		if err != nil && g.err == nil {
			g.err = fmt.Errorf("read the comments of %s: %w", pkg, err)
		}
		g.packages[pkg] = comments
	}
	text := g.packages[pkg][f.owner.Name()+"."+f.name]
	if text == "" {
		g.missing = append(g.missing, fmt.Sprintf("%s.%s", f.owner, f.name))
	}
	return text
}

// fieldComments reads the comments on the fields of every struct type in dir.
func fieldComments(fsys fs.FS, dir string) (map[string]string, error) {
	names, err := fs.Glob(fsys, path.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	comments := map[string]string{}
	for _, name := range names {
		source, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					text := f.Doc.Text()
					if text == "" {
						text = f.Comment.Text()
					}
					for _, name := range f.Names {
						comments[spec.Name.Name+"."+name.Name] = paragraphs(text)
					}
				}
			}
			return false
		})
	}
	return comments, nil
}

// paragraphs joins the lines of each paragraph.
func paragraphs(text string) string {
	var list []string
	for p := range strings.SplitSeq(text, "\n\n") {
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			list = append(list, p)
		}
	}
	return strings.Join(list, "\n")
}

func (g *generator) schema(v reflect.Value, k kind) map[string]any {
	t := v.Type()
	switch k {
	case kindSection:
		properties := map[string]any{}
		for _, f := range fields(v, "") {
			property := g.schema(f.value, f.kind)
			property["description"] = g.comment(f)
			if f.kind != kindSection && f.kind != kindSecret {
				property["default"] = plain(f.value, f.kind)
			}
			properties[f.key] = property
		}
		return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	case kindList:
		item := reflect.New(t.Elem()).Elem()
		return map[string]any{"type": "array", "items": g.schema(item, kindOf(t.Elem()))}
	case kindBool:
		return map[string]any{"type": "boolean"}
	case kindInt:
		return map[string]any{"type": "integer"}
	case kindUint:
		return map[string]any{"type": "integer", "minimum": 0}
	case kindFloat:
		return map[string]any{"type": "number"}
	case kindSecret:
		return map[string]any{"type": "string", "pattern": "^((env|file):.+)?$"}
	}
	m := map[string]any{"type": "string"}
	if allowed := choices(t); allowed != nil {
		m["enum"] = allowed
	}
	switch t {
	case reflect.TypeFor[Duration]():
		m["pattern"] = "^([0-9]+(d|h|m|s|ms|us|ns))+$"
	case reflect.TypeFor[Bytes]():
		m["pattern"] = "^[0-9]+(B|KiB|MiB|GiB|TiB)$"
	}
	return m
}

const manualHead = `# Configuration

<!-- Generated from the field comments in the source. Change those, then run make generate. -->

One YAML file holds the configuration; every key has a default, so the file may
be short or absent. Unknown keys, keys given twice, anchors, aliases and a second
document are refused. All problems are reported together, each with its line.

A value comes from the strongest source that names it:

1. a flag on the command line,
2. an environment variable, named after the key: ` + "`dial.per_address` is `BIGBROTR_DIAL_PER_ADDRESS`" + `.
   A list is written with commas. A variable that begins with ` + "`BIGBROTR_`" + ` and
   sets no key is refused,
3. the file. A list in the file replaces the default list,
4. the default.

| type | written as |
|---|---|
| duration | a number and a unit: ` + "`250ms`, `10s`, `1h30m`, `7d`" + ` |
| size | a number and a unit: ` + "`512B`, `64KiB`, `16MiB`, `2GiB`" + ` |
| secret | a reference: ` + "`env:NAME` for a variable, `file:PATH`" + ` for a file; never the secret itself |
`

// manual writes the table of one section and then those of the sections in it.
func (g *generator) manual(b *strings.Builder, section reflect.Value, at string) {
	var scalars, inner []field
	for _, f := range fields(section, at) {
		if f.leaf() {
			scalars = append(scalars, f)
		} else {
			inner = append(inner, f)
		}
	}
	if len(scalars) > 0 {
		b.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n")
	}
	for _, f := range scalars {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.key, typeName(f.value.Type(), f.kind), defaultText(f), cell(g.comment(f)))
	}
	for _, f := range inner {
		v, title := f.value, f.path
		if f.kind == kindList {
			v, title = reflect.New(f.value.Type().Elem()).Elem(), f.path+"[]"
		}
		fmt.Fprintf(b, "\n## %s\n\n%s\n", title, strings.ReplaceAll(g.comment(f), "\n", "\n\n"))
		g.manual(b, v, title)
	}
}

func typeName(t reflect.Type, k kind) string {
	if allowed := choices(t); allowed != nil {
		return "one of `" + strings.Join(allowed, "`, `") + "`"
	}
	switch k {
	case kindList:
		item := typeName(t.Elem(), kindOf(t.Elem()))
		if choices(t.Elem()) != nil {
			return "list, each " + item
		}
		return "list of " + item + "s"
	case kindBool:
		return "true or false"
	case kindInt, kindUint:
		return "whole number"
	case kindFloat:
		return "number"
	case kindSecret:
		return "secret"
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return "duration"
	case reflect.TypeFor[Bytes]():
		return "size"
	}
	return "text"
}

func defaultText(f field) string {
	text := fmt.Sprint(plain(f.value, f.kind))
	if f.kind == kindList {
		items := make([]string, f.value.Len())
		for i := range items {
			items[i] = fmt.Sprint(plain(f.value.Index(i), kindOf(f.value.Type().Elem())))
		}
		text = strings.Join(items, ", ")
	}
	if text == "" {
		return "none"
	}
	return "`" + cell(text) + "`"
}

// cell makes a text fit for a cell of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", "<br>").Replace(text)
}

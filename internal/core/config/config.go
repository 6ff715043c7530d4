// Package config owns the form of the configuration: one YAML file decoded
// strictly over a struct that already holds the defaults, the environment and
// the flags on top, the value types a key may have, and the manual and JSON
// Schema made from the same struct. It knows no key of its own: each package
// declares its Config with a yaml tag and a comment on every field, and package
// app joins them.
//
// A value comes from the strongest source that names it: flag, environment,
// file, default. Every problem found is reported, not only the first, with the
// place it comes from and what to do about it.
package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// EnvPrefix begins the name of every environment variable that sets a key:
// dial.per_address is set by BIGBROTR_DIAL_PER_ADDRESS.
const EnvPrefix = "BIGBROTR_"

// maxFile bounds a configuration file, in bytes. Real ones have a few hundred
// lines; a log or a disk image given by mistake is refused before it is parsed.
const maxFile = 1 << 20

// Sources says where values come from besides the defaults.
type Sources struct {
	// File is the path of a YAML file; empty means that there is none.
	File string
	// Env holds the environment as NAME=value pairs, as os.Environ gives it.
	Env []string
	// Reserved names the variables beginning with EnvPrefix that set no key and
	// are read elsewhere. Any other unknown one is a problem.
	Reserved []string
	// Flags holds the keys set on the command line, in the order given.
	Flags []Flag
}

// Flag is a key set on the command line.
type Flag struct {
	Name  string // as the user typed it, such as --store
	Path  string // the key it sets, such as store.url
	Value string
}

// Origins maps the path of each key that does not have its default to where its
// value comes from: "bigbrotr.yaml:12", "BIGBROTR_DIAL_PER_ADDRESS" or "--store".
type Origins map[string]string

// Validator is implemented by the Config of a section whose values depend on
// more than their types. Validate adds a problem for each value that cannot
// work; the sections inside are checked on their own.
type Validator interface {
	Validate(c *Check)
}

// Load fills cfg, which holds the defaults, from the sources and validates the
// result. The error is of type Problems; cfg is then filled as far as possible
// and must not be used.
//
// Load panics when the type of cfg cannot be a configuration: a field without a
// yaml tag, a type it does not know, or two keys with one environment name.
func Load[T any](cfg *T, src Sources) (Origins, error) {
	root := reflect.ValueOf(cfg).Elem()
	l := &loader{origins: Origins{}, env: map[string]string{}, failed: map[string]bool{}, refs: map[string]bool{}}
	for _, pair := range src.Env {
		if name, value, ok := strings.Cut(pair, "="); ok {
			l.env[name] = value
		}
	}
	if src.File != "" {
		l.file(src.File, root)
	}
	keys := leaves(root)
	l.environment(keys)
	l.flags(src.Flags, keys)
	l.unknown(src.Reserved, keys)
	l.validate(root, "")
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return l.origins, nil
}

// loader is the state of one Load.
type loader struct {
	name     string // of the file, as the user gave it
	env      map[string]string
	refs     map[string]bool // variables that a secret refers to
	origins  Origins
	failed   map[string]bool // paths whose value could not be read
	problems Problems
}

func (l *loader) fail(where, path, message, remedy string) {
	l.failed[path] = true
	l.problems = append(l.problems, Problem{Where: where, Path: path, Message: message, Remedy: remedy})
}

func (l *loader) file(name string, root reflect.Value) {
	l.name = name
	text, err := readFile(name, maxFile)
	if err != nil {
		remedy := "check the path and the permissions"
		if errors.Is(err, errTooLarge) {
			remedy = "check that this is the configuration file"
		}
		l.fail(name, "", err.Error(), remedy)
		return
	}
	loader, err := yaml.NewLoader(strings.NewReader(string(text)))
	if err != nil {
		panic(fmt.Sprintf("config: options of the YAML loader: %v", err))
	}
	var doc yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return // nothing but comments: the defaults stand
	} else if err != nil {
		l.syntax(err)
		return
	}
	l.section(doc.Content[0], root, "")
	var next yaml.Node
	if err := loader.Load(&next); err == nil {
		l.fail(fmt.Sprintf("%s:%d", name, next.Line), "", "a second document begins here", "keep one document in the file")
	} else if !errors.Is(err, io.EOF) {
		l.syntax(err)
	}
}

// syntax reports text that is not YAML, at the line where reading stopped.
func (l *loader) syntax(err error) {
	where, message := l.name, err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		message = e.Message
		if e.ContextMsg != "" {
			message += " " + e.ContextMsg
		}
		if line := max(e.Mark.Line, e.ContextMark.Line); line > 0 {
			where = fmt.Sprintf("%s:%d", l.name, line)
		}
	}
	l.fail(where, "", "is not YAML: "+message, "correct the syntax near this line")
}

func (l *loader) environment(keys []field) {
	for _, key := range keys {
		if text, ok := l.env[key.env()]; ok {
			l.text(key, text, key.env())
		}
	}
}

// unknown refuses the variables with our prefix that nothing reads: most are
// mistyped keys.
func (l *loader) unknown(reserved []string, keys []field) {
	known := slices.Clone(reserved)
	for _, key := range keys {
		known = append(known, key.env())
	}
	short := make([]string, len(known)) // the prefix would make all names look alike
	for i, name := range known {
		short[i] = strings.TrimPrefix(name, EnvPrefix)
	}
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if strings.HasPrefix(name, EnvPrefix) && !l.refs[name] && !slices.Contains(known, name) {
			remedy := "unset it"
			if near := nearest(strings.TrimPrefix(name, EnvPrefix), short); near != "" {
				remedy = "did you mean " + EnvPrefix + near + "?"
			}
			l.fail(name, "", "sets no key", remedy)
		}
	}
}

func (l *loader) flags(flags []Flag, keys []field) {
	for _, flag := range flags {
		i := slices.IndexFunc(keys, func(key field) bool { return key.path == flag.Path })
		if i < 0 {
			panic(fmt.Sprintf("config: flag %s sets %s, which is no key", flag.Name, flag.Path))
		}
		l.text(keys[i], flag.Value, flag.Name)
	}
}

// text sets one key from the text of a variable or a flag. A list is written
// with commas.
func (l *loader) text(key field, text, where string) {
	fresh := reflect.New(key.value.Type()).Elem()
	parts, into := []string{text}, func(int) reflect.Value { return fresh }
	if key.kind == kindList {
		if parts = nil; text != "" {
			parts = strings.Split(text, ",")
		}
		fresh.Set(reflect.MakeSlice(key.value.Type(), len(parts), len(parts)))
		into = fresh.Index
	}
	for i, part := range parts {
		v := into(i)
		if err := l.scalar(v, kindOf(v.Type()), part); err != nil {
			l.fail(where, key.path, err.message, err.remedy)
			return
		}
	}
	delete(l.failed, key.path)
	key.value.Set(fresh)
	l.origins[key.path] = where
}

// validate calls the Validate methods, inner sections first.
func (l *loader) validate(v reflect.Value, path string) {
	for _, f := range fields(v, path) {
		switch {
		case f.kind == kindSection:
			l.validate(f.value, f.path)
		case f.kind == kindList && kindOf(f.value.Type().Elem()) == kindSection:
			for i := range f.value.Len() {
				l.validate(f.value.Index(i), fmt.Sprintf("%s[%d]", f.path, i))
			}
		}
	}
	if validator, ok := reflect.TypeAssert[Validator](v.Addr()); ok {
		validator.Validate(&Check{loader: l, path: path})
	}
}

var errTooLarge = errors.New("is too large")

// readFile reads a file of at most limit bytes. Its error has no path: the
// caller says whose file it is.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", bare(err))
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%w: over %d bytes", errTooLarge, limit)
	}
	return text, nil
}

// bare takes the operation and the path off a file error.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

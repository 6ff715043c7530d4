package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// Choices is implemented by a string type that has a fixed set of values.
type Choices interface {
	Choices() []string
}

// kind is the form of a key as the file has it.
type kind int

const (
	kindSection kind = iota // a struct
	kindList                // of sections or of scalars
	kindBool
	kindInt
	kindUint
	kindFloat
	kindString
	kindText // a type that parses itself
	kindSecret
)

// field is one key of a section.
type field struct {
	owner reflect.Type // the struct that has it
	name  string       // in Go
	key   string       // in YAML
	path  string
	kind  kind
	value reflect.Value
}

var keyForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// fields lists the keys of a section in the order of the struct.
func fields(section reflect.Value, path string) []field {
	t := section.Type()
	var list []field
	for i := range t.NumField() {
		sf := t.Field(i)
		key := sf.Tag.Get("yaml")
		if key == "-" || !sf.IsExported() {
			continue
		}
		if !keyForm.MatchString(key) {
			panic(fmt.Sprintf("config: %s.%s has yaml tag %q, want a key like page_size", t, sf.Name, key))
		}
		f := field{
			owner: t, name: sf.Name, key: key, path: join(path, key),
			kind: kindOf(sf.Type), value: section.Field(i),
		}
		list = append(list, f)
	}
	if len(list) == 0 {
		panic(fmt.Sprintf("config: %s has no keys and does not parse itself from text and back", t))
	}
	return list
}

// leaf tells whether a variable or a flag can set the key: it is neither a
// section nor a list of sections.
func (f field) leaf() bool {
	return f.kind != kindSection && (f.kind != kindList || kindOf(f.value.Type().Elem()) != kindSection)
}

// env is the name of the variable that sets the key.
func (f field) env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}

// leaves lists the leaf keys below a section.
func leaves(section reflect.Value) []field {
	var list []field
	paths := map[string]string{}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for _, f := range fields(v, path) {
			if f.kind == kindSection {
				walk(f.value, f.path)
			}
			if !f.leaf() {
				continue
			}
			if other, ok := paths[f.env()]; ok {
				panic(fmt.Sprintf("config: %s and %s are both set by %s", other, f.path, f.env()))
			}
			paths[f.env()] = f.path
			list = append(list, f)
		}
	}
	walk(section, "")
	return list
}

// textual is what a type that parses itself has to be able to do.
type textual interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}

func kindOf(t reflect.Type) kind {
	if t == reflect.TypeFor[Secret]() {
		return kindSecret
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[textual]()) {
		return kindText
	}
	switch t.Kind() {
	case reflect.Struct:
		return kindSection
	case reflect.Slice:
		if kindOf(t.Elem()) != kindList {
			return kindList
		}
	case reflect.Bool:
		return kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if t.PkgPath() == "time" {
			break // a time.Duration would take bare numbers of nanoseconds
		}
		return kindInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return kindUint
	case reflect.Float32, reflect.Float64:
		return kindFloat
	case reflect.String:
		return kindString
	}
	panic(fmt.Sprintf("config: a key cannot be of type %s", t))
}

// choices lists the values that a type may have; nil means any.
func choices(t reflect.Type) []string {
	if c, ok := reflect.TypeAssert[Choices](reflect.Zero(t)); ok {
		return c.Choices()
	}
	return nil
}

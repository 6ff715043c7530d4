package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The decoder is our own walk over the parsed nodes, because the library stops
// at kinds of mistake (a duplicate key hides an unknown one) and knows no paths.

// section decodes a mapping over a struct. Keys that are absent keep the value
// they have; a section with nothing in it keeps all.
func (l *loader) section(n *yaml.Node, v reflect.Value, path string) {
	where := l.at(n)
	if !l.plain(n, path) {
		return
	}
	if n.Kind != yaml.MappingNode {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!null" {
			l.fail(where, path, "must be a section", "write its keys below it, indented, as key: value")
		}
		return
	}
	known := fields(v, path)
	names := make([]string, len(known))
	for i, f := range known {
		names[i] = f.key
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		where := l.at(key)
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" || key.Anchor != "" {
			l.fail(where, path, "has a key that is not a plain word", "write key: value")
			continue
		}
		name := join(path, key.Value)
		if first, ok := lines[key.Value]; ok {
			l.fail(where, name, fmt.Sprintf("is given again, first on line %d", first), "keep one of the two")
			continue
		}
		lines[key.Value] = key.Line
		j := slices.Index(names, key.Value)
		if j < 0 {
			remedy := "known here: " + strings.Join(names, ", ")
			if near := nearest(key.Value, names); near != "" {
				remedy = "did you mean " + near + "?"
			}
			l.fail(where, name, "is not a known key", remedy)
			continue
		}
		l.origins[name] = where
		l.value(value, known[j].value, known[j].kind, name)
	}
}

// value decodes a node of any form. A value that cannot be read leaves v as it is.
func (l *loader) value(n *yaml.Node, v reflect.Value, k kind, path string) {
	if k == kindSection {
		l.section(n, v, path)
		return
	}
	where := l.at(n)
	if !l.plain(n, path) {
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		remedy := "give a value, or remove the key to keep the default"
		if k == kindList {
			remedy = "write [] for an empty list, or remove the key to keep the default"
		}
		l.fail(where, path, "has no value", remedy)
		return
	}
	if k == kindList {
		l.list(n, v, path)
		return
	}
	if n.Kind != yaml.ScalarNode {
		l.fail(where, path, "must be one value", "write "+path[strings.LastIndexByte(path, '.')+1:]+": value")
		return
	}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if quoted && (k == kindBool || k == kindInt || k == kindUint || k == kindFloat) {
		l.fail(where, path, "is text", "write the value without quotes")
		return
	}
	if err := l.scalar(v, k, n.Value); err != nil {
		l.fail(where, path, err.message, err.remedy)
	}
}

// list decodes a sequence. It replaces the default; it does not add to it.
func (l *loader) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		l.fail(l.at(n), path, "must be a list", "write [a, b], or one item a line after a dash")
		return
	}
	k := kindOf(v.Type().Elem())
	items := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		path := fmt.Sprintf("%s[%d]", path, i)
		l.origins[path] = l.at(item)
		l.value(item, items.Index(i), k, path)
	}
	v.Set(items)
}

// plain refuses the parts of YAML that make a file mean more than it shows.
func (l *loader) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		l.fail(l.at(n), path, "uses an anchor or an alias", "write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		l.fail(l.at(n), path, "has a YAML tag", "write the value without "+n.Tag)
	default:
		return true
	}
	return false
}

func (l *loader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", l.name, n.Line) }

// refusal tells why a text is not the value of a key.
type refusal struct{ message, remedy string }

func (r *refusal) Error() string { return r.message + "; " + r.remedy }

// scalar parses the text of a value. The text of a secret never gets into a
// refusal.
func (l *loader) scalar(v reflect.Value, k kind, s string) *refusal {
	t := v.Type()
	switch k {
	case kindBool:
		if s != "true" && s != "false" {
			return &refusal{fmt.Sprintf("is %q", s), "write true or false"}
		}
		v.SetBool(s == "true")
	case kindInt:
		n, err := strconv.ParseInt(s, 10, t.Bits())
		if err != nil {
			low, high := int64(math.MinInt64)>>(64-t.Bits()), int64(math.MaxInt64)>>(64-t.Bits())
			return notWhole(s, strconv.FormatInt(low, 10), strconv.FormatInt(high, 10))
		}
		v.SetInt(n)
	case kindUint:
		n, err := strconv.ParseUint(s, 10, t.Bits())
		if err != nil {
			return notWhole(s, "0", strconv.FormatUint(math.MaxUint64>>(64-t.Bits()), 10))
		}
		v.SetUint(n)
	case kindFloat:
		n, err := strconv.ParseFloat(s, t.Bits())
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return &refusal{fmt.Sprintf("is %q", s), "write a number such as 0.5"}
		}
		v.SetFloat(n)
	case kindString:
		if allowed := choices(t); allowed != nil && !slices.Contains(allowed, s) {
			return &refusal{fmt.Sprintf("is %q", s), "choose one of " + strings.Join(allowed, ", ")}
		}
		v.SetString(s)
	case kindText:
		fresh := reflect.New(t)
		if err := fresh.Interface().(textual).UnmarshalText([]byte(s)); err != nil {
			if refused, ok := errors.AsType[*refusal](err); ok {
				return refused
			}
			return &refusal{"is refused: " + err.Error(), ""}
		}
		v.Set(fresh.Elem())
	case kindSecret:
		secret, refused := l.secret(s)
		if refused != nil {
			return refused
		}
		v.Set(reflect.ValueOf(secret))
	default:
		panic(fmt.Sprintf("config: %s is no scalar", t))
	}
	return nil
}

func notWhole(s, low, high string) *refusal {
	return &refusal{fmt.Sprintf("is %q", s), fmt.Sprintf("write a whole number from %s to %s", low, high)}
}

package config

import (
	"fmt"
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// Show renders a configuration as YAML, every key in the order of the structs,
// with dots for secrets. A key with an origin has it as a comment behind it;
// origins may be nil.
func Show(cfg any, origins Origins) []byte {
	text, err := yaml.Dump(node(root(cfg), kindSection, "", origins), yaml.WithLineWidth(-1))
	if err != nil {
		panic(fmt.Sprintf("config: render %T as YAML: %v", cfg, err))
	}
	return text
}

// Values returns a configuration as nested maps by key, with dots for secrets
// and the same text as the file for durations and sizes, ready for JSON.
func Values(cfg any) map[string]any {
	return plain(root(cfg), kindSection).(map[string]any)
}

// root takes a struct or a pointer to one, and returns it addressable: methods
// of the fields may have pointer receivers.
func root(cfg any) reflect.Value {
	v := reflect.ValueOf(cfg)
	if v.Kind() == reflect.Pointer {
		return v.Elem()
	}
	fresh := reflect.New(v.Type()).Elem()
	fresh.Set(v)
	return fresh
}

func plain(v reflect.Value, k kind) any {
	switch k {
	case kindSection:
		m := map[string]any{}
		for _, f := range fields(v, "") {
			m[f.key] = plain(f.value, f.kind)
		}
		return m
	case kindList:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i), kindOf(v.Type().Elem()))
		}
		return list
	case kindText, kindSecret:
		return marshal(v)
	}
	return v.Interface()
}

func node(v reflect.Value, k kind, path string, origins Origins) *yaml.Node {
	switch k {
	case kindSection:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range fields(v, path) {
			value := node(f.value, f.kind, f.path, origins)
			key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.key}
			switch {
			case f.leaf():
				value.LineComment = origins[f.path]
			case f.kind == kindList:
				key.LineComment = origins[f.path]
			}
			n.Content = append(n.Content, key, value)
		}
		return n
	case kindList:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if v.Len() == 0 || kindOf(v.Type().Elem()) != kindSection {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, node(v.Index(i), kindOf(v.Type().Elem()), path, origins))
		}
		return n
	case kindText, kindSecret:
		return words(marshal(v))
	case kindString:
		return words(v.String())
	case kindFloat:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}
}

// words makes a string node; the tag has the library quote what would read as
// another type.
func words(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// marshal renders a type that parses itself.
func marshal(v reflect.Value) string {
	text, err := v.Addr().Interface().(interface{ MarshalText() ([]byte, error) }).MarshalText()
	if err != nil {
		panic(fmt.Sprintf("config: render %s: %v", v.Type(), err))
	}
	return string(text)
}

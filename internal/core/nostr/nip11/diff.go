package nip11

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Change is a field that differs between two versions of a document. The values
// are JSON, nil where the field is absent; they are the relay's words.
type Change struct {
	Field         string // "version", "limitation.max_limit"
	Before, After json.RawMessage
}

// Diff returns what differs between two canonical documents, by field. Objects
// are compared field by field, lists as a whole. What is no object counts as an
// empty one.
func Diff(before, after []byte) []Change {
	var out []Change
	diff("", members(before), members(after), &out)
	return out
}

func diff(path string, before, after map[string]json.RawMessage, out *[]Change) {
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b, a := before[name], after[name]
		if bytes.Equal(b, a) {
			continue
		}
		field := path + name
		if isObject(b) && isObject(a) {
			diff(field+".", members(b), members(a), out)
			continue
		}
		*out = append(*out, Change{Field: field, Before: b, After: a})
	}
}

func isObject(text json.RawMessage) bool { return len(text) > 0 && text[0] == '{' }

func members(text []byte) map[string]json.RawMessage {
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(text, &fields) != nil {
		return map[string]json.RawMessage{}
	}
	return fields
}

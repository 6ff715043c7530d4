package nip11

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Canonical returns the one JSON text that all bodies with the same content
// share: no white space, names sorted by their bytes, the last of repeated
// names, numbers as they were written, only the escapes JSON demands. It reads
// any JSON value with the tolerance of Parse and returns strict JSON.
func Canonical(body []byte) ([]byte, error) {
	v, _, err := read(body)
	if err != nil {
		return nil, fmt.Errorf("canonical form of a relay document: %w", err)
	}
	return v.append(make([]byte, 0, len(body))), nil
}

// Hash is the address of a document: the SHA-256 of its canonical form.
func Hash(body []byte) ([sha256.Size]byte, error) {
	canonical, err := Canonical(body)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(canonical), nil
}

func (v *value) append(dst []byte) []byte {
	switch v.kind {
	case boolFalse:
		return append(dst, "false"...)
	case boolTrue:
		return append(dst, "true"...)
	case number:
		return append(dst, v.text...)
	case text:
		return appendString(dst, v.text)
	case array:
		dst = append(dst, '[')
		for i := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.items[i].append(dst)
		}
		return append(dst, ']')
	case object:
		sorted := slices.SortedFunc(slices.Values(v.members), func(a, b member) int {
			return cmp.Compare(a.name, b.name)
		})
		dst = append(dst, '{')
		for i := range sorted {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, sorted[i].name)
			dst = append(dst, ':')
			dst = sorted[i].value.append(dst)
		}
		return append(dst, '}')
	default:
		return append(dst, "null"...)
	}
}

// appendString quotes s, which read has made valid UTF-8.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf || c >= 0x20 && c != '"' && c != '\\':
			dst = append(dst, c)
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, '"')
}

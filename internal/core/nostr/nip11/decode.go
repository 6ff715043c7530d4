package nip11

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"bigbrotr/internal/core/nostr"
)

// A decoder turns values into fields and collects findings on the way.
type decoder struct{ Document }

func (d *decoder) find(field string, p Problem) {
	if len(d.Findings) == maxFindings {
		return
	}
	f := Finding{Field: field, Problem: p}
	if !slices.Contains(d.Findings, f) {
		d.Findings = append(d.Findings, f)
	}
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// member looks a name up in a nested object.
func (d *decoder) member(path string, v *value, name string) *member {
	m := v.get(name)
	if m != nil && m.repeated {
		d.find(path+"."+name, Repeated)
	}
	return m
}

// isObject tells whether v is an object, and finds fault when it is not.
func (d *decoder) isObject(path string, v *value) bool {
	switch v.kind {
	case object:
		return true
	case null:
		d.find(path, Null)
	default:
		d.find(path, WrongType)
	}
	return false
}

// list returns the elements of an array, or v itself for a bare scalar or
// object.
func (d *decoder) list(path string, v *value) []value {
	switch v.kind {
	case null:
		d.find(path, Null)
		return nil
	case array:
		if len(v.items) > maxList {
			d.find(path, TooMany)
			return v.items[:maxList]
		}
		return v.items
	default:
		d.find(path, Coerced)
		return []value{*v}
	}
}

func (d *decoder) texts(path string, v *value) []string {
	var out []string
	for i, item := range d.list(path, v) {
		if s := d.text(index(path, i), &item); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// text reads a string; a number, or the first of a list of strings, will do.
func (d *decoder) text(path string, v *value) string {
	switch v.kind {
	case text:
	case number:
		d.find(path, Coerced)
	case null:
		d.find(path, Null)
		return ""
	case array:
		if len(v.items) > 0 && v.items[0].kind == text {
			d.find(path, Coerced)
			return d.text(path, &v.items[0])
		}
		fallthrough
	default:
		d.find(path, WrongType)
		return ""
	}
	if len(v.text) > maxText {
		d.find(path, TooLong)
		cut := maxText
		for !utf8.RuneStart(v.text[cut]) {
			cut--
		}
		return v.text[:cut]
	}
	return v.text
}

// url reads a URL; text that is none is kept and found fault with.
func (d *decoder) url(path string, v *value) string {
	s := d.text(path, v)
	if s == "" {
		return ""
	}
	if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Host == "" {
		d.find(path, NotAURL)
	}
	return s
}

func (d *decoder) key(path string, v *value) *nostr.PubKey {
	s := d.text(path, v)
	if s == "" {
		return nil
	}
	k, err := nostr.ParsePubKey(strings.ToLower(s))
	if err != nil || strings.ToLower(s) != s {
		d.find(path, NotAKey)
	}
	if err != nil {
		return nil
	}
	return &k
}

// count reads a whole number that is not negative.
func (d *decoder) count(path string, v *value) *int64 {
	s := v.text
	switch v.kind {
	case number:
	case text:
		s = strings.TrimSpace(s)
		if !isNumber(s) {
			d.find(path, WrongType)
			return nil
		}
		d.find(path, Coerced)
	case null:
		d.find(path, Null)
		return nil
	default:
		d.find(path, WrongType)
		return nil
	}
	n, ok := integer(s)
	if !ok || n < 0 {
		d.find(path, OutOfRange)
		return nil
	}
	return &n
}

// amount reads a number that need not be whole.
func (d *decoder) amount(path string, v *value) string {
	switch {
	case v.kind == number:
	case v.kind == text && isNumber(v.text):
		d.find(path, Coerced)
	case v.kind == null:
		d.find(path, Null)
		return ""
	default:
		d.find(path, WrongType)
		return ""
	}
	const enough = 32 // digits of any price
	if strings.HasPrefix(v.text, "-") || len(v.text) > enough {
		d.find(path, OutOfRange)
		return ""
	}
	return v.text
}

func (d *decoder) flag(path string, v *value) *bool {
	switch v.kind {
	case boolTrue:
		return new(true)
	case boolFalse:
		return new(false)
	case null:
		d.find(path, Null)
		return nil
	}
	switch {
	case v.kind != text && v.kind != number:
	case v.text == "1" || strings.EqualFold(v.text, "true"):
		d.find(path, Coerced)
		return new(true)
	case v.text == "0" || strings.EqualFold(v.text, "false"):
		d.find(path, Coerced)
		return new(false)
	}
	d.find(path, WrongType)
	return nil
}

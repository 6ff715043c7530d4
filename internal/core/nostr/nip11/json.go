package nip11

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A value is one node of a JSON text read without regard to what it should
// mean. Numbers keep the characters they were written with.
type value struct {
	kind    kind
	text    string // a string's characters, or a number as written
	items   []value
	members []member // in document order, every name once
}

type member struct {
	name     string
	value    value
	repeated bool // the name stood more than once; value is the last
}

type kind uint8

const (
	null kind = iota
	boolFalse
	boolTrue
	number
	text
	array
	object
)

// get returns the member of that name, or nil.
func (v *value) get(name string) *member {
	for i := range v.members {
		if v.members[i].name == name {
			return &v.members[i]
		}
	}
	return nil
}

// A reader reads JSON as people and small servers write it: what RFC 8259
// forbids but every human understands is read and remembered as a problem.
// encoding/json would refuse those documents, recurse 10,000 levels before it
// gives up, and hide repeated names.
type reader struct {
	in     string
	pos    int
	values int
	// What was forgiven, each kind once.
	problems []Problem
}

// read parses a whole body.
func read(body []byte) (value, []Problem, error) {
	if len(body) > MaxSize {
		return value{}, nil, ErrTooLarge
	}
	r := reader{in: string(body)}
	if rest, ok := strings.CutPrefix(r.in, "\ufeff"); ok {
		r.in = rest
		r.forgive(ByteOrderMark)
	}
	v, err := r.value(0)
	if err != nil {
		return value{}, nil, err
	}
	if r.space(); r.pos != len(r.in) {
		return value{}, nil, r.fail()
	}
	return v, r.problems, nil
}

func (r *reader) fail() error { return &SyntaxError{Offset: r.pos} }

func (r *reader) forgive(p Problem) {
	if !slices.Contains(r.problems, p) {
		r.problems = append(r.problems, p)
	}
}

// space skips white space and returns the byte after it, 0 at the end.
func (r *reader) space() byte {
	for r.pos < len(r.in) {
		switch c := r.in[r.pos]; c {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

func (r *reader) value(depth int) (value, error) {
	if depth > MaxDepth {
		return value{}, ErrTooDeep
	}
	if r.values++; r.values > maxValues {
		return value{}, ErrTooLarge
	}
	switch c := r.space(); c {
	case '{':
		return r.object(depth)
	case '[':
		return r.array(depth)
	case '"':
		s, err := r.string()
		return value{kind: text, text: s}, err
	default:
		return r.bare()
	}
}

func (r *reader) object(depth int) (value, error) {
	v := value{kind: object}
	var index map[string]int // made when a linear search would be slow
	r.pos++
	for {
		switch r.space() {
		case '}':
			r.pos++
			return v, nil
		case '"':
		default:
			return value{}, r.fail()
		}
		name, err := r.string()
		if err != nil {
			return value{}, err
		}
		if r.space() != ':' {
			return value{}, r.fail()
		}
		r.pos++
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}

		at := -1
		if index != nil {
			if i, ok := index[name]; ok {
				at = i
			}
		} else if m := v.get(name); m != nil {
			m.value, m.repeated = item, true
			at = -2
		}
		switch {
		case at >= 0:
			v.members[at].value, v.members[at].repeated = item, true
		case at == -1:
			v.members = append(v.members, member{name: name, value: item})
			if index != nil {
				index[name] = len(v.members) - 1
			} else if len(v.members) == 32 {
				index = make(map[string]int)
				for i, m := range v.members {
					index[m.name] = i
				}
			}
		}
		if err := r.comma('}'); err != nil {
			return value{}, err
		}
	}
}

func (r *reader) array(depth int) (value, error) {
	v := value{kind: array}
	r.pos++
	for {
		if r.space() == ']' {
			r.pos++
			return v, nil
		}
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, item)
		if err := r.comma(']'); err != nil {
			return value{}, err
		}
	}
}

// comma reads what may follow an element: a comma, or nothing before the
// closing bracket. A comma right before the bracket is forgiven.
func (r *reader) comma(closing byte) error {
	switch r.space() {
	case closing:
		return nil
	case ',':
		r.pos++
		if r.space() == closing {
			r.forgive(TrailingComma)
		}
		return nil
	default:
		return r.fail()
	}
}

// bare reads what has no bracket or quote around it: numbers and words.
func (r *reader) bare() (value, error) {
	start := r.pos
	for r.pos < len(r.in) {
		c := r.in[r.pos]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' {
			break
		}
		r.pos++
	}
	switch word := r.in[start:r.pos]; word {
	case "null":
		return value{kind: null}, nil
	case "true":
		return value{kind: boolTrue}, nil
	case "false":
		return value{kind: boolFalse}, nil
	case "NaN", "Infinity", "-Infinity":
		r.forgive(NotANumber)
		return value{kind: null}, nil
	default:
		if isNumber(word) {
			return value{kind: number, text: word}, nil
		}
	}
	r.pos = start
	return value{}, r.fail()
}

// isNumber tells whether s follows the number grammar of RFC 8259.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	n := digits(s)
	if n == 0 || n > 1 && s[0] == '0' {
		return false
	}
	s = s[n:]
	if strings.HasPrefix(s, ".") {
		n := digits(s[1:])
		if n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if s != "" && s[0]|0x20 == 'e' {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		n := digits(s)
		return n > 0 && n == len(s)
	}
	return s == ""
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// string reads a quoted string; the reader stands on the opening quote.
func (r *reader) string() (string, error) {
	r.pos++
	start := r.pos
	for r.pos < len(r.in) {
		switch c := r.in[r.pos]; {
		case c == '"':
			s := r.in[start:r.pos]
			r.pos++
			return s, nil
		case c == '\\' || c < 0x20 || c >= utf8.RuneSelf:
			return r.slowString(start)
		}
		r.pos++
	}
	return "", r.fail()
}

func (r *reader) slowString(start int) (string, error) {
	var b strings.Builder
	b.WriteString(r.in[start:r.pos])
	for r.pos < len(r.in) {
		switch c := r.in[r.pos]; {
		case c == '"':
			r.pos++
			return b.String(), nil
		case c == '\\':
			if !r.escape(&b) {
				return "", r.fail()
			}
		case c < 0x20:
			r.forgive(ControlCharacter)
			b.WriteByte(c)
			r.pos++
		case c < utf8.RuneSelf:
			b.WriteByte(c)
			r.pos++
		default:
			char, size := utf8.DecodeRuneInString(r.in[r.pos:])
			if char == utf8.RuneError && size == 1 {
				r.forgive(InvalidUTF8)
			}
			b.WriteRune(char)
			r.pos += size
		}
	}
	return "", r.fail()
}

// escape reads one backslash escape. Half a surrogate pair becomes U+FFFD.
func (r *reader) escape(b *strings.Builder) bool {
	if r.pos+1 >= len(r.in) {
		return false
	}
	c := r.in[r.pos+1]
	if c == 'u' {
		char, ok := r.hex4(r.pos + 2)
		if !ok {
			return false
		}
		r.pos += 6
		if utf16.IsSurrogate(char) {
			pair := rune(utf8.RuneError)
			if strings.HasPrefix(r.in[r.pos:], `\u`) {
				if low, ok := r.hex4(r.pos + 2); ok {
					pair = utf16.DecodeRune(char, low)
				}
			}
			if pair == utf8.RuneError {
				r.forgive(InvalidUTF8)
			} else {
				r.pos += 6
			}
			char = pair
		}
		b.WriteRune(char)
		return true
	}
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return false
	}
	b.WriteByte("\"\\/\b\f\n\r\t"[i])
	r.pos += 2
	return true
}

func (r *reader) hex4(at int) (rune, bool) {
	if at+4 > len(r.in) {
		return 0, false
	}
	n, err := strconv.ParseUint(r.in[at:at+4], 16, 16)
	return rune(n), err == nil
}

// integer returns the whole number a JSON number stands for: 500, 500.0 and
// 5e2 are the same one.
func integer(s string) (int64, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

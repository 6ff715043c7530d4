package store

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"bigbrotr/internal/core/nostr"
)

// ErrUnstorable is the error of a row that no database can hold; it concerns
// that row only.
var ErrUnstorable = errors.New("the row cannot be held")

// Holdable tells whether a text column holds s unchanged.
func Holdable(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// Substitute marks with U+FFFD what a text column cannot hold.
func Substitute(s string) string {
	if Holdable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// exact tells whether text columns hold an event unchanged.
func exact(e *nostr.Event) bool {
	for _, t := range e.Tags {
		for _, s := range t {
			if !Holdable(s) {
				return false
			}
		}
	}
	return Holdable(e.Content)
}

// whole returns an event as JSON, or ErrUnstorable when its text is of a kind
// that no JSON holds.
func whole(e *nostr.Event) ([]byte, error) {
	raw := e.AppendJSON(nil)
	if _, err := nostr.ParseEvent(raw); err != nil {
		return nil, ErrUnstorable
	}
	return raw, nil
}

// Storable returns ErrUnstorable for an event whose text no JSON holds.
func Storable(e *nostr.Event) error {
	if exact(e) {
		return nil
	}
	_, err := whole(e)
	return err
}

// EventText returns what is stored of an event's text: tags as JSON, content
// and, when those cannot be exact, the whole event as JSON. It is ErrUnstorable
// for text that no JSON holds. buf is room to work in, which is handed back.
func EventText(e *nostr.Event, buf []byte) (tags, content string, raw, _ []byte, err error) {
	if exact(e) {
		buf = AppendTags(buf[:0], e.Tags)
		return string(buf), e.Content, nil, buf, nil
	}
	shown := make([]nostr.Tag, len(e.Tags))
	for i, t := range e.Tags {
		shown[i] = make(nostr.Tag, len(t))
		for j, s := range t {
			shown[i][j] = Substitute(s)
		}
	}
	buf = AppendTags(buf[:0], shown)
	raw, err = whole(e)
	return string(buf), Substitute(e.Content), raw, buf, err
}

// AppendTags appends tags as a JSON array of arrays of strings, without white
// space. Its strings are valid UTF-8 without NUL.
func AppendTags(dst []byte, tags []nostr.Tag) []byte {
	dst = append(dst, '[')
	for i, t := range tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		for j, s := range t {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendText(dst, s)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']')
}

func appendText(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// ParseTags reads what AppendTags writes, and what PostgreSQL makes of it: a
// space after commas and other escapes for the same. The tags are parts of the
// text, unless they hold an escape.
func ParseTags(text string) ([]nostr.Tag, bool) {
	p := tagParser{text: text}
	if !p.skip('[') {
		return nil, false
	}
	tags := []nostr.Tag{}
	// One array for all strings: an event has many short tags.
	values := make([]string, 0, strings.Count(text, `"`)/2)
	for !p.skip(']') {
		if len(tags) > 0 && !p.comma() || !p.skip('[') {
			return nil, false
		}
		from := len(values)
		for !p.skip(']') {
			if len(values) > from && !p.comma() {
				return nil, false
			}
			s, ok := p.value()
			if !ok {
				return nil, false
			}
			values = append(values, s)
		}
		tags = append(tags, values[from:len(values):len(values)])
	}
	return tags, p.at == len(text)
}

type tagParser struct {
	text string
	at   int
}

func (p *tagParser) skip(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *tagParser) comma() bool {
	found := p.skip(',')
	p.skip(' ')
	return found
}

func (p *tagParser) value() (string, bool) {
	if !p.skip('"') {
		return "", false
	}
	rest := p.text[p.at:]
	end := strings.IndexAny(rest, `"\`)
	if end < 0 {
		return "", false
	}
	if rest[end] == '"' {
		p.at += end + 1
		return rest[:end], true
	}
	b := []byte(rest[:end])
	for i := end; i < len(rest); i++ {
		switch c := rest[i]; c {
		case '"':
			p.at += i + 1
			return string(b), true
		case '\\':
			i++
			if i >= len(rest) {
				return "", false
			}
			switch rest[i] {
			case '"', '\\':
				b = append(b, rest[i])
			case 'n':
				b = append(b, '\n')
			case 't':
				b = append(b, '\t')
			case 'r':
				b = append(b, '\r')
			case 'b':
				b = append(b, '\b')
			case 'f':
				b = append(b, '\f')
			case 'u':
				if i+4 >= len(rest) {
					return "", false
				}
				v, err := strconv.ParseUint(rest[i+1:i+5], 16, 8)
				if err != nil {
					return "", false
				}
				b = append(b, byte(v))
				i += 4
			default:
				return "", false
			}
		default:
			b = append(b, c)
		}
	}
	return "", false
}

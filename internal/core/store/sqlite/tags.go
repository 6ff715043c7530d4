package sqlite

import (
	"strconv"
	"strings"

	"bigbrotr/internal/core/nostr"
)

// appendTags appends tags as a JSON array of arrays of strings, without white
// space. Its strings are valid UTF-8 without NUL.
func appendTags(dst []byte, tags []nostr.Tag) []byte {
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

// parseTags reads exactly what appendTags writes. The tags are parts of the
// text, unless they hold an escape.
func parseTags(text string) ([]nostr.Tag, bool) {
	p := tagParser{text: text}
	if !p.skip('[') {
		return nil, false
	}
	tags := []nostr.Tag{}
	// One array for all strings: an event has many short tags.
	values := make([]string, 0, strings.Count(text, `"`)/2)
	for !p.skip(']') {
		if len(tags) > 0 && !p.skip(',') || !p.skip('[') {
			return nil, false
		}
		from := len(values)
		for !p.skip(']') {
			if len(values) > from && !p.skip(',') {
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

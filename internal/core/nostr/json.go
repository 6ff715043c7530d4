package nostr

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// Reason says why bytes were refused. The values are stable words, fit for a
// metric label or a stored row.
type Reason string

// Reasons of a ParseError.
const (
	ReasonTruncated      Reason = "truncated"        // the text ends too early
	ReasonSyntax         Reason = "syntax"           // not JSON by RFC 8259
	ReasonControl        Reason = "control"          // raw control character in a string
	ReasonUTF8           Reason = "utf8"             // a string is not valid UTF-8
	ReasonTrailing       Reason = "trailing"         // something after the value
	ReasonDepth          Reason = "depth"            // an unknown value nests too deep
	ReasonType           Reason = "type"             // another JSON type than the place wants
	ReasonDuplicateKey   Reason = "duplicate_key"    // a known key appears twice
	ReasonMissingKey     Reason = "missing_key"      // not all seven keys of an event
	ReasonID             Reason = "id"               // not 64 lower-case hex digits
	ReasonPubKey         Reason = "pubkey"           // not 64 lower-case hex digits
	ReasonSig            Reason = "sig"              // not 128 lower-case hex digits
	ReasonCreatedAt      Reason = "created_at"       // not an integer of at least 0
	ReasonCreatedAtRange Reason = "created_at_range" // an integer beyond 2^63-1
	ReasonKind           Reason = "kind"             // not an integer of at least 0
	ReasonKindRange      Reason = "kind_range"       // an integer beyond 2^63-1
	ReasonTags           Reason = "tags"             // not an array (2021 relays sent null)
	ReasonTag            Reason = "tag"              // an element of tags is not an array
	ReasonTagElement     Reason = "tag_element"      // an element of a tag is not a string
	ReasonContent        Reason = "content"          // not a string
	ReasonLabel          Reason = "label"            // a message does not start with a string
	ReasonSub            Reason = "sub"              // not a subscription id
	ReasonHex            Reason = "hex"              // a NIP-77 payload is not hex
	ReasonCount          Reason = "count"            // not a NIP-45 count
	ReasonFilterKey      Reason = "filter_key"       // a filter has an unknown key
	ReasonFilterValue    Reason = "filter_value"     // a filter's value is not of its key's form
	ReasonFilters        Reason = "filters"          // none, or too many, filters in a message
)

// ParseError is what every parser of this package returns.
type ParseError struct {
	Reason Reason
	Offset int // of the byte where the trouble was noticed
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("malformed at byte %d: %s", e.Offset, e.Reason)
}

// The functions below walk JSON text. They take the text and an index and
// return the index behind what they read, with an empty Reason; or the index
// of the trouble and its Reason. Plain indices stay in registers, which a
// cursor struct does not.

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// space returns the index of the first byte that is not white space.
func space(b []byte, i int) int {
	if i < len(b) && b[i] > ' ' {
		return i
	}
	return spaceSlow(b, i)
}

func spaceSlow(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// scanString reads the rest of a string whose opening quote is before i and
// returns the index of the closing quote. escaped tells whether the text holds
// a backslash.
func scanString(b []byte, i int) (end int, escaped bool, r Reason) {
	start := i
	var high uint64
	for {
		// Eight bytes at a time: find a quote, a backslash or a control
		// character. The subtraction may flag wrong bytes, but only above a
		// right one, and the lowest is taken.
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			q := w ^ ones*'"'
			s := w ^ ones*'\\'
			m := ((q-ones)&^q | (s-ones)&^s | (w-ones*' ')&^w) & highs
			if m != 0 {
				high |= w & (m&-m - 1)
				i += bits.TrailingZeros64(m) >> 3
				goto found
			}
			high |= w
			i += 8
		}
		for i < len(b) {
			c := b[i]
			if c == '"' || c == '\\' || c < ' ' {
				goto found
			}
			high |= uint64(c)
			i++
		}
		return len(b), escaped, ReasonTruncated
	found:
		switch b[i] {
		case '"':
			// A sequence cut by an escape is as invalid as one cut by the
			// end, so one check of the raw span covers all pieces.
			if high&highs != 0 && !utf8.Valid(b[start:i]) {
				return start, escaped, ReasonUTF8
			}
			return i, escaped, ""
		case '\\':
			escaped = true
			if i+1 >= len(b) {
				return len(b), escaped, ReasonTruncated
			}
			switch b[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				for j := i + 2; j < i+6; j++ {
					if j >= len(b) {
						return len(b), escaped, ReasonTruncated
					}
					if hexAny[b[j]] > 15 {
						return j, escaped, ReasonSyntax
					}
				}
				i += 6
			default:
				return i + 1, escaped, ReasonSyntax
			}
		default:
			return i, escaped, ReasonControl
		}
	}
}

// unescape appends the text of raw, a string that scanString accepted.
// canonical tells whether every escape is the one appendString would write.
func unescape(dst, raw []byte) (_ []byte, canonical bool) {
	canonical = true
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			n := bytes.IndexByte(raw[i:], '\\')
			if n < 0 {
				n = len(raw) - i
			}
			dst = append(dst, raw[i:i+n]...)
			i += n
			continue
		}
		c = raw[i+1]
		if c != 'u' {
			canonical = canonical && c != '/'
			dst = append(dst, unescaped[c])
			i += 2
			continue
		}
		u := hex4(raw[i+2:])
		if u >= 0xd800 && u < 0xdc00 && i+12 <= len(raw) && raw[i+6] == '\\' && raw[i+7] == 'u' {
			if low := hex4(raw[i+8:]); low >= 0xdc00 && low < 0xe000 {
				dst = utf8.AppendRune(dst, 0x10000+(u-0xd800)<<10+(low-0xdc00))
				canonical = false
				i += 12
				continue
			}
		}
		if u >= 0xd800 && u < 0xe000 {
			dst = append(dst, 0xe0|byte(u>>12), 0x80|byte(u>>6)&0x3f, 0x80|byte(u)&0x3f)
		} else {
			dst = utf8.AppendRune(dst, u)
		}
		var escape [6]byte
		canonical = canonical && string(appendEscape(escape[:0], u)) == string(raw[i:i+6])
		i += 6
	}
	return dst, canonical
}

// appendEscape appends the canonical escape of a control character or a lone
// surrogate, and nothing for other characters.
func appendEscape(dst []byte, u rune) []byte {
	switch {
	case u < ' ' && escapes[u] != 0:
		return append(dst, '\\', escapes[u])
	case u < ' ', u >= 0xd800 && u < 0xe000:
		return append(dst, '\\', 'u', digits[u>>12], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	return dst
}

func hex4(b []byte) rune {
	_ = b[3]
	return rune(hexAny[b[0]])<<12 | rune(hexAny[b[1]])<<8 | rune(hexAny[b[2]])<<4 | rune(hexAny[b[3]])
}

const digits = "0123456789abcdef"

var (
	hexAny    [256]byte // value of a hex digit of either case, or 255
	hexLower  [256]byte // value of a lower-case hex digit, or 255
	unescaped [256]byte // by the letter after the backslash
	escapes   [' ']byte // the letter after the backslash, or 0
)

func init() {
	for i := range 256 {
		hexAny[i], hexLower[i] = 255, 255
	}
	for i := range 16 {
		hexAny[digits[i]], hexLower[digits[i]] = byte(i), byte(i)
	}
	for i := range 6 {
		hexAny['A'+i] = byte(10 + i)
	}
	for i, c := range `"\/` {
		unescaped[c] = `"\/`[i]
	}
	for i, c := range "bfnrt" {
		unescaped[c] = "\b\f\n\r\t"[i]
		escapes["\b\f\n\r\t"[i]] = byte(c)
	}
}

// scanHex decodes exactly len(dst) bytes of lower-case hex in quotes at i.
func scanHex(b []byte, i int, dst []byte, bad Reason) (int, Reason) {
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '"' {
		return i, wrongType(b[i], bad)
	}
	n := 2 * len(dst)
	if i+1+n < len(b) && b[i+1+n] == '"' && unhex(dst, b[i+1:i+1+n]) {
		return i + n + 2, ""
	}
	if end, _, r := scanString(b, i+1); r != "" {
		return end, r
	}
	return i, bad
}

func unhex(dst, src []byte) bool {
	var bad byte
	src = src[:2*len(dst)]
	for i := range dst {
		h, l := hexLower[src[2*i]], hexLower[src[2*i+1]]
		bad |= h | l
		dst[i] = h<<4 | l&15
	}
	return bad < 16
}

// wrongType tells the Reason of a value that starts with c where another type
// was wanted: bad if c starts a value at all.
func wrongType(c byte, bad Reason) Reason {
	switch c {
	case '{', '[', '"', 't', 'f', 'n', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return bad
	}
	return ReasonSyntax
}

// scanUint reads an integer of 0 to 2^63-1. bad is the reason for other values
// and numbers, over the one for integers that are larger.
func scanUint(b []byte, i int, bad, over Reason) (v int64, end int, r Reason) {
	for end = i; end < len(b) && end < i+18 && b[end]-'0' < 10; end++ {
		v = 10*v + int64(b[end]-'0')
	}
	if end > i && end < len(b) && (b[i] != '0' || end == i+1) {
		if c := b[end]; c == ',' || c == '}' || c == ']' {
			return v, end, ""
		}
	}
	return scanUintSlow(b, i, bad, over)
}

func scanUintSlow(b []byte, i int, bad, over Reason) (v int64, end int, r Reason) {
	if i >= len(b) {
		return 0, len(b), ReasonTruncated
	}
	if b[i] != '-' && b[i]-'0' >= 10 {
		return 0, i, wrongType(b[i], bad)
	}
	end, r = scanNumber(b, i)
	if r != "" {
		return 0, end, r
	}
	r = ""
	var u uint64
	for _, c := range b[i:end] {
		if c-'0' >= 10 {
			return 0, i, bad
		}
		if u < 1<<63/10+1 {
			u = 10*u + uint64(c-'0')
		} else {
			u = 1 << 63
		}
		if u >= 1<<63 {
			u, r = 1<<63, over
		}
	}
	if r != "" {
		return 0, i, r
	}
	return int64(u), end, ""
}

// scanNumber reads a number by the grammar of RFC 8259.
func scanNumber(b []byte, i int) (int, Reason) {
	run := func() (ok bool) {
		for i < len(b) && b[i]-'0' < 10 {
			i++
			ok = true
		}
		return ok
	}
	bad := func() (int, Reason) {
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		return i, ReasonSyntax
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !run() {
		return bad()
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !run() {
			return bad()
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !run() {
			return bad()
		}
	}
	return i, ""
}

func scanWord(b []byte, i int, word string) (int, Reason) {
	for j := range len(word) {
		if i+j >= len(b) {
			return len(b), ReasonTruncated
		}
		if b[i+j] != word[j] {
			return i + j, ReasonSyntax
		}
	}
	return i + len(word), ""
}

// maxDepth bounds the nesting of values we skip. One bit per level is the
// whole stack.
const maxDepth = 64

// skipValue reads any value at i.
func skipValue(b []byte, i int) (int, Reason) {
	var objects uint64 // bit 0: the innermost open value is an object
	var depth int
	var r Reason
	for {
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		switch c := b[i]; c {
		case '"':
			if i, _, r = scanString(b, i+1); r == "" {
				i++
			}
		case '{', '[':
			if depth == maxDepth {
				return i, ReasonDepth
			}
			depth++
			objects <<= 1
			i = space(b, i+1)
			if c == '[' {
				if i < len(b) && b[i] == ']' {
					break // closed below
				}
				continue
			}
			objects |= 1
			if i < len(b) && b[i] == '}' {
				break
			}
			if i, r = skipKey(b, i); r != "" {
				return i, r
			}
			continue
		case 't':
			i, r = scanWord(b, i, "true")
		case 'f':
			i, r = scanWord(b, i, "false")
		case 'n':
			i, r = scanWord(b, i, "null")
		default:
			if c != '-' && c-'0' >= 10 {
				return i, ReasonSyntax
			}
			i, r = scanNumber(b, i)
		}
		if r != "" {
			return i, r
		}
		// Behind a value, or at the end of an empty array or object.
		for {
			if depth == 0 {
				return i, ""
			}
			i = space(b, i)
			if i >= len(b) {
				return len(b), ReasonTruncated
			}
			object := objects&1 == 1
			if c := b[i]; c == ']' && !object || c == '}' && object {
				i++
				depth--
				objects >>= 1
				continue
			}
			if b[i] != ',' {
				return i, ReasonSyntax
			}
			i = space(b, i+1)
			if object {
				if i, r = skipKey(b, i); r != "" {
					return i, r
				}
			}
			break
		}
	}
}

// skipKey reads a key and its colon.
func skipKey(b []byte, i int) (int, Reason) {
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '"' {
		return i, ReasonSyntax
	}
	i, _, r := scanString(b, i+1)
	if r != "" {
		return i, r
	}
	return scanByte(b, space(b, i+1), ':')
}

// scanByte wants c at i and returns the start of the next token.
func scanByte(b []byte, i int, c byte) (int, Reason) {
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != c {
		return i, ReasonSyntax
	}
	return space(b, i+1), ""
}

// scanKey reads a key and its colon and returns the key's text; scratch is
// used when the key has escapes.
func scanKey(b []byte, i int, scratch []byte) (key []byte, end int, r Reason) {
	if i >= len(b) {
		return nil, len(b), ReasonTruncated
	}
	if b[i] != '"' {
		return nil, i, ReasonSyntax
	}
	end, escaped, r := scanString(b, i+1)
	if r != "" {
		return nil, end, r
	}
	key = b[i+1 : end]
	if escaped {
		key, _ = unescape(scratch, key)
	}
	end, r = scanByte(b, space(b, end+1), ':')
	return key, end, r
}

// scanText reads a string into memory of its own.
func scanText(b []byte, i int, bad Reason) (s string, end int, r Reason) {
	if i >= len(b) {
		return "", len(b), ReasonTruncated
	}
	if b[i] != '"' {
		return "", i, wrongType(b[i], bad)
	}
	end, escaped, r := scanString(b, i+1)
	if r != "" {
		return "", end, r
	}
	raw := b[i+1 : end]
	if escaped {
		raw, _ = unescape(nil, raw)
	}
	return string(raw), end + 1, ""
}

// scanArray reads an array; one reads each value and returns the index behind
// it. one is only called at an index within b.
func scanArray(b []byte, i int, bad Reason, one func(i int) (int, Reason)) (end int, r Reason) {
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '[' {
		return i, wrongType(b[i], bad)
	}
	i = space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, ""
	}
	for {
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if i, r = one(i); r != "" {
			return i, r
		}
		i = space(b, i)
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if b[i] == ']' {
			return i + 1, ""
		}
		if b[i] != ',' {
			return i, ReasonSyntax
		}
		i = space(b, i+1)
	}
}

// scanObject reads an object; one reads the value of each key and returns the
// index behind it.
func scanObject(b []byte, i int, bad Reason, one func(key []byte, i int) (int, Reason)) (end int, r Reason) {
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '{' {
		return i, wrongType(b[i], bad)
	}
	i = space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, ""
	}
	for {
		key, at, r := scanKey(b, i, nil)
		if r != "" {
			return at, r
		}
		if i, r = one(key, at); r != "" {
			return i, r
		}
		i = space(b, i)
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if b[i] == '}' {
			return i + 1, ""
		}
		if b[i] != ',' {
			return i, ReasonSyntax
		}
		i = space(b, i+1)
	}
}

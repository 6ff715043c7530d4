package nostr

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
	"slices"
	"strconv"
)

// ErrID means that an event's id is not the hash of its canonical form.
var ErrID = errors.New("id is not the hash of the event")

// AppendJSON appends the event as one JSON object without white space: the
// keys in the order of NIP-01, only the escapes that JSON demands, nothing
// escaped for HTML. ParseEvent gives back the same event. Strings must be valid
// UTF-8 or come from ParseEvent.
func (e *Event) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"id":"`...)
	dst = hex.AppendEncode(dst, e.ID[:])
	dst = append(dst, `","pubkey":"`...)
	dst = hex.AppendEncode(dst, e.PubKey[:])
	dst = append(dst, `","created_at":`...)
	dst = strconv.AppendInt(dst, e.CreatedAt, 10)
	dst = append(dst, `,"kind":`...)
	dst = strconv.AppendInt(dst, int64(e.Kind), 10)
	dst = append(dst, `,"tags":`...)
	dst = appendTags(dst, e.Tags, false)
	dst = append(dst, `,"content":`...)
	dst = appendString(dst, e.Content, false)
	dst = append(dst, `,"sig":"`...)
	dst = hex.AppendEncode(dst, e.Sig[:])
	return append(dst, `"}`...)
}

// AppendCanonical appends the form that is hashed:
// [0,pubkey,created_at,kind,tags,content]. Line feed, quote, backslash,
// carriage return, tab, backspace and form feed have their two-letter escapes;
// other control characters and lone surrogates are \u and four lower-case
// digits, as JSON.stringify and after it every implementation writes them; all
// else is verbatim.
func (e *Event) AppendCanonical(dst []byte) []byte { return e.appendCanonical(dst, false) }

func (e *Event) appendCanonical(dst []byte, verbatim bool) []byte {
	dst = append(dst, `[0,"`...)
	dst = hex.AppendEncode(dst, e.PubKey[:])
	dst = append(dst, `",`...)
	dst = strconv.AppendInt(dst, e.CreatedAt, 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, int64(e.Kind), 10)
	dst = append(dst, ',')
	dst = appendTags(dst, e.Tags, verbatim)
	dst = append(dst, ',')
	dst = appendString(dst, e.Content, verbatim)
	return append(dst, ']')
}

// CheckID returns ErrID unless ID is the hash of the canonical form.
//
// NIP-01 names seven escapes and says that all else goes in verbatim, which
// for the other control characters makes text that is not JSON. Nearly all
// software hashes what its JSON encoder writes, \u00xx, and so do we; but an
// event that followed the letter is right too, and is accepted when the first
// form does not match.
func (e *Event) CheckID() error {
	s := scratches.Get().(*scratch)
	defer s.release()
	return s.checkID(e)
}

func (s *scratch) checkID(e *Event) error {
	s.canon = e.appendCanonical(s.canon[:0], false)
	if sha256.Sum256(s.canon) == e.ID {
		return nil
	}
	if !e.hasControl() {
		return ErrID
	}
	s.canon = e.appendCanonical(s.canon[:0], true)
	if sha256.Sum256(s.canon) == e.ID {
		return nil
	}
	return ErrID
}

// hasControl tells whether a string holds a control character that NIP-01 does
// not name.
func (e *Event) hasControl() bool {
	has := func(s string) bool {
		for i := range len(s) {
			if c := s[i]; c < ' ' && escapes[c] == 0 {
				return true
			}
		}
		return false
	}
	return has(e.Content) || slices.ContainsFunc(e.Tags, func(t Tag) bool { return slices.ContainsFunc(t, has) })
}

func appendTags(dst []byte, tags []Tag, verbatim bool) []byte {
	dst = append(dst, '[')
	for i, t := range tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTag(dst, t, verbatim)
	}
	return append(dst, ']')
}

func appendTag(dst []byte, t Tag, verbatim bool) []byte {
	dst = append(dst, '[')
	for i, s := range t {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s, verbatim)
	}
	return append(dst, ']')
}

// appendString appends s in quotes with the escapes of AppendCanonical;
// verbatim leaves the control characters that NIP-01 does not name as they are.
func appendString(dst []byte, s string, verbatim bool) []byte {
	dst = append(dst, '"')
	for {
		i := plain(s)
		dst = append(dst, s[:i]...)
		s = s[i:]
		if s == "" {
			return append(dst, '"')
		}
		n := 1
		switch c := s[0]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == surrogateLead:
			if n = min(3, len(s)); n == 3 && s[1] >= 0xa0 {
				dst = appendEscape(dst, 0xd000|rune(s[1]&0x3f)<<6|rune(s[2]&0x3f))
			} else {
				dst = append(dst, s[:n]...)
			}
		case verbatim && escapes[c] == 0:
			dst = append(dst, c)
		default:
			dst = appendEscape(dst, rune(c))
		}
		s = s[n:]
	}
}

// surrogateLead starts the three bytes of a lone surrogate, and of the
// characters U+D000 to U+D7FF.
const surrogateLead = 0xed

// plain returns how many bytes at the start of s are certain to need no
// escape.
func plain(s string) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64([]byte(s[i : i+8])) // does not copy
		q := w ^ ones*'"'
		e := w ^ ones*'\\'
		l := w ^ ones*surrogateLead
		// As in scanString: right at the lowest byte that is flagged.
		m := ((q-ones)&^q | (e-ones)&^e | (l-ones)&^l | (w-ones*' ')&^w) & highs
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == surrogateLead {
			break
		}
	}
	return i
}

func appendHex(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = hex.AppendEncode(dst, b)
	return append(dst, '"')
}

package nostr

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	for _, t := range e.Tags {
		for _, s := range t {
			if has(s) {
				return true
			}
		}
	}
	return has(e.Content)
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
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c != 0xed {
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, s[from:i]...)
			dst = append(dst, '\\', c)
			from = i + 1
		case c == 0xed:
			if i+2 < len(s) && s[i+1] >= 0xa0 {
				dst = append(dst, s[from:i]...)
				dst = appendEscape(dst, 0xd000|rune(s[i+1]&0x3f)<<6|rune(s[i+2]&0x3f))
				from = i + 3
				i += 2
			}
		case verbatim && escapes[c] == 0:
		default:
			dst = append(dst, s[from:i]...)
			dst = appendEscape(dst, rune(c))
			from = i + 1
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

func appendHex(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = hex.AppendEncode(dst, b)
	return append(dst, '"')
}

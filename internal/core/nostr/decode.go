package nostr

import (
	"crypto/sha256"
	"hash"
	"strings"
	"sync"
)

// scratch is the working memory of one parse or check.
type scratch struct {
	strings []span // the strings of all tags, in order
	tags    []int  // how many strings there are up to the end of each tag
	decoded []byte // the text of strings that have escapes
	canon   []byte // canonical form, or a piece of it
	hash    hash.Hash
}

// span is a string's place in the received text or, with decoded set, in
// scratch.decoded.
type span struct {
	start, end int
	decoded    bool
}

// of returns the bytes of a span that is not decoded.
func (p span) of(b []byte) []byte { return b[p.start:p.end] }

var scratches = sync.Pool{New: func() any { return &scratch{hash: sha256.New()} }}

// maxScratch bounds the bytes that pooled scratch keeps between parses, so
// that one huge event does not pin its size.
const maxScratch = 1 << 20

func (s *scratch) release() {
	if cap(s.canon)+cap(s.decoded)+24*cap(s.strings)+8*cap(s.tags) <= maxScratch {
		scratches.Put(s)
	}
}

// parts tell where an event's values lie in its text.
type parts struct {
	pubkey, createdAt, kind, tags, content span
	// canonical: the texts of tags and content are as AppendCanonical would
	// write them.
	canonical bool
}

// ParseEvent reads one JSON object (RFC 8259, strictly) in one pass. The seven
// keys may come in any order and must each come once; other keys are read
// over. The event owns its memory; all of its strings share one allocation. It
// does not check the id. The error is a *ParseError.
func ParseEvent(b []byte) (Event, error) {
	s := scratches.Get().(*scratch)
	defer s.release()
	var e Event
	var at parts
	if i, r := s.parse(b, &e, &at); r != "" {
		return Event{}, &ParseError{Reason: r, Offset: i}
	}
	return e, nil
}

// ParseChecked is ParseEvent and CheckID in one. Text that is canonical
// already, as from most relays, is hashed as it came instead of being written
// again, which costs less. The error is a *ParseError or ErrID; with ErrID the
// event is returned, too.
func ParseChecked(b []byte) (Event, error) {
	s := scratches.Get().(*scratch)
	defer s.release()
	var e Event
	var at parts
	if i, r := s.parse(b, &e, &at); r != "" {
		return Event{}, &ParseError{Reason: r, Offset: i}
	}
	if at.canonical {
		c := append(append(s.canon[:0], `[0,`...), at.pubkey.of(b)...)
		c = append(append(c, ','), at.createdAt.of(b)...)
		c = append(append(c, ','), at.kind.of(b)...)
		s.canon = append(c, ',')
		s.hash.Reset()
		s.hash.Write(s.canon)
		s.hash.Write(at.tags.of(b))
		s.hash.Write(comma)
		s.hash.Write(at.content.of(b))
		s.hash.Write(bracket)
		if ID(s.hash.Sum(s.canon[:0])) == e.ID {
			return e, nil
		}
		// Not yet wrong: see CheckID on control characters.
	}
	return e, s.checkID(&e)
}

// Written through an interface, literals would be allocated each time.
var comma, bracket = []byte{','}, []byte{']'}

const (
	keyID = 1 << iota
	keyPubKey
	keyCreatedAt
	keyKind
	keyTags
	keyContent
	keySig
	allKeys = 1<<iota - 1
)

// keyBit returns 0 for an unknown key.
func keyBit(key []byte) int {
	switch string(key) {
	case "id":
		return keyID
	case "pubkey":
		return keyPubKey
	case "created_at":
		return keyCreatedAt
	case "kind":
		return keyKind
	case "tags":
		return keyTags
	case "content":
		return keyContent
	case "sig":
		return keySig
	}
	return 0
}

func (s *scratch) parse(b []byte, e *Event, at *parts) (int, Reason) {
	s.strings, s.tags, s.decoded = s.strings[:0], s.tags[:0], s.decoded[:0]
	at.canonical = true
	var (
		seen    int
		content span
	)
	i := space(b, 0)
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '{' {
		return i, wrongType(b[i], ReasonType)
	}
	i = space(b, i+1)
	for first := true; ; first = false {
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if first && b[i] == '}' {
			break
		}
		key, at0, r := scanKey(b, i, nil)
		if r != "" {
			return at0, r
		}
		bit := keyBit(key)
		if seen&bit != 0 {
			return i, ReasonDuplicateKey
		}
		seen |= bit
		i = at0
		switch bit {
		case keyID:
			i, r = scanHex(b, i, e.ID[:], ReasonID)
		case keyPubKey:
			i, r = scanHex(b, i, e.PubKey[:], ReasonPubKey)
			at.pubkey = span{start: at0, end: i}
		case keyCreatedAt:
			e.CreatedAt, i, r = scanUint(b, i, ReasonCreatedAt, ReasonCreatedAtRange)
			at.createdAt = span{start: at0, end: i}
		case keyKind:
			var kind int64
			kind, i, r = scanUint(b, i, ReasonKind, ReasonKindRange)
			e.Kind = Kind(kind)
			at.kind = span{start: at0, end: i}
		case keyTags:
			i, r = s.parseTags(b, i, at)
			at.tags = span{start: at0, end: i}
		case keyContent:
			content, i, r = s.parseString(b, i, ReasonContent, at)
			at.content = span{start: at0, end: i}
		case keySig:
			i, r = scanHex(b, i, e.Sig[:], ReasonSig)
		default:
			i, r = skipValue(b, i)
		}
		if r != "" {
			return i, r
		}
		i = space(b, i)
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if b[i] == '}' {
			break
		}
		if b[i] != ',' {
			return i, ReasonSyntax
		}
		i = space(b, i+1)
	}
	if end := space(b, i+1); end < len(b) {
		return end, ReasonTrailing
	}
	if seen != allKeys {
		return i, ReasonMissingKey
	}
	s.own(b, e, at, content)
	return len(b), ""
}

// own builds the event's strings. One allocation holds the text of the tags as
// received, then all text that had escapes, then a content that had none:
// pieces of it are the strings. The few bytes of punctuation this keeps cost
// less than a copy per string.
func (s *scratch) own(b []byte, e *Event, at *parts, content span) {
	var text strings.Builder
	tags := at.tags.of(b)
	raw := b[content.start:content.start]
	if !content.decoded {
		raw = content.of(b)
	}
	text.Grow(len(tags) + len(s.decoded) + len(raw))
	text.Write(tags)
	text.Write(s.decoded)
	text.Write(raw)
	all := text.String()

	if content.decoded {
		e.Content = all[len(tags)+content.start : len(tags)+content.end]
	} else {
		e.Content = all[len(all)-len(raw):]
	}
	elements := make([]string, len(s.strings))
	for i, p := range s.strings {
		shift := -at.tags.start
		if p.decoded {
			shift = len(tags)
		}
		elements[i] = all[p.start+shift : p.end+shift]
	}
	e.Tags = make([]Tag, len(s.tags))
	from := 0
	for i, end := range s.tags {
		e.Tags[i] = elements[from:end:end]
		from = end
	}
}

// parseString reads a string and returns where its text is.
func (s *scratch) parseString(b []byte, i int, bad Reason, at *parts) (text span, end int, r Reason) {
	if i >= len(b) {
		return span{}, len(b), ReasonTruncated
	}
	if b[i] != '"' {
		return span{}, i, wrongType(b[i], bad)
	}
	i++
	end, escaped, r := scanString(b, i)
	if r != "" || !escaped {
		return span{start: i, end: end}, end + 1, r
	}
	start := len(s.decoded)
	var canonical bool
	s.decoded, canonical = unescape(s.decoded, b[i:end])
	at.canonical = at.canonical && canonical
	return span{start: start, end: len(s.decoded), decoded: true}, end + 1, ""
}

// parseTags reads an array of arrays of strings.
func (s *scratch) parseTags(b []byte, i int, at *parts) (int, Reason) {
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '[' {
		return i, wrongType(b[i], ReasonTags)
	}
	// Canonical text has no white space: skip tells that there was some.
	skip := func(j int) int {
		k := space(b, j)
		if k != j {
			at.canonical = false
		}
		return k
	}
	i = skip(i + 1)
	if i < len(b) && b[i] == ']' {
		return i + 1, ""
	}
	for {
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if b[i] != '[' {
			return i, wrongType(b[i], ReasonTag)
		}
		i = skip(i + 1)
		if i < len(b) && b[i] == ']' {
			i++
		} else {
			for {
				text, end, r := s.parseString(b, i, ReasonTagElement, at)
				if r != "" {
					return end, r
				}
				s.strings = append(s.strings, text)
				i = skip(end)
				if i >= len(b) {
					return len(b), ReasonTruncated
				}
				if b[i] == ']' {
					i++
					break
				}
				if b[i] != ',' {
					return i, ReasonSyntax
				}
				i = skip(i + 1)
			}
		}
		s.tags = append(s.tags, len(s.strings))
		i = skip(i)
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if b[i] == ']' {
			return i + 1, ""
		}
		if b[i] != ',' {
			return i, ReasonSyntax
		}
		i = skip(i + 1)
	}
}

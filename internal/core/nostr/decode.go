package nostr

import "sync"

// scratch is the working memory of one parse.
type scratch struct {
	text  []byte // every string's text, one behind the other
	ends  []int  // where each tag element ends in text
	tags  []int  // how many elements there are up to the end of each tag
	canon []byte // canonical form
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// maxScratch bounds what a pooled scratch keeps between parses, so that one
// huge event does not pin its size for good.
const maxScratch = 64 << 10

func (s *scratch) release() {
	if cap(s.text)+cap(s.canon)+8*(cap(s.ends)+cap(s.tags)) <= maxScratch {
		scratches.Put(s)
	}
}

// spans tell where an event's parts lie in its text.
type spans struct {
	pubkey, createdAt, kind, tags, content [2]int
	canonical                              bool // tags and content are as AppendCanonical writes them
}

// ParseEvent reads one JSON object (RFC 8259, strictly) in one pass. The
// result owns its memory: all strings share one allocation. The seven keys may
// come in any order and must each come once; other keys are read over. It does
// not check the id. The error is a *ParseError.
func ParseEvent(b []byte) (Event, error) {
	s := scratches.Get().(*scratch)
	var e Event
	var at spans
	i, r := s.parse(b, &e, &at)
	s.release()
	if r != "" {
		return Event{}, &ParseError{Reason: r, Offset: i}
	}
	return e, nil
}

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

func (s *scratch) parse(b []byte, e *Event, at *spans) (int, Reason) {
	s.text, s.ends, s.tags = s.text[:0], s.ends[:0], s.tags[:0]
	at.canonical = true
	var (
		seen               int
		tagBase            int
		contentA, contentZ int
		keyScratch         [16]byte
	)
	i := space(b, 0)
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '{' {
		return i, wrongType(b[i], ReasonType)
	}
	i = space(b, i+1)
	for n := 0; ; n++ {
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if n == 0 && b[i] == '}' {
			break
		}
		keyAt := i
		key, next, r := scanKey(b, i, keyScratch[:0])
		if r != "" {
			return next, r
		}
		i = next
		var bit int
		switch string(key) {
		case "id":
			bit = keyID
			i, r = scanHex(b, i, e.ID[:], ReasonID)
		case "pubkey":
			bit = keyPubKey
			at.pubkey[0] = i
			i, r = scanHex(b, i, e.PubKey[:], ReasonPubKey)
			at.pubkey[1] = i
		case "sig":
			bit = keySig
			i, r = scanHex(b, i, e.Sig[:], ReasonSig)
		case "created_at":
			bit = keyCreatedAt
			at.createdAt[0] = i
			e.CreatedAt, i, r = scanUint(b, i, ReasonCreatedAt, ReasonCreatedAtRange)
			at.createdAt[1] = i
		case "kind":
			bit = keyKind
			at.kind[0] = i
			var kind int64
			kind, i, r = scanUint(b, i, ReasonKind, ReasonKindRange)
			e.Kind = Kind(kind)
			at.kind[1] = i
		case "tags":
			bit = keyTags
			if seen&keyTags != 0 {
				break
			}
			tagBase = len(s.text)
			at.tags[0] = i
			i, r = s.parseTags(b, i, at)
			at.tags[1] = i
		case "content":
			bit = keyContent
			if seen&keyContent != 0 {
				break
			}
			if i < len(b) && b[i] != '"' {
				return i, wrongType(b[i], ReasonContent)
			}
			contentA = len(s.text)
			at.content[0] = i
			i, r = s.parseString(b, i+1, at)
			at.content[1] = i
			contentZ = len(s.text)
		default:
			i, r = skipValue(b, i)
		}
		if seen&bit != 0 {
			return keyAt, ReasonDuplicateKey
		}
		if r != "" {
			return i, r
		}
		seen |= bit
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

	text := string(s.text)
	e.Content = text[contentA:contentZ]
	e.Tags = make([]Tag, len(s.tags))
	elements := make([]string, len(s.ends))
	from := tagBase
	for j, end := range s.ends {
		elements[j] = text[from:end]
		from = end
	}
	from = 0
	for j, end := range s.tags {
		e.Tags[j] = elements[from:end:end]
		from = end
	}
	return len(b), ""
}

// parseString appends the text of a string whose quote is before i and returns
// the index behind it.
func (s *scratch) parseString(b []byte, i int, at *spans) (int, Reason) {
	end, escaped, r := scanString(b, i)
	if r != "" {
		return end, r
	}
	if !escaped {
		s.text = append(s.text, b[i:end]...)
		return end + 1, ""
	}
	var canonical bool
	s.text, canonical = unescape(s.text, b[i:end])
	at.canonical = at.canonical && canonical
	return end + 1, ""
}

// parseTags reads an array of arrays of strings.
func (s *scratch) parseTags(b []byte, i int, at *spans) (int, Reason) {
	if i >= len(b) {
		return len(b), ReasonTruncated
	}
	if b[i] != '[' {
		return i, wrongType(b[i], ReasonTags)
	}
	spaces := 0 // every skip of white space is counted: canonical text has none
	skip := func(j int) int {
		k := space(b, j)
		spaces += k - j
		return k
	}
	i = skip(i + 1)
	if i < len(b) && b[i] == ']' {
		at.canonical = at.canonical && spaces == 0
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
				if i >= len(b) {
					return len(b), ReasonTruncated
				}
				if b[i] != '"' {
					return i, wrongType(b[i], ReasonTagElement)
				}
				var r Reason
				if i, r = s.parseString(b, i+1, at); r != "" {
					return i, r
				}
				s.ends = append(s.ends, len(s.text))
				i = skip(i)
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
		s.tags = append(s.tags, len(s.ends))
		i = skip(i)
		if i >= len(b) {
			return len(b), ReasonTruncated
		}
		if b[i] == ']' {
			at.canonical = at.canonical && spaces == 0
			return i + 1, ""
		}
		if b[i] != ',' {
			return i, ReasonSyntax
		}
		i = skip(i + 1)
	}
}

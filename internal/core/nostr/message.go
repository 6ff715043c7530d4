package nostr

import (
	"encoding/hex"
	"slices"
	"unicode/utf8"
)

// Message is what a relay sends to a client. Which fields are set depends on
// Label; of an unknown label nothing else is read.
type Message struct {
	Label string
	Sub   string // EVENT, EOSE, CLOSED, COUNT, NEG-MSG, NEG-ERR
	// Event is the event's bytes within the message that was parsed, unread:
	// the span up to the end of the message, which only ParseEvent shows to
	// be one object.
	Event    []byte
	ID       ID          // OK
	Accepted bool        // OK
	Text     string      // OK, CLOSED, NOTICE, NEG-ERR: for people; AUTH: the challenge
	Hints    Hints       // EOSE (NIP-67)
	Count    CountResult // COUNT (NIP-45)
	Payload  []byte      // NEG-MSG: decoded from hex (NIP-77)
	Limit    int64       // NEG-ERR: how many records the relay reconciles at most, or 0
}

// ClientMessage is what a client sends to a relay. Which fields are set
// depends on Label; of an unknown label nothing else is read.
type ClientMessage struct {
	Label   string
	Sub     string   // REQ, CLOSE, COUNT, NEG-OPEN, NEG-MSG, NEG-CLOSE
	Event   []byte   // EVENT, AUTH: as in Message
	Filters []Filter // REQ, COUNT: one or more; NEG-OPEN: one
	Payload []byte   // NEG-OPEN, NEG-MSG: decoded from hex
}

const (
	// MaxSub is NIP-01's longest subscription id, in characters.
	MaxSub = 64
	// maxFilters bounds the filters of one message: an empty one is two bytes
	// of text and sixty times that in memory.
	maxFilters = 256
)

// ParseMessage reads one message from a relay. Elements beyond those that the
// NIPs define are read over; a missing text counts as empty, as relays leave it
// out. The error is a *ParseError.
func ParseMessage(b []byte) (Message, error) {
	var m Message
	label, i, r := scanLabel(b)
	if label == "NEG-ERROR" {
		label = LabelNegErr // as khatru writes it, and all that is built on go-nostr
	}
	m.Label = label
	if r == "" {
		i, r = m.scan(b, i)
	}
	if r != "" {
		return Message{}, &ParseError{Reason: r, Offset: min(i, len(b))}
	}
	return m, nil
}

func (m *Message) scan(b []byte, i int) (int, Reason) {
	var r Reason
	switch m.Label {
	case LabelEvent, LabelEOSE, LabelClosed, LabelCount, LabelNegMsg, LabelNegErr:
		if i, r = next(b, i); r != "" {
			return i, r
		}
		if m.Sub, i, r = scanText(b, i, ReasonSub); r != "" {
			return i, r
		}
	}
	switch m.Label {
	case LabelEvent:
		m.Event, i, r = scanEventSpan(b, i)
		return i, r
	case LabelEOSE:
		var more bool
		if i, more, r = nextOrEnd(b, i); more && r == "" {
			m.Hints, i, r = scanHints(b, i)
		}
	case LabelOK:
		if i, r = next(b, i); r != "" {
			return i, r
		}
		if i, r = scanHex(b, i, m.ID[:], ReasonID); r != "" {
			return i, r
		}
		if i, r = next(b, i); r != "" {
			return i, r
		}
		if m.Accepted, i, r = scanBool(b, i); r != "" {
			return i, r
		}
		m.Text, i, r = scanOptionalText(b, i)
	case LabelClosed:
		m.Text, i, r = scanOptionalText(b, i)
	case LabelNotice, LabelAuth:
		if i, r = next(b, i); r != "" {
			return i, r
		}
		m.Text, i, r = scanText(b, i, ReasonType)
	case LabelCount:
		if i, r = next(b, i); r != "" {
			return i, r
		}
		m.Count, i, r = scanCount(b, i)
	case LabelNegMsg:
		m.Payload, i, r = scanPayload(b, i)
	case LabelNegErr:
		if m.Text, i, r = scanOptionalText(b, i); r != "" {
			return i, r
		}
		var more bool
		if i, more, r = nextOrEnd(b, i); more && r == "" {
			m.Limit, i, r = scanUint(b, i, ReasonType, ReasonType)
		}
	}
	if r != "" {
		return i, r
	}
	return scanRest(b, i)
}

// ParseClientMessage reads one message from a client. Elements beyond those
// that the NIPs define are read over, except that every further element of REQ
// and COUNT is a filter. The error is a *ParseError, with which Label and Sub are
// what was read of them, so that a relay can say which request it means.
func ParseClientMessage(b []byte) (ClientMessage, error) {
	var m ClientMessage
	label, i, r := scanLabel(b)
	m.Label = label
	if r == "" {
		i, r = m.scan(b, i)
	}
	if r != "" {
		return ClientMessage{Label: m.Label, Sub: m.Sub}, &ParseError{Reason: r, Offset: min(i, len(b))}
	}
	return m, nil
}

func (m *ClientMessage) scan(b []byte, i int) (int, Reason) {
	var r Reason
	switch m.Label {
	case LabelEvent, LabelAuth:
		m.Event, i, r = scanEventSpan(b, i)
		return i, r
	case LabelReq, LabelCount, LabelClose, LabelNegOpen, LabelNegMsg, LabelNegClose:
		if i, r = next(b, i); r != "" {
			return i, r
		}
		at := i
		if m.Sub, i, r = scanText(b, i, ReasonSub); r != "" {
			return i, r
		}
		if m.Sub == "" || utf8.RuneCountInString(m.Sub) > MaxSub {
			m.Sub = ""
			return at, ReasonSub
		}
	}
	switch m.Label {
	case LabelReq, LabelCount:
		for {
			var more bool
			if i, more, r = nextOrEnd(b, i); r != "" {
				return i, r
			}
			if !more {
				break
			}
			if len(m.Filters) == maxFilters {
				return i, ReasonFilters
			}
			var f Filter
			if f, i, r = scanFilter(b, i); r != "" {
				return i, r
			}
			m.Filters = append(m.Filters, f)
		}
		if len(m.Filters) == 0 {
			return i, ReasonFilters
		}
	case LabelNegOpen:
		if i, r = next(b, i); r != "" {
			return i, r
		}
		var f Filter
		if f, i, r = scanFilter(b, i); r != "" {
			return i, r
		}
		m.Filters = []Filter{f}
		m.Payload, i, r = scanPayload(b, i)
	case LabelNegMsg:
		m.Payload, i, r = scanPayload(b, i)
	}
	if r != "" {
		return i, r
	}
	return scanRest(b, i)
}

// scanLabel reads the bracket and the label and returns the index behind it.
func scanLabel(b []byte) (label string, i int, r Reason) {
	i = space(b, 0)
	if i >= len(b) {
		return "", len(b), ReasonTruncated
	}
	if b[i] != '[' {
		return "", i, wrongType(b[i], ReasonType)
	}
	i = space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return "", i, ReasonLabel
	}
	if i < len(b) && b[i] == '"' {
		// The usual word needs no memory of its own.
		if end := i + 1 + len(LabelEvent); end < len(b) && b[end] == '"' && string(b[i+1:end]) == LabelEvent {
			return LabelEvent, end + 1, ""
		}
	}
	return scanText(b, i, ReasonLabel)
}

// next wants a further element and returns where it starts.
func next(b []byte, i int) (int, Reason) {
	i, more, r := nextOrEnd(b, i)
	if r == "" && !more {
		r = ReasonType
	}
	return i, r
}

// nextOrEnd returns the start of the next element, or the closing bracket.
func nextOrEnd(b []byte, i int) (_ int, more bool, r Reason) {
	i = space(b, i)
	if i >= len(b) {
		return len(b), false, ReasonTruncated
	}
	switch b[i] {
	case ']':
		return i, false, ""
	case ',':
		return space(b, i+1), true, ""
	}
	return i, false, ReasonSyntax
}

// scanRest reads over further elements to the end of the message.
func scanRest(b []byte, i int) (int, Reason) {
	for {
		j, more, r := nextOrEnd(b, i)
		if r != "" {
			return j, r
		}
		if !more {
			if j = space(b, j+1); j < len(b) {
				return j, ReasonTrailing
			}
			return j, ""
		}
		if i, r = skipValue(b, j); r != "" {
			return i, r
		}
	}
}

// scanEventSpan returns the bytes from the next element to the end of the
// message without the bracket. Reading them is ParseEvent's work; here it
// would be done for every duplicate, too.
func scanEventSpan(b []byte, i int) (span []byte, end int, r Reason) {
	if i, r = next(b, i); r != "" {
		return nil, i, r
	}
	if i >= len(b) {
		return nil, len(b), ReasonTruncated
	}
	if b[i] != '{' {
		return nil, i, wrongType(b[i], ReasonType)
	}
	z := spaceBefore(b, len(b)) - 1
	if z <= i || b[z] != ']' {
		return nil, len(b), ReasonTruncated
	}
	if z = spaceBefore(b, z); b[z-1] != '}' {
		return nil, z, ReasonSyntax
	}
	return b[i:z:z], z, ""
}

// spaceBefore returns the end of the last token before i.
func spaceBefore(b []byte, i int) int {
	for i > 0 && (b[i-1] == ' ' || b[i-1] == '\t' || b[i-1] == '\n' || b[i-1] == '\r') {
		i--
	}
	return i
}

func scanOptionalText(b []byte, i int) (string, int, Reason) {
	i, more, r := nextOrEnd(b, i)
	if r != "" || !more {
		return "", i, r
	}
	return scanText(b, i, ReasonType)
}

func scanBool(b []byte, i int) (bool, int, Reason) {
	if i >= len(b) {
		return false, len(b), ReasonTruncated
	}
	switch b[i] {
	case 't':
		i, r := scanWord(b, i, "true")
		return true, i, r
	case 'f':
		i, r := scanWord(b, i, "false")
		return false, i, r
	}
	return false, i, wrongType(b[i], ReasonType)
}

// scanHints reads NIP-67's array. Other words and other values are read over.
func scanHints(b []byte, i int) (h Hints, end int, r Reason) {
	if i < len(b) && b[i] != '[' {
		end, r = skipValue(b, i)
		return 0, end, r
	}
	end, r = scanArray(b, i, ReasonType, func(i int) (int, Reason) {
		if b[i] != '"' {
			return skipValue(b, i)
		}
		word, end, r := scanText(b, i, ReasonType)
		if bit := slices.Index(hintWords[:], word); bit >= 0 {
			h |= 1 << bit
		}
		return end, r
	})
	return h, end, r
}

const hllSize = 256

func scanCount(b []byte, i int) (c CountResult, end int, r Reason) {
	const (
		seenCount = 1 << iota
		seenApproximate
		seenHLL
	)
	seen := 0
	end, r = scanObject(b, i, ReasonCount, func(key []byte, i int) (end int, r Reason) {
		var bit int
		switch string(key) {
		case "count":
			bit = seenCount
			c.Count, end, r = scanUint(b, i, ReasonCount, ReasonCount)
		case "approximate":
			bit = seenApproximate
			c.Approximate, end, r = scanBool(b, i)
		case "hll":
			bit = seenHLL
			c.HLL = make([]byte, hllSize)
			end, r = scanHex(b, i, c.HLL, ReasonCount)
		default:
			return skipValue(b, i)
		}
		if seen&bit != 0 {
			return i, ReasonDuplicateKey
		}
		seen |= bit
		return end, r
	})
	if r == "" && seen&seenCount == 0 {
		r = ReasonCount
	}
	return c, end, r
}

// scanPayload reads a further element of hex of either case: NIP-77 does not
// say lower.
func scanPayload(b []byte, i int) (p []byte, end int, r Reason) {
	if i, r = next(b, i); r != "" {
		return nil, i, r
	}
	if i >= len(b) {
		return nil, len(b), ReasonTruncated
	}
	if b[i] != '"' {
		return nil, i, wrongType(b[i], ReasonHex)
	}
	end, _, r = scanString(b, i+1)
	if r != "" {
		return nil, end, r
	}
	p = make([]byte, (end-i-1)/2)
	if _, err := hex.Decode(p, b[i+1:end]); err != nil {
		return nil, i, ReasonHex
	}
	return p, end + 1, ""
}

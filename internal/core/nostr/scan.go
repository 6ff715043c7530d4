package nostr

import "bytes"

// ScanEvent finds id and created_at of an event object by walking its top
// level, without reading the rest: enough to ask whether the event is known.
// For an event that ParseEvent accepts it returns the same values, or false
// when the text is unusual (a top-level key with escapes, or behind one). For
// other bytes a true result means nothing.
func ScanEvent(b []byte) (Ref, bool) {
	var ref Ref
	var haveID, haveTime bool
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return Ref{}, false
	}
	for {
		i = space(b, i+1) // behind the brace or a comma
		if i >= len(b) || b[i] != '"' {
			return Ref{}, false
		}
		i++
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return Ref{}, false
		}
		key := b[i : i+n]
		if bytes.IndexByte(key, '\\') >= 0 {
			return Ref{}, false
		}
		i = space(b, i+n+1)
		if i >= len(b) || b[i] != ':' {
			return Ref{}, false
		}
		i = space(b, i+1)
		if i >= len(b) {
			return Ref{}, false
		}
		var r Reason
		switch string(key) {
		case "id":
			if i, r = scanHex(b, i, ref.ID[:], ReasonID); r != "" {
				return Ref{}, false
			}
			haveID = true
		case "created_at":
			if ref.CreatedAt, i, r = scanUint(b, i, ReasonCreatedAt, ReasonCreatedAtRange); r != "" {
				return Ref{}, false
			}
			haveTime = true
		default:
			if i = leap(b, i); i < 0 {
				return Ref{}, false
			}
		}
		i = space(b, i)
		if i >= len(b) || b[i] != ',' && b[i] != '}' {
			return Ref{}, false
		}
		if haveID && haveTime {
			return ref, true
		}
		if b[i] == '}' {
			return Ref{}, false
		}
	}
}

// leap returns the index behind the value at i, or -1. It trusts the text to
// be JSON and looks only for where strings, arrays and objects end.
func leap(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			if i = leapString(b, i+1); i < 0 {
				return -1
			}
			if depth == 0 {
				return i + 1
			}
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i // the end of the object around a number or word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

// leapString returns the index of the quote that ends the string whose opening
// quote is before i, or -1.
func leapString(b []byte, i int) int {
	for {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		j := i
		for b[j-1] == '\\' { // the opening quote ends this
			j--
		}
		if (i-j)%2 == 0 {
			return i
		}
		i++
	}
}

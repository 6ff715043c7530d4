package nostr

import (
	"strconv"
)

// Labels of the messages between clients and relays.
const (
	LabelEvent    = "EVENT"     // both ways (NIP-01)
	LabelReq      = "REQ"       // to the relay (NIP-01)
	LabelClose    = "CLOSE"     // to the relay (NIP-01)
	LabelOK       = "OK"        // from the relay (NIP-01)
	LabelEOSE     = "EOSE"      // from the relay (NIP-01)
	LabelClosed   = "CLOSED"    // from the relay (NIP-01)
	LabelNotice   = "NOTICE"    // from the relay (NIP-01)
	LabelAuth     = "AUTH"      // both ways (NIP-42)
	LabelCount    = "COUNT"     // both ways (NIP-45)
	LabelNegOpen  = "NEG-OPEN"  // to the relay (NIP-77)
	LabelNegMsg   = "NEG-MSG"   // both ways (NIP-77)
	LabelNegClose = "NEG-CLOSE" // to the relay (NIP-77)
	LabelNegErr   = "NEG-ERR"   // from the relay (NIP-77)
)

// Machine-readable prefixes of OK and CLOSED messages, without the colon.
const (
	PrefixDuplicate    = "duplicate"
	PrefixPoW          = "pow"
	PrefixBlocked      = "blocked"
	PrefixRateLimited  = "rate-limited"
	PrefixInvalid      = "invalid"
	PrefixRestricted   = "restricted"
	PrefixMute         = "mute"
	PrefixError        = "error"
	PrefixUnsupported  = "unsupported"
	PrefixAuthRequired = "auth-required" // NIP-42
)

// maxPrefix is longer than any prefix of a NIP.
const maxPrefix = 32

// Prefix returns the word before the colon by which a relay's message starts,
// or "": NIP-01 has one lower-case word for machines, then text for people.
// The word need not be one that we know.
func Prefix(message string) string {
	for i := range min(len(message), maxPrefix+1) {
		switch c := message[i]; {
		case c == ':':
			return message[:i]
		case c != '-' && (c < 'a' || c > 'z'):
			return ""
		}
	}
	return ""
}

// Hints is the set of NIP-67 hints of an EOSE. A relay that sends none says
// nothing about completeness.
type Hints uint8

// Hints of NIP-67.
const (
	HintFinish Hints = 1 << iota // everything was sent
	HintMore                     // older events exist: ask on
	HintAuth                     // authentication would show more
)

var hintWords = [...]string{"finish", "more", "auth"}

// Has reports whether all hints of h are in the set.
func (s Hints) Has(h Hints) bool { return s&h == h }

// CountResult is a relay's answer to COUNT (NIP-45).
type CountResult struct {
	Count       int64
	Approximate bool
	HLL         []byte // 256 HyperLogLog registers, or nil
}

func appendLabel(dst []byte, label string) []byte {
	dst = append(dst, `["`...)
	dst = append(dst, label...)
	return append(dst, '"')
}

func appendText(dst []byte, s string) []byte {
	dst = append(dst, ',')
	return appendString(dst, s, false)
}

func appendFilters(dst []byte, filters []Filter) []byte {
	for i := range filters {
		dst = append(dst, ',')
		dst = filters[i].AppendJSON(dst)
	}
	return append(dst, ']')
}

// AppendREQ appends a client's ["REQ",sub,filters…].
func AppendREQ(dst []byte, sub string, filters ...Filter) []byte {
	return appendFilters(appendText(appendLabel(dst, LabelReq), sub), filters)
}

// AppendCOUNT appends a client's ["COUNT",sub,filters…].
func AppendCOUNT(dst []byte, sub string, filters ...Filter) []byte {
	return appendFilters(appendText(appendLabel(dst, LabelCount), sub), filters)
}

// AppendCLOSE appends a client's ["CLOSE",sub].
func AppendCLOSE(dst []byte, sub string) []byte {
	return append(appendText(appendLabel(dst, LabelClose), sub), ']')
}

// AppendEVENT appends a client's ["EVENT",event].
func AppendEVENT(dst []byte, e *Event) []byte {
	dst = append(appendLabel(dst, LabelEvent), ',')
	return append(e.AppendJSON(dst), ']')
}

// AppendAUTH appends a client's ["AUTH",event].
func AppendAUTH(dst []byte, e *Event) []byte {
	dst = append(appendLabel(dst, LabelAuth), ',')
	return append(e.AppendJSON(dst), ']')
}

// AppendNegOpen appends a client's ["NEG-OPEN",sub,filter,hex].
func AppendNegOpen(dst []byte, sub string, f *Filter, payload []byte) []byte {
	dst = append(appendText(appendLabel(dst, LabelNegOpen), sub), ',')
	dst = append(f.AppendJSON(dst), ',')
	return append(appendHex(dst, payload), ']')
}

// AppendNegMsg appends either side's ["NEG-MSG",sub,hex].
func AppendNegMsg(dst []byte, sub string, payload []byte) []byte {
	dst = append(appendText(appendLabel(dst, LabelNegMsg), sub), ',')
	return append(appendHex(dst, payload), ']')
}

// AppendNegClose appends a client's ["NEG-CLOSE",sub].
func AppendNegClose(dst []byte, sub string) []byte {
	return append(appendText(appendLabel(dst, LabelNegClose), sub), ']')
}

// AppendNegErr appends a relay's ["NEG-ERR",sub,reason], with the largest
// number of records the relay reconciles if limit is above 0.
func AppendNegErr(dst []byte, sub, reason string, limit int64) []byte {
	dst = appendText(appendText(appendLabel(dst, LabelNegErr), sub), reason)
	if limit > 0 {
		dst = strconv.AppendInt(append(dst, ','), limit, 10)
	}
	return append(dst, ']')
}

// AppendEventMessage appends a relay's ["EVENT",sub,event].
func AppendEventMessage(dst []byte, sub string, e *Event) []byte {
	dst = append(appendText(appendLabel(dst, LabelEvent), sub), ',')
	return append(e.AppendJSON(dst), ']')
}

// AppendEOSE appends a relay's ["EOSE",sub], with NIP-67 hints if there are.
func AppendEOSE(dst []byte, sub string, hints Hints) []byte {
	dst = appendText(appendLabel(dst, LabelEOSE), sub)
	if hints != 0 {
		dst = append(dst, ',')
		var words []string
		for i, w := range hintWords {
			if hints.Has(1 << i) {
				words = append(words, w)
			}
		}
		dst = appendTag(dst, words, false)
	}
	return append(dst, ']')
}

// AppendOK appends a relay's ["OK",id,accepted,text].
func AppendOK(dst []byte, id ID, accepted bool, text string) []byte {
	dst = append(appendLabel(dst, LabelOK), ',')
	dst = append(appendHex(dst, id[:]), ',')
	dst = strconv.AppendBool(dst, accepted)
	return append(appendText(dst, text), ']')
}

// AppendCLOSED appends a relay's ["CLOSED",sub,text].
func AppendCLOSED(dst []byte, sub, text string) []byte {
	return append(appendText(appendText(appendLabel(dst, LabelClosed), sub), text), ']')
}

// AppendNOTICE appends a relay's ["NOTICE",text].
func AppendNOTICE(dst []byte, text string) []byte {
	return append(appendText(appendLabel(dst, LabelNotice), text), ']')
}

// AppendChallenge appends a relay's ["AUTH",challenge].
func AppendChallenge(dst []byte, challenge string) []byte {
	return append(appendText(appendLabel(dst, LabelAuth), challenge), ']')
}

// AppendCountMessage appends a relay's ["COUNT",sub,{"count":n,…}].
func AppendCountMessage(dst []byte, sub string, c CountResult) []byte {
	dst = appendText(appendLabel(dst, LabelCount), sub)
	dst = append(dst, `,{"count":`...)
	dst = strconv.AppendInt(dst, c.Count, 10)
	if c.Approximate {
		dst = append(dst, `,"approximate":true`...)
	}
	if c.HLL != nil {
		dst = append(dst, `,"hll":`...)
		dst = appendHex(dst, c.HLL)
	}
	return append(dst, `}]`...)
}

// Package nip11 reads relay information documents (NIP-11) as relays really
// serve them: a number may be written as a string, a list as its only element,
// a whole section as null. What can be understood is read; every departure from
// the specification is a Finding. Size, depth and count are bounded, so that a
// hostile document costs little.
//
// It fetches nothing and keeps no bytes: the caller holds the body, which is
// what gets stored and published, and the address that Hash gives it. What a
// document claims is only claimed; clamping it and comparing it with what the
// relay does is the monitor's part.
package nip11

import (
	"errors"
	"fmt"

	"bigbrotr/internal/core/nostr"
)

// The bounds of a document. What is beyond them is refused, or cut with a
// TooMany or TooLong finding.
const (
	MaxSize  = 256 << 10 // bytes of a body
	MaxDepth = 32        // arrays and objects inside one another

	maxValues   = 1 << 14 // JSON values in a body
	maxText     = 8 << 10 // bytes of one text field
	maxList     = 256     // elements read of one list
	maxFindings = 64
)

// Why a body is no document at all.
var (
	ErrTooLarge  = errors.New("too large")
	ErrTooDeep   = errors.New("nested too deeply")
	ErrNotObject = errors.New("not a JSON object")
)

// SyntaxError says that a body is not JSON, even read leniently: a web page,
// most often.
type SyntaxError struct {
	Offset int // bytes into the body, after a byte order mark
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("not JSON at byte %d", e.Offset) }

// Document is what a relay says about itself. Every field is optional: empty
// strings, nil pointers and nil lists mean that the field is absent or could
// not be read.
type Document struct {
	Name           string
	Description    string
	Banner         string        // URL
	Icon           string        // URL
	PubKey         *nostr.PubKey // the operator's
	Self           *nostr.PubKey // the relay's own
	Contact        string
	SupportedNIPs  []string // without leading zeros, letters upper-case: "1", "77", "C7"
	Software       string
	Version        string
	TermsOfService string // URL
	PaymentsURL    string
	Limitation     Limitation
	Fees           Fees

	// Fields that NIP-11 had once; relays still serve them.
	PostingPolicy  string // URL
	PrivacyPolicy  string // URL
	Retention      []Retention
	RelayCountries []string
	LanguageTags   []string
	Tags           []string

	Known    int // how many fields of NIP-11, old or new, stood at the top level
	Findings []Finding
}

// Limitation holds the limits a relay claims. They are the relay's words, not
// checked for sense: a caller that acts on one clamps it first.
type Limitation struct {
	MaxMessageLength    *int64 // bytes of an incoming frame
	MaxSubscriptions    *int64
	MaxLimit            *int64 // to which a filter's limit is cut
	DefaultLimit        *int64 // for filters without one
	MaxSubIDLength      *int64 // characters
	MaxEventTags        *int64
	MaxContentLength    *int64 // characters
	MinPoWDifficulty    *int64 // bits
	CreatedAtLowerLimit *int64 // seconds before now
	CreatedAtUpperLimit *int64 // seconds after now
	AuthRequired        *bool
	PaymentRequired     *bool
	RestrictedWrites    *bool

	// Fields that NIP-11 had once.
	MaxFilters *int64
	MinPrefix  *int64
}

// Fees are what a relay asks for.
type Fees struct {
	Admission    []Fee
	Subscription []Fee
	Publication  []Fee
}

// Fee is one price.
type Fee struct {
	Amount string // a JSON number as written
	Unit   string // "msats", "sats" …
	Period *int64 // seconds
	Kinds  []KindRange
}

// Retention is how long or how many events of some kinds are kept; no kinds
// means all others.
type Retention struct {
	Kinds []KindRange
	Time  *int64 // seconds
	Count *int64
}

// KindRange is a range of event kinds, both ends included.
type KindRange struct {
	First, Last nostr.Kind
}

// Finding is one departure from NIP-11. Its text holds nothing of the
// document's own, so it can be shown and logged as it is.
type Finding struct {
	Field   string // "limitation.max_limit", "supported_nips[3]"; "" for the document
	Problem Problem
}

// Problem is what is wrong with a field.
type Problem string

// The problems of a document as a text.
const (
	ByteOrderMark    Problem = "byte order mark"
	TrailingComma    Problem = "trailing comma"
	NotANumber       Problem = "NaN or infinity"
	ControlCharacter Problem = "raw control character"
	InvalidUTF8      Problem = "invalid UTF-8"
)

// The problems of a field.
const (
	NoFields   Problem = "no field of NIP-11"
	Null       Problem = "null"
	Coerced    Problem = "another JSON type, but readable"
	WrongType  Problem = "wrong type"
	OutOfRange Problem = "out of range"
	Absurd     Problem = "absurd value" // kept in the document, but nobody can meet it
	NotAKey    Problem = "not a key of 64 lower-case hex digits"
	NotAURL    Problem = "not a URL"
	Repeated   Problem = "repeated" // the last of repeated fields counts
	Legacy     Problem = "no longer in NIP-11"
	TooLong    Problem = "too long"
	TooMany    Problem = "too many elements"
)

// Parse reads the body of a NIP-11 response. A body that is JSON but not a
// relay document, like {"detail":"Not Found"}, yields a Document whose Known
// is 0. The error is a *SyntaxError or one of the errors above.
func Parse(body []byte) (Document, error) {
	v, problems, err := read(body)
	if err == nil && v.kind != object {
		err = ErrNotObject
	}
	if err != nil {
		return Document{}, fmt.Errorf("parse relay document: %w", err)
	}
	var d decoder
	for _, p := range problems {
		d.find("", p)
	}
	d.document(&v)
	return d.Document, nil
}

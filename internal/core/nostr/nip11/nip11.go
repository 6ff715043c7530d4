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
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

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

// NIP-13 counts leading zero bits of an id; beyond this nobody can mine.
const absurdPoW = 64

func (d *decoder) document(v *value) {
	doc := &d.Document
	for i := range v.members {
		m := &v.members[i]
		if !d.field(m) {
			if m.repeated {
				d.find("", Repeated)
			}
			continue
		}
		doc.Known++
		if m.repeated {
			d.find(m.name, Repeated)
		}
	}
	if doc.Known == 0 {
		d.find("", NoFields)
	}
}

// field reads one top-level member and tells whether NIP-11 knows it.
func (d *decoder) field(m *member) bool {
	doc, v := &d.Document, &m.value
	switch m.name {
	case "name":
		doc.Name = d.text(m.name, v)
	case "description":
		doc.Description = d.text(m.name, v)
	case "banner":
		doc.Banner = d.url(m.name, v)
	case "icon":
		doc.Icon = d.url(m.name, v)
	case "pubkey":
		doc.PubKey = d.key(m.name, v)
	case "self":
		doc.Self = d.key(m.name, v)
	case "contact":
		doc.Contact = d.text(m.name, v)
	case "supported_nips":
		doc.SupportedNIPs = d.nips(m.name, v)
	case "software":
		doc.Software = d.url(m.name, v)
	case "version":
		doc.Version = d.text(m.name, v)
	case "terms_of_service":
		doc.TermsOfService = d.url(m.name, v)
	case "payments_url":
		doc.PaymentsURL = d.url(m.name, v)
	case "limitation":
		d.limitation(m.name, v)
	case "fees":
		d.fees(m.name, v)
	default:
		return d.legacyField(m)
	}
	return true
}

func (d *decoder) legacyField(m *member) bool {
	doc, v := &d.Document, &m.value
	switch m.name {
	case "posting_policy":
		doc.PostingPolicy = d.url(m.name, v)
	case "privacy_policy":
		doc.PrivacyPolicy = d.url(m.name, v)
	case "retention":
		doc.Retention = d.retention(m.name, v)
	case "relay_countries":
		doc.RelayCountries = d.texts(m.name, v)
	case "language_tags":
		doc.LanguageTags = d.texts(m.name, v)
	case "tags":
		doc.Tags = d.texts(m.name, v)
	default:
		return false
	}
	d.find(m.name, Legacy)
	return true
}

func (d *decoder) limitation(path string, v *value) {
	if !d.is(object, path, v) {
		return
	}
	l := &d.Limitation
	numbers := []struct {
		name   string
		to     **int64
		legacy bool
	}{
		{"max_message_length", &l.MaxMessageLength, false},
		{"max_subscriptions", &l.MaxSubscriptions, false},
		{"max_limit", &l.MaxLimit, false},
		{"default_limit", &l.DefaultLimit, false},
		{"max_subid_length", &l.MaxSubIDLength, false},
		{"max_event_tags", &l.MaxEventTags, false},
		{"max_content_length", &l.MaxContentLength, false},
		{"min_pow_difficulty", &l.MinPoWDifficulty, false},
		{"created_at_lower_limit", &l.CreatedAtLowerLimit, false},
		{"created_at_upper_limit", &l.CreatedAtUpperLimit, false},
		{"max_filters", &l.MaxFilters, true},
		{"min_prefix", &l.MinPrefix, true},
	}
	for _, n := range numbers {
		m := d.member(path, v, n.name)
		if m == nil {
			continue
		}
		*n.to = d.count(path+"."+n.name, &m.value)
		if n.legacy {
			d.find(path+"."+n.name, Legacy)
		}
	}
	if p := l.MinPoWDifficulty; p != nil && *p > absurdPoW {
		d.find(path+".min_pow_difficulty", Absurd)
	}
	flags := []struct {
		name string
		to   **bool
	}{
		{"auth_required", &l.AuthRequired},
		{"payment_required", &l.PaymentRequired},
		{"restricted_writes", &l.RestrictedWrites},
	}
	for _, f := range flags {
		if m := d.member(path, v, f.name); m != nil {
			*f.to = d.flag(path+"."+f.name, &m.value)
		}
	}
}

func (d *decoder) fees(path string, v *value) {
	if !d.is(object, path, v) {
		return
	}
	groups := []struct {
		name string
		to   *[]Fee
	}{
		{"admission", &d.Fees.Admission},
		{"subscription", &d.Fees.Subscription},
		{"publication", &d.Fees.Publication},
	}
	for _, g := range groups {
		m := d.member(path, v, g.name)
		if m == nil {
			continue
		}
		group := path + "." + g.name
		for i, item := range d.list(group, &m.value) {
			if fee, ok := d.fee(index(group, i), &item); ok {
				*g.to = append(*g.to, fee)
			}
		}
	}
}

func (d *decoder) fee(path string, v *value) (fee Fee, ok bool) {
	if !d.is(object, path, v) {
		return Fee{}, false
	}
	if m := d.member(path, v, "amount"); m != nil {
		fee.Amount = d.amount(path+".amount", &m.value)
	}
	if m := d.member(path, v, "unit"); m != nil {
		fee.Unit = d.text(path+".unit", &m.value)
	}
	if m := d.member(path, v, "period"); m != nil {
		fee.Period = d.count(path+".period", &m.value)
	}
	if m := d.member(path, v, "kinds"); m != nil {
		fee.Kinds = d.kinds(path+".kinds", &m.value)
	}
	return fee, true
}

func (d *decoder) retention(path string, v *value) []Retention {
	var out []Retention
	for i, item := range d.list(path, v) {
		path := index(path, i)
		if !d.is(object, path, &item) {
			continue
		}
		var r Retention
		if m := d.member(path, &item, "kinds"); m != nil {
			r.Kinds = d.kinds(path+".kinds", &m.value)
		}
		// A null time meant "for ever" here, and is no problem.
		if m := d.member(path, &item, "time"); m != nil && m.value.kind != null {
			r.Time = d.count(path+".time", &m.value)
		}
		if m := d.member(path, &item, "count"); m != nil && m.value.kind != null {
			r.Count = d.count(path+".count", &m.value)
		}
		out = append(out, r)
	}
	return out
}

// kinds reads [0, 1, [5, 7]].
func (d *decoder) kinds(path string, v *value) []KindRange {
	var out []KindRange
	for i, item := range d.list(path, v) {
		path := index(path, i)
		if item.kind == array && len(item.items) == 2 {
			first, last := d.count(path, &item.items[0]), d.count(path, &item.items[1])
			switch {
			case first == nil || last == nil:
			case *first > *last:
				d.find(path, OutOfRange)
			default:
				out = append(out, KindRange{nostr.Kind(*first), nostr.Kind(*last)})
			}
			continue
		}
		if n := d.count(path, &item); n != nil {
			out = append(out, KindRange{nostr.Kind(*n), nostr.Kind(*n)})
		}
	}
	return out
}

func (d *decoder) nips(path string, v *value) []string {
	var out []string
	seen := make(map[string]bool)
	for i, item := range d.list(path, v) {
		path := index(path, i)
		var nip string
		switch item.kind {
		case number:
			n, ok := integer(item.text)
			if !ok || n < 0 || n > 99_999 {
				d.find(path, OutOfRange)
				continue
			}
			nip = strconv.FormatInt(n, 10)
		case text:
			var ok bool
			if nip, ok = parseNIP(item.text); !ok {
				d.find(path, WrongType)
				continue
			}
			d.find(path, Coerced)
		case null:
			d.find(path, Null)
			continue
		default:
			d.find(path, WrongType)
			continue
		}
		if seen[nip] {
			d.find(path, Repeated)
			continue
		}
		seen[nip] = true
		out = append(out, nip)
	}
	return out
}

// parseNIP reads the name of a NIP written as text. NIPs are numbered in
// hexadecimal by now ("C7", "7D"), and a few relays add letters of their own
// ("11a").
func parseNIP(s string) (string, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	s = strings.TrimPrefix(s, "NIP-")
	if s == "" || len(s) > 5 {
		return "", false
	}
	n := digits(s)
	if n < len(s) && len(s) > 3 {
		return "", false
	}
	for i := n; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return "", false
		}
	}
	if n == len(s) {
		if s = strings.TrimLeft(s, "0"); s == "" {
			s = "0"
		}
	}
	return s, true
}

// A decoder turns values into fields and collects findings on the way.
type decoder struct{ Document }

func (d *decoder) find(field string, p Problem) {
	if len(d.Findings) == maxFindings {
		return
	}
	f := Finding{Field: field, Problem: p}
	for _, g := range d.Findings {
		if g == f {
			return
		}
	}
	d.Findings = append(d.Findings, f)
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// member looks a name up in a nested object.
func (d *decoder) member(path string, v *value, name string) *member {
	m := v.get(name)
	if m != nil && m.repeated {
		d.find(path+"."+name, Repeated)
	}
	return m
}

// is tells whether v is of that kind, and finds fault when it is not.
func (d *decoder) is(want kind, path string, v *value) bool {
	switch v.kind {
	case want:
		return true
	case null:
		d.find(path, Null)
	default:
		d.find(path, WrongType)
	}
	return false
}

// list returns the elements of an array, or v itself for a bare scalar or
// object.
func (d *decoder) list(path string, v *value) []value {
	switch v.kind {
	case null:
		d.find(path, Null)
		return nil
	case array:
		if len(v.items) > maxList {
			d.find(path, TooMany)
			return v.items[:maxList]
		}
		return v.items
	default:
		d.find(path, Coerced)
		return []value{*v}
	}
}

func (d *decoder) texts(path string, v *value) []string {
	var out []string
	for i, item := range d.list(path, v) {
		if s := d.text(index(path, i), &item); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// text reads a string; a number, or the first of a list of strings, will do.
func (d *decoder) text(path string, v *value) string {
	switch v.kind {
	case text:
	case number:
		d.find(path, Coerced)
	case null:
		d.find(path, Null)
		return ""
	case array:
		if len(v.items) > 0 && v.items[0].kind == text {
			d.find(path, Coerced)
			return d.text(path, &v.items[0])
		}
		fallthrough
	default:
		d.find(path, WrongType)
		return ""
	}
	if len(v.text) > maxText {
		d.find(path, TooLong)
		cut := maxText
		for !utf8.RuneStart(v.text[cut]) {
			cut--
		}
		return v.text[:cut]
	}
	return v.text
}

// url reads a URL; text that is none is kept and found fault with.
func (d *decoder) url(path string, v *value) string {
	s := d.text(path, v)
	if s == "" {
		return ""
	}
	if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Host == "" {
		d.find(path, NotAURL)
	}
	return s
}

func (d *decoder) key(path string, v *value) *nostr.PubKey {
	s := d.text(path, v)
	if s == "" {
		return nil
	}
	k, err := nostr.ParsePubKey(strings.ToLower(s))
	if err != nil || strings.ToLower(s) != s {
		d.find(path, NotAKey)
	}
	if err != nil {
		return nil
	}
	return &k
}

// count reads a whole number that is not negative.
func (d *decoder) count(path string, v *value) *int64 {
	s := v.text
	switch v.kind {
	case number:
	case text:
		s = strings.TrimSpace(s)
		if !isNumber(s) {
			d.find(path, WrongType)
			return nil
		}
		d.find(path, Coerced)
	case null:
		d.find(path, Null)
		return nil
	default:
		d.find(path, WrongType)
		return nil
	}
	n, ok := integer(s)
	if !ok || n < 0 {
		d.find(path, OutOfRange)
		return nil
	}
	return &n
}

// amount reads a number that need not be whole.
func (d *decoder) amount(path string, v *value) string {
	switch {
	case v.kind == number:
	case v.kind == text && isNumber(v.text):
		d.find(path, Coerced)
	case v.kind == null:
		d.find(path, Null)
		return ""
	default:
		d.find(path, WrongType)
		return ""
	}
	const enough = 32 // digits of any price
	if strings.HasPrefix(v.text, "-") || len(v.text) > enough {
		d.find(path, OutOfRange)
		return ""
	}
	return v.text
}

func (d *decoder) flag(path string, v *value) *bool {
	yes, no := true, false
	switch v.kind {
	case boolTrue:
		return &yes
	case boolFalse:
		return &no
	case null:
		d.find(path, Null)
		return nil
	}
	switch {
	case v.kind != text && v.kind != number:
	case v.text == "1" || strings.EqualFold(v.text, "true"):
		d.find(path, Coerced)
		return &yes
	case v.text == "0" || strings.EqualFold(v.text, "false"):
		d.find(path, Coerced)
		return &no
	}
	d.find(path, WrongType)
	return nil
}

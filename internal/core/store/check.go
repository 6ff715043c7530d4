package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/nip11"
)

// DocumentID is the SHA-256 of a document's bytes.
type DocumentID [32]byte

// Document is a content-addressed text: equal texts are one row.
type Document struct {
	Type string // the probe that found it, such as DocumentInfo
	Data []byte // canonical JSON
}

// DocumentInfo is the type of a relay's own document (NIP-11).
const DocumentInfo = "nip11"

// ID returns the SHA-256 of the data.
func (d Document) ID() DocumentID { return sha256.Sum256(d.Data) }

// DocumentPlace is the type of what is known of where a relay is.
const DocumentPlace = "geo"

// The bounds of what lists repeat of documents: bytes of a text, and how many
// NIPs of how many bytes.
const (
	shownText = 200
	shownNIPs = 100
	shownNIP  = 8
)

// Introduction is how a relay describes itself, as lists show it. All of it is
// untrusted text, cut.
type Introduction struct {
	Name, Software, Version string
	NIPs                    []string // supported, without leading zeros: "1", "C7"
	Auth, Payment           bool     // required
	Restricted              bool     // who may write
}

// Introduction reads a document of the type DocumentInfo; a field that is absent
// or something else is empty.
func (d *Document) Introduction() Introduction {
	read, err := nip11.Parse(d.Data)
	if err != nil {
		return Introduction{}
	}
	in := Introduction{Name: shown(read.Name), Software: shown(read.Software), Version: shown(read.Version)}
	for _, nip := range read.SupportedNIPs {
		if len(nip) <= shownNIP && len(in.NIPs) < shownNIPs && !slices.Contains(in.NIPs, nip) {
			in.NIPs = append(in.NIPs, shown(nip))
		}
	}
	is := func(flag *bool) bool { return flag != nil && *flag }
	in.Auth, in.Payment, in.Restricted = is(read.Limitation.AuthRequired), is(read.Limitation.PaymentRequired), is(read.Limitation.RestrictedWrites)
	return in
}

// NIPList is the NIPs of an introduction as backends keep them: a JSON array.
func (in *Introduction) NIPList() string {
	text, err := json.Marshal(append([]string{}, in.NIPs...))
	if err != nil {
		panic(err) // texts always have a form
	}
	return string(text)
}

// ParseNIPs reads what NIPList wrote.
func ParseNIPs(text string) []string {
	var list []string
	if text == "[]" || json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	return list
}

// Location is where a relay is, as lists show it. Country is empty and Lat and Lon
// are both 0 where that is not known.
type Location struct {
	Country  string  // ISO 3166-1, two letters
	City     string  // in English
	ASN      int64   // 0: not known
	Org      string  // whose network that is
	Lat, Lon float64 // degrees, only where the city is known
}

// Location reads a document of the type DocumentPlace; what does not fit is empty.
func (d *Document) Location() Location {
	var p struct {
		Country, City, Org string
		ASN                uint32
		Lat, Lon           float64
	}
	if json.Unmarshal(d.Data, &p) != nil || math.Abs(p.Lat) > 90 || math.Abs(p.Lon) > 180 {
		return Location{}
	}
	return Location{shown(p.Country), shown(p.City), int64(p.ASN), shown(p.Org), p.Lat, p.Lon}
}

// shown cuts a text to what is repeated in lists, and takes out what no database
// holds.
func shown(text string) string {
	return strings.ToValidUTF8(Substitute(text[:min(len(text), shownText)]), "")
}

// The values that a RelaySummary shows, of the probes "open" and "read".
const (
	ValueOpen = "open_ms" // from nothing to an open WebSocket
	ValueRead = "eose_ms" // from the request to its end
)

// Check is the result of one probe of one relay.
type Check struct {
	At       int64
	Probe    string // "open", "read", "nip11" …
	OK       bool
	Cause    dial.Cause
	Values   map[string]float64 // numbers, by name; durations in milliseconds
	Detail   string             // a bounded remark, e.g. an HTTP status; untrusted text
	Document *Document          // nil when the probe brings none
}

// Outcome is what the monitor saves of one relay: results, the state they lead
// to and when to look again, in one transaction.
type Outcome struct {
	Relay    RelayID
	At       int64
	Checks   []Check
	State    State
	Cause    dial.Cause // why it is not up
	LastUp   int64
	Failures int // checks failed in a row, this one included
	Next     Next
	// Alerts are raised by the outcome. One whose About is 0 is about the relay's
	// newest outage, this one or the one that ends.
	Alerts []Alert
}

// Outage is a stretch of time in which a relay could not be opened.
type Outage struct {
	From  int64
	To    int64 // 0 while it lasts
	Cause dial.Cause
}

// Checks keeps what the monitor found.
type Checks interface {
	// SaveOutcomes writes results and documents, opens an outage with the first
	// check that failed, closes it with the first that did not, and reschedules.
	// Results older than KeepResults make room. One transaction.
	// Of a relay whose lease is no longer that of Next.Owner only the results
	// are written, which were true when they were found: its state, schedule and
	// alerts are decided by whoever leased it since. An alert that was raised
	// before is left as it is. Several outcomes of one relay
	// follow one another in the order given, and the last Next counts.
	// Idempotent.
	SaveOutcomes(ctx context.Context, outcomes []Outcome) error
	// LatestChecks returns the newest result of every probe of a relay, with
	// documents, by probe name.
	LatestChecks(ctx context.Context, relay RelayID) ([]Check, error)
	// Outages returns the newest outages of a relay, newest first.
	Outages(ctx context.Context, relay RelayID, limit int) ([]Outage, error)
}

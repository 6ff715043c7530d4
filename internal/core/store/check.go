package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"strings"

	"bigbrotr/internal/core/dial"
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

// shownText is how many bytes of a text of a document are repeated in lists.
const shownText = 200

// Introduces reads how a relay calls itself. A document without these, or with
// something else in their place, has empty ones.
func (d *Document) Introduces() (name, software string) {
	var fields map[string]json.RawMessage
	if d.Type != "nip11" || json.Unmarshal(d.Data, &fields) != nil {
		return "", ""
	}
	read := func(key string) string {
		var text string
		if json.Unmarshal(fields[key], &text) != nil {
			return ""
		}
		return strings.ToValidUTF8(Substitute(text[:min(len(text), shownText)]), "")
	}
	return read("name"), read("software")
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

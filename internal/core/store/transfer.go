package store

import (
	"context"
	"iter"
)

// ColumnType says what a column holds, in the same words for every backend.
type ColumnType int

// The types of columns, and what a Row holds of each.
const (
	Integer ColumnType = iota // int64
	Number                    // float64
	Boolean                   // bool
	Text                      // string
	Blob                      // []byte, nil for NULL
	JSON                      // string: equal values may be written differently
)

// Column is a column of a table.
type Column struct {
	Name string
	Type ColumnType
}

// Table is a table that is moved row by row as it is: it has the same columns in
// every backend, of which the first Key ones are its key.
type Table struct {
	Name    string
	Key     int
	Columns []Column
}

// Row is one row of a table, in the order of its columns.
type Row []any

// Tables are what an archive holds besides events, sightings and what is made
// of them: sums, indexes, the leases and positions of processes. In an order in
// which they can be filled.
var Tables = []Table{
	{"relay", 1, []Column{
		{"id", Integer},
		{"url", Text},
		{"network", Text},
		{"first_seen", Integer},
		{"promoted_at", Integer},
		{"state", Text},
		{"state_since", Integer},
		{"cause", Text},
		{"last_up", Integer},
		{"failures", Integer},
		{"alias_of", Integer},
		{"checked_at", Integer},
		{"open_ms", Number},
		{"read_ms", Number},
		{"name", Text},
		{"software", Text},
		{"seen_up", Integer},
		{"seen_down", Integer},
		{"host", Text},
		{"kept_out", Text},
		{"version", Text},
		{"nips", Text},
		{"auth", Boolean},
		{"payment", Boolean},
		{"restricted", Boolean},
		{"country", Text},
		{"city", Text},
		{"asn", Integer},
		{"org", Text},
		{"lat", Number},
		{"lon", Number},
		{"month_up", Number},
		{"month_watched", Integer},
		{"open_p95", Number},
		{"read_p95", Number},
	}},
	{"candidate", 1, []Column{
		{"url", Text},
		{"network", Text},
		{"first_seen", Integer},
		{"attempts", Integer},
		{"next_due", Integer},
		{"last_cause", Text},
		{"class", Integer},
		{"authors", Integer},
		{"host", Text},
		{"kept_out", Text},
	}},
	{"ban", 1, []Column{{"target", Text}, {"at", Integer}, {"reason", Text}}},
	{"trait", 3, []Column{{"relay_id", Integer}, {"kind", Text}, {"value", Blob}, {"at", Integer}}},
	{"source", 2, []Column{
		{"class", Integer},
		{"name", Text},
		{"host", Text},
		{"detail", Text},
		{"first_seen", Integer},
		{"n", Integer},
		{"authors", Blob},
		{"next_due", Integer},
		{"attempts", Integer},
		{"last_cause", Text},
		{"last_ok", Integer},
		{"etag", Text},
	}},
	{"mention", 2, []Column{
		{"url", Text}, {"class", Integer}, {"first_seen", Integer}, {"last_seen", Integer}, {"n", Integer}, {"authors", Blob},
	}},
	{"filter", 1, []Column{{"id", Integer}, {"json", Text}}},
	{"document", 1, []Column{{"id", Blob}, {"type", Text}, {"data", Blob}}},
	{"document_period", 3, []Column{
		{"relay_id", Integer}, {"type", Text}, {"since", Integer}, {"until", Integer}, {"document_id", Blob},
	}},
	{"check_result", 3, []Column{
		{"relay_id", Integer},
		{"probe", Text},
		{"at", Integer},
		{"ok", Boolean},
		{"cause", Text},
		{"numbers", JSON},
		{"detail", Text},
		{"document_id", Blob},
	}},
	{"outage", 2, []Column{{"relay_id", Integer}, {"started", Integer}, {"ended", Integer}, {"cause", Text}}},
	{"alert", 4, []Column{
		{"receiver", Text},
		{"kind", Text},
		{"relay_id", Integer},
		{"about", Integer},
		{"at", Integer},
		{"cause", Text},
		{"done", Boolean},
		{"next_due", Integer},
		{"attempts", Integer},
	}},
	{"calibration", 1, []Column{
		{"relay_id", Integer},
		{"at", Integer},
		{"max_limit", Integer},
		{"largest_page", Integer},
		{"page_order", Text},
		{"post_filtering", Boolean},
		{"exclusive_until", Boolean},
		{"ignores_until", Boolean},
		{"counts", Boolean},
		{"open_refused", Boolean},
		{"no_negentropy", Integer},
		{"negentropy_cause", Text},
		{"negentropy_most", Integer},
		{"author_list", Integer},
		{"auth", Text},
		{"overlap", Integer},
		{"visit_every", Integer},
	}},
	{"pace", 1, []Column{
		{"target", Text},
		{"spacing", Integer},
		{"parallel", Integer},
		{"complaints", Integer},
		{"at", Integer},
		{"until", Integer},
		{"day", Integer},
		{"bytes", Integer},
	}},
	{"cost", 2, []Column{
		{"relay_id", Integer},
		{"way", Text},
		{"since", Integer},
		{"requests", Integer},
		{"bytes", Integer},
		{"received", Integer},
		{"fresh", Integer},
		{"known", Integer},
		{"last", Integer},
	}},
	{"work", 2, []Column{{"service", Text}, {"relay_id", Integer}, {"due_at", Integer}, {"attempts", Integer}}},
	{"job", 1, []Column{
		{"id", Blob}, {"customer", Blob}, {"at", Integer}, {"request", Blob}, {"state", Text}, {"payment", Blob}, {"answer", Blob}, {"due_at", Integer},
	}},
	{"quarantine", 2, []Column{{"relay_id", Integer}, {"digest", Integer}, {"reason", Text}, {"at", Integer}, {"raw", Blob}}},
	{"quarantine_count", 1, []Column{{"relay_id", Integer}, {"kept", Integer}, {"dropped", Integer}}},
	{"tombstone", 1, []Column{{"target", Blob}, {"until", Integer}, {"purged", Boolean}}},
	{"arrival_gap", 2, []Column{{"relay_id", Integer}, {"since", Integer}, {"until", Integer}, {"cause", Text}}},
	{"sample", 3, []Column{{"relay_id", Integer}, {"kind", Text}, {"at", Integer}, {"seen", Integer}, {"missed", Integer}}},
	// Last, after the events that they speak of: a claim is never ahead of them.
	{"coverage", 3, []Column{
		{"relay_id", Integer},
		{"filter_id", Integer},
		{"lo", Integer},
		{"hi", Integer},
		{"level", Integer},
		{"as_of", Integer},
		{"method", Text},
		{"n", Integer},
	}},
	{"hole", 5, []Column{
		{"relay_id", Integer},
		{"filter_id", Integer},
		{"lo", Integer},
		{"hi", Integer},
		{"kind", Integer},
		{"reason", Text},
		{"n", Integer},
		{"seen_at", Integer},
		{"next_try", Integer},
	}},
	{"missing", 2, []Column{{"relay_id", Integer}, {"id", Blob}, {"at", Integer}, {"hold", Integer}, {"since", Integer}}},
}

// Sighting is a relay that delivered or named an event.
type Sighting struct {
	Relay   RelayID
	SeenAt  int64
	Claimed bool  // named and not delivered
	GoneAt  int64 // 0 while the relay has the event
}

// Copied is an event with everything that belongs to it.
type Copied struct {
	Record
	Sightings []Sighting
}

// CopiedAt is a copied event and the position behind it.
type CopiedAt struct {
	Copied
	Cursor Cursor
}

// Transfer moves an archive between databases. It is used while nothing else
// writes to either.
type Transfer interface {
	// ScanTable yields the rows of a table whose key comes after that of a row
	// (nil: all), in the order of the key. It pages inside.
	ScanTable(ctx context.Context, table Table, after Row) iter.Seq2[Row, error]
	// PutRows writes rows, in place of those of the same key, in one
	// transaction.
	PutRows(ctx context.Context, table Table, rows []Row) error
	// ScanCopies yields the events after a position in the archive's order.
	ScanCopies(ctx context.Context, after Cursor) iter.Seq2[CopiedAt, error]
	// PutCopies writes events with their sightings, and the source's position
	// behind them, in one transaction. Events that are there stay as they are;
	// their sightings are added. Numbers follow the order of the list.
	PutCopies(ctx context.Context, copies []Copied, position Cursor) error
	// CopyState returns what SetCopyState or PutCopies wrote last; empty when no
	// copy into this database is under way.
	CopyState(ctx context.Context) (CopyState, error)
	// SetCopyState notes how far a copy into this database is; an empty state
	// ends it.
	SetCopyState(ctx context.Context, state CopyState) error
}

// CopyState is how far a copy into a database is.
type CopyState struct {
	Source   string `json:"source,omitempty"`   // names the database it comes from, without secrets
	Tables   int    `json:"tables,omitempty"`   // how many of Tables are whole
	Position Cursor `json:"position,omitempty"` // of the source's events
	Events   bool   `json:"events,omitempty"`   // all are there
}

// Package store owns the words of the archive: its records, the small roles
// through which services read and write them, and what each role promises.
// It holds no database; backends live in subpackages and are proved by
// storetest. Times are Unix seconds unless a name says otherwise.
package store

import (
	"context"
	"errors"
	"fmt"
)

// The errors of every backend, by meaning.
var (
	// ErrNotFound is returned by reads of one thing that is not there.
	ErrNotFound = errors.New("not found")
	// ErrNewer is returned when the database was written by a newer version.
	ErrNewer = errors.New("the database is of a newer version")
	// ErrUninitialised is returned when the database has no schema yet.
	ErrUninitialised = errors.New("the database has no schema yet")
	// ErrSchema is returned when the schema is not the one this version writes.
	ErrSchema = errors.New("the schema differs from what this version expects")
	// ErrFull is returned when the disk or the database cannot grow.
	ErrFull = errors.New("no space left for the database")
	// ErrCursor is returned for a cursor that the store did not give.
	ErrCursor = errors.New("not a cursor of this store")
	// ErrCorrupt is returned when the file is not a database of ours.
	ErrCorrupt = errors.New("not a readable database")
)

// LockedError says that another process writes to the same database.
type LockedError struct {
	Path string
	PID  int // 0 when unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return e.Path + " is in use by another process"
	}
	return fmt.Sprintf("%s is in use by process %d", e.Path, e.PID)
}

// Cursor is an opaque position in the archive's order. The empty cursor stands
// before the first event.
type Cursor string

// Schema looks after the shape of the database.
type Schema interface {
	// Migrate brings the schema to this version, forward only, each step in a
	// transaction, and returns the names of the steps it ran. Idempotent.
	Migrate(ctx context.Context) ([]string, error)
	// VerifySchema returns nil when the schema is exactly the one this version
	// expects, else ErrUninitialised, ErrNewer or ErrSchema.
	VerifySchema(ctx context.Context) error
}

// Store is every role together: what a backend implements, what app opens and
// storetest proves. Services ask for the roles they use, never for this.
type Store interface {
	Schema
	Keeper
	Relays
	Candidates
	Curation
	Sources
	Aliases
	Schedule
	Jobs
	Archive
	EventScanner
	Coverages
	Paces
	Tails
	Costs
	Samples
	Holdings
	Checks
	Alerts
	Histories
	Rollups
	Texts
	EventReader
	Versions
	RelayReader
	StatsReader
	Close() error
}

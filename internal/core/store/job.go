package store

import (
	"context"

	"bigbrotr/internal/core/nostr"
)

// JobState says how far a job is.
type JobState string

// The states of a job, in their order. Only the first three are work.
const (
	JobOpen     JobState = "open"     // to be answered
	JobUnpaid   JobState = "unpaid"   // to be answered when it is paid
	JobAnswered JobState = "answered" // its answer is to be sent
	JobDone     JobState = "done"     // its answer was sent
	JobEnded    JobState = "ended"    // cancelled, refused or never paid
)

// Job is a request for work (NIP-90) and what has become of it.
type Job struct {
	ID       nostr.ID // of the request
	Customer nostr.PubKey
	At       int64  // when it was taken
	Request  []byte // the event as JSON
	State    JobState
	Payment  []byte // what the service notes of it; nil without a price
	Answer   []byte // the event of the one answer as JSON; nil before there is one
}

// Lease says who works on something, and until when nobody else does.
type Lease struct {
	Owner string
	Until int64 // 0: no longer
}

// Jobs keeps requests for work, so that each is answered at most once, whatever
// number of processes hear of it and whenever they end.
type Jobs interface {
	// AddJob keeps a job that is not there, for the lease's owner to work on, and
	// tells whether it was added.
	AddJob(ctx context.Context, job Job, lease Lease) (bool, error)
	// DueJobs leases jobs that have work left, the longest due first. Those that
	// others work on are left out. Of due only Now, Limit, Owner and Until
	// matter.
	DueJobs(ctx context.Context, due Due) ([]Job, error)
	// SaveJob writes state, payment and answer of a job that Owner still leases
	// and that has not ended, makes it due at a time and prolongs or frees the
	// lease. It tells whether it did. The first answer stays whatever comes later,
	// and what has one does not become open again.
	SaveJob(ctx context.Context, job Job, lease Lease, dueAt int64) (bool, error)
	// CancelJob ends a job of the customer that has no answer yet, whoever works
	// on it, and tells whether it did.
	CancelJob(ctx context.Context, id nostr.ID, customer nostr.PubKey) (bool, error)
	// DropJobs forgets jobs that were taken before a time, at most limit, and
	// returns how many.
	DropJobs(ctx context.Context, before int64, limit int) (int, error)
}

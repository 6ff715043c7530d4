package store

import (
	"context"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/relay"
)

// Mention is one place where a relay URL was seen.
type Mention struct {
	URL    relay.URL
	Class  hints.Class
	Author nostr.PubKey // zero when no event names the URL, as for a seed
	At     int64
}

// Candidate is a URL that somebody mentioned and nobody has proved.
type Candidate struct {
	URL             relay.URL
	FirstSeen       int64
	Attempts        int
	NextDue         int64
	LastCause       dial.Cause  // empty before the first attempt
	Class           hints.Class // the strongest class that mentions it
	DistinctAuthors int         // estimated
	KeptOut         KeptOut     // nobody tries it
}

// Verdict is what the validator found of a candidate.
type Verdict struct {
	URL     relay.URL
	Owner   string // who leased the candidate; empty: nobody did
	At      int64
	Valid   bool       // promotes the candidate to a relay
	Cause   dial.Cause // why not
	Ours    bool       // Cause is a trouble of ours and is not held against the candidate
	NextDue int64      // when to try again; ignored when Valid
	Traits  []Trait    // of a valid one
	AliasOf RelayID    // the relay that stands for a valid one; 0: itself
}

// LastVerdicts leaves out what a later one of the same URL takes the place of:
// of those that are valid, and of those that are not.
func LastVerdicts(verdicts []Verdict) []Verdict {
	type key struct {
		url   relay.URL
		valid bool
	}
	return last(verdicts, func(v Verdict) key { return key{v.URL, v.Valid} })
}

// Candidates is the way of a URL from a mention to a relay.
type Candidates interface {
	// AddMentions records the mentions and makes a candidate of each URL that is
	// neither a candidate nor a relay yet; a new candidate is due at once.
	// It returns how many candidates are new. Adding a mention again only
	// raises its count. Banned URLs are left out, and so are new ones of a host
	// that has MaxPerHost, unless they are its root or seeds.
	AddMentions(ctx context.Context, mentions []Mention) (int, error)
	// SaveFindings is AddMentions and AddSources together with the reader's
	// position, in one transaction.
	SaveFindings(ctx context.Context, reader string, position Cursor, found Found) (int, error)
	// Position returns where a reader of new events stands; empty at first.
	Position(ctx context.Context, reader string) (Cursor, error)
	// DueCandidates leases at most due.Limit candidates whose time has come,
	// strongest class and most distinct authors first, then the longest due.
	// Those kept out are left out.
	DueCandidates(ctx context.Context, due Due) ([]Candidate, error)
	// SaveVerdicts promotes the valid ones, whoever found it out, unless they
	// have been banned meanwhile. Of the others
	// it counts, reschedules and frees those whose lease is still their Owner's,
	// though its time may be over; a candidate that another has leased since, or
	// that was freed, is left as it is. Of several verdicts of one URL that are
	// not valid the last counts. One transaction. Idempotent under a lease.
	SaveVerdicts(ctx context.Context, verdicts []Verdict) error
}

package store

import (
	"cmp"
	"context"
	"slices"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/hints"
)

// MaxSources is how many sources of one class are kept: anybody can name any
// number of domains in their profile.
const MaxSources = 50_000

// maxETag is how many bytes an entity tag may have; longer ones are not kept.
const maxETag = 256

// Source is a place other than an event that names relays and is asked now and
// then.
type Source struct {
	Class     hints.Class // of what it gives: hints.NIP05 or hints.API
	Name      string      // a domain for hints.NIP05, a URL for hints.API
	Detail    string      // for hints.NIP05 the name to ask for
	Authors   int64       // distinct ones who named it, estimated above 64
	Attempts  int         // failures in a row
	LastCause dial.Cause  // of the newest failure in a row
	LastOK    int64       // 0 when it never gave anything
	ETag      string      // of what it gave last
}

// SourceMention is one place where a source was named.
type SourceMention struct {
	Class  hints.Class
	Name   string
	Host   string // on which it lives, for bans
	Detail string
	Author nostr.PubKey // zero for what the operator configured
	At     int64
}

// SourceResult is what came of asking a source.
type SourceResult struct {
	Class   hints.Class
	Name    string
	Owner   string // who leased it
	At      int64
	Cause   dial.Cause // empty for a success
	Ours    bool       // Cause is a trouble of ours and is not held against it
	ETag    string
	NextDue int64
}

// Outcome is the result in a word that backends know: ok, ours or failed.
func (r *SourceResult) Outcome() string {
	switch {
	case r.Cause == "":
		return "ok"
	case r.Ours:
		return "ours"
	}
	return "failed"
}

// Found is what a reader of events saves with its position.
type Found struct {
	Mentions []Mention
	Sources  []SourceMention
}

// DocumentAt is a document with its id.
type DocumentAt struct {
	ID DocumentID
	Document
}

// Sources keeps the places other than events in which relays are looked for.
type Sources interface {
	// AddSources records that sources were named. A new one is due at once; the
	// last detail counts. Beyond MaxSources of a class there are no new ones.
	AddSources(ctx context.Context, mentions []SourceMention) error
	// DueSources leases sources of a class that are due, the longest due first;
	// where names are given, only of these. Those on banned hosts are left out.
	// Service and Networks of due do not matter.
	DueSources(ctx context.Context, class hints.Class, names []string, due Due) ([]Source, error)
	// SaveSources saves what came of those whose lease is still their Owner's,
	// frees them, and adds the mentions, in one transaction. It returns how many
	// candidates are new.
	SaveSources(ctx context.Context, results []SourceResult, mentions []Mention) (int, error)
	// NewDocuments returns documents in which nobody has looked for relays yet,
	// at most limit.
	NewDocuments(ctx context.Context, limit int) ([]DocumentAt, error)
	// SaveSearched adds the mentions and notes that the documents were looked
	// into, in one transaction. It returns how many candidates are new.
	SaveSearched(ctx context.Context, ids []DocumentID, mentions []Mention) (int, error)
}

// SourcePlace is what the mentions of a batch say of one source.
type SourcePlace struct {
	Class   hints.Class
	Name    string
	Host    string
	Detail  string
	First   int64
	N       int64
	Authors Distinct
}

// SourcePlaces puts mentions together by class and name, in this order.
func SourcePlaces(mentions []SourceMention) []*SourcePlace {
	type key struct {
		class hints.Class
		name  string
	}
	byKey := make(map[key]*SourcePlace)
	var list []*SourcePlace
	for _, m := range mentions {
		if m.Name == "" || !Holdable(m.Name) || !Holdable(m.Host) || !Holdable(m.Detail) {
			continue
		}
		k := key{m.Class, m.Name}
		p := byKey[k]
		if p == nil {
			p = &SourcePlace{Class: m.Class, Name: m.Name, First: m.At}
			byKey[k] = p
			list = append(list, p)
		}
		p.Host, p.Detail, p.First = m.Host, m.Detail, min(p.First, m.At)
		p.N++
		if author := m.Author; author != (nostr.PubKey{}) {
			p.Authors.Add((*[32]byte)(&author))
		}
	}
	slices.SortFunc(list, func(a, b *SourcePlace) int {
		return cmp.Or(cmp.Compare(a.Class.Rank(), b.Class.Rank()), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// ETag returns an entity tag as it is kept: none that is too long or that no
// text column holds.
func ETag(tag string) string {
	if len(tag) > maxETag || !Holdable(tag) {
		return ""
	}
	return tag
}

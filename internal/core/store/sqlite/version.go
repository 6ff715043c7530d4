package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

// The statements read what scanEvent does, but for the content, which says
// nothing of a version.
const (
	sqlVersionTerms    = `SELECT created_at, seq FROM term WHERE h = ? AND created_at >= ?`
	sqlVersionNewTerms = `SELECT h, created_at, seq FROM term_new WHERE created_at >= ? AND h IN (SELECT value FROM json_each(?))`
)

var sqlVersions = `SELECT seq, id, pubkey, created_at, kind, first_seen, sig, tags, '', raw, tagh, d, expires
	FROM event WHERE seq IN (` + placeholders("?") + `)`

// group is what an author has of one kind.
type group struct {
	kind  nostr.Kind
	since int64 // where the oldest version stands that is asked about
	hits  []hit
}

// Superseded implements store.Versions.
func (db *DB) Superseded(ctx context.Context, events []store.Stored) ([]bool, error) {
	superseded := make([]bool, len(events))
	groups := map[int64]*group{} // by the hash of author and kind
	since := int64(math.MaxInt64)
	for i := range events {
		e := &events[i].Event
		if !e.Kind.IsReplaceable() && !e.Kind.IsAddressable() {
			continue
		}
		h := authorKindHash(e.PubKey, e.Kind)
		if groups[h] == nil {
			groups[h] = &group{kind: e.Kind, since: e.CreatedAt}
		}
		groups[h].since = min(groups[h].since, e.CreatedAt)
		since = min(since, e.CreatedAt)
	}
	if len(groups) == 0 {
		return superseded, nil
	}
	err := db.read(ctx, func(c *conn) error {
		return c.snapshot(func() error {
			if err := c.versionHits(ctx, groups, since); err != nil {
				return err
			}
			return c.judge(ctx, groups, events, superseded)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return superseded, nil
}

// versionHits finds what there is of each group since the oldest version that is
// asked about.
func (c *conn) versionHits(ctx context.Context, groups map[int64]*group, since int64) error {
	if err := c.query(ctx, func(r row) bool {
		g := groups[r.int(0)]
		g.hits = append(g.hits, hit{r.int(1), r.int(2)})
		return true
	}, sqlVersionNewTerms, since, numberList(slices.Collect(maps.Keys(groups)))); err != nil {
		return err
	}
	for h, g := range groups {
		if err := c.query(ctx, func(r row) bool {
			g.hits = append(g.hits, hit{r.int(0), r.int(1)})
			return true
		}, sqlVersionTerms, h, g.since); err != nil {
			return err
		}
	}
	return nil
}

// judge reads the versions and compares.
func (c *conn) judge(ctx context.Context, groups map[int64]*group, events []store.Stored, superseded []bool) error {
	var seqs []int64
	for _, g := range groups {
		newest := int64(math.MinInt64)
		for _, h := range g.hits {
			newest = max(newest, h.at)
		}
		for _, h := range g.hits {
			// Of replaceable kinds one time is that of all newest.
			if g.kind.IsAddressable() || h.at == newest {
				seqs = append(seqs, h.seq)
			}
		}
	}
	// Of an event that is not kept whole the row knows the line.
	lines := make(map[store.Seq]store.Line, len(seqs))
	newest := store.Newest{}
	if err := inChunks(nil, seqs, func(args []any, seq int64) []any { return append(args, seq) }, func(args []any) error {
		var bad error
		err := c.query(ctx, func(r row) bool {
			var s store.Record
			if s, bad = scanEvent(r); bad != nil {
				return false
			}
			if p, ok := store.LineOf(&s); ok {
				lines[s.Seq] = p
				newest.Add(p, nostr.Ref{ID: s.Event.ID, CreatedAt: s.Event.CreatedAt})
			}
			return true
		}, sqlVersions, args...)
		return errors.Join(err, bad)
	}); err != nil {
		return err
	}
	for i := range events {
		s := &events[i]
		p, ok := lines[s.Seq]
		if !ok {
			p, ok = store.LineOf(&store.Record{Stored: *s})
		}
		superseded[i] = ok && newest.Supersedes(p, nostr.Ref{ID: s.Event.ID, CreatedAt: s.Event.CreatedAt})
	}
	return nil
}

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

const (
	sqlVersionTerms    = `SELECT created_at, seq FROM term WHERE h = ? AND created_at >= ?`
	sqlVersionNewTerms = `SELECT h, created_at, seq FROM term_new WHERE created_at >= ? AND h IN (SELECT value FROM json_each(?))`
	// versionColumns is what scanEvent reads, but for the content, which says
	// nothing of a version.
	versionColumns = `e.seq, e.id, e.pubkey, e.created_at, e.kind, e.first_seen, e.sig, e.tags, '', e.raw, e.tagh, e.d, e.expires`
	// sqlVersionsByD finds versions by their d tag, which others may use as well.
	sqlVersionsByD = `SELECT ` + versionColumns + ` FROM term t CROSS JOIN event e ON e.seq = t.seq
		WHERE t.h = ? AND t.created_at >= ? AND t.kind = ? ORDER BY t.created_at DESC`
)

var (
	sqlVersions = `SELECT ` + versionColumns + ` FROM event e WHERE e.seq IN (` + placeholders("?") + `)`
	sqlLines    = `SELECT seq, d FROM event WHERE d IS NOT NULL AND seq IN (` + placeholders("?") + `)`
)

const (
	// lineRows is how many events are looked at for the newest version of a line by
	// its d tag, groupRows from how many of an author and kind for each line that is.
	lineRows  = 200
	groupRows = 16
)

// group is what an author has of one kind.
type group struct {
	kind nostr.Kind
	// since has the lines that are asked about, and where the oldest version stands
	// that is.
	since map[store.Line]int64
	hits  []hit
}

func (g *group) oldest() int64 { return slices.Min(slices.Collect(maps.Values(g.since))) }

// Superseded implements store.Versions.
func (db *DB) Superseded(ctx context.Context, events []store.Stored) ([]bool, error) {
	superseded := make([]bool, len(events))
	if !slices.ContainsFunc(events, func(s store.Stored) bool { return s.Event.Kind.IsReplaceable() || s.Event.Kind.IsAddressable() }) {
		return superseded, nil
	}
	err := db.read(ctx, func(c *conn) error {
		return c.snapshot(func() error {
			lines, err := c.linesOf(events)
			if err != nil {
				return err
			}
			newest, err := c.newestOf(ctx, events, lines)
			if err != nil {
				return err
			}
			for i, l := range lines {
				e := &events[i].Event
				superseded[i] = newest.Supersedes(l, e.Ref())
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return superseded, nil
}

// linesOf returns the lines of the events that have versions, by their index.
func (c *conn) linesOf(events []store.Stored) (map[int]store.Line, error) {
	lines := make(map[int]store.Line)
	places := make(map[int64][]int) // by number, of those of which only the row knows
	for i := range events {
		s := &events[i]
		l, ok := store.LineOf(&store.Record{Stored: *s})
		if !ok {
			continue
		}
		lines[i] = l
		if s.IndexOnly && l.Kind.IsAddressable() {
			places[int64(s.Seq)] = append(places[int64(s.Seq)], i)
		}
	}
	err := inChunks(nil, slices.Collect(maps.Keys(places)), func(args []any, seq int64) []any { return append(args, seq) }, func(args []any) error {
		return c.each(func(r row) bool {
			for _, i := range places[r.int(0)] {
				l := lines[i]
				l.D = r.int(1)
				lines[i] = l
			}
			return true
		}, sqlLines, args...)
	})
	return lines, err
}

// newestOf reads the newest version of each line.
func (c *conn) newestOf(ctx context.Context, events []store.Stored, lines map[int]store.Line) (store.Newest, error) {
	groups := make(map[int64]*group) // by the hash of author and kind
	since := int64(math.MaxInt64)
	for i, l := range lines {
		at := events[i].Event.CreatedAt
		since = min(since, at)
		h := authorKindHash(l.Author, l.Kind)
		if groups[h] == nil {
			groups[h] = &group{kind: l.Kind, since: make(map[store.Line]int64)}
		}
		if oldest, found := groups[h].since[l]; !found || at < oldest {
			groups[h].since[l] = at
		}
	}
	newest := store.Newest{}
	if err := c.query(ctx, func(r row) bool {
		g := groups[r.int(0)]
		g.hits = append(g.hits, hit{r.int(1), r.int(2)})
		return true
	}, sqlVersionNewTerms, since, numberList(slices.Collect(maps.Keys(groups)))); err != nil {
		return nil, err
	}
	var seqs []int64
	for h, g := range groups {
		found, err := c.byD(ctx, h, g, newest)
		if err != nil {
			return nil, err
		}
		if !found {
			if err := c.query(ctx, func(r row) bool {
				g.hits = append(g.hits, hit{r.int(0), r.int(1)})
				return true
			}, sqlVersionTerms, h, g.oldest()); err != nil {
				return nil, err
			}
		}
		last := int64(math.MinInt64)
		for _, h := range g.hits {
			last = max(last, h.at)
		}
		for _, h := range g.hits {
			// Of replaceable kinds one time is that of all newest.
			if g.kind.IsAddressable() || h.at == last {
				seqs = append(seqs, h.seq)
			}
		}
	}
	err := inChunks(nil, seqs, func(args []any, seq int64) []any { return append(args, seq) }, func(args []any) error {
		var bad error
		err := c.query(ctx, func(r row) bool {
			var s store.Record
			if s, bad = scanEvent(r); bad != nil {
				return false
			}
			if l, ok := store.LineOf(&s); ok {
				newest.Add(l, s.Event.Ref())
			}
			return true
		}, sqlVersions, args...)
		return errors.Join(err, bad)
	})
	return newest, err
}

// byD looks for the newest version of each line among those that have its d tag,
// whoever wrote them, where the author has much more of the kind than is asked
// about. False means that it has not found out.
func (c *conn) byD(ctx context.Context, h int64, g *group, newest store.Newest) (bool, error) {
	if !g.kind.IsAddressable() {
		return false, nil
	}
	var n int64
	wide := int64(max(lineRows, groupRows*len(g.since)))
	if _, err := c.one(ctx, func(r row) { n = r.int(0) }, sqlEstimate, h, g.oldest(), int64(math.MaxInt64), wide); err != nil || n < wide {
		return false, err
	}
	for l, since := range g.since {
		if l.D == noD { // there may be no tag
			return false, nil
		}
		looked, found, over := 0, false, false
		var at int64
		var bad error
		err := c.query(ctx, func(r row) bool {
			var s store.Record
			if s, bad = scanEvent(r); bad != nil {
				return false
			}
			if over = found && s.Event.CreatedAt < at; over {
				return false
			}
			if p, ok := store.LineOf(&s); ok && p == l {
				newest.Add(l, s.Event.Ref())
				found, at = true, s.Event.CreatedAt
			}
			looked++
			return looked < lineRows
		}, sqlVersionsByD, l.D, since, int64(l.Kind))
		if err = errors.Join(err, bad); err != nil || looked == lineRows && !over {
			return false, err
		}
	}
	return true, nil
}

// noD is the hash of a d tag that is empty, or of none.
var noD = store.TagHash("d", "")

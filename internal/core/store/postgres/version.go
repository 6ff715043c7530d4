package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	sqlVersions = `SELECT v.pubkey, v.kind, v.d, v.created_at, v.id
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (author, kind, since), LATERAL (
			SELECT DISTINCT ON (pubkey, d) pubkey, kind, d, created_at, id FROM event
			WHERE author = w.author AND kind = w.kind AND created_at >= w.since
			ORDER BY pubkey, d, created_at DESC, id
		) v`
	sqlLines = `SELECT w.nr, e.d FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (created_at, seq, nr), LATERAL (
			SELECT d FROM event WHERE created_at = w.created_at AND seq = w.seq OFFSET 0
		) e`
)

// Superseded implements store.Versions.
func (db *DB) Superseded(ctx context.Context, events []store.Stored) (superseded []bool, err error) {
	err = db.read(ctx, func(q querier) error {
		superseded = make([]bool, len(events))
		lines, err := linesOf(ctx, q, events)
		if err != nil || len(lines) == 0 {
			return err
		}
		newest, err := newestOf(ctx, q, events, lines)
		if err != nil {
			return err
		}
		for i, p := range lines {
			e := &events[i].Event
			superseded[i] = newest.Supersedes(p, nostr.Ref{ID: e.ID, CreatedAt: e.CreatedAt})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return superseded, nil
}

// linesOf returns the lines of the events that have versions, by their index.
func linesOf(ctx context.Context, q querier, events []store.Stored) (map[int]store.Line, error) {
	lines := make(map[int]store.Line)
	var ats, seqs []int64
	var asked []int
	for i := range events {
		s := &events[i]
		p, ok := store.LineOf(&store.Record{Stored: *s})
		if !ok {
			continue
		}
		lines[i] = p
		if s.IndexOnly && p.Kind.IsAddressable() { // only its row knows
			ats, seqs, asked = append(ats, s.Event.CreatedAt), append(seqs, int64(s.Seq)), append(asked, i)
		}
	}
	if len(asked) == 0 {
		return lines, nil
	}
	err := each(ctx, q, func(rows pgx.Rows) error {
		var nr int
		var d *int64
		if err := rows.Scan(&nr, &d); err != nil || d == nil {
			return err
		}
		p := lines[asked[nr-1]]
		p.D = *d
		lines[asked[nr-1]] = p
		return nil
	}, sqlLines, ats, seqs)
	return lines, err
}

// newestOf reads the newest version of each line.
func newestOf(ctx context.Context, q querier, events []store.Stored, lines map[int]store.Line) (store.Newest, error) {
	type group struct {
		author int64
		kind   nostr.Kind
	}
	since := make(map[group]int64)
	for i, p := range lines {
		l := group{authorPrefix(p.Author), p.Kind}
		at := events[i].Event.CreatedAt
		if oldest, found := since[l]; !found || at < oldest {
			since[l] = at
		}
	}
	var authors, kinds, sinces []int64
	for l, at := range since {
		authors, kinds, sinces = append(authors, l.author), append(kinds, int64(l.kind)), append(sinces, at)
	}
	newest := store.Newest{}
	// As statements over the events of authors are planned for pages.
	err := eachPlanned(ctx, q, true, func(rows pgx.Rows) error {
		var pubkey, id []byte
		var kind, at int64
		var d *int64
		if err := rows.Scan(&pubkey, &kind, &d, &at, &id); err != nil {
			return err
		}
		if len(pubkey) != len(nostr.PubKey{}) || len(id) != len(nostr.ID{}) {
			return errEventRow
		}
		p := store.Line{Author: nostr.PubKey(pubkey), Kind: nostr.Kind(kind)}
		if d != nil {
			p.D = *d
		}
		newest.Add(p, nostr.Ref{ID: nostr.ID(id), CreatedAt: at})
		return nil
	}, sqlVersions, authors, kinds, sinces)
	return newest, err
}

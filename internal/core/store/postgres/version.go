package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
)

const (
	sqlVersions = `SELECT place, newest_at, newest_id FROM newest_versions($1, $2, $3, $4, $5)`
	sqlLines    = `SELECT w.nr, e.d FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (created_at, seq, nr), LATERAL (
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
			superseded[i] = newest.Supersedes(p, e.Ref())
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
	since := make(map[store.Line]int64)
	for i, p := range lines {
		at := events[i].Event.CreatedAt
		if oldest, found := since[p]; !found || at < oldest {
			since[p] = at
		}
	}
	asked := slices.Collect(maps.Keys(since))
	keys := make([][]byte, len(asked))
	numbers := [4][]int64{}
	for i := range asked {
		p := &asked[i]
		keys[i] = p.Author[:]
		for column, n := range []int64{authorPrefix(p.Author), int64(p.Kind), p.D, since[*p]} {
			numbers[column] = append(numbers[column], n)
		}
	}
	newest := store.Newest{}
	err := each(ctx, q, func(rows pgx.Rows) error {
		var place, at int64
		var id []byte
		if err := rows.Scan(&place, &at, &id); err != nil {
			return err
		}
		if len(id) != len(nostr.ID{}) {
			return errEventRow
		}
		newest.Add(asked[place-1], nostr.Ref{ID: nostr.ID(id), CreatedAt: at})
		return nil
	}, sqlVersions, keys, numbers[0], numbers[1], numbers[2], numbers[3])
	return newest, err
}

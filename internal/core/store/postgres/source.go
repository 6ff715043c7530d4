package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/store"
)

const (
	sqlSourceAuthors = `
		SELECT s.class, s.name, s.authors FROM source s
		JOIN unnest($1::integer[], $2::text[]) AS u (class, name) ON s.class = u.class AND s.name = u.name`
	sqlCountSources = `SELECT class, count(*) FROM source WHERE class = ANY($1) GROUP BY class`
	sqlAddSources   = `
		INSERT INTO source AS s (class, name, host, detail, first_seen, n, authors, next_due)
		SELECT u.class, u.name, u.host, u.detail, u.first_seen, u.n, u.authors, u.first_seen
		FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[])
			AS u (class, name, host, detail, first_seen, n, authors)
		ORDER BY u.class, u.name
		ON CONFLICT (class, name) DO UPDATE SET detail = excluded.detail, first_seen = least(s.first_seen, excluded.first_seen),
			n = s.n + excluded.n, authors = excluded.authors`
)

// sourceKey names a source.
type sourceKey struct {
	class int32
	name  string
}

func addSources(ctx context.Context, tx pgx.Tx, mentions []store.SourceMention) error {
	places := store.SourcePlaces(mentions)
	if len(places) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, sqlLock, mentioning); err != nil {
		return err
	}
	var classes []int32
	var names []string
	for _, p := range places {
		classes, names = append(classes, int32(p.Class.Rank())), append(names, p.Name)
	}
	known := make(map[sourceKey]*store.Distinct)
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		var key sourceKey
		var authors []byte
		if err := rows.Scan(&key.class, &key.name, &authors); err != nil {
			return err
		}
		var err error
		known[key], err = store.ParseDistinct(authors)
		return err
	}, sqlSourceAuthors, classes, names); err != nil {
		return err
	}
	have := make(map[int32]int64)
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		var class int32
		var n int64
		err := rows.Scan(&class, &n)
		have[class] = n
		return err
	}, sqlCountSources, classes); err != nil {
		return err
	}
	classes, names = nil, nil
	var hosts, details []string
	var firsts, ns []int64
	var authors [][]byte
	for _, p := range places {
		class := int32(p.Class.Rank())
		switch before := known[sourceKey{class, p.Name}]; {
		case before != nil:
			p.Authors.Merge(before)
		case have[class] >= store.MaxSources:
			continue
		default:
			have[class]++
		}
		classes, names, hosts, details = append(classes, class), append(names, p.Name), append(hosts, p.Host), append(details, p.Detail)
		firsts, ns, authors = append(firsts, p.First), append(ns, p.N), append(authors, p.Authors.AppendTo([]byte{}))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sqlAddSources, classes, names, hosts, details, firsts, ns, authors)
	return err
}

// AddSources implements store.Sources.
func (db *DB) AddSources(ctx context.Context, mentions []store.SourceMention) error {
	if err := db.write(ctx, func(tx pgx.Tx) error { return addSources(ctx, tx, mentions) }); err != nil {
		return fmt.Errorf("add sources: %w", err)
	}
	return nil
}

const sqlSourcesAgain = `UPDATE source SET next_due = $2 WHERE class = $1 AND next_due > $3`

const sqlLeaseSources = `
	WITH due AS MATERIALIZED (
		SELECT class, name, detail, authors, attempts, last_cause, last_ok, etag, next_due FROM source s
		WHERE class = $1 AND next_due <= $2 AND lease_until NOT BETWEEN $2 + 1 AND $7 AND ($3::text[] IS NULL OR name = ANY($3))
		AND NOT EXISTS (SELECT 1 FROM ban b WHERE b.target = s.host)
		ORDER BY next_due, name LIMIT $4
		FOR UPDATE OF s SKIP LOCKED
	), leased AS (
		UPDATE source s SET lease_owner = $5, lease_until = $6 FROM due WHERE s.class = due.class AND s.name = due.name
	)
	SELECT name, detail, authors, attempts, last_cause, last_ok, etag FROM due ORDER BY next_due, name`

// DueSources implements store.Sources.
func (db *DB) DueSources(ctx context.Context, class hints.Class, names []string, due store.Due) (sources []store.Source, err error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	if len(names) == 0 {
		names = nil // any
	}
	err = db.write(ctx, func(tx pgx.Tx) error {
		sources = nil
		if _, err := tx.Exec(ctx, sqlSourcesAgain, int32(class.Rank()), due.Now, due.Now+store.MaxWait); err != nil {
			return err
		}
		return each(ctx, tx, func(rows pgx.Rows) error {
			s := store.Source{Class: class}
			var sketch []byte
			if err := rows.Scan(&s.Name, &s.Detail, &sketch, &s.Attempts, &s.LastCause, &s.LastOK, &s.ETag); err != nil {
				return err
			}
			authors, err := store.ParseDistinct(sketch)
			if err != nil {
				return err
			}
			s.Authors = authors.Count()
			sources = append(sources, s)
			return nil
		}, sqlLeaseSources, int32(class.Rank()), due.Now, names, int64(due.Limit), due.Owner, due.Until, due.Now+store.MaxLease)
	})
	if err != nil {
		return nil, fmt.Errorf("lease sources: %w", err)
	}
	return sources, nil
}

const sqlSaveSources = `
	WITH u AS MATERIALIZED (
		SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[])
			AS u (class, name, owner, at, outcome, cause, etag, next_due)
	), locked AS MATERIALIZED (
		SELECT s.class, s.name FROM source s JOIN u ON u.class = s.class AND u.name = s.name AND u.owner = s.lease_owner
		ORDER BY s.class, s.name FOR UPDATE OF s
	)
	UPDATE source s SET next_due = u.next_due, lease_owner = '', lease_until = 0,
		attempts = CASE u.outcome WHEN 'ok' THEN 0 WHEN 'ours' THEN s.attempts ELSE s.attempts + 1 END,
		last_cause = CASE u.outcome WHEN 'ours' THEN s.last_cause ELSE u.cause END,
		last_ok = CASE u.outcome WHEN 'ok' THEN u.at ELSE s.last_ok END,
		etag = CASE u.outcome WHEN 'ok' THEN u.etag ELSE s.etag END
	FROM u JOIN locked ON locked.class = u.class AND locked.name = u.name WHERE s.class = u.class AND s.name = u.name`

// SaveSources implements store.Sources.
func (db *DB) SaveSources(ctx context.Context, results []store.SourceResult, mentions []store.Mention) (added int, err error) {
	var classes []int32
	var names, owners, outcomes, causes, etags []string
	var ats, dues []int64
	for _, r := range results {
		classes, names, owners = append(classes, int32(r.Class.Rank())), append(names, r.Name), append(owners, r.Owner)
		outcomes, causes, etags = append(outcomes, r.Outcome()), append(causes, string(r.Cause)), append(etags, store.ETag(r.ETag))
		ats, dues = append(ats, r.At), append(dues, r.NextDue)
	}
	err = db.write(ctx, func(tx pgx.Tx) (err error) {
		// First what needs the lock, in the order of all who take it.
		if added, err = addMentions(ctx, tx, mentions); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, sqlSaveSources, classes, names, owners, ats, outcomes, causes, etags, dues)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("save sources: %w", err)
	}
	return added, nil
}

const (
	sqlNewDocuments = `SELECT id, type, data FROM document WHERE NOT searched ORDER BY id LIMIT $1`
	sqlSetSearched  = `
		WITH locked AS MATERIALIZED (SELECT id FROM document WHERE id = ANY($1) ORDER BY id FOR UPDATE)
		UPDATE document d SET searched = true FROM locked WHERE d.id = locked.id`
)

// NewDocuments implements store.Sources.
func (db *DB) NewDocuments(ctx context.Context, limit int) (documents []store.DocumentAt, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(q querier) error {
		documents = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var one store.DocumentAt
			var id []byte
			err := rows.Scan(&id, &one.Type, &one.Data)
			copy(one.ID[:], id)
			documents = append(documents, one)
			return err
		}, sqlNewDocuments, int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read new documents: %w", err)
	}
	return documents, nil
}

// SaveSearched implements store.Sources.
func (db *DB) SaveSearched(ctx context.Context, ids []store.DocumentID, mentions []store.Mention) (added int, err error) {
	list := make([][]byte, len(ids))
	for i, id := range ids {
		list[i] = slices.Clone(id[:])
	}
	err = db.write(ctx, func(tx pgx.Tx) (err error) {
		if added, err = addMentions(ctx, tx, mentions); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, sqlSetSearched, list)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("save what documents name: %w", err)
	}
	return added, nil
}

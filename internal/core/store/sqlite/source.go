package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr/hints"
	"bigbrotr/internal/core/store"
)

const (
	sqlSourceAuthors = `SELECT authors FROM source WHERE class = ? AND name = ?`
	sqlCountSources  = `SELECT count(*) FROM source WHERE class = ?`
	sqlAddSource     = `
		INSERT INTO source (class, name, host, detail, first_seen, n, authors, next_due) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?5)
		ON CONFLICT (class, name) DO UPDATE SET detail = excluded.detail, first_seen = min(first_seen, excluded.first_seen),
			n = n + excluded.n, authors = excluded.authors`
)

func (w *writer) addSources(ctx context.Context, mentions []store.SourceMention) error {
	room := make(map[hints.Class]int64)
	for _, p := range store.SourcePlaces(mentions) {
		if err := ctx.Err(); err != nil {
			return err
		}
		class := int64(p.Class.Rank())
		if _, counted := room[p.Class]; !counted {
			if _, err := w.c.first(func(r row) { room[p.Class] = store.MaxSources - r.int(0) }, sqlCountSources, class); err != nil {
				return err
			}
		}
		var before *store.Distinct
		var bad error
		known, err := w.c.first(func(r row) { before, bad = store.ParseDistinct(r.blob(0)) }, sqlSourceAuthors, class, p.Name)
		if err := errors.Join(err, bad); err != nil {
			return err
		}
		switch {
		case known:
			p.Authors.Merge(before)
		case room[p.Class] <= 0:
			continue
		default:
			room[p.Class]--
		}
		if _, err := w.c.exec(sqlAddSource, class, p.Name, p.Host, p.Detail, p.First, p.N, p.Authors.AppendTo([]byte{})); err != nil {
			return err
		}
	}
	return nil
}

// AddSources implements store.Sources.
func (db *DB) AddSources(ctx context.Context, mentions []store.SourceMention) error {
	if err := db.write(ctx, func(w *writer) error { return w.addSources(ctx, mentions) }); err != nil {
		return fmt.Errorf("add sources: %w", err)
	}
	return nil
}

const (
	sqlSourcesAgain = `UPDATE source SET next_due = ?2 WHERE class = ?1 AND next_due > ?3`
	sqlDueSources   = `
		SELECT name, detail, authors, attempts, last_cause, last_ok, etag FROM source INDEXED BY source_due
		WHERE class = ?1 AND next_due <= ?2 AND lease_until NOT BETWEEN ?2 + 1 AND ?5 AND (?3 = '' OR name IN (SELECT value FROM json_each(?3)))
		AND NOT EXISTS (SELECT 1 FROM ban WHERE target = source.host)
		ORDER BY next_due, name LIMIT ?4`
	sqlLeaseSource = `UPDATE source SET lease_owner = ?, lease_until = ? WHERE class = ? AND name = ?`
)

// DueSources implements store.Sources.
func (db *DB) DueSources(ctx context.Context, class hints.Class, names []string, due store.Due) (sources []store.Source, err error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	only := ""
	if len(names) > 0 {
		text, err := json.Marshal(names)
		if err != nil {
			return nil, err
		}
		only = string(text)
	}
	err = db.write(ctx, func(w *writer) error {
		sources = nil
		if _, err := w.c.exec(sqlSourcesAgain, int64(class.Rank()), due.Now, due.Now+store.MaxWait); err != nil {
			return err
		}
		var bad error
		if err := w.c.query(ctx, func(r row) bool {
			var authors *store.Distinct
			if authors, bad = store.ParseDistinct(r.blob(2)); bad != nil {
				return false
			}
			sources = append(sources, store.Source{
				Class: class, Name: r.text(0), Detail: r.text(1), Authors: authors.Count(), Attempts: int(r.int(3)),
				LastCause: dial.Cause(r.text(4)), LastOK: r.int(5), ETag: r.text(6),
			})
			return true
		}, sqlDueSources, int64(class.Rank()), due.Now, only, int64(due.Limit), due.Now+store.MaxLease); err != nil || bad != nil {
			return errors.Join(err, bad)
		}
		for _, s := range sources {
			if _, err := w.c.exec(sqlLeaseSource, due.Owner, due.Until, int64(class.Rank()), s.Name); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("lease sources: %w", err)
	}
	return sources, nil
}

const sqlSaveSource = `
	UPDATE source SET next_due = ?1, lease_owner = '', lease_until = 0,
		attempts = CASE ?2 WHEN 'ok' THEN 0 WHEN 'ours' THEN attempts ELSE attempts + 1 END,
		last_cause = CASE ?2 WHEN 'ours' THEN last_cause ELSE ?3 END,
		last_ok = CASE ?2 WHEN 'ok' THEN ?4 ELSE last_ok END,
		etag = CASE ?2 WHEN 'ok' THEN ?5 ELSE etag END
	WHERE class = ?6 AND name = ?7 AND lease_owner = ?8`

// SaveSources implements store.Sources.
func (db *DB) SaveSources(ctx context.Context, results []store.SourceResult, mentions []store.Mention) (added int, err error) {
	err = db.write(ctx, func(w *writer) (err error) {
		for _, r := range results {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.c.exec(sqlSaveSource, r.NextDue, r.Outcome(), string(r.Cause), r.At, store.ETag(r.ETag),
				int64(r.Class.Rank()), r.Name, r.Owner); err != nil {
				return err
			}
		}
		added, err = w.addMentions(ctx, mentions)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("save sources: %w", err)
	}
	return added, nil
}

const (
	sqlNewDocuments = `SELECT id, type, data FROM document INDEXED BY document_new WHERE searched = 0 ORDER BY id LIMIT ?`
	sqlSetSearched  = `UPDATE document SET searched = 1 WHERE id = ?`
)

// NewDocuments implements store.Sources.
func (db *DB) NewDocuments(ctx context.Context, limit int) (documents []store.DocumentAt, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(c *conn) error {
		documents = nil
		return c.query(ctx, func(r row) bool {
			one := store.DocumentAt{Document: store.Document{Type: r.text(1), Data: r.blob(2)}}
			copy(one.ID[:], r.blob(0))
			documents = append(documents, one)
			return true
		}, sqlNewDocuments, int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read new documents: %w", err)
	}
	return documents, nil
}

// SaveSearched implements store.Sources.
func (db *DB) SaveSearched(ctx context.Context, ids []store.DocumentID, mentions []store.Mention) (added int, err error) {
	err = db.write(ctx, func(w *writer) (err error) {
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.c.exec(sqlSetSearched, id[:]); err != nil {
				return err
			}
		}
		added, err = w.addMentions(ctx, mentions)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("save what documents name: %w", err)
	}
	return added, nil
}

package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

// The settings that say up to where the archive is in the index of words, and
// that searches are answered.
const (
	settingTexts  = "texts"
	settingSearch = "search"
)

// TextsAt implements store.Texts.
func (db *DB) TextsAt(ctx context.Context) (at store.Cursor, complete bool, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		if at, err = textsAt(ctx, q, sqlSetting); err == nil {
			complete, err = searchable(ctx, q)
		}
		return err
	})
	if err != nil {
		return "", false, fmt.Errorf("read the index of words: %w", err)
	}
	return at, complete, nil
}

func textsAt(ctx context.Context, q querier, sql string) (at store.Cursor, err error) {
	_, err = found(q.QueryRow(ctx, sql, settingTexts).Scan(&at))
	return at, err
}

func searchable(ctx context.Context, q querier) (bool, error) {
	var value string
	return found(q.QueryRow(ctx, sqlSetting, settingSearch).Scan(&value))
}

const (
	sqlLockSetting = `SELECT value FROM setting WHERE name = $1 FOR UPDATE`
	sqlAddTexts    = `
		INSERT INTO event_text (created_at, seq, words)
		SELECT u.created_at, u.seq, array_to_tsvector(string_to_array(u.words, ' '))
		FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS u (created_at, seq, words)
		WHERE EXISTS (SELECT 1 FROM event e WHERE e.created_at = u.created_at AND e.seq = u.seq)
		ORDER BY u.created_at, u.seq
		ON CONFLICT DO NOTHING`
	sqlDeleteTexts = `DELETE FROM event_text t USING unnest($1::bigint[], $2::bigint[]) AS u (created_at, seq) WHERE t.created_at = u.created_at AND t.seq = u.seq`
	sqlDropTexts   = `DELETE FROM event_text WHERE (created_at, seq) IN (SELECT created_at, seq FROM event_text ORDER BY created_at, seq LIMIT $1)`
)

// SaveTexts implements store.Texts.
func (db *DB) SaveTexts(ctx context.Context, batch store.TextBatch) error {
	var createdAts, seqs, goneAts, gone []int64
	var words []string
	for _, t := range batch.Add {
		if len(t.Words) > 0 {
			createdAts, seqs, words = append(createdAts, t.CreatedAt), append(seqs, int64(t.Seq)), append(words, strings.Join(t.Words, " "))
		}
	}
	for _, t := range batch.Remove {
		goneAts, gone = append(goneAts, t.CreatedAt), append(gone, int64(t.Seq))
	}
	err := db.write(ctx, func(tx pgx.Tx) error {
		// Nothing is purged meanwhile.
		if _, err := tx.Exec(ctx, sqlShareLock, vanishing); err != nil {
			return err
		}
		keep, err := readKeep(ctx, tx)
		if err != nil {
			return err
		}
		if keep.Mode == store.KeepIndex {
			return store.ErrNoSearch
		}
		if _, err := tx.Exec(ctx, sqlAddSetting, settingTexts, ""); err != nil {
			return err
		}
		if at, err := textsAt(ctx, tx, sqlLockSetting); err != nil || at != batch.From {
			return err
		}
		var b pgx.Batch
		b.Queue(sqlDeleteTexts, goneAts, gone)
		b.Queue(sqlAddTexts, createdAts, seqs, words)
		b.Queue(sqlPutSetting, settingTexts, string(batch.To))
		if batch.Complete {
			b.Queue(sqlPutSetting, settingSearch, "on")
		}
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("index words: %w", err)
	}
	return nil
}

// DropTexts implements store.Texts.
func (db *DB) DropTexts(ctx context.Context) error {
	err := db.write(ctx, func(tx pgx.Tx) error {
		for _, name := range []string{settingTexts, settingSearch} {
			if _, err := tx.Exec(ctx, sqlDropSetting, name); err != nil {
				return err
			}
		}
		return nil
	})
	for left := int64(dropSlice); err == nil && left == dropSlice; {
		left, err = db.changes(ctx, sqlDropTexts, int64(dropSlice))
	}
	if err != nil {
		return fmt.Errorf("drop the index of words: %w", err)
	}
	return nil
}

// dropSlice is how many rows one transaction drops from the index of words.
const dropSlice = 5000

// Both have the arguments of every search and then the query. Whether the newest
// are tried one by one or those with rare words are collected is left to the
// planner, who knows how frequent they are.
const (
	// So many more are looked at as there are in the last second, of which some
	// were on the page before.
	sqlByWords = `WITH hit AS MATERIALIZED (
			SELECT created_at, seq FROM event_text
			WHERE words @@ $5::tsquery AND created_at >= $1 AND created_at <= $2
			ORDER BY created_at DESC
			FETCH FIRST ($4::integer + (SELECT count(*) FROM event_text WHERE created_at = $2 AND words @@ $5::tsquery)) ROWS WITH TIES
		)
		SELECT ` + eventColumns + ` FROM events_at(ARRAY(SELECT created_at FROM hit), ARRAY(SELECT seq FROM hit)) e
		WHERE e.created_at < $2 OR e.id > $3
		ORDER BY e.created_at DESC, e.id LIMIT $4::integer`
	// With conditions by which other indexes find events; each may be null.
	sqlByWordsAnd = `SELECT ` + eventColumns + ` FROM event_text t JOIN event e ON e.created_at = t.created_at AND e.seq = t.seq
		WHERE t.words @@ $5::tsquery AND t.created_at >= $1 AND t.created_at <= $2 AND (t.created_at < $2 OR e.id > $3)
			AND ($6::bigint[] IS NULL OR e.author = ANY ($6))
			AND ($7::bigint[] IS NULL OR e.tagh && $7) AND ($8::bigint[] IS NULL OR e.tagh && $8) AND ($9::bigint[] IS NULL OR e.tagh && $9)
		ORDER BY t.created_at DESC, e.id LIMIT $4`
)

// tsquery returns the query for events that have all words. They have no
// character that means anything in one.
func tsquery(words []string) string { return "'" + strings.Join(words, "' & '") + "'" }

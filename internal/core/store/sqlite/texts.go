package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"bigbrotr/internal/core/store"
)

// The settings that say up to where the archive is in the index of words, and
// that searches are answered.
const (
	settingTexts  = "texts"
	settingSearch = "search"
)

// The parts of the number under which an event is in the index of words: its
// time, and as much of its own number as fits. Events of other times are not in
// it, nor those whose numbers are larger.
const (
	textSeqBits = 28
	maxTextSeq  = 1<<textSeqBits - 1
	maxTextTime = 1<<(63-textSeqBits) - 1
)

// textID returns the number, false for an event that is not to be in the index.
func textID(at, seq int64) (int64, bool) {
	return at<<textSeqBits | seq, at >= 0 && at <= maxTextTime && seq <= maxTextSeq
}

// TextsAt implements store.Texts.
func (db *DB) TextsAt(ctx context.Context) (at store.Cursor, complete bool, err error) {
	err = db.read(ctx, func(c *conn) (err error) {
		if _, err = c.one(ctx, func(r row) { at = store.Cursor(r.text(0)) }, sqlSetting, settingTexts); err == nil {
			complete, err = c.searchable(ctx)
		}
		return err
	})
	if err != nil {
		return "", false, fmt.Errorf("read the index of words: %w", err)
	}
	return at, complete, nil
}

func (c *conn) searchable(ctx context.Context) (bool, error) {
	return c.one(ctx, func(row) {}, sqlSetting, settingSearch)
}

const (
	sqlHasEvent   = `SELECT 1 FROM event WHERE seq = ?`
	sqlHasText    = `SELECT 1 FROM event_text_docsize WHERE id = ?`
	sqlAddText    = `INSERT INTO event_text (rowid, words) VALUES (?, ?)`
	sqlDeleteText = `DELETE FROM event_text WHERE rowid = ?`
	sqlDropTexts  = `INSERT INTO event_text (event_text) VALUES ('delete-all')`
)

// SaveTexts implements store.Texts.
func (db *DB) SaveTexts(ctx context.Context, batch store.TextBatch) error {
	if err := db.write(ctx, func(w *writer) error { return w.saveTexts(ctx, batch) }); err != nil {
		return fmt.Errorf("index words: %w", err)
	}
	return nil
}

func (w *writer) saveTexts(ctx context.Context, batch store.TextBatch) error {
	if w.keep.Mode == store.KeepIndex {
		return store.ErrNoSearch
	}
	at := ""
	if _, err := w.c.first(func(r row) { at = r.text(0) }, sqlSetting, settingTexts); err != nil || at != string(batch.From) {
		return err
	}
	for _, t := range batch.Remove {
		if err := w.dropText(t.CreatedAt, int64(t.Seq)); err != nil {
			return err
		}
	}
	// In the order of their numbers: the index would else be written once for
	// each that is lower than the one before.
	texts := slices.Clone(batch.Add)
	slices.SortFunc(texts, func(a, b store.EventWords) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.Seq, b.Seq))
	})
	for _, t := range texts {
		if err := ctx.Err(); err != nil {
			return err
		}
		id, fits := textID(t.CreatedAt, int64(t.Seq))
		archived, err := w.c.first(func(row) {}, sqlHasEvent, int64(t.Seq))
		if err != nil {
			return err
		}
		known, err := w.c.first(func(row) {}, sqlHasText, id)
		if err != nil {
			return err
		}
		if !fits || !archived || known || len(t.Words) == 0 {
			continue
		}
		if _, err := w.c.exec(sqlAddText, id, strings.Join(t.Words, " ")); err != nil {
			return err
		}
	}
	_, err := w.c.exec(sqlSetSetting, settingTexts, string(batch.To))
	if err == nil && batch.Complete {
		_, err = w.c.exec(sqlSetSetting, settingSearch, "on")
	}
	return err
}

// dropText takes an event out of the index of words, if it is there.
func (w *writer) dropText(at, seq int64) error {
	id, fits := textID(at, seq)
	if !fits {
		return nil
	}
	_, err := w.c.exec(sqlDeleteText, id)
	return err
}

// DropTexts implements store.Texts.
func (db *DB) DropTexts(ctx context.Context) error {
	if err := db.write(ctx, func(w *writer) error { return w.dropTexts() }); err != nil {
		return fmt.Errorf("drop the index of words: %w", err)
	}
	return nil
}

func (w *writer) dropTexts() error {
	if _, err := w.c.exec(sqlDropTexts); err != nil {
		return err
	}
	for _, name := range []string{settingTexts, settingSearch} {
		if _, err := w.c.exec(sqlDeleteSetting, name); err != nil {
			return err
		}
	}
	return nil
}

// searchWords returns what a search asks for.
func (c *conn) searchWords(ctx context.Context, search string) ([]string, error) {
	on, err := c.searchable(ctx)
	if err == nil && !on {
		err = store.ErrNoSearch
	}
	if err != nil {
		return nil, err
	}
	return store.SearchWords(search)
}

// sqlByWords reads the index of words as the other statements read theirs.
const sqlByWords = `SELECT rowid >> 28, rowid & 268435455 FROM event_text
	WHERE event_text MATCH ?5 AND rowid >= ?1 << 28 AND rowid < (?2 << 28) + min(?3, 268435456) ORDER BY rowid DESC LIMIT ?4`

// byWords finds the events that have all words, newest first.
func (c *conn) byWords(ctx context.Context, wanted []string, since, until int64, chunk int64) (*merged, error) {
	since, until = max(since, 0), min(until, maxTextTime)
	if since > until {
		return c.merge(ctx, nil)
	}
	s := &stream{
		sql: sqlByWords, key: []any{`"` + strings.Join(wanted, `" AND "`) + `"`}, since: since, last: hit{until, math.MaxInt64}, chunk: chunk,
	}
	return c.merge(ctx, []*stream{s})
}

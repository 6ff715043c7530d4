package postgres

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// Rows of relays and candidates are locked in the order of their keys, as
// everywhere.
const (
	sqlBan = `
		INSERT INTO ban (target, at, reason) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
		ON CONFLICT (target) DO UPDATE SET at = excluded.at, reason = excluded.reason`
	sqlBanRelays = `
		WITH locked AS MATERIALIZED (
			SELECT id FROM relay WHERE (url = ANY($1) OR host = ANY($1)) AND kept_out <> 'banned' ORDER BY id FOR UPDATE)
		UPDATE relay r SET kept_out = 'banned' FROM locked WHERE r.id = locked.id`
	sqlBanCandidates = `
		WITH locked AS MATERIALIZED (SELECT url FROM candidate WHERE url = ANY($1) OR host = ANY($1) ORDER BY url FOR UPDATE)
		UPDATE candidate c SET kept_out = 'banned' FROM locked WHERE c.url = locked.url`
)

// Ban implements store.Curation. Under the lock of mentions no candidate or
// relay is made meanwhile that would miss the ban.
func (db *DB) Ban(ctx context.Context, bans []store.Ban) error {
	byTarget := make(map[string]int, len(bans))
	var targets, reasons []string
	var ats []int64
	for _, b := range bans {
		i, again := byTarget[b.Target]
		if !again {
			i = len(targets)
			byTarget[b.Target] = i
			targets, ats, reasons = append(targets, b.Target), append(ats, 0), append(reasons, "")
		}
		ats[i], reasons[i] = b.At, store.Reason(b.Reason)
	}
	err := db.write(ctx, func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(sqlLock, mentioning)
		b.Queue(sqlBan, targets, ats, reasons)
		b.Queue(sqlBanRelays, targets)
		b.Queue(sqlBanCandidates, targets)
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("ban: %w", err)
	}
	return nil
}

const (
	sqlLiftBans   = `DELETE FROM ban WHERE target = ANY($1) RETURNING target`
	sqlLiftRelays = `
		WITH locked AS MATERIALIZED (
			SELECT r.id FROM relay r WHERE (r.url = ANY($1) OR r.host = ANY($1)) AND r.kept_out = 'banned'
			AND NOT EXISTS (SELECT 1 FROM ban b WHERE b.target IN (r.url, r.host)) ORDER BY r.id FOR UPDATE)
		UPDATE relay r SET kept_out = '' FROM locked WHERE r.id = locked.id`
	sqlLiftCandidates = `
		WITH locked AS MATERIALIZED (
			SELECT c.url FROM candidate c WHERE (c.url = ANY($1) OR c.host = ANY($1)) AND c.kept_out = 'banned'
			AND NOT EXISTS (SELECT 1 FROM ban b WHERE b.target IN (c.url, c.host)) ORDER BY c.url FOR UPDATE)
		UPDATE candidate c SET kept_out = '' FROM locked WHERE c.url = locked.url`
)

// LiftBans implements store.Curation.
func (db *DB) LiftBans(ctx context.Context, targets []string) (lifted []string, err error) {
	err = db.write(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlLock, mentioning); err != nil {
			return err
		}
		gone := make(map[string]bool)
		if err := each(ctx, tx, func(rows pgx.Rows) error {
			var target string
			err := rows.Scan(&target)
			gone[target] = true
			return err
		}, sqlLiftBans, targets); err != nil {
			return err
		}
		lifted = inOrder(targets, gone)
		if _, err := tx.Exec(ctx, sqlLiftRelays, lifted); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlLiftCandidates, lifted)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lift bans: %w", err)
	}
	return lifted, nil
}

// inOrder returns those of a list that are in a set, each once, in the order of
// the list, and takes them out of the set.
func inOrder(list []string, in map[string]bool) []string {
	var out []string
	for _, s := range list {
		if in[s] {
			out = append(out, s)
			delete(in, s)
		}
	}
	return out
}

const sqlScanBans = `SELECT target, at, reason FROM ban WHERE target > $1 ORDER BY target LIMIT $2`

// ScanBans implements store.Curation.
func (db *DB) ScanBans(ctx context.Context) iter.Seq2[store.Ban, error] {
	return store.Pages(scanRelays, func(after string) (page []store.Ban, next string, err error) {
		err = db.read(ctx, func(q querier) error {
			page = nil
			return each(ctx, q, func(rows pgx.Rows) error {
				var b store.Ban
				err := rows.Scan(&b.Target, &b.At, &b.Reason)
				page, next = append(page, b), b.Target
				return err
			}, sqlScanBans, after, int64(scanRelays))
		})
		if err != nil {
			return nil, "", fmt.Errorf("scan bans: %w", err)
		}
		return page, next, nil
	})
}

const (
	sqlRemoveRelays = `
		WITH locked AS MATERIALIZED (SELECT id FROM relay WHERE url = ANY($1) AND kept_out = '' ORDER BY id FOR UPDATE)
		UPDATE relay r SET kept_out = 'removed' FROM locked WHERE r.id = locked.id RETURNING r.url`
	sqlRemoveCandidates = `
		WITH locked AS MATERIALIZED (SELECT url FROM candidate WHERE url = ANY($1) AND kept_out = '' ORDER BY url FOR UPDATE)
		DELETE FROM candidate c USING locked WHERE c.url = locked.url RETURNING c.url`
)

// RemoveURLs implements store.Curation.
func (db *DB) RemoveURLs(ctx context.Context, urls []relay.URL) ([]relay.URL, error) {
	removed, err := db.touch(ctx, urls, func(tx pgx.Tx, texts []string, touch func(pgx.Rows) error) error {
		if _, err := tx.Exec(ctx, sqlLock, mentioning); err != nil {
			return err
		}
		if err := each(ctx, tx, touch, sqlRemoveRelays, texts); err != nil {
			return err
		}
		return each(ctx, tx, touch, sqlRemoveCandidates, texts)
	})
	if err != nil {
		return nil, fmt.Errorf("remove relays: %w", err)
	}
	return removed, nil
}

// touch does something to URLs in a transaction and returns those of which it
// read that rows were changed.
func (db *DB) touch(ctx context.Context, urls []relay.URL, do func(tx pgx.Tx, texts []string, touch func(pgx.Rows) error) error) (touched []relay.URL, err error) {
	texts := make([]string, len(urls))
	for i, u := range urls {
		texts[i] = u.String()
	}
	err = db.write(ctx, func(tx pgx.Tx) error {
		changed := make(map[string]bool)
		if err := do(tx, texts, func(rows pgx.Rows) error {
			var url string
			err := rows.Scan(&url)
			changed[url] = true
			return err
		}); err != nil {
			return err
		}
		touched = nil
		for _, u := range urls {
			if changed[u.String()] {
				touched = append(touched, u)
				delete(changed, u.String())
			}
		}
		return nil
	})
	return touched, err
}

const (
	sqlRecheckRelays = `
		WITH locked AS MATERIALIZED (SELECT id FROM relay WHERE url = ANY($1) AND kept_out = '' ORDER BY id FOR UPDATE)
		UPDATE relay r SET alias_of = 0 FROM locked WHERE r.id = locked.id RETURNING r.url`
	sqlRecheckWork = `
		WITH locked AS MATERIALIZED (
			SELECT service, relay_id FROM work WHERE relay_id IN (SELECT id FROM relay WHERE url = ANY($1))
			AND due_at > $2 ORDER BY service, relay_id FOR UPDATE)
		UPDATE work w SET due_at = $2 FROM locked WHERE w.service = locked.service AND w.relay_id = locked.relay_id`
	sqlRecheckCandidates = `
		WITH locked AS MATERIALIZED (SELECT url FROM candidate WHERE url = ANY($1) AND kept_out = '' ORDER BY url FOR UPDATE)
		UPDATE candidate c SET next_due = least(c.next_due, $2) FROM locked WHERE c.url = locked.url RETURNING c.url`
)

// Recheck implements store.Curation.
func (db *DB) Recheck(ctx context.Context, urls []relay.URL, at int64) ([]relay.URL, error) {
	found, err := db.touch(ctx, urls, func(tx pgx.Tx, texts []string, touch func(pgx.Rows) error) error {
		if err := each(ctx, tx, touch, sqlRecheckRelays, texts); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqlRecheckWork, texts, at); err != nil {
			return err
		}
		return each(ctx, tx, touch, sqlRecheckCandidates, texts, at)
	})
	if err != nil {
		return nil, fmt.Errorf("recheck relays: %w", err)
	}
	return found, nil
}

// candidateColumns is what scanCandidate reads, in order.
const candidateColumns = `url, first_seen, attempts, next_due, last_cause, class, authors, kept_out`

func scanCandidate(rows pgx.Rows) (c store.Candidate, err error) {
	var url string
	var class int64
	if err := rows.Scan(&url, &c.FirstSeen, &c.Attempts, &c.NextDue, &c.LastCause, &class, &c.DistinctAuthors, &c.KeptOut); err != nil {
		return c, err
	}
	c.Class = store.ClassOf(class)
	c.URL, err = store.ParseURL(url)
	return c, err
}

const sqlScanCandidates = `SELECT ` + candidateColumns + ` FROM candidate WHERE url > $1 ORDER BY url LIMIT $2`

// ScanCandidates implements store.Curation.
func (db *DB) ScanCandidates(ctx context.Context) iter.Seq2[store.Candidate, error] {
	return store.Pages(scanRelays, func(after string) (page []store.Candidate, next string, err error) {
		err = db.read(ctx, func(q querier) error {
			page = nil
			return each(ctx, q, func(rows pgx.Rows) error {
				c, err := scanCandidate(rows)
				page, next = append(page, c), c.URL.String()
				return err
			}, sqlScanCandidates, after, int64(scanRelays))
		})
		if err != nil {
			return nil, "", fmt.Errorf("scan candidates: %w", err)
		}
		return page, next, nil
	})
}

const sqlProvenance = `SELECT class, first_seen, last_seen, n, authors FROM mention WHERE url = $1 ORDER BY class`

// Mentions implements store.Curation.
func (db *DB) Mentions(ctx context.Context, url relay.URL) (list []store.Provenance, err error) {
	err = db.read(ctx, func(q querier) error {
		list = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var p store.Provenance
			var class int64
			var sketch []byte
			if err := rows.Scan(&class, &p.First, &p.Last, &p.Count, &sketch); err != nil {
				return err
			}
			authors, err := store.ParseDistinct(sketch)
			if err != nil {
				return err
			}
			p.Class, p.Authors = store.ClassOf(class), authors.Count()
			list = append(list, p)
			return nil
		}, sqlProvenance, url.String())
	})
	if err != nil {
		return nil, fmt.Errorf("read mentions: %w", err)
	}
	return list, nil
}

const sqlClassTotals = `
	WITH strongest AS (SELECT class, count(*) AS n FROM (SELECT min(class) AS class FROM mention GROUP BY url) AS u GROUP BY class)
	SELECT m.class, count(*), coalesce((SELECT s.n FROM strongest s WHERE s.class = m.class), 0)
	FROM mention m GROUP BY m.class ORDER BY m.class`

// ClassTotals implements store.Curation.
func (db *DB) ClassTotals(ctx context.Context) (list []store.ClassTotal, err error) {
	err = db.read(ctx, func(q querier) error {
		list = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var t store.ClassTotal
			var class int64
			err := rows.Scan(&class, &t.URLs, &t.Strongest)
			t.Class = store.ClassOf(class)
			list = append(list, t)
			return err
		}, sqlClassTotals)
	})
	if err != nil {
		return nil, fmt.Errorf("count mentions: %w", err)
	}
	return list, nil
}

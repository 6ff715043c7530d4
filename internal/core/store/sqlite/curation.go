package sqlite

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

const (
	sqlBan           = `INSERT OR REPLACE INTO ban (target, at, reason) VALUES (?, ?, ?)`
	sqlBanRelays     = `UPDATE relay SET kept_out = 'banned' WHERE (url = ?1 OR host = ?1) AND kept_out <> 'banned'`
	sqlBanCandidates = `UPDATE candidate SET kept_out = 'banned' WHERE url = ?1 OR host = ?1`
)

// Ban implements store.Curation.
func (db *DB) Ban(ctx context.Context, bans []store.Ban) error {
	err := db.write(ctx, func(w *writer) error {
		for _, b := range bans {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.c.exec(sqlBan, b.Target, b.At, store.Reason(b.Reason)); err != nil {
				return err
			}
			if _, err := w.c.exec(sqlBanRelays, b.Target); err != nil {
				return err
			}
			if _, err := w.c.exec(sqlBanCandidates, b.Target); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("ban: %w", err)
	}
	return nil
}

const (
	sqlLiftBan    = `DELETE FROM ban WHERE target = ?`
	sqlLiftRelays = `
		UPDATE relay SET kept_out = '' WHERE (url = ?1 OR host = ?1) AND kept_out = 'banned'
		AND NOT EXISTS (SELECT 1 FROM ban WHERE target IN (relay.url, relay.host))`
	sqlLiftCandidates = `
		UPDATE candidate SET kept_out = '' WHERE (url = ?1 OR host = ?1) AND kept_out = 'banned'
		AND NOT EXISTS (SELECT 1 FROM ban WHERE target IN (candidate.url, candidate.host))`
)

// LiftBans implements store.Curation.
func (db *DB) LiftBans(ctx context.Context, targets []string) (lifted []string, err error) {
	err = db.write(ctx, func(w *writer) error {
		lifted = nil
		for _, target := range targets {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := w.c.exec(sqlLiftBan, target)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			lifted = append(lifted, target)
			if _, err := w.c.exec(sqlLiftRelays, target); err != nil {
				return err
			}
			if _, err := w.c.exec(sqlLiftCandidates, target); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("lift bans: %w", err)
	}
	return lifted, nil
}

const sqlScanBans = `SELECT target, at, reason FROM ban WHERE target > ? ORDER BY target LIMIT ?`

// ScanBans implements store.Curation.
func (db *DB) ScanBans(ctx context.Context) iter.Seq2[store.Ban, error] {
	return store.Pages(scanRelays, func(after string) (page []store.Ban, next string, err error) {
		err = db.read(ctx, func(c *conn) error {
			page = nil
			return c.query(ctx, func(r row) bool {
				page = append(page, store.Ban{Target: r.text(0), At: r.int(1), Reason: r.text(2)})
				next = r.text(0)
				return true
			}, sqlScanBans, after, int64(scanRelays))
		})
		if err != nil {
			return nil, "", fmt.Errorf("scan bans: %w", err)
		}
		return page, next, nil
	})
}

const (
	sqlRemoveRelay     = `UPDATE relay SET kept_out = 'removed' WHERE url = ? AND kept_out = ''`
	sqlRemoveCandidate = `DELETE FROM candidate WHERE url = ? AND kept_out = ''`
)

// RemoveURLs implements store.Curation.
func (db *DB) RemoveURLs(ctx context.Context, urls []relay.URL) (removed []relay.URL, err error) {
	err = db.write(ctx, func(w *writer) (err error) {
		removed, err = w.touch(ctx, urls, func(u relay.URL) (int64, error) {
			relays, err := w.c.exec(sqlRemoveRelay, u.String())
			if err != nil {
				return 0, err
			}
			candidates, err := w.c.exec(sqlRemoveCandidate, u.String())
			return relays + candidates, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("remove relays: %w", err)
	}
	return removed, nil
}

// touch does something to URLs and returns those with which rows were changed.
func (w *writer) touch(ctx context.Context, urls []relay.URL, do func(relay.URL) (int64, error)) (touched []relay.URL, err error) {
	for _, u := range urls {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := do(u)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			touched = append(touched, u)
		}
	}
	return touched, ctx.Err()
}

const (
	sqlRecheckRelay     = `UPDATE relay SET alias_of = 0 WHERE url = ? AND kept_out = ''`
	sqlRecheckWork      = `UPDATE work SET due_at = min(due_at, ?2) WHERE relay_id = (SELECT id FROM relay WHERE url = ?1)`
	sqlRecheckCandidate = `UPDATE candidate SET next_due = min(next_due, ?2) WHERE url = ?1 AND kept_out = ''`
)

// Recheck implements store.Curation.
func (db *DB) Recheck(ctx context.Context, urls []relay.URL, at int64) (found []relay.URL, err error) {
	err = db.write(ctx, func(w *writer) (err error) {
		found, err = w.touch(ctx, urls, func(u relay.URL) (int64, error) {
			n, err := w.c.exec(sqlRecheckRelay, u.String())
			if err != nil {
				return 0, err
			}
			if n == 0 {
				return w.c.exec(sqlRecheckCandidate, u.String(), at)
			}
			_, err = w.c.exec(sqlRecheckWork, u.String(), at)
			return n, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recheck relays: %w", err)
	}
	return found, nil
}

// candidateColumns is what scanCandidate reads, in order.
const candidateColumns = `url, first_seen, attempts, next_due, last_cause, class, authors, kept_out`

func scanCandidate(r row) (store.Candidate, error) {
	u, err := store.ParseURL(r.text(0))
	return store.Candidate{
		URL: u, FirstSeen: r.int(1), Attempts: int(r.int(2)), NextDue: r.int(3), LastCause: dial.Cause(r.text(4)),
		Class: store.ClassOf(r.int(5)), DistinctAuthors: int(r.int(6)), KeptOut: store.KeptOut(r.text(7)),
	}, err
}

const sqlScanCandidates = `SELECT ` + candidateColumns + ` FROM candidate WHERE url > ? ORDER BY url LIMIT ?`

// ScanCandidates implements store.Curation.
func (db *DB) ScanCandidates(ctx context.Context) iter.Seq2[store.Candidate, error] {
	return store.Pages(scanRelays, func(after string) (page []store.Candidate, next string, err error) {
		err = db.read(ctx, func(c *conn) error {
			page = nil
			var bad error
			err := c.query(ctx, func(r row) bool {
				var one store.Candidate
				one, bad = scanCandidate(r)
				page, next = append(page, one), r.text(0)
				return bad == nil
			}, sqlScanCandidates, after, int64(scanRelays))
			return errors.Join(err, bad)
		})
		if err != nil {
			return nil, "", fmt.Errorf("scan candidates: %w", err)
		}
		return page, next, nil
	})
}

const sqlProvenance = `SELECT class, first_seen, last_seen, n, authors FROM mention WHERE url = ? ORDER BY class`

// Mentions implements store.Curation.
func (db *DB) Mentions(ctx context.Context, url relay.URL) (list []store.Provenance, err error) {
	err = db.read(ctx, func(c *conn) error {
		list = nil
		var bad error
		err := c.query(ctx, func(r row) bool {
			var authors *store.Distinct
			if authors, bad = store.ParseDistinct(r.blob(4)); bad != nil {
				return false
			}
			list = append(list, store.Provenance{
				Class: store.ClassOf(r.int(0)), First: r.int(1), Last: r.int(2), Count: r.int(3), Authors: authors.Count(),
			})
			return true
		}, sqlProvenance, url.String())
		return errors.Join(err, bad)
	})
	if err != nil {
		return nil, fmt.Errorf("read mentions: %w", err)
	}
	return list, nil
}

const sqlClassTotals = `
	WITH strongest AS (SELECT class, count(*) AS n FROM (SELECT url, min(class) AS class FROM mention GROUP BY url) GROUP BY class)
	SELECT m.class, count(*), coalesce((SELECT n FROM strongest s WHERE s.class = m.class), 0)
	FROM mention m GROUP BY m.class ORDER BY m.class`

// ClassTotals implements store.Curation.
func (db *DB) ClassTotals(ctx context.Context) (list []store.ClassTotal, err error) {
	err = db.read(ctx, func(c *conn) error {
		list = nil
		return c.query(ctx, func(r row) bool {
			list = append(list, store.ClassTotal{Class: store.ClassOf(r.int(0)), URLs: r.int(1), Strongest: r.int(2)})
			return true
		}, sqlClassTotals)
	})
	if err != nil {
		return nil, fmt.Errorf("count mentions: %w", err)
	}
	return list, nil
}

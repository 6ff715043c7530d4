package sqlite

import (
	"context"
	"errors"
	"fmt"

	"bigbrotr/internal/core/store"
)

const (
	sqlMentions   = `SELECT class, authors FROM mention WHERE url = ?`
	sqlAddMention = `
		INSERT INTO mention (url, class, first_seen, last_seen, n, authors) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET first_seen = min(first_seen, excluded.first_seen), last_seen = max(last_seen, excluded.last_seen),
			n = n + excluded.n, authors = excluded.authors`
	sqlAddCandidate = `
		INSERT INTO candidate (url, network, host, first_seen, next_due, class, authors)
		SELECT ?1, ?2, ?6, ?3, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM relay WHERE url = ?1 AND kept_out <> 'removed')
		ON CONFLICT DO NOTHING`
	sqlKnownURL       = `SELECT 1 FROM candidate WHERE url = ?1 UNION ALL SELECT 1 FROM relay WHERE url = ?1`
	sqlOfHost         = `SELECT (SELECT count(*) FROM candidate WHERE host = ?1) + (SELECT count(*) FROM relay WHERE host = ?1)`
	sqlRaiseCandidate = `UPDATE candidate SET class = min(class, ?2), authors = ?3 WHERE url = ?1 AND (class > ?2 OR authors <> ?3)`
)

// addMentions returns how many candidates are new.
func (w *writer) addMentions(ctx context.Context, mentions []store.Mention) (added int, err error) {
	list := store.Places(mentions)
	known, err := w.known(ctx, list)
	if err != nil {
		return 0, err
	}
	list = store.Admit(list, known)
	for len(list) > 0 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		url := list[0].URL
		n := 1
		for n < len(list) && list[n].URL == url {
			n++
		}
		fresh, err := w.addPlaces(list[:n])
		if err != nil {
			return 0, err
		}
		if fresh {
			added++
		}
		list = list[n:]
	}
	return added, nil
}

// known reads what is known of the URLs of places and of their hosts.
func (w *writer) known(ctx context.Context, places []*store.Place) (*store.Known, error) {
	known := store.NewKnown()
	for i, p := range places {
		if i > 0 && p.URL == places[i-1].URL {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		url, host := p.URL.String(), p.URL.Hostname()
		var err error
		if known.Banned[url], err = w.c.first(func(row) {}, sqlBanned, url, host); err != nil {
			return nil, err
		}
		if known.URLs[url], err = w.c.first(func(row) {}, sqlKnownURL, url); err != nil {
			return nil, err
		}
		if _, counted := known.Hosts[host]; counted || known.URLs[url] {
			continue
		}
		if _, err := w.c.first(func(r row) { known.Hosts[host] = r.int(0) }, sqlOfHost, host); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// addPlaces records the places of one URL and tells whether it is a new
// candidate.
func (w *writer) addPlaces(list []*store.Place) (fresh bool, err error) {
	var all store.Distinct
	url, text := list[0].URL, list[0].URL.String()
	first := list[0].First
	if err := errors.Join(w.c.each(func(r row) bool {
		var before *store.Distinct
		if before, err = store.ParseDistinct(r.blob(1)); err != nil {
			return false
		}
		all.Merge(before)
		for _, p := range list {
			if int64(p.Rank) == r.int(0) {
				p.Authors.Merge(before)
			}
		}
		return true
	}, sqlMentions, text), err); err != nil {
		return false, err
	}
	for _, p := range list {
		all.Merge(&p.Authors)
		first = min(first, p.First)
		if _, err := w.c.exec(sqlAddMention, text, int64(p.Rank), p.First, p.Last, p.N, p.Authors.AppendTo([]byte{})); err != nil {
			return false, err
		}
	}
	strongest := int64(list[0].Rank) // list is sorted
	n, err := w.c.exec(sqlAddCandidate, text, string(url.Network()), first, strongest, all.Count(), url.Hostname())
	if err != nil || n > 0 {
		return n > 0, err
	}
	_, err = w.c.exec(sqlRaiseCandidate, text, strongest, all.Count())
	return false, err
}

// AddMentions implements store.Candidates.
func (db *DB) AddMentions(ctx context.Context, mentions []store.Mention) (added int, err error) {
	err = db.write(ctx, func(w *writer) (err error) {
		added, err = w.addMentions(ctx, mentions)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("add mentions: %w", err)
	}
	return added, nil
}

const (
	sqlPosition     = `SELECT cursor FROM position WHERE reader = ?`
	sqlSavePosition = `INSERT OR REPLACE INTO position (reader, cursor) VALUES (?, ?)`
)

// SaveFindings implements store.Candidates.
func (db *DB) SaveFindings(ctx context.Context, reader string, position store.Cursor, found store.Found) (added int, err error) {
	err = db.write(ctx, func(w *writer) (err error) {
		if added, err = w.addMentions(ctx, found.Mentions); err != nil {
			return err
		}
		if err := w.addSources(ctx, found.Sources); err != nil {
			return err
		}
		_, err = w.c.exec(sqlSavePosition, reader, string(position))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("save findings: %w", err)
	}
	return added, nil
}

// Position implements store.Candidates.
func (db *DB) Position(ctx context.Context, reader string) (position store.Cursor, err error) {
	err = db.read(ctx, func(c *conn) error {
		_, err := c.one(ctx, func(r row) { position = store.Cursor(r.text(0)) }, sqlPosition, reader)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read position: %w", err)
	}
	return position, nil
}

const (
	// The index is in the wanted order, so the search ends with the last one
	// taken however many are due.
	sqlDueCandidates = `
		SELECT ` + candidateColumns + ` FROM candidate INDEXED BY candidate_rank
		WHERE next_due NOT BETWEEN ?1 + 1 AND ?4 AND lease_until NOT BETWEEN ?1 + 1 AND ?5 AND kept_out = '' AND (?2 = '' OR network IN (SELECT value FROM json_each(?2)))
		ORDER BY class, authors DESC, next_due, url LIMIT ?3`
	sqlLeaseCandidate = `UPDATE candidate SET lease_owner = ?, lease_until = ? WHERE url = ?`
)

// DueCandidates implements store.Candidates.
func (db *DB) DueCandidates(ctx context.Context, due store.Due) ([]store.Candidate, error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	var candidates []store.Candidate
	err := db.write(ctx, func(w *writer) error {
		candidates = nil
		var bad error
		if err := w.c.query(ctx, func(r row) bool {
			var c store.Candidate
			c, bad = scanCandidate(r)
			candidates = append(candidates, c)
			return bad == nil
		}, sqlDueCandidates, due.Now, networkList(due.Networks), int64(due.Limit), due.Now+store.MaxWait, due.Now+store.MaxLease); err != nil || bad != nil {
			return errors.Join(err, bad)
		}
		for _, c := range candidates {
			if _, err := w.c.exec(sqlLeaseCandidate, due.Owner, due.Until, c.URL.String()); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("lease candidates: %w", err)
	}
	return candidates, nil
}

const (
	sqlFailCandidate = `
		UPDATE candidate SET attempts = attempts + 1, next_due = ?, last_cause = ?, lease_owner = '', lease_until = 0
		WHERE url = ? AND lease_owner = ?`
	sqlDeferCandidate = `UPDATE candidate SET next_due = ?, lease_owner = '', lease_until = 0 WHERE url = ? AND lease_owner = ?`
)

// SaveVerdicts implements store.Candidates.
func (db *DB) SaveVerdicts(ctx context.Context, verdicts []store.Verdict) error {
	verdicts = store.LastVerdicts(verdicts)
	err := db.write(ctx, func(w *writer) error {
		for _, v := range verdicts {
			var err error
			switch {
			case v.Valid:
				err = w.promote(v.URL, v.At)
				switch {
				case errors.Is(err, store.ErrBanned):
					err = nil // since it was leased
				case err == nil:
					err = w.recognise(v.URL, v.At, v.Traits, v.AliasOf)
				}
			case v.Ours:
				_, err = w.c.exec(sqlDeferCandidate, v.NextDue, v.URL.String(), v.Owner)
			default:
				_, err = w.c.exec(sqlFailCandidate, v.NextDue, string(v.Cause), v.URL.String(), v.Owner)
			}
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("save verdicts: %w", err)
	}
	return nil
}

package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

// mentioning is the key of the transaction lock under which mentions are added,
// since sketches of authors are read, merged and written back, and relays are
// promoted.
const mentioning int64 = 0x62626f7404

const (
	// The first column says what the second is: a URL that is known, a host and
	// how many URLs of it are, or a banned target.
	sqlKnownURLs = `
		SELECT 'u', c.url, 1 FROM candidate c WHERE c.url = ANY($1)
		UNION ALL SELECT 'u', r.url, 1 FROM relay r WHERE r.url = ANY($1)
		UNION ALL SELECT 'h', h.host, (SELECT count(*) FROM candidate c WHERE c.host = h.host) + (SELECT count(*) FROM relay r WHERE r.host = h.host)
			FROM (SELECT DISTINCT host FROM unnest($2::text[]) AS u (host)) AS h
		UNION ALL SELECT 'b', b.target, 1 FROM ban b WHERE b.target = ANY($1) OR b.target = ANY($2)`
	sqlMentions    = `SELECT url, class, authors FROM mention WHERE url = ANY($1)`
	sqlAddMentions = `
		INSERT INTO mention AS m (url, class, first_seen, last_seen, n, authors)
		SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
		ON CONFLICT (url, class) DO UPDATE SET first_seen = least(m.first_seen, excluded.first_seen),
			last_seen = greatest(m.last_seen, excluded.last_seen), n = m.n + excluded.n, authors = excluded.authors`
	sqlAddCandidates = `
		INSERT INTO candidate (url, network, host, first_seen, next_due, class, authors)
		SELECT u.url, u.network, u.host, u.first_seen, u.first_seen, u.class, u.authors
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::bigint[]) AS u (url, network, host, first_seen, class, authors)
		WHERE NOT EXISTS (SELECT 1 FROM relay r WHERE r.url = u.url AND r.kept_out <> 'removed')
		ORDER BY u.url
		ON CONFLICT (url) DO NOTHING`
	// Rows are locked in the order of URLs here and elsewhere, or whoever saves
	// verdicts could wait for one who waits for him.
	sqlRaiseCandidates = `
		WITH raised AS MATERIALIZED (
			SELECT c.url, u.class, u.authors FROM candidate c
			JOIN unnest($1::text[], $2::integer[], $3::bigint[]) AS u (url, class, authors) ON u.url = c.url
			WHERE c.class > u.class OR c.authors <> u.authors
			ORDER BY c.url FOR UPDATE OF c
		)
		UPDATE candidate c SET class = least(c.class, raised.class), authors = raised.authors FROM raised WHERE c.url = raised.url`
)

// addMentions returns how many candidates are new.
func addMentions(ctx context.Context, tx pgx.Tx, mentions []store.Mention) (added int, err error) {
	places := store.Places(mentions)
	if len(places) == 0 {
		return 0, nil
	}
	if _, err := tx.Exec(ctx, sqlLock, mentioning); err != nil {
		return 0, err
	}
	known, err := knownOf(ctx, tx, places)
	if err != nil {
		return 0, err
	}
	if places = store.Admit(places, known); len(places) == 0 {
		return 0, ctx.Err()
	}
	type key struct {
		url  string
		rank int
	}
	var urls, networks, hosts []string
	var firsts []int64
	var ranks []int32
	all := make(map[string]*store.Distinct)
	byKey := make(map[key]*store.Place, len(places))
	for _, p := range places { // by URL, then rank
		url := p.URL.String()
		if all[url] == nil {
			all[url] = new(store.Distinct)
			urls, networks = append(urls, url), append(networks, string(p.URL.Network()))
			hosts = append(hosts, p.URL.Hostname())
			firsts, ranks = append(firsts, p.First), append(ranks, int32(p.Rank))
		}
		firsts[len(firsts)-1] = min(firsts[len(firsts)-1], p.First)
		byKey[key{url, p.Rank}] = p
	}
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		var url string
		var rank int
		var authors []byte
		if err := rows.Scan(&url, &rank, &authors); err != nil {
			return err
		}
		before, err := store.ParseDistinct(authors)
		if err != nil {
			return err
		}
		all[url].Merge(before)
		if p := byKey[key{url, rank}]; p != nil {
			p.Authors.Merge(before)
		}
		return nil
	}, sqlMentions, urls); err != nil {
		return 0, err
	}
	var of []string
	var classes []int32
	var first, last, ns []int64
	var authors [][]byte
	for _, p := range places {
		all[p.URL.String()].Merge(&p.Authors)
		of, classes = append(of, p.URL.String()), append(classes, int32(p.Rank))
		first, last, ns = append(first, p.First), append(last, p.Last), append(ns, p.N)
		authors = append(authors, p.Authors.AppendTo([]byte{}))
	}
	counts := make([]int64, len(urls))
	for i, url := range urls {
		counts[i] = all[url].Count()
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, sqlAddMentions, of, classes, first, last, ns, authors); err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, sqlAddCandidates, urls, networks, hosts, firsts, ranks, counts)
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, sqlRaiseCandidates, urls, ranks, counts)
	return int(tag.RowsAffected()), err
}

// knownOf reads what is known of the URLs of places and of their hosts.
func knownOf(ctx context.Context, tx pgx.Tx, places []*store.Place) (*store.Known, error) {
	known := store.NewKnown()
	var urls, hosts []string
	for i, p := range places {
		if i == 0 || p.URL != places[i-1].URL {
			urls, hosts = append(urls, p.URL.String()), append(hosts, p.URL.Hostname())
		}
	}
	err := each(ctx, tx, func(rows pgx.Rows) error {
		var what, name string
		var n int64
		err := rows.Scan(&what, &name, &n)
		switch what {
		case "u":
			known.URLs[name] = true
		case "h":
			known.Hosts[name] = n
		case "b":
			known.Banned[name] = true
		}
		return err
	}, sqlKnownURLs, urls, hosts)
	return known, err
}

// AddMentions implements store.Candidates.
func (db *DB) AddMentions(ctx context.Context, mentions []store.Mention) (added int, err error) {
	err = db.write(ctx, func(tx pgx.Tx) (err error) {
		added, err = addMentions(ctx, tx, mentions)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("add mentions: %w", err)
	}
	return added, nil
}

const (
	sqlPosition     = `SELECT cursor FROM reader_position WHERE reader = $1`
	sqlSavePosition = `INSERT INTO reader_position (reader, cursor) VALUES ($1, $2) ON CONFLICT (reader) DO UPDATE SET cursor = excluded.cursor`
)

// SaveFindings implements store.Candidates.
func (db *DB) SaveFindings(ctx context.Context, reader string, position store.Cursor, found store.Found) (added int, err error) {
	err = db.write(ctx, func(tx pgx.Tx) (err error) {
		if added, err = addMentions(ctx, tx, found.Mentions); err != nil {
			return err
		}
		if err := addSources(ctx, tx, found.Sources); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, sqlSavePosition, reader, string(position))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("save findings: %w", err)
	}
	return added, nil
}

// Position implements store.Candidates. What a restored database holds of
// positions is as old as its batches, so they are positions among these.
func (db *DB) Position(ctx context.Context, reader string) (position store.Cursor, err error) {
	err = db.read(ctx, func(q querier) error {
		position = ""
		if there, err := found(q.QueryRow(ctx, sqlPosition, reader).Scan(&position)); err != nil || !there {
			return err
		}
		if at, err := parseCursor(position); err == nil { // or it is of something else than events
			if at.epoch, err = readEpoch(ctx, q); err != nil {
				return err
			}
			position = store.Cursor(at.String())
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read position: %w", err)
	}
	return position, nil
}

// The index is in the wanted order, so the search ends with the last one taken
// however many are due.
const sqlLeaseCandidates = `
	WITH due AS MATERIALIZED (
		SELECT ` + candidateColumns + ` FROM candidate
		WHERE next_due NOT BETWEEN $1 + 1 AND $6 AND lease_until NOT BETWEEN $1 + 1 AND $7 AND kept_out = '' AND ($2::text[] IS NULL OR network = ANY($2))
		ORDER BY class, authors DESC, next_due, url LIMIT $3
		FOR UPDATE SKIP LOCKED
	), leased AS (
		UPDATE candidate c SET lease_owner = $4, lease_until = $5 FROM due WHERE c.url = due.url
	)
	SELECT * FROM due ORDER BY class, authors DESC, next_due, url`

// DueCandidates implements store.Candidates.
func (db *DB) DueCandidates(ctx context.Context, due store.Due) ([]store.Candidate, error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	var candidates []store.Candidate
	err := db.write(ctx, func(tx pgx.Tx) error {
		candidates = nil
		return each(ctx, tx, func(rows pgx.Rows) error {
			c, err := scanCandidate(rows)
			candidates = append(candidates, c)
			return err
		}, sqlLeaseCandidates, due.Now, networkList(due.Networks), int64(due.Limit), due.Owner, due.Until, due.Now+store.MaxWait, due.Now+store.MaxLease)
	})
	if err != nil {
		return nil, fmt.Errorf("lease candidates: %w", err)
	}
	return candidates, nil
}

const sqlFailCandidates = `
	WITH u AS MATERIALIZED (
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::boolean[], $5::text[]) AS u (url, next_due, cause, ours, owner)
	), locked AS MATERIALIZED (
		SELECT c.url, c.lease_owner FROM candidate c WHERE c.url = ANY($1) ORDER BY c.url FOR UPDATE
	)
	UPDATE candidate c SET next_due = u.next_due, lease_owner = '', lease_until = 0,
		attempts = c.attempts + CASE WHEN u.ours THEN 0 ELSE 1 END,
		last_cause = CASE WHEN u.ours THEN c.last_cause ELSE u.cause END
	FROM u JOIN locked ON locked.url = u.url AND locked.lease_owner = u.owner WHERE c.url = u.url`

// SaveVerdicts implements store.Candidates.
func (db *DB) SaveVerdicts(ctx context.Context, verdicts []store.Verdict) error {
	var valid promotion
	var found kinships
	var failed, causes, owners []string
	var dues []int64
	var ours []bool
	for _, v := range store.LastVerdicts(verdicts) {
		if v.Valid {
			valid.add(v.URL, v.At)
			found.add(v.URL.String(), v.At, v.Traits, v.AliasOf)
		} else {
			failed, dues, causes = append(failed, v.URL.String()), append(dues, v.NextDue), append(causes, string(v.Cause))
			ours, owners = append(ours, v.Ours), append(owners, v.Owner)
		}
	}
	err := db.write(ctx, func(tx pgx.Tx) error {
		whole := valid
		if _, err := promote(ctx, tx, &whole); err != nil {
			return err
		}
		if err := found.save(ctx, tx); err != nil {
			return err
		}
		if len(failed) == 0 {
			return nil
		}
		_, err := tx.Exec(ctx, sqlFailCandidates, failed, dues, causes, ours, owners)
		return err
	})
	if err != nil {
		return fmt.Errorf("save verdicts: %w", err)
	}
	return nil
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// relayColumns is what relayFields scans, in order, of an alias r.
const relayColumns = `r.id, r.url, r.first_seen, r.promoted_at, r.state, r.state_since, r.cause, r.last_up, r.failures, r.alias_of, r.kept_out`

// relayFields returns where the columns of a relay go; its URL is still text.
func relayFields(r *store.Relay, url *string) []any {
	return []any{&r.ID, url, &r.FirstSeen, &r.PromotedAt, &r.State, &r.StateSince, &r.Cause, &r.LastUp, &r.Failures, &r.AliasOf, &r.KeptOut}
}

// scanRelay reads relayColumns and more.
func scanRelay(rows pgx.Rows, more ...any) (r store.Relay, err error) {
	var url string
	if err := rows.Scan(append(relayFields(&r, &url), more...)...); err != nil {
		return r, err
	}
	r.URL, err = store.ParseURL(url)
	return r, err
}

func readRelays(ctx context.Context, q querier, sql string, args ...any) ([]store.Relay, error) {
	var relays []store.Relay
	err := each(ctx, q, func(rows pgx.Rows) error {
		r, err := scanRelay(rows)
		relays = append(relays, r)
		return err
	}, sql, args...)
	return relays, err
}

// A number is taken only for a relay that is new, or each repetition would use
// one up.
const (
	sqlBanned = `
		SELECT u.url FROM unnest($1::text[], $2::text[]) AS u (url, host)
		WHERE EXISTS (SELECT 1 FROM ban b WHERE b.target IN (u.url, u.host)) ORDER BY u.url`
	sqlAddRelays = `
		INSERT INTO relay (url, network, host, first_seen, promoted_at, state_since)
		SELECT u.url, u.network, u.host, least(u.at, coalesce(c.first_seen, u.at)), u.at, u.at
		FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS u (url, network, host, at, place)
		LEFT JOIN candidate c ON c.url = u.url
		WHERE NOT EXISTS (SELECT 1 FROM relay r WHERE r.url = u.url)
		ORDER BY u.place
		ON CONFLICT (url) DO NOTHING`
	sqlReturnRelays     = `UPDATE relay SET kept_out = '' WHERE url = ANY($1) AND kept_out = 'removed'`
	sqlDeleteCandidates = `
		WITH locked AS MATERIALIZED (SELECT url FROM candidate WHERE url = ANY($1) ORDER BY url FOR UPDATE)
		DELETE FROM candidate c USING locked WHERE c.url = locked.url`
	sqlRelays = `SELECT ` + relayColumns + ` FROM relay r WHERE r.url = ANY($1)`
	sqlRelay  = `SELECT ` + relayColumns + ` FROM relay r WHERE r.url = $1`
)

// promotion is what makes relays of URLs: one element a URL in each.
type promotion struct {
	urls, networks, hosts []string
	ats                   []int64
}

func (p *promotion) add(u relay.URL, at int64) {
	p.urls, p.networks = append(p.urls, u.String()), append(p.networks, string(u.Network()))
	p.hosts, p.ats = append(p.hosts, u.Hostname()), append(p.ats, at)
}

// drop leaves URLs out.
func (p *promotion) drop(urls []string) {
	var rest promotion
	for i, url := range p.urls {
		if !slices.Contains(urls, url) {
			rest.urls, rest.networks = append(rest.urls, url), append(rest.networks, p.networks[i])
			rest.hosts, rest.ats = append(rest.hosts, p.hosts[i]), append(rest.ats, p.ats[i])
		}
	}
	*p = rest
}

// promote makes relays of URLs and consumes their candidates, and returns the
// banned ones, of which it makes none. Under the lock of mentions nobody makes a
// candidate of such a URL meanwhile, and the order in which others add the same
// relays does not matter.
func promote(ctx context.Context, tx pgx.Tx, p *promotion) (banned []string, err error) {
	if len(p.urls) == 0 {
		return nil, nil
	}
	if _, err := tx.Exec(ctx, sqlLock, mentioning); err != nil {
		return nil, err
	}
	if err := each(ctx, tx, func(rows pgx.Rows) error {
		var url string
		err := rows.Scan(&url)
		banned = append(banned, url)
		return err
	}, sqlBanned, p.urls, p.hosts); err != nil {
		return nil, err
	}
	if len(banned) > 0 {
		p.drop(banned)
	}
	var b pgx.Batch
	b.Queue(sqlAddRelays, p.urls, p.networks, p.hosts, p.ats)
	b.Queue(sqlReturnRelays, p.urls)
	b.Queue(sqlDeleteCandidates, p.urls)
	return banned, tx.SendBatch(ctx, &b).Close()
}

// AddRelays implements store.Relays.
func (db *DB) AddRelays(ctx context.Context, urls []relay.URL, at int64) ([]store.Relay, error) {
	if len(urls) == 0 {
		return nil, ctx.Err()
	}
	var p promotion
	added := make(map[relay.URL]bool, len(urls))
	for _, u := range urls {
		if !added[u] {
			p.add(u, at)
			added[u] = true
		}
	}
	texts := p.urls
	var found []store.Relay
	err := db.write(ctx, func(tx pgx.Tx) (err error) {
		whole := p
		banned, err := promote(ctx, tx, &whole)
		if err == nil && len(banned) > 0 {
			err = fmt.Errorf("%s: %w", banned[0], store.ErrBanned)
		}
		if err != nil {
			return err
		}
		found, err = readRelays(ctx, tx, sqlRelays, texts)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("add relays: %w", err)
	}
	byURL := make(map[relay.URL]store.Relay, len(found))
	for _, r := range found {
		byURL[r.URL] = r
	}
	relays := make([]store.Relay, len(urls))
	for i, u := range urls {
		relays[i] = byURL[u]
	}
	return relays, nil
}

// Relay implements store.Relays.
func (db *DB) Relay(ctx context.Context, url relay.URL) (found store.Relay, err error) {
	err = db.read(ctx, func(q querier) error {
		relays, err := readRelays(ctx, q, sqlRelay, url.String())
		if err == nil && len(relays) == 0 {
			err = store.ErrNotFound
		}
		if err == nil {
			found = relays[0]
		}
		return err
	})
	if err != nil {
		return store.Relay{}, fmt.Errorf("read relay: %w", err)
	}
	return found, nil
}

// scanRelays is how many relays a scan reads at once.
const scanRelays = 1000

const sqlScanRelays = `SELECT ` + relayColumns + ` FROM relay r WHERE r.id > $1 ORDER BY r.id LIMIT $2`

// ScanRelays implements store.Relays.
func (db *DB) ScanRelays(ctx context.Context) iter.Seq2[store.Relay, error] {
	return func(yield func(store.Relay, error) bool) {
		after := store.RelayID(0)
		for {
			var page []store.Relay
			err := db.read(ctx, func(q querier) (err error) {
				page, err = readRelays(ctx, q, sqlScanRelays, int32(after), int64(scanRelays))
				return err
			})
			if err != nil {
				yield(store.Relay{}, fmt.Errorf("scan relays: %w", err))
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				after = r.ID
			}
			if len(page) < scanRelays {
				return
			}
		}
	}
}

// found turns the lack of a row into false.
func found(err error) (bool, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

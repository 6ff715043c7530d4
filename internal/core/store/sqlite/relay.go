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

// relayColumns is what scanRelay reads, in order.
const relayColumns = `r.id, r.url, r.first_seen, r.promoted_at, r.state, r.state_since, r.cause, r.last_up, r.failures, r.alias_of, r.kept_out`

func scanRelay(r row) (store.Relay, error) {
	u, err := store.ParseURL(r.text(1))
	return store.Relay{
		ID: store.RelayID(r.int(0)), URL: u, FirstSeen: r.int(2), PromotedAt: r.int(3),
		State: store.State(r.text(4)), StateSince: r.int(5), Cause: dial.Cause(r.text(6)), LastUp: r.int(7),
		Failures: int(r.int(8)), AliasOf: store.RelayID(r.int(9)), KeptOut: store.KeptOut(r.text(10)),
	}, err
}

const (
	sqlAddRelay = `INSERT INTO relay (url, network, host, first_seen, promoted_at, state_since)
		VALUES (?1, ?2, ?4, min(?3, coalesce((SELECT first_seen FROM candidate WHERE url = ?1), ?3)), ?3, ?3)
		ON CONFLICT (url) DO UPDATE SET kept_out = '' WHERE kept_out = 'removed'`
	sqlBanned          = `SELECT 1 FROM ban WHERE target IN (?1, ?2)`
	sqlDeleteCandidate = `DELETE FROM candidate WHERE url = ?`
	sqlRelay           = `SELECT ` + relayColumns + ` FROM relay r WHERE r.url = ?`
)

// promote makes a relay of a URL and consumes its candidate. A banned one is
// store.ErrBanned.
func (w *writer) promote(u relay.URL, at int64) error {
	banned, err := w.c.first(func(row) {}, sqlBanned, u.String(), u.Hostname())
	switch {
	case err != nil:
		return err
	case banned:
		return fmt.Errorf("%s: %w", u, store.ErrBanned)
	}
	if _, err := w.c.exec(sqlAddRelay, u.String(), string(u.Network()), at, u.Hostname()); err != nil {
		return err
	}
	_, err = w.c.exec(sqlDeleteCandidate, u.String())
	return err
}

// AddRelays implements store.Relays.
func (db *DB) AddRelays(ctx context.Context, urls []relay.URL, at int64) ([]store.Relay, error) {
	relays := make([]store.Relay, 0, len(urls))
	err := db.write(ctx, func(w *writer) error {
		relays = relays[:0]
		for _, u := range urls {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.promote(u, at); err != nil {
				return err
			}
			r, err := w.c.relay(ctx, u)
			if err != nil {
				return err
			}
			relays = append(relays, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("add relays: %w", err)
	}
	return relays, nil
}

// Relay implements store.Relays.
func (db *DB) Relay(ctx context.Context, url relay.URL) (found store.Relay, err error) {
	err = db.read(ctx, func(c *conn) (err error) {
		found, err = c.relay(ctx, url)
		return err
	})
	if err != nil {
		return store.Relay{}, fmt.Errorf("read relay: %w", err)
	}
	return found, nil
}

func (c *conn) relay(ctx context.Context, url relay.URL) (store.Relay, error) {
	var relay store.Relay
	var bad error
	found, err := c.one(ctx, func(r row) { relay, bad = scanRelay(r) }, sqlRelay, url.String())
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return relay, errors.Join(err, bad)
}

// scanRelays is how many relays a scan reads at once.
const scanRelays = 1000

const sqlScanRelays = `SELECT ` + relayColumns + ` FROM relay r WHERE r.id > ? ORDER BY r.id LIMIT ?`

// ScanRelays implements store.Relays.
func (db *DB) ScanRelays(ctx context.Context) iter.Seq2[store.Relay, error] {
	return func(yield func(store.Relay, error) bool) {
		after := store.RelayID(0)
		for {
			var page []store.Relay
			err := db.read(ctx, func(c *conn) error {
				var bad error
				err := c.query(ctx, func(r row) bool {
					var one store.Relay
					one, bad = scanRelay(r)
					page = append(page, one)
					return bad == nil
				}, sqlScanRelays, int64(after), int64(scanRelays))
				return errors.Join(err, bad)
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

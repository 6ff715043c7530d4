package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

const (
	sqlKin = `
		WITH own AS (
			SELECT kind, value FROM trait WHERE relay_id = (SELECT id FROM relay WHERE url = ?1)
			UNION SELECT value ->> 0, unhex(value ->> 1) FROM json_each(?3)
		), shared AS (
			SELECT id AS relay_id, 'host' AS kind FROM relay WHERE host = ?2
			UNION SELECT t.relay_id, t.kind FROM own JOIN trait t ON t.kind = own.kind AND t.value = own.value
		)
		SELECT ` + relayColumns + `, (SELECT group_concat(k.kind, ' ' ORDER BY k.kind) FROM shared k WHERE k.relay_id = r.id)
		FROM (SELECT relay_id, count(*) AS n FROM shared GROUP BY relay_id) s JOIN relay r ON r.id = s.relay_id
		WHERE r.url <> ?1 AND r.alias_of = 0 AND r.kept_out = ''
		ORDER BY s.n DESC, r.id LIMIT ?4`
	sqlDropTraits = `DELETE FROM trait WHERE relay_id = (SELECT id FROM relay WHERE url = ?)`
	sqlAddTraits  = `
		INSERT INTO trait (relay_id, kind, value, at)
		SELECT r.id, j.value ->> 0, unhex(j.value ->> 1), ?3 FROM relay r, json_each(?2) j WHERE r.url = ?1
		ON CONFLICT DO NOTHING`
	sqlStandsForItself = `SELECT 1 FROM relay WHERE id = ? AND url <> ? AND alias_of = 0 AND kept_out = ''`
	sqlLinkAlias       = `UPDATE relay SET alias_of = ?2 WHERE url = ?1 OR alias_of = (SELECT id FROM relay WHERE url = ?1)`
	sqlUnlinkAlias     = `UPDATE relay SET alias_of = 0 WHERE url = ?`
	sqlLeasedBy        = `SELECT r.url FROM work w JOIN relay r ON r.id = w.relay_id WHERE w.service = ? AND w.relay_id = ? AND w.lease_owner = ?`
)

// Kin implements store.Aliases.
func (db *DB) Kin(ctx context.Context, url relay.URL, traits []store.Trait, limit int) (kin []store.Kin, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(c *conn) error {
		kin = nil
		var bad error
		err := c.query(ctx, func(r row) bool {
			var one store.Kin
			one.Relay, bad = scanRelay(r)
			for word := range strings.FieldsSeq(r.text(11)) {
				one.Shares = append(one.Shares, store.TraitKind(word))
			}
			kin = append(kin, one)
			return bad == nil
		}, sqlKin, url.String(), url.Hostname(), store.TraitList(traits), int64(limit))
		return errors.Join(err, bad)
	})
	if err != nil {
		return nil, fmt.Errorf("read kin: %w", err)
	}
	return kin, nil
}

// recognise keeps the traits of a relay and links it.
func (w *writer) recognise(url relay.URL, at int64, traits []store.Trait, of store.RelayID) error {
	if traits != nil {
		if _, err := w.c.exec(sqlDropTraits, url.String()); err != nil {
			return err
		}
		if _, err := w.c.exec(sqlAddTraits, url.String(), store.TraitList(traits), at); err != nil {
			return err
		}
	}
	if of != 0 {
		stands, err := w.c.first(func(row) {}, sqlStandsForItself, int64(of), url.String())
		if err != nil {
			return err
		}
		if stands {
			_, err = w.c.exec(sqlLinkAlias, url.String(), int64(of))
			return err
		}
	}
	_, err := w.c.exec(sqlUnlinkAlias, url.String())
	return err
}

// SaveKinship implements store.Aliases.
func (db *DB) SaveKinship(ctx context.Context, kinships []store.Kinship) error {
	err := db.write(ctx, func(w *writer) error {
		for _, k := range kinships {
			if err := ctx.Err(); err != nil {
				return err
			}
			var url relay.URL
			var bad error
			leased, err := w.c.first(func(r row) { url, bad = store.ParseURL(r.text(0)) }, sqlLeasedBy, k.Next.Service, int64(k.Next.Relay), k.Next.Owner)
			if err := errors.Join(err, bad); err != nil {
				return err
			}
			if !leased {
				continue
			}
			if err := w.recognise(url, k.At, k.Traits, k.AliasOf); err != nil {
				return err
			}
			if err := w.saveNext(k.Next); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("save kinship: %w", err)
	}
	return nil
}

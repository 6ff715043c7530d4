package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

const (
	sqlKin = `
		WITH own AS (
			SELECT kind, value FROM trait WHERE relay_id = (SELECT id FROM relay WHERE url = $1)
			UNION SELECT u.kind, u.value FROM unnest($3::text[], $4::bytea[]) AS u (kind, value)
		), shared AS (
			SELECT id AS relay_id, 'host' AS kind FROM relay WHERE host = $2
			UNION SELECT t.relay_id, t.kind FROM own JOIN trait t ON t.kind = own.kind AND t.value = own.value
		)
		SELECT ` + relayColumns + `, s.kinds
		FROM (SELECT relay_id, count(*) AS n, string_agg(kind, ' ' ORDER BY kind COLLATE "C") AS kinds FROM shared GROUP BY relay_id) s
		JOIN relay r ON r.id = s.relay_id
		WHERE r.url <> $1 AND r.alias_of = 0 AND r.kept_out = ''
		ORDER BY s.n DESC, r.id LIMIT $5`
	sqlDropTraits = `DELETE FROM trait t USING relay r WHERE r.id = t.relay_id AND r.url = ANY($1)`
	sqlAddTraits  = `
		INSERT INTO trait (relay_id, kind, value, at)
		SELECT r.id, u.kind, u.value, u.at FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) AS u (url, kind, value, at)
		JOIN relay r ON r.url = u.url ORDER BY r.id, u.kind, u.value
		ON CONFLICT (relay_id, kind, value) DO NOTHING`
	// One after the other, so that a chain of links cannot come about.
	sqlLinkAlias = `
		WITH link AS (
			SELECT r.id, coalesce((SELECT o.id FROM relay o WHERE o.id = $2 AND o.id <> r.id AND o.alias_of = 0 AND o.kept_out = ''), 0) AS target
			FROM relay r WHERE r.url = $1
		)
		UPDATE relay a SET alias_of = link.target FROM link
		WHERE (a.id = link.id OR a.alias_of = link.id AND link.target <> 0) AND a.alias_of <> link.target`
	sqlLeasedBy = `
		SELECT w.relay_id, r.url FROM work w JOIN relay r ON r.id = w.relay_id
		JOIN unnest($1::text[], $2::integer[], $3::text[]) AS u (service, relay_id, owner)
			ON u.service = w.service AND u.relay_id = w.relay_id AND u.owner = w.lease_owner`
)

// linking is the key of the transaction lock under which aliases are linked.
const linking int64 = 0x62626f740a

// Kin implements store.Aliases.
func (db *DB) Kin(ctx context.Context, url relay.URL, traits []store.Trait, limit int) (kin []store.Kin, err error) {
	if limit <= 0 {
		return nil, nil
	}
	var kinds []string
	var values [][]byte
	for _, t := range traits {
		kinds, values = append(kinds, string(t.Kind)), append(values, t.Value)
	}
	err = db.read(ctx, func(q querier) error {
		kin = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var one store.Kin
			var shares string
			var err error
			one.Relay, err = scanRelay(rows, &shares)
			for word := range strings.FieldsSeq(shares) {
				one.Shares = append(one.Shares, store.TraitKind(word))
			}
			kin = append(kin, one)
			return err
		}, sqlKin, url.String(), url.Hostname(), kinds, values, int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read kin: %w", err)
	}
	return kin, nil
}

// kinships is what was found of some relays.
type kinships struct {
	known []string // URLs whose traits are kept anew
	links []link

	urls, kinds []string
	values      [][]byte
	ats         []int64
}

type link struct {
	url string
	of  store.RelayID
}

func (k *kinships) add(url string, at int64, traits []store.Trait, of store.RelayID) {
	k.links = append(k.links, link{url, of})
	if traits == nil {
		return
	}
	k.known = append(k.known, url)
	for _, t := range traits {
		k.urls, k.kinds = append(k.urls, url), append(k.kinds, string(t.Kind))
		k.values, k.ats = append(k.values, t.Value), append(k.ats, at)
	}
}

// save writes them. Under its lock, nobody else links meanwhile.
func (k *kinships) save(ctx context.Context, tx pgx.Tx) error {
	if len(k.links) == 0 {
		return nil
	}
	var b pgx.Batch
	b.Queue(sqlLock, linking)
	b.Queue(sqlDropTraits, k.known)
	b.Queue(sqlAddTraits, k.urls, k.kinds, k.values, k.ats)
	for _, l := range k.links {
		b.Queue(sqlLinkAlias, l.url, int32(l.of))
	}
	return tx.SendBatch(ctx, &b).Close()
}

// SaveKinship implements store.Aliases.
func (db *DB) SaveKinship(ctx context.Context, list []store.Kinship) error {
	var services, owners []string
	var relays []int32
	for _, k := range list {
		services, relays, owners = append(services, k.Next.Service), append(relays, int32(k.Next.Relay)), append(owners, k.Next.Owner)
	}
	err := db.write(ctx, func(tx pgx.Tx) error {
		leased := make(map[store.RelayID]string)
		if err := each(ctx, tx, func(rows pgx.Rows) error {
			var id store.RelayID
			var url string
			err := rows.Scan(&id, &url)
			leased[id] = url
			return err
		}, sqlLeasedBy, services, relays, owners); err != nil {
			return err
		}
		var found kinships
		var next []store.Next
		for _, k := range list {
			if url, ok := leased[k.Next.Relay]; ok {
				found.add(url, k.At, k.Traits, k.AliasOf)
				next = append(next, k.Next)
			}
		}
		if err := found.save(ctx, tx); err != nil {
			return err
		}
		var b pgx.Batch
		queueNext(&b, next)
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("save kinship: %w", err)
	}
	return nil
}

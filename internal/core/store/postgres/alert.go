package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

const sqlAddAlert = `
	INSERT INTO alert (receiver, kind, relay_id, about, at, cause, next_due)
	SELECT $1, $2, $3, coalesce(nullif($4::bigint, 0), (SELECT max(started) FROM outage WHERE relay_id = $3), $5), $5, $6, $5
	ON CONFLICT (receiver, kind, relay_id, about) DO NOTHING`

func queueAlerts(b *pgx.Batch, alerts []store.Alert) {
	for _, a := range alerts {
		b.Queue(sqlAddAlert, a.Receiver, string(a.Kind), int32(a.Relay), a.About, a.At, string(a.Cause))
	}
}

const (
	sqlAlertsAgain = `UPDATE alert SET next_due = $2 WHERE receiver = $1 AND NOT done AND next_due > $3`
	sqlLeaseAlerts = `
		WITH due AS MATERIALIZED (
			SELECT receiver, kind, relay_id, about, at, cause, attempts, next_due FROM alert
			WHERE receiver = $1 AND NOT done AND next_due <= $2 AND lease_until NOT BETWEEN $2 + 1 AND $3
			ORDER BY next_due, at, kind, relay_id, about LIMIT $4
			FOR UPDATE SKIP LOCKED
		), leased AS (
			UPDATE alert a SET lease_owner = $5, lease_until = $6 FROM due d
			WHERE a.receiver = d.receiver AND a.kind = d.kind AND a.relay_id = d.relay_id AND a.about = d.about
		)
		SELECT d.kind, d.relay_id, d.about, d.at, d.cause, d.attempts, coalesce(r.url, '')
		FROM due d LEFT JOIN relay r ON r.id = d.relay_id ORDER BY d.next_due, d.at, d.kind, d.relay_id, d.about`
)

// DueAlerts implements store.Alerts.
func (db *DB) DueAlerts(ctx context.Context, receiver string, due store.Due) (alerts []store.DueAlert, err error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	err = db.write(ctx, func(tx pgx.Tx) error {
		alerts = nil
		if _, err := tx.Exec(ctx, sqlAlertsAgain, receiver, due.Now, due.Now+store.MaxWait); err != nil {
			return err
		}
		return each(ctx, tx, func(rows pgx.Rows) error {
			a := store.DueAlert{Alert: store.Alert{AlertKey: store.AlertKey{Receiver: receiver}}}
			var url string
			if err := rows.Scan(&a.Kind, &a.Relay, &a.About, &a.At, &a.Cause, &a.Attempts, &url); err != nil {
				return err
			}
			var err error
			if url != "" {
				a.URL, err = store.ParseURL(url)
			}
			alerts = append(alerts, a)
			return err
		}, sqlLeaseAlerts, receiver, due.Now, due.Now+store.MaxLease, int64(due.Limit), due.Owner, due.Until)
	})
	if err != nil {
		return nil, fmt.Errorf("lease alerts: %w", err)
	}
	return alerts, nil
}

const (
	sqlSaveAlerts = `
		WITH u AS MATERIALIZED (
			SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::text[], $6::boolean[], $7::bigint[])
				AS u (receiver, kind, relay_id, about, owner, done, next_due)
		), locked AS MATERIALIZED (
			SELECT a.receiver, a.kind, a.relay_id, a.about FROM alert a
			JOIN u ON u.receiver = a.receiver AND u.kind = a.kind AND u.relay_id = a.relay_id AND u.about = a.about AND u.owner = a.lease_owner
			ORDER BY a.receiver, a.kind, a.relay_id, a.about FOR UPDATE OF a
		)
		UPDATE alert a SET done = u.done, next_due = CASE WHEN u.done THEN a.next_due ELSE u.next_due END,
			attempts = CASE WHEN u.done THEN a.attempts ELSE a.attempts + 1 END, lease_owner = '', lease_until = 0
		FROM u JOIN locked l ON l.receiver = u.receiver AND l.kind = u.kind AND l.relay_id = u.relay_id AND l.about = u.about
		WHERE a.receiver = u.receiver AND a.kind = u.kind AND a.relay_id = u.relay_id AND a.about = u.about AND a.lease_owner = u.owner`
	sqlForgetAlerts = `
		WITH old AS MATERIALIZED (
			SELECT receiver, kind, relay_id, about FROM alert WHERE at < $1 ORDER BY receiver, kind, relay_id, about FOR UPDATE)
		DELETE FROM alert a USING old o
		WHERE a.receiver = o.receiver AND a.kind = o.kind AND a.relay_id = o.relay_id AND a.about = o.about`
)

// SaveAlerts implements store.Alerts.
func (db *DB) SaveAlerts(ctx context.Context, results []store.AlertResult, at int64) error {
	var receivers, kinds, owners []string
	var relays []int32
	var abouts, dues []int64
	var done []bool
	for _, r := range results {
		receivers, kinds, relays = append(receivers, r.Receiver), append(kinds, string(r.Kind)), append(relays, int32(r.Relay))
		abouts, owners = append(abouts, r.About), append(owners, r.Owner)
		done, dues = append(done, r.Done), append(dues, r.NextDue)
	}
	err := db.write(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlSaveAlerts, receivers, kinds, relays, abouts, owners, done, dues); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sqlForgetAlerts, at-store.KeepAlerts)
		return err
	})
	if err != nil {
		return fmt.Errorf("save alerts: %w", err)
	}
	return nil
}

package sqlite

import (
	"context"
	"errors"
	"fmt"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

const sqlAddAlert = `
	INSERT INTO alert (receiver, kind, relay_id, about, at, cause, next_due)
	SELECT ?1, ?2, ?3, coalesce(nullif(?4, 0), (SELECT max(started) FROM outage WHERE relay_id = ?3), ?5), ?5, ?6, ?5
	WHERE true ON CONFLICT DO NOTHING`

func (w *writer) addAlerts(alerts []store.Alert) error {
	for _, a := range alerts {
		if _, err := w.c.exec(sqlAddAlert, a.Receiver, string(a.Kind), int64(a.Relay), a.About, a.At, string(a.Cause)); err != nil {
			return err
		}
	}
	return nil
}

const (
	sqlAlertsAgain = `UPDATE alert SET next_due = ?2 WHERE receiver = ?1 AND done = 0 AND next_due > ?3`
	sqlDueAlerts   = `
		SELECT a.kind, a.relay_id, a.about, a.at, a.cause, a.attempts, coalesce(r.url, '')
		FROM alert a INDEXED BY alert_due LEFT JOIN relay r ON r.id = a.relay_id
		WHERE a.receiver = ?1 AND a.done = 0 AND a.next_due <= ?2 AND a.lease_until NOT BETWEEN ?2 + 1 AND ?3
		ORDER BY a.next_due, a.at, a.kind, a.relay_id, a.about LIMIT ?4`
	sqlLeaseAlert = `
		UPDATE alert SET lease_owner = ?, lease_until = ? WHERE receiver = ? AND kind = ? AND relay_id = ? AND about = ?`
)

// DueAlerts implements store.Alerts.
func (db *DB) DueAlerts(ctx context.Context, receiver string, due store.Due) (alerts []store.DueAlert, err error) {
	if due.Limit <= 0 {
		return nil, nil
	}
	err = db.write(ctx, func(w *writer) error {
		alerts = nil
		if _, err := w.c.exec(sqlAlertsAgain, receiver, due.Now, due.Now+store.MaxWait); err != nil {
			return err
		}
		var bad error
		if err := w.c.query(ctx, func(r row) bool {
			var a store.DueAlert
			a.AlertKey = store.AlertKey{Receiver: receiver, Kind: store.AlertKind(r.text(0)), Relay: store.RelayID(r.int(1)), About: r.int(2)}
			a.At, a.Cause, a.Attempts = r.int(3), dial.Cause(r.text(4)), int(r.int(5))
			a.URL, bad = alertURL(r.text(6))
			alerts = append(alerts, a)
			return bad == nil
		}, sqlDueAlerts, receiver, due.Now, due.Now+store.MaxLease, int64(due.Limit)); err != nil || bad != nil {
			return errors.Join(err, bad)
		}
		for _, a := range alerts {
			if _, err := w.c.exec(sqlLeaseAlert, due.Owner, due.Until, receiver, string(a.Kind), int64(a.Relay), a.About); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("lease alerts: %w", err)
	}
	return alerts, nil
}

// alertURL reads the URL of an alert's relay; empty when it has none.
func alertURL(text string) (relay.URL, error) {
	if text == "" {
		return relay.URL{}, nil
	}
	return store.ParseURL(text)
}

const (
	sqlSaveAlert = `
		UPDATE alert SET done = ?1, next_due = iif(?1, next_due, ?2), attempts = iif(?1, attempts, attempts + 1), lease_owner = '', lease_until = 0
		WHERE receiver = ?3 AND kind = ?4 AND relay_id = ?5 AND about = ?6 AND lease_owner = ?7`
	sqlForgetAlerts = `DELETE FROM alert WHERE at < ?`
)

// SaveAlerts implements store.Alerts.
func (db *DB) SaveAlerts(ctx context.Context, results []store.AlertResult, at int64) error {
	err := db.write(ctx, func(w *writer) error {
		for _, r := range results {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.c.exec(sqlSaveAlert, integer(r.Done), r.NextDue, r.Receiver, string(r.Kind), int64(r.Relay), r.About, r.Owner); err != nil {
				return err
			}
		}
		_, err := w.c.exec(sqlForgetAlerts, at-store.KeepAlerts)
		return err
	})
	if err != nil {
		return fmt.Errorf("save alerts: %w", err)
	}
	return nil
}

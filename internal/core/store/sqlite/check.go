package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

const (
	sqlAddDocument = `INSERT INTO document (id, type, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`
	sqlAddCheck    = `INSERT OR REPLACE INTO check_result (relay_id, probe, at, ok, cause, numbers, detail, document_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	sqlSetState = `
		UPDATE relay SET state_since = CASE state WHEN ?2 THEN state_since ELSE ?3 END, state = ?2, cause = ?4, last_up = ?5, failures = ?6
		WHERE id = ?1`
	sqlOpenOutage = `
		INSERT INTO outage (relay_id, started, cause) SELECT ?1, ?2, ?3
		WHERE NOT EXISTS (SELECT 1 FROM outage WHERE relay_id = ?1 AND ended = 0) ON CONFLICT DO NOTHING`
	sqlCloseOutage = `UPDATE outage SET ended = ? WHERE relay_id = ? AND ended = 0`
	// Of equal documents in a row one period is made; latest has at most one row.
	sqlSetPeriod = `
		WITH latest AS (SELECT since, document_id FROM document_period WHERE relay_id = ?1 AND type = ?2 ORDER BY since DESC LIMIT 1)
		INSERT INTO document_period (relay_id, type, since, until, document_id)
		SELECT ?1, ?2, coalesce((SELECT since FROM latest WHERE document_id = ?4), ?3), ?3, ?4
		WHERE true
		ON CONFLICT (relay_id, type, since) DO UPDATE SET until = max(until, excluded.until), document_id = excluded.document_id`
	sqlDropDocuments = `
		WITH bound AS (SELECT since FROM document_period WHERE relay_id = ?1 AND type = ?2 ORDER BY since DESC LIMIT 1 OFFSET ?3)
		DELETE FROM document WHERE id IN (SELECT document_id FROM document_period WHERE relay_id = ?1 AND type = ?2 AND since <= (SELECT since FROM bound))
			AND NOT EXISTS (SELECT 1 FROM document_period p WHERE p.document_id = document.id
				AND NOT (p.relay_id = ?1 AND p.type = ?2 AND p.since <= (SELECT since FROM bound)))`
	sqlDropVersions = `
		DELETE FROM document_period WHERE relay_id = ?1 AND type = ?2 AND since <= (
			SELECT since FROM document_period WHERE relay_id = ?1 AND type = ?2 ORDER BY since DESC LIMIT 1 OFFSET ?3)`
	sqlDropChecks = `DELETE FROM check_result WHERE relay_id = ? AND probe = ? AND at < ?`
	// Since the check before, the relay was as that one found it.
	sqlSetSeen = `
		UPDATE relay SET seen_up = seen_up + iif(failures = 0, ?2 - checked_at, 0), seen_down = seen_down + iif(failures = 0, 0, ?2 - checked_at)
		WHERE id = ?1 AND checked_at > 0 AND ?2 - checked_at BETWEEN 0 AND ?3`
	sqlSetChecked  = `UPDATE relay SET checked_at = max(checked_at, ?2) WHERE id = ?1`
	sqlSetOpen     = `UPDATE relay SET open_ms = ?2 WHERE id = ?1 AND checked_at <= ?3`
	sqlSetRead     = `UPDATE relay SET read_ms = ?2 WHERE id = ?1 AND checked_at <= ?3`
	sqlSetDocument = `
		UPDATE relay SET name = ?3, software = ?4, version = ?5, nips = ?6, auth = ?7, payment = ?8, restricted = ?9
		WHERE id = ?1 AND checked_at <= ?2`
	sqlSetPlace   = `UPDATE relay SET country = ?3, city = ?4, asn = ?5, org = ?6, lat = ?7, lon = ?8 WHERE id = ?1 AND checked_at <= ?2`
	sqlSetFare    = `UPDATE relay SET month_up = ?3, month_watched = ?4, open_p95 = ?5, read_p95 = ?6 WHERE id = ?1 AND checked_at <= ?2`
	sqlLeaseOwner = `SELECT coalesce((SELECT lease_owner FROM work WHERE service = ? AND relay_id = ?), '')`
)

// SaveOutcomes implements store.Checks. A relay that was never up has an outage
// from its first failed check on.
func (db *DB) SaveOutcomes(ctx context.Context, outcomes []store.Outcome) error {
	next := make([]store.Next, len(outcomes))
	for i := range outcomes {
		next[i] = outcomes[i].Next
	}
	next = store.LastNext(next)
	err := db.write(ctx, func(w *writer) error {
		for i := range outcomes {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.saveOutcome(ctx, &outcomes[i]); err != nil {
				return err
			}
		}
		for _, n := range next {
			if err := w.saveNext(n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("save outcomes: %w", err)
	}
	return nil
}

// saveOutcome leaves the schedule alone: it frees the lease.
func (w *writer) saveOutcome(ctx context.Context, o *store.Outcome) error {
	relay := int64(o.Relay)
	if len(o.Checks) > 0 {
		if _, err := w.c.exec(sqlSetSeen, relay, o.At, int64(store.Unwatched)); err != nil {
			return err
		}
	}
	for i := range o.Checks {
		if err := w.saveCheck(relay, &o.Checks[i]); err != nil {
			return err
		}
	}
	if err := w.saveFare(o); err != nil {
		return err
	}
	var owner string
	if err := w.c.query(ctx, func(r row) bool { owner = r.text(0); return true }, sqlLeaseOwner, o.Next.Service, relay); err != nil || owner != o.Next.Owner {
		return err
	}
	if _, err := w.c.exec(sqlSetState, relay, string(o.State), o.At, string(o.Cause), o.LastUp, int64(o.Failures)); err != nil {
		return err
	}
	var err error
	switch {
	case o.State == store.StateNew:
	case o.Failures == 0:
		_, err = w.c.exec(sqlCloseOutage, o.At, relay)
	default:
		_, err = w.c.exec(sqlOpenOutage, relay, o.At, string(o.Cause))
	}
	if err != nil {
		return err
	}
	return w.addAlerts(o.Alerts)
}

// saveFare notes how a relay fared until the checks of an outcome.
func (w *writer) saveFare(o *store.Outcome) error {
	if len(o.Checks) == 0 {
		return nil
	}
	var spans []store.Span
	if err := w.c.each(func(r row) bool {
		spans = append(spans, spanOf(r))
		return true
	}, sqlSpans, int64(o.Relay), o.At); err != nil {
		return err
	}
	h := store.HealthOf(spans, o.At, 0, 0)
	_, err := w.c.exec(sqlSetFare, int64(o.Relay), o.At, h.Month.Up, h.Month.Watched, h.Open.P95, h.Read.P95)
	return err
}

func (w *writer) saveCheck(relay int64, check *store.Check) error {
	var document any
	if d := check.Document; d != nil {
		id := d.ID()
		document = id[:]
		if _, err := w.c.exec(sqlAddDocument, id[:], d.Type, append([]byte{}, d.Data...)); err != nil {
			return err
		}
		if err := w.savePeriod(relay, d, check.At); err != nil {
			return err
		}
		if err := w.saveShown(relay, d, check.At); err != nil {
			return err
		}
	}
	numbers := maps.Clone(check.Values)
	maps.DeleteFunc(numbers, func(_ string, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	text, err := json.Marshal(numbers)
	if err != nil {
		return err
	}
	if _, err := w.c.exec(sqlAddCheck, relay, check.Probe, check.At, integer(check.OK), string(check.Cause), string(text),
		store.Substitute(check.Detail), document); err != nil {
		return err
	}
	if _, err := w.c.exec(sqlDropChecks, relay, check.Probe, check.At-store.KeepResults); err != nil {
		return err
	}
	if _, err := w.c.exec(sqlSetChecked, relay, check.At); err != nil || !check.OK {
		return err
	}
	if ms, ok := numbers[store.ValueOpen]; ok {
		_, err = w.c.exec(sqlSetOpen, relay, ms, check.At)
	}
	if ms, ok := numbers[store.ValueRead]; ok && err == nil {
		_, err = w.c.exec(sqlSetRead, relay, ms, check.At)
	}
	return err
}

// saveShown repeats of a document what lists show.
func (w *writer) saveShown(relay int64, d *store.Document, at int64) (err error) {
	switch d.Type {
	case store.DocumentInfo:
		in := d.Introduction()
		_, err = w.c.exec(sqlSetDocument, relay, at, in.Name, in.Software, in.Version, in.NIPList(), integer(in.Auth), integer(in.Payment), integer(in.Restricted))
	case store.DocumentPlace:
		p := d.Location()
		_, err = w.c.exec(sqlSetPlace, relay, at, p.Country, p.City, p.ASN, p.Org, p.Lat, p.Lon)
	}
	return err
}

// savePeriod notes that the relay has the document, and lets go of its oldest
// versions.
func (w *writer) savePeriod(relay int64, d *store.Document, at int64) error {
	id := d.ID()
	if _, err := w.c.exec(sqlSetPeriod, relay, d.Type, at, id[:]); err != nil {
		return err
	}
	for _, sql := range []string{sqlDropDocuments, sqlDropVersions} {
		if _, err := w.c.exec(sql, relay, d.Type, int64(store.KeepVersions)); err != nil {
			return err
		}
	}
	return nil
}

// The newest of every probe: the names are stepped through by the index, since
// a relay has few probes and many results.
const sqlLatestChecks = `
	WITH RECURSIVE p (probe) AS (
		SELECT min(probe) FROM check_result WHERE relay_id = ?1
		UNION ALL
		SELECT (SELECT min(probe) FROM check_result WHERE relay_id = ?1 AND probe > p.probe) FROM p WHERE p.probe IS NOT NULL)
	SELECT ` + checkColumns + `, d.type, d.data
	FROM p CROSS JOIN check_result c ON c.relay_id = ?1 AND c.probe = p.probe
		AND c.at = (SELECT max(at) FROM check_result WHERE relay_id = ?1 AND probe = p.probe)
	LEFT JOIN document d ON d.id = c.document_id
	ORDER BY c.probe`

// checkColumns is what scanCheck reads, in order, of an alias c.
const checkColumns = `c.at, c.probe, c.ok, c.cause, c.numbers, c.detail`

func scanCheck(r row) store.Check {
	c := store.Check{At: r.int(0), Probe: r.text(1), OK: r.bool(2), Cause: dial.Cause(r.text(3)), Detail: r.text(5)}
	if json.Unmarshal([]byte(r.text(4)), &c.Values) != nil {
		c.Values = nil
	}
	return c
}

// LatestChecks implements store.Checks.
func (db *DB) LatestChecks(ctx context.Context, relay store.RelayID) ([]store.Check, error) {
	checks, err := list(ctx, db, func(r row) store.Check {
		c := scanCheck(r)
		if r[6] != nil {
			c.Document = &store.Document{Type: r.text(6), Data: r.blob(7)}
		}
		return c
	}, sqlLatestChecks, int64(relay))
	if err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	return checks, nil
}

const sqlOutages = `SELECT started, ended, cause FROM outage WHERE relay_id = ? ORDER BY started DESC LIMIT ?`

// Outages implements store.Checks.
func (db *DB) Outages(ctx context.Context, relay store.RelayID, limit int) ([]store.Outage, error) {
	if limit <= 0 {
		return nil, nil
	}
	outages, err := list(ctx, db, func(r row) store.Outage {
		return store.Outage{From: r.int(0), To: r.int(1), Cause: dial.Cause(r.text(2))}
	}, sqlOutages, int64(relay), int64(limit))
	if err != nil {
		return nil, fmt.Errorf("read outages: %w", err)
	}
	return outages, nil
}

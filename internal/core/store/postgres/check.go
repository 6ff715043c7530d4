package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

const (
	sqlAddDocument = `INSERT INTO document (id, type, data) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`
	sqlAddCheck    = `
		INSERT INTO check_result (relay_id, probe, at, ok, cause, numbers, detail, document_id) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8)
		ON CONFLICT (relay_id, probe, at) DO UPDATE SET ok = excluded.ok, cause = excluded.cause, numbers = excluded.numbers,
			detail = excluded.detail, document_id = excluded.document_id`
	sqlSetState = `
		UPDATE relay SET state_since = CASE state WHEN $2 THEN state_since ELSE $3 END, state = $2, cause = $4, last_up = $5, failures = $6
		WHERE id = $1`
	sqlOpenOutage = `
		INSERT INTO outage (relay_id, started, cause) SELECT $1, $2, $3
		WHERE NOT EXISTS (SELECT 1 FROM outage WHERE relay_id = $1 AND ended = 0) ON CONFLICT (relay_id, started) DO NOTHING`
	sqlCloseOutage = `UPDATE outage SET ended = $1 WHERE relay_id = $2 AND ended = 0`
	// Of equal documents in a row one period is made; latest has at most one row.
	sqlSetPeriod = `
		WITH latest AS (SELECT since, document_id FROM document_period WHERE relay_id = $1 AND type = $2 ORDER BY since DESC LIMIT 1)
		INSERT INTO document_period (relay_id, type, since, until, document_id)
		SELECT $1, $2, coalesce((SELECT since FROM latest WHERE document_id = $4), $3), $3, $4
		ON CONFLICT (relay_id, type, since) DO UPDATE SET until = greatest(document_period.until, excluded.until), document_id = excluded.document_id`
	// A document that another process finds again at this moment is there again
	// after the next check.
	sqlDropDocuments = `
		WITH bound AS (SELECT since FROM document_period WHERE relay_id = $1 AND type = $2 ORDER BY since DESC LIMIT 1 OFFSET $3)
		DELETE FROM document WHERE id IN (SELECT document_id FROM document_period WHERE relay_id = $1 AND type = $2 AND since <= (SELECT since FROM bound))
			AND NOT EXISTS (SELECT 1 FROM document_period p WHERE p.document_id = document.id
				AND NOT (p.relay_id = $1 AND p.type = $2 AND p.since <= (SELECT since FROM bound)))`
	sqlDropVersions = `
		DELETE FROM document_period WHERE relay_id = $1 AND type = $2 AND since <= (
			SELECT since FROM document_period WHERE relay_id = $1 AND type = $2 ORDER BY since DESC LIMIT 1 OFFSET $3)`
	sqlDropChecks = `DELETE FROM check_result WHERE relay_id = $1 AND probe = $2 AND at < $3`
	// Since the check before, the relay was as that one found it.
	sqlSetSeen = `
		UPDATE relay SET seen_up = seen_up + CASE failures WHEN 0 THEN $2 - checked_at ELSE 0 END,
			seen_down = seen_down + CASE failures WHEN 0 THEN 0 ELSE $2 - checked_at END
		WHERE id = $1 AND checked_at > 0 AND $2 - checked_at BETWEEN 0 AND $3`
	sqlSetChecked  = `UPDATE relay SET checked_at = greatest(checked_at, $2) WHERE id = $1`
	sqlSetOpen     = `UPDATE relay SET open_ms = $2 WHERE id = $1 AND checked_at <= $3`
	sqlSetRead     = `UPDATE relay SET read_ms = $2 WHERE id = $1 AND checked_at <= $3`
	sqlSetDocument = `
		UPDATE relay SET name = $3, software = $4, version = $5, nips = $6, auth = $7, payment = $8, restricted = $9
		WHERE id = $1 AND checked_at <= $2`
	sqlSetPlace = `UPDATE relay SET country = $3, city = $4, asn = $5, org = $6, lat = $7, lon = $8 WHERE id = $1 AND checked_at <= $2`
	sqlSetFare  = `UPDATE relay SET month_up = $3, month_watched = $4, open_p95 = $5, read_p95 = $6 WHERE id = $1 AND checked_at <= $2`
	// Nobody leases these relays before the transaction ends.
	sqlLeaseOwners = `
		SELECT w.relay_id, w.lease_owner FROM unnest($1::text[], $2::integer[]) AS u (service, relay_id)
		JOIN work w ON w.service = u.service AND w.relay_id = u.relay_id
		ORDER BY w.service, w.relay_id FOR UPDATE OF w`
)

// SaveOutcomes implements store.Checks. A relay that was never up has an outage
// from its first failed check on.
func (db *DB) SaveOutcomes(ctx context.Context, outcomes []store.Outcome) error {
	next := make([]store.Next, len(outcomes))
	for i := range outcomes {
		next[i] = outcomes[i].Next
	}
	next = store.LastNext(next)
	err := db.write(ctx, func(tx pgx.Tx) error {
		owners, err := leaseOwners(ctx, tx, next)
		if err != nil {
			return err
		}
		var b pgx.Batch
		queueDocuments(&b, outcomes)
		for i := range outcomes {
			o := &outcomes[i]
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := queueChecks(&b, o); err != nil {
				return err
			}
			if owners[o.Relay] == o.Next.Owner {
				queueState(&b, o)
			}
		}
		queueNext(&b, next)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		return saveFares(ctx, tx, outcomes)
	})
	if err != nil {
		return fmt.Errorf("save outcomes: %w", err)
	}
	return nil
}

// saveFares notes how the relays of outcomes fared until these.
func saveFares(ctx context.Context, tx pgx.Tx, outcomes []store.Outcome) error {
	var b pgx.Batch
	for i := range outcomes {
		o := &outcomes[i]
		if len(o.Checks) == 0 {
			continue
		}
		spans, err := readSpans(ctx, tx, o.Relay, o.At)
		if err != nil {
			return err
		}
		h := store.HealthOf(spans, o.At, 0, 0)
		b.Queue(sqlSetFare, int32(o.Relay), o.At, h.Month.Up, h.Month.Watched, h.Open.P95, h.Read.P95)
	}
	return tx.SendBatch(ctx, &b).Close()
}

// leaseOwners returns who leases the relays; those that nobody does are left
// out.
func leaseOwners(ctx context.Context, tx pgx.Tx, next []store.Next) (map[store.RelayID]string, error) {
	services, relays := make([]string, len(next)), make([]int32, len(next))
	for i, n := range next {
		services[i], relays[i] = n.Service, int32(n.Relay)
	}
	owners := make(map[store.RelayID]string, len(next))
	err := each(ctx, tx, func(rows pgx.Rows) error {
		var relay store.RelayID
		var owner string
		err := rows.Scan(&relay, &owner)
		owners[relay] = owner
		return err
	}, sqlLeaseOwners, services, relays)
	return owners, err
}

// queueDocuments adds the documents of outcomes by id: several processes may
// find the same ones at once, and in one order they do not wait for one another
// in a circle.
func queueDocuments(b *pgx.Batch, outcomes []store.Outcome) {
	found := make(map[store.DocumentID]*store.Document)
	for i := range outcomes {
		for _, check := range outcomes[i].Checks {
			if d := check.Document; d != nil {
				found[d.ID()] = d
			}
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(found), func(a, b store.DocumentID) int { return bytes.Compare(a[:], b[:]) }) {
		b.Queue(sqlAddDocument, id[:], found[id].Type, append([]byte{}, found[id].Data...))
	}
}

func queueChecks(b *pgx.Batch, o *store.Outcome) error {
	if len(o.Checks) > 0 {
		b.Queue(sqlSetSeen, int32(o.Relay), o.At, int64(store.Unwatched))
	}
	for i := range o.Checks {
		if err := queueCheck(b, int32(o.Relay), &o.Checks[i]); err != nil {
			return err
		}
	}
	return nil
}

func queueState(b *pgx.Batch, o *store.Outcome) {
	relay := int32(o.Relay)
	b.Queue(sqlSetState, relay, string(o.State), o.At, string(o.Cause), o.LastUp, int32(o.Failures))
	switch {
	case o.State == store.StateNew:
	case o.Failures == 0:
		b.Queue(sqlCloseOutage, o.At, relay)
	default:
		b.Queue(sqlOpenOutage, relay, o.At, string(o.Cause))
	}
	queueAlerts(b, o.Alerts)
}

func queueCheck(b *pgx.Batch, relay int32, check *store.Check) error {
	var document []byte
	if d := check.Document; d != nil {
		id := d.ID()
		document = id[:]
		b.Queue(sqlSetPeriod, relay, d.Type, check.At, id[:])
		b.Queue(sqlDropDocuments, relay, d.Type, int64(store.KeepVersions))
		b.Queue(sqlDropVersions, relay, d.Type, int64(store.KeepVersions))
		switch d.Type {
		case store.DocumentInfo:
			in := d.Introduction()
			b.Queue(sqlSetDocument, relay, check.At, in.Name, in.Software, in.Version, in.NIPList(), in.Auth, in.Payment, in.Restricted)
		case store.DocumentPlace:
			p := d.Location()
			b.Queue(sqlSetPlace, relay, check.At, p.Country, p.City, p.ASN, p.Org, p.Lat, p.Lon)
		}
	}
	numbers := maps.Clone(check.Values)
	maps.DeleteFunc(numbers, func(_ string, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	text, err := json.Marshal(numbers)
	if err != nil {
		return err
	}
	b.Queue(sqlAddCheck, relay, check.Probe, check.At, check.OK, string(check.Cause), string(text), store.Substitute(check.Detail), document)
	b.Queue(sqlDropChecks, relay, check.Probe, check.At-store.KeepResults)
	b.Queue(sqlSetChecked, relay, check.At)
	if !check.OK {
		return nil
	}
	if ms, ok := numbers[store.ValueOpen]; ok {
		b.Queue(sqlSetOpen, relay, ms, check.At)
	}
	if ms, ok := numbers[store.ValueRead]; ok {
		b.Queue(sqlSetRead, relay, ms, check.At)
	}
	return nil
}

// The newest of every probe: the names are stepped through by the index, since
// a relay has few probes and many results.
const sqlLatestChecks = `
	WITH RECURSIVE p (probe) AS (
		SELECT min(probe) FROM check_result WHERE relay_id = $1
		UNION ALL
		SELECT (SELECT min(probe) FROM check_result WHERE relay_id = $1 AND probe > p.probe) FROM p WHERE p.probe IS NOT NULL)
	SELECT ` + checkColumns + `, d.type, d.data
	FROM p JOIN check_result c ON c.relay_id = $1 AND c.probe = p.probe
		AND c.at = (SELECT max(at) FROM check_result WHERE relay_id = $1 AND probe = p.probe)
	LEFT JOIN document d ON d.id = c.document_id
	ORDER BY c.probe COLLATE "C"`

// checkColumns is what scanCheck reads, in order, of an alias c.
const checkColumns = `c.at, c.probe, c.ok, c.cause, c.numbers::text, c.detail`

// scanCheck reads checkColumns and more.
func scanCheck(rows pgx.Rows, more ...any) (c store.Check, err error) {
	var cause, numbers string
	if err := rows.Scan(append([]any{&c.At, &c.Probe, &c.OK, &cause, &numbers, &c.Detail}, more...)...); err != nil {
		return c, err
	}
	c.Cause = dial.Cause(cause)
	if json.Unmarshal([]byte(numbers), &c.Values) != nil {
		c.Values = nil
	}
	return c, nil
}

// LatestChecks implements store.Checks.
func (db *DB) LatestChecks(ctx context.Context, relay store.RelayID) (checks []store.Check, err error) {
	err = db.read(ctx, func(q querier) error {
		checks = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var kind *string
			var data []byte
			c, err := scanCheck(rows, &kind, &data)
			if err != nil {
				return err
			}
			if kind != nil {
				c.Document = &store.Document{Type: *kind, Data: data}
			}
			checks = append(checks, c)
			return nil
		}, sqlLatestChecks, int32(relay))
	})
	if err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	return checks, nil
}

const sqlOutages = `SELECT started, ended, cause FROM outage WHERE relay_id = $1 ORDER BY started DESC LIMIT $2`

// Outages implements store.Checks.
func (db *DB) Outages(ctx context.Context, relay store.RelayID, limit int) (outages []store.Outage, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(q querier) error {
		outages = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var o store.Outage
			err := rows.Scan(&o.From, &o.To, &o.Cause)
			outages = append(outages, o)
			return err
		}, sqlOutages, int32(relay), int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read outages: %w", err)
	}
	return outages, nil
}

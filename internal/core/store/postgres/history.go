package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/store"
)

// The two probes of one check have its time. The names of the numbers are
// store.ValueOpen and store.ValueRead.
const (
	sqlSpans = `
		SELECT o.at, o.ok, coalesce((o.numbers ->> 'open_ms')::double precision, 0),
			coalesce((r.numbers ->> 'eose_ms')::double precision, 0)
		FROM check_result o LEFT JOIN check_result r ON r.relay_id = o.relay_id AND r.probe = 'read' AND r.at = o.at AND r.ok
		WHERE o.relay_id = $1 AND o.probe = 'open' AND o.at <= $2 ORDER BY o.at`
	sqlSeen = `SELECT seen_up, seen_down FROM relay WHERE id = $1`
)

// readSpans reads the results by which a relay's health is judged.
func readSpans(ctx context.Context, q querier, relay store.RelayID, now int64) ([]store.Span, error) {
	var spans []store.Span
	err := each(ctx, q, func(rows pgx.Rows) error {
		var s store.Span
		err := rows.Scan(&s.At, &s.OK, &s.OpenMS, &s.ReadMS)
		spans = append(spans, s)
		return err
	}, sqlSpans, int32(relay), now)
	return spans, err
}

// Health implements store.Histories.
func (db *DB) Health(ctx context.Context, relay store.RelayID, now int64) (store.Health, error) {
	var spans []store.Span
	var up, down int64
	err := db.read(ctx, func(q querier) (err error) {
		if spans, err = readSpans(ctx, q, relay, now); err != nil {
			return err
		}
		return each(ctx, q, func(rows pgx.Rows) error { return rows.Scan(&up, &down) }, sqlSeen, int32(relay))
	})
	if err != nil {
		return store.Health{}, fmt.Errorf("read results: %w", err)
	}
	return store.HealthOf(spans, now, up, down), nil
}

const sqlDocumentVersions = `
	SELECT p.since, p.until, d.type, d.data FROM document_period p JOIN document d ON d.id = p.document_id
	WHERE p.relay_id = $1 AND p.type = $2 ORDER BY p.since DESC LIMIT $3`

// Versions implements store.Histories.
func (db *DB) Versions(ctx context.Context, relay store.RelayID, kind string, limit int) (versions []store.Version, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(q querier) error {
		versions = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var v store.Version
			err := rows.Scan(&v.From, &v.To, &v.Type, &v.Data)
			versions = append(versions, v)
			return err
		}, sqlDocumentVersions, int32(relay), kind, int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return versions, nil
}

const sqlLastChecks = `
	SELECT ` + checkColumns + `, r.id FROM unnest($1::integer[]) AS r (id)
	CROSS JOIN LATERAL (SELECT * FROM check_result WHERE relay_id = r.id AND probe = $2 ORDER BY at DESC LIMIT 1) c`

// LastChecks implements store.Histories.
func (db *DB) LastChecks(ctx context.Context, probe string, relays []store.RelayID) (last map[store.RelayID]store.Check, err error) {
	ids := make([]int32, len(relays))
	for i, relay := range relays {
		ids[i] = int32(relay)
	}
	err = db.read(ctx, func(q querier) error {
		last = make(map[store.RelayID]store.Check, len(relays))
		return each(ctx, q, func(rows pgx.Rows) error {
			var relay store.RelayID
			c, err := scanCheck(rows, &relay)
			last[relay] = c
			return err
		}, sqlLastChecks, ids, probe)
	})
	if err != nil {
		return nil, fmt.Errorf("read last checks: %w", err)
	}
	return last, nil
}

const sqlResults = `SELECT ` + checkColumns + ` FROM check_result c WHERE relay_id = $1 AND probe = $2 AND at < $3 ORDER BY at DESC LIMIT $4`

// Results implements store.Histories.
func (db *DB) Results(ctx context.Context, relay store.RelayID, probe string, before int64, limit int) (checks []store.Check, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(q querier) error {
		checks = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			c, err := scanCheck(rows)
			checks = append(checks, c)
			return err
		}, sqlResults, int32(relay), probe, before, int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return checks, nil
}

const sqlIncidents = `
	SELECT o.relay_id, o.started, o.ended, o.cause FROM outage o JOIN relay r ON r.id = o.relay_id AND r.kept_out = ''
	WHERE (o.started, o.relay_id) < ($1, $2) ORDER BY o.started DESC, o.relay_id DESC LIMIT $3`

// Incidents implements store.Histories.
func (db *DB) Incidents(ctx context.Context, before store.Incident, limit int) (incidents []store.Incident, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = db.read(ctx, func(q querier) error {
		incidents = nil
		return each(ctx, q, func(rows pgx.Rows) error {
			var i store.Incident
			err := rows.Scan(&i.Relay, &i.From, &i.To, &i.Cause)
			incidents = append(incidents, i)
			return err
		}, sqlIncidents, before.From, int32(before.Relay), int64(limit))
	})
	if err != nil {
		return nil, fmt.Errorf("read incidents: %w", err)
	}
	return incidents, nil
}

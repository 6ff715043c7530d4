package sqlite

import (
	"context"
	"fmt"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/store"
)

// The two probes of one check have its time. The names of the numbers are
// store.ValueOpen and store.ValueRead.
const (
	sqlSpans = `
		SELECT o.at, o.ok, coalesce(o.numbers ->> 'open_ms', 0.0), coalesce(r.numbers ->> 'eose_ms', 0.0)
		FROM check_result o LEFT JOIN check_result r ON r.relay_id = o.relay_id AND r.probe = 'read' AND r.at = o.at AND r.ok
		WHERE o.relay_id = ?1 AND o.probe = 'open' AND o.at <= ?2 ORDER BY o.at`
	sqlSeen = `SELECT seen_up, seen_down FROM relay WHERE id = ?`
)

func spanOf(r row) store.Span {
	return store.Span{At: r.int(0), OK: r.bool(1), OpenMS: r.float(2), ReadMS: r.float(3)}
}

// Health implements store.Histories.
func (db *DB) Health(ctx context.Context, relay store.RelayID, now int64) (store.Health, error) {
	spans, err := list(ctx, db, spanOf, sqlSpans, int64(relay), now)
	if err != nil {
		return store.Health{}, fmt.Errorf("read results: %w", err)
	}
	seen, err := list(ctx, db, func(r row) [2]int64 { return [2]int64{r.int(0), r.int(1)} }, sqlSeen, int64(relay))
	if err != nil {
		return store.Health{}, fmt.Errorf("read results: %w", err)
	}
	if len(seen) == 0 {
		return store.Health{}, nil
	}
	return store.HealthOf(spans, now, seen[0][0], seen[0][1]), nil
}

const sqlDocumentVersions = `
	SELECT p.since, p.until, d.type, d.data FROM document_period p JOIN document d ON d.id = p.document_id
	WHERE p.relay_id = ? AND p.type = ? ORDER BY p.since DESC LIMIT ?`

// Versions implements store.Histories.
func (db *DB) Versions(ctx context.Context, relay store.RelayID, kind string, limit int) ([]store.Version, error) {
	if limit <= 0 {
		return nil, nil
	}
	versions, err := list(ctx, db, func(r row) store.Version {
		return store.Version{From: r.int(0), To: r.int(1), Document: store.Document{Type: r.text(2), Data: r.blob(3)}}
	}, sqlDocumentVersions, int64(relay), kind, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	return versions, nil
}

const sqlLastCheck = `
	SELECT ` + checkColumns + ` FROM check_result c WHERE relay_id = ? AND probe = ? ORDER BY at DESC LIMIT 1`

// LastChecks implements store.Histories.
func (db *DB) LastChecks(ctx context.Context, probe string, relays []store.RelayID) (map[store.RelayID]store.Check, error) {
	last := make(map[store.RelayID]store.Check, len(relays))
	for _, relay := range relays {
		checks, err := list(ctx, db, scanCheck, sqlLastCheck, int64(relay), probe)
		if err != nil {
			return nil, fmt.Errorf("read last checks: %w", err)
		}
		if len(checks) > 0 {
			last[relay] = checks[0]
		}
	}
	return last, nil
}

const sqlResults = `SELECT ` + checkColumns + ` FROM check_result c WHERE relay_id = ? AND probe = ? AND at < ? ORDER BY at DESC LIMIT ?`

// Results implements store.Histories.
func (db *DB) Results(ctx context.Context, relay store.RelayID, probe string, before int64, limit int) ([]store.Check, error) {
	if limit <= 0 {
		return nil, nil
	}
	checks, err := list(ctx, db, scanCheck, sqlResults, int64(relay), probe, before, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return checks, nil
}

const sqlIncidents = `
	SELECT o.relay_id, o.started, o.ended, o.cause FROM outage o INDEXED BY outage_time JOIN relay r ON r.id = o.relay_id AND r.kept_out = ''
	WHERE (o.started, o.relay_id) < (?, ?) ORDER BY o.started DESC, o.relay_id DESC LIMIT ?`

// Incidents implements store.Histories.
func (db *DB) Incidents(ctx context.Context, before store.Incident, limit int) ([]store.Incident, error) {
	if limit <= 0 {
		return nil, nil
	}
	incidents, err := list(ctx, db, func(r row) store.Incident {
		return store.Incident{Relay: store.RelayID(r.int(0)), Outage: store.Outage{From: r.int(1), To: r.int(2), Cause: dial.Cause(r.text(3))}}
	}, sqlIncidents, before.From, int64(before.Relay), int64(limit))
	if err != nil {
		return nil, fmt.Errorf("read incidents: %w", err)
	}
	return incidents, nil
}

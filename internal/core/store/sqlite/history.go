package sqlite

import (
	"context"
	"encoding/json"
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

// Health implements store.Histories.
func (db *DB) Health(ctx context.Context, relay store.RelayID, now int64) (store.Health, error) {
	spans, err := list(ctx, db, func(r row) store.Span {
		return store.Span{At: r.int(0), OK: r.bool(1), OpenMS: r.float(2), ReadMS: r.float(3)}
	}, sqlSpans, int64(relay), now)
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
	SELECT at, probe, ok, cause, numbers, detail FROM check_result WHERE relay_id = ? AND probe = ? ORDER BY at DESC LIMIT 1`

// LastChecks implements store.Histories.
func (db *DB) LastChecks(ctx context.Context, probe string, relays []store.RelayID) (map[store.RelayID]store.Check, error) {
	last := make(map[store.RelayID]store.Check, len(relays))
	for _, relay := range relays {
		checks, err := list(ctx, db, func(r row) store.Check {
			c := store.Check{At: r.int(0), Probe: r.text(1), OK: r.bool(2), Cause: dial.Cause(r.text(3)), Detail: r.text(5)}
			if json.Unmarshal([]byte(r.text(4)), &c.Values) != nil {
				c.Values = nil
			}
			return c
		}, sqlLastCheck, int64(relay), probe)
		if err != nil {
			return nil, fmt.Errorf("read last checks: %w", err)
		}
		if len(checks) > 0 {
			last[relay] = checks[0]
		}
	}
	return last, nil
}

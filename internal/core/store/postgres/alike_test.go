package postgres

import (
	"regexp"
	"strings"
	"testing"

	"bigbrotr/internal/core/store"
	"bigbrotr/internal/pgtest"
)

// added finds how many relays' days were added up in a plan.
var added = regexp.MustCompile(`relay_day_pkey.*loops=(\d+)`)

// TestAlikePlan looks at how the relay most like another is found among 5,000: by
// indexes, and with the days of few of them added up.
func TestAlikePlan(t *testing.T) {
	db := openNew(t, Options{})
	// The first three have 300 events in common. Of the second most is gone again.
	for _, sql := range []string{
		`INSERT INTO relay_summed (relay_id, at, seq) SELECT r, '-9223372036854775808'::bigint, 0 FROM generate_series(1, 5000) AS r`,
		`INSERT INTO relay_day (s0, s1, s2, s3, s4, s5, s6, s7, n, relay_id, day)
			SELECT 0, 0, 0, 0, 0, 0, 0, 0, CASE r WHEN 2 THEN 3 WHEN 3 THEN 50 WHEN 4321 THEN 80 ELSE 20 END, r, 19000 + d
			FROM generate_series(1, 5000) AS r, generate_series(1, 100) AS d`,
		`INSERT INTO rollup_relay (relay_id, n) SELECT relay_id, CASE relay_id WHEN 2 THEN 9000 ELSE sum(n) END FROM relay_day GROUP BY relay_id`,
		`INSERT INTO sighting (created_at, event_seq, seen_at, relay_id)
			SELECT 1700000000 + e, e, 1700000000, r FROM generate_series(1, 300) AS e, generate_series(1, 5000) AS r WHERE (7 * e + r) % 13 = 0 OR r <= 3`,
	} {
		if _, err := db.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []string{"relay_summed", "relay_day", "rollup_relay", "sighting"} {
		if _, err := db.pool.Exec(t.Context(), "VACUUM ANALYZE "+table); err != nil {
			t.Fatal(err)
		}
	}
	c := tell(t, pgtest.Shared(t).Superuser(db.pool.Config().ConnString()))
	for _, tt := range []struct {
		name        string
		relay, want int32
		sums        string
	}{
		{"the largest of those with most in common", 2, 3, "1"},
		{"the second largest", 3, 1, "2"},
		{"nothing is known of it", 5001, 4321, "2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.plans = nil
			var got int32
			if err := c.QueryRow(t.Context(), sqlAlike, tt.relay, int64(1000), int64(store.AlikeSample)).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("like %d, want %d", got, tt.want)
			}
			plan := strings.Join(c.plans, "\n")
			if strings.Contains(plan, "Seq Scan on relay_day") || strings.Contains(plan, "Seq Scan on sighting_2023") {
				t.Errorf("not by indexes:\n%s", plan)
			}
			if n := added.FindStringSubmatch(plan); n == nil || n[1] != tt.sums {
				t.Errorf("days of %v relays were added up, want %s:\n%s", n, tt.sums, plan)
			}
		})
	}
}

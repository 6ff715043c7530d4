package postgres

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// period is a stretch of created_at that has partitions of its own, hi
// exclusive.
type period struct {
	name   string
	lo, hi int64
}

const (
	// The open ends.
	past   = "past"
	future = "future"
	// firstYear and firstQuarter are where the years begin and where the
	// quarters do: Nostr was small before.
	firstYear    = 2022
	firstQuarter = 2024
	// ahead is how many quarters there are beyond that of now.
	ahead = 2
)

// partitioned are the tables that periods cut, parent first.
var partitioned = []string{"event", "sighting"}

// periods returns the stretches that there should be at a time, in order.
func periods(now time.Time) []period {
	var starts []time.Time
	for y := firstYear; y < firstQuarter; y++ {
		starts = append(starts, time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	now = now.UTC()
	last := time.Date(now.Year(), (now.Month()-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 3*(ahead+1), 0)
	for t := time.Date(firstQuarter, 1, 1, 0, 0, 0, 0, time.UTC); !t.After(last); t = t.AddDate(0, 3, 0) {
		starts = append(starts, t)
	}
	list := []period{{past, math.MinInt64, starts[0].Unix()}}
	for i, t := range starts[:len(starts)-1] {
		name := strconv.Itoa(t.Year())
		if t.Year() >= firstQuarter {
			name = fmt.Sprintf("%dq%d", t.Year(), (t.Month()+2)/3)
		}
		list = append(list, period{name, t.Unix(), starts[i+1].Unix()})
	}
	return append(list, period{future, starts[len(starts)-1].Unix(), math.MaxInt64})
}

const (
	sqlPeriods      = `SELECT name, lo, hi FROM period ORDER BY lo`
	sqlAddPeriod    = `INSERT INTO period (name, lo, hi) VALUES ($1, $2, $3)`
	sqlSetPeriodLow = `UPDATE period SET lo = $2 WHERE name = $1`
)

// Periods returns the names of the partitions' periods in order of time.
func (db *DB) periods(ctx context.Context) (list []period, err error) {
	err = db.read(ctx, func(q querier) (err error) {
		list, err = readPeriods(ctx, q)
		return err
	})
	return list, err
}

func readPeriods(ctx context.Context, q querier) ([]period, error) {
	var list []period
	err := each(ctx, q, func(rows pgx.Rows) error {
		var p period
		err := rows.Scan(&p.name, &p.lo, &p.hi)
		list = append(list, p)
		return err
	}, sqlPeriods)
	return list, err
}

// makePeriods makes the partitions that are missing at a time. New ones are
// carved from the open end: it is taken off, what it holds of the new stretch is
// moved, and it is put back with its new bound.
func makePeriods(ctx context.Context, tx pgx.Tx, now time.Time) error {
	have, err := readPeriods(ctx, tx)
	if err != nil {
		return err
	}
	var missing []period
	for _, p := range periods(now) {
		if !slices.ContainsFunc(have, func(h period) bool { return h.name == p.name }) {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	end := periods(now)[len(periods(now))-1]
	carved := len(have) > 0
	for _, table := range partitioned {
		if carved {
			if err := ddl(ctx, tx, "ALTER TABLE %s DETACH PARTITION %s", table, table+"_"+future); err != nil {
				return err
			}
		}
		for _, p := range missing {
			if err := ddl(ctx, tx, "CREATE TABLE %s PARTITION OF %s FOR VALUES FROM (%s) TO (%s)", table+"_"+p.name, table, bound(p.lo), bound(p.hi)); err != nil {
				return err
			}
			if carved {
				if err := ddl(ctx, tx, "WITH moved AS (DELETE FROM %[2]s WHERE created_at >= %[3]s AND created_at < %[4]s RETURNING *) INSERT INTO %[1]s SELECT * FROM moved",
					table, table+"_"+future, bound(p.lo), bound(p.hi)); err != nil {
					return err
				}
			}
		}
		if carved {
			if err := ddl(ctx, tx, "ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (MAXVALUE)", table, table+"_"+future, bound(end.lo)); err != nil {
				return err
			}
		}
	}
	for _, p := range missing {
		if _, err := tx.Exec(ctx, sqlAddPeriod, p.name, p.lo, p.hi); err != nil {
			return err
		}
	}
	if carved {
		_, err = tx.Exec(ctx, sqlSetPeriodLow, future, end.lo)
	}
	return err
}

func bound(at int64) string {
	switch at {
	case math.MinInt64:
		return "MINVALUE"
	case math.MaxInt64:
		return "MAXVALUE"
	}
	return strconv.FormatInt(at, 10)
}

// ddl runs a statement that takes no parameters: names and bounds are ours.
func ddl(ctx context.Context, tx pgx.Tx, format string, args ...any) error {
	_, err := tx.Exec(ctx, fmt.Sprintf(format, args...), pgx.QueryExecModeSimpleProtocol)
	return err
}

package postgres

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
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
	// manyPeriods is how many there may be before the quarters of the oldest year
	// become one: each costs every plan some time. A year's quarters more still
	// make 32.
	manyPeriods = 28
)

// partitioned are the tables that periods cut, parent first.
var partitioned = []string{"event", "sighting"}

// isQuarter tells a quarter from years and open ends.
func (p period) isQuarter() bool { return strings.Contains(p.name, "q") }

// year is that in which a period with a beginning begins.
func (p period) year() int { return time.Unix(p.lo, 0).UTC().Year() }

// periods returns the stretches that a database made at a time has, in order.
func periods(now time.Time) []period {
	end := horizon(now)
	list := []period{{past, math.MinInt64, newYear(firstYear)}}
	for y := firstYear; y < firstQuarter; y++ {
		list = append(list, wholeYear(y))
	}
	list = append(list, quarters(newYear(firstQuarter), end)...)
	list = append(list, period{future, end, math.MaxInt64})
	for {
		i := mergeable(list, now)
		if i < 0 {
			return list
		}
		list = slices.Replace(list, i, i+4, wholeYear(list[i].year()))
	}
}

// horizon is where the open end has to begin at a time.
func horizon(now time.Time) int64 {
	now = now.UTC()
	return time.Date(now.Year(), (now.Month()-1)/3*3+1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 3*(ahead+1), 0).Unix()
}

func newYear(y int) int64 { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix() }

func wholeYear(y int) period { return period{strconv.Itoa(y), newYear(y), newYear(y + 1)} }

// quarters returns those between the beginnings of two.
func quarters(from, to int64) (list []period) {
	for t := time.Unix(from, 0).UTC(); t.Unix() < to; t = t.AddDate(0, 3, 0) {
		list = append(list, period{fmt.Sprintf("%dq%d", t.Year(), (t.Month()+2)/3), t.Unix(), t.AddDate(0, 3, 0).Unix()})
	}
	return list
}

// mergeable returns where the quarters of the oldest year are that has four and is
// over, when there are too many periods; -1 when nothing is to be merged.
func mergeable(list []period, now time.Time) int {
	for i := 0; len(list) > manyPeriods && i+4 <= len(list); i++ {
		if list[i].isQuarter() && list[i+3].isQuarter() && list[i].year() == list[i+3].year() && list[i].year() < now.UTC().Year() {
			return i
		}
	}
	return -1
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

// missingPeriods returns what is not there yet: everything, or the quarters that
// have come since.
func missingPeriods(have []period, now time.Time) []period {
	if len(have) == 0 {
		return periods(now)
	}
	return quarters(have[len(have)-1].lo, horizon(now))
}

// makePeriods makes the partitions that are missing at a time. New ones are
// carved from the open end: it is taken off, what it holds of the new stretch is
// moved, and it is put back with its new bound.
func makePeriods(ctx context.Context, tx pgx.Tx, now time.Time) error {
	have, err := readPeriods(ctx, tx)
	if err != nil {
		return err
	}
	missing := missingPeriods(have, now)
	if len(missing) == 0 {
		return nil
	}
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
			if err := ddl(ctx, tx, "ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (MAXVALUE)", table, table+"_"+future, bound(horizon(now))); err != nil {
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
		_, err = tx.Exec(ctx, sqlSetPeriodLow, future, horizon(now))
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

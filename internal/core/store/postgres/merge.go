package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// mergeBlocks is how many pages of a quarter one transaction copies.
	mergeBlocks = 128
	// settingMerge is how far a merge is, while there is one.
	settingMerge = "merge"
	// mergePoll is how often it is looked whether transactions have ended.
	mergePoll = 50 * time.Millisecond
)

// yearMerge is how far the quarters of a year have become one. Its tables are those of
// events and sightings in a schema of their own, with the partition that the year
// will have. Triggers repeat there what others do to the quarters meanwhile, so
// every row that a quarter had before them has to be copied once, in any order.
type yearMerge struct {
	Year   int    `json:"year"`
	Source int    `json:"source"` // which of sources is copied
	File   uint32 `json:"file"`   // what it lay in when copying began; another when it was rewritten
	Block  int64  `json:"block"`  // the next page to copy
	End    int64  `json:"end"`    // the first page that is not
}

// source is a quarter's partition of a table.
type source struct{ table, partition string }

func (m *yearMerge) sources() (list []source) {
	for _, table := range partitioned {
		for _, q := range quarters(newYear(m.Year), newYear(m.Year+1)) {
			list = append(list, source{table, table + "_" + q.name})
		}
	}
	return list
}

// PendingMerges returns the names of what MergePeriods would do.
func (db *DB) PendingMerges(ctx context.Context) (names []string, err error) {
	list, err := db.periods(ctx)
	if err != nil {
		return nil, explain(err)
	}
	now := time.Now()
	for i := mergeable(list, now); i >= 0; i = mergeable(list, now) {
		year := wholeYear(list[i].year())
		list = slices.Replace(list, i, i+4, year)
		names = append(names, mergeName(year))
	}
	return names, nil
}

func mergeName(year period) string { return "merge_" + year.name }

// MergePeriods makes one partition of the four of each year that is over, oldest
// first, until there are not too many, and returns what it did. Others read and
// write meanwhile and wait for a lock for two seconds at most. It takes room for a
// copy of the year; interrupted, it goes on where it was. It needs the rights of
// the schema's owner, who may make a schema in the database. Processes that do it
// at once share the work.
func (db *DB) MergePeriods(ctx context.Context) ([]string, error) {
	return db.mergePeriods(ctx, time.Now())
}

func (db *DB) mergePeriods(ctx context.Context, now time.Time) (names []string, err error) {
	if db.opts.ReadOnly {
		return nil, errReadOnly
	}
	for {
		m, err := db.startMerge(ctx, now)
		if err != nil || m == nil {
			return names, err
		}
		if err := db.mergeYear(ctx); err != nil {
			return names, fmt.Errorf("merge the quarters of %d: %w", m.Year, explain(err))
		}
		names = append(names, mergeName(wholeYear(m.Year)))
	}
}

// mergeYear ends the merge under way.
func (db *DB) mergeYear(ctx context.Context) error {
	for more := true; more; {
		if err := db.write(ctx, func(tx pgx.Tx) (err error) {
			more, err = mergeSome(ctx, tx)
			return err
		}); err != nil {
			return err
		}
	}
	// Whoever took a look before the last rows were copied must not find them in
	// a partition that has none for that look.
	if err := db.outlast(ctx); err != nil {
		return err
	}
	return db.write(ctx, func(tx pgx.Tx) error { return endMerge(ctx, tx) })
}

const (
	sqlLockMerge   = `SELECT value FROM setting WHERE name = 'merge' FOR UPDATE`
	sqlLockTimeout = `SELECT set_config('lock_timeout', '2s', true)`
	sqlRunning     = `
		SELECT coalesce(array_agg(l.virtualtransaction), '{}') FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND a.datname = current_database() AND l.pid <> pg_backend_pid()
		AND coalesce(a.backend_type, 'client backend') = 'client backend'
		AND ($1::text[] IS NULL OR l.virtualtransaction = ANY($1))`
	sqlFile = `
		SELECT pg_relation_filenode($1::text::regclass)::bigint, pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint`
	sqlDropPeriods = `DELETE FROM period WHERE lo >= $1 AND hi <= $2`
)

// lockMerge reads how far the merge is and keeps others from it; nil when there is
// none.
func lockMerge(ctx context.Context, tx pgx.Tx) (*yearMerge, error) {
	var text string
	there, err := found(tx.QueryRow(ctx, sqlLockMerge).Scan(&text))
	if err != nil || !there {
		return nil, err
	}
	m := new(yearMerge)
	return m, json.Unmarshal([]byte(text), m)
}

func (m *yearMerge) save(ctx context.Context, tx pgx.Tx) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sqlPutSetting, settingMerge, string(text))
	return err
}

// mirrors are the functions that repeat a change of a quarter, by the condition
// that finds the row.
var mirrors = map[string]string{
	"event":    "created_at = OLD.created_at AND seq = OLD.seq",
	"sighting": "relay_id = OLD.relay_id AND created_at = OLD.created_at AND event_seq = OLD.event_seq",
}

// startMerge returns the merge under way, or begins the next one; nil when nothing
// is to be merged.
func (db *DB) startMerge(ctx context.Context, now time.Time) (m *yearMerge, err error) {
	err = db.write(ctx, func(tx pgx.Tx) (err error) {
		if _, err := tx.Exec(ctx, sqlLock, int64(settling)); err != nil {
			return err
		}
		if m, err = lockMerge(ctx, tx); err != nil || m != nil {
			return err
		}
		have, err := readPeriods(ctx, tx)
		if err != nil {
			return err
		}
		i := mergeable(have, now)
		if i < 0 {
			return nil
		}
		m = &yearMerge{Year: have[i].year()}
		if err := m.prepare(ctx, tx); err != nil {
			return err
		}
		return m.save(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("begin to merge partitions: %w", err)
	}
	return m, nil
}

func (m *yearMerge) prepare(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, sqlLockTimeout); err != nil {
		return err
	}
	if err := ddl(ctx, tx, "CREATE SCHEMA merging"); err != nil {
		return err
	}
	year := wholeYear(m.Year)
	for _, table := range partitioned {
		for _, sql := range []string{
			"CREATE TABLE merging.%[1]s (LIKE public.%[1]s INCLUDING ALL) PARTITION BY RANGE (created_at)",
			"CREATE TABLE public.%[1]s_%[2]s PARTITION OF merging.%[1]s FOR VALUES FROM (%[3]d) TO (%[4]d)",
			// What is known of a table need not be looked for when it is attached.
			"ALTER TABLE public.%[1]s_%[2]s ADD CONSTRAINT merged CHECK (created_at >= %[3]d AND created_at < %[4]d)",
			`CREATE FUNCTION merging.mirror_%[1]s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
			BEGIN
				IF TG_OP <> 'INSERT' THEN
					DELETE FROM merging.%[1]s WHERE %[5]s;
				END IF;
				IF TG_OP <> 'DELETE' THEN
					INSERT INTO merging.%[1]s VALUES (NEW.*) ON CONFLICT DO NOTHING;
				END IF;
				RETURN NULL;
			END $$`,
		} {
			if err := ddl(ctx, tx, sql, table, year.name, year.lo, year.hi, mirrors[table]); err != nil {
				return err
			}
		}
	}
	for _, s := range m.sources() {
		if err := ddl(ctx, tx, "CREATE TRIGGER mirror AFTER INSERT OR UPDATE OR DELETE ON public.%s FOR EACH ROW EXECUTE FUNCTION merging.mirror_%s()", s.partition, s.table); err != nil {
			return err
		}
	}
	return nil
}

// mergeSome copies the next pages and tells whether there are more. Rows are locked
// so that nobody deletes one between its being read and its being copied: what
// comes afterwards finds the copy.
func mergeSome(ctx context.Context, tx pgx.Tx) (more bool, err error) {
	m, err := lockMerge(ctx, tx)
	if err != nil || m == nil {
		return false, err // another process has ended it
	}
	sources := m.sources()
	if m.Source == len(sources) {
		return false, nil
	}
	s := sources[m.Source]
	if err := ddl(ctx, tx, "LOCK TABLE public.%s IN ROW SHARE MODE", s.partition); err != nil {
		return false, err
	}
	var file uint32
	var blocks int64
	if err := tx.QueryRow(ctx, sqlFile, "public."+s.partition).Scan(&file, &blocks); err != nil {
		return false, err
	}
	if file != m.File {
		m.File, m.Block, m.End = file, 0, blocks
	}
	end := min(m.Block+mergeBlocks, m.End)
	if m.Block < end {
		if err := ddl(ctx, tx, `
			INSERT INTO merging.%s SELECT * FROM (
				SELECT * FROM public.%s WHERE ctid >= '(%d,0)' AND ctid < '(%d,0)' FOR SHARE
			) AS locked ORDER BY created_at DESC ON CONFLICT DO NOTHING`, s.table, s.partition, m.Block, end); err != nil {
			return false, err
		}
	}
	if m.Block = end; m.Block >= m.End {
		*m = yearMerge{Year: m.Year, Source: m.Source + 1}
	}
	return m.Source < len(sources), m.save(ctx, tx)
}

// outlast waits until the transactions that run now in the database have ended.
func (db *DB) outlast(ctx context.Context) error {
	var running []string
	for first := true; first || len(running) > 0; first = false {
		if !first {
			if err := rest(ctx, mergePoll); err != nil {
				return err
			}
		}
		if err := db.read(ctx, func(q querier) error { return q.QueryRow(ctx, sqlRunning, running).Scan(&running) }); err != nil {
			return err
		}
	}
	return nil
}

// endMerge puts the year in the place of its quarters.
func endMerge(ctx context.Context, tx pgx.Tx) error {
	m, err := lockMerge(ctx, tx)
	if err != nil || m == nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlLockTimeout); err != nil {
		return err
	}
	if err := ddl(ctx, tx, "LOCK TABLE ONLY public.event, ONLY public.sighting IN ACCESS EXCLUSIVE MODE"); err != nil {
		return err
	}
	for _, s := range m.sources() {
		if err := ddl(ctx, tx, "ALTER TABLE public.%s DETACH PARTITION public.%s", s.table, s.partition); err != nil {
			return err
		}
		if err := ddl(ctx, tx, "DROP TABLE public.%s", s.partition); err != nil {
			return err
		}
	}
	year := wholeYear(m.Year)
	for _, table := range partitioned {
		for _, sql := range []string{
			"ALTER TABLE merging.%[1]s DETACH PARTITION public.%[1]s_%[2]s",
			"ALTER TABLE public.%[1]s ATTACH PARTITION public.%[1]s_%[2]s FOR VALUES FROM (%[3]d) TO (%[4]d)",
			"ALTER TABLE public.%[1]s_%[2]s DROP CONSTRAINT merged",
		} {
			if err := ddl(ctx, tx, sql, table, year.name, year.lo, year.hi); err != nil {
				return err
			}
		}
	}
	if err := ddl(ctx, tx, "DROP SCHEMA merging CASCADE"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlDropPeriods, year.lo, year.hi); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlAddPeriod, year.name, year.lo, year.hi); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sqlDropSetting, settingMerge); err != nil {
		return err
	}
	return grant(ctx, tx)
}

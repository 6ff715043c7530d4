package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"bigbrotr/internal/core/store"
)

// oldest is the first version of PostgreSQL that the schema works with.
const oldest = 150000

// Examine looks at a server and a database as their operator would: version,
// settings that hurt, what stands between, schema, partitions, rights, clock.
// It changes nothing. What cannot be reached is a finding, not an error; ctx
// bounds the time.
func Examine(ctx context.Context, url string, opts Options) store.Findings {
	var found store.Findings
	opts = opts.filled()
	cfg, err := poolConfig(url, opts)
	if err != nil {
		found.Bad("connection", err.Error(), "write postgres://user@host:port/name")
		return found
	}
	// Two connections and no more: whoever examines takes nothing from others.
	cfg.MaxConns = 2
	c := cfg.ConnConfig
	where := fmt.Sprintf("%s:%d, database %s, user %s", c.Host, c.Port, c.Database, c.User)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err == nil {
		defer pool.Close()
		err = pool.Ping(ctx)
	}
	if err != nil {
		found.Bad("connection", fmt.Sprintf("%s: %v", where, err), "check that the server runs, and the address, name, user and password")
		return found
	}
	found.OK("connection", where)
	e := examination{db: &DB{pool: pool, opts: opts, log: opts.Logger}, pool: pool, found: &found}
	for _, look := range []struct {
		subject string
		at      func(context.Context) error
	}{
		{"server", e.server},
		{"pooler", e.pooler},
		{"settings", e.settings},
		{"clock", e.clock},
		{"schema", e.schema},
		{"rights", e.rights},
		{"partitions", e.partitions},
		{"indexes", e.indexes},
		{"transactions", e.transactions},
		{"sums", e.sums},
		{"size", e.size},
	} {
		if err := look.at(ctx); err != nil {
			found.Bad(look.subject, "cannot be examined: "+err.Error(), "repeat it with the rights of the schema's owner")
		}
		if e.stop {
			break
		}
	}
	return found
}

// examination is one Examine under way.
type examination struct {
	db    *DB
	pool  *pgxpool.Pool
	found *store.Findings
	stop  bool // the rest would only repeat what was found
}

const sqlServer = `SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_setting('server_encoding')`

func (e *examination) server(ctx context.Context) error {
	var version, encoding string
	var number int
	if err := e.pool.QueryRow(ctx, sqlServer).Scan(&version, &number, &encoding); err != nil {
		return err
	}
	if number < oldest {
		e.found.Bad("server", "PostgreSQL "+version, "use PostgreSQL 15 or newer")
		e.stop = true
		return nil
	}
	if encoding != "UTF8" {
		e.found.Bad("server", "the database has the encoding "+encoding, "make it anew with the encoding UTF8")
	}
	e.found.OK("server", "PostgreSQL "+version)
	return nil
}

const sqlBackend = `SELECT pg_backend_pid()`

// pooler finds out what stands between. A pooler invents process numbers for
// its clients; one that lends connections by transaction gives two clients,
// one after the other, the same server process.
func (e *examination) pooler(ctx context.Context) error {
	ask := func(c *pgxpool.Conn) (pid uint32, err error) {
		err = c.QueryRow(ctx, sqlBackend).Scan(&pid)
		return pid, err
	}
	first, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer first.Release()
	one, err := ask(first)
	if err != nil {
		return err
	}
	if one == first.Conn().PgConn().PID() {
		e.found.OK("pooler", "none, connected directly")
		return nil
	}
	tx, err := first.Begin(ctx)
	if err != nil {
		e.found.Bad("pooler", "it refuses transactions: "+err.Error(), "set pool_mode = transaction")
		e.stop = true
		return nil
	}
	if err := tx.Rollback(ctx); err != nil {
		return err
	}
	second, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer second.Release()
	two, err := ask(second)
	if err != nil {
		return err
	}
	if one == two {
		e.found.OK("pooler", "lends connections by transaction")
	} else {
		e.found.Note("pooler", "it seems to lend connections by session, or is busy", "with many processes set pool_mode = transaction")
	}
	return nil
}

const sqlExamineSettings = `SELECT name, setting, coalesce(unit, '') FROM pg_settings WHERE name = ANY($1)`

func (e *examination) settings(ctx context.Context) error {
	names := []string{
		"fsync", "full_page_writes", "autovacuum", "synchronous_commit", "default_transaction_isolation",
		"statement_timeout", "shared_buffers", "max_wal_size", "max_connections",
	}
	have := make(map[string]string)
	if err := each(ctx, e.pool, func(rows pgx.Rows) error {
		var name, value, unit string
		err := rows.Scan(&name, &value, &unit)
		have[name] = value
		return err
	}, sqlExamineSettings, names); err != nil {
		return err
	}
	before := len(*e.found)
	bad := func(name, why string, remedy string) {
		e.found.Bad("settings", fmt.Sprintf("%s = %s: %s", name, have[name], why), remedy)
	}
	for _, name := range []string{"fsync", "full_page_writes"} {
		if have[name] == "off" {
			bad(name, "a crash of the machine can destroy the database", "set it on")
		}
	}
	if have["autovacuum"] == "off" {
		bad("autovacuum", "tables grow without end and plans go wrong", "set it on")
	}
	if have["default_transaction_isolation"] != "read committed" {
		bad("default_transaction_isolation", "writers would see each other's locks too late", "set it to read committed")
	}
	number := func(name string) int { n, _ := strconv.Atoi(have[name]); return n }
	if ms := number("statement_timeout"); ms > 0 && ms < 10_000 {
		bad("statement_timeout", "batches of large events may be cut off", "give the role at least 10 s")
	}
	if have["synchronous_commit"] == "off" {
		e.found.Note("settings", "synchronous_commit = off: a crash of the server takes the last moments, data and claims together", "set it on if its disk is fast enough")
	}
	const page = 8192
	if size := number("shared_buffers") * page; size < 256<<20 {
		e.found.Note("settings", fmt.Sprintf("shared_buffers = %d MB", size>>20), "give it a quarter of the server's memory")
	}
	if mb := number("max_wal_size"); mb < 4096 {
		e.found.Note("settings", fmt.Sprintf("max_wal_size = %d MB: frequent checkpoints slow down ingest", mb), "set it to 4 GB or more")
	}
	if len(*e.found) == before {
		e.found.OK("settings", "nothing that hurts; max_connections = "+have["max_connections"])
	}
	return nil
}

const sqlClock = `SELECT extract(epoch FROM clock_timestamp())::float8`

// The differences of two clocks that are worth a word, and that spoil leases.
const (
	clockNote = 2 * time.Second
	clockBad  = 30 * time.Second
)

func (e *examination) clock(ctx context.Context) error {
	var at float64
	begin := time.Now()
	if err := e.pool.QueryRow(ctx, sqlClock).Scan(&at); err != nil {
		return err
	}
	took := time.Since(begin)
	apart := begin.Add(took / 2).Sub(time.UnixMicro(int64(at * 1e6))).Abs()
	apart = max(apart-took/2, 0).Round(time.Millisecond)
	text := fmt.Sprintf("%v apart from the server's", apart)
	const remedy = "let both machines follow a time server"
	switch {
	case apart > clockBad:
		e.found.Bad("clock", text+": leases end too early or too late", remedy)
	case apart > clockNote:
		e.found.Note("clock", text, remedy)
	default:
		e.found.OK("clock", text)
	}
	return nil
}

func (e *examination) schema(ctx context.Context) error {
	v, err := e.db.version(ctx)
	if err != nil {
		return err
	}
	if v == 0 {
		e.found.Note("schema", "none yet", "run `bigbrotr init`")
		e.stop = true
		return nil
	}
	if err := e.db.VerifySchema(ctx); err != nil {
		e.found.Bad("schema", err.Error(), "run `bigbrotr migrate`")
		e.stop = v < newest()
		return nil
	}
	keep, err := e.db.Keep(ctx)
	if err != nil {
		return err
	}
	e.found.OK("schema", fmt.Sprintf("version %d, keeps events by the policy %q", v, keep.Mode))
	return nil
}

// The tables of each kind of work; of a setting only the owner makes another.
const sqlRights = `
	SELECT t, p, has_table_privilege(t, p)
	FROM unnest(array['event', 'sighting', 'work', 'coverage', 'rollup_day', 'host_slot', 'open_pace', 'setting']) t,
		unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
	WHERE t <> 'setting' OR p = 'SELECT'`

func (e *examination) rights(ctx context.Context) error {
	var missing []string
	reads, writes := true, false
	if err := each(ctx, e.pool, func(rows pgx.Rows) error {
		var table, right string
		var has bool
		err := rows.Scan(&table, &right, &has)
		if !has {
			missing = append(missing, strings.ToLower(right)+" on "+table)
		}
		if right == "SELECT" {
			reads = reads && has
		} else {
			writes = writes || has
		}
		return err
	}, sqlRights); err != nil {
		return err
	}
	switch {
	case len(missing) == 0:
		e.found.OK("rights", "may read and write")
	case reads && !writes:
		e.found.OK("rights", "may read, not write")
	default:
		if !reads { // the rest needs no telling
			missing = slices.DeleteFunc(missing, func(m string) bool { return !strings.HasPrefix(m, "select") })
		}
		e.found.Bad("rights", "lacks "+strings.Join(missing, ", "), "make the user a member of bigbrotr_writer or bigbrotr_reader and run `bigbrotr migrate` as the owner")
		e.stop = !reads
	}
	return nil
}

const sqlFuture = `SELECT count(*) FROM (SELECT 1 FROM event_future LIMIT 100001) AS found`

func (e *examination) partitions(ctx context.Context) error {
	have, err := e.db.periods(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for _, p := range missingPeriods(have, time.Now()) {
		missing = append(missing, p.name)
	}
	if len(missing) > 0 {
		e.found.Bad("partitions", "missing: "+strings.Join(missing, ", "), "run `bigbrotr migrate`, or keep the initializer running now and then")
		return nil
	}
	var late int
	if err := e.pool.QueryRow(ctx, sqlFuture).Scan(&late); err != nil {
		return err
	}
	if late > 100_000 {
		e.found.Note("partitions", "more than 100,000 events are dated beyond the last partition", "look whose clock, or whose joke, that is")
		return nil
	}
	if i := mergeable(have, time.Now()); i >= 0 {
		e.found.Note("partitions", fmt.Sprintf("%d: each costs every question some time", len(have)),
			fmt.Sprintf("run `bigbrotr migrate` as the owner when there is room for a copy of %d: its quarters become one", have[i].year()))
		return nil
	}
	e.found.OK("partitions", fmt.Sprintf("%d, the last from %s", len(have), time.Unix(have[len(have)-1].lo, 0).UTC().Format(time.DateOnly)))
	return nil
}

const sqlInvalid = `SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indrelid::regclass::text NOT LIKE 'pg\_%'`

func (e *examination) indexes(ctx context.Context) error {
	var invalid []string
	if err := each(ctx, e.pool, func(rows pgx.Rows) error {
		var name string
		err := rows.Scan(&name)
		invalid = append(invalid, name)
		return err
	}, sqlInvalid); err != nil {
		return err
	}
	if len(invalid) > 0 {
		e.found.Bad("indexes", "not valid: "+strings.Join(invalid, ", "), "REINDEX them")
	} else {
		e.found.OK("indexes", "all valid")
	}
	return nil
}

const sqlTransactions = `
	SELECT coalesce((SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::bigint FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL), 0),
		(SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()),
		(SELECT count(*) FROM pg_replication_slots WHERE NOT active)`

func (e *examination) transactions(ctx context.Context) error {
	var longest, age, slots int64
	if err := e.pool.QueryRow(ctx, sqlTransactions).Scan(&longest, &age, &slots); err != nil {
		return err
	}
	before := len(*e.found)
	if longest > 600 {
		e.found.Note("transactions", fmt.Sprintf("one runs for %v: nothing deleted since can be cleaned up", time.Duration(longest)*time.Second), "find it in pg_stat_activity")
	}
	if age > 1_000_000_000 {
		e.found.Bad("transactions", fmt.Sprintf("the oldest row is %d transactions old; at 2,000,000,000 the server stops", age), "VACUUM (FREEZE) the database")
	}
	if slots > 0 {
		e.found.Note("transactions", fmt.Sprintf("%d replication slots are not in use and keep the log from being cut", slots), "drop them if nobody comes back")
	}
	if len(*e.found) == before {
		e.found.OK("transactions", "none too long")
	}
	return nil
}

const sqlWaiting = `SELECT count(*) FROM batch WHERE nr > (SELECT nr FROM rollup_total WHERE name = 'events')`

func (e *examination) sums(ctx context.Context) error {
	var waiting int64
	if err := e.pool.QueryRow(ctx, sqlWaiting).Scan(&waiting); err != nil {
		return err
	}
	if waiting > 10_000 {
		e.found.Note("sums", fmt.Sprintf("%d batches are not counted yet", waiting), "run the refresher")
	} else {
		e.found.OK("sums", fmt.Sprintf("%d batches are not counted yet", waiting))
	}
	return nil
}

const sqlSize = `SELECT pg_database_size(current_database())`

func (e *examination) size(ctx context.Context) error {
	var size int64
	if err := e.pool.QueryRow(ctx, sqlSize).Scan(&size); err != nil {
		return err
	}
	e.found.OK("size", fmt.Sprintf("%d MB; how much the server's disk has left cannot be asked through SQL", size>>20))
	return nil
}

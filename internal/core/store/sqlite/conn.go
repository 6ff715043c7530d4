package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"bigbrotr/internal/core/store"
)

// conn is one connection with its prepared statements, for one goroutine at a
// time. It talks to the driver without database/sql, whose locks and
// conversions would cost as much per row as the row itself.
type conn struct {
	raw   driver.Conn
	stmts map[string]*stmt
	// steady keeps contexts from interrupting statements. The writer's are:
	// an interrupted change takes the whole transaction with it, others' work
	// included.
	steady bool
}

type stmt struct {
	raw  driver.Stmt
	args []driver.NamedValue
	dest []driver.Value
}

// connect opens a connection and applies the pragmas in order.
func connect(path string, readOnly bool, pragmas ...string) (*conn, error) {
	mode := "rwc"
	if readOnly {
		// Not "ro": a reader of a WAL database has to write its lock into the
		// shared memory, and query_only keeps it from anything else.
		mode = "rw"
		pragmas = append(pragmas, "query_only=1")
	}
	dsn, err := sourceName(path, mode)
	if err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	raw, err := connector.Connect(uninterrupted())
	if err != nil {
		return nil, translate(err)
	}
	c := &conn{raw: raw, stmts: make(map[string]*stmt)}
	for _, p := range pragmas {
		if _, err := c.exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// sourceName is how the driver is told of a file.
func sourceName(path, mode string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: abs, RawQuery: "mode=" + mode + "&_error_rc=1"}).String(), nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.raw.Close())
	}
	clear(c.stmts)
	return translate(errors.Join(append(errs, c.raw.Close())...))
}

// prepare returns the statement, compiled once per connection.
func (c *conn) prepare(sql string) (*stmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	raw, err := c.raw.Prepare(sql)
	if err != nil {
		return nil, translate(err)
	}
	s := &stmt{raw: raw}
	c.stmts[sql] = s
	return s, nil
}

func (s *stmt) bind(args []any) []driver.NamedValue {
	if len(s.args) != len(args) {
		s.args = make([]driver.NamedValue, len(args))
		for i := range s.args {
			s.args[i].Ordinal = i + 1
		}
	}
	for i, a := range args {
		s.args[i].Value = a
	}
	return s.args
}

// exec runs a statement and returns how many rows it changed. Arguments are
// int64, float64, string, []byte or nil; the driver takes no other integers.
func (c *conn) exec(sql string, args ...any) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	r, err := s.raw.(driver.StmtExecContext).ExecContext(uninterrupted(), s.bind(args))
	if err != nil {
		return 0, translate(err)
	}
	n, err := r.RowsAffected()
	return n, translate(err)
}

// query calls each for every row until it returns false. The row is valid
// during the call; its strings and blobs are the caller's to keep. A context
// that can end interrupts the statement.
func (c *conn) query(ctx context.Context, each func(row) bool, sql string, args ...any) (err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	if c.steady {
		ctx = uninterrupted()
	}
	rows, err := s.raw.(driver.StmtQueryContext).QueryContext(ctx, s.bind(args))
	if err != nil {
		return translate(err)
	}
	defer func() { err = errors.Join(err, translate(rows.Close())) }()
	if n := len(rows.Columns()); len(s.dest) != n {
		s.dest = make([]driver.Value, n)
	}
	for {
		if err := rows.Next(s.dest); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return translate(err)
		}
		if !each(row(s.dest)) {
			return nil
		}
	}
}

// one reads the first row and tells whether there is one.
func (c *conn) one(ctx context.Context, each func(row), sql string, args ...any) (bool, error) {
	found := false
	err := c.query(ctx, func(r row) bool {
		found = true
		each(r)
		return false
	}, sql, args...)
	return found, err
}

// each is query without an end but its own.
func (c *conn) each(each func(row) bool, sql string, args ...any) error {
	return c.query(uninterrupted(), each, sql, args...)
}

// first is one without an end but its own.
func (c *conn) first(each func(row), sql string, args ...any) (bool, error) {
	return c.one(uninterrupted(), each, sql, args...)
}

// uninterrupted is the context of statements that nothing cuts short: they are
// small, or part of a transaction of others.
func uninterrupted() context.Context {
	return context.Background() //nolint:forbidigo // see above
}

// row is what a query returned. A column of another type than asked for reads
// as zero: STRICT tables hold no others, and NULL means zero everywhere.
type row []driver.Value

func (r row) int(i int) int64 {
	v, _ := r[i].(int64)
	return v
}

func (r row) float(i int) float64 {
	switch v := r[i].(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	return 0
}

func (r row) text(i int) string {
	v, _ := r[i].(string)
	return v
}

func (r row) blob(i int) []byte {
	v, _ := r[i].([]byte)
	return v
}

func (r row) bool(i int) bool { return r.int(i) != 0 }

func integer(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// translate gives an error of the driver its meaning.
func translate(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	meaning := error(nil)
	switch code := e.Code(); code & 0xff {
	case lib.SQLITE_FULL:
		meaning = store.ErrFull
	case lib.SQLITE_NOTADB, lib.SQLITE_CORRUPT:
		meaning = store.ErrCorrupt
	case lib.SQLITE_PERM, lib.SQLITE_READONLY:
		meaning = fs.ErrPermission
	case lib.SQLITE_IOERR:
		// The driver does not tell the errno of a failed write; it is ENOSPC
		// so nearly always that asking the file system is worth it, which
		// (*DB).failed does.
		if code == lib.SQLITE_IOERR_WRITE || code == lib.SQLITE_IOERR_SHMSIZE || code == lib.SQLITE_IOERR_FSYNC {
			meaning = errWrite
		}
	case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		meaning = store.ErrUnstorable
	}
	if meaning == nil {
		return err
	}
	return &meant{meaning: meaning, err: err}
}

// errWrite says that the operating system refused a write.
var errWrite = errors.New("write failed")

// meant is a driver's error with what it means to callers.
type meant struct{ meaning, err error }

func (e *meant) Error() string   { return e.meaning.Error() + ": " + e.err.Error() }
func (e *meant) Unwrap() []error { return []error{e.meaning, e.err} }

// full tells whether the file system of path has no room left.
func full(path string) bool {
	var st syscall.Statfs_t
	return syscall.Statfs(filepath.Dir(path), &st) == nil && st.Bavail*uint64(st.Bsize) < 1<<20
}

package pgtest_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// ask returns the one value of a query.
func ask[T any](t *testing.T, conn *pgx.Conn, sql string) (value T) {
	t.Helper()
	// PgBouncer 1.18 knows no other mode of pgx that needs nothing else.
	if err := conn.QueryRow(t.Context(), sql, pgx.QueryExecModeSimpleProtocol).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func do(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestDatabase(t *testing.T) {
	c := pgtest.Shared(t)
	var url string
	t.Run("one", func(t *testing.T) {
		url = c.Database(t)
		conn := connect(t, url)
		if ask[bool](t, conn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") {
			t.Error("the owner is a superuser")
		}
		if ask[string](t, connect(t, c.Superuser(url)), "SELECT current_user") != "postgres" {
			t.Error("another superuser")
		}
		do(t, conn, "CREATE TABLE thing (n int)") // and the connection stays open
	})
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("the database of a test outlives it")
	}
	two := connect(t, c.Database(t))
	if ask[int](t, two, "SELECT count(*) FROM pg_class WHERE relname = 'thing'") != 0 {
		t.Error("a new database is not empty")
	}
	if ask[bool](t, two, "SELECT 'B' < 'a'") {
		t.Error("the default collation is by bytes")
	}
}

// TestPassword checks that nobody gets in without one.
func TestPassword(t *testing.T) {
	c := pgtest.Shared(t)
	direct := c.Database(t)
	for name, url := range map[string]string{"PostgreSQL": direct, "PgBouncer": c.Bouncer(t).URL(direct)} {
		cfg, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Password = "wrong"
		if conn, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
			conn.Close(t.Context())
			t.Errorf("%s takes any password", name)
		}
	}
}

func TestTemplate(t *testing.T) {
	c := pgtest.Shared(t)
	prepared := 0
	prepare := func(url string) error {
		prepared++
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return err
		}
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), "CREATE TABLE thing AS SELECT 1 AS n")
		return err
	}
	t.Run("copies", func(t *testing.T) {
		for i := range 4 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				conn := connect(t, c.Template(t, "things", prepare))
				do(t, conn, "INSERT INTO thing VALUES (2)")
				if n := ask[int](t, conn, "SELECT count(*) FROM thing"); n != 2 {
					t.Errorf("%d rows: a copy has not the template's or also another's", n)
				}
			})
		}
	})
	if prepared != 1 {
		t.Errorf("prepared %d times", prepared)
	}
}

func TestBouncer(t *testing.T) {
	c := pgtest.Shared(t)
	b := c.Bouncer(t)
	direct := c.Database(t)
	conn := connect(t, b.URL(direct))
	do(t, conn, "CREATE TABLE thing AS SELECT 1 AS n")
	if n := ask[int](t, connect(t, direct), "SELECT n FROM thing"); n != 1 {
		t.Error("PgBouncer leads to another database")
	}
	cfg, err := pgx.ParseConfig(b.URL(c.Superuser(direct)))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Database = "pgbouncer" // its console
	console, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close(t.Context())
	rows, err := console.Query(t.Context(), "SHOW CONFIG", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	mode := ""
	for rows.Next() {
		var name, value, preset, changeable *string
		if err := rows.Scan(&name, &value, &preset, &changeable); err != nil {
			t.Fatal(err)
		}
		if *name == "pool_mode" {
			mode = *value
		}
	}
	if mode != "transaction" {
		t.Errorf("pool_mode %q (%v)", mode, rows.Err())
	}
}

func TestLogin(t *testing.T) {
	c := pgtest.Shared(t)
	url := c.Database(t)
	do(t, connect(t, url), "CREATE TABLE thing AS SELECT 1 AS n")
	reader := c.Login(t, url, "thing readers")
	do(t, connect(t, url), `GRANT SELECT ON thing TO "thing readers"`)
	for _, url := range []string{reader, c.Login(t, url, "thing readers"), c.Bouncer(t).URL(reader)} {
		conn := connect(t, url)
		if ask[int](t, conn, "SELECT n FROM thing") != 1 {
			t.Error("a member of the group reads something else")
		}
		if _, err := conn.Exec(t.Context(), "DELETE FROM thing", pgx.QueryExecModeSimpleProtocol); err == nil {
			t.Error("a reader deletes")
		}
	}
}

func TestKill(t *testing.T) {
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"application_name": "it's a test"}})
	direct := c.Database(t)
	b := c.Bouncer(t)
	conn := connect(t, direct)
	for name, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"} {
		if got := ask[string](t, conn, "SHOW "+name); got != want {
			t.Errorf("%s is %s in a cluster that gets killed", name, got)
		}
	}
	do(t, conn, "CREATE TABLE thing AS SELECT generate_series(1, 3) AS n")
	do(t, conn, "BEGIN; INSERT INTO thing VALUES (4)")
	c.Kill(t)
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a killed server answers")
	}
	c.Restart(t)
	if n := ask[int](t, connect(t, direct), "SELECT count(*) FROM thing"); n != 3 {
		t.Errorf("%d rows after a crash", n)
	}
	if n := ask[int](t, connect(t, b.URL(direct)), "SELECT count(*) FROM thing"); n != 3 {
		t.Errorf("%d rows through a PgBouncer that saw a crash", n)
	}
	c.Restart(t) // in order
	if n := ask[int](t, connect(t, direct), "SELECT count(*) FROM thing"); n != 3 {
		t.Errorf("%d rows after a restart", n)
	}
	b.Kill(t)
	if _, err := pgx.Connect(t.Context(), b.URL(direct)); err == nil {
		t.Error("a killed PgBouncer answers")
	}
	b.Restart(t)
	if n := ask[int](t, connect(t, b.URL(direct)), "SELECT count(*) FROM thing"); n != 3 {
		t.Errorf("%d rows through the new PgBouncer", n)
	}
}

// TestVictim is what TestDeath runs in a process of its own.
func TestVictim(t *testing.T) {
	if os.Getenv("PGTEST_VICTIM") == "" {
		t.Skip("TestDeath runs it")
	}
	c := pgtest.Start(t, pgtest.Options{})
	conn := connect(t, c.Bouncer(t).URL(c.Database(t)))
	if _, err := conn.Exec(t.Context(), "DO $$ BEGIN RAISE WARNING 'busy'; PERFORM pg_sleep(600); END $$", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

// TestDeath kills a process that runs tests, in the midst of a statement, and
// looks that nothing of it stays: neither servers nor, after the next start,
// files.
func TestDeath(t *testing.T) {
	pgtest.Shared(t) // or skip
	base, err := os.MkdirTemp("", "pgtest-death-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range inside(base) { // none, unless the test fails
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		os.RemoveAll(base)
	})
	if err := os.Chmod(base, 0o711); err != nil { // the user postgres has to pass
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), "PGTEST_VICTIM=1", "TMPDIR="+base)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			fmt.Println(lines.Text())
		}
	}()
	busy := func() bool {
		logs, _ := filepath.Glob(filepath.Join(base, "*", "postgres.log"))
		for _, log := range logs {
			if text, err := os.ReadFile(log); err == nil && strings.Contains(string(text), "busy") {
				return true
			}
		}
		return false
	}
	wait(t, ctx, "a statement runs", busy)
	if n := len(inside(base)); n < 4 { // postmaster, its helpers, a session, PgBouncer
		t.Errorf("%d servers found: the test does not see them", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	wait(t, ctx, "all servers have ended", func() bool { return len(inside(base)) == 0 })

	left, _ := filepath.Glob(filepath.Join(base, "*"))
	pgtest.Start(t, pgtest.Options{Dir: base})
	if len(left) != 1 {
		t.Fatalf("left: %q", left)
	}
	if _, err := os.Stat(left[0]); err == nil {
		t.Error("the next start leaves the folder of the killed process")
	}
}

func wait(t *testing.T, ctx context.Context, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited too long until %s", what)
		}
	}
}

// inside returns the processes that work in a folder.
func inside(dir string) []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, dir+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			pids = append(pids, pid)
		}
	}
	return pids
}

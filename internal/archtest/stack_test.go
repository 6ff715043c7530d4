package archtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/postgres"
	"bigbrotr/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

var quiet = slog.New(slog.DiscardHandler)

// stack is what stands around the services of a deployment, made of Debian's
// programs and the files of deployments/base.
type stack struct {
	dir      string // of a copy of the deployment
	secrets  string
	admin    string // URL of the superuser
	database string
	postgres string // host:port
	bouncer  string
}

// newStack starts PostgreSQL and PgBouncer as the containers would.
func newStack(t *testing.T, name string) *stack {
	t.Helper()
	// What is started by this thread dies with it.
	runtime.LockOSThread()
	settings := settingsOf(t)
	delete(settings, "listen_addresses") // the test's own
	settings["shared_buffers"] = "256MB"
	cluster := pgtest.Start(t, pgtest.Options{Settings: settings})
	address := cluster.Database(t)
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{
		dir: t.TempDir(), admin: cluster.Superuser(address),
		database: strings.TrimPrefix(parsed.Path, "/"), postgres: parsed.Host,
	}
	copyTree(t, filepath.Join(root, "deployments", name), s.dir)
	s.secrets = makeSecrets(t, s.dir)
	s.psql(t, "roles.sql")
	s.startBouncer(t)
	return s
}

// settingsOf reads postgresql.conf.
func settingsOf(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deployments", base, "postgres", "postgresql.conf"))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		if !ok {
			t.Errorf("postgresql.conf: %q", line)
		}
		settings[key] = strings.Trim(value, "'")
	}
	return settings
}

// psql runs a script as the image does when it has made a database.
func (s *stack) psql(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-f", filepath.Join(root, "deployments", base, "postgres", script), s.admin)
	cmd.Env = append(os.Environ(), "SECRETS="+s.secrets)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// startBouncer starts PgBouncer with pgbouncer.ini, but for addresses.
func (s *stack) startBouncer(t *testing.T) {
	t.Helper()
	program := ""
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("PgBouncer is not installed: run make deps")
		}
		t.Skip("PgBouncer is not installed: run make deps")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.bouncer = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(s.bouncer)
	host, serverPort, _ := net.SplitHostPort(s.postgres)

	// Its account has to get at the files; t.TempDir is closed to others.
	dir, err := os.MkdirTemp("", "bigbrotr-stack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ini, err := os.ReadFile(filepath.Join(root, "deployments", base, "pgbouncer", "pgbouncer.ini"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(ini)
	for _, change := range [][2]string{
		{"\nbigbrotr = host=postgres port=5432\n", fmt.Sprintf("\nbigbrotr = host=%s port=%s dbname=%s\n", host, serverPort, s.database)},
		{"\nlisten_addr = *\n", "\nlisten_addr = 127.0.0.1\n"},
		{"\nlisten_port = 6432\n", "\nlisten_port = " + port + "\n"},
		{"/run/secrets/pgbouncer_users", filepath.Join(dir, "users")},
		{"\nmax_prepared_statements = 0\n", "\n"}, // Debian's is too old to know it
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("pgbouncer.ini has no %q", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	users, err := os.ReadFile(filepath.Join(s.secrets, "pgbouncer_users"))
	if err != nil {
		t.Fatal(err)
	}
	account := servants(t)
	for name, content := range map[string]string{"ini": text, "users": string(users)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if account != nil {
		for _, name := range []string{".", "ini", "users"} {
			if err := os.Chown(filepath.Join(dir, name), int(account.Uid), int(account.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var log strings.Builder
	cmd := exec.Command(program, filepath.Join(dir, "ini"))
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: account}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() || strings.Contains(log.String(), "WARNING") || strings.Contains(log.String(), "unrecognized") {
			t.Logf("PgBouncer:\n%s", log.String())
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if conn, err := net.Dial("tcp", s.bouncer); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatal("PgBouncer does not answer")
}

// servants returns the account that servers run as when we are root.
func servants(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// here puts our addresses in the place of those on the containers' networks.
func (s *stack) here(text string) string {
	return strings.NewReplacer(
		"@pgbouncer:6432/", "@"+s.bouncer+"/",
		"@postgres:5432/bigbrotr", "@"+s.postgres+"/"+s.database,
		"0.0.0.0:8080", "127.0.0.1:0", "0.0.0.0:9100", "127.0.0.1:0",
	).Replace(text)
}

// config reads the configuration of a container. Its seeds are none, so that
// nothing is dialled.
func (s *stack) config(t *testing.T, c container) app.Config {
	t.Helper()
	env := c.environment(s.secrets)
	for i := range env {
		env[i] = s.here(env[i])
	}
	cfg, _, err := load(s.dir, env)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store.URL = s.here(cfg.Store.URL)
	cfg.Initializer.Seeds = filepath.Join(s.dir, "none.txt")
	if err := os.WriteFile(cfg.Initializer.Seeds, []byte("# none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestStack builds the services of the deployments on PostgreSQL, each with the
// role, the rights and through the pooler that its container would have.
func TestStack(t *testing.T) {
	for _, name := range []string{"bigbrotr", "lilbrotr"} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, name)
			p := readProject(t, filepath.Join(root, "deployments", name))
			initialise(t, s, p.Services["initializer"])
			checkRights(t, s)
			for _, name := range slices.Sorted(maps.Keys(p.Services)) {
				if c := p.Services[name]; c.ours() && !c.once() {
					t.Run(name, func(t *testing.T) { runService(t, s, c) })
				}
			}
			t.Run("events", func(t *testing.T) { saveAndRead(t, s, p) })
			t.Run("doctor", func(t *testing.T) { doctor(t, s, p) })
		})
	}
}

func initialise(t *testing.T, s *stack, c container) {
	t.Helper()
	cfg := s.config(t, c)
	for range 2 { // as with every start of the deployment
		st, err := app.OpenStore(t.Context(), cfg, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if err := app.Init(t.Context(), cfg, st, quiet); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

// runService builds what a container runs and lets it run some cycles. What
// fails in one is only logged.
func runService(t *testing.T, s *stack, c container) {
	var complaints bytes.Buffer
	log := slog.New(slog.NewTextHandler(&complaints, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := app.Build(t.Context(), s.config(t, c), runs(t, c), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := a.RunAndClose(ctx); err != nil || complaints.Len() > 0 {
		t.Errorf("%v\n%s", err, complaints.Bytes())
	}
}

// sqlRights lists what the roles lack, or have too much.
const sqlRights = `
SELECT 'writer may not ' || wanted || ' ' || c.relname
  FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT has_table_privilege('bigbrotr_writer', c.oid, wanted)
UNION ALL
SELECT 'writer may not use the sequence ' || seqrelid::regclass
  FROM pg_sequence WHERE NOT has_sequence_privilege('bigbrotr_writer', seqrelid, 'USAGE')
UNION ALL
SELECT role || ' may not call ' || p.proname
  FROM pg_proc p, unnest(ARRAY['bigbrotr_writer', 'bigbrotr_reader']) AS role
 WHERE p.pronamespace = 'public'::regnamespace AND NOT has_function_privilege(role, p.oid, 'EXECUTE')
UNION ALL
SELECT 'reader may not read ' || c.relname
  FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT has_table_privilege('bigbrotr_reader', c.oid, 'SELECT')
UNION ALL
SELECT 'reader may ' || unwanted || ' ' || c.relname
  FROM pg_class c, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS unwanted
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege('bigbrotr_reader', c.oid, unwanted)
UNION ALL
SELECT role || ' may create in the schema'
  FROM unnest(ARRAY['bigbrotr_writer', 'bigbrotr_reader']) AS role
 WHERE has_schema_privilege(role, 'public', 'CREATE')
UNION ALL
SELECT 'everybody may connect' WHERE has_database_privilege('pg_monitor', current_database(), 'CONNECT')
UNION ALL
SELECT rolname || ' may do more than its work' FROM pg_roles WHERE rolname LIKE 'bigbrotr%' AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)
UNION ALL
SELECT 'there are ' || count(*) || ' tables' FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') HAVING count(*) < 20
ORDER BY 1`

func checkRights(t *testing.T, s *stack) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	// A table of tomorrow has the same rights as those of today.
	if _, err := conn.Exec(t.Context(), `SET ROLE bigbrotr_owner; CREATE TABLE tomorrow (id bigint GENERATED ALWAYS AS IDENTITY, n bigserial); RESET ROLE`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), sqlRights)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
	if _, err := conn.Exec(t.Context(), `DROP TABLE tomorrow`); err != nil {
		t.Fatal(err)
	}
}

// saveAndRead sends an event the way of a row: the synchronizer's container
// saves it, the refresher's counts it, the api's reads it and can write nothing.
func saveAndRead(t *testing.T, s *stack, p project) {
	ctx := t.Context()
	writer, err := app.OpenStore(ctx, s.config(t, p.Services["synchronizer"]), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	key := nostr.GenerateKey()
	event := nostr.Event{CreatedAt: 1_700_000_000, Kind: 1, Content: "hello"}
	if err := key.Sign(&event); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.SaveBatch(ctx, store.Batch{Events: []nostr.Event{event}}); err != nil {
		t.Fatal(err)
	}
	if err := app.Refresh(ctx, s.config(t, p.Services["refresher"]), writer, quiet); err != nil {
		t.Error(err)
	}
	reader, err := app.ReadStore(ctx, s.config(t, p.Services["api"]), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	keep, err := reader.Keep(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.config(t, p.Services["api"])
	if keep.Mode != cfg.Store.Keep {
		t.Errorf("the database keeps %q, the deployment wants %q", keep.Mode, cfg.Store.Keep)
	}

	conn, err := pgx.Connect(ctx, strings.Replace(cfg.Store.URL, "@", ":"+cfg.Store.Password.Reveal()+"@", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var events int
	var timeout, readOnly string
	row := conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM event), current_setting('statement_timeout'), current_setting('default_transaction_read_only')`, pgx.QueryExecModeExec)
	if err := row.Scan(&events, &timeout, &readOnly); err != nil {
		t.Fatal(err)
	}
	if events != 1 || timeout != "15s" || readOnly != "on" {
		t.Errorf("the reader finds %d events, statement_timeout %s, read only %s", events, timeout, readOnly)
	}
	refused := new(pgconn.PgError)
	if _, err := conn.Exec(ctx, `BEGIN READ WRITE; DELETE FROM event; COMMIT`, pgx.QueryExecModeSimpleProtocol); !errors.As(err, &refused) || refused.Code != "42501" {
		t.Errorf("the reader deletes events: %v", err)
	}
}

// doctor lets the program's own examination look at the server as deployed.
func doctor(t *testing.T, s *stack, p project) {
	cfg := s.config(t, p.Services["synchronizer"])
	found := postgres.Examine(t.Context(), cfg.Store.URL, postgres.Options{Password: cfg.Store.Password.Reveal()})
	for _, f := range found {
		if f.Grade != store.GradeOK {
			t.Errorf("%s: %s; %s", f.Subject, f.Text, f.Remedy)
		}
	}
	if len(found) < 5 {
		t.Errorf("only %d things were examined", len(found))
	}
	// What is lost is named, also where only the budgets of connections are kept.
	conn, err := pgx.Connect(t.Context(), s.admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, table := range []string{"host_slot", "open_pace"} {
		if _, err := conn.Exec(t.Context(), "REVOKE INSERT ON "+table+" FROM bigbrotr_writer", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		found := postgres.Examine(t.Context(), cfg.Store.URL, postgres.Options{Password: cfg.Store.Password.Reveal()})
		if !slices.ContainsFunc(found, func(f store.Finding) bool {
			return f.Subject == "rights" && f.Grade == store.GradeBad && strings.Contains(f.Text, "insert on "+table)
		}) {
			t.Errorf("without the right to insert into %s: %+v", table, found)
		}
	}
}

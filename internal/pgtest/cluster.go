package pgtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The users of a cluster.
const (
	superuser = "postgres"
	owner     = "owner" // of the databases, no superuser, as in deployments
)

// Cluster is a PostgreSQL server and its data. Its default collation sorts
// English words as people do, so that order which has to be by bytes shows
// whether it is asked for.
type Cluster struct {
	folder    *folder
	data, log string
	password  string // of all users
	port      int
	own       bool // one test's: it may be killed
	admin     *pgxpool.Pool

	names atomic.Int64 // of databases and logins

	mu        sync.Mutex
	server    *process
	templates map[string]*template
}

type template struct {
	once sync.Once
	name string
	err  error
}

// programs returns the folder of the newest PostgreSQL of Debian's packages, ""
// without one.
func programs() string {
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	if len(paths) == 0 {
		return ""
	}
	return filepath.Dir(slices.MaxFunc(paths, func(a, b string) int { return cmp.Compare(version(a), version(b)) }))
}

func start(ctx context.Context, opts Options) (*Cluster, error) {
	f, err := newFolder(cmp.Or(opts.Dir, os.TempDir()))
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		folder:    f,
		data:      filepath.Join(f.path, "data"),
		log:       filepath.Join(f.path, "postgres.log"),
		password:  rand.Text(),
		templates: map[string]*template{},
	}
	if err := c.create(ctx, opts); err != nil {
		text, _ := os.ReadFile(c.log)
		c.close()
		return nil, fmt.Errorf("%w\n%s", err, tail(text, 4<<10))
	}
	return c, nil
}

// create fills the folder and starts the server.
func (c *Cluster) create(ctx context.Context, opts Options) error {
	if err := c.folder.mkdir(c.data); err != nil {
		return err
	}
	password := filepath.Join(c.folder.path, "password")
	if err := c.folder.write(password, c.password); err != nil {
		return err
	}
	p, err := launch(c.folder, c.log, syscall.SIGKILL, filepath.Join(programs(), "initdb"), "--no-sync", "--no-instructions",
		"-D", c.data, "-U", superuser, "--pwfile", password, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en")
	if err != nil {
		return err
	}
	<-p.gone
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("initdb: %s", p.cmd.ProcessState)
	}
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "",
		"max_connections":         "200",
		"shared_buffers":          "128MB",
		"log_line_prefix":         "%m [%p] %d ",
		// As good as a sync of each file after a crash, and much faster.
		"recovery_init_sync_method": "syncfs",
		// In the folder, so that nothing of it outlives a killed server.
		"dynamic_shared_memory_type": "mmap",
	}
	maps.Copy(settings, opts.Settings)
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&lines, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	// What initdb wrote has only comments and settings for people.
	if err := c.folder.write(filepath.Join(c.data, "postgresql.conf"), lines.String()); err != nil {
		return err
	}
	for range 3 { // somebody may take the port before the server does
		if c.port, err = freePort(); err != nil {
			return err
		}
		if err = c.connect(ctx); err != nil {
			return err
		}
		if err = c.serve(ctx); err == nil {
			break
		}
		c.admin.Close()
	}
	if err != nil {
		return err
	}
	return c.exec(ctx, "CREATE ROLE "+owner+" LOGIN PASSWORD '"+c.password+"'")
}

// connect makes the pool for what is done here as superuser.
func (c *Cluster) connect(ctx context.Context) error {
	cfg, err := pgxpool.ParseConfig(c.url(superuser, "postgres"))
	if err != nil {
		return err
	}
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	cfg.MaxConns = 4
	c.admin, err = pgxpool.NewWithConfig(ctx, cfg)
	return err
}

// errEnded is the end of a server that was to run.
var errEnded = errors.New("the server has ended")

// serve starts the server and waits until it answers.
func (c *Cluster) serve(ctx context.Context) error {
	// At SIGQUIT a server leaves at once, but with its shared memory removed.
	p, err := launch(c.folder, c.log, syscall.SIGQUIT, filepath.Join(programs(), "postgres"), "-D", c.data, "-p", strconv.Itoa(c.port))
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.server = p
	c.mu.Unlock()
	return await(ctx, p, func(ctx context.Context) error {
		if !c.ready(p) {
			return errors.New("it is not ready")
		}
		c.admin.Reset() // its connections are to the last server
		_, err := c.admin.Exec(ctx, "SELECT 1")
		return err
	})
}

// ready tells whether the server says so in its lock file. To ask by connecting
// would cost a process each time and fill the log.
func (c *Cluster) ready(p *process) bool {
	lines := c.lockFile()
	return len(lines) > 7 && lines[0] == strconv.Itoa(p.cmd.Process.Pid) && lines[7] == "ready"
}

// lockFile returns the lines of postmaster.pid: the first is the process, the
// seventh the key and number of its shared memory, the eighth its state. A server
// that ends in order removes it.
func (c *Cluster) lockFile() []string {
	text, _ := os.ReadFile(filepath.Join(c.data, "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// forget removes the shared memory of a server that was killed.
func (c *Cluster) forget() {
	if lines := c.lockFile(); len(lines) > 6 {
		if _, text, ok := strings.Cut(lines[6], " "); ok {
			if id, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
				const remove = 0 // IPC_RMID
				_, _, _ = syscall.Syscall(syscall.SYS_SHMCTL, uintptr(id), remove, 0)
			}
		}
	}
}

// await asks again and again whether a server is there; nil says yes.
func await(ctx context.Context, p *process, ask func(ctx context.Context) error) error {
	var err error
	if until(ctx, func(ctx context.Context) bool {
		if p.ended() {
			err = errEnded
			return true
		}
		err = ask(ctx)
		return err == nil
	}) {
		return err
	}
	p.kill()
	return fmt.Errorf("the server does not answer: %w", err)
}

// exec runs statements as superuser.
func (c *Cluster) exec(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := c.admin.Exec(ctx, sql)
	return err
}

func (c *Cluster) url(user, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, c.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// running returns the server, nil when it is down.
func (c *Cluster) running() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil || c.server.ended() {
		return nil
	}
	return c.server
}

func (c *Cluster) close() {
	if c.admin != nil {
		c.admin.Close()
	}
	if p := c.running(); p != nil {
		p.stop(syscall.SIGQUIT)
	}
	c.forget()
	c.folder.remove()
}

// Database returns the URL of an empty database of the test's own. Its user owns
// it and is no superuser. In the shared cluster it is dropped at the test's end,
// whoever is still connected; another cluster ends anyway.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	return c.database(t, "template1")
}

// Template returns the URL of a copy of a template, which prepare has filled
// when the first test asked for the key. Only the content is copied, not what
// ALTER DATABASE says. prepare closes its connections.
func (c *Cluster) Template(t testing.TB, key string, prepare func(url string) error) string {
	t.Helper()
	c.mu.Lock()
	tpl := c.templates[key]
	if tpl == nil {
		tpl = &template{name: fmt.Sprintf("template_%d", c.names.Add(1))}
		c.templates[key] = tpl
	}
	c.mu.Unlock()
	tpl.once.Do(func() {
		tpl.err = errors.New("the test that prepared it has failed")
		tpl.err = c.fill(t.Context(), tpl.name, prepare)
	})
	if tpl.err != nil {
		t.Fatalf("prepare template %q: %v", key, tpl.err)
	}
	return c.database(t, tpl.name)
}

// fill makes a template.
func (c *Cluster) fill(ctx context.Context, name string, prepare func(url string) error) error {
	if err := c.exec(ctx, "CREATE DATABASE "+name+" OWNER "+owner); err != nil {
		return err
	}
	if err := prepare(c.url(owner, name)); err != nil {
		return err
	}
	// Nobody connected, also no autovacuum, keeps the copies waiting.
	return c.exec(ctx, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false")
}

func (c *Cluster) database(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", c.names.Add(1))
	if err := c.exec(t.Context(), "CREATE DATABASE "+name+" OWNER "+owner+" TEMPLATE "+template); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	if c.own {
		return c.url(owner, name)
	}
	t.Cleanup(func() {
		if err := c.exec(context.WithoutCancel(t.Context()), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop a database: %v", err)
		}
	})
	return c.url(owner, name)
}

// Superuser returns the URL of the same database for the cluster's superuser.
func (c *Cluster) Superuser(databaseURL string) string {
	return rewrite(databaseURL, func(u *url.URL) { u.User = url.UserPassword(superuser, c.password) })
}

// Login returns the URL of the same database for a new user, who belongs to
// groups; those that do not exist are made. Users and groups stay until the
// cluster's end, and groups are common to all of its databases.
func (c *Cluster) Login(t testing.TB, databaseURL string, groups ...string) string {
	t.Helper()
	name := fmt.Sprintf("login_%d", c.names.Add(1))
	sql := []string{"CREATE ROLE " + name + " LOGIN PASSWORD '" + c.password + "'"}
	for _, group := range groups {
		quoted := pgx.Identifier{group}.Sanitize()
		sql = append(sql,
			// Another test may do it at the same time.
			"DO $$ BEGIN CREATE ROLE "+quoted+"; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
			"GRANT "+quoted+" TO "+name)
	}
	if err := c.exec(t.Context(), strings.Join(sql, "; ")); err != nil {
		t.Fatalf("create a login: %v", err)
	}
	return rewrite(databaseURL, func(u *url.URL) { u.User = url.UserPassword(name, c.password) })
}

// rewrite changes a URL made here.
func rewrite(text string, change func(u *url.URL)) string {
	u, err := url.Parse(text)
	if err != nil {
		panic(err) // it was not made here
	}
	change(u)
	return u.String()
}

// Kill ends the server and its sessions as a crash of the machine's software
// would, kill -9 for each of them, and returns when all are gone. The cluster
// must be the test's own.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	c.mine(t)
	if p := c.running(); p != nil {
		p.kill()
	}
}

// Restart starts the server again on its port, after a shutdown in order if it
// runs, and returns when it answers. The cluster must be the test's own.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	c.mine(t)
	if p := c.running(); p != nil {
		p.stop(syscall.SIGINT) // PostgreSQL's fast shutdown
	}
	if err := again(t.Context(), c.serve); err != nil {
		t.Fatalf("restart the cluster: %v", err)
	}
}

func (c *Cluster) mine(t testing.TB) {
	t.Helper()
	if !c.own {
		t.Fatal("the shared cluster is not one test's to stop: use Start")
	}
}

// again starts a server, also when what is left of its predecessor refuses it
// for a moment.
func again(ctx context.Context, serve func(ctx context.Context) error) error {
	var err error
	until(ctx, func(ctx context.Context) bool {
		err = serve(ctx)
		return !errors.Is(err, errEnded)
	})
	return err
}

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Bouncer is a PgBouncer in transaction mode before a cluster, for all of its
// databases and users.
type Bouncer struct {
	cluster  *Cluster
	dir, log string
	port     int

	mu     sync.Mutex
	server *process
}

// Bouncer starts a PgBouncer before the cluster and stops it at the test's end.
func (c *Cluster) Bouncer(t testing.TB) *Bouncer {
	t.Helper()
	program := bouncer()
	if program == "" {
		absent(t, "PgBouncer")
	}
	b := &Bouncer{cluster: c, dir: filepath.Join(c.folder.path, fmt.Sprintf("bouncer_%d", c.names.Add(1)))}
	b.log = filepath.Join(b.dir, "pgbouncer.log")
	tell(t, b.log)
	err := c.folder.mkdir(b.dir)
	for range 3 { // somebody may take the port before the server does
		if err != nil {
			break
		}
		if err = b.configure(); err == nil {
			if err = b.serve(t.Context()); err == nil {
				break
			}
		}
	}
	if err != nil {
		t.Fatalf("start PgBouncer: %v", err)
	}
	t.Cleanup(b.stop)
	return b
}

// bouncer returns the program, "" without one. Debian keeps it where the paths
// of ordinary users do not lead.
func bouncer() string {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// configure chooses a port and writes the files.
func (b *Bouncer) configure() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	b.port = port
	// It asks the server for everybody's SCRAM secret as the superuser, so that
	// it knows users who come later. Outages end as soon as the server is back.
	config := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%[1]d

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[2]d
unix_socket_dir =
admin_users = %[4]s
auth_type = scram-sha-256
auth_file = %[3]s
auth_user = %[4]s
auth_query = SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
server_login_retry = 1
query_wait_timeout = 5
`, b.cluster.port, b.port, b.users(), superuser)
	if err := b.cluster.folder.write(b.config(), config); err != nil {
		return err
	}
	return b.cluster.folder.write(b.users(), fmt.Sprintf("%q %q\n", superuser, b.cluster.password))
}

func (b *Bouncer) config() string { return filepath.Join(b.dir, "pgbouncer.ini") }
func (b *Bouncer) users() string  { return filepath.Join(b.dir, "users.txt") }

// serve starts the server and waits until it answers.
func (b *Bouncer) serve(ctx context.Context) error {
	p, err := launch(b.cluster.folder, b.log, syscall.SIGKILL, bouncer(), b.config())
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.server = p
	b.mu.Unlock()
	// Its own console answers also when the cluster is down.
	console := b.URL(b.cluster.url(superuser, "pgbouncer"))
	return await(ctx, p, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, console)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "SHOW VERSION", pgx.QueryExecModeSimpleProtocol)
		return errors.Join(err, conn.Close(ctx))
	})
}

// URL returns the URL of the same database through PgBouncer.
func (b *Bouncer) URL(databaseURL string) string {
	return rewrite(databaseURL, func(u *url.URL) { u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) })
}

// Kill ends PgBouncer by kill -9 and returns when it is gone.
func (b *Bouncer) Kill(t testing.TB) {
	t.Helper()
	b.stop()
}

// Restart starts PgBouncer again on its port, after killing it if it runs, and
// returns when it answers.
func (b *Bouncer) Restart(t testing.TB) {
	t.Helper()
	b.stop()
	if err := again(t.Context(), b.serve); err != nil {
		t.Fatalf("restart PgBouncer: %v", err)
	}
}

// stop kills: PgBouncer keeps nothing that could be lost.
func (b *Bouncer) stop() {
	b.mu.Lock()
	p := b.server
	b.mu.Unlock()
	if p != nil {
		p.kill()
	}
}

// Package pgtest starts real PostgreSQL and PgBouncer servers for tests: on
// free ports of 127.0.0.1, with data below os.TempDir(), passwords made up for
// the run and SCRAM-SHA-256, by the programs of Debian's packages (deps.txt) and
// nothing else of the system: no cluster, no socket, no setting from /etc. Run
// as root it gives the servers to the user postgres, who must own them.
//
// Servers stop with their test or with the process, whatever its end: what is
// started here dies when the process that started it dies, and the folders of
// processes that were killed are removed by the next run. It knows nothing of
// the schema; what is in a database is its user's affair.
package pgtest

import (
	"context"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds everything that waits for a server.
const patience = 30 * time.Second

// shared is the cluster of this process and what became of its start.
var shared struct {
	sync.Mutex
	cluster *Cluster
	err     error
}

// Main runs the tests of a package and stops the servers that they started:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
func Main(m *testing.M) int {
	starts = make(chan func())
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The kernel tells a server of the death of the thread that started it,
		// so that thread has to stay (prctl(2), PR_SET_PDEATHSIG).
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if c := shared.cluster; c != nil {
		c.close()
	}
	close(starts)
	<-done
	return code
}

// Shared returns the cluster that the tests of this process share, started at
// its first use. It runs without fsync, which only the loss of power would
// miss, and refuses Kill and Restart. Roles are common to all tests; databases
// are each test's own.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	need(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = start(t.Context(), Options{Settings: map[string]string{
			"fsync":            "off",
			"full_page_writes": "off",
		}})
	}
	if shared.err != nil {
		t.Fatalf("start the shared cluster: %v", shared.err)
	}
	tell(t, shared.cluster.log)
	return shared.cluster
}

// Options are the choices of Start. Zero values are the defaults.
type Options struct {
	// Dir is where the cluster's folder is made, os.TempDir() unless set. Run as
	// root, the user postgres must be able to pass through it; t.TempDir() is
	// closed to others.
	Dir string
	// Settings are lines of postgresql.conf. Without them durability is that of
	// PostgreSQL's defaults.
	Settings map[string]string
}

// Start starts a cluster of the test's own and stops it at the test's end.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	need(t)
	c, err := start(t.Context(), opts)
	if err != nil {
		t.Fatalf("start a cluster: %v", err)
	}
	c.own = true
	t.Cleanup(c.close)
	tell(t, c.log)
	return c
}

// need skips the test when PostgreSQL is not installed; with CI set it fails.
func need(t testing.TB) {
	t.Helper()
	if starts == nil {
		t.Fatal("TestMain of this package has to call pgtest.Main")
	}
	if programs() == "" {
		absent(t, "PostgreSQL")
	}
}

func absent(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed: run make deps", what)
	}
	t.Skipf("%s is not installed: run make deps", what)
}

// tell shows at the end of a failed test what a server wrote meanwhile.
func tell(t testing.TB, log string) {
	const most = 16 << 10
	var from int64
	if info, err := os.Stat(log); err == nil {
		from = info.Size()
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		text, err := os.ReadFile(log)
		if err != nil {
			t.Logf("read the log of a server: %v", err)
			return
		}
		text = text[min(from, int64(len(text))):]
		t.Logf("log of %s:\n%s", log, tail(text, most))
	})
}

// tail returns the last lines of a text, at most so many bytes.
func tail(text []byte, most int) string {
	s := string(text)
	if len(s) > most {
		_, s, _ = strings.Cut(s[len(s)-most:], "\n")
	}
	return s
}

// until calls done again and again, at most for patience or as long as the
// context lives, and tells whether it was true at last.
func until(ctx context.Context, done func(ctx context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

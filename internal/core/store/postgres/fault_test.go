package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/pgtest"
)

// numbered returns events that are all different, one a second. Nobody here
// looks at their signatures.
func numbered(from, n int) []nostr.Event {
	events := make([]nostr.Event, n)
	for i := range events {
		e := nostr.Event{
			PubKey: sha256.Sum256(fmt.Appendf(nil, "author %d", (from+i)%7)), CreatedAt: 1_700_000_000 + int64(from+i), Kind: 1,
			Content: fmt.Sprint("note ", from+i), Tags: []nostr.Tag{{"t", fmt.Sprint((from + i) % 3)}},
		}
		e.ID = sha256.Sum256(e.AppendCanonical(nil))
		events[i] = e
	}
	return events
}

func openAt(t *testing.T, url string) *DB {
	t.Helper()
	db, err := Open(t.Context(), url, Options{RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func addRelay(t *testing.T, db *DB) store.Relay {
	t.Helper()
	u, err := relay.Parse("wss://relay.nostr.org")
	if err != nil {
		t.Fatal(err)
	}
	relays, err := db.AddRelays(t.Context(), []relay.URL{u}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return relays[0]
}

// whole checks that of every batch of size all or nothing is there, at least as
// many as acknowledged, and that no claim is ahead of its events.
func whole(t *testing.T, db *DB, r store.Relay, filter store.FilterID, acknowledged, size int) {
	t.Helper()
	var refs []nostr.Ref
	for _, e := range numbered(0, acknowledged+2*size) {
		refs = append(refs, nostr.Ref{ID: e.ID, CreatedAt: e.CreatedAt})
	}
	seqs, err := db.Known(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	there := 0
	for i, seq := range seqs {
		if seq != 0 {
			there++
		} else if i < acknowledged {
			t.Fatalf("event %d was acknowledged and is lost", i)
		}
	}
	if there%size != 0 {
		t.Errorf("%d events are there: a part of a batch", there)
	}
	claims, err := db.Coverage(t.Context(), r.ID, filter)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range claims {
		if last := 1_700_000_000 + int64(there) - 1; c.Hi > last {
			t.Errorf("claimed up to %d, held up to %d", c.Hi, last)
		}
	}
	scanned := 0
	for _, err := range db.ScanEvents(t.Context(), "", nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		scanned++
	}
	if scanned != there {
		t.Errorf("%d events scanned, %d are there", scanned, there)
	}
	rightSums(t, db)
}

// rightSums counts what is new, and then everything again: both are the same.
func rightSums(t *testing.T, db *DB) {
	t.Helper()
	for more := true; more; {
		done, err := db.Refresh(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		more = done.More
	}
	if wrong, err := db.Recount(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("recount: %+v, %v", wrong, err)
	}
}

// TestKilledServers kills PostgreSQL, PgBouncer and single connections again and
// again while batches are written: the writer goes on by itself, nothing that
// was acknowledged is lost, nothing that is missing is claimed.
func TestKilledServers(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	cluster := pgtest.Start(t, pgtest.Options{})
	direct, single := cluster.Database(t), cluster.Database(t)
	bouncer := cluster.Bouncer(t)
	for _, test := range []struct {
		name, url string
		trouble   func(t *testing.T)
	}{
		{"PostgreSQL", direct, func(t *testing.T) {
			cluster.Kill(t)
			cluster.Restart(t)
		}},
		{"PostgreSQL behind PgBouncer", bouncer.URL(cluster.Database(t)), func(t *testing.T) {
			cluster.Kill(t)
			cluster.Restart(t)
		}},
		{"PgBouncer", bouncer.URL(cluster.Database(t)), func(t *testing.T) {
			bouncer.Kill(t)
			bouncer.Restart(t)
		}},
		{"connections", single, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), single)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := openAt(t, test.url)
			if _, err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := addRelay(t, db)
			filter, err := db.FilterID(t.Context(), nostr.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			const size, batches, kills = 40, 60, 3
			// One batch is under way at nearly all times, so that kills hit some.
			wake := make(chan int, batches)
			var acknowledged atomic.Int64
			var writing sync.WaitGroup
			writing.Go(func() {
				for i := range batches {
					events := numbered(i*size, size)
					lo, hi := events[0].CreatedAt, events[size-1].CreatedAt
					_, err := db.SaveBatch(t.Context(), store.Batch{
						Relay: r.ID, SeenAt: 1, Events: events, Filter: filter,
						Claims: []store.Coverage{{Relay: r.ID, Filter: filter, Interval: store.Interval{Lo: lo, Hi: hi}, Level: store.LevelWalked, AsOf: 1, Method: "walked", N: size}},
					})
					if err != nil {
						t.Errorf("batch %d: %v", i, err)
						break
					}
					acknowledged.Store(int64((i + 1) * size))
					wake <- i
				}
				close(wake)
			})
			for i := range wake {
				if i%(batches/kills) == batches/kills/2 {
					test.trouble(t)
				}
			}
			writing.Wait()
			whole(t, db, r, filter, int(acknowledged.Load()), size)
		})
	}
}

// TestGivesWay has the server choose our transaction to give way, once in a
// deadlock and once because it saw what has changed since: it is done again.
func TestGivesWay(t *testing.T) {
	url := openNew(t, Options{}).pool.Config().ConnString()
	conn, err := pgx.Connect(t.Context(), pgtest.Shared(t).Superuser(url))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	// Whoever stands in our way never finds out about a deadlock.
	exec(`SET deadlock_timeout = '1h'`)
	events := numbered(0, 2)
	older, newer := events[0], events[1]
	add := func(e nostr.Event) {
		t.Helper()
		exec(`INSERT INTO event (seq, created_at, kind, author, first_seen, id, pubkey) VALUES (-1, $1, 1, 0, 0, $2, $3)`, e.CreatedAt, e.ID[:], e.PubKey[:])
	}
	// waited returns when another transaction waits for a lock.
	waited := func() {
		t.Helper()
		for n := 0; n == 0; {
			if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name, code, params string
		work               func(db *DB) error
		first, then        func() // what stands in the way, before ours begins and when it waits
	}{
		{
			"a deadlock", codeDeadlock, "",
			func(db *DB) error {
				saved, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: events})
				if err == nil && saved.New != 2 {
					err = fmt.Errorf("saved %+v", saved)
				}
				return err
			},
			func() { exec(`BEGIN`); add(older) }, // we write from the newest on
			func() { add(newer); exec(`ROLLBACK`) },
		},
		{
			"a change since", codeSerialization, "&default_transaction_isolation=repeatable%20read",
			func(db *DB) error {
				done, err := db.Refresh(t.Context(), 100)
				if err == nil && done.Events != 2 {
					err = fmt.Errorf("refreshed %+v", done)
				}
				return err
			},
			func() { exec(`BEGIN`); exec(`UPDATE rollup_total SET n = n`) },
			func() { exec(`COMMIT`) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log lockedBuffer
			db, err := Open(t.Context(), url+test.params, Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			test.first()
			var working sync.WaitGroup
			working.Go(func() {
				if err := test.work(db); err != nil {
					t.Error(err)
				}
			})
			waited()
			test.then()
			working.Wait()
			if text := log.String(); !strings.Contains(text, test.code) {
				t.Errorf("nothing had to give way: %s", text)
			}
		})
	}
	whole := 0
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM event`).Scan(&whole); err != nil || whole != 2 {
		t.Errorf("%d events, %v", whole, err)
	}
}

// lockedBuffer is written by many.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestMigrateTogether lets several processes make the schema of one database.
func TestMigrateTogether(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	var all sync.WaitGroup
	var ran atomic.Int64
	for range 3 {
		all.Go(func() {
			db, err := Open(t.Context(), url, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			steps, err := db.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			ran.Add(int64(len(steps)))
			if err := db.VerifySchema(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	if n := ran.Load(); n != int64(len(files)) {
		t.Errorf("%d steps ran, there are %d", n, len(files))
	}
}

// TestMigrateInterrupted ends the connections of a migration again and again;
// the next goes on where it was.
func TestMigrateInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	cluster := pgtest.Start(t, pgtest.Options{})
	db := openAt(t, cluster.Database(t))
	for round := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := db.Migrate(ctx)
			done <- err
		}()
		if round == 0 {
			cluster.Kill(t)
			cluster.Restart(t)
		}
		if round%2 == 1 {
			cancel()
		}
		err := <-done
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.VerifySchema(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.SaveBatch(t.Context(), store.Batch{SeenAt: 1, Events: numbered(0, 10)}); err != nil {
		t.Error(err)
	}
}

// TestPoison refuses a few rows of a large batch: the others are stored.
func TestPoison(t *testing.T) {
	db := openNew(t, Options{})
	if _, err := db.pool.Exec(t.Context(), `ALTER TABLE event ADD CONSTRAINT picky CHECK (content NOT IN ('note 0', 'note 500', 'note 501', 'note 999'))`); err != nil {
		t.Fatal(err)
	}
	r := addRelay(t, db)
	saved, err := db.SaveBatch(t.Context(), store.Batch{Relay: r.ID, SeenAt: 1, Events: numbered(0, 1000)})
	if err != nil || saved.New != 996 {
		t.Fatalf("%+v, %v", saved, err)
	}
	var kept int
	if err := db.pool.QueryRow(t.Context(), `SELECT count(*) FROM quarantine WHERE reason = 'unstorable'`).Scan(&kept); err != nil || kept != 4 {
		t.Errorf("%d rows in quarantine, %v", kept, err)
	}
	// The same again, with sightings of what is known.
	again, err := db.SaveBatch(t.Context(), store.Batch{Relay: r.ID, SeenAt: 1, Events: numbered(0, 1000)})
	if err != nil || again.New != 0 || again.Known != 996 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// smallDisk mounts a file system of a size that the server may enter.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bigbrotr-full-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=777,size="+size); err != nil {
		if os.Getenv("CI") != "" && os.Getuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("needs to mount a small file system: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// tablespace makes a folder on a disk that the user of the server owns: only
// root can have mounted it, and under root the server runs as postgres.
func tablespace(t *testing.T, disk string) string {
	t.Helper()
	dir := filepath.Join(disk, "tables")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestFull fills a small disk: nothing half is there, nothing acknowledged is
// lost, and with room again it goes on. When the tables have no room the error
// says so; when the log of the server has none, the server itself gives up.
func TestFull(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	for _, test := range []struct {
		name, size string
		start      func(t *testing.T, disk string) (*pgtest.Cluster, string)
		toldFull   bool
	}{
		{"tables", "40m", func(t *testing.T, disk string) (*pgtest.Cluster, string) {
			cluster := pgtest.Start(t, pgtest.Options{})
			url := cluster.Database(t)
			cfg, err := pgx.ParseConfig(cluster.Superuser(url))
			if err != nil {
				t.Fatal(err)
			}
			name := cfg.Database
			cfg.Database = "postgres"
			conn, err := pgx.ConnectConfig(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			for _, sql := range []string{"CREATE TABLESPACE small LOCATION '" + tablespace(t, disk) + "'", "ALTER DATABASE " + name + " SET TABLESPACE small"} {
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			return cluster, url
		}, true},
		{"everything", "120m", func(t *testing.T, disk string) (*pgtest.Cluster, string) {
			cluster := pgtest.Start(t, pgtest.Options{Dir: disk, Settings: map[string]string{
				"max_wal_size": "32MB", "min_wal_size": "32MB", "wal_recycle": "off",
			}})
			return cluster, cluster.Database(t)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := smallDisk(t, test.size)
			cluster, url := test.start(t, disk)
			db, err := Open(t.Context(), url, Options{RetryFor: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			if _, err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := addRelay(t, db)
			filter, err := db.FilterID(t.Context(), nostr.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			const size = 500
			acknowledged := 0
			for {
				_, err := db.SaveBatch(t.Context(), store.Batch{Relay: r.ID, SeenAt: 1, Events: numbered(acknowledged, size), Filter: filter})
				if err != nil {
					if test.toldFull && !errors.Is(err, store.ErrFull) {
						t.Fatalf("got %v, want ErrFull", err)
					}
					break
				}
				if acknowledged += size; acknowledged > 200_000 {
					t.Fatal("it never became full")
				}
			}
			if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=400m"); err != nil {
				t.Fatal(err)
			}
			if !test.toldFull {
				cluster.Restart(t) // as its operator would
			}
			whole(t, db, r, filter, acknowledged, size)
			if _, err := db.SaveBatch(t.Context(), store.Batch{Relay: r.ID, SeenAt: 1, Events: numbered(acknowledged, size)}); err != nil {
				t.Fatalf("with room again: %v", err)
			}
		})
	}
}

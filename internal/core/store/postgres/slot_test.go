package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/pgtest"
)

// processes opens a new database as often as there are processes.
func processes(t testing.TB, n int, through func(url string) string) []*DB {
	t.Helper()
	first := openNew(t, Options{})
	url := through(first.pool.Config().ConnString())
	dbs := make([]*DB, n)
	for i := range dbs {
		var err error
		if dbs[i], err = Open(t.Context(), url, Options{Connections: 4}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = dbs[i].Close() })
	}
	return dbs
}

func directly(url string) string { return url }

// rows counts the rows of slots that a condition chooses.
func rows(t testing.TB, db *DB, where string) (n int) {
	t.Helper()
	if err := db.pool.QueryRow(t.Context(), "SELECT count(*) FROM host_slot WHERE "+where).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits until a condition chooses n rows.
func await(t testing.TB, db *DB, where string, n int) {
	t.Helper()
	begin := time.Now()
	for rows(t, db, where) != n {
		if time.Since(begin) > time.Minute {
			t.Fatalf("%d rows where %s, want %d", rows(t, db, where), where, n)
		}
	}
}

// takeSlot takes a slot of a host that carries two and has ten seconds for it.
func takeSlot(t testing.TB, s *Slots) (free func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	free, err := s.Take(ctx, "host", 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	return free
}

// full checks that no slot of the host is free for a while.
func full(t testing.TB, s *Slots, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if _, err := s.Take(ctx, "host", 2, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a third slot: %v", err)
	}
}

// relays is a network of echoing hosts on addresses of this machine. It counts
// connections from before they are opened until after they are closed.
type relays struct {
	port string

	mu        sync.Mutex
	open, max map[string]int
}

func newRelays(t *testing.T, hosts ...string) *relays {
	r := &relays{port: "0", open: make(map[string]int), max: make(map[string]int)}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	for _, host := range hosts {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, r.port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		_, r.port, _ = net.SplitHostPort(l.Addr().String())
		serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serving.Go(func() {
					defer c.Close()
					_, _ = io.Copy(c, c) // until it is closed
				})
			}
		})
	}
	return r
}

func (r *relays) url(t *testing.T, host string) relay.URL {
	t.Helper()
	u, err := relay.Rules{AllowLocal: true}.Parse("ws://" + net.JoinHostPort(host, r.port))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (r *relays) count(host string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[host] += n
	r.max[host] = max(r.max[host], r.open[host])
}

// watched is a connection that says when it is closed.
type watched struct {
	net.Conn
	closed func()
}

func (c *watched) Close() error {
	err := c.Conn.Close()
	c.closed()
	return err
}

func (r *relays) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	r.count(host, 1)
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		r.count(host, -1)
		return nil, err
	}
	return &watched{c, sync.OnceFunc(func() { r.count(host, -1) })}, nil
}

// dialer is that of one process.
func (r *relays) dialer(slots dial.Slots) *dial.Dialer {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal, cfg.PerMinute = true, 1_000_000
	return dial.New(cfg).Over(r.connect).Share(slots)
}

// say has a connection echo a byte.
func say(c net.Conn) error {
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// TestSlotsOfAllProcesses has processes connect to the same hosts, work, rest
// and work again: together no more at once to each than one of them might.
func TestSlotsOfAllProcesses(t *testing.T) {
	const workers, turns = 3, 8
	bouncer := pgtest.Shared(t).Bouncer(t)
	for name, through := range map[string]func(string) string{"direct": directly, "PgBouncer": bouncer.URL} {
		t.Run(name, func(t *testing.T) {
			hosts := []string{"127.0.0.1", "127.0.0.2"}
			r := newRelays(t, hosts...)
			dbs := processes(t, 3, through)
			var dialers []*dial.Dialer
			for i, db := range dbs {
				dialers = append(dialers, r.dialer(db.Slots(t.Context(), fmt.Sprint("process ", i))))
			}
			var working sync.WaitGroup
			var first []*dial.Conn
			for _, host := range hosts {
				u := r.url(t, host)
				for _, d := range dialers[:2] {
					c, err := d.Dial(t.Context(), u)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					first = append(first, c)
				}
				for _, d := range dialers {
					for range workers {
						working.Go(func() {
							for range turns {
								if err := visit(t.Context(), r, d, u); err != nil {
									t.Error(err)
								}
							}
						})
					}
				}
			}
			// For each host two of a process are in line, or one beside its own.
			await(t, dbs[0], "NOT held", 2*(1+1+2))
			for _, c := range first {
				c.Close()
			}
			working.Wait()
			for _, host := range hosts {
				if r.max[host] != 2 || r.open[host] != 0 {
					t.Errorf("%s carried %d connections at once and has %d, want 2 and 0", host, r.max[host], r.open[host])
				}
			}
			await(t, dbs[0], "true", 0)
		})
	}
}

// visit opens a connection, works, rests and works again.
func visit(ctx context.Context, r *relays, d *dial.Dialer, u relay.URL) error {
	c, err := d.Dial(ctx, u)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := say(c); err != nil {
		return err
	}
	r.count(u.Hostname(), -1) // a resting connection does not count
	rests := c.Rest()
	if rests {
		err = c.Wake(ctx)
	}
	r.count(u.Hostname(), 1)
	if err != nil {
		return err
	}
	return say(c)
}

// TestSlotsInOrder has processes wait for one slot: they get it in the order in
// which they came.
func TestSlotsInOrder(t *testing.T) {
	dbs := processes(t, 3, directly)
	first, err := dbs[0].Slots(t.Context(), "process 0").Take(t.Context(), "host", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	const waiting = 5
	order := make(chan int, waiting)
	var all sync.WaitGroup
	for i := range waiting {
		s := dbs[i%len(dbs)].Slots(t.Context(), fmt.Sprint("waiting ", i))
		all.Go(func() {
			free, err := s.Take(t.Context(), "host", 1, 0)
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			free()
		})
		await(t, dbs[0], "NOT held", i+1)
	}
	first()
	all.Wait()
	for i := range waiting {
		if got := <-order; got != i {
			t.Errorf("at turn %d came %d", i, got)
		}
	}
}

// TestSlotsOfTheDead has a process die with its slots and its place in line:
// while it lives it keeps them for longer than a lease, then others get them.
func TestSlotsOfTheDead(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	times := defaultSlotTimes
	times.lease, times.turn, times.renew = 2*time.Second, 2*time.Second, 100*time.Millisecond
	dbs := processes(t, 2, directly)
	dead, alive := dbs[0].newSlots(t.Context(), "dead", times), dbs[1].newSlots(t.Context(), "alive", times)
	for range 2 {
		_ = takeSlot(t, dead)
	}
	full(t, alive, 3*time.Second)

	var waiting sync.WaitGroup
	waiting.Go(func() { _, _ = dead.Take(t.Context(), "host", 2, 0) })
	await(t, dbs[1], "NOT held AND owner = 'dead'", 1)
	dbs[0].pool.Close() // it cannot say farewell
	dead.close()
	waiting.Wait()
	for range 2 {
		_ = takeSlot(t, alive)
	}
	if n := rows(t, dbs[1], "owner = 'dead'"); n != 3 {
		t.Errorf("%d rows of the dead process, want 3", n)
	}
	if _, err := dbs[1].pool.Exec(t.Context(), "UPDATE host_slot SET until = until - interval '11 minutes' WHERE owner = 'dead'"); err != nil {
		t.Fatal(err)
	}
	if _, err := dbs[1].pool.Exec(t.Context(), "INSERT INTO open_pace VALUES (1, now())"); err != nil {
		t.Fatal(err)
	}
	if err := alive.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, dbs[1], "owner = 'dead' OR EXISTS (SELECT 1 FROM open_pace)"); n != 0 {
		t.Errorf("%d rows that are long past are left", n)
	}
}

// TestSlotsGivenUp has callers end while they wait: they leave no trace.
func TestSlotsGivenUp(t *testing.T) {
	db := processes(t, 1, directly)[0]
	s, other := db.Slots(t.Context(), "process"), db.Slots(t.Context(), "other")
	frees := []func(){takeSlot(t, s), takeSlot(t, s)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := other.Take(ctx, "host", 2, 0)
		done <- err
	}()
	await(t, db, "NOT held", 1)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	await(t, db, "NOT held", 0)
	for _, free := range frees {
		free()
		free() // once is enough
	}
	await(t, db, "true", 0)
	if len(s.known)+len(other.known) > 0 {
		t.Errorf("known: %v and %v", s.known, other.known)
	}
}

// TestSlotsGivenBack has a process end in order.
func TestSlotsGivenBack(t *testing.T) {
	dbs := processes(t, 2, directly)
	_ = takeSlot(t, dbs[0].Slots(t.Context(), "ended"))
	_ = takeSlot(t, dbs[1].Slots(t.Context(), "other"))
	if err := dbs[0].Close(); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, dbs[1], "true"); n != 1 {
		t.Errorf("%d slots are left, want the other's", n)
	}
}

// TestSlotsRenewed checks that the table is what the process knows, whatever
// happened to it.
func TestSlotsRenewed(t *testing.T) {
	db := processes(t, 1, directly)[0]
	s := db.Slots(t.Context(), "process")
	_, other := takeSlot(t, s), takeSlot(t, db.Slots(t.Context(), "other"))
	defer other()
	for _, sql := range []string{
		// A crash loses the last moments.
		`DELETE FROM host_slot WHERE owner = 'process'`,
		// A statement takes a slot whose caller has gone.
		`INSERT INTO host_slot VALUES ('host', 'process', 0, now(), now() + interval '2 minutes', true)`,
	} {
		if _, err := db.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if mine, others := rows(t, db, "owner = 'process' AND ticket = 1 AND held"), rows(t, db, "true"); mine != 1 || others != 2 {
		t.Errorf("%d of mine are there and %d in all, want 1 and 2", mine, others)
	}
	full(t, s, 100*time.Millisecond)
}

// TestSlotsClockSetBack has the server's clock go back by an hour after slots
// were taken and connections planned.
func TestSlotsClockSetBack(t *testing.T) {
	db := processes(t, 1, directly)[0]
	for _, sql := range []string{
		`INSERT INTO host_slot SELECT 'host', 'dead', i, now() + interval '1 hour', now() + interval '62 minutes', true FROM generate_series(1, 2) i`,
		`INSERT INTO open_pace SELECT floor(extract(epoch FROM t) / 60), t FROM (SELECT now() + interval '1 hour' AS t) AS ahead`,
	} {
		if _, err := db.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := db.Slots(t.Context(), "process").Take(ctx, "host", 2, 600); err != nil {
		t.Error(err)
	}
}

// TestSlotsPerMinute has two processes open connections as fast as they may.
func TestSlotsPerMinute(t *testing.T) {
	const perMinute, opens = 1200, 60 // 20 at once, then one each 50 ms
	dbs := processes(t, 2, directly)
	begin := time.Now()
	var all sync.WaitGroup
	for i := range opens {
		s := dbs[i%2].Slots(t.Context(), fmt.Sprint("process ", i))
		all.Go(func() {
			if _, err := s.Take(t.Context(), fmt.Sprint("host ", i), 2, perMinute); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if took, least := time.Since(begin), (opens-20)*time.Minute/perMinute; took < least || took > time.Minute {
		t.Errorf("%d connections in %s, want little more than %s", opens, took, least)
	}

	// Who has no time for it is told at once, and takes nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := dbs[0].Slots(t.Context(), "late")
	if _, err := s.Take(ctx, "host", 2, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Take(ctx, "host", 2, 1); !errors.Is(err, errPace) || ctx.Err() != nil {
		t.Errorf("a second connection in the minute: %v", err)
	}
	await(t, dbs[0], "owner = 'late'", 1)
	// To take up a connection again opens none.
	_ = takeSlot(t, s)
}

// TestSlotsWithoutDatabase has the server go away and come back: nobody connects
// meanwhile, and it is not the relay's fault.
func TestSlotsWithoutDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	cluster := pgtest.Start(t, pgtest.Options{})
	url := cluster.Database(t)
	r := newRelays(t, "127.0.0.1")
	u := r.url(t, "127.0.0.1")
	var dialers []*dial.Dialer
	var db *DB
	for i := range 2 {
		var err error
		db, err = Open(t.Context(), url, Options{RetryFor: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		times := defaultSlotTimes
		times.renew = 100 * time.Millisecond
		dialers = append(dialers, r.dialer(db.newSlots(t.Context(), fmt.Sprint("process ", i), times)))
	}
	held, err := dialers[0].Dial(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if !held.Rest() {
		t.Fatal("a first connection has no room to rest")
	}
	working, err := dialers[0].Dial(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer working.Close()

	cluster.Kill(t)
	for range 3 { // more than there are slots
		c, err := dialers[1].Dial(t.Context(), u)
		if cause := dial.CauseOf(err); cause != dial.CauseBusy {
			t.Errorf("dial without a database: cause %q, %v, %v", cause, c, err)
		}
	}
	if cause := dial.CauseOf(held.Wake(t.Context())); cause != dial.CauseBusy {
		t.Errorf("wake without a database: cause %q", cause)
	}
	if err := say(working); err != nil {
		t.Errorf("a connection that is open: %v", err)
	}

	cluster.Restart(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := eventually(ctx, func() error { return held.Wake(ctx) }); err != nil {
		t.Fatal(err)
	}
	// Both slots are the first process's, as soon as it has said again what the
	// crash lost.
	if err := eventually(ctx, func() error {
		var n int
		err := db.pool.QueryRow(ctx, "SELECT count(*) FROM host_slot WHERE held").Scan(&n)
		if err == nil && n < 2 {
			err = errors.New("not yet renewed")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := eventually(short, func() error {
		c, err := dialers[1].Dial(short, u)
		if err == nil {
			c.Close()
		}
		return err
	}); err == nil {
		t.Error("a third connection after a crash of the server")
	}
	working.Close()
	if err := eventually(ctx, func() error {
		c, err := dialers[1].Dial(ctx, u)
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if r.max["127.0.0.1"] > 3 { // one of them rested
		t.Errorf("%d connections at once", r.max["127.0.0.1"])
	}
}

// eventually repeats what needs a database that comes back.
func eventually(ctx context.Context, work func() error) error {
	for {
		err := work()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// TestSlotsOfOddNames takes a slot of what only a hostile redirect names.
func TestSlotsOfOddNames(t *testing.T) {
	s := processes(t, 1, directly)[0].Slots(t.Context(), "process")
	for _, host := range []string{"a\x00b.onion", "\xff.onion", strings.Repeat("a", 2000) + ".onion"} {
		free, err := s.Take(t.Context(), host, 2, 600)
		if err != nil {
			t.Errorf("%.20q: %v", host, err)
			continue
		}
		free()
	}
}

// sqlHour leaves what an hour of connections to 500 hosts leaves behind.
const sqlHour = `
	DO $$
	DECLARE last bigint := extract(epoch FROM now()) / 60;
	BEGIN
		FOR i IN 1..36000 LOOP
			INSERT INTO host_slot VALUES ('host ' || i % 500, 'other', i, now(), now(), true);
			INSERT INTO open_pace AS p VALUES (last - 59 + i / 601, now()) ON CONFLICT (minute) DO UPDATE SET next = excluded.next;
			COMMIT;
			DELETE FROM host_slot WHERE host = 'host ' || i % 500 AND owner = 'other' AND ticket = i;
			COMMIT;
		END LOOP;
	END $$`

// BenchmarkSlots takes slots, which are given back meanwhile, beside the plainest
// round trip.
func BenchmarkSlots(b *testing.B) {
	bouncer := pgtest.Shared(b).Bouncer(b)
	for _, way := range []struct {
		name    string
		through func(string) string
	}{{"direct", directly}, {"PgBouncer", bouncer.URL}} {
		db := processes(b, 1, way.through)[0]
		s := db.Slots(b.Context(), "process")
		trip := func(b *testing.B) {
			for b.Loop() {
				if _, err := db.pool.Exec(b.Context(), "SELECT 1"); err != nil {
					b.Fatal(err)
				}
			}
		}
		take := func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				free, err := s.Take(b.Context(), fmt.Sprint("host ", i%500), 2, 1_000_000)
				if err != nil {
					b.Fatal(err)
				}
				free()
			}
		}
		b.Run(way.name+"/trip", trip)
		b.Run(way.name+"/take", take)
		// A dump has a snapshot in which all of it is still there.
		dump, err := db.pool.BeginTx(b.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = dump.Rollback(context.Background()) })
		if _, err := dump.Exec(b.Context(), "SELECT count(*) FROM relay"); err != nil {
			b.Fatal(err)
		}
		if _, err := db.pool.Exec(b.Context(), sqlHour, pgx.QueryExecModeSimpleProtocol); err != nil {
			b.Fatal(err)
		}
		b.Run(way.name+"/take_in_a_dump", take)
	}
}

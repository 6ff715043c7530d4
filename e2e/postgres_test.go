package e2e_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
	"bigbrotr/internal/pgtest"
	"bigbrotr/internal/simnet"
)

// database is an empty database of PostgreSQL, whose user owns it.
type database struct {
	url      string // with the password
	shown    string // without
	password string
}

func newDatabase(t testing.TB) database {
	t.Helper()
	return at(t, pgtest.Shared(t).Database(t))
}

func at(t testing.TB, full string) database {
	t.Helper()
	u, err := url.Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	d := database{url: full}
	d.password, _ = u.User.Password()
	u.User = url.User(u.User.Username())
	d.shown = u.String()
	return d
}

// env names the database to the program.
func (d database) env() []string {
	return []string{"BIGBROTR_STORE_URL=" + d.shown, "BIGBROTR_STORE_PASSWORD=env:DATABASE_PASSWORD", "DATABASE_PASSWORD=" + d.password}
}

func (d database) config(t testing.TB) app.Config {
	t.Helper()
	cfg := configOf(d.shown)
	if _, err := config.Load(&cfg, config.Sources{Env: d.env()}); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestProcesses runs one process for each service, through PgBouncer, on a
// simulated network, kills four of them with work in hand, and lets others go on:
// nothing is lost, nothing is twice, and no relay has more connections at once
// than the budget of all of them allows.
func TestProcesses(t *testing.T) {
	t.Parallel()
	n, seeds := world(t, 85)
	cluster := pgtest.Shared(t)
	direct := newDatabase(t)
	pooled := at(t, cluster.Bouncer(t).URL(direct.url))
	cfg := configure(t, seeds)
	for _, p := range []*process{start(t, direct.env(), "init", "--config", cfg), start(t, direct.env(), "init", "--config", cfg)} {
		if code := p.wait(); code != 0 {
			t.Errorf("init, beside another: exit %d\n%s", code, tail(p.stderr.String()))
		}
	}
	service := func(name string) *process {
		args := []string{"run", name, "--config", cfg, "--json"}
		if name == "api" {
			args = append(args, "--listen", "127.0.0.1:0")
		}
		return start(t, pooled.env(), args...)
	}
	conn, err := pgx.Connect(t.Context(), direct.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	ask := func(sql string, args ...any) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const leased = `SELECT (SELECT count(*) FROM work WHERE lease_owner LIKE $1) + (SELECT count(*) FROM candidate WHERE lease_owner LIKE $1)`
	owner := func(p *process) string { return fmt.Sprintf("%%-%d-%%", p.cmd.Process.Pid) }

	// slow makes all relays do something for a while.
	slow := func(f simnet.Fault) (restore func()) {
		var before []simnet.Behaviour
		for _, r := range n.Relays() {
			b := r.Behaviour()
			before = append(before, b)
			b.Faults = []simnet.Fault{f}
			r.SetBehaviour(b)
		}
		return func() {
			for i, r := range n.Relays() {
				r.SetBehaviour(before[i])
			}
		}
	}
	// lose kills a service that has work in hand.
	lose := func(name string, more string) *process {
		p := service(name)
		p.await("work of the "+name, func() bool { return ask(leased, owner(p)) > 0 && ask(more) > 0 })
		p.kill()
		return p
	}
	hang := simnet.Fault{What: simnet.Hang, When: simnet.Always}
	stall := simnet.Fault{What: simnet.Stall, N: 30, When: simnet.When{Every: 3}}

	api, finder := service("api"), service("finder")
	restore := slow(hang)
	victims := []*process{lose("validator", `SELECT 1`)}
	restore()
	later := []*process{service("validator")}
	if ask(leased, owner(victims[0])) == 0 || ask(`SELECT count(*) FROM relay`) > 0 {
		t.Error("what the lost validator had was taken before its leases ended")
	}
	expire(t, conn, owner(victims[0]))
	later[0].await("relays", func() bool { return ask(`SELECT count(*) FROM relay`) >= len(seeds) })
	restore = slow(hang)
	victims = append(victims, lose("monitor", `SELECT 1`))
	restore()
	restore = slow(stall)
	victims = append(victims, lose("synchronizer", `SELECT count(*) FROM event`))
	restore()
	later = append(later, service("monitor"), service("synchronizer"), service("synchronizer"))
	refresher := service("refresher")
	refresher.await("sums", func() bool { return ask(`SELECT n FROM rollup_total WHERE name = 'events'`) > 0 })
	refresher.kill()
	later = append(later, service("refresher"))
	for _, p := range victims[1:] {
		if ask(leased, owner(p)) == 0 {
			t.Errorf("what %v had was taken before its leases ended", p.cmd.Args)
		}
		expire(t, conn, owner(p))
	}
	api.await("the archive to be complete", func() bool {
		if ask(`SELECT count(*) FROM relay WHERE state = 'up'`) < len(n.Relays()) || ask(`SELECT count(*) FROM event`) < visible(n) {
			return false
		}
		truth := compareIn(t, direct.config(t), n)
		return truth.Relays == len(n.Relays()) && truth.Archived == truth.Visible && truth.OK()
	})
	complete(t, compareIn(t, direct.config(t), n))
	for _, p := range append(later, api, finder) {
		if code, _ := p.stop(os.Interrupt); code != 0 {
			t.Errorf("%v: exit %d", p.cmd.Args, code)
		}
	}
	if held := ids(t, run(t, direct.env(), "export")); len(held) != visible(n) {
		t.Errorf("%d events, want %d", len(held), visible(n))
	}
	for _, r := range n.Relays() {
		// Two at work, and a tail that rests.
		if s := r.Stats(); s.MaxOpen > 3 {
			t.Errorf("%s had %d sessions at once", r.URL(), s.MaxOpen)
		}
	}
	if left := ask(`SELECT count(*) FROM work WHERE lease_until > 1`); left > 0 {
		t.Errorf("%d leases are left by processes that were asked to stop", left)
	}
	st, err := app.OpenStore(t.Context(), direct.config(t), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := app.Refresh(t.Context(), direct.config(t), st, quiet()); err != nil {
		t.Fatal(err)
	}
	if wrong, err := st.Recount(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("recount: %+v, %v", wrong, err)
	}
}

// expire lets the time pass for which a lost process has leased work and
// connections.
func expire(t *testing.T, conn *pgx.Conn, owner string) {
	t.Helper()
	for _, sql := range []string{
		`UPDATE work SET lease_until = 1 WHERE lease_owner LIKE $1`,
		`UPDATE candidate SET lease_until = 1 WHERE lease_owner LIKE $1`,
		`UPDATE host_slot SET until = clock_timestamp() - interval '1 second' WHERE owner LIKE $1`,
	} {
		if _, err := conn.Exec(t.Context(), sql, owner); err != nil {
			t.Fatal(err)
		}
	}
}

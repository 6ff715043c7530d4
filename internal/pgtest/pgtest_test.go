package pgtest_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"bigbrotr/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func count(t *testing.T, url string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM thing").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
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
	one, two := c.Template(t, "things", prepare), c.Template(t, "things", prepare)
	if one == two || prepared != 1 {
		t.Errorf("%s and %s, prepared %d times", one, two, prepared)
	}
	if count(t, one) != 1 || count(t, c.Bouncer(t).URL(two)) != 1 {
		t.Error("a copy of the template is not like it")
	}
}

func TestKill(t *testing.T) {
	c := pgtest.Start(t, pgtest.Options{})
	url := c.Database(t)
	b := c.Bouncer(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE thing AS SELECT generate_series(1, 3)"); err != nil {
		t.Fatal(err)
	}
	c.Kill()
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a killed server answers")
	}
	c.Restart(t)
	if n := count(t, url); n != 3 {
		t.Errorf("%d rows after a crash", n)
	}
	b.Kill()
	if _, err := pgx.Connect(t.Context(), b.URL(url)); err == nil {
		t.Error("a killed PgBouncer answers")
	}
	b.Restart(t)
	if n := count(t, b.URL(url)); n != 3 {
		t.Errorf("%d rows through PgBouncer", n)
	}
}

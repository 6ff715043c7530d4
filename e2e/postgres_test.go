package e2e_test

import (
	"net/url"
	"testing"

	"bigbrotr/internal/app"
	"bigbrotr/internal/core/config"
	"bigbrotr/internal/pgtest"
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

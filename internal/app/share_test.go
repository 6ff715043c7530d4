package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestProcessesShareBudgets has two processes on one store connect to an address
// that carries one connection.
func TestProcessesShareBudgets(t *testing.T) {
	cfg := DefaultConfig()
	at, err := url.Parse(pgtest.Shared(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := at.User.Password()
	t.Setenv("PGPASSWORD", password) // it may not stand in the URL
	at.User = url.User(at.User.Username())
	cfg.Store.URL = at.String()
	cfg.Dial.AllowLocal, cfg.Dial.PerAddress = true, 1
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := relay.Rules{AllowLocal: true}.Parse("ws://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var dialers []*dial.Dialer
	for range 2 {
		st, err := OpenStore(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		dialers = append(dialers, newDialer(t.Context(), cfg, st, newOwner()))
	}
	first, err := dialers[0].Dial(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := dialers[1].Dial(short, u); dial.CauseOf(err) != dial.CauseBusy || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second connection at once: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := dialers[1].Dial(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

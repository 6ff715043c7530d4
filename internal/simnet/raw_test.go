package simnet_test

import (
	"context"
	"testing"
	"time"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/simnet"
)

// client says and hears messages as they are.
type client struct {
	ws  *websocket.Conn
	ctx context.Context
}

func raw(t testing.TB, r *simnet.Relay) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	ws, _, err := websocket.Dial(ctx, r.URL().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() }) // the test is over
	ws.SetReadLimit(1 << 20)
	return &client{ws, ctx}
}

func (c *client) send(b []byte) { c.ws.Write(c.ctx, websocket.MessageText, b) } // next fails then

func (c *client) next(t testing.TB) nostr.Message {
	t.Helper()
	_, b, err := c.ws.Read(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := nostr.ParseMessage(b)
	if err != nil {
		t.Fatalf("%v in %.100s", err, b)
	}
	return m
}

func (c *client) expect(t testing.TB, label string) nostr.Message {
	t.Helper()
	m := c.next(t)
	if m.Label != label {
		t.Fatalf("got %s %q, want %s", m.Label, m.Text, label)
	}
	return m
}

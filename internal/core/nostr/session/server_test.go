package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr/session"
)

// TestServerMessageTime checks that a message that does not come to its end ends
// the connection of a relay, while one that has said nothing may take its time.
func TestServerMessageTime(t *testing.T) {
	ended := make(chan error, 1)
	u := start(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := session.Accept(w, r, session.AcceptOptions{Message: 50 * time.Millisecond})
		if err != nil {
			ended <- err
			return
		}
		if _, err := c.ReadMessage(r.Context()); err != nil {
			ended <- fmt.Errorf("the first message: %w", err)
			return
		}
		_, err = c.ReadMessage(r.Context())
		ended <- err
	})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(u.String(), "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 101 ")) {
		t.Fatalf("%q", buf[:n])
	}
	for _, frame := range []string{"\x81\x81\x00\x00\x00\x00x", "\x81\xfe\x04\x00\x01\x02\x03\x04x"} { // a byte; a byte of 1,024
		_, err = conn.Write([]byte(frame))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it ends with %v", err)
	}
}

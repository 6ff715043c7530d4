package session

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// AcceptOptions says how a relay takes a connection.
type AcceptOptions struct {
	// MaxFrame is the largest message that is read. Default 128 KiB.
	MaxFrame int
	// Compress answers an offer of compression (permessage-deflate).
	Compress bool
	// Message bounds the time from the first bytes of a message to its last.
	// Default: none.
	Message time.Duration
}

// Conn is a connection on the side of a relay: messages in and out, and the
// means to break the rules that scripted relays need. Writes may be concurrent;
// reads may not.
type Conn struct {
	ws      *websocket.Conn
	conn    net.Conn
	buf     bytes.Buffer
	message time.Duration
}

// Accept makes a connection of an HTTP request. On error it has answered the
// request.
func Accept(w http.ResponseWriter, r *http.Request, o AcceptOptions) (*Conn, error) {
	mode := websocket.CompressionDisabled
	if o.Compress {
		mode = websocket.CompressionContextTakeover
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = 128 << 10
	}
	tap := &tap{ResponseWriter: w}
	ws, err := websocket.Accept(tap, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // any web page may talk to a relay
		CompressionMode:    mode,
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(int64(o.MaxFrame))
	return &Conn{ws: ws, conn: tap.conn, message: o.Message}, nil
}

// tap keeps the connection that the library takes over.
type tap struct {
	http.ResponseWriter
	conn net.Conn
}

func (t *tap) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	t.conn = conn
	return conn, rw, err
}

func (t *tap) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// ReadMessage returns the next message. It is valid until the next call. The
// connection is useless after an error, the end of ctx included.
func (c *Conn) ReadMessage(ctx context.Context) ([]byte, error) {
	_, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	if c.buf.Reset(); c.buf.Cap() > keepServed {
		c.buf = bytes.Buffer{}
	}
	if c.message > 0 {
		_ = c.conn.SetReadDeadline(time.Now().Add(c.message))
		defer func() { _ = c.conn.SetReadDeadline(time.Time{}) }()
	}
	_, err = c.buf.ReadFrom(r)
	return c.buf.Bytes(), err
}

// keepServed is how large a buffer may be that is kept between messages: a relay
// has many connections, of which most say little.
const keepServed = 4 << 10

// WriteMessage sends a text message.
func (c *Conn) WriteMessage(ctx context.Context, b []byte) error {
	return c.ws.Write(ctx, websocket.MessageText, b)
}

// WriteBinary sends a binary message, which Nostr does not know.
func (c *Conn) WriteBinary(ctx context.Context, b []byte) error {
	return c.ws.Write(ctx, websocket.MessageBinary, b)
}

// WriteRaw puts bytes on the connection without a frame around them.
func (c *Conn) WriteRaw(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}

// Close ends the connection with a close code and reason (at most 123 bytes).
func (c *Conn) Close(code int, reason string) error {
	return c.ws.Close(websocket.StatusCode(code), reason)
}

// Abort ends the connection at once: without a close frame, and over TCP with
// a reset.
func (c *Conn) Abort() {
	if tcp, ok := c.conn.(interface{ SetLinger(seconds int) error }); ok { // TCP, or what is around it
		_ = tcp.SetLinger(0)
	}
	_ = c.conn.Close()
	_ = c.ws.CloseNow() // frees what the library holds
}

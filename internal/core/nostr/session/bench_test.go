package session_test

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
)

// benchEvent is an event of about 1.3 KB as a message.
func benchEvent(b *testing.B) *nostr.Event {
	e := &nostr.Event{Kind: 1, CreatedAt: 1_700_000_000}
	for i := range 4 {
		id := nostr.ID{byte(i), 1, 2, 3, 4, 5, 6, 7}
		e.Tags = append(e.Tags, nostr.Tag{"p", id.String(), "wss://relay.example.com"})
	}
	var text strings.Builder
	for i := 0; text.Len() < 450; i++ {
		fmt.Fprintf(&text, "word%d ", i*i*7919%1009)
	}
	e.Content = text.String()
	if err := nostr.GenerateKey().Sign(e); err != nil {
		b.Fatal(err)
	}
	return e
}

// frame makes a server's frame around a message.
func frame(b *testing.B, msg []byte, deflate bool) []byte {
	first := byte(0x81) // final, text
	if deflate {
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, flate.BestSpeed)
		if err != nil {
			b.Fatal(err)
		}
		w.Write(msg)
		w.Flush()
		msg = bytes.TrimSuffix(out.Bytes(), []byte{0, 0, 0xff, 0xff})
		first |= 0x40
	}
	f := binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(len(msg)))
	return append(f, msg...)
}

// BenchmarkRead measures a message of 1.3 KB from the socket to the end of its
// visit, beside the bare library with a reused buffer. The relay sends ready
// frames, packed in large writes, so that its own work weighs little.
func BenchmarkRead(b *testing.B) {
	e := benchEvent(b)
	for _, deflate := range []bool{false, true} {
		u := start(b, func(w http.ResponseWriter, r *http.Request) {
			c, err := session.Accept(w, r, session.AcceptOptions{Compress: true})
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Abort()
			m, err := read(r.Context(), c)
			if err != nil {
				return
			}
			many := bytes.Repeat(frame(b, nostr.AppendEventMessage(nil, m.Sub, e), deflate), 40)
			for c.WriteRaw(many) == nil {
			}
		})
		name := map[bool]string{false: "plain", true: "deflate"}[deflate]
		b.Run("session/"+name, func(b *testing.B) {
			s := dialRelay(b, u, session.Options{Uncompressed: !deflate})
			b.ReportAllocs()
			page, err := s.Req(b.Context(), nostr.Filter{}, func([]byte) error {
				if b.Loop() {
					return nil
				}
				return session.ErrStop
			})
			if err != nil || page.End.Kind != session.Stopped {
				b.Fatalf("page %+v, error %v", page, err)
			}
			b.SetBytes(page.Bytes / int64(page.Events))
		})
		b.Run("library/"+name, func(b *testing.B) {
			o := &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{}}}
			if deflate {
				o.CompressionMode = websocket.CompressionContextTakeover
			}
			ws, _, err := websocket.Dial(b.Context(), u.String(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer ws.CloseNow()
			ws.SetReadLimit(-1)
			if err := ws.Write(b.Context(), websocket.MessageText, nostr.AppendREQ(nil, "1", nostr.Filter{})); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var buf bytes.Buffer
			for b.Loop() {
				_, r, err := ws.Reader(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				buf.Reset()
				if _, err := io.Copy(&buf, r); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(buf.Len()))
		})
	}
}

package dial

import (
	"net"
	"testing"
)

func TestCheckProxy(t *testing.T) {
	answer := func(t *testing.T, with []byte) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		t.Cleanup(func() {
			l.Close()
			<-done
		})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			var greeting [4]byte
			if _, err := c.Read(greeting[:]); err == nil {
				_, _ = c.Write(with)
			}
		}()
		return l.Addr().String()
	}
	for _, test := range []struct {
		name   string
		answer []byte
		ok     bool
	}{
		{"no password", []byte{5, 0}, true},
		{"password", []byte{5, 2}, true},
		{"no method of ours", []byte{5, 0xff}, false},
		{"an HTTP server", []byte("HTTP/1.1 400 Bad Request\r\n"), false},
		{"silence", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := CheckProxy(t.Context(), answer(t, test.answer))
			if (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := CheckProxy(t.Context(), l.Addr().String()); err == nil {
		t.Error("nobody listens, and it answers")
	}
}

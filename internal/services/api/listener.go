package api

import (
	"net"
	"strconv"
	"sync"
	"time"

	"bigbrotr/internal/services/api/answer"
	"bigbrotr/internal/services/api/face"
)

// doorkeeper is a listener that turns connections away when too many are open, in
// all or of one client address, so that nobody keeps the others out.
type doorkeeper struct {
	net.Listener
	seats *answer.Seats
}

// Accept returns the next connection that may stay.
func (l *doorkeeper) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
		if err != nil {
			host = "" // no address of TCP
		}
		client := face.ClientAt(host)
		if l.seats.Enter(client) {
			return &guest{Conn: conn, leave: sync.OnceFunc(func() { l.seats.Leave(client) })}, nil
		}
		turnAway(conn)
	}
}

// guest is a connection that is counted until it is closed.
type guest struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (g *guest) Close() error {
	defer g.leave()
	return g.Conn.Close()
}

// CloseWrite lets the server say why it hangs up on a client that is still
// sending, before a reset takes the answer back.
func (g *guest) CloseWrite() error {
	if tcp, ok := g.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// SetLinger lets the relay drop what a client does not take.
func (g *guest) SetLinger(seconds int) error {
	if tcp, ok := g.Conn.(*net.TCPConn); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// tooMany is what is said to who is turned away.
var tooMany = func() []byte {
	const text = "too many connections; try again later\n"
	return []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: 60\r\n" +
		"Connection: close\r\nContent-Length: " + strconv.Itoa(len(text)) + "\r\n\r\n" + text)
}()

// turnAway says so without waiting for what is asked.
func turnAway(conn net.Conn) {
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // the buffers of a new connection take it at once
	_, _ = conn.Write(tooMany)
	_ = conn.Close()
}

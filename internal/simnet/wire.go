package simnet

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a connection whose bytes are counted and can be held back, so
// that the messages of a page leave in few packets, or be let through slowly.
type wire struct {
	net.Conn
	sent   *atomic.Int64
	closed func()

	mu   sync.Mutex
	hold bool
	held []byte
	once sync.Once
}

// maxHeld is how much is held back before it is sent anyway.
const maxHeld = 64 << 10

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hold {
		w.held = append(w.held, p...)
		if len(w.held) < maxHeld {
			return len(p), nil
		}
		return len(p), w.flush()
	}
	return w.send(p)
}

// pack holds back what is written until release.
func (w *wire) pack() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = true
}

// release sends what was held back.
func (w *wire) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = false
	return w.flush()
}

// drip sends what was held back in pieces of n bytes with pauses between.
func (w *wire) drip(ctx context.Context, n int, pause time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold = false
	rest := w.held
	w.held = nil
	for len(rest) > 0 {
		piece := rest[:min(max(n, 1), len(rest))]
		rest = rest[len(piece):]
		if _, err := w.send(piece); err != nil {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

func (w *wire) flush() error {
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.send(w.held)
	w.held = w.held[:0]
	return err
}

func (w *wire) send(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.sent.Add(int64(n))
	return n, err
}

// reset ends the connection so that the other side sees a TCP reset.
func (w *wire) reset() {
	if c, ok := w.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = w.Close()
}

func (w *wire) Close() error {
	err := w.Conn.Close()
	w.once.Do(w.closed)
	return err
}

// wait passes time unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

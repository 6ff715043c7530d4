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

// drip sends what is held back, and what is written meanwhile, in pieces of n
// bytes with pauses between. Who writes does not wait for it.
func (w *wire) drip(ctx context.Context, n int, pause time.Duration) error {
	for {
		more, err := w.drop(max(n, 1))
		if err != nil || !more {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// drop sends a piece of what is held back, and holds nothing back when that was
// the last one.
func (w *wire) drop(n int) (more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	piece := w.held[:min(n, len(w.held))]
	if w.hold = len(piece) > 0; !w.hold {
		return false, nil
	}
	_, err = w.send(piece)
	w.held = append(w.held[:0], w.held[len(piece):]...)
	return true, err
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

package dial

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// CheckProxy tells whether a SOCKS5 proxy answers at an address: it greets it
// and asks for nothing.
func CheckProxy(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("reach the proxy: %w", err)
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := c.Write([]byte{socksVersion, 2, methodUser, methodNone}); err != nil {
		return fmt.Errorf("greet the proxy: %w", err)
	}
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return fmt.Errorf("greet the proxy: %w", err)
	}
	if head[0] != socksVersion || head[1] != methodUser && head[1] != methodNone {
		return errNotSOCKS
	}
	return nil
}

package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// SOCKS5 (RFC 1928) with user and password (RFC 1929), client side, CONNECT by
// name only: the proxy resolves, so no name of an overlay leaves us by DNS.
// Written here because the replies decide the cause and must be typed.

// reply is a SOCKS5 reply code other than success.
type reply byte

const (
	replyGeneral     reply = 0x01
	replyRules       reply = 0x02
	replyNet         reply = 0x03
	replyHost        reply = 0x04
	replyRefused     reply = 0x05
	replyTTL         reply = 0x06
	replyCommand     reply = 0x07
	replyAddressType reply = 0x08
	// The onion service errors of Tor (proposal 304), sent when its SocksPort
	// has ExtendedErrors.
	replyOnionUnknown    reply = 0xF0
	replyOnionInvalid    reply = 0xF1
	replyOnionIntro      reply = 0xF2
	replyOnionRendezvous reply = 0xF3
	replyOnionNeedsAuth  reply = 0xF4
	replyOnionWrongAuth  reply = 0xF5
	replyOnionBadAddress reply = 0xF6
	replyOnionTimeout    reply = 0xF7
)

func (r reply) Error() string { return fmt.Sprintf("socks reply 0x%02x", byte(r)) }

func (r reply) cause() Cause {
	switch r {
	case replyNet, replyHost:
		return CauseTCPUnreachable
	case replyRefused:
		return CauseTCPRefused
	case replyTTL, replyOnionTimeout:
		return CauseTCPTimeout
	case replyGeneral, replyOnionUnknown, replyOnionInvalid, replyOnionIntro, replyOnionRendezvous,
		replyOnionNeedsAuth, replyOnionWrongAuth, replyOnionBadAddress:
		return CauseOverlay
	}
	return CauseProxyRefused
}

var errNotSOCKS = errors.New("proxy does not speak SOCKS5")

// connectProxy reaches t through the proxy of its network.
func (d *Dialer) connectProxy(ctx context.Context, t target) (*Conn, error) {
	proxy := d.proxies[t.network]
	if proxy == "" {
		return nil, &Error{Cause: CauseNoProxy, Phase: PhaseConnect, Host: t.String()}
	}
	var trace Trace
	begin := time.Now()
	l, err := d.budget.acquire(ctx, t.host)
	trace.Wait = time.Since(begin)
	if err != nil {
		return nil, fail(ctx, PhaseConnect, t, trace, busy(ctx, t.String(), err))
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.OverlayTimeout.Std())
	defer cancel()
	begin = time.Now()
	conn, err := d.connect(ctx, "tcp", proxy)
	if err != nil {
		l.release()
		return nil, fail(ctx, PhaseConnect, t, trace, &Error{
			Cause: CauseProxyDown, Phase: PhaseConnect, Host: proxy, Err: err,
		})
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err = socksConnect(conn, t)
	trace.TCP = time.Since(begin)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		l.release()
		return nil, fail(ctx, PhaseConnect, t, trace, proxyError(proxy, err))
	}
	return newConn(conn, l, trace), nil
}

// proxyError separates what the proxy says of the relay from what is wrong
// with the proxy.
func proxyError(proxy string, err error) error {
	e := &Error{Cause: CauseProxyDown, Phase: PhaseConnect, Host: proxy, Err: err}
	if r, ok := errors.AsType[reply](err); ok {
		e.Cause = r.cause()
	} else if isTimeout(err) {
		e.Cause = CauseTCPTimeout
	}
	return e
}

const (
	socksVersion  = 5
	methodNone    = 0
	methodUser    = 2
	userVersion   = 1
	cmdConnect    = 1
	addrIPv4      = 1
	addrName      = 3
	addrIPv6      = 4
	socksPassword = "x" // Tor isolates by both words together; one is enough
)

func socksConnect(c net.Conn, t target) error {
	port, err := strconv.ParseUint(t.port, 10, 16)
	if err != nil || len(t.host) > 255 {
		return fmt.Errorf("host %s does not fit in SOCKS5", t)
	}
	// With both methods offered, Tor takes the one with a user.
	if _, err := c.Write([]byte{socksVersion, 2, methodUser, methodNone}); err != nil {
		return err
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:2]); err != nil {
		return err
	}
	if head[0] != socksVersion {
		return errNotSOCKS
	}
	switch head[1] {
	case methodNone:
	case methodUser:
		msg := []byte{userVersion, byte(len(t.circuit))}
		msg = append(msg, t.circuit...)
		msg = append(msg, byte(len(socksPassword)))
		msg = append(msg, socksPassword...)
		if _, err := c.Write(msg); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, head[:2]); err != nil {
			return err
		}
		if head[1] != 0 {
			return errors.New("proxy refuses our user")
		}
	default:
		return errors.New("proxy wants an authentication that we do not have")
	}

	msg := []byte{socksVersion, cmdConnect, 0, addrName, byte(len(t.host))}
	msg = append(msg, t.host...)
	msg = append(msg, byte(port>>8), byte(port))
	if _, err := c.Write(msg); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if head[0] != socksVersion {
		return errNotSOCKS
	}
	if head[1] != 0 {
		return reply(head[1])
	}
	// The bound address means nothing to us, and has to be read off.
	var bound [1]byte
	var length int
	switch head[3] {
	case addrIPv4:
		length = 4
	case addrIPv6:
		length = 16
	case addrName:
		if _, err := io.ReadFull(c, bound[:]); err != nil {
			return err
		}
		length = int(bound[0])
	default:
		return errNotSOCKS
	}
	_, err = io.CopyN(io.Discard, c, int64(length)+2)
	return err
}

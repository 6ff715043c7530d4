package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Cause says in one word of a closed list why a relay could not be reached,
// read or written. The empty cause means that nothing is wrong with the relay.
type Cause string

// The causes, in the order in which a connection meets them. Each is stored
// and published, so a word never changes its meaning.
const (
	// CauseNoProxy: an overlay relay, and no proxy is configured for its network.
	CauseNoProxy Cause = "no-proxy"
	// CauseProxyDown: our own proxy does not answer, or not in SOCKS5.
	CauseProxyDown Cause = "proxy-down"
	// CauseProxyRefused: our proxy works and refuses the request by its rules.
	CauseProxyRefused Cause = "proxy-refused"
	// CauseOverlay: the overlay network knows no way to the service now: no
	// descriptor, or no introduction or rendezvous came about.
	CauseOverlay Cause = "overlay-unreachable"
	// CauseBusy: our own limits took more than half of the time for the
	// connection. Says nothing about the relay.
	CauseBusy Cause = "busy"
	// CauseSelf: more likely our fault than the relay's, such as a lack of file
	// descriptors or a network that is down here.
	CauseSelf Cause = "self"

	// CauseNXDomain: the name does not exist, or has no address.
	CauseNXDomain Cause = "dns-nxdomain"
	// CauseServFail: the name servers answer with a failure.
	CauseServFail Cause = "dns-servfail"
	// CauseDNSTimeout: the name servers do not answer.
	CauseDNSTimeout Cause = "dns-timeout"
	// CauseAddress: the name leads to no public address.
	CauseAddress Cause = "address-refused"

	// CauseTCPRefused: the host refuses the connection.
	CauseTCPRefused Cause = "tcp-refused"
	// CauseTCPTimeout: the host does not answer.
	CauseTCPTimeout Cause = "tcp-timeout"
	// CauseTCPUnreachable: there is no route to the host.
	CauseTCPUnreachable Cause = "tcp-unreachable"

	// CauseTLSExpired: the certificate is expired or not yet valid.
	CauseTLSExpired Cause = "tls-expired"
	// CauseTLSName: the certificate is for another name.
	CauseTLSName Cause = "tls-name"
	// CauseTLSUntrusted: the certificate has no chain to a trusted root.
	CauseTLSUntrusted Cause = "tls-untrusted"
	// CauseTLSTimeout: the TLS handshake does not end.
	CauseTLSTimeout Cause = "tls-timeout"
	// CauseTLS: the TLS handshake fails in another way.
	CauseTLS Cause = "tls-failed"

	// CauseHTTPStatus: the answer is an HTTP status other than the wanted one.
	CauseHTTPStatus Cause = "http-status"
	// CauseHTTP: the answer is not HTTP, too long, or redirects without end.
	CauseHTTP Cause = "http-failed"
	// CauseDocument: the answer is not a relay information document (NIP-11).
	CauseDocument Cause = "document-invalid"
	// CauseWSRefused: the WebSocket handshake breaks the rules or is cut off.
	CauseWSRefused Cause = "ws-refused"
	// CauseWSTimeout: the WebSocket handshake gets no answer.
	CauseWSTimeout Cause = "ws-timeout"

	// CauseNoNostr: a WebSocket opens and does not speak Nostr.
	CauseNoNostr Cause = "no-nostr"
	// CauseDisconnected: the connection ends before the request does.
	CauseDisconnected Cause = "disconnected"
	// CauseReadTimeout: a request does not end.
	CauseReadTimeout Cause = "read-timeout"
	// CauseReadAuth: reading needs authentication (NIP-42).
	CauseReadAuth Cause = "read-auth"
	// CauseReadRestricted: reading is closed to us, with or without a reason.
	CauseReadRestricted Cause = "read-restricted"
	// CauseWriteAuth: writing needs authentication (NIP-42).
	CauseWriteAuth Cause = "write-auth"
	// CauseWritePaid: writing is for paying or admitted users.
	CauseWritePaid Cause = "write-paid"
	// CauseWritePoW: writing needs more proof of work than we give.
	CauseWritePoW Cause = "write-pow"
	// CauseWriteBlocked: the event is refused.
	CauseWriteBlocked Cause = "write-blocked"
	// CauseContradicts: the answers contradict each other and prove nothing.
	CauseContradicts Cause = "contradicts-itself"
	// CauseRateLimited: the relay asks us to slow down.
	CauseRateLimited Cause = "rate-limited"

	// CauseOptedOut: the relay's operator does not want to be connected to.
	CauseOptedOut Cause = "opted-out"

	// CauseOther: a failure that fits no other word; a reason to extend the list.
	CauseOther Cause = "other"
)

// Phase is the part of a connection's opening that failed.
type Phase string

// The phases, in their order.
const (
	PhaseResolve   Phase = "resolve"
	PhaseConnect   Phase = "connect"
	PhaseTLS       Phase = "tls"
	PhaseHandshake Phase = "handshake" // the WebSocket or HTTP exchange
)

// Error is why a connection could not be opened. Trace holds what was learned
// up to the failure.
type Error struct {
	Cause  Cause
	Phase  Phase
	Host   string // host and port as asked for
	Status int    // the HTTP status, for CauseHTTPStatus
	Trace  Trace
	Err    error // may be nil
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %s", e.Phase, e.Host, e.Cause)
	if e.Status != 0 {
		text = fmt.Sprintf("%s %d", text, e.Status)
	}
	if e.Err != nil {
		text = fmt.Sprintf("%s: %v", text, e.Err)
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// CauseOf returns the cause of an error from this package, from an HTTP client
// made by it, or from package session. It is empty for nil and for our own
// cancellation, which say nothing about the relay.
func CauseOf(err error) Cause { return classify(PhaseHandshake, err) }

// classify judges by the types of the errors alone.
func classify(phase Phase, err error) Cause {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Cause
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case e.IsNotFound:
			return CauseNXDomain
		case e.IsTimeout:
			return CauseDNSTimeout
		}
		return CauseServFail
	}
	if cause := classifyTLS(err); cause != "" {
		return cause
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if cause := classifyErrno(phase, errno); cause != "" {
			return cause
		}
	}
	if isTimeout(err) {
		switch phase {
		case PhaseResolve:
			return CauseDNSTimeout
		case PhaseConnect:
			return CauseTCPTimeout
		case PhaseTLS:
			return CauseTLSTimeout
		}
		return CauseReadTimeout
	}
	if phase == PhaseTLS {
		return CauseTLS
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return CauseDisconnected
	}
	return CauseOther
}

func classifyTLS(err error) Cause {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return CauseTLSExpired
		}
		return CauseTLSUntrusted
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return CauseTLSName
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return CauseTLSUntrusted
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return CauseTLS
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return CauseTLS
	}
	return ""
}

func classifyErrno(phase Phase, errno syscall.Errno) Cause {
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENETDOWN,
		syscall.EACCES, syscall.EPERM:
		return CauseSelf
	case syscall.ECONNREFUSED:
		return CauseTCPRefused
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT:
		return CauseTCPUnreachable
	case syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE:
		switch phase {
		case PhaseConnect:
			return CauseTCPRefused
		case PhaseTLS:
			return CauseTLS
		}
		return CauseDisconnected
	}
	return ""
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// rank orders the failures of several addresses of one host: the failure that
// tells most about the host speaks for all.
func rank(c Cause) int {
	switch c {
	case CauseTCPRefused:
		return 4
	case CauseTCPTimeout:
		return 3
	case CauseTCPUnreachable:
		return 2
	case CauseBusy, CauseSelf:
		return 1
	}
	return 0
}

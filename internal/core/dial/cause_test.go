package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
)

func TestClassify(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)} }
	tests := []struct {
		name  string
		phase Phase
		err   error
		want  Cause
	}{
		{"nil", PhaseConnect, nil, ""},
		{"our cancellation", PhaseConnect, fmt.Errorf("x: %w", context.Canceled), ""},
		{"known already", PhaseConnect, fmt.Errorf("x: %w", &Error{Cause: CauseWSRefused}), CauseWSRefused},
		{"known already, inside", PhaseTLS, &url.Error{Err: &Error{Cause: CauseAddress}}, CauseAddress},

		{"no such name", PhaseResolve, &net.DNSError{IsNotFound: true}, CauseNXDomain},
		{"dns timeout", PhaseResolve, &net.DNSError{IsTimeout: true}, CauseDNSTimeout},
		{"server failure", PhaseResolve, &net.DNSError{IsTemporary: true}, CauseServFail},
		{"other dns failure", PhaseResolve, &net.DNSError{}, CauseServFail},
		{"deadline while resolving", PhaseResolve, context.DeadlineExceeded, CauseDNSTimeout},

		{"refused", PhaseConnect, op(syscall.ECONNREFUSED), CauseTCPRefused},
		{"reset while connecting", PhaseConnect, op(syscall.ECONNRESET), CauseTCPRefused},
		{"no route", PhaseConnect, op(syscall.EHOSTUNREACH), CauseTCPUnreachable},
		{"no network", PhaseConnect, op(syscall.ENETUNREACH), CauseTCPUnreachable},
		{"kernel timeout", PhaseConnect, op(syscall.ETIMEDOUT), CauseTCPTimeout},
		{"deadline while connecting", PhaseConnect, os.ErrDeadlineExceeded, CauseTCPTimeout},
		{"no descriptors", PhaseConnect, op(syscall.EMFILE), CauseSelf},
		{"firewall here", PhaseConnect, op(syscall.EPERM), CauseSelf},

		{"expired", PhaseTLS, &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, CauseTLSExpired},
		{"not for servers", PhaseTLS, &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}}, CauseTLSUntrusted},
		{"other name", PhaseTLS, &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}}}, CauseTLSName},
		{"unknown root", PhaseTLS, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, CauseTLSUntrusted},
		{"alert", PhaseTLS, fmt.Errorf("remote: %w", tls.AlertError(40)), CauseTLS},
		{"no tls", PhaseTLS, tls.RecordHeaderError{}, CauseTLS},
		{"reset in tls", PhaseTLS, op(syscall.ECONNRESET), CauseTLS},
		{"end in tls", PhaseTLS, io.EOF, CauseTLS},
		{"deadline in tls", PhaseTLS, context.DeadlineExceeded, CauseTLSTimeout},

		{"end", PhaseHandshake, io.ErrUnexpectedEOF, CauseDisconnected},
		{"reset", PhaseHandshake, op(syscall.ECONNRESET), CauseDisconnected},
		{"closed", PhaseHandshake, net.ErrClosed, CauseDisconnected},
		{"deadline", PhaseHandshake, os.ErrDeadlineExceeded, CauseReadTimeout},
		{"unknown", PhaseHandshake, errors.New("connection refused"), CauseOther},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := classify(tt.phase, tt.err); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

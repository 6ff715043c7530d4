package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
)

// Certificate is the document of the probe "tls".
type Certificate struct {
	Protocol    string   `json:"protocol,omitempty"` // "TLS 1.3"; absent when the handshake failed
	Cipher      string   `json:"cipher,omitempty"`
	Key         string   `json:"key"` // "RSA 2048", "ECDSA P-256", "Ed25519"
	Issuer      string   `json:"issuer"`
	Names       []string `json:"names"` // at most 100
	Fingerprint string   `json:"fingerprint"`
	NotBefore   int64    `json:"not_before"` // Unix seconds
	NotAfter    int64    `json:"not_after"`
	// Chain are the subjects of what was presented, the relay's own first.
	Chain    []string         `json:"chain"`
	Problems []CertificateBug `json:"problems,omitempty"`
}

// CertificateBug is what is wrong with a certificate.
type CertificateBug string

// What can be wrong with a certificate; several may hold at once.
const (
	CertExpired     CertificateBug = "expired"
	CertNotYetValid CertificateBug = "not yet valid"
	CertWrongName   CertificateBug = "wrong name"
	CertSelfSigned  CertificateBug = "self-signed"
	CertUntrusted   CertificateBug = "unknown authority"
)

const (
	maxCertNames = 100
	maxChain     = 10
)

// certificate succeeds when the certificate is trusted. It looks at what open
// was shown and makes no connection; a refused certificate is described too.
func certificate(_ context.Context, t *Target) (Result, bool) {
	if t.URL.Network() != relay.Clearnet || !t.URL.Secure() {
		return Result{}, false
	}
	chain := t.chain()
	if len(chain) == 0 {
		if t.failed != dial.PhaseTLS {
			return Result{}, false
		}
		return Result{Cause: dial.CauseOf(t.broken)}, true
	}
	now, own := time.Now(), chain[0]
	c := Certificate{
		Key: keyOf(own), Issuer: word(own.Issuer.String()), Fingerprint: fingerprint(own),
		NotBefore: own.NotBefore.Unix(), NotAfter: own.NotAfter.Unix(),
		Problems: bugs(chain, t.URL.Hostname(), t.Dialer.Roots(), now),
	}
	list := slices.Clone(own.DNSNames)
	for _, ip := range own.IPAddresses {
		list = append(list, ip.String())
	}
	c.Names = words(list, maxCertNames)
	for _, link := range chain[:min(len(chain), maxChain)] {
		c.Chain = append(c.Chain, word(link.Subject.String()))
	}
	if state := t.trace.State; state != nil {
		c.Protocol, c.Cipher = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	}
	r := Result{OK: t.trace.State != nil, Document: pack(c), Values: map[string]float64{
		"days_left": float64(int(own.NotAfter.Sub(now).Hours() / 24)),
	}}
	if !r.OK {
		r.Cause = dial.CauseOf(t.broken)
	}
	return r, true
}

// presented is the chain that a handshake was given up for.
func presented(err error) []*x509.Certificate {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e.UnverifiedCertificates
	}
	return nil
}

// bugs judges each quality apart: verification names only the first that is
// missing.
func bugs(chain []*x509.Certificate, host string, roots *x509.CertPool, now time.Time) []CertificateBug {
	var list []CertificateBug
	own, at := chain[0], now
	switch {
	case now.After(own.NotAfter):
		list = append(list, CertExpired)
		at = own.NotAfter
	case now.Before(own.NotBefore):
		list = append(list, CertNotYetValid)
		at = own.NotBefore
	}
	if own.VerifyHostname(host) != nil {
		list = append(list, CertWrongName)
	}
	between := x509.NewCertPool()
	for _, link := range chain[1:min(len(chain), maxChain)] {
		between.AddCert(link)
	}
	if _, err := own.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at}); err != nil {
		if own.CheckSignature(own.SignatureAlgorithm, own.RawTBSCertificate, own.Signature) == nil {
			return append(list, CertSelfSigned)
		}
		list = append(list, CertUntrusted)
	}
	return list
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func keyOf(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return "RSA " + strconv.Itoa(key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

package simnet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"

	"bigbrotr/internal/core/relay"
)

// Authority is a certificate authority of its own, which nobody trusts unless
// told to.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Certificate says what an authority puts into a certificate.
type Certificate struct {
	// Names are host names or IP addresses.
	Names []string
	// From and Until bound its validity. Zero means an hour ago, and in 90 days.
	From, Until time.Time
	// SelfSigned has the certificate signed by its own key.
	SelfSigned bool
}

// NewAuthority makes an authority.
func NewAuthority(name string) (*Authority, error) {
	a := new(Authority)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(-5, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, key, err := a.sign(template)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	a.key = key
	return a, nil
}

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue makes a certificate and its key.
func (a *Authority) Issue(c Certificate) (tls.Certificate, error) {
	template := &x509.Certificate{
		NotBefore: c.From, NotAfter: c.Until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if c.From.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.Until.IsZero() {
		template.NotAfter = time.Now().Add(90 * 24 * time.Hour)
	}
	for _, name := range c.Names {
		template.Subject.CommonName = c.Names[0]
		if addr, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	signer := a
	if c.SelfSigned {
		signer = new(Authority)
	}
	der, key, err := signer.sign(template)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// sign makes a key and a certificate of it, which an authority without a key
// has signed by that same key.
func (a *Authority) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	parent, by := template, key
	if a.key != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	return der, key, err
}

// AddSecure starts a relay that speaks TLS and calls itself by host, a name
// that leads to its address or, when empty, the address itself.
func (n *Network) AddSecure(b Behaviour, host string, cert tls.Certificate) (*Relay, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ln, err := n.listen()
	if err != nil {
		return nil, fmt.Errorf("add relay: %w", err)
	}
	addr := addrOf(ln)
	text := "wss://" + addr.String()
	if host != "" {
		text = "wss://" + strings.Replace(addr.String(), addr.Addr().String(), host, 1)
	}
	url, err := relay.Rules{AllowLocal: true}.Parse(text)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("add relay: %w", err), ln.Close())
	}
	r := &Relay{
		url: url, addr: addr, listen: n.listenAt, seed: n.seed<<16 + uint64(len(n.relays))<<8,
		// WebSocket and NIP-11 are HTTP/1.1.
		tls: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
	}
	r.SetBehaviour(b)
	r.serve(ln)
	n.relays = append(n.relays, r)
	return r, nil
}

// Addr is where the relay listens, whatever it is called.
func (r *Relay) Addr() netip.AddrPort { return r.addr }

// inner is the connection below TLS, if there is TLS.
func inner(c net.Conn) net.Conn {
	if secure, ok := c.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c
}

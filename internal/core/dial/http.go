package dial

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"bigbrotr/internal/core/relay"
)

// MaxRedirects is how many redirects an HTTP client follows.
const MaxRedirects = 5

// maxHeaderBytes bounds the headers of an HTTP answer.
const maxHeaderBytes = 64 << 10

var (
	errAddress   = errors.New("is not an address by http or https")
	errRedirects = &Error{Cause: CauseHTTP, Phase: PhaseHandshake, Err: errors.New("too many redirects")}
	errScheme    = &Error{Cause: CauseHTTP, Phase: PhaseHandshake, Err: errors.New("redirect to another scheme")}
)

// ParseAddress reads an address of http or https: as it is asked for, and the relay
// that would live at its host, which is what HTTPClient knows hosts by.
func ParseAddress(text string, rules relay.Rules) (*url.URL, relay.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, relay.URL{}, errAddress
	}
	at, err := rules.Parse("wss://" + u.Host)
	return u, at, err
}

// HTTPClient returns a client for documents that belong to a relay, such as
// its NIP-11 document. Every connection, after each redirect too, passes the
// same guard, budgets and proxies as Dial. The client keeps no connection and
// has no timeout or body limit of its own: the caller's context bounds the
// time, and the caller reads through an io.LimitReader.
func (d *Dialer) HTTPClient(u relay.URL) *http.Client { return d.httpClient(u, false) }

// KeptHTTPClient is HTTPClient for several requests: between them it keeps a
// connection to each host, until the caller calls CloseIdleConnections.
func (d *Dialer) KeptHTTPClient(u relay.URL) *http.Client { return d.httpClient(u, true) }

func (d *Dialer) httpClient(u relay.URL, keep bool) *http.Client {
	circuit := circuit(u)
	dial := func(ctx context.Context, addr string, secure bool) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return d.open(ctx, target{
			network: networkOf(host), host: host, port: port, secure: secure, circuit: circuit,
		})
	}
	return &http.Client{
		Transport: agent{d.UserAgent(), &http.Transport{
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return dial(ctx, addr, false)
			},
			DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return dial(ctx, addr, true)
			},
			DisableKeepAlives:      !keep,
			MaxIdleConnsPerHost:    1,
			MaxResponseHeaderBytes: maxHeaderBytes,
		}},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > MaxRedirects {
				return errRedirects
			}
			if s := req.URL.Scheme; s != "http" && s != "https" {
				return errScheme
			}
			return nil
		},
	}
}

// networkOf reads the network off a host name, for redirects, which may lead
// anywhere.
func networkOf(host string) relay.Network {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case strings.HasSuffix(host, ".onion"):
		return relay.Tor
	case strings.HasSuffix(host, ".i2p"):
		return relay.I2P
	case strings.HasSuffix(host, ".loki"):
		return relay.Loki
	}
	return relay.Clearnet
}

// agent names us in every request, and types what the transport does not.
type agent struct {
	name string
	next *http.Transport
}

// CloseIdleConnections is what http.Client looks for.
func (a agent) CloseIdleConnections() { a.next.CloseIdleConnections() }

func (a agent) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", a.name)
	resp, err := a.next.RoundTrip(r)
	if err != nil && classify(PhaseHandshake, err) == CauseOther {
		// What is wrong with an answer, net/http tells in words only.
		return nil, &Error{Cause: CauseHTTP, Phase: PhaseHandshake, Host: r.URL.Host, Err: err}
	}
	return resp, err
}

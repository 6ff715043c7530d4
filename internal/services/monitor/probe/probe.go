// Package probe owns the checks of one relay, one file each: what is done, when
// it counts as a success, and the cause when it does not. When a check is due,
// what its results mean for a relay's state, and where they are kept is the
// monitor's business.
package probe

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	doc "bigbrotr/internal/core/nostr/nip11"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
)

// Result is what one probe found.
type Result struct {
	Probe    string
	OK       bool
	Cause    dial.Cause         // why not OK
	Values   map[string]float64 // numbers by name; durations in milliseconds
	Detail   string             // a bounded remark; untrusted text
	Document []byte             // JSON with its keys in one order, for probes that bring one
	Raw      []byte             // the document of nip11 as it came
}

// Probe is a check.
type Probe struct {
	Name string
	// Run performs the check on the target. A probe that makes no sense after
	// what earlier ones found returns false.
	Run func(ctx context.Context, t *Target) (Result, bool)
	// Daily probes ask a relay for more than the others and have their turn
	// once a day.
	Daily bool
}

// All returns the probes in the order in which they run: each may use what the
// earlier ones left in the target, so that one connection serves them all.
func All() []Probe {
	return []Probe{
		{Name: "open", Run: open},
		{Name: "tls", Run: certificate},
		{Name: "read", Run: read},
		{Name: "robots", Run: robots, Daily: true},
		{Name: "nip11", Run: nip11},
		{Name: "schema", Run: schema},
		{Name: "http", Run: headers},
		{Name: "dns", Run: names},
		{Name: "geo", Run: geo},
		{Name: "write", Run: write},
		{Name: "retention", Run: retention, Daily: true},
		{Name: "nips", Run: nips, Daily: true},
	}
}

// Kit is what all checks are done with.
type Kit struct {
	Dialer *dial.Dialer
	Places *Places
	Key    *nostr.SecretKey // whose events test writing; nil: nothing is written
	Work   *Work            // needed with a key
}

// maxConnections is how many connections a relay gets in one check: the
// WebSocket, the document, and one more: a redirect, or the other address
// family.
const maxConnections = 3

// Target is the relay under check and what its probes share.
type Target struct {
	Kit
	URL relay.URL

	session  *session.Session // set by open
	trace    dial.Trace       // of the connection of open, as far as it came
	failed   dial.Phase       // where open failed
	broken   error            // why
	client   *http.Client     // nil until a document is asked for
	answer   *doc.Answer      // to the request for the document
	document *doc.Document    // nil: none

	readable      bool // read succeeded
	writable      bool // write succeeded
	authenticated bool // we had to say who we are
}

// Check runs the probes on one relay within the context's deadline, with daily
// also those that have their turn once a day. It ends when one finds that the
// relay's operator does not want it.
func (k Kit) Check(ctx context.Context, url relay.URL, daily bool) []Result {
	k.Dialer = k.Dialer.Visit(maxConnections)
	t := &Target{Kit: k, URL: url}
	defer t.close(ctx)
	var results []Result
	for _, p := range All() {
		if p.Daily && !daily {
			continue
		}
		if r, ran := p.Run(ctx, t); ran {
			r.Probe = p.Name
			results = append(results, r)
			if r.Cause == dial.CauseOptedOut {
				break
			}
		}
	}
	return results
}

func (t *Target) close(ctx context.Context) {
	if t.session != nil {
		t.session.Close(ctx)
	}
	if t.client != nil {
		t.client.CloseIdleConnections()
	}
}

// header is what the relay's web server says of itself: with the document, or
// when the WebSocket opened.
func (t *Target) header() http.Header {
	switch {
	case t.answer != nil && t.answer.Header != nil:
		return t.answer.Header
	case t.session != nil:
		return t.session.Opening().Header
	}
	return nil
}

// chain is what the relay presented, trusted or not, its own certificate first.
func (t *Target) chain() []*x509.Certificate {
	if t.trace.State != nil {
		return t.trace.State.PeerCertificates
	}
	return presented(t.broken)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// pack makes the document of a result. Its fields have one order, so that equal
// findings are equal documents.
func pack(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("probe: encode findings: %v", err)) // plain values always encode
	}
	return b
}

// maxWord bounds a piece of remote text in a document.
const maxWord = 200

// word cuts remote text.
func word(text string) string {
	if len(text) > maxWord {
		text = text[:maxWord]
		for !utf8.ValidString(text) && text != "" {
			text = text[:len(text)-1]
		}
	}
	return strings.ToValidUTF8(text, "�")
}

// words cuts each of the first n texts.
func words(list []string, n int) []string {
	out := make([]string, 0, min(len(list), n))
	for _, text := range list[:min(len(list), n)] {
		out = append(out, word(text))
	}
	return out
}

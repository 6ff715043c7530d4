package probe

import (
	"context"
	"mime"
	"net/http"
)

// Web is the document of the probe "http".
type Web struct {
	Status        int      `json:"status,omitempty"` // of the answer with the document
	Server        string   `json:"server,omitempty"`
	PoweredBy     string   `json:"powered_by,omitempty"`
	OnionLocation string   `json:"onion_location,omitempty"`
	ContentType   string   `json:"content_type,omitempty"`
	AllowOrigin   string   `json:"allow_origin,omitempty"`
	AllowHeaders  string   `json:"allow_headers,omitempty"`
	AllowMethods  string   `json:"allow_methods,omitempty"`
	Redirects     []string `json:"redirects,omitempty"` // at most 6
	Findings      []WebBug `json:"findings,omitempty"`
}

// WebBug is what is wrong with the way a document is served (NIP-11).
type WebBug string

// What can be wrong with an answer.
const (
	WebContentType     WebBug = "content type is not application/nostr+json"
	WebAllowOrigin     WebBug = "no Access-Control-Allow-Origin"
	WebAllowHeaders    WebBug = "no Access-Control-Allow-Headers"
	WebAllowMethods    WebBug = "no Access-Control-Allow-Methods"
	WebRedirects       WebBug = "redirects"
	WebRedirectRefused WebBug = "redirects to where we do not go"
)

// headers reads what the web server says of itself, in answers that other
// probes got, and finds fault with the way the document is served.
func headers(_ context.Context, t *Target) (Result, bool) {
	h := t.header()
	if h == nil && (t.answer == nil || len(t.answer.Redirects) == 0) {
		return Result{}, false
	}
	w := Web{
		Server: word(h.Get("Server")), PoweredBy: word(h.Get("X-Powered-By")), OnionLocation: word(h.Get("Onion-Location")),
	}
	if a := t.answer; a != nil {
		w.Status, w.Redirects = a.Status, words(a.Redirects, len(a.Redirects))
		if len(a.Redirects) > 0 {
			w.Findings = append(w.Findings, WebRedirects)
		}
		if a.Refused {
			w.Findings = append(w.Findings, WebRedirectRefused)
		}
		if a.Status == http.StatusOK {
			w.served(a.Header)
		}
	}
	return Result{OK: true, Document: pack(w), Values: map[string]float64{"findings": float64(len(w.Findings))}}, true
}

// served judges the headers of a document.
func (w *Web) served(h http.Header) {
	w.ContentType = word(h.Get("Content-Type"))
	if kind, _, err := mime.ParseMediaType(w.ContentType); err != nil || kind != "application/nostr+json" {
		w.Findings = append(w.Findings, WebContentType)
	}
	for _, allow := range []struct {
		name string
		to   *string
		bug  WebBug
	}{
		{"Access-Control-Allow-Origin", &w.AllowOrigin, WebAllowOrigin},
		{"Access-Control-Allow-Headers", &w.AllowHeaders, WebAllowHeaders},
		{"Access-Control-Allow-Methods", &w.AllowMethods, WebAllowMethods},
	} {
		if *allow.to = word(h.Get(allow.name)); *allow.to == "" {
			w.Findings = append(w.Findings, allow.bug)
		}
	}
}

package probe

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bigbrotr/internal/core/dial"
	doc "bigbrotr/internal/core/nostr/nip11"
)

// documentTime bounds the request for a document.
const documentTime = 10 * time.Second

// nip11 succeeds when the relay gives an information document that can be read
// at all; what is wrong with it are findings of schema and http. It is not tried
// on a host that could not be connected to.
func nip11(ctx context.Context, t *Target) (Result, bool) {
	if t.session == nil && t.failed != dial.PhaseHandshake {
		return Result{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, documentTime)
	defer cancel()
	begin := time.Now()
	body, err := t.fetch(ctx)
	if err != nil {
		cause := dial.CauseOf(err)
		if cause == "" {
			cause = dial.CauseReadTimeout
		}
		return Result{Cause: cause}, true
	}
	if status := t.answer.status; status != http.StatusOK {
		return Result{Cause: dial.CauseHTTPStatus, Detail: "HTTP status " + strconv.Itoa(status)}, true
	}
	document, err := doc.Parse(body)
	if err != nil {
		return Result{Cause: dial.CauseDocument, Detail: problem(err)}, true
	}
	canonical, err := doc.Canonical(body)
	if err != nil {
		return Result{Cause: dial.CauseDocument, Detail: problem(err)}, true
	}
	t.document = &document
	return Result{OK: true, Document: canonical, Raw: body, Values: map[string]float64{
		"document_ms": milliseconds(time.Since(begin)),
		"bytes":       float64(len(body)),
	}}, true
}

// answer is how the request for the document was answered.
type answer struct {
	status    int         // 0: not at all
	header    http.Header // of the last answer
	redirects []string    // where they led, cut
	refused   bool        // the last redirect leads where we do not go
}

// fetch gets the document; a longer body than a document may have is cut one
// byte beyond, by which the parser knows.
func (t *Target) fetch(ctx context.Context) (body []byte, err error) {
	url := "http" + strings.TrimPrefix(t.URL.String(), "ws")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/nostr+json")
	req.Header.Set("Origin", "https://example.com") // some send CORS headers to browsers only
	t.answer = new(answer)
	client := t.Dialer.HTTPClient(t.URL)
	follow := client.CheckRedirect
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		t.answer.redirects = append(t.answer.redirects, word(next.URL.String()))
		return follow(next, via)
	}
	resp, err := client.Do(req)
	if err != nil {
		cause := dial.CauseOf(err)
		t.answer.refused = len(t.answer.redirects) > 0 && (cause == dial.CauseAddress || cause == dial.CauseHTTP)
		return nil, err
	}
	defer resp.Body.Close()
	t.answer.status, t.answer.header = resp.StatusCode, resp.Header
	if resp.StatusCode != http.StatusOK {
		return nil, nil
	}
	return io.ReadAll(io.LimitReader(resp.Body, doc.MaxSize+1))
}

// problem is the sentinel's text without the remote bytes around it.
func problem(err error) string {
	for _, known := range []error{doc.ErrTooLarge, doc.ErrTooDeep, doc.ErrNotObject} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "not JSON"
}

// Schema is the document of the probe "schema".
type Schema struct {
	Findings []SchemaFinding `json:"findings"`
}

// SchemaFinding is a departure of the document from NIP-11.
type SchemaFinding struct {
	Field   string `json:"field"` // "" for the document as a whole
	Problem string `json:"problem"`
}

// schema says how the document departs from NIP-11. That is a remark, which
// fails nothing.
func schema(_ context.Context, t *Target) (Result, bool) {
	if t.document == nil {
		return Result{}, false
	}
	s := Schema{Findings: []SchemaFinding{}}
	for _, f := range t.document.Findings {
		s.Findings = append(s.Findings, SchemaFinding{Field: word(f.Field), Problem: string(f.Problem)})
	}
	return Result{OK: true, Document: pack(s), Values: map[string]float64{"findings": float64(len(s.Findings))}}, true
}

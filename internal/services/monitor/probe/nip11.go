package probe

import (
	"context"
	"errors"
	"net/http"
	"strconv"
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
	var err error
	t.answer = new(doc.Answer)
	*t.answer, err = doc.Fetch(ctx, t.web(), t.URL)
	t.web().CloseIdleConnections() // nothing more is asked for over it
	if err != nil {
		cause := dial.CauseOf(err)
		if cause == "" {
			cause = dial.CauseReadTimeout
		}
		return Result{Cause: cause}, true
	}
	if status := t.answer.Status; status != http.StatusOK {
		return Result{Cause: dial.CauseHTTPStatus, Detail: "HTTP status " + strconv.Itoa(status)}, true
	}
	body := t.answer.Body
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

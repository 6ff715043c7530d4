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

// nip11 succeeds when the relay gives an information document that can be read
// at all; what is wrong with it are findings. It is not tried on a host that
// could not be connected to.
func nip11(ctx context.Context, t *Target) (Result, bool) {
	if t.session == nil && t.failed != dial.PhaseHandshake {
		return Result{}, false
	}
	begin := time.Now()
	body, status, err := fetch(ctx, t)
	if err != nil {
		cause := dial.CauseOf(err)
		if cause == "" {
			cause = dial.CauseReadTimeout
		}
		return Result{Cause: cause}, true
	}
	if status != http.StatusOK {
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
	return Result{OK: true, Document: canonical, Values: map[string]float64{
		"document_ms": milliseconds(time.Since(begin)),
		"findings":    float64(len(document.Findings)),
	}}, true
}

// fetch gets the document; a longer body than a document may have is cut one
// byte beyond, by which the parser knows.
func fetch(ctx context.Context, t *Target) (body []byte, status int, err error) {
	url := "http" + strings.TrimPrefix(t.URL.String(), "ws")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/nostr+json")
	resp, err := t.Dialer.HTTPClient(t.URL).Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, resp.StatusCode, nil
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, doc.MaxSize+1))
	return body, resp.StatusCode, err
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

// Package answer owns what pages and REST answer alike: what does not change,
// plain text, and what a client may know of an error; and how many clients may take
// what there is little of.
package answer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

// Plain answers with text.
func Plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// Fixed serves what is the same for the life of the process. Browsers ask each
// time whether they still have it, so that a new version shows at once.
func Fixed(contentType string, data []byte) http.Handler {
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Type", contentType)
		h.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
}

// Fault is an error as a client may know it.
type Fault struct {
	Status int    // of HTTP
	Text   string // a sentence without its full stop
	Place  string // of the request, for an error in it
}

// FaultOf tells what a client may know of an error, and logs what it may not.
func FaultOf(ctx context.Context, log *slog.Logger, err error) Fault {
	switch {
	case errors.Is(err, query.ErrLimit):
		return Fault{http.StatusUnprocessableEntity, query.ErrLimit.Error(), "query.limit"}
	case errors.Is(err, query.ErrSort):
		return Fault{http.StatusUnprocessableEntity, query.ErrSort.Error(), "query.sort"}
	case errors.Is(err, query.ErrIndexOnly):
		return Fault{http.StatusNotImplemented, query.ErrIndexOnly.Error(), ""}
	case errors.Is(err, store.ErrSearch):
		return Fault{http.StatusUnprocessableEntity, store.ErrSearch.Error(), "query.search"}
	case errors.Is(err, store.ErrNoSearch):
		return Fault{http.StatusUnprocessableEntity, store.ErrNoSearch.Error(), "query.search"}
	case errors.Is(err, store.ErrCursor):
		return Fault{http.StatusUnprocessableEntity, "not the next of a page", "query.after"}
	case errors.Is(err, store.ErrNotFound):
		return Fault{http.StatusNotFound, "it is not archived, or not for everybody", ""}
	case errors.Is(err, context.DeadlineExceeded):
		return Fault{http.StatusGatewayTimeout, "the question takes too long; ask a narrower one", ""}
	case errors.Is(err, context.Canceled): // the client has left, or the process ends
		return Fault{http.StatusServiceUnavailable, "the question was cut short", ""}
	}
	log.ErrorContext(ctx, "question failed", "error", err)
	return Fault{http.StatusInternalServerError, "the archive cannot answer now; the log says why", ""}
}

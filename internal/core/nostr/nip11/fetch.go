package nip11

import (
	"context"
	"io"
	"net/http"
	"strings"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
)

// Answer is how a relay answered the request for its document.
type Answer struct {
	Status    int         // 0: not at all
	Header    http.Header // of the last answer
	Redirects []string    // where they led; untrusted text
	Refused   bool        // the last redirect leads where we do not go
	// Body is that of status 200. One that is longer than a document may have is
	// cut one byte beyond, by which Parse knows.
	Body []byte
}

// Fetch asks a relay for its document, with a client that dial made for it. The
// context bounds the time. With an error, too, the answer says what was learned.
func Fetch(ctx context.Context, client *http.Client, u relay.URL) (Answer, error) {
	var a Answer
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+strings.TrimPrefix(u.String(), "ws"), nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", "application/nostr+json")
	req.Header.Set("Origin", "https://example.com") // some send CORS headers to browsers only
	watched := *client
	watched.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		a.Redirects = append(a.Redirects, next.URL.String())
		return client.CheckRedirect(next, via)
	}
	resp, err := watched.Do(req)
	if err != nil {
		cause := dial.CauseOf(err)
		a.Refused = len(a.Redirects) > 0 && (cause == dial.CauseAddress || cause == dial.CauseHTTP)
		return a, err
	}
	defer resp.Body.Close()
	a.Status, a.Header = resp.StatusCode, resp.Header
	if resp.StatusCode == http.StatusOK {
		a.Body, err = io.ReadAll(io.LimitReader(resp.Body, MaxSize+1))
	}
	return a, err
}

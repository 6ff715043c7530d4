package probe

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"

	"bigbrotr/internal/core/dial"
)

// maxRobots is how many bytes of a robots.txt are read: RFC 9309 asks for 500
// KiB at least.
const maxRobots = 512 << 10

// robots succeeds unless the host's robots.txt (RFC 9309) names us and closes
// the relay's path to us. A group for everybody does not count: it speaks to
// those who search pages. A host without the file, or that does not answer, has
// no objections.
func robots(ctx context.Context, t *Target) (Result, bool) {
	if t.session == nil {
		return Result{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, documentTime)
	defer cancel()
	host := "http" + strings.TrimSuffix(strings.TrimPrefix(t.URL.String(), "ws"), t.URL.Path())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, host+"/robots.txt", nil)
	if err != nil {
		return Result{}, false
	}
	resp, err := t.web().Do(req)
	if err != nil {
		return Result{}, false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRobots))
	if err != nil {
		return Result{}, false
	}
	if resp.StatusCode == http.StatusOK && !welcome(body, t.Dialer.UserAgent(), cmp.Or(t.URL.Path(), "/")) {
		return Result{Cause: dial.CauseOptedOut}, true
	}
	return Result{OK: true}, true
}

// welcome tells whether a robots.txt lets whoever calls themselves so to a path.
// Of the rules in groups that name them, the longest that fits decides.
func welcome(file []byte, agent, path string) bool {
	name := dial.ProductToken(agent)
	var naming, ours bool // in the lines that begin a group; in one of ours
	allowed, longest := true, 0
	for line := range strings.Lines(strings.TrimPrefix(string(file), "\ufeff")) {
		line, _, _ = strings.Cut(line, "#")
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key = strings.ToLower(strings.TrimSpace(key)); key {
		case "user-agent":
			ours = naming && ours || strings.EqualFold(value, name)
			naming = true
		case "allow", "disallow":
			naming = false
			allow := key == "allow"
			if ours && fits(value, path) && (len(value) > longest || len(value) == longest && allow) {
				allowed, longest = allow, len(value)
			}
		}
	}
	return allowed
}

// fits tells whether a path begins as a pattern says, in which * stands for
// anything and $ for the end. The empty pattern fits nothing.
func fits(pattern, path string) bool {
	if pattern == "" {
		return false
	}
	pattern, whole := strings.CutSuffix(pattern, "$")
	part, rest, more := strings.Cut(pattern, "*")
	path, ok := strings.CutPrefix(path, part)
	for ok && more {
		part, rest, more = strings.Cut(rest, "*")
		if whole && !more {
			return strings.HasSuffix(path, part)
		}
		_, path, ok = strings.Cut(path, part)
	}
	return ok && (!whole || path == "")
}

// web is the client for the relay's documents. They come over one connection,
// if the server wants.
func (t *Target) web() *http.Client {
	if t.client == nil {
		t.client = t.Dialer.KeptHTTPClient(t.URL)
	}
	return t.client
}

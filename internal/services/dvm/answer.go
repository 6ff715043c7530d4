package dvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"
)

// answer is what became of a question.
type answer struct {
	text string
	more bool // it is a part of what there is
}

// questionError is what is wrong with a question, in words for its sender.
type questionError struct{ text string }

func (e *questionError) Error() string { return e.text }

// The troubles of questions that are not the question's.
var (
	errAway  = errors.New("the archive cannot answer now")
	errSlow  = errors.New("the question takes too long; ask a narrower one")
	errLarge = errors.New("the answer is too large; ask a narrower question")
	errBytes = errors.New("the answer is not text; ask for it by HTTP")
)

// put puts a question to REST. Of a list that is too large the first part is
// returned, of as many rows as fit.
func (s *Service) put(ctx context.Context, asked url.URL) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	for {
		r, err := s.get(ctx, &asked)
		if err != nil || !r.over {
			return r.answer(ctx, err)
		}
		query := asked.Query()
		limit, err := strconv.Atoi(query.Get("limit"))
		if err != nil {
			limit = 100 // what REST takes for one
		}
		if limit /= 2; limit < 1 {
			return answer{}, errLarge
		}
		query.Set("limit", strconv.Itoa(limit))
		asked.RawQuery = query.Encode()
	}
}

func (s *Service) get(ctx context.Context, asked *url.URL) (*recorder, error) {
	r := &recorder{header: http.Header{}, most: int(s.cfg.MaxAnswer)}
	var cancel context.CancelFunc
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	r.enough = cancel
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, asked.String(), http.NoBody)
	if err != nil {
		return r, errQuestion
	}
	req.RequestURI = asked.RequestURI()
	s.ask.ServeHTTP(r, req)
	return r, nil
}

// recorder keeps an answer of a handler as long as it is not too large.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	most   int
	over   bool
	enough context.CancelFunc // ends the handler
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.body.Len()+len(b) > r.most {
		r.over = true
		r.enough()
		return 0, errLarge
	}
	return r.body.Write(b)
}

// answer reads what a handler said.
func (r *recorder) answer(ctx context.Context, err error) (answer, error) {
	switch {
	case err != nil:
		return answer{}, err
	case ctx.Err() != nil || r.status == http.StatusGatewayTimeout:
		return answer{}, errSlow
	case r.status >= http.StatusInternalServerError:
		return answer{}, errAway
	case r.status >= http.StatusMultipleChoices:
		return answer{}, &questionError{problem(r.status, r.body.Bytes())}
	case !utf8.Valid(r.body.Bytes()):
		return answer{}, errBytes
	}
	a := answer{text: r.body.String()}
	if kind, _, _ := mime.ParseMediaType(r.header.Get("Content-Type")); kind == "application/json" {
		var page struct {
			Next string `json:"next"`
		}
		a.more = json.Unmarshal(r.body.Bytes(), &page) == nil && page.Next != ""
	}
	return a, nil
}

// problem says in a line what REST found wrong (RFC 9457).
func problem(status int, body []byte) string {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &p) != nil || p.Title+p.Detail == "" {
		return http.StatusText(status)
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	const most = 5
	for i, e := range p.Errors {
		if i == most {
			text += " …"
			break
		}
		text += fmt.Sprintf("; %s: %s", e.Location, e.Message)
	}
	return text
}

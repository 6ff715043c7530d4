package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bigbrotr/internal/core/query"
)

// prepared is the answer of /alive, made once for each list.
type prepared struct {
	mu     sync.Mutex
	of     *query.Alive
	tag    string
	bodies map[string][]byte // by encoding; "" plain
}

// encodings are those of prepared answers, the best first.
var encodings = []string{"zstd", "gzip"}

// get returns the answer to who accepts some encodings.
func (p *prepared) get(list *query.Alive, accept string) (tag, encoding string, body []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of != list {
		if err := p.make(list); err != nil {
			return "", "", nil, err
		}
	}
	for _, e := range encodings {
		if accepts(accept, e) {
			encoding = e
			break
		}
	}
	return p.tag, encoding, p.bodies[encoding], nil
}

func (p *prepared) make(list *query.Alive) error {
	// The tag is of the relays, not of when they were read.
	relays, err := json.Marshal(list.Relays)
	if err != nil {
		return fmt.Errorf("write the list of relays: %w", err)
	}
	sum := sha256.Sum256(fmt.Append(relays, list.Stale))
	tag := `W/"` + hex.EncodeToString(sum[:12]) + `"`
	if tag == p.tag { // the same list, read again
		p.of = list
		return nil
	}
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write the list of relays: %w", err)
	}
	squeeze, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("compress the list of relays: %w", err)
	}
	squeezed := squeeze.EncodeAll(text, nil)
	if err := squeeze.Close(); err != nil {
		return fmt.Errorf("compress the list of relays: %w", err)
	}
	var zipped strings.Builder
	zip := gzip.NewWriter(&zipped)
	if _, err = zip.Write(text); err == nil {
		err = zip.Close()
	}
	if err != nil {
		return fmt.Errorf("compress the list of relays: %w", err)
	}
	p.of, p.tag = list, tag
	p.bodies = map[string][]byte{"": text, "gzip": []byte(zipped.String()), "zstd": squeezed}
	return nil
}

// accepts tells whether a header Accept-Encoding names an encoding.
func accepts(header, encoding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		quality, given := strings.CutPrefix(strings.TrimSpace(params), "q=")
		q, err := strconv.ParseFloat(quality, 64)
		return !given || err == nil && q > 0
	}
	return false
}

// aliveOutput is documented as the list; the body is ready made.
type aliveOutput struct {
	Status   int
	Type     string `header:"Content-Type"`
	ETag     string `header:"ETag"`
	Vary     string `header:"Vary"`
	Cache    string `header:"Cache-Control"`
	Encoding string `header:"Content-Encoding"`
	Body     []byte
}

type aliveInput struct {
	Known  string `header:"If-None-Match" doc:"the ETag of an answer that the client has"`
	Accept string `header:"Accept-Encoding"`
}

func (a *API) getAlive(ctx context.Context, in *aliveInput) (*aliveOutput, error) {
	list, err := a.query.Alive(ctx)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	out := &aliveOutput{Status: http.StatusOK, Type: "application/json", Vary: "Accept-Encoding", Cache: "public, max-age=5"}
	if out.ETag, out.Encoding, out.Body, err = a.alive.get(list, in.Accept); err != nil {
		return nil, a.problem(ctx, err)
	}
	if matches(in.Known, out.ETag) {
		out.Status, out.Type, out.Encoding, out.Body = http.StatusNotModified, "", "", nil
	}
	return out, nil
}

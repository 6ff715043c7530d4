package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

func (a *API) streamRoutes(api huma.API) {
	huma.Get(api, prefix+"/stream", a.getStream, describe("stream", "events", "What is new, as it comes",
		"Server-sent events: \"event\" with an archived event that matches the filter, in the order of the archive, whenever it was written; "+
			"\"relay\" with a relay whose state has changed. Each has an id; who comes back with it as Last-Event-ID misses nothing and may get the last ones again. "+
			"Of changes of one relay in between it gets the newest. A client that does not read is let go. Events that an index does not keep whole match no condition on tags.",
		http.StatusServiceUnavailable), func(o *huma.Operation) { media(o, "a stream without end", streamType) })
}

const streamType = "text/event-stream"

const (
	// pollEvery is how often a follower looks by itself, for states and when it is
	// behind; beatEvery how often it is shown that the connection lives.
	pollEvery = time.Second
	beatEvery = 15 * time.Second
	// lateBy is how much later than its time a change of state may be written, in
	// seconds: a check ends when all its probes have.
	lateBy = 300
)

type streamInput struct {
	FilterInput
	What  string `query:"what" enum:"all,events,relays" default:"all" doc:"what to send"`
	After string `query:"after" maxLength:"500" doc:"as Last-Event-ID, which counts when both are there"`
	Last  string `header:"Last-Event-ID" maxLength:"500" doc:"id of the last one that the client has"`

	request *http.Request
}

// Resolve makes the filter, and tells which parameters are no part of one.
func (in *streamInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	if in.Search != "" {
		return []error{&huma.ErrorDetail{Location: "query.search", Message: "what comes is not searched; follow without it", Value: in.Search}}
	}
	return in.FilterInput.Resolve(ctx)
}

// mark is where a client stands in the stream.
type mark struct {
	Events store.Cursor `json:"e"`
	Relays int64        `json:"r"` // the time of the newest change that it has
}

func (m mark) String() string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // texts and numbers always have a form
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// parseMark reads what String wrote; nil for an empty text.
func parseMark(text string) (*mark, error) {
	if text == "" {
		return nil, nil
	}
	var m mark
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &m) != nil || m.Events == "" {
		return nil, store.ErrCursor
	}
	return &m, nil
}

// follower is a client of the stream.
type follower struct {
	api    *API
	what   string
	wanted store.Matcher
	out    *sender
	mark   mark
	sent   map[store.RelayID]int64 // the changes of the last lateBy seconds
}

func (a *API) getStream(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	from, err := parseMark(cmp.Or(in.Last, in.After))
	if err == nil && from != nil {
		err = a.news.check(ctx, from.Events)
	}
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	who := a.options.Client(in.request)
	if !a.streams.Enter(who) {
		return nil, huma.NewError(http.StatusServiceUnavailable, errBusy.Error())
	}
	begin, err := a.news.join(ctx)
	if err != nil {
		a.streams.Leave(who)
		return nil, a.problem(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer a.streams.Leave(who)
		defer a.news.leave()
		r, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", streamType)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Accel-Buffering", "no") // for proxies
		if r.Method == http.MethodHead {
			return
		}
		f := &follower{
			api: a, what: in.What, wanted: store.Matcher{Filter: in.filter}, out: newSender(w),
			mark: mark{Events: begin, Relays: time.Now().Unix()}, sent: map[store.RelayID]int64{},
		}
		if from != nil {
			f.mark = *from
		}
		err := f.follow(r.Context(), from != nil)
		if err != nil && r.Context().Err() == nil && !errors.Is(err, errClient) {
			a.log.WarnContext(r.Context(), "stream ended", "error", err)
		}
	}}, nil
}

// follow sends what is new until the client leaves or the process ends.
func (f *follower) follow(ctx context.Context, resumed bool) error {
	// Before a client knows that it follows, what has changed already is noted.
	if f.what != "events" && !resumed {
		if err := f.relays(ctx, false); err != nil {
			return err
		}
	}
	if err := f.out.write([]byte("retry: 2000\n\n")); err != nil {
		return err
	}
	poll, beat := time.NewTicker(pollEvery), time.NewTicker(beatEvery)
	defer poll.Stop()
	defer beat.Stop()
	for {
		var more <-chan struct{}
		if f.what != "relays" {
			var err error
			if more, err = f.events(ctx); err != nil {
				return err
			}
		}
		select {
		case <-more:
			continue
		case <-beat.C:
			if err := f.out.write([]byte(":\n\n")); err != nil {
				return err
			}
		case <-poll.C:
		case <-f.api.news.over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		if f.what != "events" {
			if err := f.relays(ctx, true); err != nil {
				return err
			}
		}
	}
}

// events sends the new events that are held, or, to a client that is further
// behind, reads what comes up to those.
func (f *follower) events(ctx context.Context) (more <-chan struct{}, err error) {
	n := f.api.news
	if nr, ok := n.place(f.mark.Events); ok {
		items, held, more := n.from(nr)
		if held {
			for i := range items {
				if err := f.event(&items[i]); err != nil {
					return nil, err
				}
			}
			return more, nil
		}
	}
	var failed error
	err = n.scan(ctx, f.mark.Events, func(batch []item) bool {
		for i := range batch {
			if failed = f.event(&batch[i]); failed != nil {
				return false
			}
			if _, held := n.place(f.mark.Events); held {
				return false
			}
		}
		return true
	})
	return nil, errors.Join(failed, err)
}

// event sends an event if the client wants it.
func (f *follower) event(i *item) error {
	f.mark.Events = i.cursor
	if !i.public || !f.wanted.Matches(&store.Record{Stored: i.record}) {
		return nil
	}
	text, err := (&query.Found{Stored: i.record}).AppendJSON(nil)
	if err != nil {
		return err
	}
	return f.out.send("event", f.mark, text)
}

// change is a relay whose state has changed.
type change struct {
	URL   string      `json:"url"`
	State store.State `json:"state"`
	Since int64       `json:"since"`
	Cause string      `json:"cause,omitempty"`
}

// relays sends the relays whose state has changed, or only notes them.
func (f *follower) relays(ctx context.Context, send bool) error {
	ctx, cancel := context.WithTimeout(ctx, f.api.options.Timeout)
	defer cancel()
	list, err := f.api.query.Changed(ctx, f.mark.Relays-lateBy)
	if err != nil {
		return err
	}
	for _, r := range list {
		if f.sent[r.ID] == r.Since {
			continue
		}
		f.sent[r.ID] = r.Since
		if !send {
			continue
		}
		f.mark.Relays = max(f.mark.Relays, r.Since)
		text, err := json.Marshal(change{r.URL.String(), r.State, r.Since, r.Cause})
		if err != nil {
			return err
		}
		if err := f.out.send("relay", f.mark, text); err != nil {
			return err
		}
	}
	for id, since := range f.sent {
		if since < f.mark.Relays-lateBy {
			delete(f.sent, id)
		}
	}
	return nil
}

// sender writes server-sent events.
type sender struct {
	out     *patient
	control *http.ResponseController
	buf     bytes.Buffer
}

func newSender(w http.ResponseWriter) *sender {
	control := http.NewResponseController(w)
	// The deadline of the request would end the connection.
	_ = control.SetReadDeadline(time.Time{})
	return &sender{out: &patient{w, control}, control: control}
}

// send writes an event. Its data is JSON, which has no line breaks.
func (s *sender) send(name string, at mark, data []byte) error {
	s.buf.Reset()
	s.buf.WriteString("event: " + name + "\nid: " + at.String() + "\ndata: ")
	s.buf.Write(data)
	s.buf.WriteString("\n\n")
	return s.write(s.buf.Bytes())
}

func (s *sender) write(text []byte) error {
	if _, err := s.out.Write(text); err != nil {
		return err
	}
	return s.control.Flush()
}

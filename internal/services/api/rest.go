package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/api/answer"
)

// rest adds the routes below /api.
func (s *Service) rest(mux *http.ServeMux) {
	cfg := huma.DefaultConfig("BigBrotr", s.process.Version)
	cfg.Info.Description = "What the archive knows of the relays of Nostr, and the events it holds. Read-only."
	cfg.CreateHooks = nil                         // they put links made of the client's Host header into every answer
	cfg.OpenAPIPath = ""                          // huma makes the document at the first request, without a lock; see below
	cfg.DocsPath = ""                             // its page would load scripts from elsewhere
	cfg.SchemasPath = ""                          // they are in the document
	cfg.AllowAdditionalPropertiesByDefault = true // in answers, or clients could not bear new ones
	cfg.RejectUnknownQueryParameters = true
	api := humago.New(mux, cfg)
	api.UseMiddleware(strictQuery(api))
	huma.Get(api, "/api/v1/stats", s.getStats, describe("stats", "Figures of the whole archive",
		"Read from sums that are seconds old."))
	huma.Get(api, "/api/v1/relays", s.getRelays, describe("relays", "Relays with state, health and coverage",
		"By ascending URL. Follow next until it is absent."))
	huma.Get(api, "/api/v1/events", s.getEvents, describe("events", "Archived events that match a NIP-01 filter",
		"Newest first, ties by lowest id. Left out are kinds meant for their recipients only, expired events and "+
			"those their authors deleted. A page of large events is shorter than the limit: follow next until it is absent. "+
			"An archive may be an index, which keeps most events without tags, content and signature: such an entry has "+
			"index_only. It fits a tag condition when the hash of its tag does."))
	huma.Get(api, "/api/v1/events/{id}", s.getEvent, describeOne("event", "One archived event",
		"Not found are events that are not archived and those that strangers are not served, as in the list of events. "+
			"Of an event that a newer version has superseded this is the old one."))
	huma.Get(api, "/api/v1/events/{id}/relays", s.getEventRelays, describeOne("event-relays", "The relays that carry an event",
		"The first one first."))

	document, err := json.Marshal(api.OpenAPI())
	if err != nil {
		panic(err) // a type of ours that no schema describes
	}
	mux.Handle("GET /api/openapi.json", answer.Fixed("application/openapi+json", document))
	mux.HandleFunc("GET /api/", func(w http.ResponseWriter, r *http.Request) {
		ctx := humago.NewContext(&huma.Operation{}, r, w)
		_ = huma.WriteErr(api, ctx, http.StatusNotFound, "there is nothing at this address; /api/openapi.json lists what is")
	})
}

func describe(id, summary, text string) func(*huma.Operation) {
	return func(o *huma.Operation) {
		o.OperationID, o.Summary, o.Description = id, summary, text
		o.Errors = []int{http.StatusUnprocessableEntity, http.StatusInternalServerError, http.StatusGatewayTimeout}
	}
}

// describeOne is describe of a route to one thing.
func describeOne(id, summary, text string) func(*huma.Operation) {
	return func(o *huma.Operation) {
		describe(id, summary, text)(o)
		o.Errors = append(o.Errors, http.StatusNotFound)
	}
}

// strictQuery refuses queries of which a part would be ignored: an answer to
// another question than the one asked is worse than none.
func strictQuery(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		u := ctx.URL()
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			_ = huma.WriteErr(api, ctx, http.StatusUnprocessableEntity, "the query cannot be read: "+err.Error())
			return
		}
		for _, p := range ctx.Operation().Parameters {
			if len(query[p.Name]) > 1 && (p.Explode == nil || !*p.Explode) {
				_ = huma.WriteErr(api, ctx, http.StatusUnprocessableEntity, "validation failed",
					&huma.ErrorDetail{Location: "query." + p.Name, Message: "stands there more than once; separate the values of a list by commas"})
				return
			}
		}
		next(ctx)
	}
}

type statsOutput struct{ Body query.Stats }

func (s *Service) getStats(ctx context.Context, _ *struct{}) (*statsOutput, error) {
	stats, err := s.query.Stats(ctx)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &statsOutput{stats}, nil
}

type relaysInput struct {
	Network string `query:"network" enum:"clearnet,tor,i2p,loki" doc:"only relays of this network" example:"clearnet"`
	State   string `query:"state" enum:"new,up,degraded,down,dead" doc:"only relays in this state" example:"up"`
	After   string `query:"after" maxLength:"512" doc:"next of the previous page" example:"wss://relay.example.com"`
	Limit   int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most relays of a page"`
}

type relaysOutput struct{ Body query.RelayPage }

func (s *Service) getRelays(ctx context.Context, in *relaysInput) (*relaysOutput, error) {
	q := query.RelayQuery{Network: relay.Network(in.Network), After: in.After, Limit: in.Limit}
	if in.State != "" {
		q.States = []store.State{store.State(in.State)}
	}
	page, err := s.query.Relays(ctx, q)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &relaysOutput{page}, nil
}

// eventsInput is a NIP-01 filter as query parameters. Lists are separated by
// commas; tag conditions are written letter:value, once for each value.
type eventsInput struct {
	IDs     []string        `query:"ids" nullable:"false" maxItems:"500" doc:"event ids, 64 lower-case hex digits each, separated by commas"`
	Authors []string        `query:"authors" nullable:"false" maxItems:"500" doc:"public keys, 64 lower-case hex digits each, separated by commas"`
	Kinds   []int64         `query:"kinds" nullable:"false" maxItems:"500" doc:"separated by commas" example:"[1,30023]"`
	Tag     []string        `query:"tag,explode" nullable:"false" maxItems:"100" doc:"letter:value; repeat the parameter for more. Values of one letter are alternatives, letters must all be met" example:"t:nostr"`
	Since   optional[int64] `query:"since" minimum:"0" doc:"only events whose created_at is at or after this time, Unix seconds" example:"1735689600"`
	Until   optional[int64] `query:"until" minimum:"0" doc:"only events whose created_at is at or before this time, Unix seconds" example:"1767225599"`
	Search  string          `query:"search" maxLength:"256" doc:"words that a note, an article or a profile must have, all of them (NIP-50); extensions such as language:en are read over. Not every archive can be searched" example:"nostr relays"`
	After   string          `query:"after" maxLength:"200" doc:"next of the previous page"`
	Limit   int             `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most events of a page"`

	filter nostr.Filter // set by Resolve
}

// optional is a parameter that is not there unless it was given.
type optional[T any] struct {
	Value T
	Given bool
}

// Receiver is where huma puts the value.
func (o *optional[T]) Receiver() reflect.Value { return reflect.ValueOf(&o.Value).Elem() }

// OnParamSet is called for a parameter that was given.
func (o *optional[T]) OnParamSet(given bool, _ any) { o.Given = given }

// Schema is that of the value.
func (o *optional[T]) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[T]())
}

func (o *optional[T]) pointer() *T {
	if !o.Given {
		return nil
	}
	return &o.Value
}

// Resolve makes the filter, and tells which parameters are no part of one.
func (in *eventsInput) Resolve(huma.Context) []error {
	var wrong []error
	refuse := func(name string, i int, value, message string) {
		wrong = append(wrong, &huma.ErrorDetail{Location: fmt.Sprintf("query.%s[%d]", name, i), Message: message, Value: value})
	}
	f := nostr.Filter{Since: in.Since.pointer(), Until: in.Until.pointer(), Search: in.Search}
	for i, text := range in.IDs {
		id, err := nostr.ParseID(text)
		if err != nil {
			refuse("ids", i, text, err.Error())
		}
		f.IDs = append(f.IDs, id)
	}
	for i, text := range in.Authors {
		key, err := nostr.ParsePubKey(text)
		if err != nil {
			refuse("authors", i, text, err.Error())
		}
		f.Authors = append(f.Authors, key)
	}
	for _, kind := range in.Kinds {
		f.Kinds = append(f.Kinds, nostr.Kind(kind))
	}
	for i, text := range in.Tag {
		letter, value, ok := strings.Cut(text, ":")
		if !ok || !store.Indexed(nostr.Tag{letter, value}) {
			refuse("tag", i, text, "not letter:value")
			continue
		}
		if f.Tags == nil {
			f.Tags = map[string][]string{}
		}
		f.Tags[letter] = append(f.Tags[letter], value)
	}
	in.filter = f
	return wrong
}

// event is an event as it was signed, or a query.IndexEntry.
type event struct{ json.RawMessage }

// exampleEvent is properly signed, so that readers can try their code on it.
const exampleEvent = `{"id":"64ee9b916675384031e55d868139aa1aa6f66c46646153d51b8d96e3003e7baa",` +
	`"pubkey":"989c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f","created_at":1767225600,"kind":1,` +
	`"tags":[["t","nostr"]],"content":"Hello, Nostr.",` +
	`"sig":"1b4d6b0d73063957cf65fdb69f3571d3d76d614f0b2a5e84cedc9cd3b90a941d7007816ae4b6a928518518eedfc1644bcff586e6f21f061dadf5800787e0eb9e"}`

// Schema describes the event of NIP-01 and what stands for one in an index.
func (event) Schema(r huma.Registry) *huma.Schema {
	text := func(pattern, doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Pattern: pattern, Description: doc}
	}
	number := func(doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Description: doc}
	}
	whole := &huma.Schema{
		Type:        huma.TypeObject,
		Description: "a NIP-01 event as it was signed",
		Properties: map[string]*huma.Schema{
			"id":         text("^[0-9a-f]{64}$", "SHA-256 of the canonical form"),
			"pubkey":     text("^[0-9a-f]{64}$", "public key of the author"),
			"created_at": number("Unix seconds, as the author says"),
			"kind":       number(""),
			"tags":       {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeArray, Items: text("", "")}},
			"content":    text("", ""),
			"sig":        text("^[0-9a-f]{128}$", "BIP-340 signature of the id"),
		},
		Required: []string{"id", "pubkey", "created_at", "kind", "tags", "content", "sig"},
	}
	return &huma.Schema{
		OneOf:    []*huma.Schema{whole, r.Schema(reflect.TypeFor[query.IndexEntry](), true, "")},
		Examples: []any{json.RawMessage(exampleEvent)},
	}
}

// eventPage is query.EventPage with the events described.
type eventPage struct {
	Events []event `json:"events" nullable:"false" doc:"newest first, ties by lowest id"`
	Next   string  `json:"next,omitempty" doc:"pass as after for the next page; absent at the end"`
}

type eventsOutput struct{ Body eventPage }

func (s *Service) getEvents(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
	page, err := s.query.Events(ctx, in.filter, store.Cursor(in.After), in.Limit)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	body := eventPage{Events: make([]event, len(page.Events)), Next: page.Next}
	for i, text := range page.Events {
		body.Events[i] = event{text}
	}
	return &eventsOutput{body}, nil
}

type eventInput struct {
	ID string `path:"id" pattern:"^[0-9a-f]{64}$" doc:"of the event, 64 lower-case hex digits" example:"64ee9b916675384031e55d868139aa1aa6f66c46646153d51b8d96e3003e7baa"`
}

type eventOutput struct{ Body event }

func (s *Service) getEvent(ctx context.Context, in *eventInput) (*eventOutput, error) {
	id, err := nostr.ParseID(in.ID)
	if err != nil {
		return nil, huma.Error404NotFound(err.Error())
	}
	text, err := s.query.Event(ctx, id)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &eventOutput{event{text}}, nil
}

type eventRelaysOutput struct{ Body query.Carriers }

func (s *Service) getEventRelays(ctx context.Context, in *eventInput) (*eventRelaysOutput, error) {
	id, err := nostr.ParseID(in.ID)
	if err != nil {
		return nil, huma.Error404NotFound(err.Error())
	}
	carriers, err := s.query.EventRelays(ctx, id)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &eventRelaysOutput{carriers}, nil
}

// problem turns an error into what a client may know of it.
func (s *Service) problem(ctx context.Context, err error) error {
	f := answer.FaultOf(ctx, s.log, err)
	if f.Status == http.StatusUnprocessableEntity {
		return huma.NewError(f.Status, "validation failed", &huma.ErrorDetail{Location: f.Place, Message: f.Text})
	}
	return huma.NewError(f.Status, f.Text)
}

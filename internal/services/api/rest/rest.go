// Package rest owns what programs are answered over HTTP below /api/v1, and the
// OpenAPI document that describes it. It only reads: what may be asked is the
// catalogue of package query, how long it may take and how much of it one client
// may ask is decided here.
package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/klauspost/compress/gzhttp"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/services/api/answer"
)

// Config is what an operator may choose.
type Config struct {
	// Keys are API keys, at least 16 characters each. A client that sends one, as
	// "Authorization: Bearer …", has a rate of its own.
	Keys []config.Secret `yaml:"keys"`
	// KeysOnly answers nobody without a key.
	KeysOnly bool `yaml:"keys_only"`
	// PerSecond is how many requests a client address may make per second, on
	// average.
	PerSecond int `yaml:"per_second"`
	// KeyPerSecond is how many requests a key may make per second.
	KeyPerSecond int `yaml:"key_per_second"`
	// Exports is how many exports run at a time.
	Exports int `yaml:"exports"`
	// ExportRows is the most events of one export; the next one goes on behind
	// them.
	ExportRows int `yaml:"export_rows"`
	// Streams is how many clients may follow the stream at a time.
	Streams int `yaml:"streams"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{PerSecond: 20, KeyPerSecond: 200, Exports: 4, ExportRows: 1_000_000, Streams: 100}
}

// shortestKey is how long a key is at least.
const shortestKey = 16

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	config.InRange(check, "per_second", c.PerSecond, 1, 100_000)
	config.InRange(check, "key_per_second", c.KeyPerSecond, 1, 100_000)
	config.InRange(check, "exports", c.Exports, 1, 1000)
	config.InRange(check, "export_rows", c.ExportRows, 1, 1_000_000_000)
	config.InRange(check, "streams", c.Streams, 1, 10_000)
	for _, key := range c.Keys {
		if len(key.Reveal()) < shortestKey {
			check.Add("keys", "has a key that is too short to be one", "make one of at least 16 random characters")
			break
		}
	}
	if c.KeysOnly && len(c.Keys) == 0 {
		check.Add("keys_only", "needs keys", "add some to the list keys")
	}
}

// Options are what the api gives to REST.
type Options struct {
	// Timeout bounds the answer to one request, and of an export or a stream one
	// read of the archive.
	Timeout time.Duration
	// Client names who a request is from: its address, or its network.
	Client  func(*http.Request) string
	Version string
	Log     *slog.Logger
}

// API answers below /api.
type API struct {
	cfg     Config
	options Options
	query   *query.Catalogue
	log     *slog.Logger

	mux     http.Handler
	clients *clients
	exports *answer.Seats
	streams *answer.Seats
	news    *news
	alive   prepared
}

// seats are a number of them of which one client may take a part.
func seats(most, part int) *answer.Seats { return answer.NewSeats(most, max(most/part, 1)) }

// New returns an API that answers from a catalogue. What is newly archived is
// read from st.
func New(cfg Config, catalogue *query.Catalogue, st Store, options Options) *API {
	a := &API{
		cfg: cfg, options: options, query: catalogue, log: options.Log,
		clients: newClients(cfg), exports: seats(cfg.Exports, 2), streams: seats(cfg.Streams, 10),
		news: newNews(st, options.Timeout, options.Log),
	}
	a.mux = a.routes()
	return a
}

// Run reads what is new for those who follow the stream, until ctx ends.
func (a *API) Run(ctx context.Context) { a.news.run(ctx) }

// prefix is what the addresses of the routes begin with.
const prefix = "/api/v1"

// Wants tells whether a request is for REST.
func (a *API) Wants(r *http.Request) bool {
	return r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/")
}

// Questions answers questions that come otherwise than over HTTP, whose asker is
// not counted here.
func (a *API) Questions() http.Handler { return a.mux }

// ServeHTTP answers what Wants takes.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")        // until the tag differs
	h.Set("Access-Control-Allow-Origin", "*") // there is nothing here that a cookie opens
	h.Set("Access-Control-Expose-Headers", "ETag, Retry-After, X-Next")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		h.Set("Access-Control-Allow-Headers", "Authorization, If-None-Match, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		h.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "this API only reads: GET and HEAD")
		return
	}
	if err := a.clients.admit(a.options.Client(r), r.Header.Get("Authorization")); err != nil {
		switch {
		case errors.Is(err, errKey):
			h.Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, err.Error())
		default:
			h.Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests, err.Error())
		}
		return
	}
	a.mux.ServeHTTP(w, r)
}

// refuse answers with a problem (RFC 9457) where no route has been found yet.
func refuse(w http.ResponseWriter, status int, detail string) {
	text, err := json.Marshal(huma.NewError(status, detail))
	if err != nil {
		panic(err) // texts and numbers always have a form
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// routes returns the handler of all routes.
func (a *API) routes() http.Handler {
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("BigBrotr", a.options.Version)
	cfg.Info.Description = "What the archive knows of the relays of Nostr, and the events it holds. Read-only. " +
		"A relay in an address is its URL, percent-encoded as one segment (wss%3A%2F%2Frelay.example.com), or what comes behind wss:// of it (relay.example.com). " +
		"Times are Unix seconds. Lists are followed by passing next as after. Answers have an ETag. Errors are problems (RFC 9457)."
	cfg.Info.License = &huma.License{Name: "MIT", Identifier: "MIT"}
	cfg.CreateHooks = nil                         // they put links made of the client's Host header into every answer
	cfg.OpenAPIPath = ""                          // huma makes the document at the first request, without a lock; see below
	cfg.DocsPath = ""                             // its page would load scripts from elsewhere
	cfg.SchemasPath = ""                          // they are in the document
	cfg.AllowAdditionalPropertiesByDefault = true // in answers, or clients could not bear new ones
	cfg.RejectUnknownQueryParameters = true
	cfg.Servers = []*huma.Server{{URL: "/"}}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "A key that the operator gave; only needed where the operator wants one, or for a higher rate."},
	}
	cfg.Security = []map[string][]string{{}, {"key": {}}}
	api := humago.New(mux, cfg)
	api.UseMiddleware(strictQuery(api))
	a.relayRoutes(api)
	a.eventRoutes(api)
	a.statsRoutes(api)
	a.streamRoutes(api)

	document, err := json.Marshal(api.OpenAPI())
	if err != nil {
		panic(err) // a type of ours that no schema describes
	}
	mux.Handle("GET /api/openapi.json", answer.Fixed("application/openapi+json", document))
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "there is nothing at this address; /api/openapi.json lists what is")
	})

	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(smallest), gzhttp.ExceptContentTypes([]string{"text/event-stream", parquetType}))
	if err != nil {
		panic(err) // options of ours
	}
	brief := compress(a.tagged(mux))
	long := compress(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case prefix + "/stream":
			mux.ServeHTTP(w, r)
			return
		case prefix + "/export":
			long.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), a.options.Timeout)
		defer cancel()
		if r = r.WithContext(ctx); r.URL.Path == prefix+"/alive" { // it is compressed and has a tag
			mux.ServeHTTP(w, r)
			return
		}
		brief.ServeHTTP(w, r)
	})
}

// smallest is the size from which an answer is compressed.
const smallest = 1024

// The errors that any route may answer with.
var commonErrors = []int{
	http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// describe documents a route. More are the errors that it may answer with
// besides the common ones.
func describe(id, tag, summary, text string, more ...int) func(*huma.Operation) {
	return func(o *huma.Operation) {
		o.OperationID, o.Tags, o.Summary, o.Description = id, []string{tag}, summary, text
		o.Errors = append(slices.Clip(commonErrors), more...)
	}
}

// media documents answers that are no JSON.
func media(o *huma.Operation, description string, types ...string) {
	content := map[string]*huma.MediaType{}
	for _, t := range types {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	o.Responses = map[string]*huma.Response{"200": {Description: description, Content: content}}
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

// problem turns an error into what a client may know of it.
func (a *API) problem(ctx context.Context, err error) error {
	f := answer.FaultOf(ctx, a.log, err)
	if f.Status == http.StatusUnprocessableEntity {
		return huma.NewError(f.Status, "validation failed", &huma.ErrorDetail{Location: f.Place, Message: f.Text})
	}
	return huma.NewError(f.Status, f.Text)
}

// output is an answer in JSON.
type output[T any] struct{ Body T }

// answered turns what a question came to into what huma wants.
func answered[T any](ctx context.Context, a *API, body T, err error) (*output[T], error) {
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	return &output[T]{body}, nil
}

// optional is a parameter that is not there unless it was given.
type optional[T any] struct {
	Value T
	Given bool
}

// PageInput is how lists are paged. (What is embedded must be exported for huma to
// see its fields.)
type PageInput struct {
	After string `query:"after" maxLength:"2000" doc:"next of the previous page"`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most entries of a page"`
}

// plain answers with bytes that are no JSON.
func plain(contentType string, body []byte) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", contentType)
		_, _ = bytes.NewReader(body).WriteTo(ctx.BodyWriter())
	}}
}

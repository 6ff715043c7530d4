package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// rest adds the routes below /api.
func (s *Service) rest(mux *http.ServeMux) {
	cfg := huma.DefaultConfig("BigBrotr", s.process.Version)
	cfg.Info.Description = "What the archive knows of the relays of Nostr, and the events it holds."
	cfg.OpenAPIPath = "/api/openapi"
	cfg.DocsPath = "" // its page would load scripts from elsewhere
	cfg.SchemasPath = "/api/schemas"
	api := humago.New(mux, cfg)
	huma.Get(api, "/api/v1/stats", s.getStats, describe("stats", "Figures of the whole archive"))
	huma.Get(api, "/api/v1/relays", s.getRelays, describe("relays", "Relays with state, health and coverage, by ascending URL"))
	huma.Get(api, "/api/v1/events", s.getEvents, describe("events", "Archived events that match a NIP-01 filter, newest first"))
}

func describe(id, summary string) func(*huma.Operation) {
	return func(o *huma.Operation) { o.OperationID, o.Summary = id, summary }
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
	Network string `query:"network" enum:"clearnet,tor,i2p,loki" doc:"only relays of this network"`
	State   string `query:"state" enum:"new,up,degraded,down,dead" doc:"only relays in this state"`
	After   string `query:"after" maxLength:"512" doc:"next of the previous page"`
	Limit   int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
}

type relaysOutput struct{ Body query.RelayPage }

func (s *Service) getRelays(ctx context.Context, in *relaysInput) (*relaysOutput, error) {
	page, err := s.query.Relays(ctx, store.RelayQuery{
		Network: relay.Network(in.Network), State: store.State(in.State), After: in.After, Limit: in.Limit,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &relaysOutput{page}, nil
}

// eventsInput is a NIP-01 filter as query parameters. Lists are separated by
// commas; tag conditions are written letter:value, once for each value.
type eventsInput struct {
	IDs     []string `query:"ids" maxItems:"500" doc:"event ids, 64 hex digits each"`
	Authors []string `query:"authors" maxItems:"500" doc:"public keys, 64 hex digits each"`
	Kinds   []int64  `query:"kinds" maxItems:"500"`
	Tag     []string `query:"tag,explode" maxItems:"100" doc:"letter:value, such as e:<id>; values of one letter are alternatives"`
	Since   int64    `query:"since" minimum:"0" doc:"Unix seconds, inclusive"`
	Until   int64    `query:"until" minimum:"0" default:"9007199254740991" doc:"Unix seconds, inclusive"`
	After   string   `query:"after" maxLength:"200" doc:"next of the previous page"`
	Limit   int      `query:"limit" default:"100" minimum:"1" maximum:"1000"`
}

func (in *eventsInput) filter() (nostr.Filter, error) {
	f := nostr.Filter{Until: &in.Until}
	if in.Since > 0 {
		f.Since = &in.Since
	}
	for _, text := range in.IDs {
		id, err := nostr.ParseID(text)
		if err != nil {
			return f, huma.Error422UnprocessableEntity("ids: an id " + err.Error())
		}
		f.IDs = append(f.IDs, id)
	}
	for _, text := range in.Authors {
		key, err := nostr.ParsePubKey(text)
		if err != nil {
			return f, huma.Error422UnprocessableEntity("authors: a public key " + err.Error())
		}
		f.Authors = append(f.Authors, key)
	}
	for _, kind := range in.Kinds {
		f.Kinds = append(f.Kinds, nostr.Kind(kind))
	}
	for _, text := range in.Tag {
		letter, value, ok := strings.Cut(text, ":")
		if !ok || len(letter) != 1 || !isLetter(letter[0]) {
			return f, huma.Error422UnprocessableEntity("tag: " + strconv.Quote(text) + " is not letter:value")
		}
		if f.Tags == nil {
			f.Tags = map[string][]string{}
		}
		f.Tags[letter] = append(f.Tags[letter], value)
	}
	return f, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

type eventsOutput struct{ Body query.EventPage }

func (s *Service) getEvents(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	page, err := s.query.Events(ctx, filter, store.Cursor(in.After), in.Limit)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &eventsOutput{page}, nil
}

// problem turns an error into what a client may know of it.
func (s *Service) problem(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, query.ErrLimit), errors.Is(err, store.ErrCursor):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return huma.Error504GatewayTimeout("the question takes too long; ask a narrower one")
	}
	s.log.ErrorContext(ctx, "question failed", "error", err)
	return huma.Error500InternalServerError("the archive cannot answer now")
}

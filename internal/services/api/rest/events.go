package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

func (a *API) eventRoutes(api huma.API) {
	huma.Get(api, prefix+"/events", a.getEvents, describe("events", "events", "Archived events that match a NIP-01 filter",
		"Newest first, ties by lowest id. Left out are kinds meant for their recipients only, expired events and "+
			"those their authors deleted. A page of large events is shorter than the limit: follow next until it is absent. "+
			"An archive may be an index, which keeps most events without tags, content and signature: such an entry has "+
			"index_only. It fits a tag condition when the hash of its tag does."))
	huma.Get(api, prefix+"/events/{id}", a.getEvent, describe("event", "events", "One archived event",
		"Not found are events that are not archived and those that strangers are not served, as in the list of events. "+
			"Of an event that a newer version has superseded this is the old one.", http.StatusNotFound))
	huma.Get(api, prefix+"/events/{id}/relays", a.getEventRelays, describe("event-relays", "events", "The relays that carry an event",
		"The first one first.", http.StatusNotFound))
	huma.Get(api, prefix+"/pubkeys/{pubkey}/relays", a.getAuthorRelays, describe("author-relays", "events", "Where an author wrote and read at a date",
		"The list of relays (NIP-65) that was in force then, what we know of its relays today, a grade, and when the author had which list.",
		http.StatusNotImplemented))
	huma.Get(api, prefix+"/export", a.getExport, describe("export", "events", "All events that match a filter, as a file",
		"As many events as match, up to the limit, streamed in the order of the list of events. One that ended early, or at the limit, is gone on with by "+
			"after: created_at and id of its last event with a dot between. Where the limit was reached that stands in the trailer X-Next, too. "+
			"jsonl has an event a line; csv has the tags as JSON; parquet has raw where a text is not UTF-8.", http.StatusServiceUnavailable),
		func(o *huma.Operation) {
			media(o, "the events; an error on the way ends the connection", jsonlType, csvType, parquetType)
		})
}

// FilterInput is a NIP-01 filter as query parameters. Lists are separated by
// commas; tag conditions are written letter:value, once for each value.
type FilterInput struct {
	IDs     []string        `query:"ids" nullable:"false" maxItems:"500" doc:"event ids, 64 lower-case hex digits each, separated by commas"`
	Authors []string        `query:"authors" nullable:"false" maxItems:"500" doc:"public keys, 64 lower-case hex digits each, separated by commas"`
	Kinds   []int64         `query:"kinds" nullable:"false" maxItems:"500" doc:"separated by commas" example:"[1,30023]"`
	Tag     []string        `query:"tag,explode" nullable:"false" maxItems:"100" doc:"letter:value; repeat the parameter for more. Values of one letter are alternatives, letters must all be met" example:"t:nostr"`
	Since   optional[int64] `query:"since" minimum:"0" doc:"only events whose created_at is at or after this time, Unix seconds" example:"1735689600"`
	Until   optional[int64] `query:"until" minimum:"0" doc:"only events whose created_at is at or before this time, Unix seconds" example:"1767225599"`
	Search  string          `query:"search" maxLength:"256" doc:"words that a note, an article or a profile must have, all of them (NIP-50); extensions such as language:en are read over. Not every archive can be searched" example:"nostr relays"`

	filter nostr.Filter // set by Resolve
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
func (in *FilterInput) Resolve(huma.Context) []error {
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

type eventsInput struct {
	FilterInput
	After string `query:"after" maxLength:"200" doc:"next of the previous page"`
	Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the most events of a page"`
}

func (a *API) getEvents(ctx context.Context, in *eventsInput) (*output[eventPage], error) {
	page, err := a.query.Events(ctx, in.filter, store.Cursor(in.After), in.Limit)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	body := eventPage{Events: make([]event, len(page.Events)), Next: page.Next}
	for i, text := range page.Events {
		body.Events[i] = event{text}
	}
	return &output[eventPage]{body}, nil
}

type eventInput struct {
	ID string `path:"id" pattern:"^[0-9a-f]{64}$" doc:"of the event, 64 lower-case hex digits" example:"64ee9b916675384031e55d868139aa1aa6f66c46646153d51b8d96e3003e7baa"`
}

func (a *API) getEvent(ctx context.Context, in *eventInput) (*output[event], error) {
	id, err := nostr.ParseID(in.ID)
	if err != nil {
		return nil, huma.Error404NotFound(err.Error())
	}
	text, err := a.query.Event(ctx, id)
	return answered(ctx, a, event{text}, err)
}

func (a *API) getEventRelays(ctx context.Context, in *eventInput) (*output[query.Carriers], error) {
	id, err := nostr.ParseID(in.ID)
	if err != nil {
		return nil, huma.Error404NotFound(err.Error())
	}
	carriers, err := a.query.EventRelays(ctx, id)
	return answered(ctx, a, carriers, err)
}

type authorInput struct {
	PubKey string          `path:"pubkey" pattern:"^[0-9a-f]{64}$" doc:"of the author, 64 lower-case hex digits" example:"989c0b76cb563971fdc9bef31ec06c3560f3249d6ee9e5d83c57625596e05f6f"`
	At     optional[int64] `query:"at" minimum:"0" doc:"the date, Unix seconds; now when it is absent" example:"1767225600"`
}

func (a *API) getAuthorRelays(ctx context.Context, in *authorInput) (*output[query.AuthorRelays], error) {
	key, err := nostr.ParsePubKey(in.PubKey)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	at := time.Now().Unix()
	if in.At.Given {
		at = in.At.Value
	}
	lists, err := a.query.AuthorRelays(ctx, key, at)
	return answered(ctx, a, lists, err)
}

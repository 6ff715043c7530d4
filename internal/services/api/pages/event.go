package pages

import (
	"encoding/json"
	"net/http"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/query"
)

// shownTags is how many tags of an event a page lists.
const shownTags = 100

// eventPage is an event and who carries it.
type eventPage struct {
	Event  json.RawMessage `json:"event"`
	Relays []query.Carrier `json:"relays"`
	Shown  shownEvent      `json:"-"`
	Note   string          `json:"-"` // its name of NIP-19
	Gone   int             `json:"-"` // relays that do not have it any longer
	Exact  string          `json:"-"`
}

// shownEvent is an event as a page reads it, or an entry of an index.
type shownEvent struct {
	ID        string     `json:"id"`
	PubKey    string     `json:"pubkey"`
	CreatedAt int64      `json:"created_at"`
	Kind      nostr.Kind `json:"kind"`
	Tags      [][]string `json:"tags"`
	Content   string     `json:"content"`
	IndexOnly bool       `json:"index_only"`
	MoreTags  int        `json:"-"` // than are listed
}

var errNoEvent = refusal{http.StatusNotFound, "This is not the id of an event.", "An id has 64 hex digits, or begins with note1 or nevent1."}

func (p *Pages) event(r *http.Request) (view, error) {
	id, err := nostr.ParseID(named(r))
	if err != nil {
		return view{}, errNoEvent
	}
	e := eventPage{Note: nip19.EncodeID(id)}
	if e.Event, err = p.query.Event(r.Context(), id); err != nil {
		return view{}, err
	}
	carriers, err := p.query.EventRelays(r.Context(), id)
	if err != nil {
		return view{}, err
	}
	e.Relays = carriers.Relays
	for _, c := range e.Relays {
		if c.GoneAt != 0 {
			e.Gone++
		}
	}
	if err := json.Unmarshal(e.Event, &e.Shown); err != nil {
		return view{}, err
	}
	if n := len(e.Shown.Tags); n > shownTags {
		e.Shown.Tags, e.Shown.MoreTags = e.Shown.Tags[:shownTags], n-shownTags
	}
	e.Exact = exact(e.Event)
	return view{Title: "Event " + e.Shown.ID[:12], Section: "/events", Data: e}, nil
}

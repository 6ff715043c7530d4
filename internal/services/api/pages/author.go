package pages

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/query"
)

// shownEvents is how many events of an author a page lists.
const shownEvents = 20

// authorPage is where an author writes, and wrote.
type authorPage struct {
	query.AuthorRelays
	Events  []shownEvent `json:"-"`
	Name    string       `json:"-"` // of NIP-19
	Date    string       `json:"-"` // that was asked for
	Index   bool         `json:"-"` // that lists are not kept
	Present bool         `json:"-"` // nothing but today was asked for
}

var (
	errNoAuthor = refusal{http.StatusNotFound, "This is not the key of an author.", "A public key has 64 hex digits, or begins with npub1."}
	errNoDate   = refusal{http.StatusUnprocessableEntity, "This is not a date.", "A date is written 2026-01-31."}
)

func (p *Pages) author(r *http.Request) (view, error) {
	ctx := r.Context()
	key, err := nostr.ParsePubKey(named(r))
	if err != nil {
		return view{}, errNoAuthor
	}
	a := authorPage{Name: nip19.EncodePubKey(key), Date: r.URL.Query().Get("at"), Present: true}
	at := time.Now().Unix()
	if a.Date != "" {
		day, err := time.Parse(time.DateOnly, a.Date)
		if err != nil || day.Year() < 2020 {
			return view{}, errNoDate
		}
		// As of the end of that day.
		if end := day.AddDate(0, 0, 1).Unix() - 1; end < at {
			at, a.Present = end, false
		}
	}
	a.AuthorRelays, err = p.query.AuthorRelays(ctx, key, at)
	if a.Index = errors.Is(err, query.ErrIndexOnly); err != nil && !a.Index {
		return view{}, err
	}
	events, err := p.query.Events(ctx, nostr.Filter{Authors: []nostr.PubKey{key}}, "", shownEvents)
	if err != nil {
		return view{}, err
	}
	for _, text := range events.Events {
		var e shownEvent
		if json.Unmarshal(text, &e) == nil {
			a.Events = append(a.Events, e)
		}
	}
	return view{Title: "Author " + named(r)[:12], Section: "/authors", Data: a}, nil
}

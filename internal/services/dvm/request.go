package dvm

import (
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
)

// request is a job request as it was read.
type request struct {
	event  nostr.Event
	cipher cipher // nil: everybody may read
	asked  url.URL
	inputs []nostr.Tag // to be repeated in the answer
	relays []relay.URL // that the customer named
}

// restRoot is where the routes of REST are.
const restRoot = "/api/v1/"

// The troubles of requests, as their senders read them.
var (
	errNoQuestion = errors.New("no question: write it as an i tag of type text, such as events?kinds=1&limit=10")
	errQuestion   = errors.New("the question is not an address below " + restRoot)
	errMany       = errors.New("too many inputs and parameters")
	errInput      = errors.New("only inputs of type text are understood")
	errSecret     = errors.New("it cannot be decrypted")
)

// tagged returns the values behind a tag's name, nil when there is no such tag.
func tagged(tags []nostr.Tag, name string) []string {
	for _, t := range tags {
		if len(t) > 0 && t[0] == name {
			return t[1:]
		}
	}
	return nil
}

// addressed tells whether a request is for a key: it names it in a p tag. One
// that names nobody is for everybody.
func addressed(e *nostr.Event, key nostr.PubKey) (us, all bool) {
	all = true
	for _, t := range e.Tags {
		if len(t) > 1 && t[0] == "p" {
			all = false
			us = us || t[1] == key.String()
		}
	}
	return us, all
}

// read reads a request. On error the request holds what is needed to say so.
func (s *Service) read(e nostr.Event) (request, error) {
	r := request{event: e}
	for _, text := range tagged(e.Tags, "relays") {
		if u, err := s.rules.Parse(text); err == nil && !slices.Contains(r.relays, u) && len(r.relays) < maxTargets {
			r.relays = append(r.relays, u)
		}
	}
	tags := e.Tags
	if tagged(e.Tags, "encrypted") != nil {
		c, text, err := decrypt(*s.key, e.PubKey, e.Content)
		if err != nil {
			return r, errSecret
		}
		r.cipher = c
		var inner []nostr.Tag
		if json.Unmarshal([]byte(text), &inner) != nil {
			return r, errSecret
		}
		tags = inner
	}
	inputs, values := []nostr.Tag{}, url.Values{}
	question := ""
	for _, t := range tags {
		switch {
		case len(t) > 1 && t[0] == "i":
			if len(t) > 2 && t[2] != "text" && t[2] != "" {
				return r, errInput
			}
			question = t[1]
			inputs = append(inputs, t)
		case len(t) > 2 && t[0] == "param":
			values.Add(t[1], t[2])
			inputs = append(inputs, t)
		}
		if len(inputs) > maxInputs {
			return r, errMany
		}
	}
	if r.cipher == nil {
		r.inputs = slices.DeleteFunc(inputs, func(t nostr.Tag) bool { return t[0] != "i" })
	}
	if question == "" {
		question = values.Get("question")
	}
	values.Del("question")
	asked, err := address(question)
	if err != nil {
		return r, err
	}
	query, err := url.ParseQuery(asked.RawQuery)
	if err != nil {
		return r, errQuestion
	}
	for name, list := range values {
		query[name] = append(query[name], list...)
	}
	asked.RawQuery = query.Encode()
	r.asked = asked
	return r, nil
}

// address makes the address of a question, which may be written in full or from
// the name of the route on.
func address(question string) (url.URL, error) {
	question = strings.TrimSpace(question)
	if question == "" {
		return url.URL{}, errNoQuestion
	}
	if !strings.HasPrefix(question, restRoot) {
		question = restRoot + strings.TrimPrefix(question, "/")
	}
	u, err := url.Parse(question)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Fragment != "" {
		return url.URL{}, errQuestion
	}
	climbs := slices.ContainsFunc(strings.Split(u.Path, "/"), func(part string) bool { return part == "." || part == ".." })
	if escaped := u.EscapedPath(); climbs || path.Clean(escaped) != escaped || !strings.HasPrefix(escaped, restRoot) {
		return url.URL{}, errQuestion
	}
	return *u, nil
}

// ours tells whether a request that names nobody is a question for us: the kind
// alone says little, since others use it for other things.
func ours(e *nostr.Event) bool {
	i := tagged(e.Tags, "i")
	return len(i) > 0 && strings.HasPrefix(i[0], restRoot)
}

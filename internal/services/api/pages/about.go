package pages

import (
	"net/http"
	"strings"

	"bigbrotr/internal/core/dial"
)

// aboutPage tells operators of relays what is done here and how to have it end,
// and the operator of this site what to set up.
type aboutPage struct {
	Version string `json:"version"`
	Contact string `json:"contact,omitempty"`
	Agent   string `json:"agent,omitempty"` // as a robots.txt names us
	Recheck bool   `json:"recheck"`         // whether visitors may ask for checks
}

func (p *Pages) about(*http.Request) (view, error) {
	a := aboutPage{p.process.Version, p.process.Contact, dial.ProductToken(p.process.Agent), p.process.Recheck != nil}
	return view{Title: "About", Section: "/about", Data: a}, nil
}

// ContactLink is where a contact leads; empty when it is words.
func (a aboutPage) ContactLink() string {
	switch c := a.Contact; {
	case strings.HasPrefix(c, "https://"), strings.HasPrefix(c, "http://"), strings.HasPrefix(c, "mailto:"):
		return c
	case strings.Contains(c, "@") && !strings.ContainsAny(c, " /:"):
		return "mailto:" + c
	}
	return ""
}

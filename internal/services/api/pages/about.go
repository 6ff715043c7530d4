package pages

import "net/http"

// aboutPage tells operators of relays what is done here and how to have it end.
type aboutPage struct {
	Version string `json:"version"`
	Contact string `json:"contact,omitempty"`
	Recheck bool   `json:"recheck"` // whether visitors may ask for checks
}

func (p *Pages) about(*http.Request) (view, error) {
	return view{Title: "About", Section: "/about", Data: aboutPage{p.process.Version, p.process.Contact, p.process.Recheck != nil}}, nil
}

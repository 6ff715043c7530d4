package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

const (
	svgType  = "image/svg+xml"
	atomType = "application/atom+xml"
)

// colours are those of the states, dark enough for white text on them.
var colours = map[store.State]string{
	store.StateUp: "#2a7d3f", store.StateDegraded: "#8a6200", store.StateDown: "#b3261e", store.StateDead: "#5f6368", store.StateNew: "#5f6368",
}

var badge = template.Must(template.New("").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="20" role="img" aria-label="{{.Label}}: {{.Text}}">` +
	`<title>{{.Label}}: {{.Text}}</title><rect width="{{.Left}}" height="20" fill="#444"/><rect x="{{.Left}}" width="{{.Right}}" height="20" fill="{{.Colour}}"/>` +
	`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11"><text x="6" y="14">{{.Label}}</text><text x="{{.Start}}" y="14">{{.Text}}</text></g></svg>` + "\n"))

// newBadge draws the state of a relay, and its uptime where that is known.
func newBadge(r *query.Relay) ([]byte, error) {
	const letter, edge = 7, 6 // width of a letter and of an edge
	label, text := "nostr relay", string(r.State)
	if r.Watched > 0 {
		text += " " + strconv.FormatFloat(r.Uptime*100, 'f', 1, 64) + " %"
	}
	left, right := len(label)*letter+2*edge, len(text)*letter+2*edge
	var out bytes.Buffer
	err := badge.Execute(&out, map[string]any{
		"Label": label, "Text": text, "Left": left, "Right": right, "Width": left + right, "Start": left + edge, "Colour": colours[r.State],
	})
	if err != nil {
		return nil, fmt.Errorf("draw a badge: %w", err)
	}
	return out.Bytes(), nil
}

func (a *API) getBadge(ctx context.Context, in *RelayInput) (*huma.StreamResponse, error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	image, err := newBadge(r)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	return plain(svgType, image), nil
}

// feed is an Atom feed (RFC 4287).
type feed struct {
	XMLName struct{} `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string   `xml:"id"`
	Title   string   `xml:"title"`
	Updated string   `xml:"updated"`
	Author  string   `xml:"author>name"`
	Entries []entry  `xml:"entry"`

	at int64
}

type entry struct {
	ID      string `xml:"id"`
	Title   string `xml:"title"`
	Updated string `xml:"updated"`
	Content string `xml:"content"`

	at int64
}

const (
	feedOutages  = 50
	feedVersions = 20
	feedValue    = 200 // bytes of a value of a document
)

func stamp(at int64) string { return time.Unix(at, 0).UTC().Format(time.RFC3339) }

// newFeed tells of outages and changes, newest first.
func newFeed(r *query.Relay, outages []query.Outage, changes []query.Change) feed {
	f := feed{ID: r.URL.String(), Title: "Relay " + r.URL.String(), Author: "BigBrotr", at: r.FirstSeen}
	add := func(at int64, id, title, content string) {
		f.at = max(f.at, at)
		f.Entries = append(f.Entries, entry{fmt.Sprintf("%s#%s-%d", r.URL, id, at), title, stamp(at), content, at})
	}
	for _, o := range outages {
		add(o.From, "down", "Down: "+o.Cause, "The relay cannot be opened since "+stamp(o.From)+": "+o.Cause+".")
		if o.To > 0 {
			add(o.To, "up", "Up again", "The relay can be opened again, after "+(time.Duration(o.To-o.From)*time.Second).String()+".")
		}
	}
	for _, c := range changes {
		cut := func(text []byte) string { return string(text[:min(len(text), feedValue)]) }
		add(c.At, "document-"+c.Field, "Changed: "+c.Field, "Was "+cmp.Or(cut(c.Before), "absent")+", is "+cmp.Or(cut(c.After), "absent")+".")
	}
	slices.SortStableFunc(f.Entries, func(a, b entry) int { return cmp.Compare(b.at, a.at) })
	f.Updated = stamp(f.at)
	return f
}

func (a *API) getFeed(ctx context.Context, in *RelayInput) (*huma.StreamResponse, error) {
	r, err := a.query.Find(ctx, in.URL)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	outages, err := a.query.Outages(ctx, r.ID, feedOutages)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	changes, err := a.query.Changes(ctx, r.ID, feedVersions)
	if err != nil {
		return nil, a.problem(ctx, err)
	}
	text, err := xml.Marshal(newFeed(r, outages, changes))
	if err != nil {
		return nil, a.problem(ctx, fmt.Errorf("write a feed: %w", err))
	}
	return plain(atomType, append([]byte(xml.Header), text...)), nil
}

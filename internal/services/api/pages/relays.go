package pages

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// relaysPerPage is the number of rows of a list of relays. It bounds the size of
// a page whatever the coverage of its relays looks like.
const relaysPerPage = 50

// relaysPage is a list of relays.
type relaysPage struct {
	Relays []relayRow `json:"relays"`
	Next   string     `json:"next,omitempty"` // pass as after for the next page
	listing
	Figures figureSet `json:"-"`
}

type relayRow struct {
	query.Relay
	Bar coverageBar `json:"-"`
}

// listing is which part of a list of relays a page shows.
type listing struct {
	Params  url.Values `json:"-"`
	Columns []column   `json:"-"`
	First   bool       `json:"-"` // page
	Started bool       `json:"-"` // anything is known at all
	More    bool       `json:"-"` // filters are set that most visitors do not need
}

// Filtered tells whether relays are left out.
func (l listing) Filtered() bool {
	for _, f := range filters {
		if l.Params.Get(f) != "" {
			return true
		}
	}
	return false
}

// filters are the parameters that leave relays out; the first ones are for
// everybody.
var filters = []string{"text", "state", "network", "country", "nip", "auth", "payment", "uptime", "p95", "software", "asn", "covered"}

const commonFilters = 4

// column is one of a list of relays.
type column struct {
	Name    string
	Note    string
	Sort    string // of query.Columns; empty: it is not sorted by
	Class   string
	Falling bool // sorted by, the large ones are wanted first
}

var relaysColumns = []column{
	{Name: "Relay", Sort: "url"},
	{Name: "State", Sort: "state"},
	{Name: "Uptime", Note: "30 days", Sort: "uptime", Class: "n", Falling: true},
	{Name: "Open", Note: "p95", Sort: "open_p95", Class: "n middle"},
	{Name: "Read", Sort: "read", Class: "n wide"},
	{Name: "Place", Sort: "country", Class: "wide"},
	{Name: "Software", Sort: "software", Class: "wide"},
	{Name: "Events", Sort: "events", Class: "n middle", Falling: true},
	{Name: "Coverage", Note: "since November 2020", Sort: "coverage", Class: "middle bars", Falling: true},
	{Name: "Checked", Sort: "checked", Class: "n wide", Falling: true},
}

var completenessColumns = []column{
	{Name: "Relay", Sort: "url"},
	{Name: "Coverage", Sort: "coverage", Class: "bars", Falling: true},
	{Name: "Covered", Class: "n"},
	{Name: "Weakest proof", Sort: "level", Class: "middle", Falling: true},
	{Name: "Gaps", Sort: "gaps", Class: "n middle", Falling: true},
	{Name: "Holes", Sort: "holes", Class: "n middle", Falling: true},
	{Name: "Held", Note: "of the ids it names", Class: "n wide"},
	{Name: "As of", Sort: "as_of", Class: "n wide"},
	{Name: "Cost", Note: "of a new event", Sort: "bytes_per_new", Class: "n wide", Falling: true},
}

// coveredFirst is the order of relays by how complete they are: those of which
// something is covered come first, and the least covered of them unless another
// order was chosen.
func coveredFirst(chosen []query.Order) []query.Order {
	if len(chosen) == 0 {
		chosen = []query.Order{{Column: "coverage"}}
	}
	if chosen[0].Column == "url" {
		return chosen
	}
	return append([]query.Order{{Column: "covered", Falling: true}}, chosen...)
}

// Sorted is how a list is sorted by a column: "ascending", "descending" or not.
func (l listing) Sorted(c column) string {
	switch l.Params.Get("sort") {
	case c.Sort:
		return "ascending"
	case "-" + c.Sort:
		return "descending"
	}
	return ""
}

// By is the query string that sorts by a column, the other way round when that
// is so already.
func (l listing) By(c column) template.URL {
	falling := c.Falling
	switch l.Sorted(c) {
	case "ascending":
		falling = true
	case "descending":
		falling = false
	}
	if falling {
		return set(l.Params, "sort", "-"+c.Sort)
	}
	return set(l.Params, "sort", c.Sort)
}

// relayQuery reads what relays the parameters of a page ask for.
func relayQuery(params url.Values) (query.RelayQuery, error) {
	q := query.RelayQuery{
		Network: relay.Network(params.Get("network")), Country: params.Get("country"), Software: params.Get("software"),
		Text: params.Get("text"), Canonical: true, After: params.Get("after"), Limit: relaysPerPage,
	}
	if state := params.Get("state"); state != "" {
		q.States = []store.State{store.State(state)}
	}
	if nips := params.Get("nip"); nips != "" {
		q.NIPs = strings.FieldsFunc(strings.ToUpper(nips), func(r rune) bool { return r == ',' || r == ' ' })
	}
	if sort := params.Get("sort"); sort != "" {
		name, falling := strings.CutPrefix(sort, "-")
		q.Sort = []query.Order{{Column: name, Falling: falling}}
	}
	var err error
	number := func(name string, most float64) float64 {
		text := params.Get(name)
		if text == "" {
			return 0
		}
		v, wrong := strconv.ParseFloat(text, 64)
		if wrong != nil || v < 0 || v > most {
			err = refusal{http.StatusUnprocessableEntity, fmt.Sprintf("%q is not what %s can be.", foreign(text), name), fmt.Sprintf("Write a number up to %v.", most)}
		}
		return v
	}
	q.Uptime = number("uptime", 100) / 100
	q.OpenP95 = number("p95", 1e6)
	q.ASN = int64(number("asn", 1<<32))
	choice := func(name string) *bool {
		switch params.Get(name) {
		case "yes":
			return new(true)
		case "no":
			return new(false)
		}
		return nil
	}
	q.Auth, q.Payment, q.Covered = choice("auth"), choice("payment"), choice("covered")
	return q, err
}

// list reads a page of relays as its parameters say, in an order made of the one
// that they choose, and the figures of all.
func (p *Pages) list(r *http.Request, columns []column, order func(chosen []query.Order) []query.Order) (relaysPage, error) {
	params := r.URL.Query()
	for _, values := range params {
		values[0] = visible(values[0], longRunes) // they are shown again
	}
	if clean := set(params); form(r) == "" && slices.ContainsFunc(strings.Split(r.URL.RawQuery, "&"), func(pair string) bool { return strings.HasSuffix(pair, "=") }) {
		return relaysPage{}, moved{r.URL.Path + string(clean)} // of a form that was not filled in
	}
	l := relaysPage{listing: listing{Params: params, Columns: columns, First: params.Get("after") == ""}}
	l.More = slices.ContainsFunc(filters[commonFilters:], func(name string) bool { return params.Get(name) != "" })
	q, err := relayQuery(params)
	if err != nil {
		return l, err
	}
	q.Sort = order(q.Sort)
	stats, err := p.query.Stats(r.Context())
	if err != nil {
		return l, err
	}
	l.Figures = figures(stats)
	l.Started = stats.Relays.Total > 0 || stats.Candidates > 0
	page, err := p.query.Relays(r.Context(), q)
	if errors.Is(err, query.ErrSort) {
		err = refusal{http.StatusUnprocessableEntity, "Relays cannot be sorted by that.", "Choose the head of a column."}
	}
	if err != nil {
		return l, err
	}
	l.Next = page.Next
	l.Relays, err = p.withBars(r.Context(), page.Relays)
	return l, err
}

// withBars adds the bar of its coverage to each of a page of relays.
func (p *Pages) withBars(ctx context.Context, relays []query.Relay) ([]relayRow, error) {
	ids := make([]store.RelayID, len(relays))
	for i := range relays {
		ids[i] = relays[i].ID
	}
	claims, err := p.query.Claims(ctx, ids)
	if err != nil {
		return nil, err
	}
	now := time.Now().Unix()
	rows := make([]relayRow, len(relays))
	for i := range relays {
		rows[i] = relayRow{relays[i], newCoverageBar(claims[relays[i].ID], now)}
	}
	return rows, nil
}

func (p *Pages) relays(r *http.Request) (view, error) {
	l, err := p.list(r, relaysColumns, func(chosen []query.Order) []query.Order { return chosen })
	if err != nil {
		return view{}, err
	}
	table := [][]string{{
		"url", "network", "state", "since", "cause", "name", "software", "version", "nips", "auth", "payment", "country", "asn",
		"uptime", "open_ms", "open_p95", "read_ms", "read_p95", "events", "covered", "holes", "checked_at",
	}}
	for _, row := range l.Relays {
		table = append(table, []string{
			row.URL.String(), string(row.Network), string(row.State), decimal(row.Since), row.Cause, visible(row.Name, longRunes),
			visible(row.Software, longRunes), visible(row.Version, longRunes), strings.Join(row.NIPs, " "), strconv.FormatBool(row.Auth),
			strconv.FormatBool(row.Payment), visible(row.Country, shownRunes), decimal(row.ASN), fraction(row.Uptime),
			fraction(row.OpenMS), fraction(row.OpenP95), fraction(row.ReadMS), fraction(row.ReadP95), decimal(row.Events),
			fraction(row.Bar.Part), decimal(int64(row.Holes)), decimal(row.CheckedAt),
		})
	}
	return view{Title: "Relays", Section: "/relays", Data: l, Table: table}, nil
}

// completenessPage is how complete the archive is, relay by relay.
type completenessPage struct {
	query.Completeness
	List      relaysPage `json:"-"`
	Uncovered int64      `json:"-"` // relays of which nothing is proved
}

func (p *Pages) completeness(r *http.Request) (view, error) {
	l, err := p.list(r, completenessColumns, coveredFirst)
	if err != nil {
		return view{}, err
	}
	c := completenessPage{List: l}
	if c.Completeness, err = p.query.Completeness(r.Context(), "", 1); err != nil {
		return view{}, err
	}
	c.Uncovered = c.Relays - c.Covered
	c.Each, c.Next = make([]query.RelayCompleteness, len(l.Relays)), l.Next
	table := [][]string{{"url", "state", "covered", "level", "partly", "gaps", "holes", "named", "archived", "as_of", "lo", "hi", "requests", "bytes_received", "events_received", "new", "known"}}
	for i := range l.Relays {
		row := &l.Relays[i]
		c.Each[i] = row.Completeness()
		table = append(table, []string{
			row.URL.String(), string(row.State), fraction(row.Bar.Part), decimal(int64(row.Coverage.Level)), strconv.FormatBool(row.Coverage.Partly),
			decimal(int64(row.Coverage.Gaps)), decimal(int64(row.Holes)), decimal(row.Holdings.Named), decimal(row.Holdings.Archived),
			decimal(row.Coverage.AsOf), decimal(row.Coverage.Lo), decimal(row.Coverage.Hi),
			decimal(row.Cost.Requests), decimal(row.Cost.Bytes), decimal(row.Cost.Received), decimal(row.Cost.New), decimal(row.Cost.Known),
		})
	}
	return view{Title: "Completeness", Section: "/completeness", Table: table, Data: c}, nil
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func fraction(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

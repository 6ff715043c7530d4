package pages

import (
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// The lengths of what the overview shows.
const (
	chartDays   = 90
	shownKinds  = 12
	shownNewest = 10 // relays and incidents
)

// overviewPage is the network at a glance.
type overviewPage struct {
	Stats     query.Stats      `json:"stats"`
	Days      []dayRow         `json:"days"`
	Kinds     []kindRow        `json:"kinds"`
	Newest    []query.Relay    `json:"newest"` // relays
	Incidents []query.Incident `json:"incidents"`
	Figures   figureSet        `json:"-"`
	Chart     dayChart         `json:"-"`
	Networks  []network        `json:"-"`
	Steps     []step           `json:"-"` // of an archive that has just begun; empty later
}

type dayRow struct {
	Date    string `json:"date"` // UTC, of created_at
	Events  int64  `json:"events"`
	Authors int64  `json:"authors"`
}

type kindRow struct {
	Kind    int64  `json:"kind"`
	Name    string `json:"name,omitempty"`
	Events  int64  `json:"events"`
	Authors int64  `json:"authors,omitempty"`
}

// network counts the relays of one network, in the order of states.
type network struct {
	Name   relay.Network
	Total  int64
	Counts []int64
}

// step is one of the things that happen in a fresh archive, one after another.
type step struct {
	Name    string
	Figure  string // of figures
	Unit    string
	Done    bool
	Waiting string // what it waits for
}

func (p *Pages) overview(r *http.Request) (view, error) {
	ctx := r.Context()
	var o overviewPage
	var parts errgroup.Group
	parts.Go(func() (err error) {
		o.Stats, err = p.query.Stats(ctx)
		return err
	})
	parts.Go(func() error {
		today := time.Now().Unix() / store.Day
		days, err := p.query.Days(ctx, today-chartDays+1, today)
		o.Chart, o.Days = newDayChart(days, today, chartDays), dayRows(days)
		return err
	})
	parts.Go(func() error {
		kinds, err := p.query.Kinds(ctx, shownKinds)
		o.Kinds = kindRows(kinds)
		return err
	})
	parts.Go(func() error {
		newest, err := p.query.Relays(ctx, query.RelayQuery{
			Sort: []query.Order{{Column: "promoted", Falling: true}}, Canonical: true, Limit: shownNewest,
		})
		o.Newest = newest.Relays
		return err
	})
	parts.Go(func() (err error) {
		o.Incidents, err = p.query.Incidents(ctx, shownNewest)
		return err
	})
	if err := parts.Wait(); err != nil {
		return view{}, err
	}
	o.Figures = figures(o.Stats)
	o.Networks = networks(o.Stats.Relays)
	o.Steps = beginning(o.Stats)
	return view{Title: "Overview", Section: "/", Data: o}, nil
}

func dayRows(days []store.DayTotal) []dayRow {
	rows := make([]dayRow, len(days))
	for i, d := range days {
		rows[i] = dayRow{date(d.Day * store.Day), d.Events, d.Authors}
	}
	return rows
}

func kindRows(kinds []store.KindTotal) []kindRow {
	rows := make([]kindRow, len(kinds))
	for i, k := range kinds {
		rows[i] = kindRow{int64(k.Kind), kindName(k.Kind), k.Events, k.Authors}
	}
	return rows
}

// networks lists those that have relays.
func networks(r query.Relays) []network {
	var list []network
	for _, name := range allNetworks {
		n := network{Name: name, Total: r.ByNetwork[name]}
		for _, state := range states {
			n.Counts = append(n.Counts, r.Each[name][state])
		}
		if n.Total > 0 {
			list = append(list, n)
		}
	}
	return list
}

// beginning tells how far a fresh archive has come; nothing once the first
// events are proved to be held.
func beginning(s query.Stats) []step {
	up := s.Relays.ByState[store.StateUp]
	if s.Events > 0 && up > 0 && len(s.Coverage) > 0 {
		return nil
	}
	return []step{
		{"Candidates", "candidates", "addresses wait to be tried", s.Candidates > 0 || s.Relays.Total > 0, "The seeds are being read."},
		{"Relays", "relays", "have answered as relays", s.Relays.Total > 0, "The first candidates are being tried; this takes seconds."},
		{"Health", "up", "are up", up > 0, "The first checks follow the first relays."},
		{"Events", "events", "are archived", s.Events > 0, "The newest events come first, then the past."},
	}
}

var allNetworks = []relay.Network{relay.Clearnet, relay.Tor, relay.I2P, relay.Loki}

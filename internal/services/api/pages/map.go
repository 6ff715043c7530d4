package pages

import (
	_ "embed"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"bigbrotr/internal/core/query"
)

// The outlines of the map and the middles of countries, of Natural Earth's data
// (public domain); tools/map makes them.
var (
	//go:embed assets/world.path
	outlines string
	//go:embed assets/countries.tsv
	countryTable string
)

// country is a place on the map.
type country struct {
	Lon, Lat float64
	Name     string
}

// countries are by their two letters (ISO 3166-1).
var countries = func() map[string]country {
	all := map[string]country{}
	for line := range strings.Lines(countryTable) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		lon, lonErr := strconv.ParseFloat(fields[1], 64)
		lat, latErr := strconv.ParseFloat(fields[2], 64)
		if lonErr != nil || latErr != nil {
			panic("countries.tsv: " + line) // embedded
		}
		all[fields[0]] = country{lon, lat, fields[3]}
	}
	return all
}()

// mapPage shows where relays are.
type mapPage struct {
	Countries []countryRow `json:"countries"`
	Networks  []netRow     `json:"networks"` // the largest
	Unknown   int64        `json:"unknown"`  // relays of which no country is known
	Unplaced  int64        `json:"-"`        // relays of countries that the map does not have
	Outlines  string       `json:"-"`
}

type countryRow struct {
	Code   string  `json:"code"`
	Name   string  `json:"name"`
	Relays int64   `json:"relays"`
	Up     int64   `json:"up"`
	Events int64   `json:"events"`
	X      float64 `json:"-"`
	Y      float64 `json:"-"`
	R      float64 `json:"-"`
}

type netRow struct {
	ASN    string `json:"asn"`
	Name   string `json:"name"`
	Relays int64  `json:"relays"`
	Up     int64  `json:"up"`
}

// shownNetworks is how many networks a page lists.
const shownNetworks = 20

// worldMap shows the countries in which relays are.
func (p *Pages) worldMap(r *http.Request) (view, error) {
	groups, err := p.query.Groups(r.Context(), query.ByCountry, query.MaxPage)
	if err != nil {
		return view{}, err
	}
	m := mapPage{Outlines: outlines, Countries: []countryRow{}, Networks: []netRow{}}
	for _, g := range groups.Groups {
		if g.Key == "" {
			m.Unknown = g.Relays
			continue
		}
		row := countryRow{Code: g.Key, Name: g.Key, Relays: g.Relays, Up: g.Up, Events: g.Events}
		if c, ok := countries[g.Key]; ok {
			row.Name, row.X, row.Y, row.R = c.Name, 2*(c.Lon+180), 2*(mapNorth-c.Lat), radius(g.Relays)
		} else {
			m.Unplaced += g.Relays
		}
		m.Countries = append(m.Countries, row)
	}
	if groups, err = p.query.Groups(r.Context(), query.ByASN, shownNetworks+1); err != nil {
		return view{}, err
	}
	for _, g := range groups.Groups {
		if g.Key != "" && len(m.Networks) < shownNetworks {
			m.Networks = append(m.Networks, netRow{g.Key, visible(g.Name, shownRunes), g.Relays, g.Up})
		}
	}
	table := [][]string{{"country", "name", "relays", "up", "events"}}
	for _, c := range m.Countries {
		table = append(table, []string{c.Code, c.Name, decimal(c.Relays), decimal(c.Up), decimal(c.Events)})
	}
	return view{Title: "Map", Section: "/map", Data: m, Table: table}, nil
}

// mapNorth is the degree of latitude at the upper edge of the map.
const mapNorth = 84

// radius is that of a circle whose area goes with a number of relays.
func radius(relays int64) float64 {
	return min(2+1.4*math.Sqrt(float64(relays)), 40)
}

// Placed are the countries that are on the map, the large ones first so that
// small circles are not below them.
func (m mapPage) Placed() []countryRow {
	return slices.DeleteFunc(slices.Clone(m.Countries), func(c countryRow) bool { return c.R == 0 })
}

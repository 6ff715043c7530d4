package pages

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

// comparePage shows relays side by side.
type comparePage struct {
	Relays  []query.RelayDetail `json:"relays"`
	Overlap query.Overlap       `json:"overlap"`
	Rows    []compareRow        `json:"-"`
	NIPs    []nipRow            `json:"-"`
	Bars    []coverageBar       `json:"-"`
	Asked   []string            `json:"-"`
}

// compareRow is a fact of each relay.
type compareRow struct {
	Name  string
	Cells []string
}

// nipRow tells which relays say that they support a NIP.
type nipRow struct {
	NIP string
	Has []bool
}

// compare shows two to four relays side by side.
func (p *Pages) compare(r *http.Request) (view, error) {
	c := comparePage{Relays: []query.RelayDetail{}, Overlap: query.Overlap{Relays: []query.OverlapRow{}}}
	for _, text := range r.URL.Query()["r"] {
		if text = strings.TrimSpace(text); text != "" && !slices.Contains(c.Asked, text) {
			c.Asked = append(c.Asked, text)
		}
	}
	v := view{Title: "Compare", Section: "/compare"}
	if len(c.Asked) > query.MaxOverlap {
		return v, refusal{http.StatusUnprocessableEntity, "Up to four relays stand side by side.", "Take some out of the address."}
	}
	var found []*query.Relay
	for _, text := range c.Asked {
		d, err := p.query.Relay(r.Context(), text)
		if errors.Is(err, store.ErrNotFound) {
			return v, refusal{http.StatusNotFound, fmt.Sprintf("%q is not a relay of the set.", foreign(text)), "The search above finds relays by a part of their address."}
		}
		if err != nil {
			return v, err
		}
		if !slices.ContainsFunc(found, func(r *query.Relay) bool { return r.ID == d.ID }) {
			c.Relays = append(c.Relays, d)
			found = append(found, &d.Relay)
		}
	}
	v.Data = c
	if len(found) == 0 {
		return v, nil
	}
	relays := make([]query.Relay, len(found))
	for i := range found {
		relays[i] = *found[i]
	}
	bars, err := p.withBars(r.Context(), relays)
	if err != nil {
		return v, err
	}
	for _, row := range bars {
		c.Bars = append(c.Bars, row.Bar)
	}
	if c.Overlap, err = p.query.Overlap(r.Context(), found); err != nil {
		return v, err
	}
	c.Rows, c.NIPs = compareRows(c.Relays, c.Bars), nipRows(c.Relays)
	v.Data = c
	return v, nil
}

func compareRows(relays []query.RelayDetail, bars []coverageBar) []compareRow {
	row := func(name string, text func(d *query.RelayDetail) string) compareRow {
		out := compareRow{Name: name}
		for i := range relays {
			out.Cells = append(out.Cells, cmp.Or(text(&relays[i]), "–"))
		}
		return out
	}
	is := func(b bool, text string) string {
		if b {
			return text
		}
		return "no"
	}
	rows := []compareRow{
		row("Uptime, 30 days", func(d *query.RelayDetail) string { return shareText(store.Share(d.Health.Month)) }),
		row("Uptime, always", func(d *query.RelayDetail) string { return shareText(store.Share(d.Health.All)) }),
		row("Open, median and p95", func(d *query.RelayDetail) string {
			return latency(d.Health.Open.P50, d.Health.Open.P95)
		}),
		row("Read, median and p95", func(d *query.RelayDetail) string {
			return latency(d.Health.Read.P50, d.Health.Read.P95)
		}),
		row("Events archived", func(d *query.RelayDetail) string { return number(d.Events) }),
		row("Largest answer", func(d *query.RelayDetail) string {
			if d.MaxLimit == 0 {
				return ""
			}
			return plural(d.MaxLimit, "event", "events")
		}),
		row("Holes", func(d *query.RelayDetail) string { return strconv.Itoa(d.Holes) }),
		row("Authentication", func(d *query.RelayDetail) string { return is(d.Auth, "wanted") }),
		row("Payment", func(d *query.RelayDetail) string { return is(d.Payment, "wanted") }),
		row("Writing", func(d *query.RelayDetail) string { return is(d.Restricted, "not for everybody") }),
		row("Place", func(d *query.RelayDetail) string {
			return foreign(strings.TrimPrefix(d.City+", "+cmp.Or(countries[d.Country].Name, d.Country), ", "))
		}),
		row("Network of", func(d *query.RelayDetail) string { return foreign(d.Org) }),
		row("Software", func(d *query.RelayDetail) string {
			return strings.TrimSpace(software(d.Software) + " " + foreign(d.Version))
		}),
		row("Claims", func(d *query.RelayDetail) string {
			for _, c := range d.Checks {
				if c.Probe == "nips" {
					return fmt.Sprintf("%.0f kept, %.0f broken", c.Values["kept"], c.Values["broken"])
				}
			}
			return ""
		}),
		row("First seen", func(d *query.RelayDetail) string { return date(d.FirstSeen) }),
	}
	covered := compareRow{Name: "Covered"}
	for _, b := range bars {
		covered.Cells = append(covered.Cells, percent(b.Part))
	}
	return append(rows, covered)
}

// latency is empty where nothing was measured.
func latency(median, p95 float64) string {
	if median <= 0 {
		return ""
	}
	return milliseconds(median) + ", " + milliseconds(p95)
}

func nipRows(relays []query.RelayDetail) []nipRow {
	var all []string
	for _, d := range relays {
		all = append(all, d.NIPs...)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	var rows []nipRow
	for _, nip := range slices.Compact(all) {
		row := nipRow{NIP: foreign(nip)}
		for _, d := range relays {
			row.Has = append(row.Has, slices.Contains(d.NIPs, nip))
		}
		rows = append(rows, row)
	}
	return rows
}

// Without is the address of the comparison without a relay.
func (c comparePage) Without(u string) string {
	left := url.Values{}
	for _, d := range c.Relays {
		if d.URL.String() != u {
			left.Add("r", d.URL.String())
		}
	}
	return "/compare?" + left.Encode()
}

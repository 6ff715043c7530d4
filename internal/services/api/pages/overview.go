package pages

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/api/answer"
)

// relaysPerPage is the number of rows of the table on the overview.
const relaysPerPage = 100

// chartDays is the length of the chart of events per day.
const chartDays = 90

// overviewPage is what the template of the overview shows.
type overviewPage struct {
	Stats   query.Stats
	Up      int64 // relays
	Chart   dayChart
	Kinds   []store.KindTotal
	Relays  []relayRow
	Network string
	State   string
	After   string
	First   string // query string of the first page of relays
	Next    string // query string of the next one; empty at the end
	Started bool   // anything is known at all
	Version string
	Now     int64
}

type relayRow struct {
	query.Relay
	Bar coverageBar
}

func (p *Pages) overview(w http.ResponseWriter, r *http.Request) {
	page, err := p.readOverview(r.Context(), r.URL.Query())
	if err != nil {
		f := answer.FaultOf(r.Context(), p.log, err)
		p.render(w, r, f.Status, "message.html", message{http.StatusText(f.Status), f.Text})
		return
	}
	p.render(w, r, http.StatusOK, "overview.html", page)
}

func (p *Pages) readOverview(ctx context.Context, params url.Values) (overviewPage, error) {
	o := overviewPage{
		Network: params.Get("network"), State: params.Get("state"), After: params.Get("after"),
		Version: p.version, Now: time.Now().Unix(),
	}
	var err error
	if o.Stats, err = p.query.Stats(ctx); err != nil {
		return o, err
	}
	o.Up = o.Stats.Relays.ByState[store.StateUp]
	today := o.Now / 86400
	days, err := p.query.Days(ctx, today-chartDays+1, today)
	if err != nil {
		return o, err
	}
	o.Chart = newDayChart(days, today)
	if o.Kinds, err = p.query.Kinds(ctx, 12); err != nil {
		return o, err
	}
	q := query.RelayQuery{Network: relay.Network(o.Network), After: o.After, Limit: relaysPerPage}
	if o.State != "" {
		q.States = []store.State{store.State(o.State)}
	}
	page, err := p.query.Relays(ctx, q)
	if err != nil {
		return o, err
	}
	o.Relays = make([]relayRow, len(page.Relays))
	for i, row := range page.Relays {
		claims, _, err := p.query.RelayCoverage(ctx, row.ID)
		if err != nil {
			return o, err
		}
		o.Relays[i] = relayRow{Relay: row, Bar: newCoverageBar(claims, o.Now)}
	}
	o.First = o.link("")
	if page.Next != "" {
		o.Next = o.link(page.Next)
	}
	o.Started = o.Stats.Relays.Total > 0 || o.Stats.Candidates > 0
	return o, nil
}

// link returns the query string of the page of relays after one.
func (p *overviewPage) link(after string) string {
	query := url.Values{}
	for key, value := range map[string]string{"after": after, "network": p.Network, "state": p.State} {
		if value != "" {
			query.Set(key, value)
		}
	}
	return "?" + query.Encode() + "#relays"
}

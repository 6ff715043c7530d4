package api

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

//go:embed templates/*.html
var files embed.FS

//go:embed assets/style.css
var style []byte

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"number":  number,
	"bytes":   func(n int64) string { return config.Bytes(n).Short() },
	"ago":     ago,
	"date":    date,
	"level":   levelName,
	"clock":   func(at int64) string { return time.Unix(at, 0).UTC().Format("2006-01-02 15:04:05 UTC") },
	"span":    spanText,
	"foreign": foreign,
	"host":    func(u relay.URL) string { return strings.TrimPrefix(u.String(), "wss://") },
}).ParseFS(files, "templates/*.html"))

// relaysPerPage is the number of rows of the table on the overview.
const relaysPerPage = 100

// chartDays is the length of the chart of events per day.
const chartDays = 90

func (s *Service) pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.overview)
	mux.Handle("GET /assets/style.css", fixed("text/css; charset=utf-8", style))
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s.render(w, r, http.StatusNotFound, "message.html", message{"Not found", "There is no page at this address."})
	})
}

type message struct{ Title, Text string }

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

func (s *Service) overview(w http.ResponseWriter, r *http.Request) {
	page, err := s.readOverview(r.Context(), r.URL.Query())
	if err != nil {
		f := s.fault(r.Context(), err)
		s.render(w, r, f.status, "message.html", message{http.StatusText(f.status), f.text})
		return
	}
	s.render(w, r, http.StatusOK, "overview.html", page)
}

func (s *Service) readOverview(ctx context.Context, params url.Values) (overviewPage, error) {
	p := overviewPage{
		Network: params.Get("network"), State: params.Get("state"), After: params.Get("after"),
		Version: s.process.Version, Now: time.Now().Unix(),
	}
	var err error
	if p.Stats, err = s.query.Stats(ctx); err != nil {
		return p, err
	}
	p.Up = p.Stats.Relays.ByState[store.StateUp]
	today := p.Now / 86400
	days, err := s.query.Days(ctx, today-chartDays+1, today)
	if err != nil {
		return p, err
	}
	p.Chart = newDayChart(days, today)
	if p.Kinds, err = s.query.Kinds(ctx, 12); err != nil {
		return p, err
	}
	page, err := s.query.Relays(ctx, store.RelayQuery{
		Network: relay.Network(p.Network), State: store.State(p.State), After: p.After, Limit: relaysPerPage,
	})
	if err != nil {
		return p, err
	}
	p.Relays = make([]relayRow, len(page.Relays))
	for i, row := range page.Relays {
		claims, err := s.query.Coverage(ctx, row.ID)
		if err != nil {
			return p, err
		}
		p.Relays[i] = relayRow{Relay: row, Bar: newCoverageBar(claims, p.Now)}
	}
	p.First = p.link("")
	if page.Next != "" {
		p.Next = p.link(page.Next)
	}
	p.Started = p.Stats.Relays.Total > 0 || p.Stats.Candidates > 0
	return p, nil
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

// render writes a page as a whole or not at all.
func (s *Service) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var body bytes.Buffer
	if err := templates.ExecuteTemplate(&body, name, data); err != nil {
		s.log.ErrorContext(r.Context(), "template failed", "template", name, "error", err)
		plain(w, http.StatusInternalServerError, "The page cannot be shown.\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

// shownRunes is how much of a relay's text a page repeats.
const shownRunes = 80

// foreign cuts the text of a relay and takes out what is not to be seen, such
// as marks that turn the direction of the text behind them.
func foreign(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if unicode.In(r, unicode.C) || r == unicode.ReplacementChar {
			continue
		}
		if n == shownRunes {
			return b.String() + "…"
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// number writes 1234567 as 1,234,567.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// ago tells how long ago a time was, as seen at now.
func ago(now, at int64) string {
	if at == 0 {
		return "never"
	}
	if at > now {
		return "now"
	}
	return spanText(now-at) + " ago"
}

// spanText writes seconds in the largest unit that keeps a whole number.
func spanText(seconds int64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%d min", seconds/60)
	case seconds < 2*86400:
		return fmt.Sprintf("%d h", seconds/3600)
	}
	const year = 31_556_952 // of the calendar, on average
	if seconds >= 2*year {
		return number(seconds/year) + " years"
	}
	return fmt.Sprintf("%d days", seconds/86400)
}

func date(at int64) string {
	if at == 0 {
		return "–"
	}
	return time.Unix(at, 0).UTC().Format(time.DateOnly)
}

package api

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

//go:embed templates/*.html assets/style.css
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"number": number,
	"bytes":  bytesText,
	"ago":    ago,
	"date":   date,
	"span":   spanText,
	"host":   func(u relay.URL) string { return strings.TrimPrefix(u.String(), "wss://") },
}).ParseFS(files, "templates/*.html"))

// relaysPerPage is the number of rows of the table on the overview.
const relaysPerPage = 100

// chartDays is the length of the chart of events per day.
const chartDays = 90

func (s *Service) pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.overview)
	mux.HandleFunc("GET /assets/style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		http.ServeFileFS(w, r, files, "assets/style.css")
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s.render(w, r, http.StatusNotFound, "message.html", message{"Not found", "There is no page at this address."})
	})
}

type message struct{ Title, Text string }

// overviewPage is what the template of the overview shows.
type overviewPage struct {
	Stats   query.Stats
	Chart   dayChart
	Kinds   []store.KindTotal
	Relays  []relayRow
	Network string
	State   string
	Next    string // query string of the next page of relays
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
	switch {
	case errors.Is(err, store.ErrUninitialised):
		s.render(w, r, http.StatusServiceUnavailable, "message.html", message{"Preparing", "The store is being prepared; look again in a moment."})
	case err != nil:
		s.log.ErrorContext(r.Context(), "page failed", "page", "overview", "error", err)
		s.render(w, r, http.StatusInternalServerError, "message.html", message{"Something failed", "The archive cannot answer now. The log says why."})
	default:
		s.render(w, r, http.StatusOK, "overview.html", page)
	}
}

func (s *Service) readOverview(ctx context.Context, params url.Values) (overviewPage, error) {
	p := overviewPage{
		Network: params.Get("network"), State: params.Get("state"), Version: s.process.Version, Now: time.Now().Unix(),
	}
	var err error
	if p.Stats, err = s.query.Stats(ctx); err != nil {
		return p, err
	}
	today := p.Now / 86400
	days, err := s.store.Days(ctx, today-chartDays+1, today)
	if err != nil {
		return p, fmt.Errorf("read days: %w", err)
	}
	p.Chart = newDayChart(days, today)
	if p.Kinds, err = s.store.Kinds(ctx, 12); err != nil {
		return p, fmt.Errorf("read kinds: %w", err)
	}
	rows, err := s.store.RelaySummaries(ctx, store.RelayQuery{
		Network: relay.Network(p.Network), State: store.State(p.State), After: params.Get("after"), Limit: relaysPerPage,
	})
	if err != nil {
		return p, fmt.Errorf("read relays: %w", err)
	}
	p.Relays = make([]relayRow, len(rows))
	for i, row := range rows {
		claims, _, err := s.store.RelayCoverage(ctx, row.ID)
		if err != nil {
			return p, fmt.Errorf("read coverage: %w", err)
		}
		p.Relays[i] = relayRow{Relay: query.NewRelay(row), Bar: newCoverageBar(claims, p.Now)}
	}
	if len(rows) == relaysPerPage {
		next := url.Values{"after": {rows[len(rows)-1].URL.String()}}
		for _, key := range []string{"network", "state"} {
			if v := params.Get(key); v != "" {
				next.Set(key, v)
			}
		}
		p.Next = "?" + next.Encode() + "#relays"
	}
	p.Started = p.Stats.Relays.Total > 0 || p.Stats.Candidates > 0
	return p, nil
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
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
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

func bytesText(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, i := float64(n)/1024, 0
	for value >= 1024 && i < len(units)-1 {
		value, i = value/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[i])
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
	return fmt.Sprintf("%d days", seconds/86400)
}

func date(at int64) string {
	if at == 0 {
		return "–"
	}
	return time.Unix(at, 0).UTC().Format(time.DateOnly)
}

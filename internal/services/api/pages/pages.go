// Package pages owns the pages that people look at. They are made on the server
// of templates, one style sheet and no more, and say what the catalogue of package query
// answers. What comes from relays is text there, whatever it was.
package pages

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/services/api/answer"
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

// Pages makes the pages.
type Pages struct {
	query   *query.Catalogue
	version string
	log     *slog.Logger
}

// New returns pages that show what a catalogue answers. Version is shown at
// their foot.
func New(catalogue *query.Catalogue, version string, log *slog.Logger) *Pages {
	return &Pages{query: catalogue, version: version, log: log}
}

// Register adds the pages, and the one for addresses at which there is none.
func (p *Pages) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", p.overview)
	mux.Handle("GET /assets/style.css", answer.Fixed("text/css; charset=utf-8", style))
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		p.render(w, r, http.StatusNotFound, "message.html", message{"Not found", "There is no page at this address."})
	})
}

type message struct{ Title, Text string }

// render writes a page as a whole or not at all.
func (p *Pages) render(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var body bytes.Buffer
	if err := templates.ExecuteTemplate(&body, name, data); err != nil {
		p.log.ErrorContext(r.Context(), "template failed", "template", name, "error", err)
		answer.Plain(w, http.StatusInternalServerError, "The page cannot be shown.\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

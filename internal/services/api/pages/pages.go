// Package pages owns the pages that people look at. They are made on the server
// of templates, one style sheet and a script that is not needed, and show what
// the catalogue of package query answers. Everything there is has its own
// address, also as JSON, and tables as CSV. What comes from relays is text here,
// whatever it was meant to be.
package pages

import (
	"bytes"
	"context"
	"embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/services/api/answer"
)

//go:embed templates/*.html
var files embed.FS

var (
	//go:embed assets/style.css
	style []byte
	//go:embed assets/script.js
	script []byte
	//go:embed assets/icon.svg
	icon []byte
)

// Policy is the Content-Security-Policy that the pages are made for: nothing
// from elsewhere, and no script or style inside a page.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Recheck makes relays due at once and returns those that are in the set; it is
// that of store.Curation.
type Recheck func(ctx context.Context, urls []relay.URL, at int64) ([]relay.URL, error)

// Process is what the pages tell of the process they are served by.
type Process struct {
	Version string
	// Ready returns nil when everything works, else what does not.
	Ready func(context.Context) error
	// Metrics are those of the process; nil for none.
	Metrics prometheus.Gatherer
	// Recheck queues a check; nil where nothing can be written.
	Recheck Recheck
	// Contact is how the operator is reached, and may be empty.
	Contact string
	// Agent is what we call ourselves to relays.
	Agent string
}

// Pages makes the pages.
type Pages struct {
	query    *query.Catalogue
	process  Process
	log      *slog.Logger
	rechecks *rechecks
	streams  chan struct{} // one entry for each page that is kept up to date
	ended    chan struct{} // closed by End
}

// New returns pages that show what a catalogue answers.
func New(catalogue *query.Catalogue, process Process, log *slog.Logger) *Pages {
	return &Pages{
		query: catalogue, process: process, log: log, rechecks: newRechecks(),
		streams: make(chan struct{}, maxStreams), ended: make(chan struct{}),
	}
}

// End ends what would go on after a stop was asked for. It is called once.
func (p *Pages) End() { close(p.ended) }

// Register adds the pages, and the one for addresses at which there is none.
func (p *Pages) Register(mux *http.ServeMux) {
	p.page(mux, "/{$}", "overview", p.overview)
	p.page(mux, "/overview.json", "overview", p.overview)
	for path, read := range map[string]reader{
		"relays": p.relays, "completeness": p.completeness, "map": p.worldMap,
	} {
		p.page(mux, "/"+path, path, read)
		p.page(mux, "/"+path+".json", path, read)
		p.page(mux, "/"+path+".csv", path, read)
	}
	for path, read := range map[string]reader{
		"system": p.system, "about": p.about, "compare": p.compare,
	} {
		p.page(mux, "/"+path, path, read)
		p.page(mux, "/"+path+".json", path, read)
	}
	p.page(mux, "/relay/{name}", "relay", p.relay)
	p.page(mux, "/event/{name}", "event", p.event)
	p.page(mux, "/author/{name}", "author", p.author)
	mux.HandleFunc("GET /find", p.find)
	mux.HandleFunc("GET /live", p.live)
	own := http.NewCrossOriginProtection()
	mux.Handle("POST /theme", own.Handler(http.HandlerFunc(p.setTheme)))
	mux.Handle("POST /relay/{name}/recheck", own.Handler(http.HandlerFunc(p.recheck)))
	mux.Handle("GET /assets/style.css", answer.Fixed("text/css; charset=utf-8", style))
	mux.Handle("GET /assets/script.js", answer.Fixed("text/javascript; charset=utf-8", script))
	mux.Handle("GET /favicon.ico", answer.Fixed("image/svg+xml", icon))
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		p.fail(w, r, errNoPage)
	})
}

// view is what a page shows.
type view struct {
	Title   string // without the name of the site
	Section string // of the navigation
	Data    any    // for the template; as JSON it is the page's .json
	// Table is what the page's .csv holds, the names of its columns first; nil
	// when there is none.
	Table [][]string
	Feed  string // the address of its Atom feed; empty for none
}

// reader reads what a page shows.
type reader func(*http.Request) (view, error)

// refusal is an error that is told as it is.
type refusal struct {
	status int
	text   string
	next   string // what to do
}

func (e refusal) Error() string { return e.text }

// moved is the error that sends a visitor to another address of this site.
type moved struct{ to string }

func (e moved) Error() string { return "is at " + e.to }

var errNoPage = refusal{http.StatusNotFound, "There is no page at this address.", "The search above finds relays, events and authors."}

// page adds a page. Which form of it is meant is told by how the path ends.
func (p *Pages) page(mux *http.ServeMux, pattern, name string, read reader) {
	mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := read(r)
		if err != nil {
			p.fail(w, r, err)
			return
		}
		switch form(r) {
		case formJSON:
			p.writeJSON(w, r, http.StatusOK, v.Data)
		case formCSV:
			if v.Table == nil {
				p.fail(w, r, errNoPage)
				return
			}
			writeCSV(w, v.Table)
		default:
			p.render(w, r, http.StatusOK, name, v)
		}
	})
}

// The forms of a page besides HTML.
const (
	formJSON = ".json"
	formCSV  = ".csv"
)

// form tells which form of a page is asked for; empty for HTML.
func form(r *http.Request) string {
	for _, f := range []string{formJSON, formCSV} {
		if strings.HasSuffix(r.URL.Path, f) {
			return f
		}
	}
	return ""
}

// named returns the name in the path of a page, without the form.
func named(r *http.Request) string { return strings.TrimSuffix(r.PathValue("name"), form(r)) }

// fail shows what went wrong, and what to do about it.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	if m, ok := errors.AsType[moved](err); ok {
		http.Redirect(w, r, m.to, http.StatusSeeOther)
		return
	}
	told, ok := errors.AsType[refusal](err)
	if !ok {
		f := answer.FaultOf(r.Context(), p.log, err)
		told = refusal{f.Status, strings.ToUpper(f.Text[:1]) + f.Text[1:] + ".", "Try again, or go on from the overview."}
		if f.Status == http.StatusUnprocessableEntity {
			told.next = "Take away the parameters of the address and begin again."
		}
	}
	if form(r) == formJSON {
		p.writeJSON(w, r, told.status, map[string]any{"title": http.StatusText(told.status), "status": told.status, "detail": told.text})
		return
	}
	title := http.StatusText(told.status)
	if told.status == http.StatusUnprocessableEntity {
		title = "Not understood"
	}
	p.render(w, r, told.status, "message", view{Title: title, Data: message{told.text, told.next}})
}

// message is a page of words.
type message struct {
	Text string
	Next string // what to do
}

func (p *Pages) writeJSON(w http.ResponseWriter, r *http.Request, status int, data any) {
	text, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		p.log.ErrorContext(r.Context(), "page cannot be written as json", "error", err)
		answer.Plain(w, http.StatusInternalServerError, "The page cannot be shown.\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

func writeCSV(w http.ResponseWriter, table [][]string) {
	var body bytes.Buffer
	c := csv.NewWriter(&body)
	for _, row := range table {
		for i, cell := range row {
			row[i] = inert(cell)
		}
		_ = c.Write(row) // to memory
	}
	c.Flush()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	_, _ = body.WriteTo(w)
}

// inert keeps a cell from being taken for a formula by a spreadsheet.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) && !numeric(cell) {
		return "'" + cell
	}
	return cell
}

// frame is what is around every page.
type frame struct {
	view
	Site    string
	Theme   string // "dark", "light" or empty: what the browser prefers
	Version string
	Now     int64
	Back    string // the address of this page
	JSON    string // the address of its other forms; empty for none
	CSV     string
}

const site = "BigBrotr"

func (p *Pages) frame(r *http.Request, v view) frame {
	f := frame{view: v, Site: site, Theme: theme(r), Version: p.process.Version, Now: time.Now().Unix(), Back: r.URL.RequestURI()}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || len(f.Back) > maxBack {
		f.Back = "/"
	}
	if _, failed := v.Data.(message); failed {
		return f
	}
	address := *r.URL
	if address.Path == "/" {
		address.Path = "/overview"
	}
	with := func(suffix string) string {
		u := url.URL{Path: address.Path + suffix, RawQuery: address.RawQuery}
		if address.RawPath != "" {
			u.RawPath = address.RawPath + suffix
		}
		return u.RequestURI()
	}
	f.JSON = with(formJSON)
	if v.Table != nil {
		f.CSV = with(formCSV)
	}
	return f
}

// render writes a page as a whole or not at all.
func (p *Pages) render(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	var body bytes.Buffer
	if err := templates[name].ExecuteTemplate(&body, "layout", p.frame(r, v)); err != nil {
		p.log.ErrorContext(r.Context(), "template failed", "template", name, "error", err)
		answer.Plain(w, http.StatusInternalServerError, "The page cannot be shown.\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

// templates holds each page's with the layout and the parts around it.
var templates = func() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	entries, err := files.ReadDir("templates")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".html")
		if name != "layout" && name != "parts" {
			all[name] = template.Must(template.Must(shared.Clone()).ParseFS(files, "templates/"+e.Name()))
		}
	}
	return all
}()

// relayURL reads the address of a relay as a path has it.
func relayURL(name string) (relay.URL, error) {
	u, err := query.ParseName(name)
	if err != nil {
		return relay.URL{}, refusal{http.StatusNotFound, "This is not the address of a relay: " + foreign(name), "An address looks like wss://relay.example.com."}
	}
	return u, nil
}

// relayPath is the address of a relay's page.
func relayPath(u relay.URL) string {
	name := strings.TrimPrefix(u.String(), "wss://")
	if strings.HasSuffix(name, formJSON) || strings.HasSuffix(name, formCSV) {
		name += "/" // which is no part of a relay's address
	}
	return "/relay/" + url.PathEscape(name)
}

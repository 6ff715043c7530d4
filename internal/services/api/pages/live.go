package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// The bounds of pages that are kept up to date.
const (
	maxStreams  = 256
	streamEvery = 2 * time.Second
	streamRetry = 3000 // milliseconds after which a browser comes again
)

// figureSet are the values of a page that change by the second, by the name that
// the script finds them by.
type figureSet map[string]string

func figures(s query.Stats) figureSet {
	lag, lagNote := "–", "no relay is covered yet"
	if len(s.Coverage) > 0 || s.Partly > 0 {
		lag, lagNote = spanText(s.Lag.Median), "median, at most "+spanText(s.Lag.Max)
	}
	return figureSet{
		"up": number(s.Relays.ByState[store.StateUp]), "relays": number(s.Relays.Total), "candidates": number(s.Candidates),
		"events": number(s.Events), "authors": number(s.Authors), "sightings": number(s.Sightings),
		"holes": number(s.Holes.Count), "hole-events": number(s.Holes.Events), "lag": lag, "lag-note": lagNote,
		"store": config.Bytes(s.StoreBytes).Short(),
	}
}

// live sends the figures when they change, as server-sent events. It ends with
// the time of a request, after which the browser comes again.
func (p *Pages) live(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		w.WriteHeader(http.StatusNoContent) // do not come again
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "retry: %d\n\n", streamRetry)
	out := http.NewResponseController(w)
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	var last []byte
	for {
		stats, err := p.query.Stats(r.Context())
		if err != nil {
			return // the pages tell
		}
		text, err := json.Marshal(figures(stats))
		if err != nil {
			return
		}
		if !bytes.Equal(text, last) {
			fmt.Fprintf(w, "data: %s\n\n", text)
			last = text
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// maxBack bounds the address of a page that a form leads back to.
const maxBack = 2000

// back is the page of this site that a form leads back to.
func back(r *http.Request) string {
	to := r.PostFormValue("back")
	u, err := url.Parse(to)
	if err != nil || len(to) > maxBack || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(to, "/") ||
		strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

const themeCookie = "theme"

// theme is what the visitor chose; empty: as the browser prefers.
func theme(r *http.Request) string {
	c, err := r.Cookie(themeCookie)
	if err != nil || c.Value != "dark" && c.Value != "light" {
		return ""
	}
	return c.Value
}

// setTheme keeps the choice of colours in the browser.
func (p *Pages) setTheme(w http.ResponseWriter, r *http.Request) {
	const year = 365 * 86400
	c := http.Cookie{Name: themeCookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1}
	if v := r.PostFormValue("theme"); v == "dark" || v == "light" {
		c.Value, c.MaxAge = v, year
	}
	http.SetCookie(w, &c)
	http.Redirect(w, r, back(r), http.StatusSeeOther)
}

// The bounds of rechecks that visitors ask for.
const (
	recheckPause  = 10 * time.Minute // between two of one relay
	recheckMinute = 12               // of all relays in a minute
)

// rechecks bounds what visitors may have done.
type rechecks struct {
	all *rate.Limiter

	mu   sync.Mutex
	last map[relay.URL]time.Time // those within the pause
}

func newRechecks() *rechecks {
	return &rechecks{all: rate.NewLimiter(rate.Limit(recheckMinute)/60, recheckMinute), last: map[relay.URL]time.Time{}}
}

// take tells whether it is allowed, and counts it. What it remembers is bounded
// by the rate.
func (c *rechecks) take(u relay.URL, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for known, at := range c.last {
		if now.Sub(at) >= recheckPause {
			delete(c.last, known)
		}
	}
	if _, recent := c.last[u]; recent || !c.all.AllowN(now, 1) {
		return false
	}
	c.last[u] = now
	return true
}

var (
	errNoRecheck   = refusal{http.StatusForbidden, "This process only reads.", "The operator can queue a check: bigbrotr relays recheck URL."}
	errTooSoon     = refusal{http.StatusTooManyRequests, "A check of this relay was asked for a short while ago, or many others were.", "Ask again in ten minutes."}
	errNotInTheSet = refusal{http.StatusNotFound, "This relay is not in the set.", "The operator can add it: bigbrotr relays add URL."}
)

// recheck queues a check of a relay.
func (p *Pages) recheck(w http.ResponseWriter, r *http.Request) {
	u, err := relayURL(r.PathValue("name"))
	if err == nil {
		err = p.queueRecheck(r.Context(), u)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	http.Redirect(w, r, relayPath(u)+"?queued=1", http.StatusSeeOther)
}

func (p *Pages) queueRecheck(ctx context.Context, u relay.URL) error {
	now := time.Now()
	switch {
	case p.process.Recheck == nil:
		return errNoRecheck
	case !p.rechecks.take(u, now):
		return errTooSoon
	}
	known, err := p.process.Recheck(ctx, []relay.URL{u}, now.Unix())
	if err == nil && len(known) == 0 {
		err = errNotInTheSet
	}
	return err
}

// find leads to the page of what a visitor names: a relay, an event, an author.
func (p *Pages) find(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimSpace(r.URL.Query().Get("q"))
	http.Redirect(w, r, p.place(r.Context(), text), http.StatusSeeOther)
}

// place is the address of the page of what a text names.
func (p *Pages) place(ctx context.Context, text string) string {
	text = strings.TrimPrefix(text, "nostr:")
	if text == "" {
		return "/relays"
	}
	if id, err := nostr.ParseID(text); err == nil {
		_, err := p.query.Event(ctx, id)
		if err == nil {
			return "/event/" + text
		}
		return "/author/" + text
	}
	if e, err := nip19.Decode(text); err == nil {
		switch e.Prefix {
		case nip19.Note, nip19.Event:
			return "/event/" + e.ID.String()
		case nip19.PubKey, nip19.Profile, nip19.Address:
			return "/author/" + e.PubKey.String()
		}
	}
	if strings.Contains(text, ".") {
		if u, err := relayURL(text); err == nil {
			return relayPath(u)
		}
	}
	return "/relays?" + url.Values{"text": {text}}.Encode()
}

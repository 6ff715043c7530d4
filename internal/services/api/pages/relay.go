package pages

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"bigbrotr/internal/core/query"
	"bigbrotr/internal/core/store"
)

// The bounds of what a relay's page shows.
const (
	shownVersions = 10 // of its document
	shownChanges  = 30 // of its fields
	shownHoles    = 20
	shownResults  = 1000 // of a probe: 30 days of hourly checks, and more
	historyDays   = 30
	historySteps  = 360 // of two hours
)

// relayPage is all that is known of a relay.
type relayPage struct {
	query.RelayDetail
	Info      *query.Info      `json:"document,omitempty"`
	Changes   []query.Change   `json:"changes"`
	Coverage  []query.Claim    `json:"claims"` // the first thousand; REST has all
	Holes     []query.Hole     `json:"holes"`  // so of these
	Days      []dayRow         `json:"days"`
	Kinds     []kindRow        `json:"kinds"`
	Overlap   query.OverlapRow `json:"overlap"`
	Tests     []claimTest      `json:"claimed_and_measured"`
	TLS       *certificate     `json:"-"`
	Place     *place           `json:"-"`
	Self      []fact           `json:"-"` // what its document says
	Bar       coverageBar      `json:"-"`
	History   strip            `json:"-"`
	Latency   lineChart        `json:"-"`
	Chart     dayChart         `json:"-"`
	Kept      []fact           `json:"-"` // how far back it serves what
	MoreHoles int              `json:"-"` // than are listed
	Evidence  string           `json:"-"` // of what is wrong, in the words of others
	Exact     string           `json:"-"` // its document
	Queued    bool             `json:"-"` // a check was asked for
	Recheck   bool             `json:"-"` // may be asked for
	API       string           `json:"-"` // its place in REST
	Path      string           `json:"-"`
}

// fact is a line of a list of facts.
type fact struct{ Name, Text string }

// claimTest is a claim of a relay beside what it does; the document of the probe
// "nips" has them.
type claimTest struct {
	Name     string `json:"name"`
	Claimed  string `json:"claimed"`
	Measured string `json:"measured,omitempty"`
	Verdict  string `json:"verdict"`
}

// certificate is what a page shows of the document of the probe "tls".
type certificate struct {
	Protocol, Key, Issuer string
	Names, Problems       []string
	NotAfter              int64 `json:"not_after"`
}

// place is what a page shows of the document of the probe "geo".
type place struct {
	Addr, Country, City, Org, Prefix, Precision, Source string
	Anycast                                             bool
	ASN                                                 int64
}

func (p *Pages) relay(r *http.Request) (view, error) {
	ctx := r.Context()
	u, err := relayURL(named(r))
	if err != nil {
		return view{}, err
	}
	d := relayPage{Path: relayPath(u), Queued: r.URL.Query().Get("queued") != "", Recheck: p.process.Recheck != nil}
	d.API = "/api/v1/relays/" + url.PathEscape(u.String())
	if d.RelayDetail, err = p.query.Relay(ctx, u.String()); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = errUnknownRelay
		}
		return view{}, err
	}
	var parts errgroup.Group
	for _, part := range []func(context.Context, *relayPage) error{p.relayHealth, p.relayCoverage, p.relayContent, p.relayDocument} {
		parts.Go(func() error { return part(ctx, &d) }) // each has fields of its own
	}
	if err := parts.Wait(); err != nil {
		return view{}, err
	}
	return view{Title: host(u), Section: "/relays", Data: d, Feed: d.API + "/feed.atom"}, nil
}

var errUnknownRelay = refusal{http.StatusNotFound, "This relay is not in the set: it has not answered yet, or nobody has named it.", "Its operator, or anybody, names it by publishing a list of relays that has it; the operator of this site can add it: bigbrotr relays add URL."}

// relayHealth reads how a relay fared.
func (p *Pages) relayHealth(ctx context.Context, d *relayPage) error {
	now := d.At
	from := now - historyDays*store.Day
	steps := newSteps(from, now, historySteps)
	d.Latency = lineChart{From: from, To: now}
	lines := map[string][]point{}
	for probe, value := range map[string]string{"open": store.ValueOpen, "read": store.ValueRead} {
		results, err := p.query.Results(ctx, d.ID, probe, math.MaxInt64, shownResults)
		if err != nil {
			return err
		}
		slices.Reverse(results)
		for i, c := range results {
			if c.At < from {
				continue
			}
			if probe == "open" {
				end := now
				if i+1 < len(results) {
					end = results[i+1].At
				}
				steps.paint(c.At, min(end, c.At+store.Unwatched), map[bool]int8{true: 1, false: 2}[c.OK])
			}
			if ms := c.Values[value]; c.OK && ms > 0 {
				lines[probe] = append(lines[probe], point{c.At, ms})
			}
		}
	}
	d.History = steps.strip("Could it be opened, in the last 30 days: "+percent(d.Health.Month.Up)+" of the watched time", "watched", "outage")
	for _, line := range lines {
		for _, v := range line {
			d.Latency.Max = max(d.Latency.Max, v.Value)
		}
	}
	d.Latency.draw("time to open", "open", lines["open"])
	d.Latency.draw("time to read", "read", lines["read"])
	for _, c := range d.Checks {
		if d.Cause != "" && c.Cause == d.Cause {
			d.Evidence = c.Detail
		}
		switch c.Probe {
		case "tls":
			d.TLS = found[certificate](c.Document)
		case "geo":
			d.Place = found[place](c.Document)
		case "nips":
			if claims := found[struct{ Claims []claimTest }](c.Document); claims != nil {
				d.Tests = claims.Claims
			}
		case "retention":
			for _, kept := range []struct{ value, name string }{
				{"oldest_profiles", "profiles"}, {"oldest_notes", "notes"}, {"oldest_lists", "lists"}, {"oldest_reactions", "reactions"},
			} {
				if at := c.Values[kept.value]; at > 0 {
					d.Kept = append(d.Kept, fact{kept.name, date(int64(at))})
				}
			}
		}
	}
	return nil
}

// found reads the document of a probe; nil when there is none of that shape.
func found[T any](document json.RawMessage) *T {
	v := new(T)
	if len(document) == 0 || json.Unmarshal(document, v) != nil {
		return nil
	}
	return v
}

// relayCoverage reads what is proved to be held of a relay.
func (p *Pages) relayCoverage(ctx context.Context, d *relayPage) error {
	rows, err := p.withBars(ctx, []query.Relay{d.Relay})
	if err != nil {
		return err
	}
	d.Bar = rows[0].Bar
	if d.Coverage, _, err = p.query.RelayClaims(ctx, d.ID, "", query.MaxPage); err != nil {
		return err
	}
	d.Holes, _, err = p.query.RelayHoles(ctx, d.ID, "", query.MaxPage)
	d.MoreHoles = max(d.RelayDetail.Holes, len(d.Holes)) - shownHoles
	return err
}

// ShownHoles are the holes that a page lists, of those it has the newest first.
func (d relayPage) ShownHoles() []query.Hole {
	list := slices.Clone(d.Holes)
	slices.SortFunc(list, func(a, b query.Hole) int { return cmp.Compare(b.Hi, a.Hi) })
	return list[:min(len(list), shownHoles)]
}

// relayContent reads what a relay holds.
func (p *Pages) relayContent(ctx context.Context, d *relayPage) error {
	today := time.Now().Unix() / store.Day
	days, err := p.query.RelayDays(ctx, d.ID, today-chartDays+1, today)
	if err != nil {
		return err
	}
	d.Days, d.Chart = dayRows(days), newDayChart(days, today, chartDays)
	kinds, err := p.query.RelayKinds(ctx, d.ID, shownKinds)
	if err != nil {
		return err
	}
	d.Kinds = kindRows(kinds)
	overlap, err := p.query.Overlap(ctx, []*query.Relay{&d.Relay})
	if err != nil {
		return err
	}
	d.Overlap = overlap.Relays[0]
	return nil
}

// relayDocument reads what a relay says of itself, and what it said before.
func (p *Pages) relayDocument(ctx context.Context, d *relayPage) error {
	info, err := p.query.Info(ctx, d.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		d.Info = &info
		d.Self, d.Exact = selfFacts(info.Document), exact(info.Document)
	}
	d.Changes, err = p.query.Changes(ctx, d.ID, shownVersions)
	d.Changes = d.Changes[:min(len(d.Changes), shownChanges)]
	return err
}

// selfFacts lists what a document says in fields that people look for.
func selfFacts(document json.RawMessage) []fact {
	var fields map[string]json.RawMessage
	if json.Unmarshal(document, &fields) != nil {
		return nil
	}
	var list []fact
	for _, f := range []struct{ key, name string }{
		{"name", "Name"},
		{"description", "Description"},
		{"software", "Software"},
		{"version", "Version"},
		{"contact", "Contact"},
		{"pubkey", "Operator"},
		{"self", "Its own key"},
		{"supported_nips", "NIPs"},
		{"limitation", "Limits"},
		{"fees", "Fees"},
		{"payments_url", "Payments"},
		{"posting_policy", "Posting policy"},
		{"terms_of_service", "Terms"},
		{"relay_countries", "Countries"},
	} {
		if text := plainText(fields[f.key]); text != "" {
			list = append(list, fact{f.name, text})
		}
	}
	return list
}

// plainText writes JSON as a person would: texts as they are, lists with commas,
// objects as their fields.
func plainText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return visible(text, longRunes)
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) == nil {
		parts := make([]string, 0, len(list))
		for _, v := range list[:min(len(list), shownTags)] {
			parts = append(parts, plainText(v))
		}
		return visible(strings.Join(parts, ", "), longRunes)
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) == nil {
		var parts []string
		for key, v := range fields {
			parts = append(parts, key+" "+string(v))
		}
		slices.Sort(parts)
		return visible(strings.Join(parts, ", "), longRunes)
	}
	return visible(string(value), longRunes)
}

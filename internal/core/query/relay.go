package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// ParseName reads a text that names a relay: its URL in any spelling, or what
// comes behind wss:// of it. Whether it is in the set is another matter.
func ParseName(text string) (relay.URL, error) {
	if !strings.Contains(text, "://") {
		text = "wss://" + text
	}
	return relay.Rules{AllowLocal: true}.Parse(text)
}

// Find returns a relay of the set by a text that names it, as ParseName reads it.
// Of others the error is store.ErrNotFound.
func (c *Catalogue) Find(ctx context.Context, text string) (*Relay, error) {
	url, err := ParseName(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	now, err := c.directory.get(ctx)
	if err != nil {
		return nil, err
	}
	if r := now.find(url); r != nil {
		return r, nil
	}
	return nil, store.ErrNotFound
}

// name returns the URL of a relay by its number; the zero URL when it is not in
// the set.
func (n *relays) name(id store.RelayID) relay.URL {
	if r := n.byID[id]; r != nil {
		return r.URL
	}
	return relay.URL{}
}

// Share is a part of the time that was watched.
type Share struct {
	Up      float64 `json:"up" doc:"0 to 1"`
	Watched int64   `json:"watched" doc:"seconds; 0 when nothing is known"`
}

// Percentiles are of times in milliseconds.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	N   int     `json:"n" doc:"of how many"`
}

// Health is how a relay fared.
type Health struct {
	Day   Share       `json:"day"`
	Week  Share       `json:"week"`
	Month Share       `json:"month"`
	All   Share       `json:"all"`
	Open  Percentiles `json:"open_ms" doc:"of 30 days"`
	Read  Percentiles `json:"read_ms" doc:"of 30 days"`
}

func newHealth(h store.Health) Health {
	return Health{
		Share(h.Day), Share(h.Week), Share(h.Month), Share(h.All), Percentiles(h.Open), Percentiles(h.Read),
	}
}

// Check is the result of a probe.
type Check struct {
	At       int64              `json:"at" doc:"Unix seconds"`
	Probe    string             `json:"probe" example:"open"`
	OK       bool               `json:"ok"`
	Cause    string             `json:"cause,omitempty" doc:"why not" example:"tcp_timeout"`
	Values   map[string]float64 `json:"values,omitempty" doc:"numbers by name; durations in milliseconds"`
	Detail   string             `json:"detail,omitempty" doc:"a remark; text of others"`
	Document json.RawMessage    `json:"document,omitempty" doc:"what the newest one found, as JSON"`
}

func newCheck(c store.Check) Check {
	out := Check{At: c.At, Probe: c.Probe, OK: c.OK, Cause: string(c.Cause), Values: c.Values, Detail: c.Detail}
	if c.Document != nil && json.Valid(c.Document.Data) {
		out.Document = c.Document.Data
	}
	return out
}

// Outage is a stretch of time in which a relay could not be opened.
type Outage struct {
	From  int64  `json:"from" doc:"Unix seconds"`
	To    int64  `json:"to,omitempty" doc:"absent while it lasts"`
	Cause string `json:"cause" doc:"of its first failed check" example:"tls_expired"`
}

func newOutage(o store.Outage) Outage { return Outage{o.From, o.To, string(o.Cause)} }

// Sync is how the archive reads a relay.
type Sync struct {
	Calibrated  int64        `json:"calibrated_at" doc:"when it was last learned how the relay answers, Unix seconds; 0: never"`
	LargestPage int          `json:"largest_page" doc:"the most events it ever gave in one answer"`
	Order       string       `json:"order,omitempty" enum:"newest,oldest,unsorted" doc:"in which it answers"`
	Counts      bool         `json:"counts" doc:"answers COUNT (NIP-45)"`
	Negentropy  string       `json:"negentropy,omitempty" doc:"why it is not reconciled with (NIP-77), one word; absent while nothing speaks against it"`
	Tail        int64        `json:"tail_since" doc:"since when what arrives is received live, Unix seconds; 0: it is not"`
	Heard       int64        `json:"tail_heard" doc:"up to when every arrival is archived"`
	Lag         int64        `json:"tail_lag_seconds" doc:"how long ago that was, of what is received live now"`
	Gaps        []ArrivalGap `json:"arrival_gaps" nullable:"false" doc:"times in which arrivals may have been missed"`
	Old         MissRate     `json:"old_claims" doc:"what was missing in stretches that were read again"`
	Live        MissRate     `json:"live_claims" doc:"what was missing of what came live"`
	Due         int64        `json:"due" doc:"when it is read next, Unix seconds"`
}

// ArrivalGap is a time in which arrivals may have been missed.
type ArrivalGap struct {
	From  int64  `json:"from"`
	Until int64  `json:"until,omitempty" doc:"absent while nothing is received live again"`
	Cause string `json:"cause" doc:"why the live subscription ended"`
}

// RelayDetail is all that is known of a relay but what has questions of its own.
type RelayDetail struct {
	Relay
	Aliases  []string  `json:"aliases,omitempty" doc:"other URLs of the same relay"`
	Health   Health    `json:"health"`
	Checks   []Check   `json:"checks" nullable:"false" doc:"the newest of every probe, by name"`
	Outages  []Outage  `json:"outages" nullable:"false" doc:"the newest ten, newest first"`
	Opinions []Opinion `json:"opinions" nullable:"false" doc:"what other monitors say of it (NIP-66), newest first"`
	Proved   Proved    `json:"proved"`
	Sync     Sync      `json:"sync"`
	Due      int64     `json:"check_due" doc:"when it is checked next, Unix seconds"`
	At       int64     `json:"at" doc:"when this was read, Unix seconds"`
}

// shownOutages is how many outages a relay is shown with.
const shownOutages = 10

// Relay returns all that is known of a relay, as Find names it.
func (c *Catalogue) Relay(ctx context.Context, text string) (RelayDetail, error) {
	r, err := c.Find(ctx, text)
	if err != nil {
		return RelayDetail{}, err
	}
	d := RelayDetail{Relay: *r, Due: r.CheckDue, At: time.Now().Unix()}
	d.Proved.add(r)
	now, err := c.directory.get(ctx)
	if err != nil {
		return d, err
	}
	for i := range now.byURL {
		if now.byURL[i].AliasOf == r.URL.String() {
			d.Aliases = append(d.Aliases, now.byURL[i].URL.String())
		}
	}
	var parts errgroup.Group
	parts.Go(func() (err error) {
		d.Health, err = c.Health(ctx, r.ID)
		return err
	})
	parts.Go(func() error {
		checks, err := c.store.LatestChecks(ctx, r.ID)
		if err != nil {
			return fmt.Errorf("read checks: %w", err)
		}
		d.Checks = make([]Check, len(checks))
		for i := range checks {
			d.Checks[i] = newCheck(checks[i])
		}
		return nil
	})
	parts.Go(func() (err error) {
		d.Outages, err = c.Outages(ctx, r.ID, shownOutages)
		return err
	})
	parts.Go(func() (err error) {
		d.Opinions, err = c.Opinions(ctx, r.URL)
		return err
	})
	parts.Go(func() (err error) {
		d.Sync, err = c.sync(ctx, r)
		return err
	})
	err = parts.Wait()
	return d, err
}

func (c *Catalogue) sync(ctx context.Context, r *Relay) (Sync, error) {
	s := Sync{Gaps: []ArrivalGap{}, Due: r.SyncDue}
	known, err := c.store.Calibration(ctx, r.ID)
	if err != nil {
		return s, fmt.Errorf("read calibration: %w", err)
	}
	s.Calibrated, s.LargestPage, s.Order, s.Counts = known.At, known.LargestPage, string(known.Order), known.Counts
	s.Negentropy = known.NegentropyCause
	tail, err := c.store.Tail(ctx, r.ID)
	if err != nil {
		return s, fmt.Errorf("read tail: %w", err)
	}
	now := time.Now().Unix()
	if s.Heard = tail.Heard; tail.Stands(now) {
		s.Tail, s.Lag = tail.Since, max(0, now-tail.Heard)
	}
	gaps, err := c.store.ArrivalGaps(ctx, r.ID)
	if err != nil {
		return s, fmt.Errorf("read arrival gaps: %w", err)
	}
	for _, g := range gaps {
		s.Gaps = append(s.Gaps, ArrivalGap{g.From, g.Until, string(g.Cause)})
	}
	old, err := c.store.SampleTotal(ctx, r.ID, store.SampleOld)
	if err != nil {
		return s, fmt.Errorf("read samples: %w", err)
	}
	live, err := c.store.SampleTotal(ctx, r.ID, store.SampleTail)
	if err != nil {
		return s, fmt.Errorf("read samples: %w", err)
	}
	s.Old, s.Live = newMissRate(old), newMissRate(live)
	return s, nil
}

// Results returns results of one probe of a relay from before a time, newest
// first.
func (c *Catalogue) Results(ctx context.Context, id store.RelayID, probe string, before int64, limit int) ([]Check, error) {
	if limit < 1 || limit > MaxPage {
		return nil, ErrLimit
	}
	rows, err := c.store.Results(ctx, id, probe, before, limit)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	list := make([]Check, len(rows))
	for i := range rows {
		list[i] = newCheck(rows[i])
	}
	return list, nil
}

// Outages returns the newest outages of a relay, newest first.
func (c *Catalogue) Outages(ctx context.Context, id store.RelayID, limit int) ([]Outage, error) {
	if limit < 1 || limit > MaxPage {
		return nil, ErrLimit
	}
	rows, err := c.store.Outages(ctx, id, limit)
	if err != nil {
		return nil, fmt.Errorf("read outages: %w", err)
	}
	list := make([]Outage, len(rows))
	for i := range rows {
		list[i] = newOutage(rows[i])
	}
	return list, nil
}

// Incident is an outage of any relay.
type Incident struct {
	URL relay.URL `json:"url"`
	Outage
}

// Incidents returns the newest outages of all relays, newest first.
func (c *Catalogue) Incidents(ctx context.Context, limit int) ([]Incident, error) {
	if limit < 1 || limit > MaxPage {
		return nil, ErrLimit
	}
	now, err := c.directory.get(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.store.Incidents(ctx, store.Incident{Relay: math.MaxInt32, Outage: store.Outage{From: math.MaxInt64}}, limit)
	if err != nil {
		return nil, fmt.Errorf("read incidents: %w", err)
	}
	list := make([]Incident, 0, len(rows))
	for _, row := range rows {
		if url := now.name(row.Relay); !url.IsZero() {
			list = append(list, Incident{url, newOutage(row.Outage)})
		}
	}
	return list, nil
}

// Info is the information document of a relay (NIP-11), as it was last found.
type Info struct {
	From     int64           `json:"from" doc:"the first check that found it, Unix seconds"`
	To       int64           `json:"to" doc:"the last one, Unix seconds"`
	Document json.RawMessage `json:"document" doc:"the document in canonical form; text of the relay"`
}

// Info returns the newest information document of a relay; store.ErrNotFound when
// it never had one.
func (c *Catalogue) Info(ctx context.Context, id store.RelayID) (Info, error) {
	list, err := c.store.Versions(ctx, id, store.DocumentInfo, 1)
	if err != nil {
		return Info{}, fmt.Errorf("read document: %w", err)
	}
	if len(list) == 0 || !json.Valid(list[0].Data) {
		return Info{}, store.ErrNotFound
	}
	return Info{list[0].From, list[0].To, list[0].Data}, nil
}

// Claim is an interval of created_at of which everything is proved to be held.
type Claim struct {
	Filter string      `json:"filter" doc:"the filter that it is about, as JSON" example:"{}"`
	Lo     int64       `json:"lo" doc:"its lowest second"`
	Hi     int64       `json:"hi" doc:"its highest second"`
	Level  store.Level `json:"level" doc:"1 walked, 2 asserted, 3 counted, 4 fingerprint-equal"`
	AsOf   int64       `json:"as_of" doc:"when it was true, Unix seconds"`
	Method string      `json:"method" doc:"how it was proved, one word" example:"walk"`
	Events int64       `json:"events" doc:"that the proof saw"`
	Live   bool        `json:"live,omitempty" doc:"that a live subscription keeps it"`
}

// Hole is a place where something is known to be missing, or may be.
type Hole struct {
	Filter  string     `json:"filter" doc:"the filter that it is about, as JSON" example:"{}"`
	Lo      int64      `json:"lo" doc:"its lowest second"`
	Hi      int64      `json:"hi" doc:"its highest second"`
	Kind    nostr.Kind `json:"kind" doc:"-1 when not about one kind"`
	Reason  string     `json:"reason" doc:"one word" example:"overflow"`
	Events  int64      `json:"events" doc:"known to be missing; -1: it is not known how many"`
	SeenAt  int64      `json:"seen_at" doc:"when it was found, Unix seconds"`
	NextTry int64      `json:"next_try" doc:"when it is looked at again"`
}

// RelayClaims returns a page of what is proved to be held of a relay, over all
// filters, and the cursor behind it.
func (c *Catalogue) RelayClaims(ctx context.Context, id store.RelayID, after store.Cursor, limit int) ([]Claim, store.Cursor, error) {
	if limit < 1 || limit > MaxPage {
		return nil, "", ErrLimit
	}
	list, next, err := c.store.ClaimPage(ctx, id, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("read coverage: %w", err)
	}
	texts, claims := filterTexts{c.store, map[store.FilterID]string{}}, make([]Claim, len(list))
	for i, v := range list {
		text, err := texts.of(ctx, v.Filter)
		if err != nil {
			return nil, "", err
		}
		claims[i] = Claim{text, v.Lo, v.Hi, v.Level, v.AsOf, v.Method, v.N, v.Tail != 0}
	}
	return claims, next, nil
}

// RelayHoles returns a page of what is known to be missing of a relay, over all
// filters, and the cursor behind it.
func (c *Catalogue) RelayHoles(ctx context.Context, id store.RelayID, after store.Cursor, limit int) ([]Hole, store.Cursor, error) {
	if limit < 1 || limit > MaxPage {
		return nil, "", ErrLimit
	}
	list, next, err := c.store.HolePage(ctx, id, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("read holes: %w", err)
	}
	texts, holes := filterTexts{c.store, map[store.FilterID]string{}}, make([]Hole, len(list))
	for i, v := range list {
		text, err := texts.of(ctx, v.Filter)
		if err != nil {
			return nil, "", err
		}
		holes[i] = Hole{text, v.Lo, v.Hi, v.Kind, string(v.Reason), v.Count, v.SeenAt, v.NextTry}
	}
	return holes, next, nil
}

// filterTexts are filters as JSON, each read once.
type filterTexts struct {
	store Store
	known map[store.FilterID]string
}

func (t filterTexts) of(ctx context.Context, id store.FilterID) (string, error) {
	if text, ok := t.known[id]; ok {
		return text, nil
	}
	f, err := t.store.Filter(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("read filter: %w", err)
	}
	t.known[id] = store.FilterText(f)
	return t.known[id], nil
}

// RelayKinds returns the most frequent kinds of what a relay carries, most first.
func (c *Catalogue) RelayKinds(ctx context.Context, id store.RelayID, limit int) ([]store.KindTotal, error) {
	if limit < 1 || limit > MaxPage {
		return nil, ErrLimit
	}
	kinds, err := c.store.RelayKinds(ctx, id, limit)
	if err != nil {
		return nil, fmt.Errorf("read kinds: %w", err)
	}
	return kinds, nil
}

// RelayDays returns the days from lo to hi of which a relay carries events.
func (c *Catalogue) RelayDays(ctx context.Context, id store.RelayID, lo, hi int64) ([]store.DayTotal, error) {
	days, err := c.store.RelayDays(ctx, id, lo, hi)
	if err != nil {
		return nil, fmt.Errorf("read days: %w", err)
	}
	return days, nil
}

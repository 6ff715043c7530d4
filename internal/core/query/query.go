// Package query owns the catalogue of questions that may be asked of the
// archive, and the shape of their answers, so that REST, pages and commands say
// the same. Every question is read-only, bounded and paged by keyset. How the
// answers are found is the store's business, how they are shown the caller's.
package query

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// MaxPage is the most rows of one answer.
const MaxPage = 1000

// ErrLimit is returned for a page size that is not from 1 to MaxPage.
var ErrLimit = fmt.Errorf("the limit must be from 1 to %d", MaxPage)

// Store is what the catalogue needs of the archive.
type Store interface {
	store.EventReader
	store.RelayReader
	store.StatsReader
	store.Histories
	LatestChecks(ctx context.Context, relay store.RelayID) ([]store.Check, error)
	Outages(ctx context.Context, relay store.RelayID, limit int) ([]store.Outage, error)
	Calibration(ctx context.Context, relay store.RelayID) (store.Calibration, error)
	Tail(ctx context.Context, relay store.RelayID) (store.Tail, error)
	ArrivalGaps(ctx context.Context, relay store.RelayID) ([]store.ArrivalGap, error)
	TailTotals(ctx context.Context, now int64) (store.TailTotals, error)
	SampleTotal(ctx context.Context, relay store.RelayID, kind store.SampleKind) (store.SampleTotal, error)
	CostTotal(ctx context.Context) (store.CostSum, error)
}

// Catalogue answers questions. It may be asked from many goroutines.
type Catalogue struct {
	store       Store
	stats       kept[Stats]
	directory   kept[*relays]
	tested      kept[tested]
	replication replication
}

// New returns a catalogue that reads from st.
func New(st Store) *Catalogue {
	return &Catalogue{
		store:       st,
		stats:       keep(func(ctx context.Context) (Stats, error) { return readStats(ctx, st) }),
		directory:   keep(func(ctx context.Context) (*relays, error) { return readDirectory(ctx, st) }),
		tested:      keep(func(ctx context.Context) (tested, error) { return readTested(ctx, st) }),
		replication: replication{reading: make(chan struct{}, 1)},
	}
}

// Stats are the figures of the whole archive.
type Stats struct {
	Relays     Relays          `json:"relays"`
	Candidates int64           `json:"candidates" doc:"URLs that were mentioned and not proved yet"`
	Events     int64           `json:"events" doc:"archived events"`
	Sightings  int64           `json:"sightings" doc:"facts that a relay delivered an event"`
	Authors    int64           `json:"authors" doc:"distinct authors, estimated"`
	Oldest     int64           `json:"oldest" doc:"lowest created_at from November 2020 on, Unix seconds; 0 when there is none"`
	Newest     int64           `json:"newest" doc:"highest created_at up to tomorrow, Unix seconds; 0 when there is none"`
	Coverage   []LevelCoverage `json:"coverage" nullable:"false" doc:"what is proved to be held of whole relays, by level of proof"`
	Partly     int64           `json:"partly_covered" doc:"relays of which only parts are covered, by lists of kinds or authors or by configured filters"`
	Holes      Holes           `json:"holes"`
	Lag        Lag             `json:"lag"`
	Cost       Cost            `json:"cost"`
	Rejected   int64           `json:"rejected" doc:"rows that could not be archived"`
	StoreBytes int64           `json:"store_bytes" doc:"size of the database on disk"`
	At         int64           `json:"at" doc:"when this was read, Unix seconds"`
}

// Relays counts relays.
type Relays struct {
	Total     int64                      `json:"total"`
	ByState   map[store.State]int64      `json:"by_state"`
	ByNetwork map[relay.Network]int64    `json:"by_network"`
	Each      map[relay.Network]PerState `json:"by_network_and_state"`
}

// PerState counts relays by state.
type PerState map[store.State]int64

// LevelCoverage sums the claims of one level.
type LevelCoverage struct {
	Level   store.Level `json:"level" doc:"1 walked, 2 asserted, 3 counted, 4 fingerprint-equal"`
	Relays  int64       `json:"relays"`
	Seconds int64       `json:"seconds" doc:"seconds of created_at covered, summed over relays"`
}

// Holes counts what is known to be missing.
type Holes struct {
	Count  int64 `json:"count"`
	Events int64 `json:"events" doc:"events known to be missing; holes of unknown size count 0"`
}

// Lag says how far behind the covered relays we are.
type Lag struct {
	Median int64 `json:"median_seconds"`
	Max    int64 `json:"max_seconds"`
}

// Stats returns the figures of the whole archive, which may be some seconds old.
// They are shared and not to be changed.
func (c *Catalogue) Stats(ctx context.Context) (Stats, error) { return c.stats.get(ctx) }

func readStats(ctx context.Context, st Store) (Stats, error) {
	now := time.Now().Unix()
	t, err := st.Totals(ctx, now)
	if err != nil {
		return Stats{}, fmt.Errorf("read totals: %w", err)
	}
	cost, err := st.CostTotal(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("read costs: %w", err)
	}
	s := Stats{
		Relays:     Relays{ByState: PerState{}, ByNetwork: map[relay.Network]int64{}, Each: map[relay.Network]PerState{}},
		Candidates: t.Candidates,
		Events:     t.Events,
		Sightings:  t.Sightings,
		Authors:    t.Authors,
		Oldest:     t.Oldest,
		Newest:     t.Newest,
		Coverage:   []LevelCoverage{},
		Partly:     t.Partly,
		Holes:      Holes{Count: t.Holes, Events: t.HoleEvents},
		Lag:        Lag{Median: t.LagMedian, Max: t.LagMax},
		Cost:       NewCost(cost),
		Rejected:   t.Rejected,
		StoreBytes: t.Bytes,
		At:         now,
	}
	for _, r := range t.Relays {
		s.Relays.Total += r.Relays
		s.Relays.ByState[r.State] += r.Relays
		s.Relays.ByNetwork[r.Network] += r.Relays
		if s.Relays.Each[r.Network] == nil {
			s.Relays.Each[r.Network] = PerState{}
		}
		s.Relays.Each[r.Network][r.State] += r.Relays
	}
	for _, l := range t.Levels {
		s.Coverage = append(s.Coverage, LevelCoverage(l))
	}
	return s, nil
}

// Claims returns what is proved to be held of several relays, at most MaxPage, as
// their Span counts it.
func (c *Catalogue) Claims(ctx context.Context, ids []store.RelayID) (map[store.RelayID][]store.Coverage, error) {
	if len(ids) > MaxPage {
		return nil, ErrLimit
	}
	claims, err := c.store.Claims(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read coverage: %w", err)
	}
	return claims, nil
}

// Kinds returns the most frequent kinds, most first.
func (c *Catalogue) Kinds(ctx context.Context, limit int) ([]store.KindTotal, error) {
	if limit < 1 || limit > MaxPage {
		return nil, ErrLimit
	}
	kinds, err := c.store.Kinds(ctx, limit)
	if err != nil {
		return nil, fmt.Errorf("read kinds: %w", err)
	}
	return kinds, nil
}

// Days returns the days from lo to hi that have events; a day is created_at
// divided by 86,400.
func (c *Catalogue) Days(ctx context.Context, lo, hi int64) ([]store.DayTotal, error) {
	days, err := c.store.Days(ctx, lo, hi)
	if err != nil {
		return nil, fmt.Errorf("read days: %w", err)
	}
	return days, nil
}

// EventPage is a page of events, newest first.
type EventPage struct {
	Events []json.RawMessage `json:"events" doc:"NIP-01 events or what is kept of them, newest first, ties by lowest id"`
	Next   string            `json:"next,omitempty" doc:"pass as after for the next page; absent at the end"`
}

// Events returns a page of the events that strangers may be served.
func (c *Catalogue) Events(ctx context.Context, filter nostr.Filter, after store.Cursor, limit int) (EventPage, error) {
	if limit < 1 || limit > MaxPage {
		return EventPage{}, ErrLimit
	}
	rows, next, err := c.store.Events(ctx, store.EventQuery{
		Filter: filter, After: after, Limit: limit, Public: true, Now: time.Now().Unix(),
	})
	if err != nil {
		return EventPage{}, fmt.Errorf("read events: %w", err)
	}
	page := EventPage{Events: make([]json.RawMessage, len(rows)), Next: string(next)}
	for i := range rows {
		if page.Events[i], err = eventJSON(&rows[i]); err != nil {
			return EventPage{}, err
		}
	}
	return page, nil
}

// Event returns one event that strangers may be served; store.ErrNotFound when
// it is not archived, or is none.
func (c *Catalogue) Event(ctx context.Context, id nostr.ID) (json.RawMessage, error) {
	page, err := c.Events(ctx, nostr.Filter{IDs: []nostr.ID{id}}, "", 1)
	if err != nil {
		return nil, err
	}
	if len(page.Events) == 0 {
		return nil, store.ErrNotFound
	}
	return page.Events[0], nil
}

// Carrier is a relay that carries an event.
type Carrier struct {
	URL     relay.URL `json:"url" doc:"the canonical URL" example:"wss://relay.example.com"`
	SeenAt  int64     `json:"seen_at" doc:"when it delivered the event first, or named it, Unix seconds" example:"1767229200"`
	Claimed bool      `json:"claimed,omitempty" doc:"that it named the event and has not delivered it"`
	GoneAt  int64     `json:"gone_at,omitempty" doc:"when it was found not to have the event any longer, Unix seconds; absent while it has" example:"1767229200"`
}

// Carriers tells which relays carry an event.
type Carriers struct {
	Relays []Carrier `json:"relays" nullable:"false" doc:"the first one first; empty for an imported event"`
}

// EventRelays returns the relays that carry an event that strangers may be
// served; store.ErrNotFound as Event.
func (c *Catalogue) EventRelays(ctx context.Context, id nostr.ID) (Carriers, error) {
	if _, err := c.Event(ctx, id); err != nil {
		return Carriers{}, err
	}
	carried, err := c.store.EventRelays(ctx, id)
	if err != nil {
		return Carriers{}, fmt.Errorf("read relays of an event: %w", err)
	}
	list := Carriers{Relays: make([]Carrier, len(carried))}
	for i, r := range carried {
		list.Relays[i] = Carrier(r)
	}
	return list, nil
}

// IndexEntry is what an archive that is an index tells of an event that it does
// not keep whole. It has no fields that could be taken for those of the event.
type IndexEntry struct {
	ID        string     `json:"id" pattern:"^[0-9a-f]{64}$" doc:"of the event"`
	PubKey    string     `json:"pubkey" pattern:"^[0-9a-f]{64}$" doc:"public key of the author"`
	CreatedAt int64      `json:"created_at" doc:"Unix seconds, as the author says"`
	Kind      nostr.Kind `json:"kind"`
	IndexOnly bool       `json:"index_only" enum:"true" doc:"that tags, content and signature are not archived"`
}

// eventJSON writes an event as it was signed, or what is kept of it.
func eventJSON(s *store.Stored) (json.RawMessage, error) {
	e := &s.Event
	if !s.IndexOnly {
		return e.AppendJSON(nil), nil
	}
	text, err := json.Marshal(IndexEntry{ID: e.ID.String(), PubKey: e.PubKey.String(), CreatedAt: e.CreatedAt, Kind: e.Kind, IndexOnly: true})
	if err != nil {
		return nil, fmt.Errorf("write an entry of the index: %w", err)
	}
	return text, nil
}

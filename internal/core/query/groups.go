package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"bigbrotr/internal/core/store"
)

// Group counts the relays that have something in common.
type Group struct {
	Key    string `json:"key" doc:"what they have in common; empty: it is not known" example:"DE"`
	Name   string `json:"name,omitempty" doc:"what it is called, for the key of a network (ASN)"`
	Relays int64  `json:"relays" example:"120"`
	Up     int64  `json:"up" doc:"of those, up" example:"97"`
	Events int64  `json:"events" doc:"archived events that they have delivered, summed" example:"2500000"`
}

// Groups are groups of relays.
type Groups struct {
	Groups []Group `json:"groups" nullable:"false" doc:"most relays first, then by key"`
}

// Grouping says what relays are grouped by.
type Grouping string

// The groupings. By NIPs a relay is in several groups.
const (
	ByNetwork  Grouping = "network"
	BySoftware Grouping = "software"
	ByNIP      Grouping = "nips"
	ByCountry  Grouping = "countries"
	ByASN      Grouping = "asns"
)

// keys returns the groups that a relay is in.
func (g Grouping) keys(r *Relay) []string {
	switch g {
	case ByNetwork:
		return []string{string(r.Network)}
	case BySoftware:
		return []string{r.Software}
	case ByNIP:
		return r.NIPs
	case ByCountry:
		return []string{r.Country}
	case ByASN:
		if r.ASN != 0 {
			return []string{strconv.FormatInt(r.ASN, 10)}
		}
	}
	return []string{""}
}

// Groups counts relays, aliases apart, and returns the largest groups.
func (c *Catalogue) Groups(ctx context.Context, by Grouping, limit int) (Groups, error) {
	if limit < 1 || limit > MaxPage {
		return Groups{}, ErrLimit
	}
	now, err := c.directory.get(ctx)
	if err != nil {
		return Groups{}, err
	}
	all := map[string]*Group{}
	for i := range now.byURL {
		r := &now.byURL[i].Relay
		if r.AliasOf != "" {
			continue
		}
		for _, key := range by.keys(r) {
			g := all[key]
			if g == nil {
				g = &Group{Key: key}
				all[key] = g
			}
			if by == ByASN && key != "" {
				g.Name = r.Org
			}
			g.Relays++
			g.Events += r.Events
			if r.State == store.StateUp {
				g.Up++
			}
		}
	}
	list := Groups{Groups: make([]Group, 0, len(all))}
	for _, g := range all {
		list.Groups = append(list.Groups, *g)
	}
	slices.SortFunc(list.Groups, func(a, b Group) int { return cmp.Or(cmp.Compare(b.Relays, a.Relays), cmp.Compare(a.Key, b.Key)) })
	list.Groups = list.Groups[:min(len(list.Groups), limit)]
	return list, nil
}

// Replication says on how many relays events are.
type Replication struct {
	Sampled int64            `json:"sampled" doc:"events that were looked at, drawn evenly; all of a small archive" example:"1000"`
	Mean    float64          `json:"mean" doc:"relays that carry an event, on average" example:"6.4"`
	Spread  []ReplicationRow `json:"spread" nullable:"false" doc:"by ascending number of relays"`
	At      int64            `json:"at" doc:"when this was measured, Unix seconds"`
}

// ReplicationRow counts the events that so many relays carry.
type ReplicationRow struct {
	Relays int64   `json:"relays" doc:"0: imported, or no relay has it any longer" example:"3"`
	Events int64   `json:"events" doc:"of those sampled" example:"120"`
	Share  float64 `json:"share" doc:"of those sampled, 0 to 1" example:"0.12"`
}

const (
	// sampleSize is how many events a measure of what relays carry looks at.
	sampleSize = 1000
	// sampleFresh is for how long it is given.
	sampleFresh = 10 * time.Minute
)

// replication keeps the measure: it costs thousands of looks into indexes.
type replication struct {
	reading chan struct{} // one entry: the right to read and write it
	at      time.Time
	now     Replication
}

// Replication measures on how many relays events are. It may be some minutes
// old, is shared and not to be changed.
func (c *Catalogue) Replication(ctx context.Context) (Replication, error) {
	r := &c.replication
	select {
	case r.reading <- struct{}{}:
		defer func() { <-r.reading }()
	case <-ctx.Done():
		return Replication{}, fmt.Errorf("measure replication: %w", ctx.Err())
	}
	if !r.at.IsZero() && time.Since(r.at) < sampleFresh && r.now.Sampled > 0 {
		return r.now, nil
	}
	carriers, err := c.store.Carriers(ctx, 0, sampleSize)
	if err != nil {
		return Replication{}, fmt.Errorf("measure replication: %w", err)
	}
	r.at = time.Now()
	r.now = Replication{Sampled: int64(len(carriers)), Spread: []ReplicationRow{}, At: r.at.Unix()}
	counts := map[int64]int64{}
	sum := 0
	for _, relays := range carriers {
		counts[int64(len(relays))]++
		sum += len(relays)
	}
	for n, events := range counts {
		r.now.Spread = append(r.now.Spread, ReplicationRow{Relays: n, Events: events, Share: float64(events) / float64(len(carriers))})
	}
	slices.SortFunc(r.now.Spread, func(a, b ReplicationRow) int { return cmp.Compare(a.Relays, b.Relays) })
	if len(carriers) > 0 {
		r.now.Mean = float64(sum) / float64(len(carriers))
	}
	return r.now, nil
}

// MaxOverlap is how many relays may be compared.
const MaxOverlap = 4

// Overlap compares what relays carry, by samples of each.
type Overlap struct {
	Relays []OverlapRow `json:"relays" nullable:"false" doc:"in the order asked for"`
}

// OverlapRow is what is found of the sampled events of a relay.
type OverlapRow struct {
	URL     string    `json:"url"`
	Sampled int64     `json:"sampled" doc:"events that were looked at, drawn evenly; all when there are few"`
	Shares  []float64 `json:"shares" nullable:"false" doc:"of those, the part that each of the relays carries, in their order, 0 to 1"`
	Only    float64   `json:"only" doc:"of those, the part that no other relay of the archive carries"`
	Mean    float64   `json:"mean" doc:"relays that carry one, on average"`
}

// Overlap compares one to MaxOverlap relays.
func (c *Catalogue) Overlap(ctx context.Context, compared []*Relay) (Overlap, error) {
	if len(compared) < 1 || len(compared) > MaxOverlap {
		return Overlap{}, ErrLimit
	}
	out := Overlap{Relays: []OverlapRow{}}
	for _, r := range compared {
		carriers, err := c.store.Carriers(ctx, r.ID, sampleSize)
		if err != nil {
			return Overlap{}, fmt.Errorf("compare relays: %w", err)
		}
		row := OverlapRow{URL: r.URL.String(), Sampled: int64(len(carriers)), Shares: make([]float64, len(compared))}
		for _, ids := range carriers {
			each := 1 / float64(len(carriers))
			for i, other := range compared {
				if slices.Contains(ids, other.ID) {
					row.Shares[i] += each
				}
			}
			if len(ids) <= 1 {
				row.Only += each
			}
			row.Mean += float64(len(ids)) * each
		}
		out.Relays = append(out.Relays, row)
	}
	return out, nil
}

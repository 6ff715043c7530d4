package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// relays are the relays in the set, as of a moment.
type relays struct {
	at      time.Time
	byURL   []entry // by ascending URL
	byID    map[store.RelayID]*Relay
	bySince []*Relay // by when their state began
	alive   Alive
}

type entry struct {
	Relay
	text string // that is searched, in lower case
}

// readDirectory reads what lists tell of the relays into memory: any of their
// columns may be asked for and sorted by, and twenty thousand rows are gone
// through in less time than a database needs for a plan.
func readDirectory(ctx context.Context, st Store) (*relays, error) {
	now := &relays{at: time.Now(), byID: map[store.RelayID]*Relay{}}
	q := store.RelayQuery{Limit: MaxPage}
	aliases := map[int]store.RelayID{} // by index
	for {
		page, err := st.RelaySummaries(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("read relays: %w", err)
		}
		for i := range page {
			r := NewRelay(page[i])
			if page[i].AliasOf != 0 {
				aliases[len(now.byURL)] = page[i].AliasOf
			}
			now.byURL = append(now.byURL, entry{r, strings.ToLower(strings.Join([]string{r.URL.String(), r.Name, r.Software, r.Org, r.City}, "\n"))})
		}
		if len(page) < MaxPage {
			break
		}
		q.After = page[len(page)-1].URL.String()
	}
	for i := range now.byURL {
		r := &now.byURL[i].Relay
		now.byID[r.ID] = r
		now.bySince = append(now.bySince, r)
	}
	slices.SortStableFunc(now.bySince, func(a, b *Relay) int { return cmp.Compare(a.Since, b.Since) })
	for i, id := range aliases {
		if of := now.byID[id]; of != nil {
			now.byURL[i].AliasOf = of.URL.String()
		}
	}
	now.alive = now.newAlive()
	return now, nil
}

// find returns a relay, nil when it is not in the set.
func (n *relays) find(url relay.URL) *Relay {
	i, found := slices.BinarySearchFunc(n.byURL, url.String(), func(e entry, text string) int { return cmp.Compare(e.URL.String(), text) })
	if !found {
		return nil
	}
	return &n.byURL[i].Relay
}

// Run keeps the lists of relays and the figures of the whole fresh while somebody
// asks for them, so that nobody has to wait for them, until ctx ends. Without it
// they are read when they are asked for and old.
func (c *Catalogue) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { c.directory.run(ctx) })
	all.Go(func() { c.stats.run(ctx) })
	all.Go(func() { c.tested.run(ctx) })
	all.Wait()
}

// Alive are the relays that can be opened now.
type Alive struct {
	At     int64        `json:"at" doc:"when this was read, Unix seconds"`
	Stale  bool         `json:"stale,omitempty" doc:"that no relay is up now, so that these are those that were up last"`
	Relays []AliveRelay `json:"relays" nullable:"false" doc:"by ascending URL, each relay under one URL only"`
}

// AliveRelay is a relay that can be opened.
type AliveRelay struct {
	URL     relay.URL     `json:"url" doc:"the canonical URL" example:"wss://relay.example.com"`
	Network relay.Network `json:"network" enum:"clearnet,tor,i2p,loki" example:"clearnet"`
}

// lastUp is how long before the newest success of any relay others are still
// told of when none is up, in seconds.
const lastUp = 3600

// newAlive lists the relays that are up. When there are none, our own network is
// sooner down than all of theirs: then it lists those that were up at the end.
func (n *relays) newAlive() Alive {
	a := Alive{At: n.at.Unix(), Relays: []AliveRelay{}}
	newest := int64(0)
	for i := range n.byURL {
		r := &n.byURL[i].Relay
		newest = max(newest, r.LastUp)
		if r.State == store.StateUp && r.AliasOf == "" {
			a.Relays = append(a.Relays, AliveRelay{r.URL, r.Network})
		}
	}
	if len(a.Relays) > 0 || newest == 0 {
		return a
	}
	a.Stale = true
	for i := range n.byURL {
		if r := &n.byURL[i].Relay; r.LastUp > 0 && r.LastUp >= newest-lastUp && r.AliasOf == "" {
			a.Relays = append(a.Relays, AliveRelay{r.URL, r.Network})
		}
	}
	return a
}

// Alive returns the relays that can be opened now. The list is shared and not to
// be changed; equal pointers mean equal lists.
func (c *Catalogue) Alive(ctx context.Context) (*Alive, error) {
	now, err := c.directory.get(ctx)
	if err != nil {
		return nil, err
	}
	return &now.alive, nil
}

// Due counts the relays, aliases apart, whose turn has come.
type Due struct {
	Checks int64 `json:"checks" doc:"relays to be checked"`
	Reads  int64 `json:"reads" doc:"relays whose events are to be read"`
}

// Due counts the relays whose turn has come.
func (c *Catalogue) Due(ctx context.Context) (Due, error) {
	relays, err := c.directory.get(ctx)
	if err != nil {
		return Due{}, err
	}
	var d Due
	now := time.Now().Unix()
	for i := range relays.byURL {
		r := &relays.byURL[i].Relay
		if r.AliasOf != "" {
			continue
		}
		if r.CheckDue <= now {
			d.Checks++
		}
		if r.SyncDue <= now {
			d.Reads++
		}
	}
	return d, nil
}

// Changed returns the relays whose state began at a time or later, in that order.
// They are shared and not to be changed.
func (c *Catalogue) Changed(ctx context.Context, since int64) ([]*Relay, error) {
	now, err := c.directory.get(ctx)
	if err != nil {
		return nil, err
	}
	i, _ := slices.BinarySearchFunc(now.bySince, since, func(r *Relay, at int64) int { return cmp.Compare(r.Since, at) })
	return now.bySince[i:], nil
}

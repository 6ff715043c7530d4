package query

import (
	"context"
	"fmt"
	"math"
	"time"

	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// Proved says how many seconds of created_at are covered, each by the best level
// that it is proved with.
type Proved struct {
	Walked      int64 `json:"walked" doc:"level 1: every page ended with EOSE"`
	Asserted    int64 `json:"asserted" doc:"level 2: the relay said so (NIP-67)"`
	Counted     int64 `json:"counted" doc:"level 3: an exact COUNT agreed (NIP-45)"`
	Fingerprint int64 `json:"fingerprint" doc:"level 4: negentropy found no difference (NIP-77)"`
}

func (p *Proved) add(r *Relay) {
	for level, sum := range map[store.Level]*int64{
		store.LevelWalked: &p.Walked, store.LevelAsserted: &p.Asserted, store.LevelCounted: &p.Counted, store.LevelFingerprint: &p.Fingerprint,
	} {
		if *sum += r.proved[level]; *sum < 0 {
			*sum = math.MaxInt64
		}
	}
}

// RelayCompleteness is what is proved to be held of a relay.
type RelayCompleteness struct {
	URL      relay.URL     `json:"url" doc:"the canonical URL" example:"wss://relay.example.com"`
	Network  relay.Network `json:"network"`
	State    store.State   `json:"state"`
	Coverage Span          `json:"coverage"`
	Proved   Proved        `json:"proved"`
	Holes    int           `json:"holes" doc:"places where something is known to be missing"`
	Holdings Holdings      `json:"holdings"`
	Held     float64       `json:"held" doc:"share of the ids that the relay named that are archived, 0 to 1; 0 while none are known"`
	Cost     Cost          `json:"cost"`
}

// Completeness returns what is proved to be held of a relay.
func (r *Relay) Completeness() RelayCompleteness {
	c := RelayCompleteness{URL: r.URL, Network: r.Network, State: r.State, Coverage: r.Coverage, Holes: r.Holes, Holdings: r.Holdings, Cost: r.Cost}
	c.Proved.add(r)
	if r.Holdings.Named > 0 {
		c.Held = float64(r.Holdings.Archived) / float64(r.Holdings.Named)
	}
	return c
}

// MissRate is how many events claims were found to lack when parts of them were
// read again.
type MissRate struct {
	Samples int64   `json:"samples" doc:"stretches that were read again"`
	Seen    int64   `json:"seen" doc:"events that relays showed there"`
	Missed  int64   `json:"missed" doc:"of those, not archived until then"`
	Rate    float64 `json:"rate" doc:"missed of seen, 0 to 1"`
	Lo      float64 `json:"lo" doc:"the true rate is above this with 97.5 % confidence"`
	Hi      float64 `json:"hi" doc:"the true rate is below this with 97.5 % confidence"`
}

func newMissRate(t store.SampleTotal) MissRate {
	m := MissRate{Samples: t.Samples, Seen: t.Seen, Missed: t.Missed}
	m.Rate, m.Lo, m.Hi = t.Rate()
	return m
}

// Tails are the figures of all live subscriptions.
type Tails struct {
	Standing  int64 `json:"standing" doc:"relays of which what arrives is received live"`
	Proved    int64 `json:"proved" doc:"of those, whose arrivals were found to come whole"`
	LagMedian int64 `json:"lag_median_seconds"`
	LagMax    int64 `json:"lag_max_seconds"`
	Gaps      int64 `json:"arrival_gaps" doc:"times in which arrivals may have been missed and that are not proved since"`
	GapRelays int64 `json:"arrival_gap_relays" doc:"relays that have one"`
}

// Completeness is what is proved to be held, of all relays and of each.
type Completeness struct {
	Relays   int64               `json:"relays" doc:"in the set, aliases apart"`
	Covered  int64               `json:"covered" doc:"of those, of which anything is proved"`
	Whole    int64               `json:"whole" doc:"of those, without a gap or hole in between"`
	Proved   Proved              `json:"proved" doc:"summed over relays"`
	Oldest   int64               `json:"oldest_as_of" doc:"the oldest time at which a claim was true, Unix seconds; 0 when there is none"`
	Newest   int64               `json:"newest_as_of" doc:"the newest of the oldest times of each relay"`
	Holes    int64               `json:"holes"`
	Holdings Holdings            `json:"holdings" doc:"summed over relays with sums"`
	Old      MissRate            `json:"old_claims" doc:"of stretches that were claimed long ago"`
	Live     MissRate            `json:"live_claims" doc:"of what arrived while a live subscription stood"`
	Tails    Tails               `json:"tails"`
	Cost     Cost                `json:"cost" doc:"of all relays"`
	Each     []RelayCompleteness `json:"each" nullable:"false" doc:"by ascending URL"`
	Next     string              `json:"next,omitempty" doc:"pass as after for the next page; absent at the end"`
	At       int64               `json:"at" doc:"when this was read, Unix seconds"`
}

// Completeness returns the totals and a page of relays by ascending URL.
func (c *Catalogue) Completeness(ctx context.Context, after string, limit int) (Completeness, error) {
	page, err := c.Relays(ctx, RelayQuery{After: after, Limit: limit, Canonical: true})
	if err != nil {
		return Completeness{}, err
	}
	now, err := c.directory.get(ctx)
	if err != nil {
		return Completeness{}, err
	}
	out := Completeness{Each: make([]RelayCompleteness, len(page.Relays)), Next: page.Next, At: now.at.Unix()}
	for i := range page.Relays {
		out.Each[i] = page.Relays[i].Completeness()
	}
	for i := range now.byURL {
		if r := &now.byURL[i].Relay; r.AliasOf == "" {
			out.add(r)
		}
	}
	tested, err := c.tested.get(ctx)
	if err != nil {
		return Completeness{}, err
	}
	out.Old, out.Live, out.Tails, out.Cost = tested.old, tested.live, tested.tails, tested.cost
	return out, nil
}

// tested is what claims and live subscriptions were found to be worth, and what
// they cost, of all relays.
type tested struct {
	old, live MissRate
	tails     Tails
	cost      Cost
}

func readTested(ctx context.Context, st Store) (t tested, err error) {
	for _, s := range []struct {
		kind store.SampleKind
		to   *MissRate
	}{{store.SampleOld, &t.old}, {store.SampleTail, &t.live}} {
		total, err := st.SampleTotal(ctx, 0, s.kind)
		if err != nil {
			return t, fmt.Errorf("read samples: %w", err)
		}
		*s.to = newMissRate(total)
	}
	tails, err := st.TailTotals(ctx, time.Now().Unix())
	if err != nil {
		return t, fmt.Errorf("read tails: %w", err)
	}
	t.tails = Tails(tails)
	cost, err := st.CostTotal(ctx)
	if err != nil {
		return t, fmt.Errorf("read costs: %w", err)
	}
	t.cost = NewCost(cost)
	return t, nil
}

// add adds a relay to the totals.
func (c *Completeness) add(r *Relay) {
	c.Relays++
	c.Holes += int64(r.Holes)
	h := &c.Holdings
	h.Named, h.Archived, h.Withheld = h.Named+r.Holdings.Named, h.Archived+r.Holdings.Archived, h.Withheld+r.Holdings.Withheld
	h.Refused, h.Gone = h.Refused+r.Holdings.Refused, h.Gone+r.Holdings.Gone
	if r.Coverage.Seconds == 0 {
		return
	}
	c.Covered++
	if r.Coverage.Gaps == 0 && r.Holes == 0 {
		c.Whole++
	}
	c.Proved.add(r)
	if c.Oldest == 0 || r.Coverage.AsOf < c.Oldest {
		c.Oldest = r.Coverage.AsOf
	}
	c.Newest = max(c.Newest, r.Coverage.AsOf)
}

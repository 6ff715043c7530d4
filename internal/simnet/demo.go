package simnet

import (
	"fmt"
	"math/rand/v2"
	"time"

	"bigbrotr/internal/core/nostr"
)

// Demo starts a network that shows most of what relays do within a few
// thousand events: overlapping contents, caps, private kinds, what proves each
// level of completeness (a hint, counts, negentropy), a second with more events
// than a page, forgeries, failures now and then, and an address at which nobody
// is. Every visible event can be archived. The events lie in the 90 days before
// until. There are at least ten relays, and beyond the odd ones all are correct.
func Demo(seed uint64, relays, events int, until time.Time) (*Network, error) {
	n := New(seed)
	if err := n.demo(relays, events, until.Unix()); err != nil {
		n.Close()
		return nil, fmt.Errorf("start demo network: %w", err)
	}
	return n, nil
}

const (
	demoDays  = 90
	day       = 86_400
	demoBurst = 1_500 // more than three pages of 500
)

func (n *Network) demo(relays, events int, until int64) error {
	behaviours := demoBehaviours()
	for len(behaviours) < relays-1 {
		behaviours = append(behaviours, Behaviour{Cap: 500})
	}
	for _, b := range behaviours {
		if _, err := n.AddRelay(b); err != nil {
			return err
		}
	}
	if _, err := n.AddDead(); err != nil {
		return err
	}
	plan := Plan{Seed: n.seed, Count: events, Since: until - demoDays*day, Until: until, Relays: n.URLs()}
	n.Spread(Generate(plan), 4.7)

	all := n.Relays()
	plan.Count, plan.Authors = demoBurst, max(events/8, 4)
	plan.Since = until - 30*day
	plan.Until = plan.Since
	all[denseRelay].Add(Generate(plan)...)

	plan.Count, plan.Since, plan.Until = 60, until-demoDays*day, until
	plan.Kinds = []nostr.Kind{1}
	for i, e := range Generate(plan) {
		all[forgingRelay].Add([]func(*Event) *Event{ForgeID, ForgeText, ForgeSig}[i%3](e))
	}
	return nil
}

// The places of relays with special contents in demoBehaviours.
const (
	denseRelay   = 3
	forgingRelay = 4
)

func demoBehaviours() []Behaviour {
	return []Behaviour{
		{Cap: 500, Hints: true, Count: CountExact, Compress: true},
		{Cap: 500, Order: NewestLatest, Restricted: []nostr.Kind{4, 1059}, PostFilter: true, Count: CountExact, Compress: true},
		{Cap: 300, Compress: true, Negentropy: Negentropy{As: NegHonest}},
		denseRelay:   {Cap: 500, Count: CountExact},
		forgingRelay: {Cap: 250},
		{Cap: 500, Faults: []Fault{{What: NoticeEOSE, When: When{Every: 5}}}},
		{Cap: 100, Latency: 20 * time.Millisecond},
		{Cap: 500, Order: OldestFirst},
		{Cap: 500, Faults: []Fault{{What: Closed, When: When{Every: 4}, N: 40}}},
		{Cap: 500, Faults: []Fault{{What: Reset, When: When{Every: 6}, N: 25}}},
		{Cap: 200, Restricted: []nostr.Kind{4, 1059}, Faults: []Fault{{What: Refuse, When: When{First: 1}}}},
	}
}

// Hostile draws a behaviour for property tests. Faults strike on some occasions
// only, so that a patient client gets to everything in the end, and none of
// them is one that no client could notice: those would make any claim a guess.
func Hostile(rng *rand.Rand) Behaviour {
	var b Behaviour
	coin := func(percent int) bool { return rng.IntN(100) < percent }
	if coin(80) {
		b.Cap = []int{5, 10, 25, 50, 100, 500}[rng.IntN(6)]
	}
	if coin(20) {
		b.DefaultLimit = 1 + rng.IntN(20)
	}
	b.RefuseOverCap = coin(10)
	if coin(40) {
		b.Order = []Order{NewestLatest, OldestFirst, Shuffled, ByID}[rng.IntN(4)]
	}
	b.ExclusiveUntil = coin(10)
	b.IgnoreSince = coin(10)
	b.IgnoreUntil = coin(5)
	b.IgnoreLimit = coin(10)
	if coin(15) {
		b.Flood = 1 + rng.IntN(20)
	}
	if coin(30) {
		b.Restricted = []nostr.Kind{4, 1059}
		b.PostFilter = coin(60)
	}
	if coin(5) {
		b.Broad = []Broad{BroadOpen, BroadAuthorless}[rng.IntN(2)]
	}
	b.Auth = coin(3)
	if coin(10) {
		b.Rate = Rate{Requests: 5 + rng.IntN(50)}
	}
	if coin(30) {
		b.RefuseAs = []Refusal{RefuseNotice, RefuseNoticeEOSE}[rng.IntN(2)]
	}
	b.Hints = coin(20)
	b.Count = []Count{CountNever, CountNotice, CountClosed, CountExact, CountApproximate, CountWrong}[rng.IntN(6)]
	b.Compress = coin(50)
	for range rng.IntN(4) {
		f := hostileFaults[rng.IntN(len(hostileFaults))]
		if coin(50) {
			f.When = When{Every: 2 + rng.IntN(6)}
		} else {
			f.When = When{Chance: 0.05 + rng.Float64()/3}
		}
		b.Faults = append(b.Faults, f)
	}
	if coin(60) {
		b.Negentropy = hostileNegentropy(rng)
	}
	if coin(20) {
		b.MostAuthors = []int{1, 20, 100}[rng.IntN(3)]
	}
	b.Admits = []Admission{AdmitAll, AdmitNone, AdmitMembers}[rng.IntN(3)]
	b.Parties = len(b.Restricted) > 0 && coin(30)
	return b
}

// hostileNegentropy draws how NIP-77 is answered by a relay that knows of it.
func hostileNegentropy(rng *rand.Rand) Negentropy {
	coin := func(percent int) bool { return rng.IntN(100) < percent }
	n := Negentropy{As: NegHonest}
	if coin(25) {
		odd := []Negotiation{NegClosed, NegSilent, NegDisabled, NegNoDiff, NegNothing, NegEcho, NegGarbage, NegEndless, NegVersion}
		n.As = odd[rng.IntN(len(odd))]
	}
	if coin(20) {
		n.Newest = 1 + rng.IntN(200)
	}
	if coin(20) {
		n.Most = int64(20 + rng.IntN(300))
		n.TooMany = []TooMany{TooManyStated, TooManyWords, TooManyOld, TooManyClosed}[rng.IntN(4)]
	}
	n.Restricted = coin(50)
	if coin(20) {
		n.Phantoms = 1 + rng.IntN(50)
	}
	if coin(30) {
		n.Frame = 512 + rng.IntN(4096)
	}
	if coin(30) {
		f := Fault{What: []What{Stall, Reset, Notice, Forget}[rng.IntN(4)], When: When{Every: 2 + rng.IntN(4)}}
		n.Faults = append(n.Faults, f)
	}
	return n
}

var hostileFaults = []Fault{
	{What: Refuse},
	{What: Status, N: 503},
	{What: Silent},
	{What: Echo},
	{What: Notice},
	{What: NoticeEOSE},
	{What: NoticeOnly},
	{What: Closed},
	{What: Closed, N: 3},
	{What: Closed, N: 7, Text: "rate-limited: wait"},
	{What: Closed, N: 2, Text: "no"},
	{What: NoEOSE},
	{What: Stall},
	{What: Stall, N: 4},
	{What: Reset},
	{What: Reset, N: 5},
	{What: Leave, N: 1},
	{What: BadFrame, N: 2},
	{What: Outside, N: 3},
	{What: Duplicates, N: 5},
	{What: Late, N: 2},
	{What: Stray, N: 2},
	{What: Garbage, N: 3},
	{What: Oversize, N: 6 << 20},
	{What: Bomb, N: 20 << 20},
}

package query

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"sort"
	"strings"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
)

// Relay is what lists tell of a relay. What its documents say is untrusted text.
type Relay struct {
	ID         store.RelayID `json:"-"`
	URL        relay.URL     `json:"url" doc:"the canonical URL" example:"wss://relay.example.com"`
	Network    relay.Network `json:"network" example:"clearnet"`
	AliasOf    string        `json:"alias_of,omitempty" doc:"the URL of the relay that this is another URL of"`
	State      store.State   `json:"state" enum:"new,up,degraded,down,dead" example:"up"`
	Since      int64         `json:"since" doc:"when the state began, Unix seconds" example:"1767225600"`
	Cause      string        `json:"cause,omitempty" doc:"why it is not up" example:"tcp_refused"`
	Name       string        `json:"name,omitempty" doc:"as its NIP-11 document says" example:"Example relay"`
	Software   string        `json:"software,omitempty" doc:"as its NIP-11 document says" example:"https://example.com/relay"`
	Version    string        `json:"version,omitempty" doc:"as its NIP-11 document says" example:"1.2.0"`
	NIPs       []string      `json:"nips,omitempty" doc:"supported, as its NIP-11 document says" example:"[\"1\",\"11\"]"`
	Auth       bool          `json:"auth,omitempty" doc:"that it requires authentication, as its NIP-11 document says or we met"`
	Payment    bool          `json:"payment,omitempty" doc:"that it requires payment, as its NIP-11 document says"`
	Restricted bool          `json:"restricted_writes,omitempty" doc:"that not everybody may write, as its NIP-11 document says"`
	Country    string        `json:"country,omitempty" doc:"ISO 3166-1, two letters; absent for anycast addresses and other networks" example:"DE"`
	City       string        `json:"city,omitempty"`
	ASN        int64         `json:"asn,omitempty" doc:"number of the network that its address is of"`
	Org        string        `json:"org,omitempty" doc:"whose network that is"`
	Lat        float64       `json:"lat,omitempty" doc:"degrees, where the city is known"`
	Lon        float64       `json:"lon,omitempty"`
	Uptime     float64       `json:"uptime" doc:"share of the watched time of 30 days in which it could be opened, 0 to 1" example:"0.998"`
	Watched    int64         `json:"watched" doc:"that time in seconds; 0: nothing is known" example:"2592000"`
	OpenMS     float64       `json:"open_ms,omitempty" doc:"time to open, newest success" example:"84.2"`
	ReadMS     float64       `json:"read_ms,omitempty" doc:"time to the end of a small answer, newest success" example:"31.7"`
	OpenP95    float64       `json:"open_p95,omitempty" doc:"of 30 days, milliseconds" example:"120.4"`
	ReadP95    float64       `json:"read_p95,omitempty" doc:"of 30 days, milliseconds" example:"61.2"`
	CheckedAt  int64         `json:"checked_at" doc:"Unix seconds; 0 when never" example:"1767229200"`
	LastUp     int64         `json:"last_up" doc:"Unix seconds; 0 when never" example:"1767229200"`
	FirstSeen  int64         `json:"first_seen" doc:"when it was first mentioned, Unix seconds" example:"1735689600"`
	PromotedAt int64         `json:"promoted_at" doc:"when it was first proved to be a relay, Unix seconds" example:"1735689600"`
	Events     int64         `json:"events" doc:"archived events it has delivered" example:"250000"`
	Coverage   Span          `json:"coverage"`
	Holes      int           `json:"holes" doc:"places where something is known to be missing"`
	MaxLimit   int           `json:"largest_page,omitempty" doc:"the most events it ever gave in one answer" example:"500"`
	Holdings   Holdings      `json:"holdings"`
	Cost       Cost          `json:"cost"`
	SyncDue    int64         `json:"-"`
	CheckDue   int64         `json:"-"`

	proved [store.LevelFingerprint + 1]int64
}

// Span is what is covered of a relay.
type Span struct {
	Partly  bool        `json:"partly,omitempty" doc:"whether nothing is claimed of the relay as a whole, but of lists of kinds or authors or of configured filters"`
	Lo      int64       `json:"lo" doc:"lowest second covered; lo and hi are 0 when none is" example:"1672531200"`
	Hi      int64       `json:"hi" doc:"highest second covered" example:"1767229100"`
	Seconds int64       `json:"seconds" doc:"how many are covered" example:"94697900"`
	Level   store.Level `json:"level" doc:"the weakest proof in between" example:"1"`
	Gaps    int         `json:"gaps" doc:"uncovered stretches in between"`
	AsOf    int64       `json:"as_of" doc:"the oldest time at which a part was true" example:"1767229100"`
}

// Holdings says how ids stand at a relay. Sums are kept of relays that ids were
// compared with by negentropy (NIP-77); of others named is 0.
type Holdings struct {
	Named    int64 `json:"named" doc:"ids that the relay has, by our sums; 0 while none are kept" example:"250010"`
	Archived int64 `json:"archived" doc:"of those, archived: delivered by it, or claimed by it and archived from elsewhere" example:"250000"`
	Withheld int64 `json:"withheld" doc:"of those, named by the relay and not delivered" example:"7"`
	Refused  int64 `json:"refused" doc:"of those, not to be archived" example:"3"`
	Gone     int64 `json:"gone" doc:"archived, and no longer had by the relay; seconds behind" example:"12"`
}

// NewRelay shapes what the store knows of a relay.
func NewRelay(r store.RelaySummary) Relay {
	h := Holdings{Named: r.Named, Withheld: r.Withheld, Refused: r.Refused}
	if r.Named > 0 {
		h.Archived = max(r.Named-r.Withheld-r.Refused, 0)
		h.Gone = max(r.Events-h.Archived, 0)
	}
	var seconds int64
	for _, n := range r.Proved {
		if seconds += n; seconds < 0 {
			seconds = math.MaxInt64
			break
		}
	}
	return Relay{
		ID: r.ID, URL: r.URL, Network: r.URL.Network(), State: r.State, Since: r.StateSince, Cause: string(r.Cause),
		Name: r.Name, Software: r.Software, Version: r.Version, NIPs: r.NIPs,
		Auth: r.Auth || r.Cause == dial.CauseReadAuth, Payment: r.Payment, Restricted: r.Restricted,
		Country: r.Country, City: r.City, ASN: r.ASN, Org: r.Org, Lat: r.Lat, Lon: r.Lon,
		Uptime: r.Month.Up, Watched: r.Month.Watched, OpenMS: r.OpenMS, ReadMS: r.ReadMS, OpenP95: r.OpenP95, ReadP95: r.ReadP95,
		CheckedAt: r.CheckedAt, LastUp: r.LastUp, FirstSeen: r.FirstSeen, PromotedAt: r.PromotedAt, Events: r.Events,
		Coverage: Span{Partly: r.Partly, Lo: r.Lo, Hi: r.Hi, Seconds: seconds, Level: r.Level, Gaps: r.Gaps, AsOf: r.AsOf},
		Holes:    r.Holes, MaxLimit: r.MaxLimit, Holdings: h, Cost: NewCost(r.Cost), SyncDue: r.SyncDue, CheckDue: r.CheckDue, proved: r.Proved,
	}
}

// Point is a place on earth, in degrees.
type Point struct{ Lat, Lon float64 }

// RelayQuery asks for relays. What is empty, nil or 0 asks for nothing.
type RelayQuery struct {
	Network   relay.Network
	States    []store.State // one of these
	Country   string        // two letters, in any case
	ASN       int64
	Software  string   // is in the software or its version, in any case
	NIPs      []string // all of these, as Relay has them
	Auth      *bool
	Payment   *bool
	Uptime    float64 // at least, of watched relays
	OpenP95   float64 // at most, of relays that have one
	Text      string  // every word of it is in the URL, name, software, network or city
	Canonical bool    // no aliases
	Covered   *bool   // whether anything is proved to be held
	Near      *Point
	Within    float64 // of Near, in kilometres; 0: anywhere that is known
	Sort      []Order // then by ascending URL
	After     string  // Next of the page before
	Limit     int     // 1 to MaxPage
}

// Order is a column to sort by.
type Order struct {
	Column  string // of Columns
	Falling bool
}

// value is what a relay is sorted by: texts before numbers.
type value struct {
	Text   string  `json:"t,omitempty"`
	Number float64 `json:"n,omitempty"`
}

func (v value) compare(o value) int {
	return cmp.Or(cmp.Compare(v.Text, o.Text), cmp.Compare(v.Number, o.Number))
}

// distance is the column that needs RelayQuery.Near.
const distance = "distance"

var columns = map[string]func(*Relay) value{
	"url":        func(r *Relay) value { return value{Text: r.URL.String()} },
	"name":       func(r *Relay) value { return value{Text: strings.ToLower(r.Name)} },
	"network":    func(r *Relay) value { return value{Text: string(r.Network)} },
	"state":      func(r *Relay) value { return value{Number: float64(slices.Index(states, r.State))} },
	"software":   func(r *Relay) value { return value{Text: strings.ToLower(r.Software + " " + r.Version)} },
	"country":    func(r *Relay) value { return value{Text: r.Country} },
	"asn":        func(r *Relay) value { return value{Number: float64(r.ASN)} },
	"uptime":     func(r *Relay) value { return value{Number: r.Uptime} },
	"open":       func(r *Relay) value { return value{Number: r.OpenMS} },
	"open_p95":   func(r *Relay) value { return value{Number: r.OpenP95} },
	"read":       func(r *Relay) value { return value{Number: r.ReadMS} },
	"events":     func(r *Relay) value { return value{Number: float64(r.Events)} },
	"coverage":   func(r *Relay) value { return value{Number: float64(r.Coverage.Seconds)} },
	"covered":    func(r *Relay) value { return value{Number: float64(min(r.Coverage.Seconds, 1))} },
	"level":      func(r *Relay) value { return value{Number: float64(r.Coverage.Level)} },
	"gaps":       func(r *Relay) value { return value{Number: float64(r.Coverage.Gaps)} },
	"as_of":      func(r *Relay) value { return value{Number: float64(r.Coverage.AsOf)} },
	"withheld":   func(r *Relay) value { return value{Number: float64(r.Holdings.Withheld)} },
	"holes":      func(r *Relay) value { return value{Number: float64(r.Holes)} },
	"first_seen": func(r *Relay) value { return value{Number: float64(r.FirstSeen)} },
	"promoted":   func(r *Relay) value { return value{Number: float64(r.PromotedAt)} },
	"since":      func(r *Relay) value { return value{Number: float64(r.Since)} },
	"last_up":    func(r *Relay) value { return value{Number: float64(r.LastUp)} },
	"checked":    func(r *Relay) value { return value{Number: float64(r.CheckedAt)} },

	"bytes_per_new":    func(r *Relay) value { return value{Number: perNew(&r.Cost, r.Cost.Bytes)} },
	"requests_per_new": func(r *Relay) value { return value{Number: perNew(&r.Cost, r.Cost.Requests)} },
	"duplicates":       func(r *Relay) value { return value{Number: r.Cost.Duplicates} },
}

// perNew is what orders relays by what a new event costs: what has brought nothing
// new is not cheap, and what was never read comes last.
func perNew(c *Cost, spent int64) float64 {
	if c.Since == 0 {
		return math.MaxFloat64
	}
	return float64(spent) / float64(max(1, c.New))
}

// states are in the order of health.
var states = []store.State{store.StateUp, store.StateDegraded, store.StateDown, store.StateDead, store.StateNew}

// Columns returns the names that Order.Column may have, in order.
func Columns() []string {
	names := []string{distance}
	for name := range columns {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// maxOrders is how many columns one question may sort by.
const maxOrders = 4

// ErrSort is returned for an order that there is not.
var ErrSort = errors.New("not an order: up to four columns, and distance only near a place")

// orders returns what the values of a relay are made by.
func (q *RelayQuery) orders() ([]func(*Relay) value, error) {
	if len(q.Sort) > maxOrders {
		return nil, ErrSort
	}
	var list []func(*Relay) value
	for _, o := range q.Sort {
		column := columns[o.Column]
		if o.Column == distance && q.Near != nil {
			column = func(r *Relay) value { return value{Number: kilometres(*q.Near, Point{r.Lat, r.Lon})} }
		}
		if column == nil {
			return nil, ErrSort
		}
		list = append(list, column)
	}
	return list, nil
}

// wants tells whether the query asks for a relay. The words and the software that
// it names are in lower case.
func (q *RelayQuery) wants(e *entry, words []string, software string) bool {
	r := &e.Relay
	switch {
	case q.Network != "" && r.Network != q.Network,
		len(q.States) > 0 && !slices.Contains(q.States, r.State),
		q.Country != "" && !strings.EqualFold(r.Country, q.Country),
		q.ASN != 0 && r.ASN != q.ASN,
		q.Auth != nil && r.Auth != *q.Auth,
		q.Payment != nil && r.Payment != *q.Payment,
		q.Uptime > 0 && (r.Watched == 0 || r.Uptime < q.Uptime),
		q.OpenP95 > 0 && (r.OpenP95 == 0 || r.OpenP95 > q.OpenP95),
		q.Covered != nil && (r.Coverage.Seconds > 0) != *q.Covered,
		q.Canonical && r.AliasOf != "":
		return false
	}
	if software != "" && !strings.Contains(strings.ToLower(r.Software+" "+r.Version), software) {
		return false
	}
	for _, nip := range q.NIPs {
		if !slices.Contains(r.NIPs, nip) {
			return false
		}
	}
	for _, word := range words {
		if !strings.Contains(e.text, word) {
			return false
		}
	}
	if q.Near != nil {
		if r.Lat == 0 && r.Lon == 0 || q.Within > 0 && kilometres(*q.Near, Point{r.Lat, r.Lon}) > q.Within {
			return false
		}
	}
	return true
}

// kilometres is the distance of two places along a great circle.
func kilometres(a, b Point) float64 {
	const radius, degree = 6371, math.Pi / 180
	sin := func(degrees float64) float64 { s := math.Sin(degrees * degree / 2); return s * s }
	h := sin(b.Lat-a.Lat) + math.Cos(a.Lat*degree)*math.Cos(b.Lat*degree)*sin(b.Lon-a.Lon)
	return 2 * radius * math.Asin(math.Sqrt(min(h, 1)))
}

// RelayPage is a page of relays.
type RelayPage struct {
	Relays []Relay `json:"relays" nullable:"false" doc:"in the order asked for, then by ascending URL"`
	Next   string  `json:"next,omitempty" doc:"pass as after for the next page; absent at the end"`
}

// place is where a relay is in an order.
type place struct {
	Order  string  `json:"o"` // the order that it is a place of
	Values []value `json:"v"`
	URL    string  `json:"u"`
}

func (q *RelayQuery) orderText() string {
	var b strings.Builder
	for _, o := range q.Sort {
		b.WriteString(o.Column)
		if o.Falling {
			b.WriteByte('-')
		}
		b.WriteByte(',')
	}
	return b.String()
}

// hit is a relay that a query asks for, and what it is sorted by.
type hit struct {
	values [maxOrders]value
	url    string
	relay  *Relay
}

// compare compares hits in the order of a query.
func (q *RelayQuery) compare(a, b *hit) int {
	for i, o := range q.Sort {
		c := a.values[i].compare(b.values[i])
		if o.Falling {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(a.url, b.url)
}

// next is the text of a place: its URL, where that is the order.
func (q *RelayQuery) next(p *place) string {
	if len(q.Sort) == 0 {
		return p.URL
	}
	text, err := json.Marshal(p)
	if err != nil {
		return p.URL // no value of ours is infinite
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// after reads what next wrote.
func (q *RelayQuery) after() (*place, error) {
	if q.After == "" {
		return nil, nil
	}
	p := place{URL: q.After}
	if len(q.Sort) > 0 {
		text, err := base64.RawURLEncoding.DecodeString(q.After)
		if err != nil || json.Unmarshal(text, &p) != nil || p.Order != q.orderText() || len(p.Values) != len(q.Sort) {
			return nil, store.ErrCursor
		}
	}
	// Whether a relay may be local was decided when it was taken.
	url, err := (relay.Rules{AllowLocal: true}).Parse(p.URL)
	if err != nil || url.String() != p.URL {
		return nil, store.ErrCursor
	}
	return &p, nil
}

// Relays returns a page of relays, which may be some seconds old. For a cursor
// that is not the Next of a page of the same order the error is
// store.ErrCursor.
func (c *Catalogue) Relays(ctx context.Context, q RelayQuery) (RelayPage, error) {
	if q.Limit < 1 || q.Limit > MaxPage {
		return RelayPage{}, ErrLimit
	}
	orders, err := q.orders()
	if err != nil {
		return RelayPage{}, err
	}
	after, err := q.after()
	if err != nil {
		return RelayPage{}, err
	}
	now, err := c.directory.get(ctx)
	if err != nil {
		return RelayPage{}, err
	}
	var hits []hit // the first ones, in order, one more than are asked for
	var from hit
	if after != nil {
		from = hit{url: after.URL}
		copy(from.values[:], after.Values)
	}
	words, software := strings.Fields(strings.ToLower(q.Text)), strings.ToLower(q.Software)
	for i := range now.byURL {
		e := &now.byURL[i]
		if !q.wants(e, words, software) {
			continue
		}
		h := hit{url: e.URL.String(), relay: &e.Relay}
		for i, column := range orders {
			h.values[i] = column(&e.Relay)
		}
		if after != nil && q.compare(&h, &from) <= 0 {
			continue
		}
		if len(hits) > q.Limit {
			if q.compare(&h, &hits[q.Limit]) >= 0 {
				if len(q.Sort) == 0 {
					break // the directory is in this order
				}
				continue
			}
			hits = hits[:q.Limit]
		}
		at := sort.Search(len(hits), func(i int) bool { return q.compare(&hits[i], &h) >= 0 })
		hits = slices.Insert(hits, at, h)
	}
	page := RelayPage{Relays: make([]Relay, min(len(hits), q.Limit))}
	for i := range page.Relays {
		page.Relays[i] = *hits[i].relay
	}
	if len(hits) > q.Limit {
		last := &hits[q.Limit-1]
		page.Next = q.next(&place{Order: q.orderText(), Values: last.values[:len(orders)], URL: last.url})
	}
	return page, nil
}

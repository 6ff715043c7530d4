package synchronizer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/simnet"
)

// fact is an event of the model.
type fact struct {
	raw   []byte
	event nostr.Event
}

// modelNow is when the model's tests run: the same seed must give the same case.
var modelNow = time.Unix(1_795_586_762, 0)

// pool is what relays of the model hold parts of: events over years, over the
// last days, and many in single seconds, of many kinds and of one.
var pool = sync.OnceValue(func() []fact {
	now := modelNow.Unix()
	return generate(
		simnet.Plan{Count: 120, Since: now - 3*365*86400, Until: now - 4*86400},
		simnet.Plan{Count: 60, Since: now - 30*86400, Until: now - 20*86400},
		simnet.Plan{Count: 40, Since: now - 2*86400, Until: now - 60},
		simnet.Plan{Count: 40, Since: now - 20*86400, Until: now - 20*86400, Kinds: []nostr.Kind{0, 1, 3, 5, 6, 7, 1111, 30023}},
		simnet.Plan{Count: 40, Since: now - 40*86400, Until: now - 40*86400, Kinds: []nostr.Kind{1}},
		simnet.Plan{Count: 40, Since: now - 50*86400, Until: now - 50*86400 + 3600, Kinds: []nostr.Kind{1059}},
		simnet.Plan{Count: 10, Since: now - 60*86400, Until: now - 60*86400, Kinds: []nostr.Kind{70000, 1}},
		simnet.Plan{Count: 16, Since: now + 100, Until: now + 5000},
	)
})

func generate(plans ...simnet.Plan) []fact {
	var out []fact
	for i, p := range plans {
		p.Seed = uint64(i + 1)
		for _, e := range simnet.Generate(p) {
			event := e.Parse()
			out = append(out, fact{raw: event.AppendJSON(nil), event: event})
		}
	}
	return out
}

// model is a relay in memory, with everything that a page may do to a client.
type model struct {
	rng    *rand.Rand
	facts  []fact
	sent   int
	late   map[string]session.Late
	closed bool

	limit      int
	order      store.PageOrder
	byID       bool
	postFilter bool
	refusePriv bool
	openBroad  bool
	exclusive  bool
	exSince    bool // since is exclusive, as in eventstore's slicestore
	openLimit  int  // a lower limit for filters that name nothing
	huge       bool // some events are larger than a client reads
	noSince    bool
	noUntil    bool
	noLimit    bool
	overRefuse bool
	hints      bool
	counts     bool
	faults     float64 // how often something goes wrong
	later      time.Duration
	neg        negModel
	// twist, if there is one, changes an answer.
	twist func(f nostr.Filter, out *session.Page, page []fact) []fact
}

var private = []nostr.Kind{4, 1059}

func (m *model) now() time.Time { return modelNow.Add(m.later) }

func (m *model) visible(f *fact) bool {
	return !(m.postFilter || m.refusePriv) || !slices.Contains(private, f.event.Kind)
}

func (m *model) matching(f nostr.Filter) []fact {
	if m.noSince {
		f.Since = nil
	}
	if m.noUntil {
		f.Until = nil
	}
	if m.exclusive && f.Until != nil {
		u := *f.Until - 1
		f.Until = &u
	}
	if m.exSince && f.Since != nil {
		u := *f.Since + 1
		f.Since = &u
	}
	var out []fact
	for i := range m.facts {
		if f.Matches(&m.facts[i].event) && (m.postFilter || m.visible(&m.facts[i])) {
			out = append(out, m.facts[i])
		}
	}
	return out
}

func (m *model) refuses(f nostr.Filter) string {
	open := len(f.IDs)+len(f.Kinds)+len(f.Authors)+len(f.Tags) == 0
	switch {
	case m.openBroad && open:
		return "blocked"
	case m.overRefuse && m.limit > 0 && *f.Limit > m.limit:
		return "invalid"
	case m.refusePriv && len(f.Kinds) > 0 && !slices.ContainsFunc(f.Kinds, func(k nostr.Kind) bool { return !slices.Contains(private, k) }):
		return "restricted"
	}
	return ""
}

func (m *model) page(f nostr.Filter) (page []fact, all bool) {
	page = m.matching(f)
	before := len(page)
	switch {
	case m.byID:
		slices.SortFunc(page, func(a, b fact) int { return slices.Compare(a.event.ID[:], b.event.ID[:]) })
	case m.order == store.OrderOldest:
		slices.SortStableFunc(page, func(a, b fact) int { return int(a.event.CreatedAt - b.event.CreatedAt) })
	default:
		slices.SortStableFunc(page, func(a, b fact) int { return int(b.event.CreatedAt - a.event.CreatedAt) })
	}
	n := len(page)
	if !m.noLimit {
		n = min(n, *f.Limit)
	}
	if m.limit > 0 {
		n = min(n, m.limit)
	}
	if m.openLimit > 0 && len(f.IDs)+len(f.Kinds)+len(f.Authors)+len(f.Tags) == 0 {
		n = min(n, m.openLimit)
	}
	page = page[:n]
	if m.order == store.OrderUnsorted && !m.byID {
		m.rng.Shuffle(len(page), func(i, j int) { page[i], page[j] = page[j], page[i] })
	}
	page = slices.DeleteFunc(slices.Clone(page), func(f fact) bool { return !m.visible(&f) })
	return page, n == before
}

var errGone = errors.New("asked after the connection was lost")

func (m *model) Req(ctx context.Context, f nostr.Filter, visit func([]byte) error) (session.Page, error) {
	if m.closed {
		return session.Page{}, errGone
	}
	m.sent++
	out := session.Page{Sub: strconv.Itoa(m.sent), SentAt: m.now(), End: session.Terminal{Kind: session.EOSE}}
	if prefix := m.refuses(f); prefix != "" {
		out.End = session.Terminal{Kind: session.Closed, Prefix: prefix}
		return out, nil
	}
	page, all := m.page(f)
	if m.hints && all && !m.postFilter {
		out.End.Kind = session.EOSEFinish
	}
	if m.rng.Float64() < m.faults {
		cut := 0
		if len(page) > 0 {
			cut = m.rng.IntN(len(page) + 1)
		}
		switch m.rng.IntN(9) {
		case 0:
			out.End = session.Terminal{Kind: session.Disconnect}
			page, m.closed = page[:cut], true
		case 1:
			out.End = session.Terminal{Kind: session.Closed, Prefix: "error"}
			page = page[:cut]
		case 2:
			out.Notices = 1
			page = page[:cut]
		case 3:
			out.End = session.Terminal{Kind: session.Idle}
			page = page[:cut]
		case 4: // the page's last events come after EOSE
			l := session.Late{Sub: out.Sub}
			for _, f := range page[cut:] {
				if l.Events++; l.Events == 1 {
					l.Oldest, l.Newest = f.event.CreatedAt, f.event.CreatedAt
				}
				l.Oldest, l.Newest = min(l.Oldest, f.event.CreatedAt), max(l.Newest, f.event.CreatedAt)
			}
			m.late[out.Sub] = l
			page = page[:cut]
		case 5: // an event that was not asked for
			if len(m.facts) == 0 {
				break
			}
			if other := m.facts[m.rng.IntN(len(m.facts))]; !f.Matches(&other.event) {
				page = slices.Insert(slices.Clone(page), cut, other)
			}
		case 6:
			out.Malformed = 1 + m.rng.IntN(3)
		case 7:
			page = append(slices.Clone(page), page[:cut]...) // repeated
		case 8:
			out.End = session.Terminal{Kind: session.Notice, Prefix: "error"}
			page = nil
		}
	}
	if m.twist != nil {
		page = m.twist(f, &out, page)
	}
	for _, f := range page {
		// Not by the first byte: where pages are sorted by id, all of them would
		// come first, and what is left of a page would show no order.
		if m.huge && f.event.ID[31] < 8 && f.event.CreatedAt < modelNow.Unix() {
			out.Oversize++
			continue
		}
		out.Events++
		out.Bytes += int64(len(f.raw))
		if err := visit(f.raw); err != nil {
			if errors.Is(err, session.ErrStop) {
				out.End = session.Terminal{Kind: session.Stopped}
				return out, nil
			}
			return out, err
		}
	}
	return out, nil
}

func (m *model) Count(_ context.Context, f nostr.Filter) (nostr.CountResult, session.Page, error) {
	if m.closed {
		return nostr.CountResult{}, session.Page{}, errGone
	}
	if !m.counts {
		return nostr.CountResult{}, session.Page{End: session.Terminal{Kind: session.Closed, Prefix: "unsupported"}}, nil
	}
	m.sent++
	return nostr.CountResult{Count: int64(len(m.matching(f)))}, session.Page{End: session.Terminal{Kind: session.Counted}}, nil
}

// Late forgets what is older than the last 16 answers, as sessions do.
func (m *model) Late(sub string) session.Late {
	if n, err := strconv.Atoi(sub); err != nil || n <= m.sent-16 {
		return session.Late{Sub: sub}
	}
	return m.late[sub]
}

func draw(t *rapid.T) *model {
	flag := func(name string, percent int) bool {
		return rapid.IntRange(0, 99).Draw(t, name) < percent
	}
	m := &model{
		rng:        rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "dice"), 1)),
		late:       map[string]session.Late{},
		limit:      rapid.SampledFrom([]int{0, 5, 8, 12, 20, 30, 100}).Draw(t, "cap"),
		order:      rapid.SampledFrom([]store.PageOrder{store.OrderNewest, store.OrderNewest, store.OrderNewest, store.OrderOldest, store.OrderUnsorted}).Draw(t, "order"),
		postFilter: flag("postfilter", 20),
		refusePriv: flag("refuse private", 20),
		openBroad:  flag("broad", 5),
		exclusive:  flag("exclusive", 15),
		exSince:    flag("exclusive since", 15),
		huge:       flag("huge", 10),
		noSince:    flag("ignores since", 10),
		noUntil:    flag("ignores until", 5),
		noLimit:    flag("ignores limit", 10),
		overRefuse: flag("refuses limit", 10),
		hints:      flag("hints", 20),
		counts:     flag("counts", 40),
		faults:     rapid.SampledFrom([]float64{0, 0, 0.05, 0.2}).Draw(t, "faults"),
	}
	if flag("negentropy", 60) {
		m.neg = drawNeg(t)
	}
	// What no client could notice is no fault of the walk's.
	m.refusePriv = m.refusePriv || m.postFilter && !m.counts
	if flag("open limit", 10) {
		m.openLimit = rapid.SampledFrom([]int{8, 15}).Draw(t, "cap of the open filter")
	}
	m.byID = m.order == store.OrderUnsorted && flag("by id", 50)
	share := rapid.SampledFrom([]float64{0, 0.01, 0.1, 0.5, 1}).Draw(t, "share")
	for _, f := range pool() {
		if m.rng.Float64() < share {
			m.facts = append(m.facts, f)
		}
	}
	return m
}

// dying is the archive of a process that dies between two batches.
type dying struct {
	*sqlite.DB
	left    int
	filters map[store.FilterID]nostr.Filter
}

var errDied = errors.New("died")

func (d *dying) SaveBatch(ctx context.Context, b store.Batch) (store.Saved, error) {
	if d.left == 0 {
		return store.Saved{}, errDied
	}
	d.left--
	return d.DB.SaveBatch(ctx, b)
}

func (d *dying) FilterID(ctx context.Context, f nostr.Filter) (store.FilterID, error) {
	id, err := d.DB.FilterID(ctx, f)
	d.filters[id] = f
	return id, err
}

// TestModel walks relays of every kind with a process that dies at any batch,
// and holds what is claimed against the truth after each of them: a claim is
// never wrong, and when a visit ends well every event that the relay shows is
// held or lies within a hole.
func TestModel(t *testing.T) {
	db := openArchive(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := draw(rt)
		m.live(rt, db, n, rapid.SliceOfN(rapid.IntRange(0, 30), 0, 4).Draw(rt, "deaths"))
	})
}

// live walks the relay, as number n of an archive, until a visit ends well. The
// process dies after so many batches of its first visits.
func (m *model) live(t rapid.TB, db *sqlite.DB, n int, deaths []int) {
	t.Helper()
	ctx := context.Background()
	u, err := relay.Parse(fmt.Sprintf("wss://relay%d.bigbrotr.net", n))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.AddRelays(ctx, []relay.URL{u}, modelNow.Unix())
	if err != nil {
		t.Fatal(err)
	}
	st := &dying{DB: db, filters: map[store.FilterID]nostr.Filter{}}
	cfg := DefaultConfig()
	cfg.PerSecond = 1_000_000
	var report Report
	for run, done := 0, false; !done; run++ {
		if run >= len(deaths) && report.Cause == "" && run > 0 {
			// The lane beyond the future limit makes no claims, so only the next
			// visit makes up for an accident there: let it have none.
			m.faults, done = 0, true
		}
		st.left = -1
		if run < len(deaths) {
			st.left = deaths[run]
		}
		svc := New(cfg, st, dial.New(dial.DefaultConfig()), "test", nil, slog.New(slog.DiscardHandler))
		svc.now = m.now
		svc.dial = func(context.Context, relay.URL) (pager, func(), error) {
			m.closed = false
			return m, func() {}, nil
		}
		report, err = svc.Sync(ctx, rows[0], nil)
		if err != nil && !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		m.judge(t, st, rows[0], false)
		done = done && err == nil && report.Cause == ""
		if run > len(deaths)+10 {
			// Accidents may have looked like a refusal, which is tried again when
			// the time of its hole has come.
			m.later += 25 * time.Hour
		}
		if run == len(deaths)+20 {
			m.faults = 0 // chance alone may have ended all visits until now
		}
		if run > len(deaths)+40 {
			t.Fatalf("does not come to an end: %s after %d requests", report.Cause, report.Requests)
		}
	}
	m.judge(t, st, rows[0], true)
}

// judge compares the archive with the model.
func (m *model) judge(t rapid.TB, st *dying, row store.Relay, ended bool) {
	t.Helper()
	id := row.ID
	ctx := context.Background()
	held := make([]bool, len(m.facts))
	for i, f := range m.facts {
		seen, err := st.EventRelays(ctx, f.event.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		held[i] = slices.ContainsFunc(seen, func(c store.Carried) bool { return c.URL == row.URL })
	}
	for fid, filter := range st.filters {
		claims, err := st.Coverage(ctx, id, fid)
		if err != nil {
			t.Fatal(err)
		}
		holes, err := st.Holes(ctx, id, fid)
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.facts {
			f := &m.facts[i]
			e := &f.event
			if held[i] || !m.visible(f) || !filter.Matches(e) {
				continue
			}
			if slices.ContainsFunc(holes, func(h store.Hole) bool {
				return h.Lo <= e.CreatedAt && e.CreatedAt <= h.Hi && (h.Kind == store.AnyKind || h.Kind == e.Kind)
			}) {
				continue
			}
			for _, c := range claims {
				if c.Lo <= e.CreatedAt && e.CreatedAt <= c.Hi && c.Level > store.LevelUnknown {
					t.Fatalf("false claim %+v of %s: event %s of kind %d at %d", c, filter.AppendJSON(nil), e.ID, e.Kind, e.CreatedAt)
				}
			}
			if ended && len(filter.Kinds) == 0 {
				t.Fatalf("missing: event %s of kind %d at %d; claims %+v holes %+v", e.ID, e.Kind, e.CreatedAt, claims, holes)
			}
		}
	}
}

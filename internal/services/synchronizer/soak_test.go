package synchronizer

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/simnet"
)

// TestSoak has processes live and die among generated networks: relays that do
// NIP-77 well, in part and badly, that filter after limiting, that fail now and
// then, and live tails at all of them, while events of every date arrive. After
// each life nothing false may be claimed, and in the end, when all goes well, every
// event that a relay shows is archived or lies within a hole.
//
// SOAK is the number of networks, SOAK_SEED the seed of the first one. A seed
// makes the same network and the same plan; who comes first is left to chance.
// CI and make soak draw networks that nobody has seen.
func TestSoak(t *testing.T) {
	networks := number(t, "SOAK", 100)
	seed := number(t, "SOAK_SEED", 1)
	if testing.Short() {
		networks = min(networks, 10)
	}
	var sum soakSum
	t.Run("networks", func(t *testing.T) {
		for i := range networks {
			t.Run(fmt.Sprintf("SOAK=1 SOAK_SEED=%d", seed+i), func(t *testing.T) {
				t.Parallel()
				soak(t, uint64(seed+i), &sum) //nolint:gosec // not below 0
			})
		}
	})
	t.Logf("seeds %d to %d: %d relays, %d events shown, %d archived, %d within holes; %d lives, %d ended by kills at %d points: %v",
		seed, seed+networks-1, sum.relays, sum.visible, sum.archived, sum.inHoles, sum.lives, sum.killed, len(sum.points), sum.points)
	// Some points are met once in twenty networks only.
	if networks >= 100 && len(sum.points) < len(soakPoints)*3/4 || networks >= 1000 && len(sum.points) < len(soakPoints) {
		t.Errorf("killed at %d of %d points: %v", len(sum.points), len(soakPoints), sum.points)
	}
}

func number(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q is no number", name, text)
	}
	return n
}

// soakSum is what all networks came to.
type soakSum struct {
	mu                                                sync.Mutex
	relays, visible, archived, inHoles, lives, killed int
	points                                            map[string]int
}

// soakPoints are the calls of the archive around which processes are killed.
var soakPoints = []string{
	"before a batch", "after a batch", "before a lease", "after a lease", "before the next visit", "after the next visit",
	"before a calibration", "after a calibration", "before a tail begins", "after a tail begins", "before a beat", "after a beat",
	"before a tail is noted", "after a tail is noted", "before a tail ends", "after a tail ends",
	"before a sample", "after a sample", "before sums are made", "after sums are made",
}

// mortal is the archive as a process has it that dies around one of its calls.
// Nothing of the process survives, and everything that was saved does.
type mortal struct {
	*sqlite.DB
	point string // where it dies; empty: nowhere
	after int    // how often it has passed there before
	kill  func()

	mu   sync.Mutex
	dead bool
}

// passes tells whether the process gets past a point.
func (m *mortal) passes(point string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if point == m.point && !m.dead {
		if m.after--; m.after < 0 {
			m.dead = true
			m.kill()
		}
	}
	return !m.dead
}

func (m *mortal) around(what string, call func() error) error {
	if !m.passes("before " + what) {
		return errDied
	}
	err := call()
	if !m.passes("after " + what) {
		return errDied
	}
	return err
}

func (m *mortal) SaveBatch(ctx context.Context, b store.Batch) (saved store.Saved, err error) {
	err = m.around("a batch", func() (err error) { saved, err = m.DB.SaveBatch(ctx, b); return err })
	return saved, err
}

func (m *mortal) DueRelays(ctx context.Context, d store.Due) (work []store.Work, err error) {
	err = m.around("a lease", func() (err error) { work, err = m.DB.DueRelays(ctx, d); return err })
	return work, err
}

func (m *mortal) SaveNext(ctx context.Context, next []store.Next) error {
	return m.around("the next visit", func() error { return m.DB.SaveNext(ctx, next) })
}

func (m *mortal) SaveCalibration(ctx context.Context, c store.Calibration) error {
	return m.around("a calibration", func() error { return m.DB.SaveCalibration(ctx, c) })
}

func (m *mortal) BeginTail(ctx context.Context, id store.RelayID, since int64) error {
	return m.around("a tail begins", func() error { return m.DB.BeginTail(ctx, id, since) })
}

func (m *mortal) SaveTails(ctx context.Context, b store.Beat) (lost []store.RelayID, err error) {
	err = m.around("a beat", func() (err error) { lost, err = m.DB.SaveTails(ctx, b); return err })
	return lost, err
}

func (m *mortal) NoteTail(ctx context.Context, id store.RelayID, since int64, ahead bool, proved int64) error {
	return m.around("a tail is noted", func() error { return m.DB.NoteTail(ctx, id, since, ahead, proved) })
}

func (m *mortal) EndTail(ctx context.Context, e store.TailEnd) error {
	return m.around("a tail ends", func() error { return m.DB.EndTail(ctx, e) })
}

func (m *mortal) AddSample(ctx context.Context, s store.Sample) error {
	return m.around("a sample", func() error { return m.DB.AddSample(ctx, s) })
}

func (m *mortal) HeldDays(ctx context.Context, id store.RelayID, now int64) (days []negentropy.Day, err error) {
	err = m.around("sums are made", func() (err error) { days, err = m.DB.HeldDays(ctx, id, now); return err })
	return days, err
}

// stock is what the relays of generated networks hold and get, made once: old is
// of the years before modelNow, with crowded seconds, and stream goes on from then.
var stock = sync.OnceValue(func() (s struct{ old, ahead, forged, stream []*simnet.Event }) {
	now := modelNow.Unix()
	for i, p := range []simnet.Plan{
		{Count: 500, Since: now - 3*365*86400, Until: now - 4*86400},
		{Count: 200, Since: now - 4*86400, Until: now - 60},
		{Count: 60, Since: now - 20*86400, Until: now - 20*86400, Kinds: []nostr.Kind{0, 1, 3, 5, 6, 7, 1111, 30023}},
		{Count: 60, Since: now - 40*86400, Until: now - 40*86400, Kinds: []nostr.Kind{1}},
		{Count: 80, Since: now - 50*86400, Until: now - 50*86400 + 3600, Kinds: []nostr.Kind{1059}},
	} {
		p.Seed = uint64(i + 1) //nolint:gosec // an index
		s.old = append(s.old, simnet.Generate(p)...)
	}
	for i, e := range s.old[:60] {
		s.forged = append(s.forged, []func(*simnet.Event) *simnet.Event{simnet.ForgeID, simnet.ForgeText, simnet.ForgeSig}[i%3](e))
	}
	s.old = s.old[60:]
	s.ahead = simnet.Generate(simnet.Plan{Seed: 11, Count: 30, Since: now + 100, Until: now + 6*86400})
	s.stream = simnet.Generate(simnet.Plan{Seed: 12, Count: 2000, Since: now, Until: now + 5*86400, Kinds: []nostr.Kind{1, 7, 6, 0, 9735}})
	slices.SortFunc(s.stream, func(a, b *simnet.Event) int { return int(a.CreatedAt - b.CreatedAt) })
	return s
})

// sea is one generated network, and the archive of the processes that live there.
type sea struct {
	t      *testing.T
	rng    *rand.Rand
	net    *simnet.Network
	path   string
	db     *sqlite.DB
	relays []*simnet.Relay
	rows   []store.Relay
	came   map[nostr.ID]int64 // when an event arrived at a relay that had begun
	next   int                // of the stream

	mu    sync.Mutex
	conns []net.Conn // of the process that lives
	svc   *Service
	store *mortal
	end   func() // ends the process, as a stop does; returns when it has ended
}

// Bounds of a generated network.
const (
	soakLives   = 5  // at most
	soakLive    = 25 // minutes of one life at most
	soakVisits  = 60 // of one relay in the end, until one of them ends well
	soakEvents  = 120
	soakRefills = 12
)

func soak(t *testing.T, seed uint64, sum *soakSum) {
	path := NewArchive(t)
	stock()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(modelNow))
		s := &sea{t: t, rng: rand.New(rand.NewPCG(seed, 7)), net: simnet.Piped(seed), path: path, came: map[nostr.ID]int64{}}
		defer s.net.Close()
		s.open()
		defer func() { s.fatal(s.db.Close()) }()
		s.build()
		lives, kills := 1+s.rng.IntN(soakLives), map[string]int{}
		for range lives {
			point := ""
			if s.rng.IntN(5) > 0 {
				point = soakPoints[s.rng.IntN(len(soakPoints))]
			}
			s.live(point, s.rng.IntN(2)*s.rng.IntN(8), time.Duration(1+s.rng.IntN(soakLive))*time.Minute)
			if s.died() {
				kills[point]++
			}
			s.judge("after a life", false)
			if s.rng.IntN(3) == 0 {
				time.Sleep(time.Duration(s.rng.IntN(26*60)) * time.Minute)
			}
			s.fatal(s.db.Close())
			s.open()
		}
		s.calm()
		got := s.judge("in the end", true)
		sum.mu.Lock()
		defer sum.mu.Unlock()
		sum.relays += len(s.relays)
		sum.lives += lives
		sum.visible, sum.archived = sum.visible+got.Visible, sum.archived+got.Archived
		for _, one := range got.PerRelay {
			sum.inHoles += one.InHoles
		}
		if sum.points == nil {
			sum.points = map[string]int{}
		}
		for point, n := range kills {
			sum.points[point] += n
			sum.killed += n
		}
	})
}

func (s *sea) fatal(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sea) open() {
	var err error
	s.db, err = sqlite.Open(context.Background(), s.path, sqlite.Options{})
	s.fatal(err)
}

func (s *sea) coin(percent int) bool { return s.rng.IntN(100) < percent }

// build makes the relays: one that does NIP-77 as it should, one that filters
// after limiting, one that reconciles a part, and whatever else there is.
func (s *sea) build() {
	now := modelNow.Unix()
	var urls []relay.URL
	for i := range 3 + s.rng.IntN(3) {
		be := simnet.Hostile(s.rng)
		if i < 3 {
			be.Auth, be.Broad, be.IgnoreUntil = false, simnet.BroadNone, false
		}
		switch i {
		case 0:
			be.Negentropy = simnet.Negentropy{As: simnet.NegHonest, Restricted: s.coin(50), Faults: be.Negentropy.Faults}
		case 1:
			be.Restricted, be.PostFilter = []nostr.Kind{4, 1059}, true
		case 2:
			be.Negentropy.As = simnet.NegHonest
			switch s.rng.IntN(3) {
			case 0:
				be.Negentropy.Newest = 1 + s.rng.IntN(80)
			case 1:
				be.Negentropy.Omits = 2 + s.rng.IntN(2)
			default:
				be.Negentropy.Most = int64(10 + s.rng.IntN(60))
			}
		}
		if s.coin(10) {
			be.Live = simnet.LiveNone
		}
		if be.Rate.Requests > 0 { // not so few that sixty visits are not enough
			be.Rate = simnet.Rate{Requests: 10 + be.Rate.Requests, Per: time.Minute}
		}
		for i, f := range be.Faults {
			if f.What == simnet.Oversize || f.What == simnet.Bomb { // they cost us most
				be.Faults[i].When = simnet.When{Every: 40}
			}
		}
		r, err := s.net.AddRelay(be)
		s.fatal(err)
		s.relays, urls = append(s.relays, r), append(urls, r.URL())
	}
	all := stock()
	var events []*simnet.Event
	for _, e := range all.old {
		if s.rng.IntN(len(all.old)) < soakEvents {
			events = append(events, e)
		}
	}
	s.net.Spread(events, 2.5)
	for i := range 6 {
		s.relays[s.rng.IntN(len(s.relays))].Add(all.forged[s.rng.IntN(len(all.forged))], all.ahead[i])
	}
	var err error
	s.rows, err = s.db.AddRelays(context.Background(), urls, now-10)
	s.fatal(err)
}

// begin starts a process that follows the relays live and, if it is to, visits
// them. It dies at a point unless that is empty.
func (s *sea) begin(point string, after int, visits bool) {
	ctx, cancel := context.WithCancel(context.Background())
	s.store = &mortal{DB: s.db, point: point, after: after, kill: func() {
		cancel()
		s.cut()
	}}
	cfg := DefaultConfig()
	cfg.PerSecond, cfg.Parallel = 1000, 4
	cfg.Interval, cfg.Every = config.Duration(20*time.Second), config.Duration(10*time.Minute)
	cfg.Sample = config.Duration(15 * time.Minute)
	dialling := dial.DefaultConfig()
	dialling.AllowLocal, dialling.PerMinute = true, 100_000
	dialer := dial.New(dialling).Over(func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := s.net.Dial(ctx, network, addr)
		if err == nil {
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
		}
		return c, err
	})
	s.svc = New(cfg, s.store, dialer, fmt.Sprint("process ", s.rng.Uint32()), nil, slog.New(slog.DiscardHandler))
	var running sync.WaitGroup
	run := func(cycle func(context.Context) error) {
		running.Go(func() {
			for !service.Stopping(ctx) {
				if err := cycle(ctx); err != nil && ctx.Err() == nil {
					s.t.Errorf("a process ends by itself: %v", err)
					cancel()
				}
				service.Pause(ctx, cfg.Interval.Std())
			}
		})
	}
	run(s.svc.Tails().Cycle)
	if visits {
		run(s.svc.Cycle)
	}
	s.end = func() {
		cancel()
		running.Wait()
		s.cut()
	}
}

// cut ends the connections of a process that is no more.
func (s *sea) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if p, ok := c.(interface{ SetLinger(sec int) error }); ok {
			_ = p.SetLinger(0)
		}
		_ = c.Close()
	}
	s.conns = nil
}

// live has a process live for some time, or until it dies.
func (s *sea) live(point string, after int, length time.Duration) {
	s.begin(point, after, true)
	for end := time.Now().Add(length); time.Now().Before(end) && !s.died(); {
		time.Sleep(time.Duration(1+s.rng.IntN(90)) * time.Second)
		s.happen()
	}
	s.end()
}

func (s *sea) died() bool {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.dead
}

// happen has something happen in the network.
func (s *sea) happen() {
	r := s.relays[s.rng.IntN(len(s.relays))]
	switch dice := s.rng.IntN(100); {
	case dice < 55: // what people write now
		all, now := stock().stream, time.Now().Unix()
		for n := 0; s.next < len(all) && all[s.next].CreatedAt <= now; s.next++ {
			if n++; n <= 20 {
				s.arrive(s.relays[s.rng.IntN(len(s.relays))], all[s.next])
			}
		}
	case dice < 75: // what was written long ago, and comes from elsewhere
		all := stock().old
		for range 1 + s.rng.IntN(soakRefills) {
			s.arrive(r, all[s.rng.IntN(len(all))])
		}
	case dice < 80:
		s.arrive(r, stock().ahead[s.rng.IntN(30)])
	case dice < 87:
		if shown := r.Visible(nostr.Filter{}); len(shown) > 0 {
			r.Remove(shown[s.rng.IntN(len(shown))].ID)
		}
	case dice < 92:
		r.Hush()
	case dice < 97:
		r.Stop()
	default:
		for _, r := range s.relays {
			s.fatal(r.Start())
		}
	}
}

func (s *sea) arrive(r *simnet.Relay, e *simnet.Event) {
	r.Add(e)
	s.came[e.ID] = time.Now().Unix()
}

// calm takes the accidents away and visits every relay until a visit ends well.
func (s *sea) calm() {
	for _, r := range s.relays {
		s.fatal(r.Start())
		be := r.Behaviour()
		be.Faults, be.Negentropy.Faults = nil, nil
		r.SetBehaviour(be)
	}
	time.Sleep(25 * time.Hour) // what has failed or was refused is tried again then
	s.begin("", 0, false)
	defer s.end()
	time.Sleep(2 * time.Minute) // tails stand
	for i, row := range s.rows {
		for visit := range soakVisits {
			report, err := s.svc.Sync(context.Background(), row, nil)
			s.fatal(err)
			if report.Cause == "" && visit > 0 || s.relays[i].Behaviour().Auth {
				break
			}
			if visit == soakVisits-1 && s.relays[i].Behaviour().Broad != simnet.BroadAuthorless {
				s.t.Errorf("visits of %s do not come to an end: %s; %+v", row.URL, report.Cause, s.relays[i].Behaviour())
			}
			time.Sleep(2 * time.Minute)
		}
	}
}

// judge compares the archive with the truth.
func (s *sea) judge(when string, complete bool) simnet.Result {
	ctx := context.Background()
	var accounts []simnet.Account
	for i, row := range s.rows {
		a := simnet.Account{Relay: row.URL, Filters: map[store.FilterID]nostr.Filter{}}
		var err error
		a.Claims, a.Holes, err = s.db.RelayCoverage(ctx, row.ID)
		s.fatal(err)
		for _, c := range a.Claims {
			a.Filters[c.Filter] = nostr.Filter{}
		}
		for _, h := range a.Holes {
			a.Filters[h.Filter] = nostr.Filter{}
		}
		for _, id := range slices.Collect(maps.Keys(a.Filters)) {
			a.Filters[id], err = s.db.Filter(ctx, id)
			s.fatal(err)
		}
		var ids []nostr.ID
		for _, e := range s.relays[i].Visible(nostr.Filter{}) {
			ids = append(ids, e.ID)
		}
		holdings, err := s.db.Holdings(ctx, row.ID, ids, store.Interval{Lo: 0, Hi: math.MaxInt64})
		s.fatal(err)
		held := map[nostr.ID]bool{}
		for j, h := range holdings {
			held[ids[j]] = h.Hold == store.HoldDelivered || h.Hold == store.HoldClaimed
		}
		a.Held = func(id nostr.ID) bool { return held[id] }
		accounts = append(accounts, a)
	}
	got := s.net.Compare(accounts)
	for i, one := range got.PerRelay {
		if len(one.FalseClaims) > 0 {
			f := one.FalseClaims[0]
			s.tell(i, f.Event, fmt.Sprintf("%s: %d false claims, such as %+v", when, len(one.FalseClaims), f.Claim))
		}
		if missing := s.unexcused(i, one.Missing); complete && len(missing) > 0 {
			s.tell(i, missing[0], fmt.Sprintf("%s: %d of %d events missing", when, len(missing), one.Visible))
		}
	}
	// One that reconciles all that it has is not accused of less.
	for i, row := range s.rows {
		cal, err := s.db.Calibration(ctx, row.ID)
		s.fatal(err)
		be := s.relays[i].Behaviour()
		if n := be.Negentropy; n.As == simnet.NegHonest && n.Newest+n.Omits == 0 && slices.Contains([]string{"contradicts", "partial"}, cal.NegentropyCause) {
			s.t.Errorf("%s: relay %d names all that it has and is distrusted: %+v %+v", when, i, cal, be)
		}
	}
	return got
}

// unexcused leaves out what nobody can know of but by chance: what is dated long
// before it came to a relay that neither takes a tail, or tells it nothing, nor
// reconciles. Claims are as of before it came.
func (s *sea) unexcused(i int, missing []*simnet.Event) []*simnet.Event {
	if len(missing) == 0 {
		return nil
	}
	ctx, id := context.Background(), s.rows[i].ID
	tail, err := s.db.Tail(ctx, id)
	s.fatal(err)
	cal, err := s.db.Calibration(ctx, id)
	s.fatal(err)
	// The tail of a process that died is remembered as it was last known.
	tells := tail.Since > 0 && s.relays[i].Behaviour().Live != simnet.LiveNone
	if tells || cal.NoNegentropy == 0 {
		return missing
	}
	overlap := int64(DefaultConfig().Overlap.Std().Seconds())
	return slices.DeleteFunc(slices.Clone(missing), func(e *simnet.Event) bool {
		came, late := s.came[e.ID]
		return late && e.CreatedAt < came-overlap
	})
}

// tell fails the test with what is known of a relay that lacks an event.
func (s *sea) tell(i int, e *simnet.Event, what string) {
	ctx, row := context.Background(), s.rows[i]
	claims, holes, err := s.db.RelayCoverage(ctx, row.ID)
	s.fatal(err)
	cal, err := s.db.Calibration(ctx, row.ID)
	s.fatal(err)
	tail, err := s.db.Tail(ctx, row.ID)
	s.fatal(err)
	gaps, err := s.db.ArrivalGaps(ctx, row.ID)
	s.fatal(err)
	how, err := s.db.Holdings(ctx, row.ID, []nostr.ID{e.ID}, store.Interval{Lo: 0, Hi: math.MaxInt64})
	s.fatal(err)
	s.t.Errorf("%s of relay %d\n%+v\nevent %s of kind %d at %d, which came at %d: %+v\n%+v\n%+v\ngaps %+v\nclaims %+v\nholes %+v",
		what, i, s.relays[i].Behaviour(), e.ID, e.Kind, e.CreatedAt, s.came[e.ID], how, cal, tail, gaps, claims, holes)
}

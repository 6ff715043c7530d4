package synchronizer

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/simnet"
)

// shore is an archive whose tails run against a simulated network.
type shore struct {
	t     *testing.T
	db    *sqlite.DB
	net   *simnet.Network
	svc   *Service
	later atomic.Int64 // seconds by which the service's clock is ahead
	end   func()       // ends the tails, as a stop does
}

func newShore(t *testing.T, seed uint64) *shore {
	t.Helper()
	s := &shore{t: t, db: openArchive(t), net: simnet.Piped(seed)}
	t.Cleanup(s.net.Close)
	s.open("test")
	return s
}

// open makes a service that follows live.
func (s *shore) open(owner string) {
	s.t.Helper()
	cfg := DefaultConfig()
	cfg.PerSecond, cfg.Interval, cfg.Retry = 1_000_000, config.Duration(20*time.Millisecond), config.Duration(30*time.Millisecond)
	cfg.Idle = config.Duration(5 * time.Second)
	dialling := dial.DefaultConfig()
	dialling.AllowLocal = true
	dialling.PerMinute = 1_000_000
	s.svc = New(cfg, s.db, dial.New(dialling).Over(s.net.Dial), owner, nil, slog.New(slog.DiscardHandler))
	s.svc.now = func() time.Time { return time.Now().Add(time.Duration(s.later.Load()) * time.Second) }
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.svc.Tails().Cycle(ctx); err != nil && !errors.Is(err, context.Canceled) {
			s.t.Errorf("tails: %v", err)
		}
	})
	s.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	s.t.Cleanup(s.end)
}

// add adds a relay of the network to the archive.
func (s *shore) add(be simnet.Behaviour, events ...*simnet.Event) (*simnet.Relay, store.Relay) {
	s.t.Helper()
	r, err := s.net.AddRelay(be)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Add(events...)
	rows, err := s.db.AddRelays(s.t.Context(), []relay.URL{r.URL()}, time.Now().Unix()-10)
	if err != nil {
		s.t.Fatal(err)
	}
	return r, rows[0]
}

// until waits for something to come true.
func (s *shore) until(what string, holds func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			s.t.Fatalf("still not: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (s *shore) tail(row store.Relay) store.Tail {
	s.t.Helper()
	tail, err := s.db.Tail(s.t.Context(), row.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return tail
}

// stands waits for the tail of a relay, and for the second in which it began to
// end.
func (s *shore) stands(row store.Relay) store.Tail {
	s.t.Helper()
	s.until("the tail stands", func() bool { return s.tail(row).Since > 0 })
	tail := s.tail(row)
	s.until("its second is over", func() bool { return time.Now().Unix() > tail.Since })
	return tail
}

// held tells whether all events are archived as seen at the relay.
func (s *shore) held(row store.Relay, events ...*simnet.Event) bool {
	s.t.Helper()
	for _, e := range events {
		seen, err := s.db.EventRelays(s.t.Context(), e.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			s.t.Fatal(err)
		}
		if !slices.ContainsFunc(seen, func(c store.Carried) bool { return c.URL == row.URL }) {
			return false
		}
	}
	return true
}

func (s *shore) visit(row store.Relay) Report {
	s.t.Helper()
	report, err := s.svc.Sync(s.t.Context(), row, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if report.Cause != "" {
		s.t.Errorf("the visit of %s ended by %s", row.URL, report.Cause)
	}
	return report
}

// beat has the claims follow the tails now.
func (s *shore) beat() {
	s.t.Helper()
	if err := s.svc.Tails().beat(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shore) coverage(row store.Relay) []store.Coverage {
	s.t.Helper()
	id, err := s.db.FilterID(s.t.Context(), nostr.Filter{})
	if err != nil {
		s.t.Fatal(err)
	}
	claims, err := s.db.Coverage(s.t.Context(), row.ID, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return claims
}

// judge compares the archive with the truth. How many are missing is not looked
// at when it is below 0.
func (s *shore) judge(when string, missing int, rows ...store.Relay) {
	s.t.Helper()
	for _, row := range rows {
		id, err := s.db.FilterID(s.t.Context(), nostr.Filter{})
		if err != nil {
			s.t.Fatal(err)
		}
		holes, err := s.db.Holes(s.t.Context(), row.ID, id)
		if err != nil {
			s.t.Fatal(err)
		}
		result := s.net.Compare([]simnet.Account{{
			Relay: row.URL, Claims: s.coverage(row), Holes: holes,
			Held: func(id nostr.ID) bool {
				seen, err := s.db.EventRelays(s.t.Context(), id)
				return err == nil && slices.ContainsFunc(seen, func(c store.Carried) bool { return c.URL == row.URL })
			},
		}})
		if result.FalseClaims > 0 {
			s.t.Errorf("%s: %d false claims, such as %+v", when, result.FalseClaims, result.PerRelay[0].FalseClaims[0].Claim)
		}
		if missing >= 0 && result.Missing != missing {
			s.t.Errorf("%s: %d of %d missing, want %d", when, result.Missing, result.Visible, missing)
		}
	}
}

// dated makes events dated so many seconds ago, some seconds apart.
func dated(seed uint64, count int, ago int64) []*simnet.Event {
	now := time.Now().Unix()
	return simnet.Generate(simnet.Plan{Seed: seed, Count: count, Since: now - ago, Until: now - ago + int64(count), Kinds: []nostr.Kind{1, 7, 1111}})
}

// history is what a relay has of the years before.
func history(seed uint64, count int) []*simnet.Event {
	now := time.Now().Unix()
	return simnet.Generate(simnet.Plan{Seed: seed, Count: count, Since: now - 3*365*86400, Until: now - 3600, Kinds: []nostr.Kind{0, 1, 3, 7}})
}

// prove has a tail bring what its relay shows, and a visit notice it.
func (s *shore) prove(r *simnet.Relay, row store.Relay, seed uint64) {
	s.t.Helper()
	s.visit(row)
	fresh := dated(seed, 20, 5)
	for i := range fresh { // dated after the tail has begun
		fresh[i] = simnet.Generate(simnet.Plan{Seed: seed + 1000 + uint64(i), Count: 1, Since: time.Now().Unix(), Until: time.Now().Unix(), Kinds: []nostr.Kind{1}})[0]
	}
	r.Add(fresh...)
	s.until("arrivals are archived", func() bool { return s.held(row, fresh...) })
	s.beat()
	s.later.Store(youngest + 5)
	s.visit(row)
	s.later.Store(0)
	if tail := s.tail(row); tail.Proved == 0 || !tail.Ahead || tail.Since == 0 {
		s.t.Fatalf("the tail is not proved: %+v", tail)
	}
}

// TestTailArchives has events of every date arrive at a relay whose tail stands.
func TestTailArchives(t *testing.T) { Bubble(testTailArchives)(t) }

func testTailArchives(t *testing.T) {
	for _, be := range []simnet.Behaviour{{Cap: 100}, {Cap: 100, Compress: true}, {Cap: 100, RefuseZero: true}} {
		s := newShore(t, 101)
		r, row := s.add(be, history(1, 300)...)
		s.stands(row)
		before := time.Now()
		late := slices.Concat(dated(2, 5, 2*365*86400), dated(3, 5, 3600), dated(4, 5, 0), dated(5, 5, -600))
		r.Add(late...)
		s.until("they are archived", func() bool { return s.held(row, late...) })
		t.Logf("archived after %s", time.Since(before))
		s.visit(row)
		s.judge("after a visit", 0, row)
	}
}

// TestCostOfTails holds what is kept of the cost of a tail, and of a visit that
// has its connection, against what the relay has seen of them.
func TestCostOfTails(t *testing.T) { Bubble(testCostOfTails)(t) }

func testCostOfTails(t *testing.T) {
	for _, be := range []simnet.Behaviour{{Cap: 100}, {Cap: 100, RefuseZero: true}} {
		be.Negentropy.As = simnet.NegClosed // by an answer that counts
		s := newShore(t, 111)
		r, row := s.add(be, history(1, 300)...)
		check := func(when string, added int) {
			t.Helper()
			sums, err := s.db.Costs(t.Context(), []store.RelayID{row.ID})
			if err != nil {
				t.Fatal(err)
			}
			got, saw := sums[row.ID].Cost, r.Stats()
			want := store.Cost{
				Requests: saw.Requests + saw.Counts + saw.Opens, Bytes: saw.Payload, Received: saw.Events,
				New: int64(added), Known: saw.Events - int64(added),
			}
			if got != want {
				t.Errorf("%+v %s: kept %+v, the relay saw %+v", be, when, got, want)
			}
		}
		s.stands(row)
		s.beat()
		fresh := 0
		if be.RefuseZero {
			fresh = 1 // the one event that such a relay is asked for
			s.until("it is archived", func() bool { s.beat(); return r.Stats().Events > 0 })
		}
		check("as it stands", fresh)
		late := slices.Concat(dated(2, 5, 2*365*86400), dated(3, 5, 3600))
		r.Add(late...)
		s.until("they are archived", func() bool { return s.held(row, late...) })
		s.until("a beat is told of them", func() bool {
			s.beat()
			sums, err := s.db.CostTotal(t.Context())
			return err == nil && sums.New == int64(fresh+len(late))
		})
		check("after arrivals", fresh+len(late))
		s.visit(row)
		s.beat()
		check("after a visit", 300+len(late))
		more := dated(4, 5, 60)
		r.Add(more...)
		s.until("they are archived", func() bool { return s.held(row, more...) })
		s.end()
		check("in the end", 300+len(late)+len(more))
	}
}

// TestTailKeepsClaims shows what a tail is good for: claims stay true as what
// arrives is archived, and nothing is read twice.
func TestTailKeepsClaims(t *testing.T) { Bubble(testTailKeepsClaims)(t) }

func testTailKeepsClaims(t *testing.T) {
	s := newShore(t, 102)
	r, row := s.add(simnet.Behaviour{Cap: 100}, slices.Concat(history(1, 300), dated(2, 400, 40_000))...)
	tail := s.stands(row)
	s.visit(row)
	before := r.Stats()
	again := s.visit(row)
	unproved := r.Stats()
	if again.EventsReceived < 400 {
		t.Errorf("a tail that has proved nothing saved reading the last days again: %d events", again.EventsReceived)
	}
	s.prove(r, row, 3)
	s.beat()
	visited := time.Now().Unix()

	arrived := slices.Concat(dated(4, 30, 365*86400), dated(5, 30, 20_000), dated(6, 5, 0))
	r.Add(arrived...)
	s.until("arrivals are archived", func() bool { return s.held(row, arrived...) })
	s.until("some time is over", func() bool { return time.Now().Unix() > visited+tailSlack+1 })
	last := dated(7, 1, 0)
	r.Add(last...)
	s.until("the archive is told", func() bool {
		s.beat()
		return s.held(row, last...) && s.tail(row).Heard > visited
	})
	claims, now := s.coverage(row), s.tail(row)
	if now.Heard <= tail.Since || claims[len(claims)-1].Hi != now.Heard-1 {
		t.Errorf("claims %+v of the tail %+v", claims, now)
	}
	for _, c := range claims {
		if c.AsOf != now.Heard || c.Tail != now.Since {
			t.Errorf("claim %+v of the tail %+v", c, now)
		}
	}
	s.judge("as the tail goes on", 0, row)

	start := r.Stats()
	report := s.visit(row)
	end := r.Stats()
	t.Logf("a cycle without a proved tail: %d REQs, %d events, %d bytes; with it: %d, %d, %d",
		unproved.Requests-before.Requests, unproved.Events-before.Events, unproved.Bytes-before.Bytes,
		end.Requests-start.Requests, end.Events-start.Events, end.Bytes-start.Bytes)
	if report.EventsReceived > 60 || report.New > 0 {
		t.Errorf("a visit beside a proved tail read %d events, %d new", report.EventsReceived, report.New)
	}
	if r.Stats().MaxOpen != 1 {
		t.Errorf("%d connections at once, want one", r.Stats().MaxOpen)
	}
	s.judge("in the end", 0, row)
}

// TestArrivalGap takes a relay away while events arrive.
func TestArrivalGap(t *testing.T) { Bubble(testArrivalGap)(t) }

func testArrivalGap(t *testing.T) {
	s := newShore(t, 103)
	r, row := s.add(simnet.Behaviour{Cap: 10}, history(1, 300)...)
	s.stands(row)
	s.prove(r, row, 2)
	s.beat()
	first := s.tail(row)

	r.Stop()
	missed, old := dated(3, 40, 2*86400), dated(4, 10, 300*86400)
	r.Add(slices.Concat(missed, old)...)
	s.until("the loss is noticed", func() bool { return s.tail(row).Since == 0 })
	s.judge("while it is away", 50, row)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	second := s.stands(row)
	if second.Since <= first.Since {
		t.Fatalf("tails since %d and %d", first.Since, second.Since)
	}
	gaps, err := s.db.ArrivalGaps(t.Context(), row.ID)
	if err != nil || len(gaps) != 1 || gaps[0].From < first.Heard || gaps[0].Until != second.Since || gaps[0].Cause == "" {
		t.Fatalf("gaps %+v, %v between %+v and %+v", gaps, err, first, second)
	}
	// It is due at once.
	now := time.Now().Unix()
	work, err := s.db.DueRelays(t.Context(), store.Due{Service: Name, Now: now, Limit: 1, Owner: "look", Until: now})
	if err != nil || len(work) != 1 {
		t.Errorf("due: %+v, %v", work, err)
	}
	// The last days are read first, and what was claimed before a little in each
	// visit, whatever its date; what has not been read is not claimed.
	visits, most, before := 0, int64(0), int64(math.MaxInt64)
	for ; len(gaps) > 0 && visits < 100; visits++ {
		v, end, err := s.svc.visit(t.Context(), row, budget{requests: 50}, nil)
		if err != nil || end != nil {
			t.Fatal(err, end)
		}
		if !s.held(row, missed...) {
			t.Errorf("what came meanwhile is not archived: %+v", v.report)
		}
		s.judge("while old claims are read again", -1, row)
		most = max(most, v.report.Requests)
		if gaps, err = s.db.ArrivalGaps(t.Context(), row.ID); err != nil {
			t.Fatal(err)
		}
		if len(gaps) > 0 {
			if gaps[0].Below >= before {
				t.Errorf("visit %d: still not read below %d", visits, gaps[0].Below)
			}
			before = gaps[0].Below
		}
	}
	t.Logf("closed after %d visits, the largest of %d requests", visits, most)
	if len(gaps) > 0 || visits < 2 || most > 50 {
		t.Errorf("gaps %+v after %d visits of %d requests at most", gaps, visits, most)
	}
	s.judge("when the gap is closed", 0, row)
}

// TestTailsThatFail has relays whose subscriptions do not bring what arrives.
func TestTailsThatFail(t *testing.T) {
	t.Run("nothing comes", Bubble(func(t *testing.T) {
		s := newShore(t, 104)
		r, row := s.add(simnet.Behaviour{Cap: 100, Live: simnet.LiveNone}, history(1, 200)...)
		s.stands(row)
		s.visit(row)
		r.Add(dated(2, 20, 0)...)
		s.until("they are old enough", func() bool { return time.Now().Unix() > s.tail(row).Since })
		s.beat()
		s.judge("when something has arrived", 20, row)
		s.later.Store(youngest + 30)
		report := s.visit(row)
		s.later.Store(0)
		s.judge("after the next visit", 0, row)
		if report.Tail.Stands || report.Tail.Missed.Tail.Missed == 0 {
			t.Errorf("it is not noticed: %+v", report.Tail)
		}
	}))
	t.Run("half of it comes", Bubble(func(t *testing.T) {
		s := newShore(t, 105)
		r, row := s.add(simnet.Behaviour{Cap: 100}, history(1, 200)...)
		since := s.stands(row).Since
		s.prove(r, row, 2)
		be := r.Behaviour()
		be.Live = simnet.LiveHalf
		r.SetBehaviour(be)
		arrived := dated(3, 60, 0)
		r.Add(arrived...)
		told := slices.DeleteFunc(slices.Clone(arrived), func(e *simnet.Event) bool { return e.ID[31]%2 != 0 })
		s.until("what is told is archived", func() bool { return s.held(row, told...) })
		s.later.Store(2 * youngest)
		s.svc.cfg.Sample = 0
		report := s.visit(row)
		s.later.Store(0)
		if report.Tail.Stands && report.Tail.Since == since || report.Tail.Cause != dial.CauseContradicts {
			t.Errorf("it is not noticed: %+v", report.Tail)
		}
		if tail := s.tail(row); tail.Proved != 0 {
			t.Errorf("it is still believed: %+v", tail)
		}
		s.judge("after the next visit", 0, row)
	}))
	t.Run("it ends without a word", Bubble(func(t *testing.T) {
		s := newShore(t, 106)
		r, row := s.add(simnet.Behaviour{Cap: 100}, history(1, 200)...)
		s.stands(row)
		s.prove(r, row, 2)
		s.beat()
		r.Hush()
		lost := slices.Concat(dated(3, 20, 0), dated(4, 10, 100*86400))
		r.Add(lost...)
		s.beat()
		s.judge("before anybody knows", 30, row)
		s.later.Store(2 * youngest)
		s.svc.cfg.Sample = 0
		report := s.visit(row)
		s.later.Store(0)
		if report.Tail.Cause != dial.CauseReadTimeout {
			t.Errorf("it is not noticed: %+v", report.Tail)
		}
		s.judge("after the next visit", 10, row)
	}))
}

// TestVisitOutlastsTail ends a tail whose connection a visit has: the visit goes
// on, and closes it.
func TestVisitOutlastsTail(t *testing.T) { Bubble(testVisitOutlastsTail)(t) }

func testVisitOutlastsTail(t *testing.T) {
	s := newShore(t, 109)
	r, row := s.add(simnet.Behaviour{Cap: 100}, history(1, 50)...)
	s.stands(row)
	tails := s.svc.Tails()
	p, leave, ok := tails.borrow(t.Context(), row.ID)
	if !ok {
		t.Fatal("the tail has no connection")
	}
	s.end()
	if tail := s.tail(row); tail.Since != 0 {
		t.Errorf("the tail has not ended: %+v", tail)
	}
	page, err := p.Req(t.Context(), nostr.Filter{Limit: new(10)}, func([]byte) error { return nil })
	if err != nil || !page.End.EOSE() || page.Events != 10 {
		t.Errorf("the visit gets %d events, %s, %v", page.Events, page.End.Kind, err)
	}
	leave()
	s.until("the connection is closed", func() bool { return r.Stats().Open == 0 })
	if _, _, ok := tails.borrow(t.Context(), row.ID); ok {
		t.Error("it is lent once more")
	}
}

// TestTailIsOnes shows that of two processes one follows a relay.
func TestTailIsOnes(t *testing.T) { Bubble(testTailIsOnes)(t) }

func testTailIsOnes(t *testing.T) {
	s := newShore(t, 107)
	r, row := s.add(simnet.Behaviour{Cap: 100}, history(1, 50)...)
	s.stands(row)
	first := s.end
	s.open("another")
	s.visit(row)
	if most := r.Stats().MaxOpen; most > 2 {
		t.Errorf("%d connections", most)
	}
	if n := len(s.svc.Tails().held); n != 0 {
		t.Errorf("the other holds %d tails", n)
	}
	since := s.tail(row).Since
	first() // gives its tail back
	s.until("the other takes it over", func() bool { now := s.tail(row).Since; return now > 0 && now != since || now > since })
	arrived := dated(2, 10, 500*86400)
	r.Add(arrived...)
	s.until("arrivals are archived", func() bool { return s.held(row, arrived...) })
}

// TestTailOfBanned bans a relay that is followed: its operator asked to be left
// alone, and waits for no connection to break.
func TestTailOfBanned(t *testing.T) { Bubble(testTailOfBanned)(t) }

func testTailOfBanned(t *testing.T) {
	s := newShore(t, 109)
	r, row := s.add(simnet.Behaviour{Cap: 100})
	s.stands(row)
	if err := s.db.Ban(t.Context(), []store.Ban{{Target: row.URL.String(), At: time.Now().Unix()}}); err != nil {
		t.Fatal(err)
	}
	s.until("nobody is connected", func() bool { return r.Stats().Open == 0 })
	s.until("the tail has ended", func() bool { return s.tail(row).Since == 0 })
}

// TestTailsSideBySide has one relay flood us, one tell an event now and then and
// one be silent: nobody waits for the others, and what is held of the flood stays
// small.
func TestTailsSideBySide(t *testing.T) { bubble(t, testTailsSideBySide) }

func testTailsSideBySide(t *testing.T) {
	s := newShore(t, 108)
	be := simnet.Behaviour{Cap: 100}
	flood, floodRow := s.add(be)
	slow, slowRow := s.add(be)
	_, silentRow := s.add(be)
	for _, row := range []store.Relay{floodRow, slowRow, silentRow} {
		s.stands(row)
	}
	idle := runtime.NumGoroutine()
	all := simnet.Generate(simnet.Plan{Seed: 9, Count: 4000, Since: time.Now().Unix() - 86400, Until: time.Now().Unix(), Kinds: []nostr.Kind{1}})
	one := s.svc.Tails().held[floodRow.ID]
	flood.Add(all...)
	var most int
	look := func() bool {
		one.mu.Lock()
		most = max(most, len(one.taken.bytes))
		one.mu.Unlock()
		return true
	}
	for i := range 5 {
		arrival := dated(20+uint64(i), 1, 1000)
		slow.Add(arrival...)
		s.until("an event of the slow relay is archived", func() bool { return look() && s.held(slowRow, arrival...) })
	}
	if n := runtime.NumGoroutine(); n > idle+20 {
		t.Errorf("%d goroutines, %d while nothing happened", n, idle)
	}
	s.until("the flood is archived", func() bool { return look() && s.held(floodRow, all[len(all)-1], all[0], all[2000]) })
	s.visit(floodRow)
	s.judge("in the end", 0, floodRow, slowRow, silentRow)
	if most > tailBytes+16<<10 {
		t.Errorf("%d bytes were held of the flood", most)
	}
	t.Logf("at most %d bytes were held of %d events", most, len(all))
}

// TestKeep gives to a tail the claims whose REQ was sent after it stood, and no
// others: what arrived between the REQ and the tail has come by neither.
func TestKeep(t *testing.T) {
	claims := func() []store.Coverage { return []store.Coverage{{AsOf: 99}, {AsOf: 100}, {AsOf: 101}} }
	for since, want := range map[int64][]int64{0: {0, 0, 0}, 100: {0, 100, 100}} {
		got := claims()
		(&visit{tail: store.Tail{Since: since}}).keep(got)
		for i, c := range got {
			if c.Tail != want[i] {
				t.Errorf("a claim as of %d belongs to the tail of %d, want %d, where one stood since %d", c.AsOf, c.Tail, want[i], since)
			}
		}
	}
}

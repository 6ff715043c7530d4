// Package synchronizer owns the completeness of the archive: what of a relay is
// not proved to be held, how it is asked for, and what an answer proves. It
// leaves connections to nostr/session, the judgement of events to archive, and
// the keeping of events and claims, in one transaction, to the store.
//
// Where a relay speaks NIP-77 its history is reconciled first: what it names and
// the archive has from elsewhere is only noted, what is unknown is fetched by id,
// and days that are equal are proved without a download.
//
// The walk goes from newest to oldest by an inclusive until. A page is claimed
// when its successor repeats an event of its last second, so that nothing can
// lie between them; whatever ends without an EOSE proves nothing and stays a
// gap; what exists and cannot be had becomes a hole with a reason.
package synchronizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"bigbrotr/internal/core/archive"
	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/nip19"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/service"
	"bigbrotr/internal/core/store"
)

// Name is the synchronizer's name in the store's schedule.
const Name = "synchronizer"

// Config is what an operator may choose.
type Config struct {
	// Interval is the time between two looks at what is due.
	Interval config.Duration `yaml:"interval"`
	// Retry is the wait after a first failed visit; it grows with each that
	// follows.
	Retry config.Duration `yaml:"retry"`
	// Every is the time between two visits of a relay that is walked to the end,
	// where they bring something new for the bytes they cost.
	Every config.Duration `yaml:"every"`
	// EveryMost is the longest time between two visits of a relay that is walked to
	// the end.
	EveryMost config.Duration `yaml:"every_most"`
	// Parallel is the number of relays visited at once.
	Parallel int `yaml:"parallel"`
	// Limit is the number of events asked for in a page.
	Limit int `yaml:"limit"`
	// Overlap is how far below the top of what is proved each pass begins, for
	// the events that reach a relay late. How late they come is learned for each
	// relay, and less is read in most passes, or more.
	Overlap config.Duration `yaml:"overlap"`
	// Idle is how long an answer may be silent.
	Idle config.Duration `yaml:"idle"`
	// Answer bounds a whole answer, so that a relay cannot hold us by drips.
	Answer config.Duration `yaml:"answer"`
	// PerSecond is the number of requests that one relay gets in a second.
	PerSecond int `yaml:"per_second"`
	// VisitTime bounds the length of one visit. The rest of a relay waits until
	// others have had their turn.
	VisitTime config.Duration `yaml:"visit_time"`
	// VisitRequests bounds the requests of one visit.
	VisitRequests int `yaml:"visit_requests"`
	// VisitBytes bounds what is received in one visit.
	VisitBytes config.Bytes `yaml:"visit_bytes"`
	// DailyBytes bounds what visits of one relay receive in a UTC day; 0 means no
	// bound. What arrives live does not count.
	DailyBytes config.Bytes `yaml:"daily_bytes"`
	// Tails is the number of relays of which this process follows live what
	// arrives; 0 means none.
	Tails int `yaml:"tails"`
	// Authors is how many authors a relay is asked for at most that takes no
	// filter without authors: those who write there or name it, then others that
	// are known. What is covered then is told of each list of them. 0 means none.
	Authors int `yaml:"authors"`
	// Filters are what is archived, each written as in NIP-01 and with a coverage
	// of its own; an event that several match is had once. since and until bound
	// what is wanted. {} is everything, and the only one that can be reconciled by
	// ids (NIP-77).
	Filters []Filter `yaml:"filters"`
	// Relays are those for which something is different.
	Relays []RelayConfig `yaml:"relays"`
	// Auth is none, ephemeral or key: as whom we authenticate to relays that want
	// that for reading (NIP-42). ephemeral is a new key for each visit.
	Auth AuthMode `yaml:"auth"`
	// Key is the secret key for key: an nsec, or 64 hex digits.
	Key config.Secret `yaml:"key"`
	// Sample is the time between two looks at whether a relay shows more than
	// what is claimed; 0 means never.
	Sample config.Duration `yaml:"sample"`
}

// DefaultConfig returns the values of keys that are not set.
func DefaultConfig() Config {
	return Config{
		Interval:      config.Duration(5 * time.Second),
		Retry:         config.Duration(30 * time.Second),
		Every:         config.Duration(time.Hour),
		EveryMost:     config.Duration(24 * time.Hour),
		Parallel:      20,
		Limit:         500,
		Overlap:       config.Duration(3 * 24 * time.Hour),
		Idle:          config.Duration(30 * time.Second),
		Answer:        config.Duration(3 * time.Minute),
		PerSecond:     20,
		VisitTime:     config.Duration(10 * time.Minute),
		VisitRequests: 5000,
		VisitBytes:    config.Bytes(2 << 30),
		Tails:         1000,
		Authors:       20_000,
		Filters:       []Filter{{}},
		Auth:          AuthEphemeral,
		Sample:        config.Duration(6 * time.Hour),
	}
}

// Validate reports values that cannot work.
func (c Config) Validate(check *config.Check) {
	second, day := config.Duration(time.Second), config.Duration(24*time.Hour)
	config.InRange(check, "interval", c.Interval, second, day)
	config.InRange(check, "retry", c.Retry, second, config.Duration(time.Hour))
	config.InRange(check, "every", c.Every, second, 30*day)
	config.InRange(check, "every_most", c.EveryMost, second, 30*day)
	config.InRange(check, "parallel", c.Parallel, 1, 1000)
	config.InRange(check, "limit", c.Limit, minLimit, maxLimit)
	config.InRange(check, "overlap", c.Overlap, 0, 365*day)
	config.InRange(check, "idle", c.Idle, second, day)
	config.InRange(check, "answer", c.Answer, second, day)
	config.InRange(check, "per_second", c.PerSecond, 1, maxPerSecond)
	config.InRange(check, "visit_time", c.VisitTime, second, day)
	config.InRange(check, "visit_requests", c.VisitRequests, 50, 1_000_000)
	config.InRange(check, "visit_bytes", c.VisitBytes, 1<<20, 1<<50)
	config.InRange(check, "daily_bytes", c.DailyBytes, 0, 1<<50)
	config.InRange(check, "tails", c.Tails, 0, 100_000)
	config.InRange(check, "authors", c.Authors, 0, 1_000_000)
	config.InRange(check, "sample", c.Sample, 0, 30*day)
	c.validateTerms(check)
	switch _, err := nip19.ParseSecret(c.Key.Reveal()); {
	case c.Auth == AuthKey && c.Key.IsZero():
		check.Add("auth", "is key, and there is none", "set key, or choose ephemeral or none")
	case !c.Key.IsZero() && err != nil:
		check.Add("key", "is not a secret key", "put an nsec or 64 hex digits in the variable or file")
	}
}

// Store is what the synchronizer needs of the archive.
type Store interface {
	store.Schedule
	store.Archive
	store.Coverages
	store.Paces
	store.Costs
	store.Holdings
	store.Tails
	store.Samples
	Events(ctx context.Context, q store.EventQuery) ([]store.Stored, store.Cursor, error)
	Authors(ctx context.Context, relay store.RelayID, limit int) ([]nostr.PubKey, error)
	LatestChecks(ctx context.Context, relay store.RelayID) ([]store.Check, error)
	RelayCoverage(ctx context.Context, id store.RelayID) ([]store.Coverage, []store.Hole, error)
	Filter(ctx context.Context, id store.FilterID) (nostr.Filter, error)
}

// Service is the synchronizer.
type Service struct {
	cfg    Config
	store  Store
	dialer *dial.Dialer
	owner  string
	log    *slog.Logger
	intake *archive.Intake
	sums   *metrics
	dial   func(ctx context.Context, u relay.URL) (pager, func(), error)
	now    func() time.Time
	tails  *Tails // nil: none
	paces  *paces

	mu     sync.Mutex
	passes map[store.RelayID]pass // begun and not over
}

// New returns a synchronizer that leases relays as owner. Metrics are
// registered with reg, which may be nil.
func New(cfg Config, st Store, dialer *dial.Dialer, owner string, reg prometheus.Registerer, log *slog.Logger) *Service {
	s := &Service{
		cfg: cfg, store: st, dialer: dialer, owner: owner, log: log,
		intake: archive.NewIntake(st, reg),
		sums:   newMetrics(reg),
		passes: map[store.RelayID]pass{}, now: time.Now,
		paces: &paces{store: st, host: hostOf, buckets: map[string]*bucket{}},
	}
	s.dial = s.connect
	if cfg.Tails > 0 {
		s.tails = newTails(s, cfg.Tails)
	}
	return s
}

// Cycle visits every relay that is due, Parallel at once, each with a budget of
// its own, and ends when nothing is due and nobody is visited any more: a slow
// relay keeps no other waiting. When a stop is asked for, the pages in hand are
// finished and saved, and the leases are given back with the relays due at once.
func (s *Service) Cycle(ctx context.Context) error {
	sum := tally{since: time.Now()}
	var visitors atomic.Int32
	group, ctx := errgroup.WithContext(ctx)
	// Nothing is due and nobody is visited: whoever waits for work may go too.
	over, end := context.WithCancel(ctx)
	defer end()
	for range s.cfg.Parallel {
		group.Go(func() error {
			for !service.Stopping(over) {
				visitors.Add(1)
				visited, err := s.one(ctx, &sum)
				others := visitors.Add(-1)
				switch {
				case err != nil:
					return err
				case visited:
				case others == 0:
					end()
				default:
					service.Pause(over, s.cfg.Interval.Std())
				}
			}
			return nil
		})
	}
	err := group.Wait()
	sum.log(ctx, s.log)
	return err
}

// tally sums up visits for the log.
type tally struct {
	mu                     sync.Mutex
	since                  time.Time
	relays, failed         int
	requests, fresh, known int64
}

// tallyTime is how often the log is told of visits while a cycle goes on.
const tallyTime = time.Minute

func (t *tally) add(ctx context.Context, r Report, log *slog.Logger) {
	t.mu.Lock()
	t.relays++
	if r.Cause != "" {
		t.failed++
	}
	t.requests += r.Requests
	t.fresh += r.New
	t.known += r.Known
	full := time.Since(t.since) >= tallyTime
	t.mu.Unlock()
	if full {
		t.log(ctx, log)
	}
}

// log tells what has been summed up and begins anew.
func (t *tally) log(ctx context.Context, log *slog.Logger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.relays > 0 {
		log.InfoContext(ctx, "relays synchronized", "relays", t.relays, "failed", t.failed,
			"requests", t.requests, "new", t.fresh, "known", t.known, "seconds", int64(time.Since(t.since).Seconds()))
	}
	t.since = time.Now()
	t.relays, t.failed, t.requests, t.fresh, t.known = 0, 0, 0, 0, 0
}

// one visits the relay that is due the longest. It returns false when none is.
func (s *Service) one(ctx context.Context, sum *tally) (bool, error) {
	now := s.now()
	working, cancel := context.WithTimeout(ctx, s.workTime())
	defer cancel()
	due, err := s.store.DueRelays(working, store.Due{
		Service: Name, Now: now.Unix(), Limit: 1, Owner: s.owner,
		Until: now.Add(s.workTime() + endTime).Unix(), Networks: s.dialer.Networks(),
	})
	if err != nil {
		return false, fmt.Errorf("lease relays: %w", err)
	}
	if len(due) == 0 {
		return false, nil
	}
	work := due[0]
	if s.cfg.terms(work.Relay.URL).Off {
		next := store.Next{Relay: work.Relay.ID, Service: Name, Owner: s.owner, DueAt: now.Add(offWait).Unix()}
		if err := s.store.SaveNext(working, []store.Next{next}); err != nil {
			return false, fmt.Errorf("save schedule: %w", err)
		}
		return true, nil
	}
	v, end, err := s.visit(working, work.Relay, budget{
		time:     s.cfg.VisitTime.Std(),
		requests: int64(s.cfg.VisitRequests),
		bytes:    int64(s.cfg.VisitBytes),
	}, nil)
	if err != nil {
		return false, err
	}
	next := s.next(work, v, end, s.now())
	// What was decided is saved also when we are being stopped.
	saving, done := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer done()
	if err := s.store.SaveNext(saving, []store.Next{next}); err != nil {
		return false, fmt.Errorf("save schedule: %w", err)
	}
	s.log.DebugContext(ctx, "relay synchronized", "relay", work.Relay.URL.String(), "cause", string(v.report.Cause),
		"requests", v.report.Requests, "new", v.report.New, "known", v.report.Known, "due", next.DueAt)
	sum.add(ctx, v.report, s.log)
	return true, nil
}

const (
	// dialTime bounds the wait for a turn to dial, the dial included, whose own
	// timeouts are far below it.
	dialTime = 5 * time.Minute
	// storeTime is what leasing, and saving pages while they come, may take of a
	// visit besides.
	storeTime = time.Minute
	// endTime bounds what follows when the time of a visit is over: breaking off
	// what is under way, the farewell, and three times saveTimeout.
	endTime     = time.Minute
	saveTimeout = 5 * time.Second
)

// workTime bounds the work on a leased relay, with which the lease begins and
// which a context ends: a tail that is to stand first, a dial, the visit, and an answer that is under way when
// the visit has had its time. The lease lasts endTime longer.
func (s *Service) workTime() time.Duration {
	return storeTime + standTime + dialTime + s.cfg.VisitTime.Std() + s.cfg.Answer.Std()
}

// ErrOff is returned for a relay that the configuration leaves alone.
var ErrOff = errors.New("the configuration leaves this relay alone (synchronizer.relays: off)")

// Sync walks a relay to the end, without the bounds of a visit. progress, which
// may be nil, is called after every answer. What the relay does is in the
// report; the error is ours, or ErrOff.
func (s *Service) Sync(ctx context.Context, r store.Relay, progress func(Progress)) (Report, error) {
	if s.cfg.terms(r.URL).Off {
		return Report{}, fmt.Errorf("sync %s: %w", r.URL, ErrOff)
	}
	v, _, err := s.visit(ctx, r, budget{}, progress)
	if err != nil {
		return Report{}, err
	}
	return v.report, nil
}

// visit connects to a relay and works there until the work is done, the budget
// is spent, or the relay does not go on.
func (s *Service) visit(ctx context.Context, r store.Relay, b budget, progress func(Progress)) (*visit, error, error) {
	s.tails.ensure(ctx, r.ID)
	v, err := s.arrive(ctx, r, b, progress)
	if err != nil {
		return nil, nil, fmt.Errorf("visit %s: %w", r.URL, err)
	}
	defer s.paces.leave(v.relayPace)
	defer s.paces.part(v)
	v.join = func(ctx context.Context, sess *session.Session) error { return s.paces.join(ctx, v, sess) }
	signer := s.cfg.signer()
	v.connect = func(ctx context.Context) (pager, func(), error) {
		p, leave, ok := s.tails.borrow(ctx, r.ID)
		if !ok {
			var err error
			if p, leave, err = s.dial(ctx, r.URL); err != nil {
				return nil, nil, err
			}
		}
		if sess, ok := p.(*session.Session); ok {
			p = newLogin(sess, signer, v.spent)
		}
		return p, leave, nil
	}
	end := v.stay(ctx)
	if end != nil && !isHalt(end) {
		return nil, nil, fmt.Errorf("visit %s: %w", r.URL, end)
	}
	s.remember(v, end == nil)
	if end == nil {
		v.rhythm(s.cfg.Every.Std(), s.cfg.EveryMost.Std())
		v.learnOverlap(s.cfg.Overlap.Std())
	}
	v.report.Cause = causeOf(end)
	// Nothing of this may be lost to the stop that ended the visit.
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := v.finish(saving); err != nil {
		return nil, nil, fmt.Errorf("visit %s: %w", r.URL, err)
	}
	s.sums.visits.WithLabelValues(string(v.report.Cause)).Inc()
	return v, end, nil
}

// arrive prepares a visit.
func (s *Service) arrive(ctx context.Context, r store.Relay, b budget, progress func(Progress)) (*visit, error) {
	terms := s.cfg.terms(r.URL)
	v := &visit{
		store: s.store, intake: s.intake, log: s.log, sums: s.sums, now: s.now,
		filters: terms.live(),
		party:   s.cfg.Auth == AuthKey,
		daily:   int64(terms.DailyBytes),
		budget:  b, relay: r,
		overlap:   int64(s.cfg.Overlap.Std().Seconds()),
		span:      maxTime,
		lowest:    maxTime,
		kindChunk: kindChunk,
		kinds:     map[nostr.Kind]int{},
		authors:   map[nostr.PubKey]bool{},
		ahead:     map[store.FilterID]bool{},
		every:     s.cfg.Sample.Std(),

		maxAuthors: s.cfg.Authors,
		draw:       rand.Int64N,
		report:     Report{URL: r.URL.String()},
	}
	var err error
	if v.relayPace, err = s.paces.enter(ctx, r.URL.String(), rate.Limit(terms.PerSecond)); err != nil {
		return nil, err
	}
	oldest := int64(maxTime)
	v.tell = func(win store.Interval) {
		oldest = min(oldest, win.Hi)
		if progress != nil {
			progress(Progress{
				Window: win, Oldest: oldest, Requests: v.report.Requests, Events: v.report.EventsReceived,
				New: v.report.New, Known: v.report.Known, Bytes: v.report.BytesReceived,
			})
		}
	}
	if err := v.begin(ctx, terms.Limit, s.recall(r.ID)); err != nil {
		s.paces.leave(v.relayPace)
		return nil, err
	}
	v.setOverlap(s.cfg.Overlap.Std(), s.cfg.Every.Std())
	return v, nil
}

// begin reads what the visit needs to know.
func (v *visit) begin(ctx context.Context, limit int, p pass) error {
	now := v.now().Unix()
	if p.begun == 0 {
		p = pass{begun: now}
	}
	v.pass = p
	v.kindChunk = cmp.Or(p.kindChunk, v.kindChunk)
	err := v.about(ctx, v.filters[0])
	if err != nil {
		return err
	}
	if v.tail, err = v.store.Tail(ctx, v.relay.ID); err != nil {
		return err
	}
	return v.calibration(ctx, limit)
}

// about makes the visit one about a filter.
func (v *visit) about(ctx context.Context, f nostr.Filter) error {
	v.target = store.Interval{Lo: 0, Hi: v.now().Unix() + lead}
	if f.Since != nil {
		v.target.Lo = *f.Since
	}
	v.ends = f.Until != nil
	if v.ends {
		v.target.Hi = min(v.target.Hi, *f.Until)
	}
	// What was had of a filter is had, whatever time is wanted of it now.
	f.Since, f.Until = nil, nil
	id, err := v.store.FilterID(ctx, f)
	if err != nil {
		return v.local(ctx, fmt.Errorf("number filter: %w", err))
	}
	v.filter, v.filterID = f, id
	v.listIDs = append(v.listIDs, id)
	coverage, err := v.store.Coverage(ctx, v.relay.ID, id)
	if err != nil {
		return v.local(ctx, fmt.Errorf("read coverage: %w", err))
	}
	v.covered = settled(coverage, maxTime, nil)
	v.sums.unproved.Add(float64(v.unproved))
	v.top, v.shown, v.unproved = 0, 0, 0
	return nil
}

// options are those of every session.
func (s *Service) options() session.Options {
	return session.Options{Dialer: s.dialer, Idle: s.cfg.Idle.Std(), Request: s.cfg.Answer.Std()}
}

// connect opens a session.
func (s *Service) connect(ctx context.Context, u relay.URL) (pager, func(), error) {
	opening, done := service.UntilStop(ctx)
	defer done()
	sess, err := session.Dial(opening, u, s.options())
	if err != nil {
		return nil, nil, err
	}
	return sess, func() { farewell(ctx, sess) }, nil
}

// passAge is after how long a pass that does not end is begun anew.
const passAge = 24 * time.Hour

func (s *Service) recall(id store.RelayID) pass {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.passes[id]
	if s.now().Unix()-p.begun > int64(passAge.Seconds()) {
		return pass{}
	}
	return p
}

func (s *Service) remember(v *visit, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.passes, v.relay.ID)
	if done {
		return
	}
	if d := v.pass.dense; d != nil {
		d.w = nil // of this visit
		if s.ladders() >= maxLadders {
			v.pass.dense = nil
		}
	}
	v.pass.kindChunk = v.kindChunk
	s.passes[v.relay.ID] = v.pass
}

// maxLadders is of how many relays a second that is got by kinds is remembered
// between visits: each may have some ten thousand ids.
const maxLadders = 64

func (s *Service) ladders() int {
	n := 0
	for id := range s.passes {
		if s.passes[id].dense != nil {
			n++
		}
	}
	return n
}

package synchronizer

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/simnet"
)

func TestComplaints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		prefix, text string
		want         complaint
	}{
		{"rate-limited", "rate-limited: slow down there", tooFast},
		{"rate-limited", "rate-limited:", tooFast},
		{"error", "error: too many concurrent REQs", tooMany},
		{"error", "error: too many subscriptions", tooMany},
		{"", "Maximum number of subscriptions reached", tooMany},
		{"blocked", "blocked: max concurrent subscription count reached", tooMany},
		{"rate-limited", "rate-limited: too many concurrent subscriptions", tooMany},
		{"", "You are going too fast", tooFast},
		{"", "Rate limit exceeded", tooFast},
		{"error", "error: too many requests, throttled", tooFast},
		{"blocked", "blocked: the filter is too broad", noComplaint},
		{"auth-required", "auth-required: subscriptions are for members", noComplaint},
		{"", "", noComplaint},
	} {
		if got := complaintOf(tt.prefix, tt.text); got != tt.want {
			t.Errorf("%q is a complaint about %s, want %s", tt.text, got, tt.want)
		}
	}
}

// TestBucket widens the spacing with each complaint, and takes it back hour by
// hour.
func TestBucket(t *testing.T) {
	t.Parallel()
	b := &bucket{base: 20, limiter: rate.NewLimiter(20, 20)}
	now := time.Unix(1_800_000_000, 0)
	quiet := func() time.Duration { return time.Unix(b.quiet(), 0).Sub(now) }
	between := func(what string, got, lo, hi time.Duration) {
		t.Helper()
		if got < lo || got > hi {
			t.Errorf("%s %s, want %s to %s", what, got, lo, hi)
		}
	}
	for i, want := range []struct{ spacing, quiet time.Duration }{
		{250 * time.Millisecond, 30 * time.Second},
		{500 * time.Millisecond, time.Minute},
		{time.Second, 2 * time.Minute},
		{2 * time.Second, 4 * time.Minute},
		{4 * time.Second, 8 * time.Minute},
		{8 * time.Second, 16 * time.Minute},
		{16 * time.Second, 32 * time.Minute},
		{32 * time.Second, time.Hour},
		{time.Minute, time.Hour},
		{time.Minute, time.Hour},
	} {
		b.complain(tooFast, false, now)
		if got := time.Duration(b.pace.Spacing) * time.Millisecond; got != want.spacing || b.limiter.Limit() != rate.Every(want.spacing) || b.limiter.Burst() != 1 {
			t.Errorf("complaint %d: %s between requests, want %s; %+v", i+1, got, want.spacing, b.limiter)
		}
		between("left alone for", quiet(), want.quiet*9/10-time.Second, want.quiet*11/10+time.Second)
		now = now.Add(time.Minute)
		b.pace.Until = 0
	}
	for range 9 {
		before := b.pace.Spacing
		now = now.Add(61 * time.Minute)
		if err := b.wait(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if b.pace.Spacing != before/2 {
			t.Errorf("after an hour %d ms between requests, %d before", b.pace.Spacing, before)
		}
		b.limiter.SetLimit(rate.Inf) // the next wait is not what is tested
	}
	now = now.Add(24 * time.Hour)
	if err := b.wait(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if b.pace.Spacing != 0 || b.pace.Complaints != 0 || b.limiter.Limit() != 20 || b.limiter.Burst() != 20 {
		t.Errorf("after a day: %+v, limit %v", b.pace, b.limiter.Limit())
	}

	// Fewer at once, and only when one is too many, more slowly too.
	for _, want := range []struct {
		parallel int
		spaced   bool
	}{{2, false}, {1, false}, {1, true}} {
		b.complain(tooMany, false, now)
		if b.parallel() != want.parallel || (b.pace.Spacing > 0) != want.spaced || b.pace.Until > now.Unix() {
			t.Errorf("%d at once, %d ms between requests; want %d, %t", b.parallel(), b.pace.Spacing, want.parallel, want.spaced)
		}
	}
	b.ease(now.Add(3 * time.Hour).Unix())
	if b.parallel() != mostParallel {
		t.Errorf("%d at once after three hours", b.parallel())
	}

	// One relay's first complaint is not the whole host's.
	host := &bucket{base: 40, limiter: rate.NewLimiter(40, 40)}
	host.complain(tooFast, true, now)
	if host.quiet() > now.Unix() || host.pace.Spacing == 0 {
		t.Errorf("a first complaint leaves the host alone: %+v", host.pace)
	}
	host.complain(tooFast, true, now)
	if host.quiet() <= now.Unix() {
		t.Errorf("a second complaint does not: %+v", host.pace)
	}
}

// spares is an archive with simulated relays at one host, whose clock is set.
type spares struct {
	t    *testing.T
	db   *sqlite.DB
	net  *simnet.Network
	now  time.Time
	rows []store.Relay
}

func newSpares(t *testing.T, relays ...simnet.Behaviour) (*spares, []*simnet.Relay) {
	t.Helper()
	s := &spares{t: t, db: openArchive(t), net: simnet.Piped(77), now: time.Now()}
	t.Cleanup(s.net.Close)
	var list []*simnet.Relay
	var urls []relay.URL
	for _, be := range relays {
		r, err := s.net.AddRelay(be)
		if err != nil {
			t.Fatal(err)
		}
		list, urls = append(list, r), append(urls, r.URL())
	}
	var err error
	if s.rows, err = s.db.AddRelays(t.Context(), urls, s.now.Unix()); err != nil {
		t.Fatal(err)
	}
	return s, list
}

// fill gives a relay events of the last months.
func (s *spares) fill(relays []*simnet.Relay, counts ...int) {
	for i, n := range counts {
		relays[i].Add(simnet.Generate(simnet.Plan{Seed: uint64(i + 1), Count: n, Since: s.now.Unix() - 90*86400, Until: s.now.Unix() - 3600})...)
	}
}

// service is a process of its own.
func (s *spares) service(change func(*Config)) *Service {
	cfg, dials := DefaultConfig(), dial.DefaultConfig()
	cfg.Tails, cfg.Limit, cfg.Idle = 0, 20, config.Duration(2*time.Second)
	cfg.PerSecond = 1000
	if change != nil {
		change(&cfg)
	}
	dials.AllowLocal, dials.PerMinute = true, 100_000
	svc := New(cfg, s.db, dial.New(dials).Over(s.net.Dial), "test", nil, slog.New(slog.DiscardHandler))
	svc.now = func() time.Time { return s.now }
	svc.paces.host = func(netip.Addr) string { return "192.0.2.7" }
	return svc
}

func (s *spares) sync(svc *Service, i int) Report {
	s.t.Helper()
	r, err := svc.Sync(s.t.Context(), s.rows[i], nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *spares) pace(target string) store.Pace {
	s.t.Helper()
	paces, err := s.db.Paces(s.t.Context(), []string{target})
	if err != nil {
		s.t.Fatal(err)
	}
	return paces[0]
}

// TestRateLimited leaves alone who complains about our rate, in whatever words, by
// whichever process, and goes on when that time is over.
func TestRateLimited(t *testing.T) {
	t.Parallel()
	for _, as := range []simnet.Refusal{simnet.RefuseClosed, simnet.RefuseNoticeEOSE} {
		t.Run(string(as), Bubble(func(t *testing.T) {
			s, relays := newSpares(t, simnet.Behaviour{Cap: 20, RefuseAs: as, Rate: simnet.Rate{Requests: 9}}, simnet.Behaviour{Cap: 20})
			s.fill(relays, 400, 400)
			r := s.sync(s.service(nil), 0)
			if r.Cause != dial.CauseRateLimited || r.New == 0 {
				t.Fatalf("ended by %q with %d new", r.Cause, r.New)
			}
			connections := relays[0].Stats().Connections
			// After a restart, and in another process.
			if r := s.sync(s.service(nil), 0); r.Cause != dial.CauseRateLimited || relays[0].Stats().Connections != connections {
				t.Errorf("at once again: ended by %q, %d connections after %d", r.Cause, relays[0].Stats().Connections, connections)
			}
			// One complaint is not that of the other relay at the host.
			if r := s.sync(s.service(nil), 1); r.Cause != "" {
				t.Errorf("another relay at the host: ended by %q", r.Cause)
			}
			s.now = s.now.Add(time.Minute)
			r = s.sync(s.service(nil), 0)
			if relays[0].Stats().Connections != connections+1 || r.Cause != dial.CauseRateLimited || r.Requests < 9 {
				t.Errorf("a minute later: ended by %q after %d requests, %d connections after %d", r.Cause, r.Requests, relays[0].Stats().Connections, connections)
			}
			if p := s.pace(relays[0].URL().String()); p.Complaints != 2 || p.Spacing != 500 {
				t.Errorf("kept: %+v", p)
			}
			// Two in a row are: the host may be one that counts addresses.
			if r := s.sync(s.service(nil), 1); r.Cause != dial.CauseRateLimited || r.Requests > 0 {
				t.Errorf("another relay at the host: ended by %q after %d requests", r.Cause, r.Requests)
			}
			relays[0].SetBehaviour(simnet.Behaviour{Cap: 20})
			s.now = s.now.Add(12 * time.Hour)
			if r := s.sync(s.service(nil), 0); r.Cause != "" {
				t.Errorf("half a day later: ended by %q", r.Cause)
			}
		}))
	}
}

// TestTooManySubscriptions asks for less at once, and takes a complaint about that
// for no refusal of the filter.
func TestTooManySubscriptions(t *testing.T) { Bubble(testTooManySubscriptions)(t) }

func testTooManySubscriptions(t *testing.T) {
	s, relays := newSpares(t, simnet.Behaviour{Cap: 100, Faults: []simnet.Fault{{
		What: simnet.Closed, Text: "error: too many concurrent REQs", When: simnet.When{First: 3},
	}}})
	s.fill(relays, 400)
	r := s.sync(s.service(func(c *Config) { c.Limit = 100 }), 0)
	if r.Cause != "" || r.New != int64(relays[0].Len()) {
		t.Errorf("ended by %q with %d of %d", r.Cause, r.New, relays[0].Len())
	}
	if p := s.pace(relays[0].URL().String()); p.Parallel != 1 || p.Until > s.now.Unix() {
		t.Errorf("kept: %+v", p)
	}
	cal, err := s.db.Calibration(t.Context(), s.rows[0].ID)
	if err != nil || cal.OpenRefused {
		t.Errorf("calibration %+v, %v", cal, err)
	}
}

// TestDailyBytes stops when the bytes of a day are spent, also over a restart, and
// goes on the next day.
func TestDailyBytes(t *testing.T) { Bubble(testDailyBytes)(t) }

func testDailyBytes(t *testing.T) {
	s, relays := newSpares(t, simnet.Behaviour{Cap: 20}, simnet.Behaviour{Cap: 20})
	s.fill(relays, 400, 400)
	const most = 1 << 16
	limited := func(c *Config) { c.Relays = []RelayConfig{{URL: relays[0].URL().String(), DailyBytes: most}} }
	var whole int64
	for day := range 20 {
		svc := s.service(limited)
		r := s.sync(svc, 0)
		whole += r.New
		if r.Cause == "" {
			if day < 2 {
				t.Errorf("done on day %d", day)
			}
			break
		}
		if r.Cause != dial.CauseBusy || r.BytesReceived > 2*most || r.New == 0 {
			t.Fatalf("day %d: ended by %q, %d bytes, %d new", day, r.Cause, r.BytesReceived, r.New)
		}
		if again := s.sync(s.service(limited), 0); again.Requests > 0 {
			t.Fatalf("day %d: %d requests after the bytes were spent", day, again.Requests)
		}
		v, end, err := svc.visit(context.WithoutCancel(t.Context()), s.rows[0], budget{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		next := svc.next(store.Work{Relay: s.rows[0], Attempts: 3}, v, end, s.now)
		if wait := next.DueAt - s.now.Unix(); next.Attempts != 3 || (s.now.Unix()+wait)/store.Day <= s.now.Unix()/store.Day && wait < 3600 {
			t.Errorf("next after %d s, %d failures", wait, next.Attempts)
		}
		s.now = s.now.Add(24 * time.Hour)
	}
	if whole != int64(relays[0].Len()) {
		t.Errorf("%d of %d archived", whole, relays[0].Len())
	}
	if r := s.sync(s.service(limited), 1); r.Cause != "" {
		t.Errorf("the other relay: ended by %q", r.Cause)
	}
}

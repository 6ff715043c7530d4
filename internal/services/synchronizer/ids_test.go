package synchronizer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/negentropy"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

// TestUnreadableIDs asks for an event that is larger than we read by its id, and
// not again at each visit.
func TestUnreadableIDs(t *testing.T) { Bubble(testUnreadableIDs)(t) }

func testUnreadableIDs(t *testing.T) {
	s, relays := newSpares(t, simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest}})
	s.fill(relays, 900)
	key := nostr.GenerateKey()
	var huge []nostr.ID
	for i := range 2 {
		e := nostr.Event{Kind: 1, CreatedAt: s.now.Unix() - int64(20+i)*86400, Content: strings.Repeat("x", 5<<20), Tags: []nostr.Tag{}}
		if err := key.Sign(&e); err != nil {
			t.Fatal(err)
		}
		relays[0].Add(simnet.NewEvent(&e))
		huge = append(huge, e.ID)
	}
	first := s.sync(s.service(nil), 0)
	if first.Cause != "" || first.New != 900 {
		t.Fatalf("ended by %q with %d of 900", first.Cause, first.New)
	}
	holes := slices.DeleteFunc(slices.Clone(first.Holes), func(h Missing) bool { return h.Reason != store.HoleOversize })
	if len(holes) == 0 {
		t.Errorf("holes %+v", first.Holes)
	}
	for m, err := range s.db.ScanMissing(t.Context(), s.rows[0].ID) {
		if err != nil || m.Hold != store.HoldRefused || !slices.Contains(huge, m.ID) {
			t.Errorf("missing: %+v, %v", m, err)
		}
	}
	asked := len(relays[0].Asked())
	again := s.sync(s.service(nil), 0)
	for _, f := range relays[0].Asked()[asked:] {
		if slices.ContainsFunc(f.IDs, func(id nostr.ID) bool { return slices.Contains(huge, id) }) {
			t.Error("an id that cannot be read was asked for again")
		}
	}
	if again.Cause != "" || again.Coverage[0].Level != store.LevelFingerprint {
		t.Errorf("again: ended by %q, %+v", again.Cause, again.Coverage)
	}
	if len(again.Holes) < len(holes) {
		t.Errorf("again: holes %+v, %+v before", again.Holes, holes)
	}
}

// skewed is an archive whose sum of one day is wrong until that day is counted
// anew.
type skewed struct {
	Store
	day     int64
	counted []store.Interval
}

func (s *skewed) HeldDays(ctx context.Context, relay store.RelayID, now int64) ([]negentropy.Day, error) {
	days, err := s.Store.HeldDays(ctx, relay, now)
	for i := range days {
		if days[i].Start == s.day && len(s.counted) == 0 {
			days[i].Add(nostr.ID{9})
		}
	}
	return days, err
}

func (s *skewed) RecountHeld(ctx context.Context, relay store.RelayID, within store.Interval) ([]store.Difference, error) {
	s.counted = append(s.counted, within)
	return s.Store.RecountHeld(ctx, relay, within)
}

// TestStale counts the one day anew whose sum is wrong, and no other.
func TestStale(t *testing.T) { Bubble(testStale)(t) }

func testStale(t *testing.T) {
	s, relays := newSpares(t, simnet.Behaviour{Negentropy: simnet.Negentropy{As: simnet.NegHonest}})
	s.fill(relays, 3000)
	s.sync(s.service(nil), 0)
	days, err := s.db.HeldDays(t.Context(), s.rows[0].ID, s.now.Unix())
	if err != nil || len(days) < 60 {
		t.Fatalf("%d days, %v", len(days), err)
	}
	wrong := &skewed{Store: s.db, day: days[30].Start}
	svc := s.service(nil)
	svc.store = wrong
	if r := s.sync(svc, 0); r.Cause != "" {
		t.Errorf("ended by %q", r.Cause)
	}
	day := store.Interval{Lo: days[30].Start, Hi: days[30].Start + store.Day - 1}
	for _, iv := range wrong.counted {
		if iv.Hi < day.Lo || iv.Lo > day.Hi || iv.Hi-iv.Lo > nest*store.Day {
			t.Errorf("counted anew: %+v, want %+v", iv, day)
		}
	}
	if len(wrong.counted) != 1 {
		t.Errorf("counted %d times", len(wrong.counted))
	}
	before := relays[0].Stats().Requests
	r := s.sync(svc, 0)
	if r.Coverage[0].Level != store.LevelFingerprint || relays[0].Stats().Requests-before > 10 {
		t.Errorf("afterwards: %+v, %d requests", r.Coverage, relays[0].Stats().Requests-before)
	}
	if !errors.Is(&negentropy.StaleError{}, negentropy.ErrStale) {
		t.Error("a StaleError is no ErrStale")
	}
}

// TestOverlap learns how far back is to be read again from what comes late.
func TestOverlap(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	v := &visit{budget: budget{requests: 1}, covered: []store.Interval{{Lo: 0, Hi: 1000 * store.Day}}, top: 1000 * store.Day}
	v.now = func() time.Time { return time.Unix(1001*store.Day, 0) }
	learn := func(late time.Duration) time.Duration {
		v.lateBy = 0
		if late > 0 {
			v.cameLate(v.top - int64(late.Seconds()))
		}
		v.learnOverlap(3 * day)
		return time.Duration(v.cal.Overlap) * time.Second
	}
	last := 3 * day
	for range 60 {
		got := learn(0)
		if got > last || got < leastOverlap {
			t.Fatalf("nothing late: %s after %s", got, last)
		}
		last = got
	}
	if last != leastOverlap {
		t.Errorf("with nothing late for long it is %s", last)
	}
	for _, tt := range []struct{ late, want time.Duration }{{2 * time.Hour, 4 * time.Hour}, {time.Hour, 3*time.Hour + 30*time.Minute}, {2 * day, 4 * day}, {29 * day, 30 * day}} {
		if got := learn(tt.late); got != tt.want {
			t.Errorf("%s late: %s, want %s", tt.late, got, tt.want)
		}
	}
	// What was not claimed did not come late.
	v.covered = []store.Interval{{Lo: 900 * store.Day, Hi: 1000 * store.Day}}
	v.lateBy = 0
	if v.cameLate(800 * store.Day); v.lateBy != 0 {
		t.Errorf("an event of a gap came %d s late", v.lateBy)
	}

	// All of it is read often enough that what comes later than learned is noticed
	// before it is too old.
	v.cal = store.Calibration{Overlap: 3600}
	whole := 0
	for i := range int64(72) { // hours
		v.draw = func(n int64) int64 { return i * n / 72 }
		if v.setOverlap(3*day, time.Hour); v.overlap == int64((3 * day).Seconds()) {
			whole++
		} else if v.overlap != 3600 {
			t.Fatalf("%d s are read again", v.overlap)
		}
	}
	if whole < 7 || whole > 9 {
		t.Errorf("all is read in %d of 72 visits", whole)
	}
	v.budget, v.draw = budget{}, func(n int64) int64 { return n - 1 }
	if v.setOverlap(3*day, time.Hour); v.overlap != int64((3 * day).Seconds()) {
		t.Errorf("without bounds %d s are read again", v.overlap)
	}
	v.budget.requests = 1
	v.cal.Every = 86400
	if v.setOverlap(3*day, time.Hour); v.overlap != int64((3 * day).Seconds()) {
		t.Errorf("once a day %d s are read again", v.overlap)
	}
	v.cal.Overlap = 5 * store.Day
	if v.setOverlap(3*day, time.Hour); v.overlap != 5*store.Day {
		t.Errorf("of five days learned %d s are read again", v.overlap)
	}
	if v.setOverlap(0, time.Hour); v.overlap != 0 {
		t.Errorf("%d s are read again where none are wanted", v.overlap)
	}
}

// TestLateArrivals measures it at a relay.
func TestLateArrivals(t *testing.T) { Bubble(testLateArrivals)(t) }

func testLateArrivals(t *testing.T) {
	s, relays := newSpares(t, simnet.Behaviour{Cap: 100})
	s.fill(relays, 200)
	svc := s.service(nil)
	s.sync(svc, 0)
	cal := func() store.Calibration {
		c, err := s.db.Calibration(t.Context(), s.rows[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := cal(); c.Overlap != 0 {
		t.Errorf("learned on first contact: %d s", c.Overlap)
	}
	at := s.now.Unix() - 2*store.Day
	relays[0].Add(simnet.Generate(simnet.Plan{Seed: 50, Count: 3, Since: at, Until: at + 60})...)
	s.now = s.now.Add(time.Hour)
	s.sync(svc, 0)
	if c := cal(); c.Overlap < 4*store.Day-600 || c.Overlap > 4*store.Day+7200 {
		t.Errorf("two days late: %d s are read again", c.Overlap)
	}
}

// TestFetchTogether has up to four requests for ids under way at once, and one
// only at a relay that complained of more.
func TestFetchTogether(t *testing.T) { Bubble(testFetchTogether)(t) }

func testFetchTogether(t *testing.T) {
	for _, most := range []int{0, 2} {
		s, relays := newSpares(t, simnet.Behaviour{MaxSubs: most, Latency: 20 * time.Millisecond, Negentropy: simnet.Negentropy{As: simnet.NegHonest}})
		s.fill(relays, 3000)
		r := s.sync(s.service(func(c *Config) { c.Limit = 500 }), 0)
		if r.Cause != "" || r.New != 3000 {
			t.Errorf("at most %d at once: ended by %q with %d of 3000", most, r.Cause, r.New)
		}
		at := relays[0].Stats().MaxSubs
		p := s.pace(relays[0].URL().String())
		if most == 0 && (at < 3 || at > mostParallel+1 || p.Parallel != 0) || most > 0 && p.Parallel == 0 {
			t.Errorf("at most %d at once: %d subscriptions stood at once; %+v", most, at, p)
		}
	}
}

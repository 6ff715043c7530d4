package synchronizer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"testing"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
	"bigbrotr/internal/simnet"
)

// stay is an archive and a service for one relay of the model.
type stay struct {
	t   *testing.T
	db  *dying
	svc *Service
	row store.Relay
	m   *model
}

func openArchive(t testing.TB) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), NewArchive(t), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func newStay(t *testing.T, m *model) *stay {
	t.Helper()
	db := openArchive(t)
	u, err := relay.Parse("wss://relay.bigbrotr.net")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.AddRelays(t.Context(), []relay.URL{u}, modelNow.Unix())
	if err != nil {
		t.Fatal(err)
	}
	m.rng, m.late = rand.New(rand.NewPCG(1, 1)), map[string]session.Late{}
	s := &stay{t: t, row: rows[0], m: m, db: &dying{DB: db, left: -1, filters: map[store.FilterID]nostr.Filter{}}}
	cfg := DefaultConfig()
	cfg.PerSecond = 1_000_000
	s.svc = New(cfg, s.db, dial.New(dial.DefaultConfig()), "test", nil, slog.New(slog.DiscardHandler))
	s.svc.now = m.now
	s.svc.dial = func(context.Context, relay.URL) (pager, func(), error) {
		m.closed = false
		return m, func() {}, nil
	}
	return s
}

func (s *stay) sync() Report {
	s.t.Helper()
	report, err := s.svc.Sync(s.t.Context(), s.row, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

// public are the facts of the pool that lie in the past and are for everyone.
func public() []fact {
	now := modelNow.Unix()
	var out []fact
	for _, f := range pool() {
		if f.event.CreatedAt < now-3600 && f.event.Kind < 1000 && f.event.Kind != 4 {
			out = append(out, f)
		}
	}
	return out
}

// TestLastListIsClaimed shows that the last page of a visit is claimed although
// no other follows that would prove it.
func TestLastListIsClaimed(t *testing.T) {
	s := newStay(t, &model{facts: public(), limit: 100, openBroad: true})
	s.sync()
	for id, f := range s.db.filters {
		if len(f.Kinds) == 0 {
			continue
		}
		claims, err := s.db.Coverage(t.Context(), s.row.ID, id)
		if err != nil {
			t.Fatal(err)
		}
		if len(claims) == 0 || claims[0].Lo > 0 {
			t.Errorf("%s: claims %+v, want them from 0 on", f.AppendJSON(nil), claims)
		}
	}
}

// TestUntilIsNotMisjudged shows that one failed answer does not make a relay's
// until exclusive for a month.
func TestUntilIsNotMisjudged(t *testing.T) {
	m := &model{facts: public(), limit: 100, order: store.OrderOldest}
	failed := false
	m.twist = func(f nostr.Filter, out *session.Page, page []fact) []fact {
		if len(f.IDs) > 0 && !failed {
			failed, out.Notices = true, 1
			return nil
		}
		return page
	}
	s := newStay(t, m)
	s.sync()
	cal, err := s.db.Calibration(t.Context(), s.row.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !failed || cal.ExclusiveUntil {
		t.Errorf("failed: %v, calibration %+v, want an inclusive until", failed, cal)
	}
}

// TestContraryRelay shows that a relay cannot hold the walk at one window for
// ever.
func TestContraryRelay(t *testing.T) {
	m := &model{facts: public()[:1]}
	var blind int64
	m.twist = func(f nostr.Filter, _ *session.Page, page []fact) []fact {
		if blind == 0 {
			blind = *f.Until
		}
		if f.Until != nil && *f.Until == blind {
			return nil
		}
		return page
	}
	s := newStay(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := s.svc.Sync(ctx, s.row, func(p Progress) {
		if p.Requests > 2000 {
			cancel()
		}
	})
	if err != nil || ctx.Err() != nil {
		t.Errorf("still asking after 2000 requests (%v)", err)
	}
}

// TestDeaths kills the process once at every batch, and goes on until a visit
// ends well: nothing that was saved may lead the next visits astray.
func TestDeaths(t *testing.T) {
	tests := []struct {
		name  string
		relay model
	}{
		{"plain", model{limit: 12}},
		{"open filter refused", model{limit: 12, openBroad: true}},
		{"exclusive until, since ignored", model{limit: 12, exclusive: true, noSince: true}},
		{"private kinds hidden", model{limit: 12, postFilter: true, refusePriv: true, counts: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := openArchive(t)
			for death := range 30 {
				m := test.relay
				m.rng, m.late = rand.New(rand.NewPCG(1, 1)), map[string]session.Late{}
				for i, f := range pool() {
					if i%9 == 0 {
						m.facts = append(m.facts, f)
					}
				}
				m.live(t, db, death, []int{death})
			}
		})
	}
}

// single reports whether a filter asks for one second, with the one below it.
func single(f nostr.Filter) bool {
	return f.Since != nil && f.Until != nil && *f.Until-*f.Since <= 1
}

// TestStrangeRelays walks relays that have led the walk to a wrong claim, or past
// events.
func TestStrangeRelays(t *testing.T) {
	then := modelNow.Unix() - 50*86400
	after := func(at int64) (out []fact) {
		for _, f := range pool() {
			if f.event.CreatedAt >= at {
				out = append(out, f)
			}
		}
		return out
	}
	// late sends the last n events of a page after its EOSE, once.
	late := func(m *model, n int, when func(nostr.Filter, []fact) bool) {
		done := false
		m.twist = func(f nostr.Filter, out *session.Page, page []fact) []fact {
			if done || len(page) < n || !when(f, page) {
				return page
			}
			done = true
			cut := len(page) - n
			at := page[cut].event.CreatedAt
			m.late[out.Sub] = session.Late{Sub: out.Sub, Events: n, Oldest: at, Newest: at}
			return page[:cut]
		}
	}
	tests := []struct {
		name  string
		relay model
		twist func(*model)
		cal   store.Calibration
	}{
		{
			name: "late in one cell of a dense second", relay: model{facts: pool(), limit: 15, openBroad: true},
			twist: func(m *model) {
				late(m, 1, func(f nostr.Filter, page []fact) bool {
					return single(f) && len(f.Kinds) > 1 && len(f.Kinds) < listChunk && len(page) < 12
				})
			},
		},
		{
			name: "late in a dense second that counts as empty", relay: model{facts: pool(), limit: 12, exSince: true, counts: true},
			twist: func(m *model) {
				late(m, 12, func(f nostr.Filter, _ []fact) bool { return single(f) && len(f.Kinds) == 0 })
			},
		},
		{name: "hidden events below all others, oldest first", relay: model{facts: after(then), limit: 12, order: store.OrderOldest, postFilter: true, counts: true}},
		{name: "since ignored, oldest first", relay: model{facts: pool(), openLimit: 8, order: store.OrderOldest, noSince: true, noLimit: true}},
		{name: "smaller pages of the open filter", relay: model{facts: pool(), limit: 100, openLimit: 8}},
		{
			name: "until taken for exclusive by accident", relay: model{limit: 12, facts: generate(
				simnet.Plan{Count: 40, Since: then, Until: then, Kinds: []nostr.Kind{0, 1, 3, 5, 6, 7}},
				simnet.Plan{Count: 3, Since: then - 1800, Until: then - 900},
			)},
			cal: store.Calibration{ExclusiveUntil: true, Order: store.OrderNewest, LargestPage: 12},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := test.relay
			if test.twist != nil {
				test.twist(&m)
			}
			s := newStay(t, &m)
			if test.cal.Order != "" {
				test.cal.Relay, test.cal.At = s.row.ID, modelNow.Unix()
				if err := s.db.SaveCalibration(t.Context(), test.cal); err != nil {
					t.Fatal(err)
				}
			}
			if report := s.sync(); report.Cause != "" {
				t.Fatalf("the visit ends by %s", report.Cause)
			}
			m.judge(t, s.db, s.row, true)
		})
	}
}

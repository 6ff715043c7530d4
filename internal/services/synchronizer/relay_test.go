package synchronizer

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
)

// stay is an archive and a service for one relay of the model.
type stay struct {
	t   *testing.T
	db  *dying
	svc *Service
	row store.Relay
	m   *model
}

func newStay(t *testing.T, m *model) *stay {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, err := relay.Parse("wss://relay.bigbrotr.net")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.AddRelays(t.Context(), []relay.URL{u}, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	m.rng, m.late = rand.New(rand.NewPCG(1, 1)), map[string]session.Late{}
	s := &stay{t: t, row: rows[0], m: m, db: &dying{DB: db, left: -1, filters: map[store.FilterID]nostr.Filter{}}}
	cfg := DefaultConfig()
	cfg.PerSecond = 1_000_000
	s.svc = New(cfg, s.db, dial.New(dial.DefaultConfig()), "test", nil, slog.New(slog.DiscardHandler))
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
	now := time.Now().Unix()
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

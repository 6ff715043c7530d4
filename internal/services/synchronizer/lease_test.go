package synchronizer

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/nostr/session"
	"bigbrotr/internal/core/relay"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/core/store/sqlite"
)

// sloth is a relay, the way to it and an archive that take as long as they may.
type sloth struct {
	*sqlite.DB
	dial   time.Duration // until a dial succeeds
	cause  dial.Cause    // why it has failed when its time is over
	answer time.Duration // until a request is answered
	end    session.Kind
	stuck  bool // the archive does not answer what a visit asks

	granted, saved time.Time // the end of the lease, and when it was given back
}

func (s *sloth) DueRelays(ctx context.Context, due store.Due) ([]store.Work, error) {
	work, err := s.DB.DueRelays(ctx, due)
	if len(work) > 0 {
		s.granted = time.Unix(due.Until, 0)
	}
	return work, err
}

func (s *sloth) SaveNext(ctx context.Context, next []store.Next) error {
	s.saved = time.Now()
	return s.DB.SaveNext(ctx, next)
}

func (s *sloth) Holes(ctx context.Context, r store.RelayID, id store.FilterID) ([]store.Hole, error) {
	if deadline, ok := ctx.Deadline(); s.stuck && ok && time.Until(deadline) > saveTimeout {
		<-ctx.Done()
	}
	return s.DB.Holes(ctx, r, id)
}

func (s *sloth) connect(ctx context.Context, _ relay.URL) (pager, func(), error) {
	if err := wait(ctx, s.dial); err != nil {
		return nil, nil, &dial.Error{Cause: s.cause}
	}
	return s, func() { <-time.After(saveTimeout) }, nil
}

func (s *sloth) Req(ctx context.Context, _ nostr.Filter, _ func([]byte) error) (session.Page, error) {
	page := session.Page{SentAt: time.Now(), End: session.Terminal{Kind: s.end}}
	return page, wait(ctx, s.answer)
}

func (s *sloth) Reconcile(context.Context, nostr.Filter, []byte, func([]byte) ([]byte, error)) (session.Reconciliation, error) {
	return session.Reconciliation{End: session.Terminal{Kind: session.Closed}, SentAt: time.Now()}, nil
}

func (s *sloth) Count(ctx context.Context, _ nostr.Filter) (nostr.CountResult, session.Page, error) {
	return nostr.CountResult{}, session.Page{}, wait(ctx, s.answer)
}

func (s *sloth) Late(string) session.Late { return session.Late{} }

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestLeaseOutlastsVisit has everything that a visit waits for take as long as
// it may: the lease is given back before it ends, and who is not to blame is not
// blamed.
func TestLeaseOutlastsVisit(t *testing.T) {
	const almost = time.Second // before what bounds it
	for _, test := range []struct {
		name     string
		sloth    sloth
		visit    time.Duration
		attempts int // after 3
		min, max time.Duration
	}{
		{
			name: "no turn to dial", sloth: sloth{dial: 24 * time.Hour, cause: dial.CauseBusy},
			visit: 10 * time.Minute, attempts: 3, min: 27 * time.Second, max: 33 * time.Second,
		},
		{
			name: "slow answers", sloth: sloth{dial: dialTime - almost, answer: 3*time.Minute - almost, end: session.EOSE},
			visit: 10 * time.Minute, min: 9 * time.Second, max: 11 * time.Second,
		},
		{
			name: "an answer as the visit ends", sloth: sloth{dial: dialTime - almost, answer: 3*time.Minute - almost, end: session.EOSE},
			visit: 3 * time.Minute, min: 9 * time.Second, max: 11 * time.Second,
		},
		{
			name: "connections lost", sloth: sloth{dial: dialTime - almost, cause: dial.CauseBusy, answer: 3*time.Minute - almost, end: session.Disconnect},
			visit: 10 * time.Minute, min: 9 * time.Second, max: 11 * time.Second,
		},
		{
			name: "a short visit", sloth: sloth{dial: dialTime - almost, cause: dial.CauseBusy, answer: 3*time.Minute - almost, end: session.Disconnect},
			visit: time.Second, min: 9 * time.Second, max: 11 * time.Second,
		},
		{
			name: "an archive that does not answer", sloth: sloth{stuck: true, end: session.EOSE},
			visit: 10 * time.Minute, attempts: 3,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				world := &test.sloth
				world.DB = openArchive(t)
				u, err := relay.Parse("wss://relay.bigbrotr.net")
				if err != nil {
					t.Fatal(err)
				}
				rows, err := world.AddRelays(t.Context(), []relay.URL{u}, time.Now().Unix())
				if err != nil {
					t.Fatal(err)
				}
				if err := world.DB.SaveNext(t.Context(), []store.Next{{Relay: rows[0].ID, Service: Name, DueAt: time.Now().Unix(), Attempts: 3}}); err != nil {
					t.Fatal(err)
				}
				cfg := DefaultConfig()
				cfg.VisitTime = config.Duration(test.visit)
				svc := New(cfg, world, dial.New(dial.DefaultConfig()), "test", nil, slog.New(slog.DiscardHandler))
				svc.dial = world.connect
				if visited, err := svc.one(t.Context(), &tally{}); !visited || err != nil {
					t.Fatalf("visited: %t, %v", visited, err)
				}
				if !world.saved.Before(world.granted) {
					t.Errorf("the lease was over for %s", world.saved.Sub(world.granted))
				}
				far := time.Now().Add(24 * time.Hour).Unix()
				work, err := world.DB.DueRelays(t.Context(), store.Due{Service: Name, Now: far, Limit: 1, Owner: "look", Until: far})
				if err != nil || len(work) != 1 {
					t.Fatalf("due: %+v, %v", work, err)
				}
				if next := time.Duration(work[0].DueAt-world.saved.Unix()) * time.Second; work[0].Attempts != test.attempts || next < test.min || next > test.max {
					t.Errorf("%d failures, due after %s; want %d, and %s to %s", work[0].Attempts, next, test.attempts, test.min, test.max)
				}
			})
		})
	}
}

// TestDialFails tells what is the relay's fault when it is not reached.
func TestDialFails(t *testing.T) {
	for cause, attempts := range map[dial.Cause]int{
		dial.CauseBusy: 3, dial.CauseSelf: 3, dial.CauseProxyDown: 3, dial.CauseTCPRefused: 4, dial.CauseTLSName: 4,
	} {
		for _, state := range []store.State{store.StateUp, store.StateDead} {
			svc := New(DefaultConfig(), nil, dial.New(dial.DefaultConfig()), "test", nil, slog.New(slog.DiscardHandler))
			work := store.Work{Relay: store.Relay{ID: 1, State: state}, Attempts: 3}
			end := error(&halt{why: lost, cause: cause})
			next := svc.next(work, &visit{}, end, time.Unix(0, 0))
			soon := next.DueAt <= 33
			if next.Attempts != attempts || soon != (attempts == 3) || next.Owner != "test" {
				t.Errorf("a relay that is %s, and not reached because of %q: %+v", state, cause, next)
			}
		}
	}
}

package validator

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/dial"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/simnet"
)

func newService() *Service {
	cfg := dial.DefaultConfig()
	cfg.AllowLocal = true
	own := DefaultConfig()
	own.Timeout = config.Duration(2 * time.Second)
	return New(own, nil, dial.New(cfg), "test", slog.New(slog.DiscardHandler))
}

func TestTry(t *testing.T) {
	fault := func(what simnet.What, n int) simnet.Behaviour {
		return simnet.Behaviour{Faults: []simnet.Fault{{What: what, When: simnet.Always, N: n}}}
	}
	for _, test := range []struct {
		name      string
		behaviour simnet.Behaviour
		want      dial.Cause
	}{
		{"answers", simnet.Behaviour{}, ""},
		{"asks for authentication", simnet.Behaviour{Auth: true}, ""},
		{"refuses", simnet.Behaviour{Restricted: []nostr.Kind{1}}, ""},
		{"refuses by CLOSED", fault(simnet.Closed, 0), ""},
		{"only says NOTICE", fault(simnet.NoticeOnly, 0), dial.CauseNoNostr},
		{"sends back what it gets", fault(simnet.Echo, 0), dial.CauseNoNostr},
		{"is no WebSocket", fault(simnet.Status, 404), dial.CauseHTTPStatus},
		{"leaves", fault(simnet.Leave, 0), dial.CauseDisconnected},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			network := simnet.New(1)
			t.Cleanup(network.Close)
			r, err := network.AddRelay(test.behaviour)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if have := newService().try(ctx, r.URL()); have != test.want {
				t.Errorf("cause %q, want %q", have, test.want)
			}
		})
	}
}

// TestSchedule checks that a failed candidate is tried again ever more rarely,
// and that what does not pass by itself waits longer from the start.
func TestSchedule(t *testing.T) {
	network := simnet.New(3)
	t.Cleanup(network.Close)
	url, err := network.AddDead()
	if err != nil {
		t.Fatal(err)
	}
	s := newService()
	last := int64(0)
	for attempts := range 7 {
		v := s.verdict(t.Context(), store.Candidate{URL: url, Attempts: attempts})
		if v.Valid || v.Cause != dial.CauseTCPRefused {
			t.Fatalf("a dead address: %+v", v)
		}
		if wait := v.NextDue - v.At; wait <= last {
			t.Errorf("attempt %d: wait of %d s after one of %d s", attempts+1, wait, last)
		} else {
			last = wait
		}
	}
	if week := int64(7 * 86400); last < week {
		t.Errorf("the last wait is %d s, want weeks", last)
	}
	r, err := network.AddRelay(simnet.Behaviour{Faults: []simnet.Fault{{What: simnet.Status, When: simnet.Always, N: 404}}})
	if err != nil {
		t.Fatal(err)
	}
	if v := s.verdict(t.Context(), store.Candidate{URL: r.URL()}); v.NextDue-v.At < 1800 {
		t.Errorf("a web server is tried again after %d s", v.NextDue-v.At)
	}
}

package synchronizer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bigbrotr/internal/core/config"
	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

func filters(t *testing.T, texts ...string) (list []synchronizer.Filter) {
	t.Helper()
	for _, text := range texts {
		var f synchronizer.Filter
		if err := f.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// TestFilters archives what several filters ask for, and no more, from relays
// that like some filters and others not.
func TestFilters(t *testing.T) {
	t.Parallel()
	events := many(3, 900)
	author := events[0].PubKey
	then := past - 45*86400
	texts := []string{
		`{"kinds":[1,4,7]}`,
		fmt.Sprintf(`{"authors":[%q]}`, author.String()),
		fmt.Sprintf(`{"kinds":[0,3],"since":%d,"until":%d}`, then, then+20*86400),
	}
	for _, tt := range []struct {
		name string
		be   simnet.Behaviour
	}{
		{"plain", simnet.Behaviour{Cap: 60}},
		{"counts", simnet.Behaviour{Cap: 60, Count: simnet.CountExact}},
		{"open filter refused", simnet.Behaviour{Cap: 60, Broad: simnet.BroadOpen}},
		{"authors demanded", simnet.Behaviour{Cap: 60, Broad: simnet.BroadAuthorless}},
		{"one kind at a time", simnet.Behaviour{Cap: 60, MostKinds: 1}},
		{"private kinds dropped late", simnet.Behaviour{Cap: 60, Restricted: []nostr.Kind{4, 1059}, PostFilter: true}},
		{"oldest first", simnet.Behaviour{Cap: 60, Order: simnet.OldestFirst}},
		{"negentropy", simnet.Behaviour{Cap: 60, Negentropy: honest}},
	} {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			w := newWorld(t, tt.be, events)
			cfg := testConfig()
			cfg.Filters = filters(t, texts...)
			w.svc = synchronizer.New(cfg, w.db, w.dialer(), "test", nil, slog.New(slog.DiscardHandler))
			r := w.sync()
			held := w.held()
			wanted := map[nostr.ID]bool{}
			for i, f := range cfg.Filters {
				for _, e := range w.relay.Visible(f.Filter) {
					wanted[e.ID] = true
				}
				got := w.accountOf(f.Filter)
				if len(got.FalseClaims) > 0 || len(got.Missing) > 0 {
					t.Errorf("%s: %d false claims, %d of %d missing", texts[i], len(got.FalseClaims), len(got.Missing), got.Visible)
				}
				if got.Archived != got.Visible && tt.be.Broad != simnet.BroadAuthorless {
					t.Errorf("%s: %d of %d archived", texts[i], got.Archived, got.Visible)
				}
			}
			// A page may hold the second beside the time that is wanted.
			if n := len(held) - len(wanted); tt.be.Broad != simnet.BroadAuthorless && (n < 0 || n > 2) {
				t.Errorf("%d events archived, %d wanted", len(held), len(wanted))
			}
			if tt.be.Broad == simnet.BroadAuthorless && len(held) == 0 {
				t.Error("nothing of the author who is named")
			}
			// Of the whole relay nothing is claimed.
			whole, err := w.db.FilterID(t.Context(), nostr.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			if claims, err := w.db.Coverage(t.Context(), w.row.ID, whole); err != nil || len(claims) > 0 {
				t.Errorf("claims of the whole: %+v, %v", claims, err)
			}
			again := w.sync()
			if again.New > 0 || again.EventsReceived > r.EventsReceived/2+20 {
				t.Errorf("again: %d new, %d received after %d", again.New, again.EventsReceived, r.EventsReceived)
			}
			t.Logf("%d requests, %d events, ended by %q; then %d", r.Requests, r.EventsReceived, r.Cause, again.Requests)
		}))
	}
}

// TestFilterTime widens what is wanted: what was had is not had again.
func TestFilterTime(t *testing.T) { synchronizer.Bubble(testFilterTime)(t) }

func testFilterTime(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{Cap: 60}, many(3, 600))
	with := func(text string) synchronizer.Report {
		cfg := testConfig()
		cfg.Filters = filters(t, text)
		w.svc = synchronizer.New(cfg, w.db, w.dialer(), "test", nil, slog.New(slog.DiscardHandler))
		return w.sync()
	}
	half := with(fmt.Sprintf(`{"since":%d}`, past-45*86400))
	all := with(`{}`)
	if sum := half.New + all.New; sum != int64(w.relay.Len()) || half.New == 0 || all.New == 0 {
		t.Errorf("%d and then %d of %d", half.New, all.New, w.relay.Len())
	}
	// The last three days are read again, and a page of what was claimed long ago.
	if all.Known > 2*60 {
		t.Errorf("%d had again", all.Known)
	}
	w.truthful()
}

// TestRelayTerms lets a relay be off, or different.
func TestRelayTerms(t *testing.T) { synchronizer.Bubble(testRelayTerms)(t) }

func testRelayTerms(t *testing.T) {
	w := newWorld(t, simnet.Behaviour{}, many(3, 300))
	other := w.beside(simnet.Behaviour{}, many(4, 300))
	cfg := testConfig()
	cfg.Tails = 0
	cfg.Relays = []synchronizer.RelayConfig{
		{URL: w.relay.URL().String() + "/", Off: true},
		{URL: other.relay.URL().String(), Limit: 20, Filters: filters(t, `{"kinds":[1]}`)},
	}
	svc := synchronizer.New(cfg, w.db, w.dialer(), "test", nil, slog.New(slog.DiscardHandler))
	if err := svc.Cycle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.relay.Stats().Connections; n > 0 {
		t.Errorf("%d connections to a relay that is off", n)
	}
	if _, err := svc.Sync(t.Context(), w.row, nil); !errors.Is(err, synchronizer.ErrOff) {
		t.Errorf("sync by hand: %v", err)
	}
	asked := other.relay.Asked()
	for _, f := range asked {
		if len(f.Kinds) == 0 && len(f.IDs) == 0 || *f.Limit > 20 {
			t.Errorf("asked for %s", f.AppendJSON(nil))
		}
	}
	if len(asked) == 0 {
		t.Error("the other was not asked")
	}
}

// TestConfig tells what is wrong with filters and relays, and where.
func TestConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "test.yaml")
	if err := os.WriteFile(file, []byte(`
filters:
  - '{"kinds":[1]}'
  - '{"kinds":[1],"limit":5}'
  - '{"ids":[]}'
  - '{"since":5,"until":4}'
  - '{"kind":1}'
relays:
  - { url: "wss://relay.example.com", limit: 3 }
  - { url: "wss://RELAY.example.com/", off: true }
  - { url: "https://", per_second: 5000 }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := synchronizer.DefaultConfig()
	_, err := config.Load(&cfg, config.Sources{File: file})
	for _, want := range []string{
		":4: filters[1]: is refused: it has a limit", ":6: filters[3]: is refused: its since is after its until", ":7: filters[4]: is refused: not a filter of NIP-01",
		":9: relays[0].limit: is 3; choose from 10 to 5000", ":10: relays[1].url: names the relay of relays[0] again", ":11: relays[2].url: is not the URL of a relay",
		":11: relays[2].per_second: is 5000",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing said of %q:\n%v", want, err)
		}
	}
}

// accountOf holds the archive against the truth of one filter.
func (w *world) accountOf(filter nostr.Filter) simnet.RelayResult {
	w.t.Helper()
	a := w.claims()
	a.Filter = filter
	return w.net.Compare([]simnet.Account{a}).PerRelay[0]
}

// claims is what the archive says of the relay by all filters.
func (w *world) claims() simnet.Account {
	w.t.Helper()
	a := simnet.Account{Relay: w.relay.URL(), Filters: map[store.FilterID]nostr.Filter{}, Authenticates: true}
	ctx := context.WithoutCancel(w.t.Context())
	var err error
	if a.Claims, a.Holes, err = w.db.RelayCoverage(ctx, w.row.ID); err != nil {
		w.t.Fatal(err)
	}
	var ids []store.FilterID
	for _, c := range a.Claims {
		ids = append(ids, c.Filter)
	}
	for _, h := range a.Holes {
		ids = append(ids, h.Filter)
	}
	for _, id := range ids {
		if a.Filters[id], err = w.db.Filter(ctx, id); err != nil {
			w.t.Fatal(err)
		}
	}
	held := w.held()
	a.Held = func(id nostr.ID) bool { return held[id] }
	return a
}

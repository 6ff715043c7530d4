package storetest

import (
	"testing"

	"bigbrotr/internal/core/store"
)

// testPaces keeps what relays and hosts have complained about.
func testPaces(t *testing.T, open opener) {
	f := newFixture(t, open)
	targets := []string{"wss://relay.example.com", "host 192.0.2.1", "host 2001:db8::/64"}
	look := func() []store.Pace {
		t.Helper()
		paces, err := f.Paces(f.ctx, targets)
		f.must(err)
		return paces
	}
	f.equal("at first", []store.Pace{{Target: targets[0]}, {Target: targets[1]}, {Target: targets[2]}}, look())
	a := store.Pace{Target: targets[0], Spacing: 500, Parallel: 2, Complaints: 3, At: base, Until: base + 60, Day: base / store.Day, Bytes: 1 << 40}
	b := store.Pace{Target: targets[2], Until: base + 30}
	for range 2 {
		f.must(f.SavePaces(f.ctx, []store.Pace{{Target: targets[2], Spacing: 9}, a, b}))
		f.equal("saved", []store.Pace{a, {Target: targets[1]}, b}, look())
	}
	// It gets better, but nobody may ask earlier than it was said once.
	a.Spacing, a.Complaints, a.Until, a.Day, a.Bytes = 0, 0, base+10, a.Day+1, 7
	f.must(f.SavePaces(f.ctx, []store.Pace{a}))
	a.Until = base + 60
	f.equal("later", []store.Pace{a, {Target: targets[1]}, b}, look())
	none, err := f.Paces(f.ctx, nil)
	f.must(err)
	f.equal("of none", 0, len(none))
	f.must(f.SavePaces(f.ctx, nil))
}

package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bigbrotr/internal/core/store"
)

func TestHealthOf(t *testing.T) {
	const now, hour, day = int64(1_700_000_000), int64(3600), int64(86400)
	up, down := true, false
	at := func(ago int64, ok bool) store.Span { return store.Span{At: now - ago, OK: ok} }
	for _, test := range []struct {
		name                  string
		spans                 []store.Span
		day, week, month, all store.Share
	}{
		{name: "nothing is known"},
		{
			name: "up for an hour", spans: []store.Span{at(hour, up)},
			day: store.Share{Up: 1, Watched: hour}, week: store.Share{Up: 1, Watched: hour}, month: store.Share{Up: 1, Watched: hour},
			all: store.Share{Up: 1, Watched: hour},
		},
		{
			name: "a result holds until the next one", spans: []store.Span{at(4*hour, up), at(3*hour, down), at(2*hour, up)},
			day: store.Share{Up: 0.75, Watched: 4 * hour}, week: store.Share{Up: 0.75, Watched: 4 * hour}, month: store.Share{Up: 0.75, Watched: 4 * hour},
			all: store.Share{Up: 1, Watched: 2 * hour},
		},
		{
			name: "what began before the window counts within", spans: []store.Span{at(25*hour, down), at(12*hour, up)},
			day: store.Share{Up: 0.5, Watched: day}, week: store.Share{Up: 12.0 / 25, Watched: 25 * hour}, month: store.Share{Up: 12.0 / 25, Watched: 25 * hour},
			all: store.Share{Up: 1, Watched: 12 * hour},
		},
		{
			name: "nobody watched", spans: []store.Span{at(20*day, up), at(19*day, up), at(hour, down)},
			day: store.Share{Watched: hour}, week: store.Share{Watched: hour}, month: store.Share{Up: 24.0 / 25, Watched: 25 * hour},
			all: store.Share{Watched: hour},
		},
	} {
		h := store.HealthOf(test.spans, now, 0, 0)
		if d := cmp.Diff([]store.Share{test.day, test.week, test.month, test.all}, []store.Share{h.Day, h.Week, h.Month, h.All}); d != "" {
			t.Errorf("%s (-want +have):\n%s", test.name, d)
		}
	}
	var spans []store.Span
	for i := range int64(100) {
		spans = append(spans, store.Span{At: now - (100-i)*60, OK: true, OpenMS: float64(100 - i)})
	}
	spans = append(spans, store.Span{At: now, OK: true, OpenMS: 100, ReadMS: 7})
	h := store.HealthOf(spans, now, 300, 100)
	if want := (store.Percentiles{P50: 51, P95: 96, P99: 100, N: 101}); h.Open != want {
		t.Errorf("opening: %+v, want %+v", h.Open, want)
	}
	if want := (store.Percentiles{P50: 7, P95: 7, P99: 7, N: 1}); h.Read != want {
		t.Errorf("reading: %+v, want %+v", h.Read, want)
	}
	if want := (store.Share{Up: 0.75, Watched: 400}); h.All != want {
		t.Errorf("altogether: %+v, want %+v", h.All, want)
	}
}

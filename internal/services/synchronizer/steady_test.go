package synchronizer_test

import (
	"testing"

	"bigbrotr/internal/core/nostr"
	"bigbrotr/internal/core/store"
	"bigbrotr/internal/services/synchronizer"
	"bigbrotr/internal/simnet"
)

// TestSteady holds a relay at which nothing happens to its price, which does not
// depend on how much of what it names it does not send, or has sent once: from the
// second visit on two exchanges of a round each, one of the past, one of the
// current day.
func TestSteady(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name               string
		withheld, phantoms int
		gone               int
	}{
		{name: "all sent"},
		{name: "some gone", gone: 200},
		{name: "some withheld", withheld: 200, gone: 100},
		{name: "a phantom for each", phantoms: 1500},
	} {
		t.Run(tt.name, synchronizer.Bubble(func(t *testing.T) {
			events := steady(5, 1500)
			hidden := simnet.Generate(simnet.Plan{Seed: 6, Count: tt.withheld, Since: past - 200*86400, Until: past - 2*86400, Kinds: []nostr.Kind{1059}})
			w := newWorld(t, simnet.Behaviour{
				Cap: 500, Restricted: []nostr.Kind{1059},
				Negentropy: simnet.Negentropy{As: simnet.NegHonest, Restricted: true, Phantoms: tt.phantoms},
			}, events, hidden)
			w.sync()
			if tt.gone > 0 {
				for _, e := range events[:tt.gone] {
					w.relay.Remove(e.ID)
				}
				if r := w.sync(); r.Gone != int64(tt.gone) {
					t.Errorf("%d gone, want %d", r.Gone, tt.gone)
				}
			}
			for visit := range 3 {
				rounds := w.relay.Stats().Negs
				r := w.sync()
				w.truthful()
				rounds = w.relay.Stats().Negs - rounds
				if bytes := r.BytesReceived + r.BytesSent; level(r) != store.LevelFingerprint || rounds > 2 || bytes > 2000 || r.EventsReceived > 5 {
					t.Errorf("visit %d: level %d, %d rounds, %d bytes, %d events", visit, level(r), rounds, bytes, r.EventsReceived)
				}
				t.Logf("%d rounds, %d bytes, %d requests", rounds, r.BytesReceived+r.BytesSent, r.Requests)
			}
		}))
	}
}

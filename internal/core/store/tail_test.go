package store

import (
	"math/rand/v2"
	"testing"
)

// TestRate draws samples in which misses come alone, or in bursts, and counts
// how often the bounds hold the true share.
func TestRate(t *testing.T) {
	for _, test := range []struct {
		name  string
		share float64 // of the samples that a burst falls on
		burst float64 // share of misses there
		alone float64 // and elsewhere
	}{
		{"alone", 0, 0, 0.02},
		{"in bursts", 0.1, 0.3, 0.001},
		{"all or nothing", 0.2, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			truth := test.share*test.burst + (1-test.share)*test.alone
			const runs = 2000
			held := 0
			for range runs {
				var s SampleTotal
				for range 60 {
					p := test.alone
					if rng.Float64() < test.share {
						p = test.burst
					}
					seen, missed := int64(20+rng.IntN(80)), int64(0)
					for range seen {
						if rng.Float64() < p {
							missed++
						}
					}
					s.Samples, s.Seen, s.Missed = s.Samples+1, s.Seen+seen, s.Missed+missed
					s.SeenSeen, s.MissedMissed, s.SeenMissed = s.SeenSeen+seen*seen, s.MissedMissed+missed*missed, s.SeenMissed+seen*missed
				}
				rate, lo, hi := s.Rate()
				if lo > rate || rate > hi || lo < 0 || hi > 1 {
					t.Fatalf("%+v: %g between %g and %g", s, rate, lo, hi)
				}
				if lo <= truth && truth <= hi {
					held++
				}
			}
			if got := float64(held) / runs; got < 0.92 {
				t.Errorf("the bounds hold the true share in %.3f of all runs, want about 0.95", got)
			}
		})
	}
	if rate, lo, hi := (SampleTotal{}).Rate(); rate != 0 || lo != 0 || hi != 1 {
		t.Errorf("without samples: %g between %g and %g", rate, lo, hi)
	}
	if rate, lo, hi := (SampleTotal{Samples: 3, Seen: 100}).Rate(); rate != 0 || lo != 0 || hi < 0.03 || hi > 0.05 {
		t.Errorf("none missed of 100: %g between %g and %g", rate, lo, hi)
	}
}

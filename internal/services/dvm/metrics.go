package dvm

import "github.com/prometheus/client_golang/prometheus"

// The ends of requests and jobs, as metrics count them.
const (
	endAnswered  = "answered"
	endPart      = "part"      // a part of what there is was the answer
	endQuestion  = "question"  // something was wrong with the question
	endTrouble   = "trouble"   // the archive could not answer
	endUnpaid    = "unpaid"    // not in time, or no invoice could be made
	endCancelled = "cancelled" // by who asked
	endLimited   = "limited"   // too many of one key
	endMalformed = "malformed" // not a signed event
	endStale     = "stale"     // too old, or from the future
	endKnown     = "known"     // somebody works on it, or has
	endDropped   = "dropped"   // more came than could be looked at
	endUnsent    = "unsent"    // no relay took the answer
)

// metrics counts what becomes of requests.
type metrics struct {
	jobs      *prometheus.CounterVec
	connected prometheus.Gauge
	sent      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bigbrotr_dvm_jobs_total", Help: "Job requests, by what became of them.",
		}, []string{"end"}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bigbrotr_dvm_relays", Help: "Configured relays that are connected.",
		}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bigbrotr_dvm_events_total", Help: "Events sent to relays, by result.",
		}, []string{"result"}),
	}
	if reg != nil {
		reg.MustRegister(m.jobs, m.connected, m.sent)
	}
	return m
}

func (m *metrics) end(what string) { m.jobs.WithLabelValues(what).Inc() }

package synchronizer

import (
	"github.com/prometheus/client_golang/prometheus"

	"bigbrotr/internal/core/store"
)

// metrics counts what synchronizing costs and brings.
type metrics struct {
	requests prometheus.Counter
	bytes    prometheus.Counter
	events   *prometheus.CounterVec
	outside  prometheus.Counter
	dense    prometheus.Counter
	unproved prometheus.Counter
	visits   *prometheus.CounterVec
	// ids are what relays were found to have or not by negentropy, and
	// reconciled how that ended.
	ids        *prometheus.CounterVec
	reconciled *prometheus.CounterVec
	tails      prometheus.Gauge
	tailEnds   *prometheus.CounterVec
	arrivals   *prometheus.CounterVec
	samples    *prometheus.CounterVec
	complaints *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "bigbrotr_sync_" + name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bigbrotr_sync_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		requests: counter("requests_total", "Requests sent to relays."),
		bytes:    counter("received_bytes_total", "Bytes of answers, uncompressed."),
		events:   vector("events_total", "Events saved, by what they were to the archive.", "result"),
		outside:  counter("outside_total", "Events that relays sent and nobody had asked for."),
		dense:    counter("dense_seconds_total", "Seconds that did not fit into a page."),
		unproved: counter("unproved_total", "Answers from which nothing could be claimed."),
		visits:   vector("visits_total", "Visits of relays, by how they ended.", "cause"),

		ids:        vector("ids_total", "Ids that relays were found by negentropy to have or not, by how they stand now.", "hold"),
		reconciled: vector("reconciliations_total", "Visits that used negentropy, by how that ended.", "end"),
		tails: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bigbrotr_sync_tails", Help: "Relays whose live tail stands in this process.",
		}),
		tailEnds:   vector("tail_ends_total", "Live tails that ended, by cause.", "cause"),
		arrivals:   vector("arrivals_total", "Events that came by live tails, by what they were to the archive.", "result"),
		complaints: vector("complaints_total", "Complaints of relays about how they are asked, by what they are about.", "what"),
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bigbrotr_sync_sampled_events_total", Help: "Events of stretches that were read again, by kind of sample.",
		}, []string{"kind", "result"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.bytes, m.events, m.outside, m.dense, m.unproved, m.visits, m.tails, m.tailEnds, m.arrivals, m.samples, m.ids, m.reconciled, m.complaints)
	}
	return m
}

func (m *metrics) set(b store.Batch) {
	m.ids.WithLabelValues("claimed").Add(float64(len(b.Claimed)))
	m.ids.WithLabelValues("withheld").Add(float64(len(b.Withheld)))
	m.ids.WithLabelValues("refused").Add(float64(len(b.Refused)))
	m.ids.WithLabelValues("gone").Add(float64(len(b.Gone)))
}

func (m *metrics) saved(s store.Saved, b store.Batch) {
	m.events.WithLabelValues("new").Add(float64(s.New))
	m.events.WithLabelValues("known").Add(float64(s.Known + len(b.Known)))
	m.events.WithLabelValues("refused").Add(float64(len(s.Refused)))
	m.events.WithLabelValues("rejected").Add(float64(len(b.Rejected)))
}

func (m *metrics) arrived(s store.Saved, b store.Batch) {
	m.arrivals.WithLabelValues("new").Add(float64(s.New))
	m.arrivals.WithLabelValues("known").Add(float64(s.Known + len(b.Known)))
}

func (m *metrics) sampled(s store.Sample) {
	m.samples.WithLabelValues(string(s.Kind), "seen").Add(float64(s.Seen))
	m.samples.WithLabelValues(string(s.Kind), "missed").Add(float64(s.Missed))
}

package face

import "github.com/prometheus/client_golang/prometheus"

// metrics counts what clients ask and get.
type metrics struct {
	connections prometheus.Gauge
	messages    *prometheus.CounterVec
	events      *prometheus.CounterVec
	refused     *prometheus.CounterVec
	cut         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bigbrotr_face_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "bigbrotr_face_connections", Help: "Open connections of clients."}),
		messages:    vector("messages_total", "Messages of clients, by label.", "label"),
		events:      vector("events_total", "Events sent, stored ones and those newly archived.", "source"),
		refused:     vector("refused_total", "Messages refused, by the prefix of the answer.", "prefix"),
		cut:         prometheus.NewCounter(prometheus.CounterOpts{Name: "bigbrotr_face_slow_total", Help: "Connections closed because the client did not read."}),
	}
	if reg != nil {
		reg.MustRegister(m.connections, m.messages, m.events, m.refused, m.cut)
	}
	return m
}

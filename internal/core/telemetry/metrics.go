package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapes bounds the metrics pages rendered at one time, and scrapeTime how long
// one may take: the page is open to whoever reaches the port.
const (
	scrapes    = 4
	scrapeTime = 10 * time.Second
)

// NewRegistry returns a registry that already measures the Go runtime and the
// process and tells the build. Each process makes one and hands it down; nothing
// uses the global one.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := ReadBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "bigbrotr_build_info",
		Help:        "Always 1; the labels tell what the binary was made from.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "go": build.Go},
	})
	info.Set(1)
	reg.MustRegister(
		info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return reg
}

// Handler serves the metrics page of a registry.
func Handler(reg *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry:            reg, // the page counts its own errors
		MaxRequestsInFlight: scrapes,
		Timeout:             scrapeTime,
	})
}

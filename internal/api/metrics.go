package api

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	forwarded *prometheus.CounterVec
	passed    *prometheus.CounterVec
	held      prometheus.Gauge
	watches   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	return &metrics{
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total",
			Help: "Requests by method, route and status code.",
		}, []string{"method", "route", "code"}),
		seconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "http_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"method", "route"}),
		forwarded: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "leasehold_forwards_total",
			Help: "Writes sent to the leader, by what came back.",
		}, []string{"result"}),
		passed: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "leasehold_reads_passed_total",
			Help: "Reads that the leader was to pass on, by what came of it.",
		}, []string{"result"}),
		held: auto.NewGauge(prometheus.GaugeOpts{
			Name: "leasehold_writes_held",
			Help: "Writes that wait for a leader or an outcome.",
		}),
		watches: auto.NewGauge(prometheus.GaugeOpts{
			Name: "leasehold_watches",
			Help: "Watches open.",
		}),
	}
}

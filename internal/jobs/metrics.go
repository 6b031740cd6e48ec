package jobs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	runs        *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	lastSuccess *prometheus.GaugeVec
}

// newMetrics registers the metrics. The label is not called job: that is what Prometheus calls the target. The
// runs of every job are there from the start, so that one that never succeeds shows as a counter that stands still.
func newMetrics(reg prometheus.Registerer, election string, jobs []Job) *metrics {
	auto := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"election": election}, reg))
	m := &metrics{
		runs: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "leasehold_job_runs_total",
			Help: "Runs of a job on this replica, by what came of them.",
		}, []string{"name", "result"}),
		seconds: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "leasehold_job_duration_seconds",
			Help:    "How long a run took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"name"}),
		lastSuccess: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "leasehold_job_last_success_timestamp_seconds",
			Help: "When a job last succeeded on this replica.",
		}, []string{"name"}),
	}
	for _, j := range jobs {
		m.runs.WithLabelValues(j.Name, "success")
		m.runs.WithLabelValues(j.Name, "error")
	}
	return m
}

func (m *metrics) observe(job string, took time.Duration, err error) {
	result := "success"
	if err != nil {
		result = "error"
	} else {
		m.lastSuccess.WithLabelValues(job).SetToCurrentTime()
	}
	m.runs.WithLabelValues(job, result).Inc()
	m.seconds.WithLabelValues(job).Observe(took.Seconds())
}

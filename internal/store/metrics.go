package store

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	commitSeconds prometheus.Histogram
	batchWrites   prometheus.Histogram
	attempts      *prometheus.CounterVec
	epoch         prometheus.Gauge
	claims        *prometheus.CounterVec
}

// newMetrics registers the metrics: of each election's chain those that have its name as a label, and of the data, which are
// one election's, those that have none.
func newMetrics(reg prometheus.Registerer, election string, j *journal, maxRemembered int) *metrics {
	if election == Writes {
		registerRevision(reg, j)
	}
	auto := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"election": election}, reg))
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "leasehold_outcomes_remembered",
		Help: "Outcomes of writes in memory.",
	}, func() float64 { return float64(j.size()) })
	auto.NewGauge(prometheus.GaugeOpts{
		Name: "leasehold_outcomes_limit",
		Help: "Outcomes in memory from which on new writes are refused.",
	}).Set(float64(maxRemembered))
	return &metrics{
		commitSeconds: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "leasehold_commit_duration_seconds",
			Help:    "Time from the first attempt of a batch to its outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		batchWrites: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "leasehold_batch_writes",
			Help:    "Writes that share one transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		attempts: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "leasehold_commit_attempts_total",
			Help: "Attempts at a batch, by what came of them.",
		}, []string{"result"}),
		epoch: auto.NewGauge(prometheus.GaugeOpts{
			Name: "leasehold_epoch",
			Help: "Epoch of the newest leader record known.",
		}),
		claims: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "leasehold_claims_total",
			Help: "Claims of leadership by this replica, by what came of them.",
		}, []string{"result"}),
	}
}

func registerRevision(reg prometheus.Registerer, j *journal) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "leasehold_revision",
		Help: "Newest revision that this replica has followed the store to.",
	}, func() float64 {
		reached, _ := j.progress()
		return float64(reached)
	})
}

package election

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	leading prometheus.Gauge
	rounds  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	return &metrics{
		leading: auto.NewGauge(prometheus.GaugeOpts{
			Name: "leasehold_leading",
			Help: "1 while this replica leads.",
		}),
		rounds: auto.NewCounter(prometheus.CounterOpts{
			Name: "leasehold_election_rounds_total",
			Help: "Rounds of the election that this replica has begun.",
		}),
	}
}

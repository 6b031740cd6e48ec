package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// newRegistry is a registry that tells which version runs.
func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{
		Name: "leasehold_build_info",
		Help: "1, with the version that runs.",
	}, []string{"version"}).WithLabelValues(version).Set(1)
	return reg
}

package store

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsFollowTheJournal(t *testing.T) {
	t.Parallel()
	reg, j := prometheus.NewRegistry(), newJournal()
	newMetrics(reg, Writes, j, 10)
	j.add(position{epoch: 1, sequence: 1}, []decision{{id: NewID()}, {id: NewID()}}, 7, time.Now())
	j.reach(7)
	want := map[string]float64{"leasehold_revision": 7, "leasehold_outcomes_remembered": 2, "leasehold_outcomes_limit": 10}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		value, ok := want[f.GetName()]
		delete(want, f.GetName())
		if got := f.GetMetric()[0].GetGauge().GetValue(); ok && got != value {
			t.Errorf("%s is %v, want %v", f.GetName(), got, value)
		}
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
}

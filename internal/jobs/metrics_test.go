package jobs

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leasehold/leasehold/internal/store"
)

// A counter that appears with its first run cannot show that there was none.
func TestRunsAreCountedFromTheStart(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	m := newMetrics(reg, store.Writes, []Job{{Name: "a"}, {Name: "b"}})
	m.observe("b", time.Second, nil)
	m.observe("b", time.Second, errors.New("full"))
	m.observe("b", time.Second, nil)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "leasehold_job_runs_total" {
			continue
		}
		for _, metric := range f.GetMetric() {
			labels := metric.GetLabel() // in alphabetical order
			got[labels[1].GetValue()+" "+labels[2].GetValue()] = metric.GetCounter().GetValue()
		}
	}
	if want := map[string]float64{"a success": 0, "a error": 0, "b success": 2, "b error": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

package election

import (
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
)

func TestRequestsToTheLockAreCounted(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		c.start()
		synctest.Wait()
		if !r.election.Leading() {
			t.Fatal("nobody leads")
		}
		got := lockRequests(t, r)
		if got["read error"] != 1 || got["write success"] == 0 || got["write error"] != 0 {
			t.Errorf("a lock that was not there and is made counts %v", got)
		}
		r.lock.set(failing)
		eventually(t, r.idle)
		if got = lockRequests(t, r); got["write error"] == 0 || got["read error"] < 2 {
			t.Errorf("a holder whose requests failed until it gave up counts %v", got)
		}
	})
}

func lockRequests(t *testing.T, r *replica) map[string]float64 {
	t.Helper()
	families, err := r.election.cfg.Metrics.(*prometheus.Registry).Gather() //nolint:errcheck // the harness made it
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "leasehold_lock_requests_total" {
			continue
		}
		for _, metric := range f.GetMetric() {
			labels := metric.GetLabel() // in alphabetical order
			counts[labels[0].GetValue()+" "+labels[1].GetValue()] = metric.GetCounter().GetValue()
		}
	}
	return counts
}

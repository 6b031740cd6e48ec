package election

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// client-go's own gauge stays on where an election ends between two renewals.
func TestTheGaugeShowsTheFlag(t *testing.T) {
	for name, end := range map[string]func(c *cluster, r *replica){
		"stopped between two renewals": func(_ *cluster, r *replica) { r.stop() },
		"handed over": func(c *cluster, r *replica) {
			if err := r.election.Handover(c.t.Context()); err != nil {
				c.t.Error(err)
			}
		},
		"not renewed": func(_ *cluster, r *replica) { r.lock.set(failing) },
		"fenced":      func(c *cluster, _ *replica) { c.store.overwrite(Record{Pod: "pod-9", BootID: "x", ClaimID: "x/1"}) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(c *cluster) {
				t := c.t
				r := c.replicas[0]
				if got := gauge(t, r); got != 0 {
					t.Errorf("%g before it has begun", got)
				}
				c.start()
				c.leader()
				if got := gauge(t, r); got != 1 {
					t.Errorf("%g while it leads", got)
				}
				time.Sleep(c.timing.RetryPeriod / 2)
				end(c, r)
				within(t, c.timing.LeaseDuration, r.idle)
				if got := gauge(t, r); got != 0 {
					t.Errorf("%g when it does not lead any more", got)
				}
			})
		})
	}
}

// gauge is what leasehold_leading shows.
func gauge(t *testing.T, r *replica) float64 {
	t.Helper()
	synctest.Wait()
	value, ok := metricValues(t, r, "leasehold_leading")[""]
	if !ok {
		t.Error("there is no gauge")
	}
	return value
}

func lockRequests(t *testing.T, r *replica) map[string]float64 {
	t.Helper()
	return metricValues(t, r, "leasehold_lock_requests_total")
}

// metricValues returns the values of a counter or a gauge, by the values of its labels.
func metricValues(t *testing.T, r *replica, name string) map[string]float64 {
	t.Helper()
	families, err := r.election.cfg.Metrics.(*prometheus.Registry).Gather() //nolint:errcheck // the harness made it
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, metric := range f.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() { // in alphabetical order
				labels = append(labels, label.GetValue())
			}
			values[strings.Join(labels, " ")] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return values
}

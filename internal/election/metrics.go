package election

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

type metrics struct {
	leading  prometheus.Gauge
	rounds   prometheus.Counter
	requests *prometheus.CounterVec
	moves    *prometheus.CounterVec
}

// newMetrics registers the metrics; that of moves only where the store's own leadership is moved.
func newMetrics(reg prometheus.Registerer, moves bool) *metrics {
	auto, moving := promauto.With(reg), promauto.With(nil)
	if moves {
		moving = auto
	}
	m := &metrics{
		leading: auto.NewGauge(prometheus.GaugeOpts{
			Name: "leasehold_leading",
			Help: "1 while this replica leads.",
		}),
		rounds: auto.NewCounter(prometheus.CounterOpts{
			Name: "leasehold_election_rounds_total",
			Help: "Rounds of the election that this replica has begun.",
		}),
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "leasehold_lock_requests_total",
			Help: "Requests to the lock of the election (the Lease), by what came of them.",
		}, []string{"operation", "result"}),
		moves: moving.NewCounterVec(prometheus.CounterOpts{
			Name: "leasehold_store_leader_moves_total",
			Help: "Moves of etcd's leadership to this replica, because it leads, by what came of them.",
		}, []string{"result"}),
	}
	m.moves.WithLabelValues("success")
	m.moves.WithLabelValues("error")
	return m
}

// countedLock is a Lock whose requests are counted. A holder whose writes fail is about to lose the lock; one
// whose reads fail cannot take it over.
type countedLock struct {
	Lock
	requests *prometheus.CounterVec
}

func (l countedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Lock.Get(ctx)
	return record, raw, l.count("read", err)
}

func (l countedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.count("write", l.Lock.Create(ctx, record))
}

func (l countedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.count("write", l.Lock.Update(ctx, record))
}

func (l countedLock) count(operation string, err error) error {
	result := "success"
	if err != nil {
		result = "error"
	}
	l.requests.WithLabelValues(operation, result).Inc()
	return err
}

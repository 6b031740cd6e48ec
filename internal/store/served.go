package store

import (
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// served is when a term last took writes, as far as this replica has seen it happen: what was there when the process
// started does not count. A claim does not, nor the resignation of a term that never led.
type served struct {
	mu sync.Mutex
	at time.Time
}

// note takes in a change of the chain that was seen at now.
func (s *served) note(kv *mvccpb.KeyValue, now time.Time) {
	switch string(kv.Key) {
	case headKey:
		if at, err := parsePosition(string(kv.Value)); err != nil || at.sequence == 0 {
			return
		}
	case leaderKey:
		l, err := decodeLeader(kv.Value, kv.ModRevision)
		if err != nil || l.HeldMS == 0 {
			return
		}
		now = now.Add(-time.Duration(l.HeldMS) * time.Millisecond)
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.at) {
		s.at = now
	}
}

// gap is the time since then, if it is known.
func (s *served) gap() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() {
		return 0, false
	}
	return elapsed(s.at), true
}

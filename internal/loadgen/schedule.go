package loadgen

import (
	"sync"
	"sync/atomic"
	"time"
)

// schedule says when each operation is due, and has clients make them. A client that is free takes the next number; those
// that come late to it make it late, and do not leave it out.
type schedule struct {
	rate    int
	length  time.Duration
	clients int
	grace   time.Duration // after the end, in which what is due is still begun

	next     atomic.Int64 // number of the next operation
	start    atomic.Pointer[time.Time]
	stopping sync.Once
	stopped  chan struct{}
	end      time.Time // once stopped is closed
}

func newSchedule(cfg Config) *schedule {
	return &schedule{rate: cfg.Rate, length: cfg.Length, clients: cfg.Clients, grace: cfg.Timeout, stopped: make(chan struct{})}
}

// action is what is done with the operation of a number, which was due at a time.
type action func(number int64, due time.Time)

// run has every operation that is due made, or noted as one that was not begun, and returns when the last one has ended.
func (s *schedule) run(do, missed action) {
	now := time.Now()
	s.start.Store(&now)
	var working sync.WaitGroup
	for range s.clients {
		working.Go(func() { s.work(now, do, missed) })
	}
	working.Wait()
}

// work is one client.
func (s *schedule) work(start time.Time, do, missed action) {
	for {
		number := s.next.Add(1) - 1
		due := s.due(start, number)
		switch isDue, begin := s.await(start, due); {
		case !isDue:
			return
		case begin:
			do(number, due)
		default:
			missed(number, due)
		}
	}
}

// due is when an operation is.
func (s *schedule) due(start time.Time, number int64) time.Time {
	rate := int64(s.rate)
	return start.Add(time.Duration(number/rate)*time.Second + time.Duration(number%rate)*time.Second/time.Duration(rate))
}

// await waits for an operation that will be due. It returns false for one that would be after the end, and begin for one
// that may be begun now.
func (s *schedule) await(start, due time.Time) (isDue, begin bool) {
	end := start.Add(s.length)
	if !due.Before(end) {
		return false, false
	}
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stopped:
	}
	select {
	case <-s.stopped:
		return due.Before(s.end), false
	default:
		return true, time.Now().Before(end.Add(s.grace))
	}
}

// stop makes now the end, without a time after it in which anything is begun.
func (s *schedule) stop() {
	s.stopping.Do(func() {
		s.end = time.Now()
		close(s.stopped)
	})
}

// waiting is how many operations are due and not begun.
func (s *schedule) waiting() int64 {
	start := s.start.Load()
	if start == nil {
		return 0
	}
	elapsed := min(time.Since(*start), s.length)
	select {
	case <-s.stopped:
		elapsed = min(elapsed, s.end.Sub(*start))
	default:
	}
	due := int64(elapsed.Seconds() * float64(s.rate))
	return max(0, due-s.next.Load())
}

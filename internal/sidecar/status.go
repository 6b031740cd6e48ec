package sidecar

import "time"

// Status is who leads, as far as this process knows.
type Status struct {
	// Holder is the pod that the Lease names; "" where nobody is known to hold it: it is free, has run out, or the API server
	// has not been heard of for as long as it takes to run out.
	Holder string
	// Leading says that this process leads, under Epoch; 0 if it does not.
	Leading bool
	Epoch   uint64
	// Until is until when this holds, whatever happens; zero where Holder is "".
	Until time.Time
}

// Status returns what is so now, and channels one of which is closed when that may be another.
func (s *Sidecar) Status() (st Status, led, seen <-chan struct{}) {
	l, led := s.election.Watch()
	holder, until, seen := s.tenure.heldBy()
	st = Status{Holder: holder, Until: until}
	if own, _ := s.tenure.until(); l != nil && time.Now().Before(own) {
		st = Status{Holder: s.cfg.Pod, Leading: true, Epoch: l.Term.Epoch(), Until: own}
	}
	return st, led, seen
}

package client

import (
	"context"
	"sync/atomic"
	"time"
)

// replica is one of those that can be asked.
type replica struct {
	url string
	// tiredUntil is until when others are asked instead, in nanoseconds since 1970; 0 for a replica that answers.
	tiredUntil atomic.Int64
}

// choose returns the n-th replica in the round, or the one after it that answers, if any does.
func (c *Client) choose(n int) *replica {
	now := time.Now()
	for i := range c.replicas {
		if r := c.replicas[(n+i)%len(c.replicas)]; r.takes(now) {
			return r
		}
	}
	return c.replicas[n%len(c.replicas)]
}

// takes tells whether a request may go to the replica: while it does not answer, one now and then, to see.
func (r *replica) takes(now time.Time) bool {
	until := r.tiredUntil.Load()
	return until == 0 || now.UnixNano() >= until && r.tiredUntil.CompareAndSwap(until, now.Add(probeEvery).UnixNano())
}

// rest has the replica left alone for a time.
func (r *replica) rest(d time.Duration) { r.tiredUntil.Store(time.Now().Add(d).UnixNano()) }

func (r *replica) answers() { r.tiredUntil.Store(0) }

// pause returns false if ctx is done first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

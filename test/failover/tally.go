package main

import (
	"slices"
	"sync"
	"time"
)

// tally is the clients' bookkeeping.
type tally struct {
	mu sync.Mutex
	counts
}

// counts is what a tally holds.
type counts struct {
	acks    []ack    // in no strict order
	retried int      // attempts beyond a write's first
	failed  []string // writes that were given up, and why
}

// ack is an acknowledged write.
type ack struct {
	number int
	at     time.Time
	epoch  uint64
}

func (t *tally) acknowledge(a ack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acks = append(t.acks, a)
}

func (t *tally) retry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retried++
}

func (t *tally) fail(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, why)
}

func (t *tally) snapshot() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return counts{slices.Clone(t.acks), t.retried, slices.Clone(t.failed)}
}

// first is the earliest acknowledged write of that kind.
func (c counts) first(kind func(ack) bool) (first ack, ok bool) {
	for _, a := range c.acks {
		if kind(a) && (!ok || a.at.Before(first.at)) {
			first, ok = a, true
		}
	}
	return first, ok
}

// gaps are the times without an acknowledged write within [from, to], the beginning and the end included.
func (c counts) gaps(from, to time.Time) (gaps []time.Duration) {
	var times []time.Time
	for _, a := range c.acks {
		if a.at.After(from) && a.at.Before(to) {
			times = append(times, a.at)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	before := from
	for _, at := range append(times, to) {
		gaps, before = append(gaps, at.Sub(before)), at
	}
	return gaps
}

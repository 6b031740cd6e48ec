package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// tally is the writers' bookkeeping.
type tally struct {
	mu         sync.Mutex
	start, end time.Time
	acks       []ack
	failed     []string
	epoch      uint64 // the newest
}

type ack struct {
	number int
	at     time.Time
}

func (t *tally) begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start = now
}

func (t *tally) finish(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = now
}

func (t *tally) acknowledge(number int, at time.Time, epoch uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acks = append(t.acks, ack{number, at})
	t.epoch = max(t.epoch, epoch)
}

func (t *tally) fail(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = append(t.failed, why)
}

// newestEpoch is the newest under which a write was acknowledged.
func (t *tally) newestEpoch() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch
}

// acknowledged returns the numbers of the writes.
func (t *tally) acknowledged() (numbers []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.acks {
		numbers = append(numbers, a.number)
	}
	return numbers
}

// fill puts what is known once the writing has ended into the outcome.
func (t *tally) fill(o *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o.start, o.end, o.failed = t.start, t.end, slices.Clone(t.failed)
	for _, a := range t.acks {
		o.acks = append(o.acks, a.at)
	}
	slices.SortFunc(o.acks, time.Time.Compare)
}

// outcome is what a failover came to.
type outcome struct {
	old, new           leader
	start, killed, end time.Time
	acks               []time.Time // of all writers, in order
	failed, lost       []string    // which, and why
}

// longestGap is the longest time without an acknowledged write, the beginning and the end included.
func (o outcome) longestGap() time.Duration {
	longest, before := time.Duration(0), o.start
	for _, at := range append(slices.Clone(o.acks), o.end) {
		longest, before = max(longest, at.Sub(before)), at
	}
	return longest
}

func (o outcome) total() string {
	return fmt.Sprintf("acknowledged %d, failed %d, lost %d", len(o.acks), len(o.failed), len(o.lost))
}

func (o outcome) err() error {
	if len(o.failed)+len(o.lost) == 0 {
		return nil
	}
	return fmt.Errorf("a failover must cost no write, but this one did: %s", o.total())
}

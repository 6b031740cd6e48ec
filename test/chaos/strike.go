package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

// fault is a kind of disturbance.
type fault struct {
	name, about string
	// run begins the fault and has ended it when it returns. The error is one of the harness.
	run func(context.Context, *strike) error
}

func faults() (all []fault) {
	for _, some := range [][]fault{processFaults(), linkFaults(), apiFaults(), leaseFaults(), diskFaults()} {
		all = append(all, some...)
	}
	return all
}

func faultNames() (names []string) {
	for _, f := range faults() {
		names = append(names, f.name)
	}
	return names
}

func faultOf(name string) fault {
	for _, f := range faults() {
		if f.name == name {
			return f
		}
	}
	panic("no fault is named " + name) // the flags have been checked
}

// strike is one fault at work.
type strike struct {
	*arena
	rng       *rand.Rand
	before    lab.View
	leader    *lab.Replica
	followers []*lab.Replica // in an order left to chance

	target   string   // whom it strikes
	remarks  []string // what a person should know of it
	violated []string
}

func newStrike(a *arena, rng *rand.Rand, before lab.View) (*strike, error) {
	leader, err := a.cluster.Leader(before)
	if err != nil {
		return nil, err
	}
	s := &strike{arena: a, rng: rng, before: before, leader: leader, followers: a.cluster.Others(leader), target: leader.Name}
	rng.Shuffle(len(s.followers), func(i, j int) { s.followers[i], s.followers[j] = s.followers[j], s.followers[i] })
	return s, nil
}

// anyone is a replica, the leader as likely as the others together.
func (s *strike) anyone() *lab.Replica {
	if s.rng.IntN(2) == 0 {
		return s.leader
	}
	return s.followers[0]
}

// aim notes whom the fault strikes.
func (s *strike) aim(r *lab.Replica) {
	s.target = r.Name
	if r == s.leader {
		s.target += " (leader)"
	}
}

func (s *strike) disk(r *lab.Replica) *disk { return s.disks[r.Ordinal] }

// between is a time left to chance.
func (s *strike) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.rng.Int64N(int64(most-least)))
}

// hold waits while the fault lasts, less if ctx ends.
func (s *strike) hold(ctx context.Context, least, most time.Duration) {
	lab.Pause(ctx, s.between(least, most))
}

func (s *strike) remark(format string, args ...any) {
	s.remarks = append(s.remarks, fmt.Sprintf(format, args...))
}

func (s *strike) violate(format string, args ...any) {
	s.violated = append(s.violated, fmt.Sprintf(format, args...))
}

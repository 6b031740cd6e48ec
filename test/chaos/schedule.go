package main

import (
	"math/rand/v2"
	"slices"
)

// schedule says which fault comes next.
type schedule struct {
	seed  uint64
	names []string // all that there are
	fixed bool     // in this order, and then no more
	queue []string
	cycle uint64
	begun uint64
}

// scheduled is a case: faults in a fixed order.
type scheduled struct {
	name, about string
	faults      []string
}

func cases() []scheduled {
	return []scheduled{
		{"short", "one of each sort, within two minutes", []string{"kill-leader", "freeze-5s", "cut-peers", "api-503", "disk-full", "halves", "disks-frozen", "kill-all"}},
		{"kills", "the leader is killed, 20 times in a row", slices.Repeat([]string{"kill-leader"}, 20)},
		{"heals", "the leader is cut off from the others and comes back while clients write to it, 20 times in a row", slices.Repeat([]string{"cut-peers"}, 20)},
		{"restarts", "every replica is restarted, the leader first, 20 times in a row", slices.Repeat([]string{"term-leader", "term-follower"}, 20)},
		{"wipes", "one replica after another loses its disk", slices.Repeat([]string{"disk-lost"}, 6)},
		{"outages", "the API server goes away in every way, and the leader dies after each", []string{
			"api-refused", "kill-leader", "api-503", "kill-leader", "api-silent", "kill-leader", "api-slow", "kill-leader", "api-conflict", "kill-leader",
		}},
		{"all", "every fault once", faultNames()},
	}
}

func caseOf(name string) *scheduled {
	for _, c := range cases() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

func newSchedule(cfg config) *schedule {
	if cfg.schedule != "" {
		c := caseOf(cfg.schedule)
		return &schedule{seed: cfg.seed, fixed: true, queue: c.faults}
	}
	return &schedule{seed: cfg.seed, names: cfg.faults}
}

// next returns the name of the next fault, and the chance that goes with it. By chance each fault comes once before any
// comes again. Both depend on the seed and on how many have been before, and on nothing else.
func (s *schedule) next() (name string, rng *rand.Rand, ok bool) {
	if len(s.queue) == 0 {
		if s.fixed {
			return "", nil, false
		}
		s.queue = slices.Clone(s.names)
		rand.New(rand.NewPCG(s.seed, 1<<32+s.cycle)).Shuffle(len(s.queue), func(i, j int) {
			s.queue[i], s.queue[j] = s.queue[j], s.queue[i]
		})
		s.cycle++
	}
	name, s.queue = s.queue[0], s.queue[1:]
	s.begun++
	return name, rand.New(rand.NewPCG(s.seed, s.begun)), true
}

package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

func processFaults() []fault {
	return []fault{
		{"kill-leader", "`kill -9` of the leader, started again within 3 s", killing((*strike).justLeader)},
		{"kill-follower", "`kill -9` of a follower, started again within 3 s", killing((*strike).justFollower)},
		{"kill-all", "`kill -9` of all replicas at once, started again within 3 s", killing((*strike).everybody)},
		{"term-leader", "SIGTERM to the leader, started again once it has ended", restarting((*strike).justLeader)},
		{"term-follower", "SIGTERM to a follower, started again once it has ended", restarting((*strike).justFollower)},
		{"freeze-1s", "SIGSTOP to the leader, SIGCONT after 1 s", freezing(time.Second)},
		{"freeze-5s", "SIGSTOP to the leader, SIGCONT after 5 s", freezing(5 * time.Second)},
		{"freeze-20s", "SIGSTOP to the leader, SIGCONT after 20 s", freezing(20 * time.Second)},
		{"freeze-term", "SIGSTOP to the leader, after 20 s SIGTERM and SIGCONT, started again: its successor keeps the Lease", freezeTerm},
		{"transfers", "`POST /v1/leader/transfer`, 20 times in a row, half of them to a named replica", transfers},
	}
}

func (s *strike) justLeader() []*lab.Replica { return []*lab.Replica{s.leader} }

func (s *strike) justFollower() []*lab.Replica {
	s.aim(s.followers[0])
	return s.followers[:1]
}

func (s *strike) everybody() []*lab.Replica {
	s.target = "all"
	return s.cluster.Replicas
}

func killing(whom func(*strike) []*lab.Replica) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		victims := whom(s)
		for _, r := range victims {
			if err := r.Do(lab.Kill); err != nil {
				return err
			}
		}
		s.hold(ctx, 0, 3*time.Second)
		return s.startAgain(ctx, victims...)
	}
}

// startAgain starts replicas that are ending or have ended.
func (s *strike) startAgain(ctx context.Context, replicas ...*lab.Replica) error {
	for _, r := range replicas {
		if err := r.AwaitEnd(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s.violate("%v", err)
			r.Destroy()
		}
		if err := r.Start(); err != nil {
			return err
		}
	}
	return nil
}

func restarting(whom func(*strike) []*lab.Replica) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		victims := whom(s)
		for _, r := range victims {
			if err := r.Do(lab.Terminate); err != nil {
				return err
			}
		}
		return s.startAgain(ctx, victims...)
	}
}

func freezing(d time.Duration) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		if err := s.leader.Do(lab.Freeze); err != nil {
			return err
		}
		lab.Pause(ctx, d)
		return s.leader.Do(lab.Thaw)
	}
}

func freezeTerm(ctx context.Context, s *strike) error {
	watch, err := s.watchLease(ctx)
	if err != nil {
		return err
	}
	if err := s.leader.Do(lab.Freeze); err != nil {
		return errors.Join(err, watch.end())
	}
	lab.Pause(ctx, 20*time.Second)
	err = errors.Join(s.leader.Do(lab.Terminate), s.leader.Do(lab.Thaw))
	if errors.Is(err, os.ErrProcessDone) {
		err = nil // it was quick
	}
	if err == nil {
		err = s.startAgain(ctx, s.leader)
	}
	err = errors.Join(err, watch.end())
	if found := watch.takenBack(s.leader.Name); found != "" {
		s.violate("%s", found)
	}
	return err
}

const transferCount = 20

func transfers(ctx context.Context, s *strike) error {
	s.target = "all"
	answers := map[int]int{}
	for range transferCount {
		through, to := s.cluster.Replicas[s.rng.IntN(lab.ReplicaCount)], ""
		if s.rng.IntN(2) == 0 {
			to = s.cluster.Replicas[s.rng.IntN(lab.ReplicaCount)].Name
		}
		a, err := lab.Transfer(ctx, s.client, through, to)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			s.violate("a transfer through %s to %q was not answered: %v", through.Name, to, err)
		case a.Status == http.StatusInternalServerError:
			s.violate("a transfer through %s to %q was answered with %s", through.Name, to, a)
		}
		answers[a.Status]++
	}
	for _, status := range slices.Sorted(maps.Keys(answers)) {
		s.remark("%d× %d", answers[status], status)
	}
	if answers[http.StatusOK] == 0 {
		s.violate("none of %d transfers moved leadership", transferCount)
	}
	return nil
}

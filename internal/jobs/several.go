package jobs

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/leasehold/leasehold/internal/store"
)

// Of returns those of all that the leader of an election runs, where elections are the ones that are held. A job of an election
// that is not runs in store.Writes.
func Of(election string, elections []string, all []Job) (own []Job) {
	for _, j := range all {
		wanted := cmp.Or(j.Election, store.Writes)
		if !slices.Contains(elections, wanted) {
			wanted = store.Writes
		}
		if wanted == election {
			own = append(own, j)
		}
	}
	return own
}

// Several are the schedulers of all elections. Each runs by itself; they are asked as one.
type Several []*Scheduler

// Statuses returns what the store knows of every job, election by election. Any replica may be asked.
func (all Several) Statuses(ctx context.Context) ([]Status, error) {
	statuses := []Status{}
	for _, s := range all {
		own, err := s.Statuses(ctx)
		if err != nil {
			return nil, err
		}
		statuses = append(statuses, own...)
	}
	return statuses, nil
}

// RunNow is that of the scheduler which has the job.
func (all Several) RunNow(ctx context.Context, name string) (Status, error) {
	if s := all.with(name); s != nil {
		return s.RunNow(ctx, name)
	}
	return Status{}, fmt.Errorf("%w: %q", ErrUnknownJob, name)
}

// ElectionOf returns the election whose leader runs the job; false if there is no such job.
func (all Several) ElectionOf(name string) (election string, ok bool) {
	if s := all.with(name); s != nil {
		return s.cfg.Election, true
	}
	return "", false
}

func (all Several) with(name string) *Scheduler {
	for _, s := range all {
		if s.jobs[name] != nil {
			return s
		}
	}
	return nil
}

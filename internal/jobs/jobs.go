// Package jobs runs the periodic work that only the leader does.
//
// Its one invariant: a job runs only while the flag is on, under a context that ends with the term, and
// whatever it writes goes through that term, so a job that outlives its leader writes nothing. A job runs at
// least once per interval while somebody leads; around a failover it may run twice.
package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

var (
	// ErrUnknownJob says that there is no job of that name.
	ErrUnknownJob = errors.New("no such job")
	// ErrNotLeading says that this replica does not lead the job's election, so it does not run it.
	ErrNotLeading = errors.New("this replica does not lead")
	// ErrRunning says that the job is under way.
	ErrRunning = errors.New("the job is running already")
)

// Job is periodic work for the leader.
type Job struct {
	Name     string
	Interval time.Duration
	// Election is whose leader runs it; store.Writes if empty.
	Election string
	// Run does the work once and says in a few words what it did. ctx ends with the term.
	Run func(ctx context.Context, leader Leader) (string, error)
}

// Leader is what a job gets of the leadership under which it runs.
type Leader struct {
	Pod  string
	Term *store.Term
}

// Status is what is known of a job. It is kept in the store, so that a new leader carries on where the old
// one stopped.
type Status struct {
	Name string `json:"name"`
	// Election is whose leader runs it.
	Election string        `json:"election"`
	Interval time.Duration `json:"-"`
	// Every is Interval as people write it.
	Every   string    `json:"every"`
	LastRun time.Time `json:"last_run,omitzero"`
	NextRun time.Time `json:"next_run,omitzero"`
	// Pod and Epoch are those of the last run; Runs counts all, under all leaders.
	Pod      string `json:"pod,omitempty"`
	Epoch    uint64 `json:"epoch,omitempty"`
	Runs     int64  `json:"runs"`
	Millis   int64  `json:"duration_ms"`
	Result   string `json:"result,omitempty"`
	Error    string `json:"error,omitempty"`
	Failures int64  `json:"failures"`
}

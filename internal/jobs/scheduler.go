package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/store"
)

// Config is what a Scheduler needs: all of it is of one election.
type Config struct {
	// Election is whose leader runs the jobs; store.Writes if empty.
	Election string
	Jobs     []Job
	// Leading is the flag. It alone decides whether jobs run.
	Leading func() bool
	// Leadership is what a run gets; false if the term ended since the flag was read.
	Leadership func() (context.Context, Leader, bool)
	// State reads a record of the service's own from the local member; nil if there is none.
	State   func(ctx context.Context, name string) ([]byte, error)
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// tick is how often the scheduler looks at the flag and the clock.
const tick = 100 * time.Millisecond

// Scheduler runs the jobs that are due.
type Scheduler struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics
	running sync.WaitGroup
	jobs    map[string]*job
}

// job is a Job with what the scheduler knows of it. busy is held during a run.
type job struct {
	Job
	busy sync.Mutex

	mu    sync.Mutex
	next  time.Time
	epoch uint64 // under which next was read
}

// New makes a Scheduler that runs nothing yet.
func New(cfg Config) *Scheduler {
	cfg.Election = cmp.Or(cfg.Election, store.Writes)
	s := &Scheduler{cfg: cfg, log: cfg.Log, metrics: newMetrics(cfg.Metrics, cfg.Election, cfg.Jobs), jobs: map[string]*job{}}
	for _, j := range cfg.Jobs {
		s.jobs[j.Name] = &job{Job: j}
	}
	return s
}

// Run runs jobs until ctx is done, and returns when the last of them has.
func (s *Scheduler) Run(ctx context.Context) {
	defer s.running.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if s.cfg.Leading() {
				s.startDue()
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Scheduler) startDue() {
	ctx, leader, ok := s.cfg.Leadership()
	if !ok {
		return
	}
	for _, j := range s.jobs {
		if !s.due(ctx, j, leader) || !j.busy.TryLock() {
			continue
		}
		s.running.Go(func() {
			defer j.busy.Unlock()
			if _, err := s.run(ctx, ctx, j, leader); err != nil && ctx.Err() == nil {
				s.log.Warn("the run of a job could not be recorded", zap.String("job", j.Name), zap.Error(err))
			}
		})
	}
}

// due tells whether j is to run now. A new leader reads from the store when the next run is.
func (s *Scheduler) due(ctx context.Context, j *job, leader Leader) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.epoch != leader.Term.Epoch() {
		status, err := s.status(ctx, j)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("the next run of a job is not known", zap.String("job", j.Name), zap.Error(err))
			}
			return false // the next tick tries again
		}
		j.epoch, j.next = leader.Term.Epoch(), status.NextRun
	}
	left := time.Until(j.next)
	return left <= 0 || left > j.Interval // more than an interval away: a clock has been set back
}

// run runs j once and records it; the run ends with ctx, what it came to can be recorded until term ends. The
// error is that of the recording; the job's own is in the status.
func (s *Scheduler) run(ctx, term context.Context, j *job, leader Leader) (Status, error) {
	start := time.Now().UTC()
	j.postpone(start)
	status, err := s.status(ctx, j)
	if err != nil {
		return Status{}, err
	}
	result, runErr := s.call(ctx, j, leader)
	s.metrics.observe(j.Name, time.Since(start), runErr)
	status.LastRun, status.NextRun = start, start.Add(j.Interval)
	status.Millis = time.Since(start).Milliseconds()
	status.Pod, status.Epoch = leader.Pod, leader.Term.Epoch()
	status.Result, status.Error = result, ""
	status.Runs++
	if runErr != nil {
		status.Failures++
		status.Error = runErr.Error()
	}
	if runErr != nil && term.Err() == nil { // a job that ended with its term has not failed
		s.log.Warn("job failed", zap.String("job", j.Name), zap.Error(runErr))
	}
	return status, s.record(term, status, leader)
}

// postpone sets the next run, whatever becomes of this one.
func (j *job) postpone(start time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next = start.Add(j.Interval)
}

// call turns a panic of a job into its error: one bad job is no reason to take the replica down.
func (s *Scheduler) call(ctx context.Context, j *job, leader Leader) (result string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return j.Run(ctx, leader)
}

func (s *Scheduler) record(ctx context.Context, status Status, leader Leader) error {
	value, err := json.Marshal(status)
	if err != nil {
		return err
	}
	w := &store.Write{ID: store.NewID()}
	w.PutState(stateName(status.Name), value)
	_, err = leader.Term.Write(ctx, w)
	return err
}

// RunNow runs a job at once, whatever its schedule. Errors: ErrUnknownJob, ErrNotLeading, ErrRunning, or that
// of recording the run; the job's own is in the status.
func (s *Scheduler) RunNow(ctx context.Context, name string) (Status, error) {
	j, ok := s.jobs[name]
	if !ok {
		return Status{}, fmt.Errorf("%w: %q", ErrUnknownJob, name)
	}
	term, leader, ok := s.cfg.Leadership()
	if !ok {
		return Status{}, ErrNotLeading
	}
	if !j.busy.TryLock() {
		return Status{}, fmt.Errorf("%w: %s", ErrRunning, name)
	}
	defer j.busy.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(term, cancel)()
	return s.run(ctx, term, j, leader)
}

// Statuses returns what the store knows of every job, in the order in which they were configured. Any replica
// may be asked.
func (s *Scheduler) Statuses(ctx context.Context) ([]Status, error) {
	all := make([]Status, 0, len(s.cfg.Jobs))
	for _, j := range s.cfg.Jobs {
		status, err := s.status(ctx, s.jobs[j.Name])
		if err != nil {
			return nil, err
		}
		all = append(all, status)
	}
	return all, nil
}

func (s *Scheduler) status(ctx context.Context, j *job) (Status, error) {
	status := Status{}
	value, err := s.cfg.State(ctx, stateName(j.Name))
	if err != nil {
		return Status{}, fmt.Errorf("read the state of job %s: %w", j.Name, err)
	}
	if value != nil {
		if err := json.Unmarshal(value, &status); err != nil {
			return Status{}, fmt.Errorf("malformed state of job %s: %w", j.Name, err)
		}
	}
	status.Name, status.Election, status.Interval, status.Every = j.Name, s.cfg.Election, j.Interval, j.Interval.String()
	return status, nil
}

func stateName(job string) string { return "jobs/" + job }

// Package sidecar is leader election alone, beside a program that knows nothing of it: it holds a Lease by the elector
// of internal/election, without a store, and says who leads by a file, over HTTP, and by running a command.
//
// Nothing fences here: a process that stands still while its Lease runs out goes on believing until it runs again. The
// invariant is that of a process that runs: the Lease is released, or can run out, only when its command has ended and
// what its file said may no longer be believed.
package sidecar

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leasehold/leasehold/internal/election"
)

// Config is what a Sidecar needs.
type Config struct {
	// Pod is who holds the Lease, under BootID.
	Pod, BootID string
	// Namespace and Lease say where the election is held.
	Namespace, Lease string
	// Leases is used with short deadlines; Watches must have none. Events may be nil.
	Leases, Watches coordinationclient.LeasesGetter
	Events          resourcelock.EventRecorder
	Timing          election.Timing
	// Command runs while this process leads; nil for none. Grace is how long it has between SIGTERM and SIGKILL.
	Command Command
	Grace   time.Duration
	// File is kept with who leads; "" for none.
	File    string
	Log     *zap.Logger
	Metrics prometheus.Registerer
}

// Sidecar is one process's part in the election.
type Sidecar struct {
	cfg      Config
	log      *zap.Logger
	tenure   *tenure
	worker   *worker
	file     *file
	rest     *backOff
	election *election.Election
}

// New makes a Sidecar that does not campaign yet. It fails where the timing breaks a rule.
func New(cfg Config) (*Sidecar, error) {
	s := &Sidecar{cfg: cfg, log: cfg.Log, tenure: newTenure(cfg.Pod, cfg.BootID, cfg.Timing), rest: &backOff{}}
	s.worker = &worker{command: cfg.Command, grace: cfg.Grace, tenure: s.tenure, rest: s.rest, leadership: s.leadership, log: cfg.Log}
	s.file = &file{path: cfg.File, window: 2 * cfg.Timing.RetryPeriod}
	s.tenure.quiet, s.tenure.mayTake = s.quiet, s.mayTake
	elected, err := election.New(election.Config{
		Pod: cfg.Pod, BootID: cfg.BootID, Timing: cfg.Timing, Storeless: true,
		Lock: election.NewLeaseLock(election.LeaseLockConfig{
			Namespace: cfg.Namespace, Name: cfg.Lease, Pod: cfg.Pod, BootID: cfg.BootID,
			Leases: leases{cfg.Leases, s.tenure}, Watches: leases{cfg.Watches, s.tenure}, Events: cfg.Events,
		}),
		Store:          noStore{s},
		Voter:          func() bool { return true },
		First:          func() bool { return false },
		TakesOver:      func() bool { return false },
		Probe:          func(context.Context, string) (election.Vitals, error) { return election.Vitals{}, errNobodyToAsk },
		Others:         func() []string { return nil },
		PrepareMove:    prepareNoMove,
		StoreElsewhere: func() bool { return false },
		Log:            cfg.Log, Metrics: cfg.Metrics,
	})
	s.election = elected
	return s, err
}

// Election is the election that is held.
func (s *Sidecar) Election() *election.Election { return s.election }

// Run campaigns, leads, and campaigns again until ctx is done, and then gives leadership up in good order: it returns when
// the command has ended and the Lease is released. It fails at once where the file cannot be written.
func (s *Sidecar) Run(ctx context.Context) error {
	if err := s.publish(); err != nil {
		return err
	}
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	campaigning, stopCampaigning := context.WithCancel(context.WithoutCancel(ctx))
	var running, campaign sync.WaitGroup
	campaign.Go(func() { s.election.Run(campaigning) })
	running.Go(func() { s.worker.run(working) })
	running.Go(func() { s.keepFile(working) })
	<-ctx.Done()
	if err := s.election.Handover(context.WithoutCancel(ctx)); err != nil {
		s.log.Warn("leadership is not given up in good order", zap.Error(err))
	}
	stopCampaigning()
	campaign.Wait()
	stopWorking()
	running.Wait()
	return s.publish()
}

// leadership is the current one, nil while this process does not lead.
func (s *Sidecar) leadership() (*election.Leadership, <-chan struct{}) { return s.election.Watch() }

// quiet returns when nothing here believes any more that this process leads, or with why it does when ctx is done. It is
// called when leadership has ended.
func (s *Sidecar) quiet(ctx context.Context) error {
	if err := s.worker.idle(ctx); err != nil {
		return err
	}
	return s.file.forgotten(ctx)
}

// mayTake returns why this process must not take the Lease now.
func (s *Sidecar) mayTake() error {
	if s.worker.busy() {
		return errStillRuns
	}
	return s.rest.standing()
}

// fail gives leadership up because this process cannot make use of it, and has it rest for longer each time.
func (s *Sidecar) fail(l *election.Leadership, cause error) {
	s.rest.add(0, cause)
	endTerm(l, cause)
}

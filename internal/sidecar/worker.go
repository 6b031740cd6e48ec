package sidecar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/election"
)

// Command is what runs while this process leads.
type Command interface {
	// Start starts a run under the epoch. The one before has ended.
	Start(epoch uint64) (Running, error)
}

// Running is one run of the command, with all processes that come of it.
type Running interface {
	// Exited is closed when the command itself has ended, and Done when nothing that it has started is left either.
	Exited() <-chan struct{}
	Done() <-chan struct{}
	// State says how the command ended, once it has.
	State() string
	// Terminate asks all of it to end, and Kill ends it. Neither blocks.
	Terminate()
	Kill()
}

// worker runs the command during this process's terms, one run at a time.
type worker struct {
	command    Command // nil for none
	grace      time.Duration
	tenure     *tenure
	rest       *backOff
	leadership func() (*election.Leadership, <-chan struct{})
	log        *zap.Logger

	mu      sync.Mutex
	working chan struct{} // closed when the run has ended; nil while there is none
}

// run runs the command in every term, until ctx is done. By then this process must not lead any more.
func (w *worker) run(ctx context.Context) {
	for w.command != nil {
		l, changed := w.leadership()
		if l != nil && w.begin(l) {
			w.lead(l)
			w.end()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// begin makes the worker busy, unless l is over: who waits for idle after the end of l must not miss a run that is
// just about to start.
func (w *worker) begin(l *election.Leadership) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, _ := w.tenure.until()
	if now, _ := w.leadership(); now != l || !time.Now().Before(until) {
		return false
	}
	w.working = make(chan struct{})
	return true
}

func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.working)
	w.working = nil
}

func (w *worker) busy() bool { return w.current() != nil }

func (w *worker) current() chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.working
}

// idle returns when no command runs.
func (w *worker) idle(ctx context.Context) error {
	working := w.current()
	if working == nil {
		return nil
	}
	select {
	case <-working:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errStillRuns, ctx.Err())
	}
}

// lead runs the command until l ends or it ends by itself, and returns when nothing of it is left.
func (w *worker) lead(l *election.Leadership) {
	began := time.Now()
	run, err := w.command.Start(l.Term.Epoch())
	if err != nil {
		w.giveUp(l, 0, fmt.Errorf("the command cannot be started: %w", err))
		return
	}
	w.log.Info("the command runs", zap.Uint64("epoch", l.Term.Epoch()))
	select {
	case <-l.Context.Done():
		w.stop(run)
		w.log.Info("the command has been stopped", zap.Uint64("epoch", l.Term.Epoch()), zap.String("state", run.State()))
	case <-run.Exited():
		ran := time.Since(began)
		w.stop(run)
		w.giveUp(l, ran, fmt.Errorf("the command has ended by itself: %s", run.State()))
	}
}

// giveUp ends the term, so that another process can try, and has this one rest.
func (w *worker) giveUp(l *election.Leadership, ran time.Duration, cause error) {
	w.rest.add(ran, cause)
	endTerm(l, cause)
}

// stop asks the run to end, and kills it after the grace period, or before the Lease can be somebody else's: at once if it
// may be already.
func (w *worker) stop(run Running) {
	run.Terminate()
	limit := time.Now().Add(w.grace)
	for {
		until, changed := w.tenure.until()
		timer := time.NewTimer(time.Until(earlier(limit, until)))
		select {
		case <-run.Done():
			timer.Stop()
			return
		case <-changed:
			timer.Stop()
		case <-timer.C:
			w.log.Warn("the command is killed", zap.Bool("lease_runs_out", until.Before(limit)))
			run.Kill()
			<-run.Done()
			return
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

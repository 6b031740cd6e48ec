package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// round is one run of client-go's elector and what it led to.
type round struct {
	e       *Election
	claimID string
	guard   *guard
	ctx     context.Context
	cancel  context.CancelCauseFunc

	finished chan struct{} // closed when started has returned
	over     chan struct{} // closed when the round has ended and its lock is released
}

var (
	errExpired = errors.New("the lock was not renewed in time")
	errTooLate = errors.New("the claim came too late")
)

func (e *Election) newRound(ctx context.Context, n int) *round {
	r := &round{
		e:        e,
		claimID:  fmt.Sprintf("%s/%d", e.cfg.BootID, n),
		finished: make(chan struct{}),
		over:     make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.guard = newGuard(e.takeover, r.claimID, r.lost)
	return r
}

// lost ends the round because this replica cannot or must not lead, and clears the flag first. The replica
// then lets others try before it campaigns again.
func (r *round) lost(cause error) {
	r.e.clear(r, cause)
	r.e.sitOut(r)
	r.cancel(cause)
}

// started is OnStartedLeading: the lock is won, the store has the last word.
func (r *round) started(ctx context.Context) {
	defer close(r.finished)
	if ctx.Err() != nil {
		return // the round was over before this callback came
	}
	term, err := r.claim(ctx)
	if err != nil {
		r.e.log.Warn("the lock is won, but not the claim", zap.Error(err))
		r.lost(err) // a claim that lands nevertheless is given up by resignGhosts
		return
	}
	l := &Leadership{Term: term, round: r}
	l.Context, l.cancel = context.WithCancelCause(ctx)
	if !r.e.setLeading(ctx, l) {
		l.cancel(errTooLate)
		term.End()
		r.lost(errTooLate) // or else the round would go on renewing a lock that nobody leads by
		return
	}
	cause := r.awaitEnd(ctx, term)
	if errors.Is(context.Cause(l.Context), errHandover) {
		return // giveUp's caller ends the round, once the record is resigned
	}
	r.lost(cause)
}

func (r *round) claim(ctx context.Context) (Term, error) {
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	return r.e.cfg.Store.Claim(ctx, r.guard.seenRecord(), r.claimID)
}

// awaitEnd blocks while this replica leads, and returns what ended that.
func (r *round) awaitEnd(ctx context.Context, term Term) error {
	for {
		record, changed := r.e.cfg.Store.Record()
		if record.Epoch > term.Epoch() {
			return fmt.Errorf("%s claimed epoch %d", record.Pod, record.Epoch)
		}
		left := time.Until(r.guard.validity())
		if left <= 0 {
			return errExpired
		}
		expiry := time.NewTimer(left)
		select {
		case <-changed:
		case <-expiry.C:
		case <-term.Ended():
			return term.Err()
		case <-ctx.Done():
			return errReleased
		}
		expiry.Stop()
	}
}

// stopped is OnStoppedLeading. It is also called when the round was never won.
func (r *round) stopped() { r.e.clear(r, errReleased) }

package election

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

var (
	// ErrNotLeading says that this replica does not lead: there is nothing to give up.
	ErrNotLeading = errors.New("this replica does not lead")
	// ErrLeadsAlready says that leadership is to go to the pod that has it.
	ErrLeadsAlready = errors.New("leads already")
	// ErrBusy says that another handover or transfer was waited for in vain.
	ErrBusy = errors.New("a handover or a transfer is under way already")
	// ErrNotMoved says that the store's own leadership could not be moved. It is wrapped with why.
	ErrNotMoved = errors.New("the store's own leadership was not moved")

	errHandover = errors.New("handover")
	errTransfer = fmt.Errorf("%w on request", errHandover)
)

// Handover gives leadership up for good and in good order, if this replica leads: the store's own leadership
// is moved first, then the write under way finishes, the record is resigned and the lock released. It blocks
// until the record is resigned, resignLimit is over, or ctx is done. The replica does not campaign again. A claim
// under way is called off, and resigned if it was made nevertheless; a step-down under way is waited for.
func (e *Election) Handover(ctx context.Context) error {
	e.mu.Lock()
	e.drained = true
	e.mu.Unlock()
	select {
	case e.handing <- struct{}{}:
		defer func() { <-e.handing }()
	case <-ctx.Done():
		e.endRound()
		return fmt.Errorf("hand over: %w", ctx.Err())
	}
	defer e.endRound()
	e.mu.Lock()
	r, l := e.round, e.leader
	e.mu.Unlock()
	if l == nil {
		return e.callOff(ctx, r)
	}
	successor, err := e.moveStore(ctx, l.Term, "")
	if err != nil {
		e.log.Info("leadership is handed over to whoever comes", zap.Error(err))
	}
	return e.giveUp(ctx, l, errHandover, Graceful, successor)
}

// StepDown gives leadership up as Handover does, to that pod or, where to is "", to the best one, but the replica
// campaigns again: when another pod leads, or when nobody has taken over for two retry periods. Where the store's own
// leadership cannot be moved there, this replica goes on leading. One that is under way already is waited for. Errors: ErrNotLeading, ErrLeadsAlready,
// ErrBusy, ErrNotMoved and whatever PrepareMove refuses (all: it leads on, if it did), or that the record could not
// be resigned in that time: then the flag is off, and the record is given up later.
func (e *Election) StepDown(ctx context.Context, to string) error {
	select {
	case e.handing <- struct{}{}:
		defer func() { <-e.handing }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	l := e.Leadership()
	switch {
	case l == nil:
		return ErrNotLeading
	case to == e.cfg.Pod:
		return fmt.Errorf("%s %w", to, ErrLeadsAlready)
	}
	successor, err := e.moveStore(ctx, l.Term, to)
	if err != nil {
		return err
	}
	defer l.round.stepAside()
	return e.giveUp(ctx, l, errTransfer, Transfer, successor)
}

// moveStore moves the store's own leadership while no write is under way, and returns to which pod.
func (e *Election) moveStore(ctx context.Context, term Term, to string) (successor string, err error) {
	ctx, cancel := context.WithTimeout(ctx, moveLimit)
	defer cancel()
	successor, move, err := e.cfg.PrepareMove(ctx, to)
	if err != nil {
		return "", err
	}
	if err := paused(ctx, term, move); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotMoved, err)
	}
	return successor, nil
}

// paused has f run while no write of term is under way.
func paused(ctx context.Context, term Term, f func(context.Context) error) error {
	var err error
	return errors.Join(term.Pause(ctx, func() { err = f(ctx) }), err)
}

// giveUp ends l and resigns its record. The round goes on, and so keeps the lock, until the caller ends it; a record
// that cannot be resigned in time is no reason to keep the others from leading.
func (e *Election) giveUp(ctx context.Context, l *Leadership, cause error, reason, successor string) error {
	ctx, cancel := context.WithTimeout(ctx, resignLimit)
	defer cancel()
	e.setParting(l.round.claimID, reason)
	e.clear(l.round, cause)
	if err := l.Term.Resign(ctx, reason, successor); err != nil {
		return fmt.Errorf("give leadership up: %w", err)
	}
	return nil
}

// stepAside ends the round and has the replica rest after it.
func (r *round) stepAside() {
	r.e.sitOut(r)
	r.cancel(errTransfer)
}

// endRound ends the round that runs, if one does.
func (e *Election) endRound() {
	e.mu.Lock()
	r := e.round
	e.mu.Unlock()
	if r != nil {
		r.cancel(errHandover)
	}
}

// callOff ends a round that does not lead, and gives up what it may have claimed.
func (e *Election) callOff(ctx context.Context, r *round) error {
	if r == nil {
		return nil
	}
	e.setParting(r.claimID, Graceful)
	r.cancel(errHandover)
	select {
	case <-r.over:
	case <-ctx.Done():
		return fmt.Errorf("hand over: %w", ctx.Err())
	}
	if !r.guard.hasWon() {
		return nil
	}
	if err := e.cfg.Store.ResignClaim(ctx, r.claimID, Graceful); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return nil
}

// parting is why a claim is being given up, for whoever gets to resign it in the end.
type parting struct{ claimID, reason string }

func (e *Election) setParting(claimID, reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.parting.claimID != claimID { // a handover after a transfer that it found under way
		e.parting = parting{claimID, reason}
	}
}

func (e *Election) partingReason(claimID string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.parting.claimID == claimID {
		return e.parting.reason
	}
	return Resigned
}

package election

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// Handover gives leadership up for good and in good order, if this replica leads: the store's own leadership
// is moved first, then the write under way finishes, the record is resigned and the lock released. It blocks
// until the record is resigned or ctx is done. The replica does not campaign again. A claim under way is
// called off, and resigned if it was made nevertheless.
func (e *Election) Handover(ctx context.Context) error {
	e.mu.Lock()
	e.drained = true
	r, l := e.round, e.leader
	e.mu.Unlock()
	if r != nil {
		defer r.cancel(errHandover)
	}
	if l == nil {
		return e.callOff(ctx, r)
	}
	if err := e.moveStore(ctx, l.Term); err != nil {
		e.log.Warn("the store's leadership stays", zap.Error(err))
	}
	e.clear(r, errHandover)
	if err := l.Term.Resign(ctx); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return nil
}

func (e *Election) moveStore(ctx context.Context, term Term) error {
	ctx, cancel := context.WithTimeout(ctx, moveLimit)
	defer cancel()
	move := e.cfg.PrepareMove(ctx)
	var moveErr error
	pauseErr := term.Pause(ctx, func() { moveErr = move(ctx) })
	return errors.Join(pauseErr, moveErr)
}

// callOff ends a round that does not lead, and gives up what it may have claimed.
func (e *Election) callOff(ctx context.Context, r *round) error {
	if r == nil {
		return nil
	}
	r.cancel(errHandover)
	select {
	case <-r.over:
	case <-ctx.Done():
		return fmt.Errorf("hand over: %w", ctx.Err())
	}
	if !r.guard.hasWon() {
		return nil
	}
	if err := e.cfg.Store.ResignClaim(ctx, r.claimID); err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return nil
}

package election

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// resignGhosts gives up every record that names this boot although it does not lead by it: a claim that
// landed after its round was over, or a term that ended without a handover.
func (e *Election) resignGhosts(ctx context.Context) {
	for ctx.Err() == nil {
		record, changed := e.cfg.Store.Record()
		_ = e.yield(record) // counts from now
		if !e.ghost(record) {
			select {
			case <-changed:
			case <-time.After(e.cfg.Timing.RetryPeriod):
			case <-ctx.Done():
			}
			continue
		}
		resign, cancel := context.WithTimeout(ctx, claimLimit)
		err := e.cfg.Store.ResignClaim(resign, record.ClaimID, e.partingReason(record.ClaimID))
		cancel()
		if err != nil {
			e.log.Warn("a claim that is not ours to keep could not be given up", zap.String("claim", record.ClaimID), zap.Error(err))
		}
		waitChanged(ctx, changed, e.cfg.Timing.RetryPeriod)
	}
}

func (e *Election) ghost(record Record) bool {
	if record.Resigned || record.Pod != e.cfg.Pod || record.BootID != e.cfg.BootID {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.round == nil || e.round.claimID != record.ClaimID || e.round.ctx.Err() != nil
}

func waitChanged(ctx context.Context, changed <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

package election

import (
	"context"
	"time"

	"go.uber.org/zap"
)

const (
	// keepEvery is how often a leader looks where the store's own leadership is, and keepAfter how long it lets that
	// be elsewhere.
	keepEvery = time.Second
	keepAfter = 2 * time.Second
	// After a move there is none for a while, and longer after one that failed: while it lasts, nothing is written.
	restAfterMove   = 15 * time.Second
	restAfterFailed = time.Minute
)

// keepStore keeps the store's own leadership on the replica that leads, which saves each commit a hop. Nothing else
// depends on it.
func (e *Election) keepStore(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	var since, rested time.Time // elsewhere since then; the next move not before
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now, l := time.Now(), e.Leadership()
		switch {
		case l == nil || !e.cfg.StoreElsewhere():
			since = time.Time{}
		case since.IsZero():
			since = now
		case now.Sub(since) >= keepAfter && !now.Before(rested):
			rested = now.Add(e.fetchStore(l))
		}
	}
}

// fetchStore moves the store's own leadership here, unless leadership is just being given up, and returns for how long
// to let it be then.
func (e *Election) fetchStore(l *Leadership) time.Duration {
	select {
	case e.handing <- struct{}{}:
		defer func() { <-e.handing }()
	default:
		return 0
	}
	ctx, cancel := context.WithTimeout(l.Context, moveLimit)
	defer cancel()
	if err := paused(ctx, l.Term, e.cfg.FetchStore); err != nil {
		e.metrics.moves.WithLabelValues("error").Inc()
		e.log.Warn("the store's leadership stays elsewhere", zap.Error(err))
		return restAfterFailed
	}
	e.metrics.moves.WithLabelValues("success").Inc()
	e.log.Info("the store's leadership is here again")
	return restAfterMove
}

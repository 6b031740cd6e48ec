package store

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// transaction is what one attempt sends. All attempts at it are the same, so it does not matter which of
// them is applied: the first changes what the others are conditional on.
type transaction struct {
	conditions []clientv3.Cmp
	then       []clientv3.Op
	otherwise  []clientv3.Op
}

// Attempts get a second before they are repeated, then twice as long each time: a slow disk is not helped by
// more proposals. A proposal that was lost because etcd changed its leader is repeated the moment the new
// leader has committed its first entry.
const (
	firstAttempt = time.Second
	firstPause   = 10 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// repeat sends t until it is answered, refused for good, or ctx is done.
func (s *Store) repeat(ctx context.Context, t transaction) (*clientv3.TxnResponse, error) {
	limit, rest := firstAttempt, firstPause
	for {
		newTerm := s.cfg.NewTerm()
		resp, err := s.attempt(ctx, t, limit, newTerm)
		if err == nil || notProposed(err) {
			s.metrics.attempts.WithLabelValues(resultLabel(err)).Inc()
			return resp, err
		}
		s.metrics.attempts.WithLabelValues("unknown").Inc()
		if ctx.Err() != nil {
			return nil, err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			limit *= 2
		}
		waitFor(ctx, newTerm, rest)
		rest = min(2*rest, longestPause)
	}
}

// attempt sends t once. It gives up after limit, or when etcd has a new leader.
func (s *Store) attempt(ctx context.Context, t transaction, limit time.Duration, newTerm <-chan struct{}) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	go func() {
		select {
		case <-newTerm:
			cancel()
		case <-ctx.Done():
		}
	}()
	return s.cfg.KV.Txn(ctx).If(t.conditions...).Then(t.then...).Else(t.otherwise...).Commit()
}

// notProposed tells whether etcd refused a transaction before it proposed it. Every other error leaves the
// outcome open; even "no space" can come after the transaction was applied.
func notProposed(err error) bool {
	for _, e := range []error{
		rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// waitFor waits for d, or until signal or ctx is done.
func waitFor(ctx context.Context, signal <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-signal:
	case <-ctx.Done():
	}
}

package sidecar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leasehold/leasehold/internal/election"
)

var (
	errNobodyToAsk = errors.New("there is nobody to ask")
	errTermEnded   = errors.New("the term has been ended")
	errNotRenewed  = errors.New("the Lease has not been renewed for the renew deadline")
	errLost        = errors.New("the Lease is not this process's any more")
	errStillRuns   = errors.New("the command of the last term still runs")
)

// noStore stands in for the store that the election expects: it has no record of its own, so nothing is decided by
// one, and every claim succeeds by the Lease alone.
type noStore struct{ s *Sidecar }

// ReadRecord says who held the Lease last, for the words about a change. It names no claim.
func (n noStore) ReadRecord(context.Context) (election.Record, error) {
	return n.s.tenure.lastHeld(), nil
}

// Record has nothing to say, and never will have.
func (noStore) Record() (election.Record, <-chan struct{}) { return election.Record{}, nil }

// Claim begins a term under the resource version by which the Lease was acquired.
func (n noStore) Claim(context.Context, election.Record, string) (election.Term, error) {
	if err := n.s.mayTake(); err != nil {
		return nil, err
	}
	epoch, err := n.s.tenure.claim()
	if err != nil {
		return nil, err
	}
	t := &term{s: n.s, epoch: epoch, ended: make(chan struct{})}
	go t.expire()
	return t, nil
}

// ResignClaim has nothing to do: a claim is no more than the Lease.
func (noStore) ResignClaim(context.Context, string, string) error { return nil }

// prepareNoMove moves nothing: there is no leadership of a store.
func prepareNoMove(context.Context, string) (string, func(context.Context) error, error) {
	return "", func(context.Context) error { return nil }, nil
}

// term is one stretch of leading.
type term struct {
	s     *Sidecar
	epoch uint64
	once  sync.Once
	ended chan struct{}
	cause error // once ended is closed
}

// endTerm ends the leadership's term for that cause.
func endTerm(l *election.Leadership, cause error) {
	if t, ok := l.Term.(*term); ok {
		t.end(cause)
	}
}

func (t *term) end(cause error) {
	t.once.Do(func() {
		t.cause = cause
		close(t.ended)
	})
}

// expire ends the term when the Lease is seen in other hands, or has not been renewed for the renew deadline. client-go's
// elector would tell only once it has tried to release the Lease as well, which may leave no time to stop the command in.
func (t *term) expire() {
	for {
		renewed, held, changed := t.s.tenure.heldUnder(t.epoch)
		if !held {
			t.end(t.s.tenure.whyLost())
			return
		}
		timer := time.NewTimer(time.Until(renewed.Add(t.s.cfg.Timing.RenewDeadline)))
		select {
		case <-t.ended:
			timer.Stop()
			return
		case <-timer.C:
			t.end(fmt.Errorf("%w (%s)", errNotRenewed, t.s.cfg.Timing.RenewDeadline))
			return
		case <-changed:
			timer.Stop()
		}
	}
}

// Epoch implements election.Term.
func (t *term) Epoch() uint64 { return t.epoch }

// Ended implements election.Term.
func (t *term) Ended() <-chan struct{} { return t.ended }

// Err implements election.Term.
func (t *term) Err() error {
	select {
	case <-t.ended:
		return t.cause
	default:
		return nil
	}
}

// End implements election.Term.
func (t *term) End() { t.end(errTermEnded) }

// Pause implements election.Term: nothing is written here.
func (t *term) Pause(_ context.Context, f func()) error {
	f()
	return nil
}

// Resign implements election.Term. The Lease is renewed until it returns, so it waits for the command however long that
// takes: the command is killed in the end, and ctx is for records that cannot be written.
func (t *term) Resign(ctx context.Context, _, _ string) error {
	t.End()
	return t.s.quiet(context.WithoutCancel(ctx))
}

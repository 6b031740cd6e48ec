package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/test/chaos/check"
)

// recorder watches everything that is ever written to the store, from the first revision on. It asks one replica at a
// time, and goes on at the next revision with another one when that has no news.
type recorder struct {
	members []*clientv3.Client
	silence time.Duration
	cancel  context.CancelFunc
	done    chan struct{}

	mu    sync.Mutex
	log   check.Log
	moved chan struct{}
	err   error // why a watch ended last
}

func startRecorder(ctx context.Context, members []*clientv3.Client, silence time.Duration) *recorder {
	ctx, cancel := context.WithCancel(ctx)
	r := &recorder{members: members, silence: silence, cancel: cancel, done: make(chan struct{}), moved: make(chan struct{}), err: errNone}
	go r.run(ctx)
	return r
}

func (r *recorder) stop() {
	r.cancel()
	<-r.done
}

func (r *recorder) run(ctx context.Context) {
	defer close(r.done)
	rest := time.NewTicker(retryPause)
	defer rest.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		err := r.watch(ctx, r.members[i%len(r.members)])
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
		select {
		case <-rest.C: // not more often than that
		case <-ctx.Done():
		}
	}
}

var (
	errSilent = errors.New("no news")
	errEnded  = errors.New("the watch ended")
	errNone   = errors.New("no watch has ended")
)

// watch records what a member tells, until it is silent for too long or ctx is done. To begin a watch blocks too, where
// nobody answers.
func (r *recorder) watch(ctx context.Context, member *clientv3.Client) error {
	ctx, end := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	defer end(nil)
	silence := time.AfterFunc(r.silence, func() { end(errSilent) })
	defer silence.Stop()
	events := member.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(r.reached()+1), clientv3.WithProgressNotify())
	for resp := range events {
		if resp.CompactRevision != 0 {
			r.miss(resp.CompactRevision)
		}
		if err := resp.Err(); err != nil {
			return err
		}
		r.take(resp)
		silence.Reset(r.silence)
	}
	return cmp.Or(context.Cause(ctx), errEnded)
}

func (r *recorder) reached() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Reached
}

// miss notes that the history before a revision is gone.
func (r *recorder) miss(before int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before > r.log.Reached+1 {
		r.log.Gaps = append(r.log.Gaps, check.Gap{From: r.log.Reached + 1, To: before - 1})
		r.reach(before - 1)
	}
}

// take records the transactions of a response. The events of one revision come in one response.
func (r *recorder) take(resp clientv3.WatchResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for events := resp.Events; len(events) > 0; {
		revision, n := events[0].Kv.ModRevision, 1
		for n < len(events) && events[n].Kv.ModRevision == revision {
			n++
		}
		if revision > r.log.Reached {
			if t, ok := decode(revision, events[:n]); ok {
				r.log.Transactions = append(r.log.Transactions, t)
			}
			r.reach(revision)
		}
		events = events[n:]
	}
	if resp.IsProgressNotify() && resp.Header.Revision > r.log.Reached {
		r.reach(resp.Header.Revision)
	}
}

func (r *recorder) reach(revision int64) {
	r.log.Reached = revision
	close(r.moved)
	r.moved = make(chan struct{})
}

// await returns when everything up to revision is recorded.
func (r *recorder) await(ctx context.Context, revision int64) error {
	for {
		r.mu.Lock()
		reached, moved, why := r.log.Reached, r.moved, r.err
		r.mu.Unlock()
		if reached >= revision {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the log of the store ends at revision %d, before %d (%w): %w", reached, revision, why, ctx.Err())
		}
	}
}

// snapshot is a copy of the log so far.
func (r *recorder) snapshot() *check.Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &check.Log{
		Reached: r.log.Reached, Gaps: slices.Clone(r.log.Gaps), Transactions: slices.Clone(r.log.Transactions),
	}
}

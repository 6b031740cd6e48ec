package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// load reads the whole chain linearizably and returns the revision at which it was read.
func (s *Store) load(ctx context.Context) (int64, error) {
	resp, err := s.linearizableGet(ctx, chainPrefix, clientv3.WithPrefix())
	if err != nil {
		return 0, err
	}
	now, keep := time.Now(), map[position]bool{}
	for _, kv := range resp.Kvs {
		at, err := s.learn(kv, now)
		if err != nil {
			return 0, err
		}
		keep[at] = true
	}
	s.journal.retain(keep, resp.Header.Revision)
	s.journal.reach(resp.Header.Revision)
	return resp.Header.Revision, nil
}

// follow keeps the leader record and the journal up to date until ctx is done. A watch that breaks (its
// start was compacted while this replica was away) is replaced by a fresh load.
func (s *Store) follow(ctx context.Context, rev int64) {
	for {
		err := s.followFrom(ctx, rev)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("the chain is read afresh", zap.Error(err))
		for rev, err = s.load(ctx); err != nil; rev, err = s.load(ctx) {
			if ctx.Err() != nil {
				return
			}
			s.log.Warn("the chain cannot be read", zap.Error(err))
			pause(ctx, time.Second)
		}
	}
}

func (s *Store) followFrom(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range s.cfg.Watcher.Watch(ctx, chainPrefix, clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if err := resp.Err(); err != nil {
			return err
		}
		now := time.Now()
		for _, ev := range resp.Events {
			if err := s.see(ev, now); err != nil {
				return err
			}
		}
		s.journal.reach(followedTo(resp))
	}
	return errors.New("the watch ended")
}

// followedTo is the revision up to which a watch has delivered everything. The header's is that only in a
// progress notification: a watch that catches up delivers in portions, all under the newest revision.
func followedTo(resp clientv3.WatchResponse) int64 {
	if n := len(resp.Events); n > 0 {
		return resp.Events[n-1].Kv.ModRevision
	}
	if resp.IsProgressNotify() {
		return resp.Header.Revision
	}
	return 0
}

func (s *Store) see(ev *clientv3.Event, now time.Time) error {
	if ev.Type == mvccpb.Event_DELETE {
		if at, ok := journalPosition(string(ev.Kv.Key)); ok {
			s.journal.forget(at)
		}
		return nil
	}
	s.served.note(ev.Kv, now)
	_, err := s.learn(ev.Kv, now)
	return err
}

// learn takes in one key of the chain and returns its position where it is a journal record.
func (s *Store) learn(kv *mvccpb.KeyValue, now time.Time) (position, error) {
	if string(kv.Key) == leaderKey {
		l, err := decodeLeader(kv.Value, kv.ModRevision)
		if err == nil && s.leader.set(l) {
			s.metrics.epoch.Set(float64(l.Epoch))
			s.log.Info("leader record", zap.String("leader", l.Current()), zap.String("pod", l.Pod),
				zap.Uint64("epoch", l.Epoch), zap.Bool("resigned", l.Resigned))
		}
		return position{}, err
	}
	at, ok := journalPosition(string(kv.Key))
	if !ok {
		return position{}, nil
	}
	ds, err := decodeDecisions(kv.Value)
	if err != nil {
		return position{}, fmt.Errorf("%s: %w", kv.Key, err)
	}
	s.journal.add(at, ds, kv.ModRevision, now)
	return at, nil
}

func journalPosition(key string) (position, bool) {
	rest, ok := strings.CutPrefix(key, journalPrefix)
	if !ok {
		return position{}, false
	}
	at, err := parsePosition(rest)
	return at, err == nil
}

// caughtUp blocks until the journal has been followed to revision.
func (s *Store) caughtUp(ctx context.Context, revision int64) error {
	for {
		reached, moved := s.journal.progress()
		if reached >= revision {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("catch up with the journal: %w", ctx.Err())
		}
	}
}

// linearizableGet repeats a read until a majority has confirmed it or ctx is done: etcd fails the reads that
// are under way when its own leader changes, and drops some silently.
func (s *Store) linearizableGet(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	for limit := firstAttempt; ; limit *= 2 {
		attempt, cancel := context.WithTimeout(ctx, limit)
		resp, err := s.cfg.KV.Get(attempt, key, opts...)
		cancel()
		if err == nil || ctx.Err() != nil || definiteReadError(err) {
			return resp, readError(err)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

func definiteReadError(err error) bool {
	return errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrFutureRev)
}

func readError(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return ErrCompacted
	case errors.Is(err, rpctypes.ErrFutureRev):
		return ErrFutureRevision
	}
	return err
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// upkeepPortion bounds what one transaction of the upkeep touches.
const upkeepPortion = 500

func isFuture(err error) bool { return errors.Is(err, ErrFutureRevision) }

// Expire deletes the entries that are due at now, through the committer, and returns how many it deleted. An
// entry that was written again since it was indexed stays.
func (t *Term) Expire(ctx context.Context, now time.Time) (int, error) {
	var deleted atomic.Int64
	for {
		due, err := t.store.due(ctx, now)
		if err != nil || len(due) == 0 {
			return int(deleted.Load()), err
		}
		group, ctx := errgroup.WithContext(ctx) // at once, so that they share transactions
		for _, index := range due {
			group.Go(func() error {
				gone, err := t.expire(ctx, index)
				if gone {
					deleted.Add(1)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return int(deleted.Load()), err
		}
	}
}

func (s *Store) due(ctx context.Context, now time.Time) ([]*mvccpb.KeyValue, error) {
	resp, err := s.read(ctx, expiryPrefix, ReadOptions{},
		clientv3.WithRange(expiryKey(now, "")), clientv3.WithLimit(upkeepPortion), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	return resp.Kvs, nil
}

// expire removes one due index key, unless it was written again, and, if the entry still is the one that it
// indexes, the entry with it.
func (t *Term) expire(ctx context.Context, index *mvccpb.KeyValue) (bool, error) {
	at, key, err := parseExpiryKey(string(index.Key))
	if err != nil {
		return false, err
	}
	w := &Write{ID: NewID(), conditions: []etcdCondition{{string(index.Key), index.ModRevision}}}
	w.add(op{key: string(index.Key), delete: true})
	e, _, err := t.store.Get(ctx, key, ReadOptions{})
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return false, err
	case err == nil && e.Expires.Equal(at):
		w.Require(Condition{Key: key, Revision: e.Revision})
		w.Delete(key)
	}
	o, err := t.Write(ctx, w)
	return o.Applied && len(w.ops) > 1, err // not applied: written again meanwhile, the next look settles it
}

// PruneJournal deletes the records whose window is over and returns how many.
func (t *Term) PruneJournal(ctx context.Context) (int, error) {
	pruned := 0
	for due := range slices.Chunk(t.store.journal.prunable(&t.store.cfg, t.claimed, time.Now()), upkeepPortion) {
		w := &Write{ID: NewID(), prunes: true}
		for _, at := range due {
			w.add(op{key: at.journalKey(), delete: true})
		}
		o, err := t.Write(ctx, w)
		if err != nil {
			return pruned, err
		}
		if err := t.store.caughtUp(ctx, o.Revision); err != nil {
			return pruned, err
		}
		for _, at := range due {
			t.store.journal.forget(at) // no news comes of a record that was gone already
		}
		pruned += len(due)
	}
	return pruned, nil
}

// Compact drops the history before revision. What has been compacted already is no error.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := s.cfg.KV.Compact(ctx, revision); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact to revision %d: %w", revision, err)
	}
	return nil
}

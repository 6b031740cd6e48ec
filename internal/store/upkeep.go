package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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
		for _, indexKey := range due {
			group.Go(func() error {
				gone, err := t.expire(ctx, indexKey)
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

func (s *Store) due(ctx context.Context, now time.Time) ([]string, error) {
	resp, err := s.read(ctx, expiryPrefix, ReadOptions{},
		clientv3.WithRange(expiryKey(now, "")), clientv3.WithLimit(upkeepPortion), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

// expire removes one due index key and, if the entry still is the one that it indexes, the entry with it.
func (t *Term) expire(ctx context.Context, indexKey string) (bool, error) {
	at, key, err := parseExpiryKey(indexKey)
	if err != nil {
		return false, err
	}
	w := &Write{ID: NewID()}
	w.add(op{key: indexKey, delete: true})
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
	for {
		due := t.store.journal.prunable(&t.store.cfg, t.claimed, time.Now(), upkeepPortion)
		if len(due) == 0 {
			return pruned, nil
		}
		w := &Write{ID: NewID()}
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
		pruned += len(due)
	}
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

package store

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Event is one change to an entry.
type Event struct {
	// Deleted says that the entry is gone; only Key and Revision of the entry are then set.
	Deleted bool
	Entry   Entry
	// Last says that no further event of the same revision follows: whoever has seen it may resume after it.
	Last bool
}

// Changes is what a watch delivers: events in order of revision, or, where there are none, the news that
// nothing has happened up to Revision.
type Changes struct {
	Events   []Event
	Revision int64
	// Err ends the watch: ErrCompacted, or what broke it.
	Err error
}

// Watch delivers the changes to entries whose keys begin with prefix, all that come after the given revision
// (0: from now on), until ctx is done. It returns once the watch stands, with the revision after which it
// delivers. Error: ErrCompacted, where that history is gone.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) (int64, <-chan Changes, error) {
	if after == 0 {
		rev, err := s.Revision(ctx)
		if err != nil {
			return 0, nil, err
		}
		after = rev
	} else if err := s.historyReaches(ctx, after+1); err != nil {
		return 0, nil, err
	}
	start := entryPrefix + prefix
	events := s.cfg.Watcher.Watch(ctx, start,
		clientv3.WithRange(prefixEnd(start)), clientv3.WithRev(after+1), clientv3.WithProgressNotify())
	out := make(chan Changes)
	go relay(ctx, events, out)
	return after, out, nil
}

// historyReaches returns ErrCompacted where the change made at revision cannot be delivered any more.
func (s *Store) historyReaches(ctx context.Context, revision int64) error {
	_, err := s.read(ctx, headKey, ReadOptions{Revision: revision}, clientv3.WithKeysOnly())
	if err == nil || isFuture(err) {
		return nil
	}
	return err
}

func relay(ctx context.Context, in clientv3.WatchChan, out chan<- Changes) {
	defer close(out)
	for resp := range in {
		c := changes(resp)
		select {
		case out <- c:
		case <-ctx.Done():
			return
		}
		if c.Err != nil {
			return
		}
	}
}

func changes(resp clientv3.WatchResponse) Changes {
	if err := resp.Err(); err != nil {
		return Changes{Revision: resp.CompactRevision, Err: readError(err)}
	}
	c := Changes{Revision: followedTo(resp)}
	for i, ev := range resp.Events {
		e := Event{Last: i+1 == len(resp.Events) || resp.Events[i+1].Kv.ModRevision != ev.Kv.ModRevision}
		if ev.Type == mvccpb.Event_DELETE {
			e.Deleted, e.Entry = true, Entry{Key: clientKey(ev.Kv), Revision: ev.Kv.ModRevision}
		} else if e.Entry, c.Err = decodeEntry(clientKey(ev.Kv), ev.Kv.Value, ev.Kv.ModRevision); c.Err != nil {
			return c
		}
		c.Events = append(c.Events, e)
	}
	return c
}
